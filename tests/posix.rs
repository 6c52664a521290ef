//! `--backend posix`: what any Unix can hold, tried here; and that it says of everything else that it can't.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::process::Command;
use stockade::platform::Control;
use support::{Outcome, Scene, Started, is_root, processes_with, skip};

/// A scene whose policy `open.toml` does without every wall, by name, and has these keys.
fn scene(rest: &str) -> Scene {
    let scene = Scene::new();
    let names: Vec<String> =
        Control::all().map(|control| format!("{:?}", control.name())).collect();
    let allow = format!("[degrade]\nallow = [{}]\n", names.join(", "));
    scene.file("open.toml", &format!("extends = \"base\"\n{rest}\n{allow}"));
    scene
}

const FLAGS: [&str; 4] = ["--backend", "posix", "--policy", "./open.toml"];

fn python(scene: &Scene, code: &str) -> Outcome {
    scene.python(&FLAGS, code)
}

fn bash(scene: &Scene, line: &str) -> Outcome {
    scene.bash(&FLAGS, line)
}

#[test]
fn streams_and_ends_are_the_programs_own() {
    let scene = scene("");
    let run = bash(&scene, "echo out; echo err >&2; exit 7").expect_code(7);
    assert_eq!((&*run.stdout, run.stderr.trim_end()), (&b"out\n"[..], "err"));
    assert_eq!(run.reported("/cause"), "exited");
    let run = bash(&scene, "kill -USR1 $$").expect_code(128 + 10);
    assert_eq!(run.reported("/signal"), 10);
    scene.run(&FLAGS, &["no-such-program"]).expect_code(127);
    let plain = scene.file("plain", "not a program");
    scene.run(&FLAGS, &[plain]).expect_code(126);
    // A failed step is named.
    let run = scene.run(&[&FLAGS[..], &["--workdir", "/no/such/place"]].concat(), &["true"]);
    run.expect_refusal(&["launch failed at `start in /no/such/place`"]);
}

#[test]
fn a_signal_is_passed_on_and_the_report_says_what_was_used() {
    let scene = scene("");
    let line = "trap 'echo heard; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let mut started = Started::new(scene.command(&FLAGS, &["bash", "-c", line]));
    started.signal(Signal::SIGTERM);
    assert_eq!(started.line(), "heard");
    let run = started.finish(&scene).expect_code(3);
    assert!(run.reported("/wall_time_s").as_f64().unwrap() > 0.0, "{}", run.told());
    let run = python(&scene, "for _ in range(3_000_000): pass").expect_code(0);
    assert!(run.reported("/cpu/user_s").as_f64().unwrap() > 0.0, "{}", run.told());
}

