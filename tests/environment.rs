//! What the kernel and the machine around it must offer to the tests.
//!
//! Nothing of Stockade is tested here. Each feature that other tests may skip for is looked for
//! once, so that `vm-tests/kernels.toml` holds the guests to their promises even where no other test
//! asks for it.
#![allow(clippy::unwrap_used, reason = "clippy takes helpers in a test file for no tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/skip.rs"]
mod skip;
use skip::skip;

/// Where cgroup v2 is mounted, and the group in it that this process may divide: its own group's
/// parent when a user was given a subtree, the root when root owns everything.
fn divisible_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, point, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    })?;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = mount.join(own);
    let everything = nix::unistd::geteuid().is_root() || own == mount;
    if everything { Some(mount) } else { own.parent().map(Path::to_owned) }
}

macro_rules! controller {
    ($test:ident, $name:literal) => {
        #[test]
        fn $test() {
            let Some(group) = divisible_group() else {
                skip!("{}: cgroup v2 isn't mounted", $name);
            };
            let offered = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
            if !offered.split_whitespace().any(|controller| controller == $name) {
                skip!("{}: `{}` offers `{}`", $name, group.display(), offered.trim());
            }
        }
    };
}

controller!(controller_cpu, "cpu");
controller!(controller_cpuset, "cpuset");
controller!(controller_io, "io");
controller!(controller_memory, "memory");
controller!(controller_pids, "pids");

#[test]
fn delegation_lets_groups_be_made() {
    let Some(group) = divisible_group() else {
        skip!("delegation: cgroup v2 isn't mounted");
    };
    let probe = group.join(format!("probe-{}", std::process::id()));
    if let Err(error) = fs::create_dir(&probe) {
        skip!("delegation: `{}` can't be divided: {error}", group.display());
    }
    let kill = probe.join("cgroup.kill").exists();
    fs::remove_dir(&probe).unwrap();
    assert!(kill, "a kernel without cgroup.kill is older than 5.14");
}

#[test]
fn psi() {
    // The file is there also where `psi=0` has switched it off; reading says so.
    if let Err(error) = fs::read_to_string("/proc/pressure/memory") {
        skip!("psi: `/proc/pressure/memory`: {error}");
    }
}

#[test]
fn landlock() {
    match fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(modules) if modules.trim().split(',').any(|name| name == "landlock") => {}
        Ok(modules) => skip!("landlock: the kernel runs `{}`", modules.trim()),
        Err(error) => skip!("landlock: `/sys/kernel/security/lsm`: {error}"),
    }
}

#[test]
fn seccomp() {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    match actions {
        Ok(actions) if actions.contains("user_notif") => {}
        Ok(actions) => skip!("seccomp: the kernel knows only `{}`", actions.trim()),
        Err(error) => skip!("seccomp: {error}"),
    }
}

macro_rules! namespace {
    ($test:ident, $file:literal, $feature:literal) => {
        #[test]
        fn $test() {
            if !Path::new("/proc/self/ns").join($file).exists() {
                skip!("{}: no `/proc/self/ns/{}`", $feature, $file);
            }
        }
    };
}

namespace!(namespace_cgroup, "cgroup", "cgroup-namespace");
namespace!(namespace_ipc, "ipc", "ipc-namespace");
namespace!(namespace_mount, "mnt", "mount-namespace");
namespace!(namespace_network, "net", "network-namespace");
namespace!(namespace_pid, "pid", "pid-namespace");
namespace!(namespace_time, "time", "time-namespace");
namespace!(namespace_user, "user", "user-namespace");
namespace!(namespace_uts, "uts", "uts-namespace");

#[test]
fn user_namespace_without_privilege() {
    // Making one isn't enough: some distributions let it be made and then give no power in it.
    let made =
        Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).output();
    match made {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            skip!("unprivileged-userns: {}", String::from_utf8_lossy(&output.stderr).trim())
        }
        Err(error) => skip!("unprivileged-userns: `unshare`: {error}"),
    }
}

#[test]
fn two_cpus() {
    let cpus = std::thread::available_parallelism().unwrap();
    if cpus.get() < 2 {
        skip!("smp: there is one CPU");
    }
}

#[test]
fn disk_below_tmp() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let found = mounts.lines().any(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        words.get(1) == Some(&"/tmp") && words.first().is_some_and(|from| from.starts_with("/dev/"))
    });
    if !found {
        skip!("disk: `/tmp` has no block device of its own");
    }
}

#[test]
fn overlay() {
    let kinds = fs::read_to_string("/proc/filesystems").unwrap();
    if !kinds.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        skip!("overlay: the kernel doesn't know it");
    }
}

#[test]
fn loopback_is_up() {
    if let Err(error) = std::net::TcpListener::bind("127.0.0.1:0") {
        skip!("loopback: {error}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
}
