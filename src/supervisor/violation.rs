//! What is done when a program reaches a limit, as the kernel tells of it. Pure.

use super::lifecycle::Reaction;
use crate::platform::{Control, Cores, Event, Resource};
use std::collections::BTreeMap;
use std::time::Duration;

/// What can happen to a program at its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// It came to `limits.memory`.
    Memory,
    /// It came to `limits.memory_high`.
    MemoryHigh,
    /// A new process or thread was refused, by `limits.pids`.
    Pids,
    /// `limits.cpu` held it back for a tenth of two seconds.
    Cpu,
    /// It waited for memory, for a tenth of two seconds.
    MemoryPressure,
    /// It waited for a CPU, for a tenth of two seconds.
    CpuPressure,
    /// It waited for a disk, for a tenth of two seconds.
    IoPressure,
}

impl Trigger {
    /// All of them, with the words of a stack file.
    pub const ALL: [(&str, Self); 7] = [
        ("memory", Self::Memory),
        ("memory_high", Self::MemoryHigh),
        ("pids", Self::Pids),
        ("cpu", Self::Cpu),
        ("memory_pressure", Self::MemoryPressure),
        ("cpu_pressure", Self::CpuPressure),
        ("io_pressure", Self::IoPressure),
    ];

    /// As it is written in a stack file.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, trigger)| *trigger == self).map_or("", |(word, _)| word)
    }

    /// What an event of a sandbox is, where it is any of these.
    pub(super) fn of(event: &Event) -> Option<Self> {
        match event {
            Event::NearMemoryLimit { limit: Control::MemoryHigh, .. } => Some(Self::MemoryHigh),
            Event::NearMemoryLimit { .. } | Event::OomKill { .. } => Some(Self::Memory),
            Event::PidsDenied { .. } => Some(Self::Pids),
            Event::Throttled => Some(Self::Cpu),
            Event::Pressure { resource: Resource::Memory } => Some(Self::MemoryPressure),
            Event::Pressure { resource: Resource::Cpu } => Some(Self::CpuPressure),
            Event::Pressure { resource: Resource::Io } => Some(Self::IoPressure),
            _ => None,
        }
    }

    /// The limit that it is about.
    pub(super) fn control(self) -> Control {
        match self {
            Self::Memory | Self::MemoryPressure => Control::Memory,
            Self::MemoryHigh => Control::MemoryHigh,
            Self::Pids => Control::Pids,
            Self::Cpu | Self::CpuPressure => Control::Cpu,
            Self::IoPressure => Control::Io,
        }
    }

    /// As people read it.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Memory => "it came to `limits.memory`",
            Self::MemoryHigh => "it came to `limits.memory_high`",
            Self::Pids => "it was refused a process, by `limits.pids`",
            Self::Cpu => "`limits.cpu` held it back",
            Self::MemoryPressure => "it waited for memory",
            Self::CpuPressure => "it waited for a CPU",
            Self::IoPressure => "it waited for a disk",
        }
    }
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// It is noted in the service's status.
    Log,
    /// The same, everybody who listens is told, and it is counted for alerts.
    Alert,
    /// The same, and its share of CPU time is halved until its next run.
    Throttle,
    /// Its run is brought to an end, or to a stand.
    Act(Reaction),
}

impl Measure {
    /// All of them, with the words of a stack file.
    pub const ALL: [(&str, Self); 7] = [
        ("log", Self::Log),
        ("alert", Self::Alert),
        ("throttle", Self::Throttle),
        ("freeze", Self::Act(Reaction::Freeze)),
        ("restart", Self::Act(Reaction::Restart)),
        ("stop", Self::Act(Reaction::Stop)),
        ("kill", Self::Act(Reaction::Kill)),
    ];
}

/// What is done, for each that is asked for.
pub type Measures = BTreeMap<Trigger, Measure>;

/// The same isn't told, nor throttled for, more often than this.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// Half of what there was; of a program that had no limit, half a core.
pub(super) fn throttled(cpu: Option<Cores>) -> Option<Cores> {
    Cores::from_millis((cpu.map_or(1000, Cores::millis) / 2).max(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_at_limits_are_what_measures_are_for() {
        let near = |limit| Event::NearMemoryLimit { limit, times: 2 };
        for (event, trigger) in [
            (near(Control::Memory), Some(Trigger::Memory)),
            (near(Control::MemoryHigh), Some(Trigger::MemoryHigh)),
            (Event::PidsDenied { times: 1 }, Some(Trigger::Pids)),
            (Event::Throttled, Some(Trigger::Cpu)),
            (Event::Pressure { resource: Resource::Io }, Some(Trigger::IoPressure)),
            (Event::Exited { exit_code: Some(0), signal: None }, None),
            (Event::Missed { events: 3 }, None),
        ] {
            assert_eq!(Trigger::of(&event), trigger, "{event:?}");
        }
    }

    #[test]
    fn a_throttle_halves_and_never_takes_all() {
        for (before, now) in [(None, 500), (Some(2000), 1000), (Some(10), 10)] {
            assert_eq!(throttled(before.and_then(Cores::from_millis)), Cores::from_millis(now));
        }
    }
}
