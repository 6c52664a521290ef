//! What a sandbox tells while it runs, and what its report says of limits that were reached.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::FORKS;
use serde_json::Value;
use std::fs;
use support::{Outcome, PYTHON, Scene, lacks, skip};

/// Takes memory a MiB at a time, up to the argument.
const HOG: &str = "
import sys
held = [bytearray(b'x' * (1 << 20)) for _ in range(int(sys.argv[1]))]";

/// Keeps one CPU busy for so many seconds of the clock.
const BUSY: &str = "
import sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end: pass";

/// A run of Python code with its events.
fn run(scene: &Scene, flags: &[&str], code: &str, argument: &str) -> (Outcome, Vec<Value>) {
    let path = scene.path().join("events.jsonl");
    let mut all = vec!["--events", path.to_str().unwrap()];
    all.extend(flags);
    let run = scene.run(&all, &[PYTHON, "-c", code, argument]);
    let text = fs::read_to_string(&path).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (run, events)
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[test]
fn the_end_is_told_last_with_the_time_and_the_id() {
    let scene = Scene::new();
    let (run, events) = run(&scene, &[], "raise SystemExit(3)", "");
    let run = run.expect_code(3);
    let last = events.last().unwrap();
    assert_eq!(names(&events).last(), Some(&"exited"));
    assert_eq!((&last["exit_code"], &last["signal"]), (&3.into(), &Value::Null));
    assert_eq!(&last["id"], run.reported("/id"));
    assert!(last["time"].as_str().unwrap().ends_with('Z'), "{last}");
}

#[test]
fn memory_at_its_limit_and_the_kill_are_told_and_a_run_with_room_tells_neither() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let scene = Scene::new();
    let (ended, events) = run(&scene, &["--memory", "64MiB"], HOG, "150");
    let ended = ended.expect_code(137);
    let found = names(&events);
    assert!(found.contains(&"near_memory_limit"), "{events:?}");
    let kill = events.iter().find(|event| event["event"] == "oom_kill").unwrap();
    assert!(kill["processes"].as_u64() >= Some(1), "{kill}");
    assert_eq!(found.last(), Some(&"exited"));
    assert_eq!(ended.reported("/cause"), "out_of_memory");
    assert_eq!(ended.reported("/memory_kills/tree"), true, "{}", ended.told());
    assert!(ended.reported("/pressed/limits.memory/times").as_u64() > Some(0));
    // Only those who may read the kernel's log learn whom it picked.
    if fs::File::open("/dev/kmsg").is_ok() {
        let victim = ended.reported("/memory_kills/victim/command").as_str().unwrap();
        assert!(victim.starts_with("python3"), "{}", ended.told());
    } else {
        assert_eq!(ended.reported("/memory_kills/victim"), &Value::Null);
    }

    let (free, events) = run(&scene, &["--memory", "512MiB"], HOG, "150");
    let free = free.expect_code(0);
    assert!(!names(&events).contains(&"oom_kill"), "{events:?}");
    assert_eq!(free.reported("/memory_kills"), &Value::Null);
}

#[test]
fn one_victim_is_told_from_the_whole_tree() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let scene = Scene::new();
    let flags = ["--memory", "64MiB", "--oom-kill", "process"];
    scene.file("hog.py", HOG);
    let line = format!("{PYTHON} hog.py 150; echo \"it ended with $?\"");
    let run = scene.bash(&flags, &line).expect_text("it ended with 137\n");
    assert_eq!(run.reported("/cause"), "exited");
    assert_eq!(run.reported("/memory_kills/tree"), false, "{}", run.told());
    assert_eq!(run.reported("/memory_kills/processes"), 1);
}

