//! Limits of a sandbox that runs, raised and lowered from outside.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use std::process::{Command, Output};
use support::{PYTHON, Scene, Started, cgroup_of, lacks, only_child, skip};

fn stockade(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stockade")).args(words).output().unwrap()
}

/// What `stockade update` says of a change that is made.
#[track_caller]
fn update(name: &str, flags: &[&str]) -> String {
    let output = stockade(&[&["update", name], flags].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    told
}

#[track_caller]
fn refused(name: &str, flags: &[&str]) -> String {
    let output = stockade(&[&["update", name], flags].concat());
    assert_eq!(output.status.code(), Some(125));
    String::from_utf8(output.stderr).unwrap()
}

/// Takes so many MiB as each line says, and tells; all the while it holds what it has.
const TAKER: &str = "
import sys
print('up', flush=True)
held = []
for line in sys.stdin:
    held += [bytearray(b'x' * (1 << 20)) for _ in range(int(line))]
    print('holds', len(held), flush=True)";

fn taker(scene: &Scene, name: &str, flags: &[&str]) -> Started {
    named(scene, name, flags, &[PYTHON, "-c", TAKER])
}

/// A program that runs as a sandbox of this name.
fn named(scene: &Scene, name: &str, flags: &[&str], program: &[&str]) -> Started {
    let run = Started::new(scene.command(&[&["--name", name], flags].concat(), program));
    support::listed(name);
    run
}

#[test]
fn more_memory_lets_a_program_have_what_it_could_not() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let scene = Scene::new();
    let mut run = taker(&scene, "raised", &["--memory", "64MiB"]);
    assert_eq!(update("raised", &["--memory", "512MiB"]), "");
    run.say("150\n");
    assert_eq!(run.line(), "holds 150");
    let ended = run.finish(&scene).expect_code(0);
    assert_eq!(ended.reported("/enforcement/limits.memory/value"), "536870912");

    let mut run = taker(&scene, "unraised", &["--memory", "64MiB"]);
    run.say("150\n");
    let ended = run.finish(&scene).expect_code(137);
    assert_eq!(ended.reported("/cause"), "out_of_memory", "{}", ended.told());
}

#[test]
fn less_memory_than_is_used_is_said_first_and_then_ends_it() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let scene = Scene::new();
    let mut run = taker(&scene, "lowered", &["--memory", "512MiB", "--swap", "0B"]);
    run.say("100\n");
    assert_eq!(run.line(), "holds 100");
    let change = ["--memory", "32MiB"];
    let told = update("lowered", &[&change[..], &["--dry-run"]].concat());
    assert!(told.contains("warning: limits.memory: it uses 1") && told.contains("kills"), "{told}");
    // Nothing has changed yet.
    run.say("1\n");
    assert_eq!(run.line(), "holds 101");
    assert!(update("lowered", &change).contains("warning: limits.memory: it uses 1"));
    let ended = run.finish(&scene).expect_code(137);
    assert_eq!(ended.reported("/cause"), "out_of_memory", "{}", ended.told());
    assert_eq!(ended.reported("/limit"), "limits.memory");
}

#[test]
fn the_kernel_holds_the_new_limits_and_none_where_one_is_taken_away() {
    for control in ["limits.memory", "limits.cpu", "limits.pids"] {
        if let Some(why) = lacks(control) {
            skip!("{}: {why}", control.trim_start_matches("limits."));
        }
    }
    let scene = Scene::new();
    let run = taker(&scene, "held", &["--memory", "128MiB", "--cpu", "1", "--pids", "20"]);
    let group = cgroup_of(only_child(run.child.id())).unwrap();
    let held = |file: &str| fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    let all = || ["memory.max", "memory.high", "cpu.max", "cpu.weight", "pids.max"].map(held);
    assert_eq!(all(), ["134217728", "max", "100000 100000", "100", "21"]);
    let flags = ["--memory-high", "64MiB", "--cpu", "0.5", "--cpu-weight", "30", "--pids", "8"];
    update("held", &flags);
    assert_eq!(all(), ["134217728", "67108864", "50000 100000", "30", "9"]);
    update("held", &["--memory-high", "unlimited", "--cpu", "unlimited", "--pids", "unlimited"]);
    assert_eq!(all(), ["134217728", "max", "max 100000", "30", "max"]);
    // Checked like a policy, and all or nothing.
    let told = refused("held", &["--memory-high", "1GiB", "--pids", "5"]);
    assert!(told.contains("`1GiB` is more than `limits.memory`"), "{told}");
    let told = refused("held", &["--pids", "5", "--cpus", "4000"]);
    assert!(told.contains("limits.cpus"), "{told}");
    assert_eq!(all(), ["134217728", "max", "max 100000", "30", "max"]);
    let ended = run.finish(&scene).expect_code(0);
    // The report has what was in force at the end.
    assert!(ended.report.pointer("/enforcement/limits.pids").is_none(), "{}", ended.told());
    assert_eq!(ended.reported("/enforcement/limits.cpu_weight/value"), "30");
}

