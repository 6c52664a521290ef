//! Another program in a sandbox that runs: a process enters its namespaces, stands in its cgroup, and puts up the same walls.
//!
//! The walls are those of the launch: the list of operations is made again from the same plan, with the rules around files as
//! they were decided then. The filter is the same too, and answers by itself, since nobody would hear what it tells.
//!
//! The program is a child of the starter's, though the kernel ends it with the sandbox's first process: whoever ends a
//! sandbox has to reap what entered it, or the namespace, and with it the first process, would never be gone. So all of
//! them stand in [`Entered`], which both the end of the sandbox and the task that waits for a program look at.

use super::cgroup::Cgroup;
use super::prepare::Prepared;
use super::processes::children;
use super::spawn::{self, Cloned, Guard};
use crate::{Execution, HowEnded, Keeper, PlatformError, Signal, Stage, Wish};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stockade_child::Message;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long a program may take until it is executed. Frozen, or before a file that doesn't answer, it would take for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Programs that entered one sandbox and aren't reaped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entered(Arc<Mutex<Programs>>);

#[derive(Debug, Default)]
struct Programs {
    alive: Vec<Arc<OwnedFd>>,
    /// How many there have been.
    count: u64,
    /// Whether the sandbox is being ended, and nobody may enter any more.
    closed: bool,
}

impl Entered {
    fn programs(&self) -> MutexGuard<'_, Programs> {
        // Whoever held it has only added or removed an entry.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that none before had.
    pub(crate) fn number(&self) -> u64 {
        let mut programs = self.programs();
        programs.count += 1;
        programs.count
    }

    /// Takes in a program, unless the sandbox is being ended.
    fn add(&self, pidfd: &Arc<OwnedFd>) -> bool {
        let mut programs = self.programs();
        if !programs.closed {
            programs.alive.push(pidfd.clone());
        }
        !programs.closed
    }

    fn remove(&self, pidfd: &Arc<OwnedFd>) {
        self.programs().alive.retain(|known| !Arc::ptr_eq(known, pidfd));
    }

    /// Lets nobody in any more, and reaps those who are killed with the sandbox.
    pub(crate) fn close(&self) {
        let alive = {
            let mut programs = self.programs();
            programs.closed = true;
            std::mem::take(&mut programs.alive)
        };
        for pidfd in alive {
            kill(&pidfd).unwrap_or(());
            // Its own task may have been first.
            spawn::reap(pidfd.as_fd()).unwrap_or(());
        }
    }
}

/// A descriptor of a process by which a sandbox can be entered.
///
/// The first process lets nobody look into it, which setns(2) takes for a condition; only `CAP_SYS_PTRACE` passes. For others
/// it is one of its children, first of all the program: over those the owner of the sandbox's user namespace has every right.
/// Without an `init` the first process is the program.
///
/// # Errors
/// When there is no such process any more.
pub(crate) fn door(first: &OwnedFd, pid: u32, init: bool) -> Result<OwnedFd, PlatformError> {
    let failed = |error: Errno| PlatformError::system("failed to enter the sandbox", error);
    let traces = caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_PTRACE);
    if !init || traces.unwrap_or(false) {
        return rustix::io::fcntl_dupfd_cloexec(first, 3).map_err(failed);
    }
    let mut pids = Vec::new();
    children(pid, &mut pids).map_err(failed)?;
    for child in pids {
        let number = i32::try_from(child).ok().and_then(Pid::from_raw);
        let Some(number) = number else { continue };
        let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else { continue };
        // Asked when the descriptor is there: from then on the number can't be another's while its process lives.
        let is_child = parent_and_state(child)
            .is_some_and(|(parent, state)| parent == pid && !matches!(state, b'Z' | b'X'));
        if is_child {
            return Ok(pidfd);
        }
    }
    Err(PlatformError::invalid("the sandbox has no process any more by which it can be entered"))
}

/// Of a process: its parent, and a letter for its state (proc_pid_stat(5)).
fn parent_and_state(pid: u32) -> Option<(u32, u8)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let rest = stat.get(stat.iter().rposition(|byte| *byte == b')')? + 1..)?;
    let rest = std::str::from_utf8(rest).ok()?;
    let mut words = rest.split_ascii_whitespace();
    let state = *words.next()?.as_bytes().first()?;
    Some((words.next()?.parse().ok()?, state))
}

