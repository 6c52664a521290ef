//! Nothing survives: whatever a program starts ends with its sandbox, and the host is as it was before.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers in a test file for no tests")]

mod support;

use nix::sys::signal::Signal;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{
    Outcome, PYTHON, Scene, Started, cgroup_mount, cgroup_of, guarded, only_child, processes_with,
    signal, skip,
};

/// A word that stands on the command line of everything that one test starts.
fn marker(test: &str) -> String {
    format!("stockade-{test}-{}", std::process::id())
}

#[track_caller]
fn nothing_is_left_of(marker: &str) {
    assert_eq!(processes_with(marker), [0u32; 0], "processes with `{marker}` are left");
}

fn wall_time(run: &Outcome) -> f64 {
    run.reported("/wall_time_s").as_f64().unwrap()
}

/// Directories below one whose name holds a word.
fn groups_named(word: &str, below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // A group may go away while this looks.
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().contains(word) {
                found.push(entry.path());
            }
            found.extend(groups_named(word, &entry.path()));
        }
    }
    found
}

// Time.

#[test]
fn a_program_that_ignores_the_polite_signal_is_ended_after_exactly_its_grace() {
    // Long enough for the slowest guest to set the trap.
    let flags = ["--wall-time", "2s", "--grace", "400ms"];
    let run = Scene::new().bash(&flags, "trap '' TERM; while :; do read -t 1000; done <> <(:)");
    let run = run.expect_code(124);
    assert!(wall_time(&run) >= 2.4, "{}", run.told());
    assert!(wall_time(&run) < 10.0, "{}", run.told());
    assert_eq!(run.reported("/limit"), "limits.wall_time");
}

#[test]
fn a_program_that_obeys_the_polite_signal_needs_no_grace() {
    let flags = ["--wall-time", "2s", "--grace", "1h"];
    let line = "trap 'echo tidied up; exit 5' TERM; echo $$; while :; do read -t 1; done <> <(:)";
    let run = Scene::new().bash(&flags, line).expect_code(124);
    assert!(run.stdout.ends_with(b"tidied up\n"), "{}", run.told());
    assert!(wall_time(&run) >= 2.0, "{}", run.told());
    assert_eq!(run.reported("/exit_code"), 5);
}

#[test]
fn a_program_that_stopped_itself_is_ended_when_its_time_is_over() {
    // Time enough for the shell to start and stop itself on an emulated processor: before, the polite signal would end it.
    let flags = ["--wall-time", "3s", "--grace", "1s"];
    let run = Scene::new().bash(&flags, "kill -STOP $$").expect_code(124);
    assert!(wall_time(&run) >= 3.9, "{}", run.told());
}

// Descendants.

#[test]
fn a_child_in_the_background_ends_with_the_program() {
    let marker = marker("background");
    let line = format!("(exec -a {marker} sleep 1000) & echo started");
    let run = Scene::new().bash(&[], &line);
    run.expect_text("started\n");
    nothing_is_left_of(&marker);
}

#[test]
fn a_daemon_with_a_session_of_its_own_ends_with_the_program() {
    let marker = marker("daemon");
    let code = "
import os, signal, sys
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP): signal.signal(number, signal.SIG_IGN)
        os.write(w, b'x')
        while True: signal.pause()
    os._exit(0)
os.read(r, 1)
print('the daemon runs')
";
    let run = Scene::new().run(&[], &[PYTHON, "-c", code, &marker]);
    run.expect_text("the daemon runs\n");
    nothing_is_left_of(&marker);
}

#[test]
fn processes_that_fork_without_end_are_ended_all() {
    let marker = marker("forks");
    let code = "
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: pass
";
    let flags = ["--wall-time", "2s", "--grace", "100ms", "--pids", "100"];
    let run = Scene::new().run(&flags, &[PYTHON, "-c", code, &marker]);
    // Where the limit can only be watched, it may be what ends it.
    assert!(matches!(run.status.code(), Some(124 | 137)), "{}", run.told());
    nothing_is_left_of(&marker);
}

#[test]
fn orphans_are_taken_care_of() {
    // Each child leaves a grandchild behind; whoever ends without being waited for would stay as a zombie.
    let code = "
import os
for n in range(30):
    if os.fork() == 0:
        os.fork()
        os._exit(0)
    os.wait()
def state(pid):
    try: return open(f'/proc/{pid}/stat').read().rsplit(')')[1].split()[0]
    except OSError: return None
while any(state(pid) == 'Z' for pid in os.listdir('/proc') if pid.isdigit()): pass
print('none')
";
    Scene::new().python(&["--wall-time", "30s"], code).expect_text("none\n");
}

// The death of somebody in between.

