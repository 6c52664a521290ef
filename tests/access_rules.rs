//! The second wall around files and sockets: what holds even where the view of files, or the network, leaves a door open.

#![expect(clippy::unwrap_used, reason = "a test ends where something unforeseen happens")]

#[path = "support/attempts.rs"]
mod attempts;
#[path = "support/skip.rs"]
mod skip;

use attempts::{Attempts, stockade};
use skip::skip;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Stdio;
use tempfile::TempDir;

/// The version of the rules that are in force in a sandbox here; if there are none, what the report says.
fn version() -> Result<u32, String> {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    let mut command = stockade(directory.path());
    let output = command.arg("--report").arg(&report).args(["--", "true"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    let rules = &report["enforcement"]["filesystem.access_rules"];
    let version = rules["value"].as_str().and_then(|value| value.strip_prefix("ABI "));
    version.map(|version| version.parse().unwrap()).ok_or_else(|| rules.to_string())
}

/// A file outside of the view that everybody may read and write, as far as its mode goes.
fn file_outside() -> (TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "before\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    (directory, path)
}

#[test]
fn a_stream_opened_for_reading_can_not_be_opened_again_for_writing() {
    if let Err(how) = version() {
        skip!("landlock: {how}");
    }
    let (_outside, path) = file_outside();
    let directory = tempfile::tempdir().unwrap();
    let mut command = stockade(directory.path());
    command.args(["--", "sh", "-c", "cat /dev/stdin; echo after > /proc/self/fd/0"]);
    let output = command.stdin(File::open(&path).unwrap()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "before\n", "{error}");
    assert!(!output.status.success() && error.contains("Permission denied"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "before\n");
}

#[test]
fn a_stream_opened_for_writing_can_be_opened_again_for_that_and_no_more() {
    if let Err(how) = version() {
        skip!("landlock: {how}");
    }
    let (_outside, path) = file_outside();
    let directory = tempfile::tempdir().unwrap();
    let mut command = stockade(directory.path());
    command.args(["--", "sh", "-c", "echo after > /dev/stdout && ! cat /proc/self/fd/1"]);
    let file = File::options().append(true).open(&path).unwrap();
    let output = command.stdout(file).stderr(Stdio::piped()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.contains("Permission denied"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
}

#[test]
fn abstract_sockets_of_the_host_are_out_of_reach_though_its_network_is_shared() {
    match version() {
        Ok(6..) => {}
        found => skip!("landlock-scope: {found:?}"),
    }
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let name = format!("stockade-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let names = ["connect_abstract"];
    let mut outside = std::process::Command::new("./attempts");
    assert_eq!(attempts.run(outside.env("ABSTRACT", &name), &names), ["ok"]);
    let variable = format!("ABSTRACT={name}");
    let inside = |network| attempts.inside(&["--net", network, "--env", &variable], &names);
    assert_eq!(inside("host"), ["EPERM"]);
    assert_eq!(inside("none"), ["ECONNREFUSED"], "another network has other names");
}

#[test]
fn a_program_can_restrict_itself_further() {
    if let Err(how) = version() {
        skip!("landlock: {how}");
    }
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    assert_eq!(attempts.inside(&[], &["landlock_of_its_own"]), ["ok"]);
}

/// What the attempts come to with these ports, on the host's network, where a server listens on `PORT`.
fn with_ports(attempts: &Attempts, port: u16, flags: &[&str], names: &[&str]) -> Vec<String> {
    let variable = format!("PORT={port}");
    let mut all = vec!["--net", "host", "--env", &variable];
    all.extend(flags);
    attempts.inside(&all, names)
}

#[test]
fn tcp_ports_that_are_not_named_can_not_be_used_though_the_host_s_network_is_shared() {
    match version() {
        Ok(4..) => {}
        found => skip!("landlock-network: {found:?}"),
    }
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let named = format!("{port}");
    let out = ["connect_port", "connect_mptcp", "connect_fastopen"];
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Whether the kernel itself has these ways is the same question outside.
    let mut outside = std::process::Command::new("./attempts");
    let outside = attempts.run(outside.env("PORT", &named), &out);
    assert_eq!(outside[0], "ok");
    assert_eq!(with_ports(&attempts, port, &[], &out), outside, "nothing is limited");
    let closed = with_ports(&attempts, port, &["--tcp-connect", "none"], &out);
    assert_eq!(closed, ["EACCES", "EPROTONOSUPPORT", "EOPNOTSUPP"]);
    let other = with_ports(&attempts, port, &["--tcp-connect", "1-9"], &out[..1]);
    assert_eq!(other, ["EACCES"]);
    assert_eq!(with_ports(&attempts, port, &["--tcp-connect", &named], &out[..1]), ["ok"]);
    // The one is no reason for the other.
    let bind = ["bind_port", "listen_anywhere"];
    assert_eq!(with_ports(&attempts, free, &["--tcp-connect", "none"], &bind), ["ok", "ok"]);
    assert_eq!(with_ports(&attempts, free, &["--tcp-bind", "none"], &bind), ["EACCES", "ok"]);
    let free_one = format!("{free}");
    assert_eq!(with_ports(&attempts, free, &["--tcp-bind", &free_one], &bind), ["ok", "ok"]);
    assert_eq!(with_ports(&attempts, port, &["--tcp-bind", "none"], &out[..1]), ["ok"]);
    // Ports are held where the rules for files are not wanted, too.
    let alone = ["--access-rules", "false", "--tcp-connect", "none"];
    assert_eq!(with_ports(&attempts, port, &alone, &out[..1]), ["EACCES"]);
}

#[test]
fn the_ports_that_are_held_are_reported() {
    match version() {
        Ok(4..) => {}
        found => skip!("landlock-network: {found:?}"),
    }
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    let mut command = stockade(directory.path());
    command.args(["--tcp-connect", "443,80", "--report"]).arg(&report).args(["--", "true"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    let held = &report["enforcement"]["network.tcp_ports"];
    assert_eq!(held["value"], "bind all; connect 80,443", "{held}");
    assert_eq!(held["state"], "enforced", "{held}");
}
