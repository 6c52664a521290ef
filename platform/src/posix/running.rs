//! A sandbox that runs: a program that leads a session, and the processes that are found to be its own.

use super::system::{self, Used};
use super::tree::Tree;
use crate::{
    BoxFuture, Bytes, Ended, Enforcement, HowEnded, PlatformError, Process, Running, Signal, Usage,
};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::io;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often it is looked whether a killed tree is gone.
const PAUSE: Duration = Duration::from_millis(5);

/// A started program on any Unix.
#[derive(Debug)]
pub(super) struct PosixRunning {
    shared: Arc<Shared>,
    end: watch::Receiver<Option<Gone>>,
    enforcement: Vec<Enforcement>,
    started: Instant,
    highest: Usage,
    ended: Option<Ended>,
}

#[derive(Debug)]
struct Shared {
    pid: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    /// Whether its number may be another's by now.
    reaped: bool,
}

/// How the program ended.
#[derive(Clone, Debug)]
struct Gone {
    how: HowEnded,
    user: Duration,
    system: Duration,
    when: Instant,
}

impl Shared {
    /// A poisoned lock only means that a thread panicked while it looked; what is there is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to the program.
    fn signal(&self, number: i32) -> io::Result<()> {
        let state = self.state();
        match system::started_at(self.pid)? {
            Some(started) if !state.reaped => system::signal(self.pid, started, number),
            _ => Ok(()),
        }
    }

    /// Sends a signal to every process of the tree, until no look finds one that hasn't had it.
    fn signal_all(&self, number: i32) -> Result<(), PlatformError> {
        let mut state = self.state();
        let mut before = 0;
        loop {
            let all =
                if state.reaped { state.tree.look()? } else { state.tree.look_everywhere()? };
            state.tree.signal(number).map_err(refused)?;
            if all.len() <= before {
                return Ok(());
            }
            before = all.len();
        }
    }

    /// Waits for the program's end on a thread of its own, ends what it left in its session, and reaps it.
    fn await_end(&self, told: &watch::Sender<Option<Gone>>) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let ended = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        while matches!(ended(), Err(Errno::INTR)) {}
        let when = Instant::now();
        // While it isn't reaped its session is its own, so that whoever is in it can be found.
        let mut state = self.state();
        let found = state.tree.look_everywhere();
        let (how, user, system) = reap(pid.as_raw_nonzero().get());
        state.reaped = true;
        drop((state, found));
        told.send_replace(Some(Gone { how, user, system, when }));
    }
}

impl PosixRunning {
    pub(super) fn new(child: Child, enforcement: Vec<Enforcement>) -> Result<Self, PlatformError> {
        let started = Instant::now();
        let pid = child.id();
        let state = Mutex::new(State { tree: Tree::of(pid), reaped: false });
        let shared = Arc::new(Shared { pid, state });
        let (told, end) = watch::channel(None);
        let waiting = shared.clone();
        let thread = std::thread::Builder::new().name("stockade-wait".into());
        let running =
            Self { shared, end, enforcement, started, highest: Usage::default(), ended: None };
        // It ends with its tree if there is nobody to wait for it.
        thread
            .spawn(move || waiting.await_end(&told))
            .map_err(|error| PlatformError::system("failed to start a thread", error))?;
        Ok(running)
    }

    async fn watch(&mut self) -> Result<Ended, PlatformError> {
        if let Some(ended) = &self.ended {
            return Ok(ended.clone());
        }
        let gone = match self.end.wait_for(Option::is_some).await {
            Ok(gone) => gone.clone(),
            Err(_) => None,
        };
        let gone = gone.unwrap_or(Gone {
            how: HowEnded::Unobserved,
            user: Duration::ZERO,
            system: Duration::ZERO,
            when: Instant::now(),
        });
        loop {
            self.shared.signal_all(libc::SIGKILL)?;
            if self.shared.state().tree.look()?.is_empty() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let mut ended = Ended::new(gone.how);
        ended.usage.cpu.user = Some(gone.user);
        ended.usage.cpu.system = Some(gone.system);
        ended.usage = ended.usage.or(&self.highest);
        ended.usage.keep_peaks_of(&self.highest);
        ended.usage.pids.current = Some(0);
        ended.usage.memory.current = Some(Bytes(0));
        ended.wall_time = gone.when.saturating_duration_since(self.started);
        self.ended = Some(ended.clone());
        Ok(ended)
    }
}

impl Running for PosixRunning {
    fn pid(&self) -> u32 {
        self.shared.pid
    }

