//! Stockade inside what others put around it: in containers, under restrictions of user namespaces, in itself. What can't be
//! built there is refused at the step that fails, with what mends it; `doctor` says the same before; nothing half runs.
//!
//! What stands around is made here from the same parts that the real ones are made of: user namespaces, mounts over `/proc`,
//! capabilities that are gone, filters of system calls. Each test also shows the launch with that part alone left out.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers in a test file for no tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use stockade::platform::Control;
use support::{Outcome, PYTHON, Scene, is_root, lacks, skip};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// A sandbox that sandboxes can be built in.
const OPEN: [&str; 6] =
    ["--allow-syscall", "@nesting", "--access-rules", "false", "--read", STOCKADE];

/// The inner launch: a program that says that it ran.
const RUNS: [&str; 5] = [STOCKADE, "run", "--", "echo", "ran"];

/// What stands around: a command that another one follows, started by an ordinary user, as which root becomes one.
fn around(scene: &Scene, before: &[&str], program: &[&str]) -> Outcome {
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"];
    let user = if is_root() { &user[..] } else { &[] };
    let words = [user, before, program].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(scene.path()).stdin(std::process::Stdio::null());
    scene.finish(command)
}

/// A container's user namespace, in which a line of the shell prepares what is around and executes the rest.
fn container(scene: &Scene, line: &str, program: &[&str]) -> Outcome {
    let unshare =
        ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"];
    let line = format!("{line}; exec \"$@\"");
    around(scene, &[&unshare[..], &["sh", "-c", &line, "sh"]].concat(), program)
}

/// What `doctor` says there of a control: its state, why, and what mends it.
fn doctor(answer: &Outcome, control: &str) -> [String; 3] {
    let told: serde_json::Value = serde_json::from_slice(&answer.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.told()));
    let told = &told["controls"][control];
    ["state", "reason", "remedy"].map(|part| told[part].as_str().unwrap_or_default().to_owned())
}

const DOCTOR: [&str; 3] = [STOCKADE, "doctor", "--json"];

/// That the inner launch failed with this said, and nothing ran.
#[track_caller]
fn is_refused(run: Outcome, said: &[&str]) {
    let run = run.expect_refusal(said);
    assert_eq!(run.stdout, b"", "{}", run.told());
}

/// Ends the test where users may make no user namespaces: there is nothing to stand around.
macro_rules! needs_containers {
    ($scene:expr) => {
        let made = container($scene, "true", &["true"]);
        if made.status.code() != Some(0) {
            skip!("unprivileged-userns: {}", made.stderr.trim());
        }
    };
}

// Containers.

#[test]
fn in_a_container_with_nothing_covered_everything_runs() {
    let scene = Scene::new();
    needs_containers!(&scene);
    container(&scene, "true", &RUNS).expect_text("ran\n");
    let answer = container(&scene, "true", &DOCTOR);
    assert_eq!(doctor(&answer, "filesystem.view")[0], "enforced", "{}", answer.told());
}

#[test]
fn where_a_container_covers_parts_of_proc_only_that_is_missing() {
    let scene = Scene::new();
    needs_containers!(&scene);
    // As container runtimes do (the OCI runtime specification's `maskedPaths`). The `/proc` below is covered too, since one that
    // can be seen whole anywhere is enough for the kernel; in a container it's out of the namespace.
    let covers = "umount /proc && mount --bind /dev/null /proc/interrupts && \
                  mount -t proc proc /proc && mount --bind /dev/null /proc/interrupts";
    let other = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "true",
    ];
    if container(&scene, covers, &other).status.success() {
        skip!("covered-proc: another `/proc`, whole and out of sight, is in this namespace");
    }
    is_refused(
        container(&scene, covers, &RUNS),
        &[
            "launch failed at `mount /proc (proc)`",
            "hint: something covers parts of `/proc`",
            "`--proc none`",
        ],
    );
    container(&scene, covers, &[&RUNS[..2], &["--proc", "none"], &RUNS[2..]].concat())
        .expect_text("ran\n");
    let answer = container(&scene, covers, &DOCTOR);
    let [state, reason, remedy] = doctor(&answer, "filesystem.view");
    assert_eq!(state, "unavailable", "{}", answer.told());
    assert!(reason.contains("mount /proc") && remedy.contains("--proc none"), "{reason} {remedy}");
    // The other walls can be built.
    assert_eq!(doctor(&answer, "network.mode")[0], "enforced", "{}", answer.told());
}

