//! Hostile programs under each limit, measured from outside while they run. Each is seen above the limit where that limit
//! alone is raised.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stdout, reason = "the harness keeps the figures of a test that fails")]

#[path = "support/abuse.rs"]
mod abuse;
#[path = "support/programs.rs"]
mod programs;
mod support;

use abuse::{Abuse, Seen, cpus, no_stress, pause};
use programs::{CHILDREN, FORK_BOMB, HOG};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use support::{Outcome, Scene, cgroup_of, lacks, skip};

const MEBIBYTE: u64 = 1 << 20;

/// What memory may be above its limit for a moment. The kernel adds to a count first, 64 pages at once on each CPU, and
/// takes them back where that was too much (256 KiB for each); and some allocations for which it couldn't stand a
/// failure are counted without asking.
const IN_FLIGHT: u64 = MEBIBYTE;

/// Runs a line with the limit, and with more; what was seen of both.
fn twice(limited: &str, raised: &str, line: &str) -> [(Seen, Outcome); 2] {
    [limited, raised].map(|flags| {
        let scene = Scene::new();
        scene.file("hog.py", HOG);
        scene.file("children.py", CHILDREN);
        let (seen, run) = Abuse::new(&scene, flags, line).watch(&scene);
        println!("{flags}: {line}: {seen:?}");
        assert!(seen.looks > 5, "{seen:?}{}", run.told());
        (seen, run)
    })
}

/// Memory under a limit of so many MiB, and above it with more.
#[track_caller]
fn memory_holds(mebibytes: u64, flags: &str, line: &str) -> Outcome {
    let limited = format!("--memory {mebibytes}MiB {flags}");
    let [(held, run), (free, _)] = twice(&limited, &format!("--memory 700MiB {flags}"), line);
    let limit = mebibytes * MEBIBYTE;
    assert!(held.memory <= limit + IN_FLIGHT, "{held:?}{}", run.told());
    assert!(held.memory_peak <= limit + IN_FLIGHT, "{held:?}{}", run.told());
    assert!(held.memory > limit / 2, "it never came near: {held:?}{}", run.told());
    assert!(free.memory > limit + IN_FLIGHT, "{free:?} with more");
    run
}

#[test]
fn memory_hogs_stay_below_the_limit() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    if let Some(why) = no_stress() {
        skip!("stress-ng: {why}");
    }
    // One worker at a time is killed and begun anew, so that they push against the limit all the time.
    let line = "exec stress-ng --quiet --vm 2 --vm-bytes 150M --temp-path /tmp --timeout 3s";
    let run = memory_holds(64, "--oom-kill process", line);
    assert_eq!(run.reported("/memory_kills/tree"), false, "{}", run.told());

    let run = memory_holds(64, "", "exec /usr/bin/python3 hog.py");
    assert_eq!(run.reported("/cause"), "out_of_memory", "{}", run.told());
}

#[test]
fn a_hundred_children_that_allocate_at_once_stay_below_the_limit() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let run = memory_holds(96, "", "exec /usr/bin/python3 children.py").expect_code(137);
    assert_eq!(run.reported("/cause"), "out_of_memory", "{}", run.told());
}

#[test]
fn files_in_memory_stay_below_the_limit() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    for place in ["/tmp", "/dev/shm"] {
        let line = format!("head -c 150M /dev/zero > {place}/file");
        let run = memory_holds(64, "--tmp 512MiB", &line).expect_code(137);
        assert_eq!(run.reported("/cause"), "out_of_memory", "{}", run.told());
    }
}

#[test]
fn what_is_kept_of_files_on_a_disk_stays_below_the_limit() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    if let Some(why) = no_stress() {
        skip!("stress-ng: {why}");
    }
    let line = "exec stress-ng --quiet --hdd 2 --hdd-bytes 100M --timeout 4s";
    let run = memory_holds(64, "--write .", line).expect_code(0);
    // Nothing of it has to be killed: what is kept of files can be given back.
    assert_eq!(run.reported("/memory_kills"), &Value::Null, "{}", run.told());
}

/// Processes under a limit, and more with another.
#[track_caller]
fn processes_hold(line: &str) {
    let most = |pids: u64, enough: u64| {
        let scene = Scene::new();
        scene.file("forks.py", FORK_BOMB);
        let abuse = Abuse::new(&scene, &format!("--pids {pids}"), line);
        let seen = abuse.watch_until(|seen| seen.pids >= enough);
        println!("{pids} processes: {line}: {seen:?}");
        (seen, abuse.stop(&scene))
    };
    // One more is for the sandbox's init. A process is counted before it is refused: on each CPU one may be at that.
    let (limit, in_flight) = (31, cpus());
    let (held, run) = most(30, limit);
    assert!(held.pids <= limit + in_flight, "{held:?}{}", run.told());
    assert!(held.pids_peak <= limit, "{held:?}{}", run.told());
    assert!(run.reported("/pids/denied").as_u64() > Some(0), "{}", run.told());
    let (free, _) = most(90, limit + in_flight + 1);
    assert!(free.pids > limit + in_flight, "{free:?} with more");
}

