//! The words of a lifecycle: states, what happens, what is done, and the rules that are in force.

use super::super::outcome::Outcome;
use super::super::restart::Restart;
use crate::platform::Control;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where a supervised program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// It isn't started with the others; it can be started by itself.
    Disabled,
    /// It isn't wanted.
    Inactive,
    /// It waits for what it depends on.
    Pending,
    /// It was launched and isn't started yet, by what counts as that.
    Starting,
    /// It runs.
    Running,
    /// It reads its settings anew.
    Reloading,
    /// It was asked to end.
    Stopping,
    /// It was killed, and something of it may still be there.
    Killing,
    /// It waits for its next attempt.
    Backoff,
    /// It ended, and isn't tried again.
    Failed,
    /// It ended as it should.
    Completed,
    /// All of it stands still.
    Paused,
    /// Something may run that can't be told from a stranger: it isn't signalled, and no second one is started.
    Unknown,
}

/// What states have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of it is there, and nothing will come by itself.
    Resting,
    /// Nothing of it is there; it will come.
    Waiting,
    /// There is a run.
    Live,
    /// There is a run that is to end.
    Ending,
    /// Nobody knows.
    Unknown,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Disabled,
        Self::Inactive,
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Reloading,
        Self::Stopping,
        Self::Killing,
        Self::Backoff,
        Self::Failed,
        Self::Completed,
        Self::Paused,
        Self::Unknown,
    ];

    /// As it is written everywhere.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Reloading => "reloading",
            Self::Stopping => "stopping",
            Self::Killing => "killing",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn phase(self) -> Phase {
        match self {
            Self::Disabled | Self::Inactive | Self::Failed | Self::Completed => Phase::Resting,
            Self::Pending | Self::Backoff => Phase::Waiting,
            Self::Starting | Self::Running | Self::Reloading | Self::Paused => Phase::Live,
            Self::Stopping | Self::Killing => Phase::Ending,
            Self::Unknown => Phase::Unknown,
        }
    }
}

/// What counts as started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Started {
    /// Its program is executed.
    #[default]
    Executed,
    /// It said so, or its startup probe did.
    Ready,
    /// It has ended: a job, not a service.
    Ended,
}

/// What is in force for a program, whatever state it is in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rules {
    /// What counts as started.
    pub started: Started,
    /// Whether a probe says when it is ready; else it is as soon as it has started.
    pub probed: bool,
    /// Whether it says itself when it has read its settings anew; else it has as soon as it was asked to.
    pub tells_reload: bool,
    /// Whether its program may end with success as soon as it has started, and leaves its work to another process.
    pub forks: bool,
    /// Whether it is a process that somebody else started, so that nobody can tell how it ends.
    pub attached: bool,
    /// How it is started again.
    pub restart: Restart,
    /// How long starting and reloading may take; `None` for as long as they want.
    pub start_timeout: Option<Duration>,
    /// How long it may run.
    pub run_timeout: Option<Duration>,
    /// How long it has between being asked to end and being killed.
    pub grace: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            started: Started::default(),
            probed: false,
            tells_reload: false,
            forks: false,
            attached: false,
            restart: Restart::default(),
            start_timeout: Some(Duration::from_secs(60)),
            run_timeout: None,
            grace: Duration::from_secs(30),
        }
    }
}

/// The number of a run: 0 before the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Somebody wants it to run.
    Start,
    /// Somebody doesn't want it to run.
    Stop,
    /// The same, at once.
    Kill,
    /// Somebody wants it to run anew.
    Restart,
    /// Somebody wants it to read its settings anew.
    Reload,
    /// Somebody wants it to stand still.
    Pause,
    /// Somebody wants it to go on.
    Resume,
    /// Somebody has seen that it failed.
    Reset,
    /// What it depends on is there.
    DependenciesMet,
    /// What it depends on, by its name, won't come.
    DependencyFailed(String),
    /// What it depends on, by its name, is there again after it was gone.
    DependencyBack(String),
    /// Another one of its group was started again, as this says.
    PeerRestarted(String),
    /// The moment of [`Lifecycle::deadline`](super::Lifecycle::deadline) has come.
    Time,
    /// Something happened to a run.
    Of(Generation, Happening),
}

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// Its program is executed.
    Launched,
    /// Its launch failed, and nothing of it is left.
    NotLaunched(String),
    /// It says that it is ready (again), or its startup probe does.
    Ready,
    /// It says that it reads its settings anew.
    Reloading,
    /// It says that it ends.
    Stopping,
    /// It says that what it does needs so much more time, from now on.
    Extended(Duration),
    /// Nothing of it is left.
    Ended(Outcome),
    /// Its startup probe gave up.
    StartupFailed,
    /// Its readiness probe changed its mind.
    Readiness(bool),
    /// Its liveness probe gave up.
    LivenessFailed,
    /// It didn't say in time that it lives.
    WatchdogMissed,
    /// It reached a limit, and this shall be done about it.
    Exceeded(Control, Reaction),
}

/// What is done about a limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reaction {
    /// It is stopped, and started again as after any trouble.
    Restart,
    /// It is stopped, and stays so.
    Stop,
    /// It is killed, and started again as after any trouble.
    Kill,
    /// It stands still until somebody decides.
    Freeze,
}

/// Something to do, with the present run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Look at what it depends on, and tell.
    CheckDependencies,
    /// Launch it, as this run.
    Launch(Generation),
    /// Ask it to end.
    Ask,
    /// Kill all of it.
    Kill,
    /// Have it read its settings anew.
    Reload,
    /// Let all of it stand still.
    Freeze,
    /// Let it go on.
    Thaw,
    /// Tell whoever supervises the supervisor that it has failed.
    Escalate,
}

/// What a next supervisor finds of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Left {
    /// It is there, or its end waits to be told.
    Run,
    /// Nothing of it, and this is how it ended, if somebody saw it.
    Nothing(Option<Outcome>),
    /// Nobody knows, for this reason.
    Doubt(String),
    /// Nothing, as the system was booted anew.
    OtherBoot,
}