#[test]
fn refused_processes_are_told_and_reported_and_none_where_there_is_room() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: {why}");
    }
    let scene = Scene::new();
    let denied = |events: &[Value]| {
        let times = events.iter().filter(|event| event["event"] == "pids_denied");
        times.map(|event| event["times"].as_u64().unwrap()).sum::<u64>()
    };
    let (limited, events) = run(&scene, &["--pids", "10"], FORKS, "");
    let limited = limited.expect_code(0);
    assert!(denied(&events) >= 11, "{events:?}");
    assert_eq!(limited.reported("/pressed/limits.pids/times"), denied(&events), "{events:?}");

    let (free, events) = run(&scene, &["--pids", "40"], FORKS, "");
    assert_eq!(denied(&events), 0, "{events:?}");
    assert_eq!(free.expect_code(0).report["pressed"]["limits.pids"], Value::Null);
}

#[test]
fn the_share_of_time_that_the_cpu_limit_held_it_back_is_reported() {
    if let Some(why) = lacks("limits.cpu") {
        skip!("cpu: {why}");
    }
    let scene = Scene::new();
    let (limited, _) = run(&scene, &["--cpu", "0.2"], BUSY, "3");
    let limited = limited.expect_code(0);
    let share = limited.reported("/pressed/limits.cpu/share").as_f64().unwrap();
    assert!((0.5..=1.0).contains(&share), "{}", limited.told());

    let (free, _) = run(&scene, &["--cpu", "8"], BUSY, "1");
    assert_eq!(free.expect_code(0).report["pressed"]["limits.cpu"], Value::Null);
}

#[test]
fn being_held_back_is_told_while_it_runs() {
    if let Some(why) = lacks("limits.memory_stall") {
        skip!("psi-thresholds: {why}");
    }
    let scene = Scene::new();
    let (_, events) = run(&scene, &["--cpu", "0.2"], BUSY, "6");
    assert!(names(&events).contains(&"throttled"), "{events:?}");

    let (_, events) = run(&scene, &["--cpu", "8"], BUSY, "3");
    assert!(!names(&events).contains(&"throttled"), "{events:?}");
}

#[test]
fn a_tree_that_only_waits_for_memory_is_ended_and_that_is_the_cause() {
    if let Some(why) = lacks("limits.memory_stall") {
        skip!("psi-thresholds: {why}");
    }
    let scene = Scene::new();
    // Above `memory_high`, with nothing to give back, the kernel lets it do next to nothing.
    let flags = ["--memory", "512MiB", "--memory-high", "24MiB", "--swap", "0B"];
    let flags = [&flags[..], &["--wall-time", "8s", "--grace", "0s"]].concat();
    let stall = [&flags[..], &["--memory-stall", "1s"]].concat();
    let (ended, events) = run(&scene, &stall, HOG, "400");
    let ended = ended.expect_code(137);
    assert_eq!(ended.reported("/cause"), "limit_exceeded", "{}", ended.told());
    assert_eq!(ended.reported("/limit"), "limits.memory_stall");
    assert_eq!(ended.reported("/enforcement/limits.memory_stall/state"), "enforced");
    // A part of the window before counts for the kernel, in proportion, so that less than the second can be enough.
    assert!(ended.reported("/pressure/memory/full_s").as_f64() >= Some(0.5), "{}", ended.told());
    assert!(names(&events).contains(&"memory_stalled"), "{events:?}");

    // Without the watchdog it crawls until something else ends it, or it has what it wanted.
    let (crawled, events) = run(&scene, &flags, HOG, "400");
    assert!(!names(&events).contains(&"memory_stalled"), "{events:?}");
    assert_ne!(crawled.reported("/limit"), "limits.memory_stall", "{}", crawled.told());
    assert!(crawled.reported("/pressed/limits.memory_high/times").as_u64() > Some(0));
}

#[test]
fn a_stall_that_the_kernel_cannot_measure_is_a_mistake() {
    let scene = Scene::new();
    for wrong in ["10ms", "6s"] {
        let run = scene.run(&["--memory-stall", wrong], &["true"]);
        run.expect_refusal(&["--memory-stall", "can't be measured (write `100ms` to `5s`)"]);
    }
}
