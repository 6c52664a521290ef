//! A hostile program in a sandbox, measured from outside: in the files of its cgroup and in `/proc`, never by what it says
//! itself.

#![allow(dead_code, reason = "no suite measures everything")]

use super::support::{Outcome, Scene, Started, cgroup_of, only_child};
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Why there is no `stress-ng`; `None` where there is one.
pub(crate) fn no_stress() -> Option<&'static str> {
    let there = fs::exists("/usr/bin/stress-ng").unwrap();
    (!there).then_some("`cargo verify packages` installs it")
}

pub(crate) fn cpus() -> u64 {
    std::thread::available_parallelism().unwrap().get() as u64
}

#[expect(clippy::disallowed_methods, reason = "what is measured sends no event")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A sandbox that runs a line of bash, and the cgroup that it has.
pub(crate) struct Abuse {
    pub(crate) started: Started,
    pub(crate) place: PathBuf,
}

impl Abuse {
    /// Starts it; the line runs when this returns.
    pub(crate) fn new(scene: &Scene, flags: &str, line: &str) -> Self {
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let line = format!("echo up; {line}");
        let started = Started::new(scene.command(&flags, &["bash", "-c", &line]));
        // Before anything else: the program may end, or change its children, at any time.
        let first = only_child(started.child.id());
        let place = cgroup_of(first).unwrap();
        Self { started, place }
    }

    /// A file of the cgroup; `None` when that is gone.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.place.join(name)).ok()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// CPU time that it has used.
    pub(crate) fn cpu(&self) -> Duration {
        let text = self.text("cpu.stat").unwrap();
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        Duration::from_micros(used.parse().unwrap())
    }

    /// Bytes that it has written to disks.
    pub(crate) fn written(&self) -> u64 {
        let text = self.text("io.stat").unwrap();
        let words = text.split_whitespace().filter_map(|word| word.strip_prefix("wbytes="));
        words.map(|bytes| bytes.parse::<u64>().unwrap()).sum()
    }

    /// Stops every process or lets it go on, and returns when that is done.
    pub(crate) fn freeze(&self, frozen: bool) {
        let state = u8::from(frozen);
        fs::write(self.place.join("cgroup.freeze"), state.to_string()).unwrap();
        let begin = Instant::now();
        while !self.text("cgroup.events").unwrap().contains(&format!("frozen {state}")) {
            assert!(begin.elapsed() < Duration::from_secs(20), "it doesn't stand still");
            pause(Duration::from_millis(5));
        }
    }

    /// The most that is seen of everything until it ends.
    pub(crate) fn watch(mut self, scene: &Scene) -> (Seen, Outcome) {
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
    pub(crate) fn watch_until(&self, enough: impl Fn(&Seen) -> bool) -> Seen {
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
    pub(crate) fn stop(self, scene: &Scene) -> Outcome {
        self.started.signal(Signal::SIGTERM);
        self.end(scene)
    }

    /// Waits for the end; the kernel removes no cgroup in which a process is left, so nothing is.
    pub(crate) fn end(self, scene: &Scene) -> Outcome {
        let run = self.started.finish(scene);
        assert!(!self.place.exists(), "{} is left{}", self.place.display(), run.told());
        run
    }
}

/// The most of everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) looks: u64,
    pub(crate) memory: u64,
    pub(crate) memory_peak: u64,
    pub(crate) pids: u64,
    pub(crate) pids_peak: u64,
    pub(crate) descriptors: usize,
}

impl Seen {
    pub(crate) fn look(&mut self, abuse: &Abuse) {
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
