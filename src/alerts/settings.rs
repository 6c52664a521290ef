//! What fires an alert, of which services, and who is told of it: as it is meant.

use super::Facts;
use crate::logs::Url;
use crate::policy::Policy;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// All rules and receivers of a stack, by their names.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// What fires.
    pub rules: BTreeMap<String, Rule>,
    /// Who is told.
    pub receivers: BTreeMap<String, Receiver>,
}

/// What fires an alert: one of its own for each instance of a service that it is about.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rule {
    /// What must be the case.
    pub when: When,
    /// For how long without a break.
    pub hold: Duration,
    /// The services that it is about; none for all.
    pub services: Vec<String>,
    /// Labels that a service must have for it to be about that.
    pub matching: BTreeMap<String, String>,
    /// What is said of the alert, the severity among it; an alert is another one where these differ.
    pub labels: BTreeMap<String, String>,
    /// What is said of it for people.
    pub annotations: BTreeMap<String, String>,
    /// Who is told.
    pub receivers: Vec<String>,
}

/// What must be the case.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum When {
    /// It has failed: it is given up.
    Failed,
    /// It is wanted and can't be used.
    NotReady,
    /// Its probes say that it isn't well.
    Unhealthy,
    /// It was started again after trouble more often than this within this time.
    Restarts(u32, Duration),
    /// It came to one of these limits more often than this within this time, and `on_violation` says `alert` for it.
    Limit(Vec<&'static str>, u32, Duration),
    /// One of its figures is over this.
    Figure(Figure, f64),
}

/// A figure of a service, as a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Figure {
    /// Memory, of its `limits.memory`.
    Memory,
    /// Time in which some of it waited for memory.
    MemoryPressure,
    /// Time in which some of it waited for a CPU.
    CpuPressure,
    /// Time in which some of it waited for a disk.
    IoPressure,
}

impl Figure {
    /// All of them, with the words of a stack file.
    pub const ALL: [(&str, Self); 4] = [
        ("memory", Self::Memory),
        ("memory_pressure", Self::MemoryPressure),
        ("cpu_pressure", Self::CpuPressure),
        ("io_pressure", Self::IoPressure),
    ];

    /// As people read it.
    fn told(self) -> &'static str {
        match self {
            Self::Memory => "of its `limits.memory` is in use",
            Self::MemoryPressure => "of the time it waits for memory",
            Self::CpuPressure => "of the time it waits for a CPU",
            Self::IoPressure => "of the time it waits for a disk",
        }
    }
}

impl Rule {
    /// Whether it is about this service.
    pub(super) fn is_about(&self, facts: &Facts) -> bool {
        let named = self.services.is_empty() || self.services.contains(&facts.service);
        named && self.fits(&facts.labels)
    }

