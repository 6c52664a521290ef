//! Hearing of denied system calls, and answering them (seccomp_unotify(2)).
//!
//! The filter asks here wherever it denies. A call waits for its answer, so it isn't carried out whatever becomes of this
//! task: without one the kernel answers that there is no such call. The answer is what the filter says by itself
//! ([`seccomp::verdict`]); being asked only adds that the call is counted, with its arguments, and that an end for it is
//! known to be one.
//!
//! Where the filter would have the kernel end the process, this task does. Nothing that the program does reaches the
//! kernel meanwhile, and a program that wants the signal to be another one's doing can't have it.

mod lookout;
mod notice;
mod process;
mod trace;
mod watch;

use super::seccomp::{self, NATIVE, Verdict};
use super::view::Sight;
use crate::{Denials, DeniedCall, PlatformError, Syscalls, Wishes};
use libc::{seccomp_notif, sock_filter};
use notice::Waiting;
use process::Condemned;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::future::pending;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep_until};
use trace::Trace;
use watch::Watch;
pub(crate) use watch::path_calls;

/// How the kernel names this processor (linux/audit.h).
pub(crate) const NATIVE_AUDIT: u32 =
    if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };

/// Arguments that say what a call is about. Of those that a rule tests that is true too.
const TELLING: &[(&str, &[u8])] = &[
    ("bpf", &[0]),
    ("clone", &[0]),
    ("ioctl", &[1]),
    ("keyctl", &[0]),
    ("mount_setattr", &[2]),
    ("personality", &[0]),
    ("prctl", &[0]),
    ("ptrace", &[0]),
    ("quotactl", &[0]),
    ("seccomp", &[0]),
    ("setns", &[1]),
    ("socket", &[0, 1, 2]),
    ("socketpair", &[0, 1]),
    ("unshare", &[0]),
];

/// Which process is the program's own.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Whether its number is one of the sandbox's own, below the caller's.
    pub(crate) inner: bool,
    /// Another one where the program leaves its work to that.
    pub(crate) pid: Arc<AtomicI32>,
}

/// The task that answers. Without it, denied calls fail all the same.
#[derive(Debug)]
pub(crate) struct Listener {
    task: JoinHandle<()>,
    program: Program,
    ended_program: Arc<AtomicBool>,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the descriptor can't be registered with the running tokio runtime.
    pub(crate) fn start(
        listener: OwnedFd,
        filter: Box<[sock_filter]>,
        syscalls: &Syscalls,
        program: Program,
        denials: Arc<Denials>,
        (wishes, sight): (Option<Arc<Wishes>>, Option<Sight>),
        heard: Option<File>,
    ) -> Result<Self, PlatformError> {
        // SAFETY: the descriptor is owned by the `AsyncFd` alone and stays open until that is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
        let listener = registered.map_err(|error| {
            PlatformError::system("failed to watch the sandbox", std::io::Error::from(error))
        })?;
        if let Some(heard) = &heard {
            settle(listener.get_ref().as_fd(), heard);
        }
        let ended_program = Arc::<AtomicBool>::default();
        let desk = Desk {
            filter,
            telling: telling(syscalls),
            program: program.clone(),
            denials,
            ended_program: ended_program.clone(),
            condemned: VecDeque::new(),
            watch: wishes.map(|wishes| (Watch::default(), wishes)),
            trace: sight.map(Trace::new),
            heard,
        };
        Ok(Self { task: tokio::spawn(listen(listener, desk)), program, ended_program })
    }

    /// From now on this process is the program's own.
    pub(crate) fn follow(&self, pid: i32) {
        self.program.pid.store(pid, Ordering::Release);
        // What became of the one before no longer matters.
        self.ended_program.store(false, Ordering::Release);
    }