    fn signal(&self, signal: Signal) -> Result<(), PlatformError> {
        self.shared.signal(signal.number()).map_err(refused)
    }

    fn kill(&self) -> Result<(), PlatformError> {
        self.shared.signal_all(libc::SIGKILL)
    }

    fn sample(&mut self, usage: &mut Usage) -> Result<(), PlatformError> {
        let pids = self.shared.state().tree.look()?;
        let mut all = Used::default();
        for pid in pids {
            all.add(system::used(pid).map_err(unseen)?);
        }
        *usage = Usage::default();
        usage.memory.current = Some(Bytes(all.memory));
        usage.pids.current = Some(all.threads);
        (usage.cpu.user, usage.cpu.system) = (Some(all.user), Some(all.system));
        usage.keep_peaks_of(&self.highest);
        usage.memory.peak = usage.memory.peak.max(usage.memory.current);
        usage.pids.peak = usage.pids.peak.max(usage.pids.current);
        self.highest.clone_from(usage);
        Ok(())
    }

    fn processes(&mut self) -> Result<Vec<Process>, PlatformError> {
        let pids = self.shared.state().tree.look()?;
        let rows = pids.into_iter().map(system::row).filter_map(Result::transpose);
        let mut rows: Vec<Process> = rows.collect::<Result<_, _>>().map_err(unseen)?;
        rows.sort_unstable_by_key(|row| row.pid);
        Ok(rows)
    }

    fn pause(&mut self, paused: bool) -> BoxFuture<'_, Result<(), PlatformError>> {
        let number = if paused { libc::SIGSTOP } else { libc::SIGCONT };
        let done = self.shared.signal_all(number);
        Box::pin(async { done })
    }

    fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    fn enforcement(&self) -> &[Enforcement] {
        &self.enforcement
    }

    fn wait(&mut self) -> BoxFuture<'_, Result<Ended, PlatformError>> {
        Box::pin(self.watch())
    }
}

impl Drop for PosixRunning {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Nobody is left to tell. The thread that waits reaps the program.
            self.kill().unwrap_or(());
        }
    }
}

/// The program's wait status, and the CPU time of it and of all whom it waited for (wait4(2)).
fn reap(pid: i32) -> (HowEnded, Duration, Duration) {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the kernel writes both places, which are of the types it expects.
    let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    // SAFETY: every byte was zero before, which is a value of this type.
    let usage = unsafe { usage.assume_init() };
    let how = match status {
        _ if reaped != pid => HowEnded::Unobserved,
        status if libc::WIFSIGNALED(status) => HowEnded::Signaled(libc::WTERMSIG(status)),
        status => HowEnded::Exited(libc::WEXITSTATUS(status)),
    };
    #[allow(clippy::useless_conversion, reason = "microseconds are a shorter number on macOS")]
    let time = |time: libc::timeval| {
        let (seconds, micros) =
            (time.tv_sec.max(0).unsigned_abs(), time.tv_usec.max(0).unsigned_abs());
        Duration::from_secs(seconds) + Duration::from_micros(micros.into())
    };
    (how, time(usage.ru_utime), time(usage.ru_stime))
}

fn unseen(error: io::Error) -> PlatformError {
    PlatformError::system("failed to look at the processes of the sandbox", error)
}

fn refused(error: io::Error) -> PlatformError {
    PlatformError::system("failed to signal a process of the sandbox", error)
}