#[test]
fn roots_own_number_in_a_container_is_never_a_sandbox_s() {
    if !is_root() {
        skip!("root: only the host's root can be shown under another number");
    }
    let scene = Scene::new();
    let said = "user 0 of this user namespace is the host's root, and so would be the program";
    let shown_as = |number: &str, flags: &[&str]| {
        let user = format!("--map-user={number}");
        let inner = scene.command(flags, &["echo", "ran"]);
        let mut command = Command::new("unshare");
        command.args(["--user", &user]).arg(inner.get_program()).args(inner.get_args());
        command.current_dir(scene.path());
        scene.finish(command)
    };
    is_refused(shown_as("0", &[]), &[said, "hint: start Stockade as root outside"]);
    is_refused(shown_as("1000", &[]), &[&said.replace("user 0", "user 1000")]);
    is_refused(shown_as("65534", &[]), &[&said.replace("user 0", "user 65534")]);
    // There is no accepting it, since its owner's files of the kernel's are the whole host.
    let degrade = [
        "lifetime",
        "isolation.processes",
        "isolation.ipc",
        "isolation.hostname",
        "isolation.quota_view",
        "filesystem.view",
        "network.mode",
        "identity.user",
    ];
    let accepts: Vec<&str> = degrade.iter().flat_map(|name| ["--degrade", name]).collect();
    is_refused(shown_as("0", &accepts), &[said]);
    // What it would have: the same launch without that namespace has no such file open.
    let opens = "
import os
try: os.close(os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)); print('opened')
except OSError as error: print(error.strerror)";
    scene.python(&[], opens).expect_text("Permission denied\n");
    assert_eq!(support::python_outside(opens), "opened\n");
}

#[test]
fn root_without_the_rights_of_root_is_told_what_it_lacks() {
    if !is_root() {
        skip!("root: others have no rights to lose");
    }
    let scene = Scene::new();
    let without = |names: &str, program: &[&str]| {
        let mut command = Command::new("setpriv");
        command.arg(format!("--bounding-set={names}")).args(program).current_dir(scene.path());
        scene.finish(command)
    };
    for (name, word) in [("-sys_admin", "CAP_SYS_ADMIN"), ("-setuid", "CAP_SETUID")] {
        let said = format!("root has no {word} here, as in a container without privileges");
        is_refused(
            without(name, &RUNS),
            &[
                &said,
                "hint: start Stockade as another user than root (docker, podman: `--user 1000`)",
            ],
        );
        let answer = without(name, &DOCTOR);
        let [state, reason, _] = doctor(&answer, "identity.user");
        assert!(state == "unavailable" && reason.starts_with(&said), "{}", answer.told());
    }
    // One that isn't needed isn't missed.
    without("-sys_boot", &RUNS).expect_text("ran\n");
}

// Restrictions of user namespaces.

#[test]
fn where_there_may_be_no_user_namespace_that_is_the_one_reason() {
    let scene = Scene::new();
    needs_containers!(&scene);
    let none = "echo 0 > /proc/sys/user/max_user_namespaces";
    let run = container(&scene, none, &RUNS);
    let lines = run.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(lines, 1, "{}", run.told());
    assert!(!run.stderr.contains("--degrade"), "{}", run.told());
    is_refused(
        run,
        &[
            "identity.user can't be enforced here: `user.max_user_namespaces` is 0",
            "hint: sysctl -w user.max_user_namespaces=10000 (as root)",
        ],
    );
    let answer = container(&scene, none, &DOCTOR);
    let [state, reason, remedy] = doctor(&answer, "identity.user");
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("unavailable", "`user.max_user_namespaces` is 0")
    );
    assert!(remedy.starts_with("sysctl -w user.max_user_namespaces="), "{remedy}");
}

