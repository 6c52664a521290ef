//! What services write, kept as lines with their time, stream, service and run.
//!
//! `spool` takes bytes from a program's pipe so that none is lost when this process is killed; `cutter` makes lines of them,
//! `sieve` says which are kept (`format` what they say of themselves, `rate` how many), `store` keeps them, and `keeper` holds these
//! together for one instance. `reader` reads them again, also while they are written, `listing` those of many instances, `query` says
//! which of them. `targets` sends them elsewhere from the files. All of it happens on one thread of its own, so that nothing else ever waits for a disk.

mod cutter;
mod format;
mod keeper;
mod listing;
mod query;
mod rate;
mod reader;
mod record;
mod settings;
mod sieve;
mod spool;
mod store;
mod targets;
#[cfg(test)]
mod tests;

pub(crate) use cutter::{Cutter, Piece};
pub use format::Format;
pub use keeper::Counts;
pub(crate) use keeper::Listener;
pub use listing::{Entry, Listing};
pub use query::{Query, moment};
pub use reader::{Next, Reader};
pub use record::{Level, Lost, Record, Stream};
pub use settings::{Driver, Logging, RateLimit, Rotation};
pub(crate) use targets::post;
pub use targets::{Form, Syslog, Target, Url};

use crate::error::Error;
use crate::platform::{DetachedPipe, Directory, OutputPipe};
use keeper::{Keeper, TELLING};
use spool::Run;
use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use targets::Sender;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// The file in their directory that whoever keeps them holds.
const LOCK: &str = "lock";