#[test]
fn fewer_processes_than_there_are_end_none_and_start_none() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: {why}");
    }
    let scene = Scene::new();
    let line = "sleep 1000 & sleep 1000 & echo up; read; (true) || echo refused; kill %1 %2";
    let mut run = named(&scene, "fewer", &["--pids", "20"], &["bash", "-c", line]);
    let told = update("fewer", &["--pids", "2"]);
    assert!(told.contains("limits.pids: it has 3 processes and threads of 2"), "{told}");
    run.say("\n");
    let ended = run.finish(&scene);
    assert!(ended.stderr.contains("fork"), "{}", ended.told());
    assert!(ended.reported("/pids/denied").as_u64() > Some(0), "{}", ended.told());
    run = Started::new(scene.command(&["--pids", "20"], &["bash", "-c", line]));
    run.say("\n");
    assert_eq!(run.finish(&scene).reported("/pids/denied").as_u64(), Some(0));
}

#[test]
fn more_output_can_be_let_through_and_less() {
    let scene = Scene::new();
    let line = "while read -r bytes; do head -c $bytes /dev/zero | tr '\\0' x; echo; done";
    let program = ["bash", "-c", &format!("echo up; {line}")];
    let mut run = named(&scene, "talks", &["--output", "100B"], &program);
    assert_eq!(update("talks", &["--output", "1MiB"]), "");
    run.say("500\n");
    assert_eq!(run.line().len(), 500);
    let told = update("talks", &["--output", "200B"]);
    assert!(told.contains("limits.output: it has written 504B of 200B"), "{told}");
    let ended = run.finish(&scene).expect_code(137);
    assert_eq!(ended.reported("/limit"), "limits.output", "{}", ended.told());

    let run = named(&scene, "silent", &[], &program);
    let told = refused("silent", &["--output", "1MiB"]);
    assert!(told.contains("can't be given to a sandbox that started without"), "{told}");
    run.finish(&scene).expect_code(0);
}

#[test]
fn whom_the_end_of_memory_takes_can_be_changed() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let scene = Scene::new();
    scene.file("hog.py", "held = [bytearray(b'x' * (1 << 20)) for _ in range(150)]");
    let line = "echo up; read; /usr/bin/python3 hog.py; exit 5";
    let flags = ["--memory", "64MiB", "--swap", "0B"];
    for (name, change, code) in [("one", Some("process"), 5), ("all", None, 137)] {
        let mut run = named(&scene, name, &flags, &["bash", "-c", line]);
        if let Some(change) = change {
            update(name, &["--oom-kill", change]);
        }
        run.say("\n");
        run.finish(&scene).expect_code(code);
    }
}

#[test]
fn a_stall_can_be_watched_for_and_no_longer() {
    if let Some(why) = lacks("limits.memory_stall") {
        skip!("psi-thresholds: {why}");
    }
    let scene = Scene::new();
    let flags = ["--memory", "512MiB", "--memory-high", "24MiB", "--swap", "0B"];
    let mut run = taker(&scene, "stalls", &flags);
    update("stalls", &["--memory-stall", "1s"]);
    run.say("150\n");
    let ended = run.finish(&scene).expect_code(137);
    assert_eq!(ended.reported("/limit"), "limits.memory_stall", "{}", ended.told());
    assert_eq!(ended.reported("/enforcement/limits.memory_stall/state"), "enforced");

    let mut run = taker(&scene, "endures", &[&flags[..], &["--memory-stall", "1s"]].concat());
    update("endures", &["--memory-stall", "unlimited", "--wall-time", "8s", "--grace", "0s"]);
    run.say("150\n");
    // It crawls until something else ends it, or it has what it wanted.
    let ended = run.finish(&scene);
    assert_ne!(ended.reported("/limit"), "limits.memory_stall", "{}", ended.told());
    assert!(ended.report.pointer("/enforcement/limits.memory_stall").is_none());
}

#[test]
fn time_can_be_given_and_taken() {
    let scene = Scene::new();
    let flags = ["--wall-time", "4s", "--grace", "0s"];
    let longer = named(&scene, "longer", &flags, &["bash", "-c", "echo up; sleep 6"]);
    update("longer", &["--wall-time", "1h"]);
    let other = Scene::new();
    let flags = ["--wall-time", "1h", "--grace", "0s"];
    let shorter = named(&other, "shorter", &flags, &["bash", "-c", "echo up; sleep 1000"]);
    let told = update("shorter", &["--wall-time", "1ms"]);
    assert!(told.contains("limits.wall_time: it has run for"), "{told}");
    let ended = shorter.finish(&other).expect_code(124);
    assert_eq!(ended.reported("/limit"), "limits.wall_time", "{}", ended.told());
    longer.finish(&scene).expect_code(0);
}

#[test]
fn what_is_taken_along_from_the_start_can_not_be_changed() {
    let scene = Scene::new();
    let run = taker(&scene, "fixed", &[]);
    let told = refused("fixed", &["--open-files", "10"]);
    assert!(told.contains("limits.open_files can't be changed while it runs"), "{told}");
    assert!(refused("fixed", &["--memory", "lots"]).contains("`lots` is not a size"));
    assert!(refused("fixed", &[]).contains("no limit is to be changed"));
    assert!(refused("nobody-at-all", &["--pids", "10"]).contains("no sandbox of this user"));
    run.finish(&scene).expect_code(0);
}
