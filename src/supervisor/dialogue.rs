//! What a program says of itself while it runs, and what it has agreed to say.
//!
//! The supervisor makes a socket for each run and shows it inside (`NOTIFY_SOCKET`); whoever is inside may use it. What comes is read
//! as [`Notice`], one at a time and no faster than [`PACE`], so that a program that says nothing else keeps neither the
//! supervisor nor its memory.

use super::notice::Notice;
use crate::error::Error;
use crate::platform::{Datagram, NotifySocket, OwnedFile};
use std::fs::File;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What is agreed with a program about what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notify {
    /// Whether it has started when it says so.
    pub heard: bool,
    /// Whether a probe waits for it to say that it is ready.
    pub probed: bool,
    /// Whether it says when it begins to reload, and that it has (systemd.service(5), `notify-reload`).
    pub tells_reload: bool,
    /// How often it has to say that it lives, at least.
    pub watchdog: Option<Duration>,
    /// How many descriptors it may leave for its next run.
    pub fdstore_max: u32,
}

impl Notify {
    /// Whether it needs a socket.
    pub(super) fn needs_socket(&self) -> bool {
        self.heard
            || self.probed
            || self.tells_reload
            || self.watchdog.is_some()
            || self.fdstore_max > 0
    }
}

/// So many messages in so much time; the next one waits.
const PACE: (u32, Duration) = (64, Duration::from_millis(10));

/// The ear for one run.
#[derive(Debug)]
pub(super) struct Ear {
    socket: NotifySocket,
    since: Instant,
    heard: u32,
}

impl Ear {
    /// Makes the socket of a run.
    ///
    /// # Errors
    /// When there is no place for it.
    pub(super) fn open(id: &str) -> Result<Self, Error> {
        let socket = NotifySocket::bind(id);
        let failed = |error| Error::io("failed to make the socket for `NOTIFY_SOCKET`", error);
        Ok(Self { socket: socket.map_err(failed)?, since: Instant::now(), heard: 0 })
    }

    /// That of a run of the supervisor before, whose first process kept the socket.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn again(kept: File) -> Result<Self, Error> {
        let failed = |error| Error::io("failed to take over the socket for `NOTIFY_SOCKET`", error);
        let socket = NotifySocket::again(kept).map_err(failed)?;
        Ok(Self { socket, since: Instant::now(), heard: 0 })
    }

    /// What a next supervisor needs to hear it.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(super) fn kept(&self) -> Result<File, Error> {
        let failed = |error| Error::io("failed to keep the socket for `NOTIFY_SOCKET`", error);
        self.socket.kept().map_err(failed)
    }

    pub(super) fn socket(&self) -> &NotifySocket {
        &self.socket
    }

    /// The next message. Dropping the future loses nothing.
    pub(super) async fn hear(&mut self) -> (Notice, Vec<OwnedFile>) {
        let (most, time) = PACE;
        if self.heard >= most {
            sleep_until(self.since + time).await;
        }
        if self.since.elapsed() >= time {
            (self.since, self.heard) = (Instant::now(), 0);
        }
        match self.socket.receive().await {
            Ok(Datagram { text, files }) => {
                self.heard += 1;
                (Notice::parse(&text), files)
            }
            // Without a socket that works nothing is said any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// What was said last of a run of which nothing is left.
    pub(super) fn last_words(&self) -> Option<(Notice, Vec<OwnedFile>)> {
        let Datagram { text, files } = self.socket.receive_waiting().ok().flatten()?;
        Some((Notice::parse(&text), files))
    }
}

/// The next message of a run; never where nobody listens.
pub(super) async fn heard(ear: &mut Option<Ear>) -> (Notice, Vec<OwnedFile>) {
    match ear {
        Some(ear) => ear.hear().await,
        None => std::future::pending().await,
    }
}

/// Waits for a program to say that it lives. Pure but for the moments that it is told.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    period: Option<Duration>,
    due: Option<Instant>,
}

impl Watchdog {
    pub(super) fn new(period: Option<Duration>) -> Self {
        Self { period: period.filter(|period| !period.is_zero()), due: None }
    }

    /// Waits while the program runs, and not while it stands still or ends.
    pub(super) fn direct(&mut self, runs: bool, now: Instant) {
        match (runs, self.due) {
            (true, None) => self.fed(now),
            (false, _) => self.due = None,
            (true, Some(_)) => {}
        }
    }

    /// It lives, or what is agreed is another period from now on.
    pub(super) fn fed(&mut self, now: Instant) {
        self.due = self.period.and_then(|period| now.checked_add(period));
    }

    pub(super) fn change(&mut self, period: Duration, now: Instant) {
        self.period = Some(period).filter(|period| !period.is_zero());
        if self.due.is_some() || self.period.is_none() {
            self.fed(now);
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// Whether a program that was asked to reload has really begun to, so that what it says of being ready is about that.
#[derive(Debug, Default)]
pub(super) struct Reload {
    /// When it was asked to, on the clock of its own words.
    asked: Option<Duration>,
}

impl Reload {
    pub(super) fn ask(&mut self, now: Duration) {
        self.asked = Some(now);
    }

    /// It says that it has begun, then. What began before it was asked to is another reload.
    pub(super) fn begun(&mut self, at: Option<Duration>) {
        if at.is_none_or(|at| self.asked.is_none_or(|asked| at >= asked)) {
            self.asked = None;
        }
    }

    /// Whether being ready means that it has reloaded.
    pub(super) fn has_begun(&self) -> bool {
        self.asked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_waits_only_while_the_program_runs() {
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let mut watchdog = Watchdog::new(Some(second));
        assert_eq!(watchdog.due(), None);
        watchdog.direct(true, start);
        assert_eq!(watchdog.due(), Some(start + second));
        watchdog.direct(true, start + second / 2);
        assert_eq!(watchdog.due(), Some(start + second));
        watchdog.fed(start + second / 2);
        assert_eq!(watchdog.due(), Some(start + second * 3 / 2));
        watchdog.direct(false, start);
        assert_eq!(watchdog.due(), None);
        watchdog.direct(true, start + second * 9);
        assert_eq!(watchdog.due(), Some(start + second * 10));
        watchdog.change(Duration::ZERO, start);
        assert_eq!(watchdog.due(), None);
    }

    #[test]
    fn an_older_reload_is_not_the_one_that_was_asked_for() {
        let at = |seconds| Some(Duration::from_secs(seconds));
        let mut reload = Reload::default();
        assert!(reload.has_begun());
        reload.ask(Duration::from_secs(5));
        reload.begun(at(4));
        assert!(!reload.has_begun());
        reload.begun(at(5));
        assert!(reload.has_begun());
    }
}