/// A program that was executed inside.
#[derive(Debug)]
pub(crate) struct Inside {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    part: Option<Cgroup>,
    entered: Entered,
    /// Whether somebody looks after it.
    kept: bool,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if !self.kept {
            // What it may have started goes with its cgroup.
            kill(&self.pidfd).unwrap_or(());
            spawn::reap(self.pidfd.as_fd()).unwrap_or(());
            self.entered.remove(&self.pidfd);
        }
    }
}

/// Starts a prepared program in the sandbox, and returns when it is executed. It waits, so it needs a thread that may.
///
/// # Errors
/// The step that failed. Nothing of it is left then.
pub(crate) fn enter(
    prepared: &Prepared,
    part: Option<Cgroup>,
    entered: Entered,
) -> Result<Inside, PlatformError> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let failed = |error| PlatformError::system("failed to make a control socket", error);
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None).map_err(failed)?;
    let direction = rustix::net::sockopt::Timeout::Recv;
    rustix::net::sockopt::set_socket_timeout(&ours, direction, Some(PATIENCE)).map_err(failed)?;
    let ends = [theirs.as_raw_fd(), ours.as_raw_fd()];
    let Cloned { pid, pidfd, .. } =
        spawn::clone_into(prepared, part.as_ref(), ends, stockade_child::enter)?;
    drop(theirs);
    // It only goes ahead, and is never what runs the program.
    let ahead = Guard { pidfd, armed: true };
    if let Some(part) = &part {
        spawn::check_place(part, pid)?;
    }
    spawn::send(ours.as_fd(), Message::Go)
        .map_err(|error| PlatformError::system("failed to start the child", error))?;
    let (pid, pidfd, failure) = match hear(ours.as_fd(), prepared) {
        Ok(heard) => heard,
        Err(error) => {
            drop(ahead);
            if let Some(part) = &part {
                reap_untold(part);
            }
            return Err(error);
        }
    };
    let pidfd = Arc::new(pidfd);
    let is_let_in = entered.add(&pidfd);
    let inside = Inside { pid, pidfd, part, entered, kept: false };
    match failure {
        Some(failure) => Err(failure),
        None if is_let_in => Ok(inside),
        None => Err(PlatformError::invalid("the sandbox has ended")),
    }
}

/// What is told of the program's process, and why it failed, if it has.
fn hear(
    ours: BorrowedFd<'_>,
    prepared: &Prepared,
) -> Result<(u32, OwnedFd, Option<PlatformError>), PlatformError> {
    let mut failure = None;
    loop {
        match spawn::receive(ours, RecvFlags::empty()) {
            Ok((Some(Message::Failed { phase, index, errno }), _)) => {
                failure = Some(prepared.script.failure(phase, index, errno));
            }
            Ok((Some(Message::Started(pid)), Some(pidfd))) => {
                return Ok((u32::try_from(pid).unwrap_or(0), pidfd, failure));
            }
            Ok((Some(_), _)) => {}
            Ok((None, _)) => return Err(failure.unwrap_or_else(died)),
            Err(Errno::AGAIN) => return Err(failure.unwrap_or_else(late)),
            Err(error) => {
                return Err(PlatformError::system("failed to hear from the child", error));
            }
        }
    }
}

/// Reaps the program's process where the one that went ahead was killed, with the whole cgroup, before it told of it: dead and not
/// reaped, it would keep the sandbox's namespace, and so its first process, from ever being gone. It is a child of this process
/// in a cgroup that is its own.
fn reap_untold(part: &Cgroup) {
    let mut all = Vec::new();
    // What can't be listed is told by nobody else either.
    children(std::process::id(), &mut all).unwrap_or(());
    for pid in all {
        let place = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(number) = number.filter(|_| stands_in(&place, part.path())) else { continue };
        if let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) {
            kill(&pidfd).unwrap_or(());
            spawn::reap(pidfd.as_fd()).unwrap_or(());
        }
    }
}

