//! The CPU among those who want it: a share of a core, shares by weight, and what is left to the rest of the machine beside
//! programs that take all they can.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stdout, reason = "the harness keeps the figures of a test that fails")]

#[path = "support/abuse.rs"]
mod abuse;
#[path = "support/programs.rs"]
mod programs;
mod support;

use abuse::{Abuse, cpus, no_stress, pause};
use nix::sys::signal::Signal;
use programs::{FORK_BOMB, HOG};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{PYTHON, Scene, lacks, skip};

/// CPU time that each of these uses in a second.
fn shares<const N: usize>(all: [&Abuse; N], time: Duration) -> [f64; N] {
    // What a quota allows at once at the start is used up by then.
    pause(Duration::from_secs(1));
    let (begin, before) = (Instant::now(), all.map(Abuse::cpu));
    pause(time);
    let (after, took) = (all.map(Abuse::cpu), begin.elapsed());
    std::array::from_fn(|at| (after[at] - before[at]).as_secs_f64() / took.as_secs_f64())
}

#[test]
fn half_a_core_is_half_a_core_to_five_percent() {
    if let Some(why) = lacks("limits.cpu") {
        skip!("cpu: {why}");
    }
    if let Some(why) = no_stress() {
        skip!("stress-ng: {why}");
    }
    let share = |flags: &str, seconds| {
        let scene = Scene::new();
        let line = "exec stress-ng --quiet --cpu 2 --temp-path /tmp --timeout 60s";
        let abuse = Abuse::new(&scene, flags, line);
        let [share] = shares([&abuse], Duration::from_secs(seconds));
        println!("{share} of a core with `{flags}`");
        abuse.stop(&scene);
        share
    };
    // A machine that stands still itself for a part of a period loses what was left of it, so that less is had than
    // allowed; once in three times it doesn't. More is never had.
    let mut most = 0.0_f64;
    for _ in 0..3 {
        let held = share("--cpu 0.5", 10);
        assert!(held <= 0.525, "{held} of a core");
        most = most.max(held);
        if most >= 0.475 {
            break;
        }
    }
    assert!(most >= 0.475, "{most} of a core");
    let free = share("", 3);
    assert!(free > 0.8, "{free} of a core without the limit");
}

#[test]
fn two_sandboxes_on_one_cpu_share_it_by_weight() {
    if let Some(why) = lacks("limits.cpus").or(lacks("limits.cpu_weight")) {
        skip!("cpuset: {why}");
    }
    let scenes = [Scene::new(), Scene::new()];
    let ratio = |weights: [u32; 2]| {
        let flags = weights.map(|weight| format!("--cpus 0 --cpu-weight {weight}"));
        let line = "while :; do :; done";
        let [light, heavy] = [0, 1].map(|at| Abuse::new(&scenes[at], &flags[at], line));
        let [less, more] = shares([&light, &heavy], Duration::from_secs(10));
        println!("{less} and {more} of a core with {weights:?}");
        light.stop(&scenes[0]);
        heavy.stop(&scenes[1]);
        more / less
    };
    let weighted = ratio([100, 300]);
    assert!((2.7..=3.3).contains(&weighted), "{weighted} times as much");
    let even = ratio([100, 100]);
    assert!((0.9..=1.1).contains(&even), "{even} times as much");
}

/// Rounds of a hash in a second of the clock: the work of somebody else on this machine.
fn speed(time: Duration) -> f64 {
    let (begin, mut rounds, mut hasher) = (Instant::now(), 0u64, DefaultHasher::new());
    while begin.elapsed() < time {
        for _ in 0..1000 {
            rounds.hash(&mut hasher);
            rounds += 1;
        }
    }
    std::hint::black_box(hasher.finish());
    rounds as f64 / begin.elapsed().as_secs_f64()
}

/// How fast a loop is beside a fork bomb and a memory hog, as a share of its speed while they stand still.
///
/// Both are measured in turn, so that what else goes on here and on the machine below slows both. `neighbour` runs while
/// they stand still.
fn kept(flags: &str, neighbour: Option<&Neighbour>) -> f64 {
    let scenes = [Scene::new(), Scene::new()];
    scenes[0].file("forks.py", FORK_BOMB);
    scenes[1].file("hog.py", HOG);
    let bomb = format!("--pids 30 {flags}");
    let bomb = Abuse::new(&scenes[0], &bomb, "exec /usr/bin/python3 forks.py");
    let hog = format!("--memory 64MiB --oom-kill process {flags}");
    let line = "while :; do /usr/bin/python3 hog.py; done 2> /dev/null";
    let hog = Abuse::new(&scenes[1], &hog, line);
    pause(Duration::from_secs(3));
    let (mut alone, mut beside) = (0.0, 0.0);
    for _ in 0..16 {
        for frozen in [true, false] {
            bomb.freeze(frozen);
            hog.freeze(frozen);
            if let Some(neighbour) = neighbour {
                neighbour.run(frozen);
            }
            // Several periods of a quota, so that each part of one weighs little.
            *(if frozen { &mut alone } else { &mut beside }) += speed(Duration::from_millis(400));
        }
    }
    println!("{} of the speed with {flags}", beside / alone);
    bomb.stop(&scenes[0]);
    hog.stop(&scenes[1]);
    beside / alone
}

#[test]
fn work_outside_goes_on_beside_sandboxes_that_have_little_of_the_cpu() {
    if let Some(why) = lacks("limits.cpu") {
        skip!("cpu: {why}");
    }
    let held = kept("--cpu 0.05", None);
    assert!(held >= 0.8, "{held} of the speed");
    // As many as there are CPUs are needed to be in the way of somebody who may choose one.
    let free = kept("--cpu 8", None);
    assert!(free < held - 0.15, "{free} of the speed without the limit, {held} with it");
}

/// A plain loop on one CPU, outside.
struct Neighbour(Child);

impl Neighbour {
    fn on(cpu: &str) -> Self {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", cpu, PYTHON, "-c", "while True: pass"]);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn run(&self, on: bool) {
        support::signal(self.0.id(), if on { Signal::SIGCONT } else { Signal::SIGSTOP });
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Keeps this thread, and what it starts from now on, on one CPU.
fn stay_on(cpu: &str) {
    let own = fs::read_link("/proc/thread-self").unwrap();
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "--pid", cpu]).arg(own.file_name().unwrap());
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
}

#[test]
fn work_on_one_cpu_goes_on_beside_sandboxes_pinned_to_another() {
    if let Some(why) = lacks("limits.cpus") {
        skip!("cpuset: {why}");
    }
    if cpus() < 2 {
        skip!("smp: there is one CPU");
    }
    stay_on("0");
    // Where processors are emulated, one that has work takes time from the others. So the speed that is to be kept is the
    // one beside an honest program on the other CPU.
    let neighbour = Neighbour::on("1");
    let held = kept("--cpus 1", Some(&neighbour));
    assert!(held >= 0.8, "{held} of the speed");
    neighbour.run(true);
    let free = kept("--cpus 0", None);
    assert!(free < 0.8, "{free} of the speed on the same CPU");
}
