//! A launch that fails says at which step and on what, runs nothing, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers in a test file for no tests")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Outcome, Scene, cgroup_mount, is_root, processes_with, skip};

/// What a failed launch could have left on the host.
struct Before {
    name: String,
    mounts: String,
}

impl Before {
    fn new(test: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        Self { name: format!("stockade-{test}-{}", std::process::id()), mounts }
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        assert_eq!(processes_with(&self.name), [0u32; 0]);
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), self.mounts);
        if let Some(mount) = cgroup_mount() {
            assert!(!has_directory_named(&self.name, &mount), "a cgroup is left");
        }
    }
}

fn has_directory_named(word: &str, below: &Path) -> bool {
    // A group may go away while this looks.
    fs::read_dir(below).into_iter().flatten().flatten().any(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && (entry.file_name().to_string_lossy().contains(word)
                || has_directory_named(word, &entry.path()))
    })
}

/// Runs `echo ran` while every call of one kind fails.
fn with_broken(
    scene: &Scene,
    name: &str,
    flags: &[&str],
    call: &str,
    error: &str,
) -> Option<Outcome> {
    let inner = scene.command(&[&["--name", name], flags].concat(), &["echo", "ran"]);
    let (inject, trace) = (format!("inject={call}:error={error}"), format!("trace={call}"));
    let mut command = Command::new("strace");
    command.current_dir(scene.path());
    command.args(["-f", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
    command.arg(inner.get_program()).args(inner.get_args());
    let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    works.is_ok_and(|output| output.status.success()).then(|| scene.finish(command))
}

/// A step that the kernel refuses ends the launch, is named, and leaves nothing.
#[track_caller]
fn is_told(test: &str, steps: &[(&str, &str, &str)]) {
    let (scene, before) = (Scene::new(), Before::new(test));
    for (call, error, step) in steps {
        let Some(run) = with_broken(&scene, &before.name, &[], call, error) else {
            skip!("strace: not installed, or it may not trace");
        };
        let run = run.expect_refusal(&[step]);
        assert_eq!(run.stdout, b"", "{}", run.told());
        assert_eq!(run.reported("/cause"), "launch_failed");
        assert!(run.reported("/error").as_str().unwrap().contains(step), "{}", run.told());
        before.nothing_is_left();
    }
}

// What the caller asked for.

#[test]
fn a_missing_path_is_named_with_the_key_that_names_it() {
    let (scene, before) = (Scene::new(), Before::new("missing"));
    for (flag, key) in [("--read", "filesystem.read"), ("--write", "filesystem.write")] {
        let flags = ["--name", &before.name, flag, "/no/such/path"];
        scene.run(&flags, &["true"]).expect_refusal(&["/no/such/path", key, "No such file"]);
        before.nothing_is_left();
    }
    scene.run(&["--read-optional", "/no/such/path"], &["true"]).expect_code(0);
}

#[test]
fn a_working_directory_that_doesnt_exist_inside_is_named() {
    let (scene, other, before) = (Scene::new(), Scene::new(), Before::new("workdir"));
    // It exists, but not inside.
    let hidden = other.directory("hidden");
    let flags = ["--name", &before.name, "--workdir", &hidden];
    scene.run(&flags, &["true"]).expect_refusal(&["enter", &hidden, "No such file"]);
    before.nothing_is_left();
    scene.run(&[&flags[..], &["--read", &hidden]].concat(), &["true"]).expect_code(0);
}

#[test]
fn a_program_that_isnt_visible_inside_is_not_found_and_the_hint_says_why() {
    let (scene, other) = (Scene::new(), Scene::new());
    let program = other.script("program", "#!/bin/sh\necho ran\n");
    let run = scene.run(&[], &[&program]).expect_code(127);
    assert!(run.stderr.contains(&program) && run.stderr.contains("hint:"), "{}", run.told());
    scene.run(&["--read", &program], &[&program]).expect_text("ran\n");
}

#[test]
fn what_cant_be_executed_is_named() {
    let (scene, before) = (Scene::new(), Before::new("exec"));
    scene.script("garbage", "neither script nor program");
    scene.script("interpreter", "#!/no/such/interpreter\n");
    scene.directory("directory");
    for (program, code) in [("./garbage", 126), ("./directory", 126), ("./interpreter", 127)] {
        let run = scene.run(&["--name", &before.name], &[program]).expect_code(code);
        assert!(run.stderr.contains(program), "{}", run.told());
        assert_eq!(run.reported("/cause"), "launch_failed");
        before.nothing_is_left();
    }
}

#[test]
fn a_report_that_cant_be_written_is_told_before_anything_runs() {
    let scene = Scene::new();
    let out = scene.directory("out");
    for place in ["/no/such/report.json", "/", "fd:77", "fd:x"] {
        let flags = ["--report", place, "--write", &out];
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.arg("run").args(flags).args(["--", "touch", &scene.at("out/ran")]);
        scene.finish(command).expect_refusal(&["report", place]);
        assert!(!fs::exists(scene.at("out/ran")).unwrap(), "{place}");
    }
}

#[test]
fn a_nul_or_nothing_as_a_command_is_refused() {
    let scene = Scene::new();
    scene.run(&[], &[""]).expect_code(127);
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.args(["run", "--"]);
    scene.finish(command).expect_code(125);
}

// What the kernel refuses.

#[test]
fn a_refused_clone_is_told() {
    is_told(
        "clone",
        &[
            ("clone3", "ENOSYS", "clone into new namespaces"),
            ("clone3", "EPERM", "clone into new namespaces"),
            ("clone3", "EAGAIN", "clone into new namespaces"),
        ],
    );
}

#[test]
fn a_clone_that_cant_put_the_child_into_its_group_is_made_up_for() {
    let (scene, before) = (Scene::new(), Before::new("fallback"));
    let Some(run) = with_broken(&scene, &before.name, &[], "clone3", "EINVAL:when=1") else {
        skip!("strace: not installed, or it may not trace");
    };
    before.nothing_is_left();
    if run.status.code() == Some(0) {
        let how = run.reported("/enforcement/lifetime/how").as_str().unwrap();
        assert!(how.contains("moved into its cgroup after the clone"), "{}", run.told());
        let usual = scene.run(&["--name", &before.name], &["echo", "ran"]).expect_code(0);
        let how = usual.reported("/enforcement/lifetime/how").as_str().unwrap();
        assert!(!how.contains("moved"), "{}", usual.told());
    } else {
        // Where sandboxes have no group, the first clone is the only one.
        run.expect_refusal(&["clone into new namespaces"]);
    }
}

#[test]
fn a_refused_mount_is_told() {
    // As root the trees are opened before the clone, as a user by the child.
    let copy = if support::is_root() {
        "failed to copy the mount of `/"
    } else {
        "launch failed at `mount /"
    };
    is_told(
        "mounts",
        &[
            ("open_tree", "EINVAL", copy),
            ("fsopen", "EPERM", "mount a new root"),
            ("fsmount", "EPERM", "mount a new root"),
            ("move_mount", "EPERM", "mount a new root"),
            ("mount_setattr", "EINVAL", "make mounts private"),
            ("symlinkat", "ENOSPC", "link /bin"),
            ("pivot_root", "EPERM", "pivot to the new root"),
            ("umount2", "EBUSY", "pivot to the new root"),
        ],
    );
}

#[test]
fn a_refused_loss_of_rights_is_told() {
    is_told(
        "rights",
        &[
            ("sethostname", "EPERM", "set host name stockade"),
            ("setresgid", "EPERM", "become user"),
            ("setresuid", "EAGAIN", "become user"),
            ("capset", "EPERM", "set capabilities"),
            ("close_range", "ENOSYS", "close descriptors"),
            ("setsid", "EPERM", "start a session"),
        ],
    );
    if is_root() {
        is_told("groups", &[("setgroups", "EPERM", "drop supplementary groups")]);
    }
}

#[test]
fn a_refused_limit_or_view_is_told() {
    is_told(
        "views",
        &[
            ("unshare", "EPERM", "hide the host's cgroup tree"),
            ("ioctl", "EPERM", "bring loopback up"),
        ],
    );
}

#[test]
fn a_refused_promise_to_gain_no_privileges_is_told() {
    let (scene, before) = (Scene::new(), Before::new("promise"));
    let trace = scene.at("trace");
    let inner = scene.command(&["--name", &before.name], &["true"]);
    let mut command = Command::new("strace");
    command.current_dir(scene.path()).args(["-f", "-o", &trace, "-e", "trace=prctl"]);
    command.arg(inner.get_program()).args(inner.get_args());
    if !Command::new("strace").arg("true").output().is_ok_and(|output| output.status.success()) {
        skip!("strace: not installed, or it may not trace");
    }
    scene.finish(command).expect_code(0);
    // Which of its process's calls of prctl(2) it is: the program's process makes the most.
    let trace = fs::read_to_string(trace).unwrap();
    let calls = |pid| trace.lines().filter(move |line| line.split(' ').next() == Some(pid));
    let pids = trace.lines().filter_map(|line| line.split(' ').next());
    let program = pids.max_by_key(|pid| calls(pid).count()).unwrap();
    let nth = calls(program).position(|line| line.contains("PR_SET_NO_NEW_PRIVS")).unwrap() + 1;
    let broken = format!("EPERM:when={nth}");
    let run = with_broken(&scene, &before.name, &[], "prctl", &broken).unwrap();
    run.expect_refusal(&["set no_new_privs"]);
    before.nothing_is_left();
}

#[test]
fn refused_access_rules_are_told() {
    let whole = Scene::new().run(&[], &["true"]).expect_code(0);
    let told = &whole.reported("/enforcement")["filesystem.access_rules"];
    if told["state"] == "unavailable" {
        skip!("landlock: {}", told["how"]);
    }
    is_told("rules", &[("landlock_restrict_self", "EPERM", "restrict files with Landlock")]);
}

#[test]
fn a_refused_filter_is_told() {
    // Both the look before the launch and the launch itself need it; the look comes first.
    is_told("filter", &[("seccomp", "EINVAL", "syscalls can't be enforced here")]);
}

#[test]
fn a_kernel_without_landlock_is_accepted_only_where_the_policy_says_so() {
    let (scene, before) = (Scene::new(), Before::new("landlock"));
    let call = "landlock_create_ruleset";
    let Some(run) = with_broken(&scene, &before.name, &[], call, "ENOSYS") else {
        skip!("strace: not installed, or it may not trace");
    };
    let run = run.expect_code(0);
    let told = &run.report["enforcement"]["filesystem.access_rules"];
    assert_eq!(told["state"], "unavailable", "{}", run.told());
    assert!(!told["how"].as_str().unwrap().is_empty(), "{}", run.told());

    let strict = scene.file(
        "strict.toml",
        "description = \"accepts nothing less\"\n[filesystem]\nread = [\"/usr\"]\n\
         read_optional = [\"/bin\", \"/lib\", \"/lib64\"]\n[degrade]\nallow = [\"identity.groups\"]\n",
    );
    let refused =
        with_broken(&scene, &before.name, &["--policy", &strict], call, "ENOSYS").unwrap();
    let refused = refused.expect_refusal(&["filesystem.access_rules can't be enforced", "hint:"]);
    assert_eq!(refused.stdout, b"");
    before.nothing_is_left();
}

#[test]
fn too_few_descriptors_are_told_and_never_a_panic() {
    let scene = Scene::new();
    let with = |most: u32| {
        let inner = scene.command(&[], &["true"]);
        let mut command = Command::new("bash");
        command.current_dir(scene.path());
        command.args(["-c", &format!("ulimit -n {most}; exec \"$@\""), "bash"]);
        scene.finish({
            command.arg(inner.get_program()).args(inner.get_args());
            command
        })
    };
    // With three the binary itself can't be loaded.
    let runs: Vec<Outcome> = (4..24).map(with).collect();
    for run in &runs {
        assert!(matches!(run.status.code(), Some(0 | 125)), "{}", run.told());
    }
    let few = &runs[2];
    assert!(few.stderr.contains("failed to"), "{}", few.told());
    with(64).expect_code(0);
}