#[test]
fn where_no_sandbox_can_be_built_a_policy_that_accepts_all_that_is_missing_is_held_by_posix() {
    let scene = Scene::new();
    needs_containers!(&scene);
    let policy = |left_out: &str| {
        let names = Control::all().map(Control::name).filter(|name| *name != left_out);
        let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
        let allow = format!("[degrade]\nallow = [{}]\n", names.join(", "));
        let limits = "[limits]\nopen_files = 33\n";
        scene.file("open.toml", &format!("extends = \"base\"\n{limits}{allow}"));
    };
    let report = scene.path().join("inner.json");
    let runs = |backend: &[&str], before: &str| {
        let flags = ["--policy", "./open.toml", "--verbose", "--report", report.to_str().unwrap()];
        let program = ["--", "sh", "-c", "ulimit -n"];
        container(&scene, before, &[&[STOCKADE, "run"], &flags[..], backend, &program].concat())
    };
    let reported = |place: &str| {
        let report: serde_json::Value =
            serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        report.pointer(place).and_then(|it| it.as_str()).unwrap_or_default().to_owned()
    };
    let none = "echo 0 > /proc/sys/user/max_user_namespaces";
    policy("");
    let run = runs(&[], none).expect_code(0).expect_text("33\n");
    assert!(run.stderr.contains("warning: launched by the posix backend"), "{}", run.told());
    assert_eq!(reported("/backend"), "posix");
    assert!(reported("/fallback").contains("`user.max_user_namespaces` is 0"), "{}", run.told());
    assert_eq!(reported("/enforcement/syscalls/state"), "unavailable");
    // Who asks for the platform's own gets no other.
    is_refused(runs(&["--backend", "linux"], none), &["identity.user can't be enforced here"]);
    // One name less, and it is refused as before.
    policy("syscalls");
    let hint = "all that the posix backend lacks: `stockade doctor --backend posix` lists it";
    is_refused(runs(&[], none), &["identity.user can't be enforced here", hint]);
    // Where sandboxes can be built, the walls are there, whatever would be accepted.
    policy("");
    runs(&[], ":").expect_code(0).expect_text("33\n");
    assert_eq!((reported("/backend"), reported("/fallback")), ("linux".into(), String::new()));
    assert_eq!(reported("/enforcement/syscalls/state"), "enforced");
}

#[test]
fn where_new_user_namespaces_have_no_rights_the_step_that_needs_one_is_named() {
    // AppArmor on Ubuntu lets a process make a user namespace and gives it nothing in it. Here a filter forbids the same.
    let scene = Scene::new();
    let within = |calls: &[&str], program: &[&str]| {
        let calls = calls.iter().flat_map(|call| ["--allow-syscall", call]);
        let flags: Vec<&str> = OPEN[2..].iter().copied().chain(calls).collect();
        scene.run(&flags, program)
    };
    let hint =
        "hint: a sandbox or container around this process, or a security module, may forbid it";
    let some = ["clone3", "openat2"];
    is_refused(within(&some, &RUNS), &["launch failed at `hide the host's cgroup tree`", hint]);
    let more = ["clone3", "openat2", "unshare"];
    is_refused(within(&more, &RUNS), &["launch failed at `make mounts private`", hint]);
    let answer = within(&some, &DOCTOR);
    let [state, reason, remedy] = doctor(&answer, "filesystem.view");
    assert_eq!(state, "unavailable", "{}", answer.told());
    assert!(reason.contains("make mounts private"), "{reason}");
    assert!(remedy.contains("@nesting"), "{remedy}");
}

