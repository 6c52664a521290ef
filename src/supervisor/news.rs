//! What becomes of services, told to everybody who wants to know, and counted.

use super::lifecycle::Lifecycle;
use super::outcome::{Outcome, Trouble};
use super::probe::Purpose;
use super::service::Status;
use super::violation::Trigger;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::broadcast::{self, error::RecvError};

/// How far a listener may fall behind, in notices.
const KEPT: usize = 1024;

/// Another state of a service, another run, or another readiness.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Notice {
    /// Counts the notices of one supervisor, from 1.
    pub number: u64,
    /// When it was told.
    pub at: SystemTime,
    /// Of which service.
    pub service: Arc<str>,
    /// Where that is now.
    pub status: Status,
}

/// What a listener hears.
#[derive(Debug)]
pub struct Notices(broadcast::Receiver<Notice>);

impl Notices {
    /// The next notice, or how many were lost before it because nobody listened fast enough; `None` when there is no supervisor
    /// any more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Notice, u64>> {
        match self.0.recv().await {
            Ok(notice) => Some(Ok(notice)),
            Err(RecvError::Lagged(lost)) => Some(Err(lost)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// The side that tells, of one service.
#[derive(Clone, Debug)]
pub struct News {
    board: Board,
    service: Arc<str>,
}

/// Where the notices of all services go. They are numbered in the order in which they are told.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<Mutex<Told>>);

#[derive(Debug)]
struct Told {
    /// The number of the last notice.
    last: u64,
    /// Runs that were taken over.
    adopted: u64,
    sender: broadcast::Sender<Notice>,
}

impl Default for Board {
    fn default() -> Self {
        let sender = broadcast::Sender::new(KEPT);
        Self(Arc::new(Mutex::new(Told { last: 0, adopted: 0, sender })))
    }
}

impl Board {
    pub(super) fn listen(&self) -> Notices {
        Notices(self.told().sender.subscribe())
    }

    /// How many notices there were so far.
    pub(super) fn notices(&self) -> u64 {
        self.told().last
    }

    /// How many runs were taken over.
    pub(super) fn adopted(&self) -> u64 {
        self.told().adopted
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, service: &str) -> News {
        News { board: self.clone(), service: service.into() }
    }
}

impl News {
    /// A run of the supervisor before was taken over.
    pub(super) fn adopted(&self) {
        self.board.told().adopted += 1;
    }

    pub(super) fn tell(&self, status: Status) {
        let mut board = self.board.told();
        board.last += 1;
        let (number, at, service) = (board.last, SystemTime::now(), self.service.clone());
        // Without listeners it is said to nobody.
        board.sender.send(Notice { number, at, service, status }).map(drop).unwrap_or(());
    }
}

/// How often a program was started again and how its runs came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Starts after trouble, by its kind.
    pub restarts: BTreeMap<Trouble, u64>,
    /// Further starts, because somebody asked.
    pub asked: u64,
    /// Ends, by [`Outcome::word`].
    pub exits: BTreeMap<&'static str, u64>,
    /// Times that it came to a limit for which [`Measure::Alert`](super::Measure::Alert) is what is done.
    pub hits: BTreeMap<Trigger, u64>,
    /// What its probes found.
    pub looks: BTreeMap<Purpose, LookCounts>,
}

/// The bounds of the spans in which the times of looks are counted, in seconds: those that Prometheus' libraries use.
pub const LOOK_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The looks of one probe, since it is supervised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookCounts {
    /// Whether the last one succeeded.
    pub success: bool,
    /// All.
    pub looks: u64,
    /// Those that failed.
    pub failures: u64,
    /// How long all of them took.
    pub time: Duration,
    /// How many took no longer than each of [`LOOK_BOUNDS`], and longer than the one before it.
    pub spans: [u64; LOOK_BOUNDS.len()],
}

impl Counts {
    /// A run begins.
    pub(super) fn launched(&mut self, life: &Lifecycle) {
        match life.trouble() {
            Some(trouble) => *self.restarts.entry(trouble).or_default() += 1,
            None if life.generation().0 > 1 => self.asked += 1,
            None => {}
        }
    }

    /// Somebody has looked at it.
    pub(super) fn looked(&mut self, purpose: Purpose, success: bool, time: Duration) {
        let counts = self.looks.entry(purpose).or_default();
        counts.success = success;
        counts.looks += 1;
        counts.failures += u64::from(!success);
        counts.time += time;
        let span = LOOK_BOUNDS.iter().position(|bound| time.as_secs_f64() <= *bound);
        if let Some(span) = span.and_then(|at| counts.spans.get_mut(at)) {
            *span += 1;
        }
    }

    /// A run has ended.
    pub(super) fn ended(&mut self, outcome: &Outcome) {
        *self.exits.entry(outcome.word()).or_default() += 1;
    }
}
