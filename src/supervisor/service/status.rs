//! Where a supervised program is, as everybody sees it.

use crate::report::ExitReport;
use crate::supervisor::health::Health;
use crate::supervisor::lifecycle::{Generation, State};
use crate::supervisor::news::Counts;
use crate::supervisor::outcome::Outcome;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where a supervised program is, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Where it is.
    pub state: State,
    /// Why it is there, for people.
    pub why: String,
    /// Whether it can be used.
    pub ready: bool,
    /// What its probes say.
    pub health: Health,
    /// The number of its present or last run.
    pub generation: Generation,
    /// Starts since everything was well; 0 where nothing went wrong.
    pub attempts: u32,
    /// How its last run came out.
    pub last: Option<Outcome>,
    /// The report of its last run.
    pub report: Option<Arc<ExitReport>>,
    /// Process id of its sandbox's first process, as the host counts: for people, never for signalling.
    pub pid: Option<u32>,
    /// Since when it is in this state.
    pub since: Instant,
    /// What failed last of what was to be done with it, in one line.
    pub error: Option<String>,
    /// What its present or last run said of itself last (`STATUS`, sd_notify(3)).
    pub told: Option<String>,
    /// Whether it has failed, and is to take others with it.
    pub escalated: bool,
    /// How often it was started again, and how its runs came out, since it is supervised.
    pub counts: Counts,
}

impl Status {
    /// How long it has run, if it does.
    pub fn uptime(&self) -> Option<Duration> {
        (self.state == State::Running).then(|| self.since.elapsed())
    }

    /// Whether asking it to end brings nothing more: it is at rest, or can't be told from a stranger.
    pub(in crate::supervisor) fn is_settled(&self) -> bool {
        self.is_at_rest() || self.state == State::Unknown
    }

    /// Whether nothing of it runs, and nothing will by itself.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Disabled | State::Inactive | State::Failed | State::Completed)
    }
}