    /// Whether this signal, which ended the program, was sent for a denied call.
    pub(crate) fn has_ended_program(&self, signal: i32) -> bool {
        matches!(signal, libc::SIGSYS | libc::SIGKILL) && self.ended_program.load(Ordering::Acquire)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lets calls fail that the starter before had taken and not answered, as the kernel does where nobody listens: what they were
/// can't be asked any more. Their numbers lie near the last one that was noted, since the kernel counts them.
fn settle(listener: BorrowedFd<'_>, heard: &File) {
    /// More than can be under way at once.
    const NEAR: u64 = 64;
    let mut last = [0; 8];
    if heard.read_exact_at(&mut last, 0).is_err() {
        return;
    }
    let first = u64::from_ne_bytes(last).wrapping_sub(NEAR);
    for id in (0..=2 * NEAR).map(|step| first.wrapping_add(step)) {
        if notice::is_waiting(listener, id) {
            // Its process may have gone in between.
            notice::answer(listener, id, libc::ENOSYS).unwrap_or(());
        }
    }
}

/// Takes a call and doesn't answer it; its number.
#[cfg(test)]
pub(crate) fn take_one(listener: BorrowedFd<'_>) -> Result<u64, Errno> {
    notice::receive(listener).map(|notice| notice.id)
}

/// Which arguments of a call are told, by its number, and whether all their 64 bits count.
type Telling = HashMap<u32, Vec<(u8, bool)>>;

fn telling(syscalls: &Syscalls) -> Telling {
    let mut telling = Telling::new();
    let mut add = |name: &str, index: u8, wide: bool| {
        let number = crate::names::lookup(name).and_then(|entry| entry.number(NATIVE));
        if let Some(number) = number {
            let known = telling.entry(number).or_default();
            match known.iter_mut().find(|(known, _)| *known == index) {
                Some((_, known)) => *known |= wide,
                None => known.push((index, wide)),
            }
        }
    };
    for (name, indices) in TELLING {
        indices.iter().for_each(|index| add(name, *index, false));
    }
    for rule in &syscalls.rules {
        rule.tests.iter().for_each(|test| add(&rule.name, test.index, test.wide));
    }
    telling.values_mut().for_each(|known| known.sort_unstable());
    telling
}

/// What a call is counted as.
fn call(telling: &Telling, notice: &seccomp_notif) -> DeniedCall {
    let (data, number) = (&notice.data, notice.data.nr.cast_unsigned());
    let name = if data.arch == NATIVE_AUDIT { NATIVE.name(number) } else { "" };
    let told = telling.get(&number).filter(|_| !name.is_empty());
    let value = |(index, wide): &(u8, bool)| {
        let value = data.args.get(usize::from(*index)).copied().unwrap_or(0);
        (*index, if *wide { value } else { value & u64::from(u32::MAX) })
    };
    let arguments = told.into_iter().flatten().map(value).collect();
    DeniedCall { name, number, arguments, others: false }
}

/// What answers.
struct Desk {
    filter: Box<[sock_filter]>,
    telling: Telling,
    program: Program,
    denials: Arc<Denials>,
    ended_program: Arc<AtomicBool>,
    /// Processes that got the signal of a forbidden call, and when they get one that can't be stood in the way of.
    condemned: VecDeque<(Condemned, Instant)>,
    /// Where every call is told: what is learned from it.
    watch: Option<(Watch, Arc<Wishes>)>,
    /// Where calls that name paths are told: what of them a wall denies.
    trace: Option<Trace>,
    /// Where the number of the last call is noted.
    heard: Option<File>,
}

/// How long a process has to end of the signal for a forbidden call.
const PATIENCE: Duration = Duration::from_millis(100);

/// The most processes that are waited for; each is a descriptor.
const MOST_CONDEMNED: usize = 16;

/// Answers until the last process that has the filter is gone.
async fn listen(listener: AsyncFd<OwnedFd>, mut desk: Desk) {
    let mut pace = Pace::new();
    loop {
        let mut ready = tokio::select! {
            biased;
            ready = listener.readable() => match ready {
                Ok(ready) => ready,
                Err(_) => return,
            },
            () = desk.due() => {
                desk.insist();
                continue;
            }
        };
        // Asked each time: the kernel has receiving wait even where a descriptor shall not block.
        match notice::waiting(listener.get_ref().as_fd()) {
            Waiting::One => match desk.answer_one(listener.get_ref().as_fd()) {
                Ok(()) => {}
                // Closed with this task's end: what is denied goes on to fail.
                Err(_) => return,
            },
            Waiting::None => ready.clear_ready(),
            Waiting::Over => return,
        }
        drop(ready);
        pace.one_more().await;
    }
}

impl Desk {
    fn answer_one(&mut self, listener: BorrowedFd<'_>) -> Result<(), Errno> {
        let notice = match notice::receive(listener) {
            Ok(notice) => notice,
            // The caller was killed, or interrupted by a signal, before it was heard.
            Err(Errno::NOENT | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(heard) = &self.heard {
            // Without the note a call would wait for ever if this process died now, and nothing worse.
            heard.write_all_at(&notice.id.to_ne_bytes(), 0).unwrap_or(());
        }
        if let Some((watch, wishes)) = &mut self.watch {
            watch.note(&notice, wishes);
        }
        let verdict = seccomp::verdict(&self.filter, &notice.data);
        if let (Verdict::Passes, Some(trace)) = (verdict, &self.trace) {
            trace.note(&notice, &self.denials);
        }
        // A call that seems not to exist is asked about only since it names a path.
        if !matches!(verdict, Verdict::Passes | Verdict::Fails(libc::ENOSYS)) {
            // Before the answer, so that whatever the program does next, this is counted.
            self.denials.count(call(&self.telling, &notice));
        }
        match verdict {
            // Nobody asks about what the filter allows, unless it is watched or traced.
            Verdict::Passes if self.watch.is_some() || self.trace.is_some() => {
                notice::let_go_on(listener, notice.id)
            }
            Verdict::Passes => self.end(listener, &notice),
            Verdict::Fails(errno) => notice::answer(listener, notice.id, errno),
            Verdict::Ends => self.end(listener, &notice),
        }
    }

    /// Ends the process that made a call.
    ///
    /// With the signal that the kernel would send, since that tells a parent what happened; one that is caught, blocked or
    /// ignored, or meant for the first process of a namespace, is no end, and then a kill is sent at once or soon after.
    fn end(&mut self, listener: BorrowedFd<'_>, notice: &seccomp_notif) -> Result<(), Errno> {
        let Some(process) = Condemned::find(notice.pid) else {
            // No descriptor to be had for it: the call fails.
            return notice::answer(listener, notice.id, libc::EPERM);
        };
        // While the call waits, the descriptor is surely that of its process.
        if !notice::is_waiting(listener, notice.id) {
            return Ok(());
        }
        if process.is(&self.program) {
            self.ended_program.store(true, Ordering::Release);
        }
        if !process.takes(libc::SIGSYS) {
            process.kill();
            return Ok(());
        }
        process.signal_forbidden();
        if self.condemned.len() >= MOST_CONDEMNED
            && let Some((process, _)) = self.condemned.pop_front()
        {
            process.kill();
        }
        self.condemned.push_back((process, Instant::now() + PATIENCE));
        // It dies on its way back from the call.
        notice::answer(listener, notice.id, libc::EPERM)
    }

    /// Until somebody's patience is over.
    async fn due(&self) {
        match self.condemned.front() {
            Some((_, at)) => sleep_until(*at).await,
            None => pending().await,
        }
    }

    /// Kills what should be dead.
    fn insist(&mut self) {
        let now = Instant::now();
        while let Some((process, _)) = self.condemned.pop_front_if(|(_, at)| *at <= now) {
            process.kill();
        }
    }
}

/// Keeps programs that do nothing but make denied calls from taking the starter's CPU: their calls wait longer.
struct Pace {
    since: Instant,
    answered: u32,
}

impl Pace {
    const WINDOW: Duration = Duration::from_millis(10);
    /// A third of the time, at some 6 µs each.
    const MOST: u32 = 500;
    /// So often others have their turn.
    const TURN: u32 = 32;

    fn new() -> Self {
        Self { since: Instant::now(), answered: 0 }
    }

    async fn one_more(&mut self) {
        self.answered += 1;
        if self.answered.is_multiple_of(Self::TURN) {
            yield_now().await;
        }
        if self.since.elapsed() >= Self::WINDOW {
            *self = Self::new();
        } else if self.answered >= Self::MOST {
            sleep_until(self.since + Self::WINDOW).await;
            *self = Self::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArgumentTest, Compare, SyscallAnswer, SyscallRule};

    fn notice(arch: u32, number: i32, arguments: [u64; 6]) -> seccomp_notif {
        let data = libc::seccomp_data { nr: number, arch, instruction_pointer: 0, args: arguments };
        seccomp_notif { id: 1, pid: 1, flags: 0, data }
    }

    #[test]
    fn a_call_is_counted_by_its_name_and_what_tells_something() {
        let test = ArgumentTest { index: 3, compare: Compare::Equal(1 << 40), wide: true };
        let rule = SyscallRule {
            name: "mmap".into(),
            tests: vec![test],
            answer: SyscallAnswer::Violation,
        };
        let telling = telling(&Syscalls { rules: vec![rule], ..Syscalls::default() });
        let of = |name: &str, arguments| {
            let number = crate::names::lookup(name).unwrap().number(NATIVE).unwrap();
            call(&telling, &notice(NATIVE_AUDIT, number.cast_signed(), arguments))
        };
        let socket = of("socket", [0xffff_0000_0000_0028, 1, 0, 9, 9, 9]);
        assert_eq!((socket.name, socket.arguments), ("socket", vec![(0, 0x28), (1, 1), (2, 0)]));
        assert_eq!(of("mmap", [1, 2, 3, 1 << 40, 5, 6]).arguments, [(3, 1 << 40)]);
        assert_eq!(of("mount", [1; 6]).arguments, []);
        let foreign = call(&telling, &notice(0x4000_0003, 20, [1; 6]));
        assert_eq!((foreign.name, foreign.number, foreign.arguments), ("", 20, vec![]));
    }
}