#[test]
fn the_apparmor_profile_is_printed_for_the_program_that_prints_it() {
    let print = |program: &Path| {
        let output = Command::new(program).args(["doctor", "--apparmor-profile"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let profile = print(Path::new(STOCKADE));
    let shipped =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/apparmor/stockade"));
    let shipped = shipped.unwrap();
    assert_eq!(profile, shipped.replace("\"/usr/bin/stockade\"", &format!("\"{STOCKADE}\"")));
    for line in ["abi <abi/4.0>,", "profile stockade @{stockade} flags=(unconfined) {", "  userns,"]
    {
        assert!(profile.lines().any(|it| it == line), "{profile}");
    }
    // A path may hold what would be a pattern.
    let scene = Scene::new();
    let other = scene.path().join("a{b}*");
    fs::hard_link(STOCKADE, &other).or_else(|_| fs::copy(STOCKADE, &other).map(drop)).unwrap();
    assert!(print(&other).contains(r#"/a\{b\}\*""#));
}

// In itself.

#[test]
fn in_a_usual_sandbox_there_is_none_and_the_outer_policy_s_lines_are_named() {
    let scene = Scene::new();
    let flags = ["--read", STOCKADE];
    let said = [
        "launch failed at `clone into new namespaces`",
        "hint: a filter around this process forbids calls that building a sandbox needs",
        "that one's policy needs `syscalls.allow = [\"@nesting\"]`",
    ];
    is_refused(scene.run(&flags, &RUNS), &said);
    let answer = scene.run(&flags, &DOCTOR);
    let [state, reason, remedy] = doctor(&answer, "identity.user");
    assert_eq!(state, "unavailable", "{}", answer.told());
    assert!(reason.contains("clone into new namespaces"), "{reason}");
    assert!(remedy.contains("@nesting"), "{remedy}");
    // Outside the same command runs.
    scene.run(&[], &["echo", "ran"]).expect_text("ran\n");
}

#[test]
fn under_landlock_nobody_mounts_and_the_key_that_leaves_it_out_is_named() {
    if let Some(why) = lacks("filesystem.access_rules").filter(|why| !why.contains("version")) {
        skip!("landlock: {why}");
    }
    let scene = Scene::new();
    let run = scene.run(&[&OPEN[..2], &OPEN[4..]].concat(), &RUNS);
    let hint = "that one's policy needs `filesystem.access_rules = false`";
    is_refused(run, &["launch failed at `mount a new root", hint]);
    inner(&scene, &[], &["echo", "ran"]).expect_text("ran\n");
}

/// Runs a program in a sandbox in a sandbox. One of a user's covers a part of `/proc`, so the inner one has none.
fn inner(scene: &Scene, flags: &[&str], program: &[&str]) -> Outcome {
    let proc: &[&str] = if is_root() { &[] } else { &["--proc", "none"] };
    let words = [&[STOCKADE, "run"], proc, flags, &["--"], program].concat();
    scene.run(&[&OPEN[..], &["--write", "."]].concat(), &words)
}

#[test]
fn in_a_sandbox_whose_policy_allows_it_another_has_walls_of_its_own() {
    let scene = Scene::new();
    scene.file("outer-only", "seen\n");
    let look = "
import os, socket
def attempt(what):
    try: return what()
    except OSError as error: return error.strerror
print(attempt(lambda: open('outer-only').read().strip()))
print(attempt(lambda: os.kill(-1, 0) or 'signalled'))
print(os.getpid() < 4)
print(attempt(lambda: os.uname().nodename))
print([line for line in open('/proc/self/status') if 'NoNewPrivs' in line] if os.path.exists('/proc/self') else '')";
    let outside = scene.python(&[&OPEN[..], &["--read", "."]].concat(), look);
    assert!(outside.text().starts_with("seen\n"), "{}", outside.told());
    // `.` is the policy's own there too, unless it is another directory.
    let report = scene.at("inner.json");
    let flags = ["--hostname", "inner", "--hide", &scene.at("outer-only"), "--report", &report];
    let run = inner(&scene, &flags, &[PYTHON, "-c", look]);
    let text = run.text();
    assert!(text.starts_with("\n") || text.starts_with("No such file"), "{}", run.told());
    assert!(text.contains("inner\n"), "{}", run.told());
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    for wall in [
        "lifetime",
        "isolation.processes",
        "isolation.ipc",
        "isolation.hostname",
        "filesystem.view",
        "network.mode",
        "identity.user",
        "capabilities",
        "no_new_privileges",
        "descriptors",
        "syscalls",
    ] {
        assert_eq!(told["enforcement"][wall]["state"], "enforced", "{wall}: {told:#}");
    }
    // The outer one doesn't let more than one filter ask, so the inner one's denials are denied and not counted.
    let how = told["enforcement"]["syscalls"]["how"].as_str().unwrap();
    assert!(how.contains("a filter around Stockade is told of its own"), "{how}");
}

#[test]
fn the_inner_policy_denies_what_the_outer_one_allows() {
    let scene = Scene::new();
    let code = "
import ctypes
print(ctypes.CDLL(None, use_errno=True).unshare(0x10000000))";
    scene.python(&OPEN, code).expect_text("0\n");
    inner(&scene, &[], &[PYTHON, "-c", code]).expect_text("-1\n");
    let killed = inner(&scene, &["--on-violation", "kill"], &[PYTHON, "-c", code]);
    assert_eq!(killed.status.code(), Some(159), "{}", killed.told());
    // And never allows what the outer one denies.
    let deny = [&OPEN[..], &["--deny-syscall", "sched_get_priority_max"]].concat();
    let proc: &[&str] = if is_root() { &[] } else { &["--proc", "none"] };
    let asks = "
import os
try: print(os.sched_get_priority_max(os.SCHED_FIFO))
except OSError as error: print(error.strerror)";
    let words = [
        &[STOCKADE, "run"],
        proc,
        &["--allow-syscall", "sched_get_priority_max", "--", PYTHON, "-c", asks],
    ]
    .concat();
    scene.run(&deny, &words).expect_text("Operation not permitted\n");
}

#[test]
fn the_inner_sandbox_ends_with_the_outer_one() {
    let scene = Scene::new();
    let marker = format!("nested-{}", std::process::id());
    let proc: &[&str] = if is_root() { &[] } else { &["--proc", "none"] };
    let line = format!("echo {marker} > /dev/null; while :; do sleep 1000; done");
    let words = [&[STOCKADE, "run"], proc, &["--", "sh", "-c", &line]].concat();
    scene
        .run(&[&OPEN[..], &["--wall-time", "1s", "--grace", "0s"]].concat(), &words)
        .expect_code(124);
    assert_eq!(support::processes_with(&marker), [0u32; 0]);
}