#[test]
fn fork_bombs_have_no_more_processes_than_the_limit() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: {why}");
    }
    processes_hold("bomb() { bomb | bomb & }; bomb 2> /dev/null; sleep 1000");
    processes_hold("exec /usr/bin/python3 forks.py");
}

#[test]
fn a_stress_of_forks_has_no_more_processes_than_the_limit() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: {why}");
    }
    if let Some(why) = no_stress() {
        skip!("stress-ng: {why}");
    }
    processes_hold("exec stress-ng --quiet --fork 8 --fork-max 16 --temp-path /tmp --timeout 30s");
}

#[test]
fn no_process_has_more_files_open_than_the_limit() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: sandboxes have no cgroup here that says which processes are theirs: {why}");
    }
    if let Some(why) = no_stress() {
        skip!("stress-ng: {why}");
    }
    let line = "exec stress-ng --quiet --open 2 --temp-path /tmp --timeout 3s";
    let [(held, _), (free, _)] = twice("--open-files 64", "--open-files 1024", line);
    assert!((32..=64).contains(&held.descriptors), "{held:?}");
    assert!(free.descriptors > 64, "{free:?} with more");
}

#[test]
fn a_disk_is_written_no_faster_than_the_limit() {
    let scene = Scene::new();
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    if nix::sys::stat::major(fs::metadata(scene.path()).unwrap().dev()) == 0 {
        skip!("disk: the scratch directory is on none");
    }
    if let Some(why) = no_stress() {
        skip!("stress-ng: {why}");
    }
    let hdd = ("--hdd 2 --hdd-bytes 32M --hdd-opts direct", 1024.0);
    for (work, limit) in [hdd, ("--iomix 2 --iomix-bytes 32M", 128.0)] {
        let rate = |flags: &str| {
            let scene = Scene::new();
            let line = format!("exec stress-ng --quiet {work} --timeout 60s");
            let abuse = Abuse::new(&scene, &format!("--write . {flags}"), &line);
            pause(Duration::from_secs(2));
            let (begin, before) = (Instant::now(), abuse.written());
            pause(Duration::from_secs(5));
            let rate = (abuse.written() - before) as f64 / 1024.0 / begin.elapsed().as_secs_f64();
            println!("{rate} KiB/s of {work} with `{flags}`");
            abuse.stop(&scene);
            rate
        };
        let held = rate(&format!("--io path=.,write={limit}KiB/s"));
        // What has been waiting is let go in slices of a tenth of a second.
        assert!(held <= limit * 1.1, "{held} KiB/s of {work}");
        let free = rate("");
        assert!(free > limit * 1.3, "{free} KiB/s of {work} without the limit");
    }
}

#[test]
fn stockade_itself_is_in_no_limited_group_and_survives_what_is_killed_for_memory() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    // Less than Stockade's own process has: as one of the group it would be killed at once.
    let line = "read line; head -c 64M /dev/zero | tail > /dev/null";
    for oom_kill in ["tree", "process"].iter().cycle().take(6) {
        let scene = Scene::new();
        let flags = format!("--memory 4MiB --oom-kill {oom_kill}");
        let mut abuse = Abuse::new(&scene, &flags, line);
        let own = abuse.started.child.id();
        assert!(!cgroup_of(own).unwrap().starts_with(&abuse.place), "{:?}", cgroup_of(own));
        let members = abuse.text("cgroup.procs").unwrap();
        assert!(members.lines().all(|pid| pid != own.to_string()), "{own} among {members}");
        // The program stands there, so that the look is at the right place.
        assert_eq!(cgroup_of(abuse.started.program()).as_deref(), Some(&*abuse.place));
        abuse.started.say("go\n");
        let run = abuse.end(&scene);
        // Itself killed, it would have no code, and have left no report.
        assert!(run.status.code().is_some(), "{}", run.told());
        assert!(run.reported("/memory_kills/processes").as_u64() > Some(0), "{}", run.told());
        if *oom_kill == "tree" {
            assert_eq!(run.reported("/cause"), "out_of_memory", "{}", run.told());
        }
    }
    let scene = Scene::new();
    let mut free = Abuse::new(&scene, "--memory 256MiB", line);
    free.started.say("go\n");
    assert_eq!(free.end(&scene).reported("/memory_kills"), &Value::Null);
}