#[test]
fn each_process_of_the_tree_is_told() {
    let scene = scene("");
    let line = "sleep 1000 & trap 'kill $!; exit 0' TERM; echo up; wait";
    let flags = [&FLAGS[..], &["--name", "posix-tree"]].concat();
    let started = Started::new(scene.command(&flags, &["bash", "-c", line]));
    let mut stats = Command::new(env!("CARGO_BIN_EXE_stockade"));
    stats.args(["stats", "--json", "--processes"]);
    let output = stats.output().unwrap();
    let all = String::from_utf8_lossy(&output.stdout);
    let mut all = all.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ours = |status: &serde_json::Value| {
        // Others run beside it.
        status["processes"][0]["command"].as_str().is_some_and(|command| command.contains(line))
    };
    let status = all.find(ours).unwrap_or_else(|| panic!("{output:?}"));
    let processes = status["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 2, "{status}");
    assert_eq!(processes[1]["command"], "sleep 1000", "{status}");
    assert_eq!(processes[1]["parent"], processes[0]["pid"], "{status}");
    started.signal(Signal::SIGTERM);
    started.finish(&scene).expect_code(0);
}

#[test]
fn nothing_but_the_three_streams_is_inherited() {
    let scene = scene("");
    let list = "ls /proc/self/fd | tr '\\n' ' '";
    let flags = FLAGS.join(" ");
    let program = env!("CARGO_BIN_EXE_stockade");
    let outer = format!("exec 7</dev/null; {program} run {flags} -- bash -c {list:?}");
    let output =
        Command::new("bash").args(["-c", &outer]).current_dir(scene.path()).output().unwrap();
    // `ls` has one for the directory that it reads.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0 1 2 3 ", "{output:?}");
    let without = format!("exec 7</dev/null; {list}");
    let output = Command::new("bash").args(["-c", &without]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains('7'), "{output:?}");
}

#[test]
fn a_tree_is_gone_with_its_program_also_who_left_the_session() {
    let scene = scene("");
    let marker = format!("posix-{}", std::process::id());
    // Two in the session, one of them an orphan, and one that begins a session of its own.
    let line = format!(
        "sleep 1000.{marker} 2>/dev/null || bash -c 'while :; do sleep 0.05; done # {marker}' & \
         (bash -c 'while :; do sleep 0.05; done # {marker}' &) ; \
         setsid bash -c 'while :; do sleep 0.05; done # {marker}' & \
         sleep 0.5; echo up; while :; do sleep 0.05; done # {marker}"
    );
    for wall_time in [true, false] {
        let mut flags = FLAGS.to_vec();
        if wall_time {
            flags.extend(["--wall-time", "3s", "--grace", "0s"]);
        }
        let started = Started::new(scene.command(&flags, &["bash", "-c", &line]));
        assert!(processes_with(&marker).len() > 3);
        if !wall_time {
            started.signal(Signal::SIGKILL);
        }
        let _run = if wall_time {
            let run = started.finish(&scene).expect_code(124);
            assert_eq!(run.reported("/limit"), "limits.wall_time", "{}", run.told());
            assert_eq!(processes_with(&marker), Vec::<u32>::new());
            Some(run)
        } else {
            // Nobody ends a tree whose starter is killed: the policy accepted that (`lifetime`). This test does.
            drop(started);
            for pid in processes_with(&marker) {
                support::signal(pid, Signal::SIGKILL);
            }
            None
        };
    }
}

#[test]
fn address_space_files_and_their_sizes_are_limited() {
    let scene = scene("");
    let space = "
import mmap
try: mmap.mmap(-1, 2 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); print('has it')
except OSError as error: print(error.errno)";
    let with = |flags: &[&str], code: &str| scene.python(&[&FLAGS[..], flags].concat(), code);
    with(&[], space).expect_code(0).expect_text("has it\n");
    with(&["--memory", "1GiB"], space).expect_code(0).expect_text("12\n");

    let open = "
held = []
try:
    while len(held) < 100: held.append(open('/dev/null'))
except OSError as error: pass
print(len(held) + 3)";
    with(&[], open).expect_code(0).expect_text("103\n");
    with(&["--open-files", "32"], open).expect_code(0).expect_text("32\n");

    let write = "
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open('file', 'wb', buffering=0) as file:
    try:
        while file.tell() < 4 << 20: file.write(b'x' * 4096)
    except OSError as error: print(error.errno)
    print(file.tell())";
    with(&[], write).expect_code(0).expect_text("4194304\n");
    with(&["--file-size", "1MiB"], write).expect_code(0).expect_text("27\n1048576\n");
}

#[test]
fn cpu_time_ends_a_tree_and_each_process_has_a_last_limit_of_its_own() {
    let scene = scene("");
    let with = |flags: &[&str], line: &str| scene.bash(&[&FLAGS[..], flags].concat(), line);
    // Two that use half each: only the tree is over.
    let both = "(while :; do :; done) & while :; do :; done";
    let run = with(&["--cpu-time", "1s", "--grace", "0s"], both).expect_code(124);
    assert_eq!(run.reported("/limit"), "limits.cpu_time", "{}", run.told());
    // What is left if nobody looks any more: a signal, and for who doesn't heed it the end.
    let limits = "ulimit -S -t; ulimit -H -t";
    with(&["--cpu-time", "2s", "--grace", "4s"], limits).expect_code(0).expect_text("3\n7\n");
    let run = with(&[], limits).expect_code(0);
    assert_eq!(run.text(), "unlimited\nunlimited\n");
    let softly = "ulimit -S -t 1; while :; do :; done";
    with(&[], softly).expect_code(128 + 24);
    let heedless = "trap '' XCPU; ulimit -t 1; while :; do :; done";
    with(&[], heedless).expect_code(128 + 9);
}

#[test]
fn memory_of_a_tree_is_watched() {
    let scene = scene("");
    // Four that take 40 MiB each.
    let code = "
import os, time
for _ in range(3):
    if os.fork() == 0: break
held = bytearray(b'x' * (40 << 20))
time.sleep(3)";
    let with = |flags: &[&str]| scene.python(&[&FLAGS[..], flags].concat(), code);
    let run = with(&["--memory", "128MiB"]).expect_code(137);
    assert_eq!(run.reported("/limit"), "limits.memory", "{}", run.told());
    assert_eq!(run.reported("/enforcement/limits.memory/state"), "degraded");
    with(&["--memory", "2GiB"]).expect_code(0);
}

#[test]
fn a_user_has_no_more_processes_than_the_limit() {
    if is_root() {
        skip!("user: root's processes aren't counted");
    }
    let scene = scene("");
    let code = "
import os, time
children = []
try:
    while len(children) < 400: 
        child = os.fork()
        if child == 0: time.sleep(60); os._exit(0)
        children.append(child)
    print('all')
except BlockingIOError: print('refused')
for child in children: os.kill(child, 9)";
    let with = |flags: &[&str]| scene.python(&[&FLAGS[..], flags].concat(), code);
    with(&[]).expect_code(0).expect_text("all\n");
    with(&["--pids", "200"]).expect_code(0).expect_text("refused\n");
}

#[test]
fn what_it_can_not_hold_is_refused_by_name_with_the_line_that_accepts_it() {
    let scene = Scene::new();
    let run = scene.run(&["--backend", "posix", "--policy", "worker"], &["true"]);
    run.expect_refusal(&[
        "syscalls can't be enforced here: ",
        "filesystem.view",
        "isolation.processes",
        "the posix backend has no walls",
        "limits.memory can't be enforced here: POSIX has limits for processes and users",
    ]);
    let doctor = Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(["doctor", "--backend", "posix", "--json"])
        .output()
        .unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(told["backend"], "posix");
    assert_eq!(told["controls"]["filesystem.view"]["state"], "unavailable");
    assert_eq!(told["controls"]["limits.file_size"]["state"], "enforced");
    let unknown = scene.run(&["--backend", "windows"], &["true"]);
    assert!(unknown.stderr.contains("posix"), "{}", unknown.told());
}
