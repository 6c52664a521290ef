//! AppArmor itself: what it does to Stockade where it mediates user namespaces, and that the shipped profile is the remedy.

use crate::support::{Scene, is_root, skip};
use crate::{fetched, needs_programs};
use std::fs;
use std::process::Command;

/// Loads profiles from a file, or removes them.
fn parser(flag: &str, file: &str) {
    let root = fetched("root");
    let within = |path: &str| root.join(path);
    // The guest's own system has another C library.
    let mut command = Command::new(within("usr/lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(within("usr/lib/x86_64-linux-gnu"));
    command.arg(within("usr/sbin/apparmor_parser"));
    command.arg("--base").arg(within("etc/apparmor.d"));
    let done = command.args(["--skip-cache", flag, file]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Removes the profiles of this file when the test is over.
struct Loaded<'a>(&'a str);

impl Drop for Loaded<'_> {
    fn drop(&mut self) {
        parser("--remove", self.0);
    }
}

#[test]
fn where_user_namespaces_are_mediated_the_shipped_profile_permits_them() {
    needs_programs!();
    if !is_root() {
        skip!("root: profiles are root's to load");
    }
    let mask = "/sys/kernel/security/apparmor/features/namespaces/mask";
    if !fs::read_to_string(mask).is_ok_and(|mask| mask.contains("userns_create")) {
        skip!("apparmor: `{mask}` says nothing of `userns_create`");
    }
    let scene = Scene::new();
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_stockade"));
    let printed = doctor.args(["doctor", "--apparmor-profile"]).output().unwrap();
    let shipped = String::from_utf8(printed.stdout).unwrap();
    scene.file("shipped", &shipped);
    let all = "file, capability, network, mount, remount, umount, pivot_root, signal, ptrace, \
               unix, mqueue, io_uring, change_profile,";
    let strict = shipped.replace("flags=(unconfined)", "").replace("userns,", all);
    assert!(strict.contains(all) && !strict.contains("unconfined)"), "{strict}");
    scene.file("strict", &strict);
    let run = || scene.run(&["--policy", "worker"], &["true"]);

    run().expect_code(0);
    let strict = scene.at("strict");
    parser("--replace", &strict);
    let loaded = Loaded(&strict);
    run().expect_refusal(&[
        "failed at `clone into new namespaces`",
        "Permission denied",
        "doctor --apparmor-profile",
    ]);
    parser("--replace", &scene.at("shipped"));
    run().expect_code(0);
    drop(loaded);
    run().expect_code(0);
}
