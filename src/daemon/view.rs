//! The JSON forms in which the daemon shows services. Fields may be added to a version of the API, not changed.

use crate::platform::LaunchPlan;
use crate::supervisor::{Counts, Difference, DifferenceKind, Outcome, Service, Status};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// A service, as it is now.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ServiceView {
    name: String,
    description: String,
    labels: BTreeMap<String, String>,
    command: Vec<String>,
    policy: String,
    enabled: bool,
    depends_on: BTreeMap<String, &'static str>,
    state: &'static str,
    /// `starting`, `healthy` or `unhealthy` by its probes; `unknown` where it has none, or nobody looks now.
    health: &'static str,
    ready: bool,
    why: String,
    /// Of its sandbox's first process.
    pid: Option<u32>,
    generation: u64,
    attempts: u32,
    /// When it came into its state, in UTC (RFC 3339).
    since: String,
    uptime_s: Option<f64>,
    restarts: BTreeMap<String, u64>,
    exits: BTreeMap<&'static str, u64>,
    last: Option<LastView>,
    error: Option<String>,
}

/// How a run came out.
#[derive(Clone, Debug, Serialize)]
struct LastView {
    result: &'static str,
    exit_code: Option<i32>,
    signal: Option<i32>,
    text: String,
}

impl ServiceView {
    pub(super) fn new(name: &str, service: &Service, status: &Status) -> Self {
        let words = service.command.iter().map(LaunchPlan::readable).collect();
        let needs = service.depends_on.iter();
        let needs = needs.map(|(name, need)| (name.clone(), need.condition.word())).collect();
        Self {
            name: name.to_owned(),
            description: service.description.clone(),
            labels: service.labels.clone(),
            command: words,
            policy: service.policy.name.clone(),
            enabled: service.enabled,
            depends_on: needs,
            state: status.state.word(),
            health: status.health.word(),
            ready: status.ready,
            why: status.why.clone(),
            pid: status.pid,
            generation: status.generation.0,
            attempts: status.attempts,
            since: time(SystemTime::now().checked_sub(status.since.elapsed())),
            uptime_s: status.uptime().map(|time| time.as_secs_f64()),
            restarts: restarts(&status.counts),
            exits: status.counts.exits.clone(),
            last: status.last.as_ref().map(LastView::new),
            error: status.error.clone(),
        }
    }
}

impl LastView {
    fn new(outcome: &Outcome) -> Self {
        let (exit_code, signal) = match outcome {
            Outcome::Exited(code) => (Some(*code), None),
            Outcome::Signalled(number) => (None, Some(*number)),
            _ => (None, None),
        };
        Self { result: outcome.word(), exit_code, signal, text: outcome.to_string() }
    }
}

/// What another stack would change, or has changed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DifferenceView {
    service: String,
    change: &'static str,
    /// The keys that differ.
    keys: Vec<&'static str>,
    /// Whether a run in progress is ended for it.
    restart: bool,
}

impl DifferenceView {
    pub(super) fn new(difference: &Difference) -> Self {
        Self {
            service: difference.service.clone(),
            change: match difference.kind {
                DifferenceKind::Added => "added",
                DifferenceKind::Removed => "removed",
                DifferenceKind::Changed => "changed",
            },
            keys: difference.changed.clone(),
            restart: difference.needs_restart(),
        }
    }
}

/// Restarts by their cause; `asked` are those that somebody wanted.
pub(super) fn restarts(counts: &Counts) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> =
        counts.restarts.iter().map(|(cause, count)| (cause.to_string(), *count)).collect();
    all.insert("asked".to_owned(), counts.asked);
    all
}

/// A moment in UTC; empty for one that has no name there.
pub(super) fn time(at: Option<SystemTime>) -> String {
    let stamp = at.and_then(|at| Timestamp::try_from(at).ok());
    stamp
        .and_then(|stamp| stamp.round(jiff::Unit::Millisecond).ok())
        .map_or_else(String::new, |at| at.to_string())
}
