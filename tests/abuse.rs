//! Hostile programs under each limit, measured from outside while they run: in the files of their cgroup and in `/proc`,
//! never by what they say themselves. Each is seen above the limit where that limit alone is raised.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::print_stdout, reason = "the harness keeps the figures of a test that fails")]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Outcome, PYTHON, Scene, Started, cgroup_of, lacks, skip};

const MEBIBYTE: u64 = 1 << 20;

/// What memory may be above its limit for a moment. The kernel adds to a count first, 64 pages at once on each CPU, and
/// takes them back where that was too much (256 KiB for each); and some allocations for which it couldn't stand a
/// failure are counted without asking.
const IN_FLIGHT: u64 = MEBIBYTE;

/// Why there is no `stress-ng`; `None` where there is one.
fn no_stress() -> Option<&'static str> {
    let there = fs::exists("/usr/bin/stress-ng").unwrap();
    (!there).then_some("`cargo verify packages` installs it")
}

fn cpus() -> u64 {
    std::thread::available_parallelism().unwrap().get() as u64
}

#[expect(clippy::disallowed_methods, reason = "what is measured sends no event")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A sandbox that runs a line of bash, and the cgroup that it has.
struct Abuse {
    started: Started,
    place: PathBuf,
}

impl Abuse {
    /// Starts it; the line runs when this returns.
    fn new(scene: &Scene, flags: &str, line: &str) -> Self {
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let line = format!("echo up; {line}");
        let started = Started::new(scene.command(&flags, &["bash", "-c", &line]));
        // Before anything else: the program may end, or change its children, at any time.
        let first = support::only_child(started.child.id());
        let place = cgroup_of(first).unwrap();
        Self { started, place }
    }

    /// A file of the cgroup; `None` when that is gone.
    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.place.join(name)).ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// CPU time that it has used.
    fn cpu(&self) -> Duration {
        let text = self.text("cpu.stat").unwrap();
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        Duration::from_micros(used.parse().unwrap())
    }

    /// Bytes that it has written to disks.
    fn written(&self) -> u64 {
        let text = self.text("io.stat").unwrap();
        let words = text.split_whitespace().filter_map(|word| word.strip_prefix("wbytes="));
        words.map(|bytes| bytes.parse::<u64>().unwrap()).sum()
    }

    /// Stops every process or lets it go on, and returns when that is done.
    fn freeze(&self, frozen: bool) {
        let state = u8::from(frozen);
        fs::write(self.place.join("cgroup.freeze"), state.to_string()).unwrap();
        let begin = Instant::now();
        while !self.text("cgroup.events").unwrap().contains(&format!("frozen {state}")) {
            assert!(begin.elapsed() < Duration::from_secs(20), "it doesn't stand still");
            pause(Duration::from_millis(5));
        }
    }

    /// The most that is seen of everything until it ends.
    fn watch(mut self, scene: &Scene) -> (Seen, Outcome) {
        let (mut seen, begin) = (Seen::default(), Instant::now());
        while self.started.child.try_wait().unwrap().is_none() {
            seen.look(&self);
            pause(Duration::from_millis(10));
            if begin.elapsed() > Duration::from_secs(60) {
                self.started.signal(Signal::SIGKILL);
            }
        }
        (seen, self.end(scene))
    }

    /// The most that is seen until it is enough, and for a while longer.
    fn watch_until(&self, enough: impl Fn(&Seen) -> bool) -> Seen {
        let (mut seen, begin) = (Seen::default(), Instant::now());
        let mut rest = 100;
        while rest > 0 && begin.elapsed() < Duration::from_secs(30) {
            seen.look(self);
            rest -= u32::from(enough(&seen));
            pause(Duration::from_millis(10));
        }
        seen
    }

    /// Ends its program, which takes the rest along.
    fn stop(self, scene: &Scene) -> Outcome {
        self.started.signal(Signal::SIGTERM);
        self.end(scene)
    }

    /// Waits for the end; the kernel removes no cgroup in which a process is left, so nothing is.
    fn end(self, scene: &Scene) -> Outcome {
        let run = self.started.finish(scene);
        assert!(!self.place.exists(), "{} is left{}", self.place.display(), run.told());
        run
    }
}

/// The most of everything that was seen.
#[derive(Debug, Default)]
struct Seen {
    looks: u64,
    memory: u64,
    memory_peak: u64,
    pids: u64,
    pids_peak: u64,
    descriptors: usize,
}

impl Seen {
    fn look(&mut self, abuse: &Abuse) {
        let (Some(memory), Some(pids)) =
            (abuse.number("memory.current"), abuse.number("pids.current"))
        else {
            return;
        };
        self.looks += 1;
        self.memory = self.memory.max(memory);
        self.pids = self.pids.max(pids);
        self.memory_peak = self.memory_peak.max(abuse.number("memory.peak").unwrap_or(0));
        self.pids_peak = self.pids_peak.max(abuse.number("pids.peak").unwrap_or(0));
        for pid in abuse.text("cgroup.procs").unwrap_or_default().lines() {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
            self.descriptors = self.descriptors.max(open);
        }
    }
}

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

/// Takes 150 MiB, a MiB at a time.
const HOG: &str = "held = [bytearray(b'x' * (1 << 20)) for _ in range(150)]";

/// A hundred children which take 2 MiB each, all of them at once, and hold it until all have it.
const CHILDREN: &str = "
import os
gate, opener = os.pipe()
has, tells = os.pipe()
end, ender = os.pipe()
for _ in range(100):
    if os.fork() == 0:
        os.close(opener)
        os.close(ender)
        os.read(gate, 1)
        held = b'x' * (2 << 20)
        os.write(tells, b'.')
        os.read(end, 1)
        os._exit(0)
os.close(opener)
told = 0
while told < 100: told += len(os.read(has, 100))
os.close(ender)
for _ in range(100): os.wait()";

/// A fork bomb that never tires: bash waits longer and longer when it is refused a process.
const FORKS: &str = "
import os
while True:
    try: os.fork()
    except OSError: pass";

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
        scene.file("forks.py", FORKS);
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
    scenes[0].file("forks.py", FORKS);
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
