//! Which processes are a sandbox's. A tree has no name here, so they are those of the program's session, and those that were seen to
//! descend from one of them while both lived. Who leaves the session and loses its parent between two looks is lost.

use super::system;
use crate::PlatformError;
use std::collections::BTreeMap;
use std::io;

/// The processes of a sandbox that were seen, each with when it was started: its number alone may be another's by now.
#[derive(Debug)]
pub(super) struct Tree {
    session: u32,
    known: BTreeMap<u32, u64>,
}

impl Tree {
    /// Of the program, which leads a session of its own and isn't reaped.
    pub(super) fn of(program: u32) -> Self {
        // Where the system doesn't tell now, a look into its session finds it.
        let started = system::started_at(program).unwrap_or(None);
        let known = started.map(|started| (program, started));
        Self { session: program, known: known.into_iter().collect() }
    }

    /// Looks for children of those that are known, and forgets who has ended. Gives those that live.
    ///
    /// # Errors
    /// When the system doesn't tell.
    pub(super) fn look(&mut self) -> Result<Vec<u32>, PlatformError> {
        // Of whom nothing is told may live.
        self.known.retain(|pid, started| {
            system::started_at(*pid).map_or(true, |now| now == Some(*started))
        });
        let mut alive: Vec<u32> = self.known.keys().copied().collect();
        let mut next = 0;
        while let Some(parent) = alive.get(next).copied() {
            next += 1;
            for child in system::children(parent).map_err(failed)? {
                // Its number may have become a stranger's since.
                if system::parent_of(child) == Some(parent)
                    && let Some(started) = system::started_at(child).map_err(failed)?
                    && self.known.insert(child, started).is_none()
                {
                    alive.push(child);
                }
            }
        }
        Ok(alive)
    }

    /// The same, after looking for whoever is in its session. Only while the program isn't reaped: so long its session is its own.
    pub(super) fn look_everywhere(&mut self) -> Result<Vec<u32>, PlatformError> {
        for pid in system::all().map_err(failed)? {
            if session_of(pid) == Some(self.session)
                && let Some(started) = system::started_at(pid).map_err(failed)?
            {
                self.known.entry(pid).or_insert(started);
            }
        }
        self.look()
    }

    /// Sends a signal to all that live. Whoever starts others meanwhile must be looked for again.
    ///
    /// # Errors
    /// When the system refuses for one; the others have it.
    pub(super) fn signal(&self, number: i32) -> io::Result<()> {
        let sent = self.known.iter().map(|(pid, started)| system::signal(*pid, *started, number));
        sent.fold(Ok(()), io::Result::and)
    }
}

/// The session of a process; `None` when it is gone, or its session is none that has a number here.
fn session_of(pid: u32) -> Option<u32> {
    // SAFETY: no memory is passed.
    let session = unsafe { libc::getsid(pid.cast_signed()) };
    u32::try_from(session).ok().filter(|session| *session > 0)
}

fn failed(error: io::Error) -> PlatformError {
    PlatformError::system("failed to look at the processes of the sandbox", error)
}