/// Starts a tree that ignores signals, kills Stockade after a time, and waits until nobody holds the output.
fn kill_stockade_after(scene: &Scene, marker: &str, delay: Duration) {
    let line = "trap '' TERM INT HUP; setsid bash -c 'read <> <(:)' $0 & read <> <(:)";
    let mut command = scene.command(&[], &["bash", "-c", line, marker]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while started.elapsed() < delay {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // The end of file is the event: every process of the tree had this open.
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(stdout.read_to_end(&mut Vec::new())));
    let ended = waiting.recv_timeout(Duration::from_secs(30));
    ended.unwrap_or_else(|_| panic!("something outlived Stockade killed after {delay:?}")).unwrap();
}

#[test]
fn nothing_outlives_stockade_killed_at_any_moment() {
    let (scene, marker) = (Scene::new(), marker("killed"));
    for step in 0..60 {
        kill_stockade_after(&scene, &marker, Duration::from_micros(200 * step));
    }
    nothing_is_left_of(&marker);
}

#[test]
fn the_group_of_a_killed_stockade_is_removed_by_the_next_run() {
    let (scene, name) = (Scene::new(), marker("swept"));
    let command = scene.command(&["--name", &name], &["bash", "-c", "echo; exec sleep 1000"]);
    let mut started = Started::new(command);
    let group = cgroup_of(started.program());
    let Some(group) = group.filter(|group| group.to_string_lossy().contains(&name)) else {
        started.signal(Signal::SIGTERM);
        started.finish(&scene);
        skip!("delegation: sandboxes have no cgroup of their own here");
    };
    started.child.kill().unwrap();
    started.child.wait().unwrap();
    // Its output ends with the last process.
    started.line();
    scene.run(&[], &["true"]).expect_code(0);
    assert!(!group.exists(), "`{}` is left", group.display());
}

#[test]
fn a_sandbox_whose_first_process_is_killed_ends_and_says_so() {
    let (scene, marker) = (Scene::new(), marker("first"));
    let line = "trap 'echo heard' USR1; echo; setsid sleep 1000 & while :; do wait; done";
    let mut started = Started::new(scene.command(&[], &["bash", "-c", line, &marker]));
    // Signals are passed on only when the launch is over.
    started.signal(Signal::SIGUSR1);
    assert_eq!(started.line(), "heard");
    signal(only_child(started.child.id()), Signal::SIGKILL);
    let run = started.finish(&scene).expect_code(128 + 9);
    assert_eq!(run.reported("/cause"), "signalled");
    nothing_is_left_of(&marker);
}

#[test]
fn the_programs_end_is_not_held_up_by_a_child_that_keeps_the_output_open() {
    let scene = Scene::new();
    let run = scene.bash(&["--wall-time", "60s"], "setsid sleep 1000 & echo $!; exit 4");
    assert!(wall_time(&run.expect_code(4)) < 30.0);
}

// The host.

#[test]
fn the_cgroup_of_a_sandbox_is_removed_at_its_end() {
    let scene = Scene::new();
    let mut started = Started::new(scene.command(&[], &["bash", "-c", "echo; read"]));
    let (own, group) = (cgroup_of(std::process::id()), cgroup_of(started.program()));
    started.say("\n");
    if group == own {
        started.finish(&scene);
        skip!("delegation: sandboxes have no cgroup of their own here");
    }
    let group = group.unwrap();
    started.finish(&scene).expect_code(0);
    assert!(!group.exists(), "`{}` is left", group.display());
}

#[test]
fn the_hosts_cgroups_and_mounts_are_the_same_afterwards() {
    let (scene, name) = (Scene::new(), marker("same"));
    let out = scene.directory("out");
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let flags = ["--name", &name, "--write", &out, "--wall-time", "2s", "--grace", "0s"];
    scene.bash(&flags, "exit 3").expect_code(3);
    scene.bash(&flags, "sleep 1000 & sleep 1000").expect_code(124);
    scene.run(&flags, &["/no/such/program"]).expect_code(127);
    scene.run(&[&flags[..], &["--workdir", "/no/such"]].concat(), &["true"]).expect_code(125);

    assert_eq!(mounts(), before);
    if let Some(mount) = cgroup_mount() {
        assert_eq!(groups_named(&name, &mount), Vec::<PathBuf>::new());
    }
    let left: Vec<_> = fs::read_dir(&out).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn many_sandboxes_at_once_leave_each_other_alone() {
    let scene = Scene::new();
    let mut all: Vec<Started> = (0..20)
        .map(|n| {
            Started::new(scene.command(&[], &["bash", "-c", &format!("echo {n}; read; exit {n}")]))
        })
        .collect();
    let ended = all.remove(7);
    ended.signal(Signal::SIGKILL);
    let mut ended = ended.child;
    guarded(ended.id(), || ended.wait().unwrap());
    for (expected, started) in (0..20).filter(|n| *n != 7).zip(all) {
        started.finish(&scene).expect_code(expected);
    }
}