/// The logs of all services below one state directory. They are this process's alone while one of its handles lives.
#[derive(Clone, Debug)]
pub struct Logs {
    directory: Directory,
    /// Keeps others away.
    lock: Arc<File>,
    work: mpsc::UnboundedSender<Work>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// The log of one instance of a service. It is read into as long as one of its handles lives, and to the end of what is attached.
#[derive(Clone)]
pub struct InstanceLog {
    keeper: Arc<Mutex<Keeper>>,
    work: mpsc::UnboundedSender<Work>,
}

/// Its other end hears when a stream isn't read any more.
pub(crate) type Busy = oneshot::Sender<Infallible>;

/// What the thread has to do.
enum Work {
    Read(Reading),
    Send(Sender),
}

/// A stream to be read to its end.
struct Reading {
    keeper: Arc<Mutex<Keeper>>,
    run: Run,
    pipe: DetachedPipe,
    listener: Option<Box<dyn Listener>>,
    busy: Busy,
}

impl Logs {
    /// Opens the logs below a state directory, which is made where it is missing.
    ///
    /// # Errors
    /// When the directory can't be made, isn't this user's alone, or another process keeps its logs there.
    pub fn open(state: &Path) -> Result<Self, Error> {
        let failed =
            |error| Error::io(format!("failed to open the logs in `{}`", state.display()), error);
        let directory =
            Directory::make(state).and_then(|state| state.make_below("logs")).map_err(failed)?;
        let Some(lock) = directory.lock(LOCK).map_err(failed)? else {
            let message =
                format!("another process keeps its logs in `{}`", directory.path().display());
            return Err(Error::asked(message, "stop it, or name another state directory"));
        };
        let (work, todo) = mpsc::unbounded_channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let thread = std::thread::Builder::new().name("logs".into());
        let thread = thread.spawn(move || runtime.block_on(carry_out(todo))).map_err(failed)?;
        Ok(Self {
            directory,
            lock: Arc::new(lock),
            work,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// The log of one instance of a service. What a process before this one took in, and didn't keep any more, is kept now.
    ///
    /// # Errors
    /// When its files can't be opened, or aren't a log.
    pub fn instance(
        &self,
        service: &str,
        instance: &str,
        logging: &Logging,
    ) -> Result<InstanceLog, Error> {
        let failed = |error| {
            let path = self.directory.path().join(instance);
            let message = format!("failed to open the log of `{instance}` in `{}`", path.display());
            Error::io(message, error)
        };
        let directory = self.directory.make_below(instance).map_err(failed)?;
        let keeper = Keeper::open(directory.clone(), service, instance, logging.clone());
        let keeper = Arc::new(Mutex::new(keeper.map_err(failed)?));
        for (name, target) in &logging.sinks {
            // The thread is gone only when this is.
            let origin = (service, instance);
            let sender = Sender::open(name, target.clone(), origin, directory.clone(), &keeper);
            self.work.send(Work::Send(sender.map_err(failed)?)).unwrap_or(());
        }
        Ok(InstanceLog { keeper, work: self.work.clone() })
    }

    /// The directory with that of each instance.
    pub(crate) fn files(&self) -> Directory {
        self.directory.clone()
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns when everything is kept that was written. That is never while other handles live, or programs write.
    pub fn close(self) {
        let Self { work, thread, lock, directory: _ } = self;
        drop(work);
        let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It can't panic; if it did, what is in the spools is kept by the next process.
        thread.map_or(Ok(()), JoinHandle::join).unwrap_or(());
        drop(lock);
    }
}

impl InstanceLog {
    /// Reads a stream of a run to its end, by itself, and drops what tells that it does. A run that a process before this one began goes on where that stopped.
    pub(crate) fn attach(
        &self,
        stream: Stream,
        generation: u64,
        pipe: OutputPipe,
        listener: Option<Box<dyn Listener>>,
        busy: Busy,
    ) -> std::io::Result<()> {
        let (run, pipe) = (Run { generation, stream }, pipe.detach()?);
        self.work
            .send(Work::Read(Reading { keeper: self.keeper.clone(), run, pipe, listener, busy }))
            .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    /// Keeps lines in another way from here on.
    pub fn change(&self, logging: &Logging) {
        lock(&self.keeper).change(logging.clone());
    }

    /// What was kept, and what wasn't.
    pub fn counts(&self) -> Counts {
        lock(&self.keeper).counts()
    }

    /// What failed last, for people.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.keeper).trouble().map(str::to_owned)
    }

    /// The number of the next record, as it grows.
    pub fn grown(&self) -> watch::Receiver<u64> {
        lock(&self.keeper).grown()
    }
}

impl fmt::Debug for InstanceLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceLog").finish_non_exhaustive()
    }
}

/// A poisoned lock only means that a thread panicked while it kept lines; what is kept is whole.
fn lock(keeper: &Mutex<Keeper>) -> MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread does: reads each stream to its end, until nobody can ask for more.
async fn carry_out(mut todo: mpsc::UnboundedReceiver<Work>) {
    let mut reading = JoinSet::new();
    loop {
        tokio::select! {
            work = todo.recv() => match work {
                Some(Work::Read(stream)) => drop(reading.spawn(stream.read())),
                Some(Work::Send(sender)) => drop(reading.spawn(sender.send())),
                None => break,
            },
            Some(_) = reading.join_next() => {}
        }
    }
    while reading.join_next().await.is_some() {}
}

impl Reading {
    async fn read(mut self) {
        lock(&self.keeper).attach(self.run);
        // Where it can't be watched, its other end is closed: the program hears of it, and isn't held up.
        let Ok(pipe) = self.pipe.watch() else { return };
        let (mut goes_on, mut compressing) = (true, JoinSet::new());
        while goes_on {
            let untold = lock(&self.keeper).has_untold();
            let readable = pipe.readable();
            if !untold {
                goes_on = readable.await.is_ok();
            } else if tokio::time::timeout(TELLING, readable).await.is_err() {
                lock(&self.keeper).tell();
                continue;
            }
            let full = {
                let mut keeper = lock(&self.keeper);
                goes_on = goes_on && keeper.take(self.run, &pipe, self.listener.as_deref_mut());
                let full = keeper.take_full();
                full.into_iter()
                    .map(|first| (keeper.directory().clone(), first))
                    .collect::<Vec<_>>()
            };
            for (directory, first) in full {
                // What can't be compressed now is tried again when the files are opened next.
                compressing
                    .spawn_blocking(move || store::compress(&directory, first).unwrap_or(()));
            }
            while compressing.try_join_next().is_some() {}
            // Others have pipes too.
            tokio::task::yield_now().await;
        }
        drop(self.busy);
        while compressing.join_next().await.is_some() {}
    }
}
