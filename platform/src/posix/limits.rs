//! Which limits each process carries along, and their values. Pure but for the caller's own limits, which nobody unprivileged may
//! raise: the lower one holds anyway.

use crate::descriptors::usual_descriptors;
use crate::{Control, Decision, LaunchPlan};
use rustix::process::{Resource, getrlimit};
use std::fmt;
use std::time::Duration;

/// A limit that a process has from before it executes its program, and hands on to its children (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    /// What it serves.
    pub(super) control: Control,
    /// Its name there.
    pub(super) name: &'static str,
    pub(super) resource: Resource,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, soft, hard, .. } = self;
        write!(f, "set {name} to {soft}")?;
        if soft == hard { Ok(()) } else { write!(f, ", at most {hard}") }
    }
}

/// The limits of a plan, and how many descriptors are usual, where this process has more.
pub(super) fn of(plan: &LaunchPlan) -> Vec<Carried> {
    let own = |resource| getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let mut all: Vec<Carried> =
        wanted(plan).map(|limit| limit.below(own(limit.resource))).collect();
    let usual = usual_descriptors().filter(|_| plan.limits.open_files.is_none());
    all.extend(usual.map(|usual| Carried {
        control: Control::OpenFiles,
        name: "RLIMIT_NOFILE",
        resource: Resource::Nofile,
        soft: usual.current.unwrap_or(u64::MAX),
        hard: usual.maximum.unwrap_or(u64::MAX),
    }));
    all
}

impl Carried {
    fn new(control: Control, name: &'static str, resource: Resource, value: u64) -> Self {
        Self { control, name, resource, soft: value, hard: value }
    }

    fn below(mut self, own: u64) -> Self {
        self.soft = self.soft.min(own);
        self.hard = self.hard.min(own);
        self
    }
}

fn wanted(plan: &LaunchPlan) -> impl Iterator<Item = Carried> {
    let limits = &plan.limits;
    let bytes = |bytes: Option<crate::Bytes>| bytes.map(|bytes| bytes.0);
    let of = |control, name, resource, value: Option<u64>| {
        let held = match plan.controls.get(&control) {
            Some(Decision::Enforce | Decision::Degrade { .. }) => value,
            Some(Decision::Skip { .. }) | None => None,
        };
        held.map(|value| Carried::new(control, name, resource, value))
    };
    // The tree's CPU time is added up from outside, and is over before any process of it is over its own: this one is for when
    // nobody looks any more. Who doesn't heed the signal is killed when the grace is over (on macOS nobody is).
    let cpu = of(
        Control::CpuTime,
        "RLIMIT_CPU",
        Resource::Cpu,
        limits.cpu_time.map(|time| seconds(time).saturating_add(1)),
    );
    let cpu = cpu
        .map(|cpu| Carried { hard: cpu.soft.saturating_add(seconds(limits.grace).max(1)), ..cpu });
    [
        of(Control::OpenFiles, "RLIMIT_NOFILE", Resource::Nofile, limits.open_files),
        of(Control::FileSize, "RLIMIT_FSIZE", Resource::Fsize, bytes(limits.file_size)),
        of(Control::CoreSize, "RLIMIT_CORE", Resource::Core, bytes(limits.core_size)),
        of(Control::Stack, "RLIMIT_STACK", Resource::Stack, bytes(limits.stack)),
        of(Control::LockedMemory, "RLIMIT_MEMLOCK", Resource::Memlock, bytes(limits.locked_memory)),
        cpu,
        of(Control::Pids, "RLIMIT_NPROC", Resource::Nproc, limits.pids.map(u64::from)),
        address_space(of(Control::Memory, "RLIMIT_AS", Resource::As, bytes(limits.memory))),
    ]
    .into_iter()
    .flatten()
}

/// macOS counts what it reserves for every process, hundreds of gibibytes, and refuses a limit below that.
fn address_space(limit: Option<Carried>) -> Option<Carried> {
    limit.filter(|_| cfg!(not(target_os = "macos")))
}

/// Whole seconds, as many as are needed.
fn seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bytes;

    fn plan(controls: &[Control]) -> LaunchPlan {
        let mut plan = LaunchPlan::new("test-0001", vec!["true".into()]);
        plan.controls = controls.iter().map(|control| (*control, Decision::Enforce)).collect();
        plan.limits.cpu_time = Some(Duration::from_millis(1500));
        plan.limits.grace = Duration::from_secs(3);
        plan.limits.file_size = Some(Bytes(4096));
        plan
    }

    #[test]
    fn only_what_is_to_be_held_is_carried() {
        let skip = Decision::Skip { reason: "accepted".into() };
        let mut plan = plan(&[Control::CpuTime]);
        plan.controls.insert(Control::FileSize, skip);
        let told: Vec<String> = wanted(&plan).map(|limit| limit.to_string()).collect();
        assert_eq!(told, ["set RLIMIT_CPU to 3, at most 6"]);
    }

    #[test]
    fn nothing_is_above_what_the_caller_has() {
        let limit = wanted(&plan(&[Control::CpuTime])).next().unwrap().below(5);
        assert_eq!((limit.soft, limit.hard), (3, 5));
        let limit = wanted(&plan(&[Control::FileSize])).next().unwrap().below(5);
        assert_eq!((limit.soft, limit.hard), (5, 5));
    }
}