    /// Whether these labels of a service are those that it asks for.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matching.iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}

impl When {
    /// As it is written in a stack file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NotReady => "not_ready",
            Self::Unhealthy => "unhealthy",
            Self::Restarts(..) => "restarts",
            Self::Limit(..) => "limit",
            Self::Figure(figure, _) => {
                Figure::ALL.iter().find(|(_, it)| it == figure).map_or("", |(word, _)| word)
            }
        }
    }

    /// Whether what it counts is remembered: how often, and for how long.
    pub(super) fn window(&self) -> Option<(u32, Duration)> {
        match self {
            Self::Restarts(over, window) | Self::Limit(_, over, window) => Some((*over, *window)),
            Self::Failed | Self::NotReady | Self::Unhealthy | Self::Figure(..) => None,
        }
    }

    /// What it counts, as it grows.
    pub(super) fn total(&self, facts: &Facts) -> u64 {
        match self {
            Self::Restarts(..) => facts.restarts,
            Self::Limit(words, ..) => {
                let hits = facts.hits.iter().filter(|(word, _)| words.contains(word));
                hits.map(|(_, count)| count).sum()
            }
            Self::Failed | Self::NotReady | Self::Unhealthy | Self::Figure(..) => 0,
        }
    }

    /// Whether it is the case, where that is known. `counted` is how often what it counts happened within its window.
    pub(super) fn holds(&self, facts: &Facts, counted: u32) -> Option<bool> {
        match self {
            Self::Failed => Some(facts.failed),
            Self::NotReady => Some(facts.not_ready),
            Self::Unhealthy => facts.unhealthy,
            Self::Restarts(over, _) | Self::Limit(_, over, _) => Some(counted > *over),
            Self::Figure(figure, over) => facts.figures.get(figure).map(|share| share > over),
        }
    }

    /// What is the case, in a line for people.
    pub(super) fn told(&self, facts: &Facts) -> String {
        let name = facts.instance.as_deref().unwrap_or(&facts.service);
        let why = &facts.why;
        match self {
            Self::Failed => format!("`{name}` has failed: {why}"),
            Self::NotReady => format!("`{name}` isn't ready: {why}"),
            Self::Unhealthy => format!("the probes of `{name}` say that it isn't well: {why}"),
            Self::Restarts(over, window) => {
                format!("`{name}` was started again more than {over} times in {window:?}: {why}")
            }
            Self::Limit(words, 0, _) => format!("`{name}` came to a limit ({})", words.join(", ")),
            Self::Limit(words, over, window) => {
                let words = words.join(", ");
                format!("`{name}` came to a limit ({words}) more than {over} times in {window:?}")
            }
            Self::Figure(figure, _) => {
                let share = facts.figures.get(figure).copied().unwrap_or(0.0) * 100.0;
                format!("`{name}`: {share:.0} % {}", figure.told())
            }
        }
    }
}

/// Who is told of alerts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Receiver {
    /// How.
    pub way: Way,
    /// Whether also of those that are over.
    pub send_resolved: bool,
}

/// How somebody is told of alerts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Way {
    /// By HTTP, in the form of Alertmanager's webhook.
    Webhook(Url),
    /// By a command that is run for each, in a sandbox of its own.
    Command {
        /// The program and its arguments.
        command: Vec<OsString>,
        /// Under which it runs.
        policy: Box<Policy>,
        /// How long it may take.
        timeout: Duration,
    },
    /// By a line of JSON that is added to this file.
    File(PathBuf),
}

impl Way {
    /// As it is written in a stack file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Command { .. } => "command",
            Self::File(_) => "file",
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Webhook(one), Self::Webhook(other)) => one == other,
            (Self::File(one), Self::File(other)) => one == other,
            (
                Self::Command { command, policy, timeout },
                Self::Command { command: other, policy: others, timeout: time },
            ) => command == other && policy.digest() == others.digest() && timeout == time,
            _ => false,
        }
    }
}

impl Receiver {
    /// Whether another one tells the same in the same way.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.way.is_same(&other.way) && self.send_resolved == other.send_resolved
    }
}

impl Settings {
    /// The tables of a stack file in which another one differs, such as `alerts.down`. Pure.
    pub fn differences(&self, next: &Self) -> Vec<String> {
        let rules = differing(&self.rules, &next.rules, |one, other| one == other);
        let rules = rules.map(|name| format!("alerts.{name}"));
        let receivers = differing(&self.receivers, &next.receivers, Receiver::is_same);
        rules.chain(receivers.map(|name| format!("alert_receivers.{name}"))).collect()
    }
}

/// The names under which one of two tables has something that the other hasn't.
fn differing<'t, T>(
    before: &'t BTreeMap<String, T>,
    next: &'t BTreeMap<String, T>,
    is_same: fn(&T, &T) -> bool,
) -> impl Iterator<Item = &'t String> {
    let gone = before.keys().filter(|name| !next.contains_key(*name));
    let other = next
        .iter()
        .filter(move |(name, it)| before.get(*name).is_none_or(|before| !is_same(before, it)));
    gone.chain(other.map(|(name, _)| name))
}
