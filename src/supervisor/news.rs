//! What becomes of services, told to everybody who wants to know, and counted.

use super::lifecycle::Lifecycle;
use super::outcome::{Outcome, Trouble};
use super::service::Status;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
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
pub(super) struct Board(Arc<Mutex<(u64, broadcast::Sender<Notice>)>>);

impl Default for Board {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((0, broadcast::Sender::new(KEPT)))))
    }
}

impl Board {
    pub(super) fn listen(&self) -> Notices {
        Notices(self.0.lock().unwrap_or_else(PoisonError::into_inner).1.subscribe())
    }

    pub(super) fn of(&self, service: &str) -> News {
        News { board: self.clone(), service: service.into() }
    }
}

impl News {
    pub(super) fn tell(&self, status: Status) {
        let mut board = self.board.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, sender) = &mut *board;
        *last += 1;
        let (number, at, service) = (*last, SystemTime::now(), self.service.clone());
        // Without listeners it is said to nobody.
        sender.send(Notice { number, at, service, status }).map(drop).unwrap_or(());
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

    /// A run has ended.
    pub(super) fn ended(&mut self, outcome: &Outcome) {
        *self.exits.entry(outcome.word()).or_default() += 1;
    }
}
