//! What is remembered of one service, and what a next supervisor makes of it.

use super::journal::{Found, Journal, Note};
use super::lifecycle::{Left, Lifecycle};
use super::outcome::Outcome;
use crate::error::Error;
use crate::platform::{HowEnded, ProcessIdentity, Token, Witness};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One service, as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Where it is, and all that its restarts depend on.
    pub(super) life: Lifecycle,
    /// Whether somebody stopped it, and not its own end or that of the supervisor.
    pub(super) stopped: bool,
    /// Its run, from before its launch until nothing of it is left.
    pub(super) run: Option<Run>,
}

/// One run. It is on disk before anything of it exists, so that whatever exists can be found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The id of its sandbox.
    pub(super) id: String,
    /// What a next supervisor shows to it.
    pub(super) token: Token,
    /// The digest of its policy.
    pub(super) policy: String,
    /// Its first process, as soon as there is one.
    pub(super) process: Option<ProcessIdentity>,
    /// How its program ended, as soon as that is known.
    pub(super) exit: Option<Exit>,
    /// How often it has to say that it lives, where it said so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) watchdog: Option<Duration>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
    Denied,
    Unobserved,
}

impl Run {
    /// One that is about to be launched.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn new(id: String, policy: String) -> io::Result<Self> {
        Ok(Self { id, token: Token::random()?, policy, process: None, exit: None, watchdog: None })
    }
}

impl From<HowEnded> for Exit {
    fn from(how: HowEnded) -> Self {
        match how {
            HowEnded::Exited(code) => Self::Code(code),
            HowEnded::Signaled(signal) => Self::Signal(signal),
            HowEnded::Denied(_) => Self::Denied,
            _ => Self::Unobserved,
        }
    }
}

impl From<Exit> for Outcome {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Exited(code),
            Exit::Signal(signal) => Self::Signalled(signal),
            Exit::Denied => Self::Denied,
            Exit::Unobserved => Self::Unobserved,
        }
    }
}

/// What a run has left, where nothing of it is there.
pub(super) fn left_of(run: Option<&Run>) -> Left {
    Left::Nothing(run.and_then(|run| run.exit).map(Outcome::from))
}

/// Where one service is written down.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    journal: Journal,
    service: Arc<str>,
    /// What stands there.
    last: Arc<Mutex<Option<Record>>>,
}

impl Ledger {
    /// Of a service, and what the supervisor before left of it.
    pub(super) fn of(journal: &Journal, service: &str) -> (Self, Option<Found>) {
        let found = journal.take(service);
        let last = found.as_ref().map(|found| found.record.clone());
        let last = Arc::new(Mutex::new(last));
        (Self { journal: journal.clone(), service: service.into(), last }, found)
    }

    /// Whether its supervisor ends.
    pub(super) fn is_closing(&self) -> bool {
        self.journal.is_closing()
    }

    /// Notes how it is, where that is new.
    ///
    /// # Errors
    /// As [`Journal::note`].
    pub(super) fn note(&self, record: Record, how: Note) -> Result<(), Error> {
        let mut last = self.last();
        if last.as_ref() == Some(&record) {
            return Ok(());
        }
        self.journal.note(&self.service, &record, how)?;
        *last = Some(record);
        Ok(())
    }

    /// What notes the end of its run's program before that is forgotten elsewhere.
    pub(super) fn witness(&self) -> Witness {
        let ledger = self.clone();
        Witness::new(move |how| {
            let record = ledger.last().clone();
            if let Some(mut record) = record
                && let Some(run) = &mut record.run
            {
                run.exit = Some(how.into());
                // On a full disk nobody but this supervisor knows, which is no reason to keep what has ended.
                ledger.note(record, Note::Happened).unwrap_or(());
            }
        })
    }

    /// How its program ended, where that was noted.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.last().as_ref()?.run.as_ref()?.exit
    }

    fn last(&self) -> MutexGuard<'_, Option<Record>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
