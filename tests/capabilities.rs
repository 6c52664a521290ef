//! What a program may do as if it were privileged: nothing, or what the policy keeps.

#![expect(clippy::unwrap_used, reason = "a test ends where something unforeseen happens")]

#[path = "support/attempts.rs"]
mod attempts;
#[path = "support/skip.rs"]
mod skip;

use attempts::{Attempts, stockade};
use skip::skip;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The sets of the status file, in its words.
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// The number of `CAP_NET_BIND_SERVICE`.
const NET_BIND_SERVICE: u64 = 1 << 10;

/// The status file of a program inside.
fn status(flags: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut command = stockade(directory.path());
    let output = command.args(flags).args(["--", "cat", "/proc/self/status"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{flags:?}: {:?}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    status.lines().find_map(value).unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

fn sets(status: &str) -> [u64; 5] {
    SETS.map(|set| u64::from_str_radix(field(status, set), 16).unwrap())
}

#[test]
fn all_five_sets_are_empty() {
    assert_eq!(sets(&status(&[])), [0; 5]);
}

#[test]
fn all_five_sets_are_empty_for_user_0_too() {
    let status = status(&["--user", "0", "--group", "0"]);
    assert_eq!(field(&status, "Uid"), "0\t0\t0\t0");
    assert_eq!(sets(&status), [0; 5]);
}

#[test]
fn no_new_privileges_and_one_filter_are_in_force() {
    let status = status(&[]);
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), "2");
}

#[test]
fn a_kept_capability_is_in_all_five_sets_and_alone() {
    for name in ["CAP_NET_BIND_SERVICE", "NET_BIND_SERVICE"] {
        assert_eq!(sets(&status(&["--keep-capability", name])), [NET_BIND_SERVICE; 5], "{name}");
    }
}

#[test]
fn a_low_port_needs_the_capability() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let names = ["bind_low_port"];
    assert_eq!(attempts.inside(&[], &names), ["EACCES"]);
    assert_eq!(attempts.inside(&["--keep-capability", "NET_BIND_SERVICE"], &names), ["ok"]);
}

#[test]
fn what_is_gone_does_not_come_back() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let names = ["capset_all", "securebits_off", "ambient_raise", "privileges_off_again"];
    assert_eq!(attempts.inside(&[], &names), ["EPERM", "EPERM", "EPERM", "EINVAL"]);
    let kept = ["--keep-capability", "NET_BIND_SERVICE"];
    assert_eq!(attempts.inside(&kept, &["capset_all"]), ["EPERM"]);
}

#[test]
fn user_0_inside_has_no_power_over_files_or_identities() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    // Host user 0 doesn't exist inside: the number can't even be named.
    assert_eq!(attempts.inside(&[], &["chown_to_root", "setuid_root"]), ["EINVAL", "EINVAL"]);
}

#[test]
fn a_setuid_file_gives_no_other_user() {
    if !nix::unistd::geteuid().is_root() {
        skip!("root: only root can make a setuid file of another user");
    }
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let program = attempts.directory.path().join("attempts");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let names = ["another_user_by_setuid_file"];
    assert_eq!(attempts.inside(&[], &names), ["EPERM"]);
}

#[test]
fn a_capability_that_does_not_exist_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = stockade(directory.path());
    let output = command.args(["--keep-capability", "CAP_FLY", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("CAP_FLY"), "{output:?}");
}