/// Whether `/proc/PID/cgroup` is that of a process in this cgroup, whatever the root is from which it is told (cgroups(7)).
fn stands_in(place: &str, group: &Path) -> bool {
    let mut last = group.iter().rev().filter_map(OsStr::to_str);
    let (Some(own), Some(sandbox)) = (last.next(), last.next()) else { return false };
    let end = format!("/{sandbox}/{own}");
    place.lines().any(|line| line.starts_with("0::") && line.ends_with(&end))
}

fn died() -> PlatformError {
    let message = "failed to enter the sandbox: it ended, or killed what entered";
    PlatformError::launch(Stage::Setup, message, None)
}

fn late() -> PlatformError {
    let message = format!("failed to enter the sandbox: not done within {PATIENCE:?}");
    PlatformError::launch(Stage::Setup, message, None)
        .with_hint("it may be paused: `stockade resume`")
}

impl Inside {
    /// Looks after it until nothing of it is left.
    ///
    /// # Errors
    /// When it can't be watched; it is killed then.
    pub(crate) fn keep(mut self) -> Result<Execution, PlatformError> {
        let failed = |error| PlatformError::system("failed to watch a program", error);
        let own = rustix::io::fcntl_dupfd_cloexec(&*self.pidfd, 3).map_err(failed)?;
        // SAFETY: the descriptor is owned by the `AsyncFd` alone and stays open until that is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) };
        let watched = watched.map_err(|error| {
            PlatformError::system("failed to watch a program", std::io::Error::from(error))
        })?;
        self.kept = true;
        let (execution, keeper) = Execution::new(self.pid);
        tokio::spawn(look_after(self, watched, keeper));
        Ok(execution)
    }

    fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let number = signal.number();
        let named = rustix::process::Signal::from_named_raw(number).ok_or(Errno::INVAL)?;
        gone_is_well(pidfd_send_signal(&*self.pidfd, named))
    }

    /// Kills it with all that it started: the members of its cgroup, or where there is none of its process group, whose number
    /// is its own for as long as it isn't reaped.
    fn kill(&self) -> Result<(), PlatformError> {
        if let Some(part) = &self.part {
            return part.kill();
        }
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It is a session of its own from before it was executed.
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap_or(());
        }
        kill(&self.pidfd)
            .map_err(|error| PlatformError::system("failed to kill a program inside", error))
    }
}

fn kill(pidfd: &OwnedFd) -> Result<(), Errno> {
    gone_is_well(pidfd_send_signal(pidfd, rustix::process::Signal::KILL))
}

fn gone_is_well(sent: Result<(), Errno>) -> Result<(), Errno> {
    sent.or_else(|error| if error == Errno::SRCH { Ok(()) } else { Err(error) })
}

async fn look_after(mut inside: Inside, watched: AsyncFd<OwnedFd>, keeper: Keeper) {
    let Keeper { mut wishes, end } = keeper;
    let (mut wanted, mut trouble) = (true, None);
    loop {
        tokio::select! {
            biased;
            ready = watched.readable() => match ready {
                Ok(_) => break,
                Err(_) => trouble = inside.kill().err(),
            },
            wish = wishes.recv(), if wanted => match wish {
                // What can't be sent isn't known to the system.
                Some(Wish::Signal(signal)) => inside.signal(signal).unwrap_or(()),
                Some(Wish::Kill) | None => {
                    wanted = wish.is_some();
                    trouble = inside.kill().err();
                }
            },
        }
    }
    // Before it is reaped, while its number is surely its own.
    trouble = inside.kill().err().or(trouble);
    let how = match super::reaped::reap(inside.pidfd.as_fd()) {
        Ok((status, _)) if libc::WIFEXITED(status) => HowEnded::Exited(libc::WEXITSTATUS(status)),
        Ok((status, _)) => HowEnded::Signaled(libc::WTERMSIG(status)),
        // The end of the sandbox was first.
        Err(_) => HowEnded::Signaled(libc::SIGKILL),
    };
    inside.entered.remove(&inside.pidfd);
    if let Some(mut part) = inside.part.take() {
        trouble = part.emptied().await.and_then(|()| part.remove()).err().or(trouble);
    }
    // Nobody may want to know.
    end.send(trouble.map_or(Ok(how), Err)).unwrap_or(());
}
