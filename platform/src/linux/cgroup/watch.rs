//! Being told by the kernel: files that change (cgroup-v2.rst, `memory.events`, `pids.events`) and thresholds of pressure
//! (accounting/psi.rst). Nothing is polled.

use super::file::{self, SMALL};
use super::parse;
use crate::{BoxFuture, Event, Hits, PlatformError, Resource, Watcher};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::{Errno, Result, write};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The window of every threshold is a multiple of this: others are for root alone (kernel/sched/psi.c, Linux 6.4).
const WINDOW: Duration = Duration::from_secs(2);
/// A tenth of the window.
const NOTABLE: Duration = Duration::from_millis(200);

/// Opens a pressure file that notifies when threads waited for `stall` within a window of twice that, rounded up.
///
/// `who` is `some` for at least one waiting thread, `full` for all of them. The window ends at ten seconds.
pub(super) fn threshold(
    dir: BorrowedFd<'_>,
    name: &str,
    who: &str,
    stall: Duration,
) -> Result<OwnedFd> {
    let window = (stall * 2).as_micros().div_ceil(WINDOW.as_micros()) * WINDOW.as_micros();
    let opened = file::open(dir, name, OFlags::RDWR | OFlags::NONBLOCK)?;
    // The kernel wants the end of the text in it (kernel/cgroup/cgroup.c, `pressure_write`).
    let text = format!("{who} {} {window}\0", stall.as_micros());
    if write(&opened, text.as_bytes())? != text.len() {
        return Err(Errno::IO);
    }
    Ok(opened)
}

/// Reads how often limits were reached; 0 for what has no controller here.
pub(super) fn hits(dir: BorrowedFd<'_>) -> Result<Hits> {
    let mut hits = Hits::default();
    for name in ["memory.events", "pids.events"] {
        match file::read_small(dir, name, &mut [0; SMALL]) {
            Ok(text) => count(&mut hits, name, text),
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hits)
}

fn count(hits: &mut Hits, name: &str, text: &[u8]) {
    let keyed = |key| parse::keyed(text, key).unwrap_or(0);
    if name == "pids.events" {
        hits.pids = keyed("max");
    } else {
        hits.memory_high = keyed("high");
        hits.memory = keyed("max");
        hits.memory_kills = keyed("oom_kill");
        // Linux 5.17.
        hits.tree_kills = keyed("oom_group_kill");
    }
}

/// What a notification means.
#[derive(Clone, Debug)]
enum Meaning {
    /// Look at the counts in this file.
    Counts(&'static str),
    Said(Event),
}

#[derive(Debug)]
struct Source {
    file: AsyncFd<OwnedFd>,
    meaning: Meaning,
    /// Its cgroup is gone.
    over: bool,
}

/// The sources of one cgroup.
#[derive(Debug)]
pub(crate) struct CgroupWatcher {
    sources: Vec<Source>,
    told: Hits,
}

impl CgroupWatcher {
    /// Watches everything that this cgroup has, beyond what was `told` already; `stalled` is a threshold that was set
    /// before.
    pub(super) fn new(dir: BorrowedFd<'_>, stalled: Option<OwnedFd>, told: Hits) -> Result<Self> {
        let mut watcher = Self { sources: Vec::new(), told };
        for name in ["memory.events", "pids.events"] {
            match file::open(dir, name, OFlags::RDONLY) {
                Ok(opened) => watcher.add(opened, Meaning::Counts(name))?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(stalled) = stalled {
            watcher.add(stalled, Meaning::Said(Event::MemoryStalled))?;
        }
        let pressure = |resource| Event::Pressure { resource };
        let thresholds = [
            ("cpu.pressure", "some", pressure(Resource::Cpu)),
            ("memory.pressure", "some", pressure(Resource::Memory)),
            ("io.pressure", "some", pressure(Resource::Io)),
            ("cpu.pressure", "full", Event::Throttled),
        ];
        for (name, who, event) in thresholds {
            match threshold(dir, name, who, NOTABLE) {
                Ok(opened) => watcher.add(opened, Meaning::Said(event))?,
                // No pressure in this kernel, or (before 6.4) not for this caller.
                Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(watcher)
    }

    fn add(&mut self, opened: OwnedFd, meaning: Meaning) -> Result<()> {
        // SAFETY: the descriptor is owned by the `AsyncFd` alone and stays open until that is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(opened, Interest::PRIORITY) };
        let file = watched.map_err(|error| {
            Errno::from_io_error(&std::io::Error::from(error)).unwrap_or(Errno::IO)
        })?;
        self.sources.push(Source { file, meaning, over: false });
        Ok(())
    }

    async fn events(&mut self) -> Result<Vec<Event>> {
        loop {
            // Before waiting: a file notifies only of what comes after its last reading.
            let mut now = self.told;
            for source in self.sources.iter_mut().filter(|source| !source.over) {
                let Meaning::Counts(name) = source.meaning else { continue };
                match file::reread(source.file.as_fd(), &mut [0; SMALL]) {
                    Ok(text) => count(&mut now, name, text),
                    Err(Errno::NODEV) => source.over = true,
                    Err(error) => return Err(error),
                }
            }
            let events = self.told.until(&now);
            self.told = now;
            if !events.is_empty() {
                return Ok(events);
            }
            if let Meaning::Said(event) = self.ready().await? {
                return Ok(vec![event]);
            }
        }
    }

    /// The meaning of the first source that notifies.
    async fn ready(&mut self) -> Result<Meaning> {
        let mut waits: Vec<_> = self
            .sources
            .iter()
            .filter(|source| !source.over)
            .map(|source| {
                Box::pin(async {
                    source.file.ready(Interest::PRIORITY).await.map(|mut ready| {
                        ready.clear_ready();
                        source.meaning.clone()
                    })
                })
            })
            .collect();
        let first = poll_fn(|context| {
            let mut polled = waits.iter_mut().map(|wait| wait.as_mut().poll(context));
            polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        first.await.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

impl Watcher for CgroupWatcher {
    fn next(&mut self) -> BoxFuture<'_, std::result::Result<Vec<Event>, PlatformError>> {
        Box::pin(async {
            self.events().await.map_err(|error| {
                PlatformError::system("failed to watch the limits of the sandbox", error)
            })
        })
    }
}
