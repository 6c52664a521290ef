//! A process that somebody else started: found, held by a descriptor, and watched for its end.
//!
//! A number alone names nobody for long. The descriptor is opened first, and then the start time read: while it says that its
//! process hasn't ended, the number is that one's. From there on only the descriptor is used.

use super::processes::{Sampler, numbers, started_at};
use crate::{
    Attachment, BoxFuture, Ended, Enforcement, HowEnded, LaunchPlan, PlatformError, Process,
    ProcessIdentity, Running, Signal, Usage, Whom,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open, pidfd_send_signal};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// No number of a process is longer, with what stands around it.
const LONGEST: u64 = 64;

/// So many numbers are told where a name is that of several processes.
const MOST_TOLD: usize = 8;

/// A process of somebody else's. Dropping it leaves it alone.
#[derive(Debug)]
pub(crate) struct Attached {
    identity: ProcessIdentity,
    pidfd: AsyncFd<OwnedFd>,
    /// Whether it may be sent anything.
    stop: bool,
    sampler: Sampler,
    /// The last that was seen of what it uses.
    usage: Usage,
    since: Instant,
    ended: Option<Ended>,
}

/// Attaches to a process, which must be the one that is `known`, where one is; `None` where that one is gone.
///
/// # Errors
/// When there is none, or it can't be told which one is meant.
pub(crate) fn attach(
    to: &Attachment,
    known: Option<&ProcessIdentity>,
) -> Result<Option<Attached>, PlatformError> {
    let pid = match (known, &to.whom) {
        (Some(known), _) => known.pid,
        (None, Whom::Pid(pid)) => *pid,
        (None, Whom::PidFile(path)) => of_file(path)?,
        (None, Whom::Name(name)) => of_name(name)?,
    };
    let Some((pidfd, started)) = hold(pid)? else {
        return match known {
            Some(_) => Ok(None),
            None => Err(PlatformError::invalid(format!("there is no process {pid}"))),
        };
    };
    if known.is_some_and(|known| known.started != started) {
        return Ok(None);
    }
    // SAFETY: the descriptor is owned by the `AsyncFd` alone and stays open until that is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    let pidfd = registered.map_err(|error| {
        PlatformError::system("failed to watch the process", std::io::Error::from(error))
    })?;
    Ok(Some(Attached {
        identity: ProcessIdentity { pid, started, group: None },
        pidfd,
        stop: to.stop,
        sampler: Sampler::new(pid, None),
        usage: Usage::default(),
        since: Instant::now(),
        ended: None,
    }))
}

/// A descriptor of the process that has this number, and when it was started; `None` where it has none or has ended.
fn hold(pid: u32) -> Result<Option<(OwnedFd, u64)>, PlatformError> {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        // A thread's number is no process's.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
        Err(error) => {
            return Err(PlatformError::system(format!("failed to open process {pid}"), error));
        }
    };
    let started = started_at(pid).map_err(|error| {
        PlatformError::system(format!("failed to look at process {pid}"), error)
    })?;
    // Asked last: what was read until here was this process's.
    match (started, has_ended(&pidfd)) {
        (Some(started), false) => Ok(Some((pidfd, started))),
        _ => Ok(None),
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut looked = [PollFd::new(pidfd, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut looked, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// The number that a file says. Whoever may write it decides who is attached to, so nobody may but root, this user, and the
/// process itself.
fn of_file(path: &Path) -> Result<u32, PlatformError> {
    let shown = crate::plan::readable(path.as_os_str());
    let failed =
        |error: std::io::Error| PlatformError::system(format!("failed to read `{shown}`"), error);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let stat = fstat(&file).map_err(|error| failed(error.into()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(PlatformError::invalid(format!("`{shown}` is no regular file")));
    }
    let mut text = String::new();
    std::fs::File::from(file).take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    let text = text.trim();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let pid = text.parse().ok().filter(|pid: &u32| is_plain && *pid > 1);
    let pid =
        pid.ok_or_else(|| PlatformError::invalid(format!("no process is named in `{shown}`")))?;
    let owner = std::fs::metadata(format!("/proc/{pid}")).map(|process| process.uid()).ok();
    let trusted = [Some(0), Some(geteuid().as_raw()), owner].contains(&Some(stat.st_uid));
    if !trusted || stat.st_mode & 0o022 != 0 {
        let message = format!("`{shown}` could be written by others, who would choose the process");
        return Err(PlatformError::invalid(message)
            .with_hint("give it to root or to the process's user, with permissions `644`"));
    }
    Ok(pid)
}

/// The only process with this name that is in no namespace of processes below this one's: what runs in a sandbox or a container
/// chooses its name there.
fn of_name(name: &str) -> Result<u32, PlatformError> {
    let failed = |error| PlatformError::system("failed to list the processes", error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(pid) = entry.file_name().to_str().and_then(|text| text.parse::<u32>().ok()) else {
            continue;
        };
        // One that ends meanwhile has no name.
        let comm = std::fs::read(entry.path().join("comm")).unwrap_or_default();
        if comm.strip_suffix(b"\n") == Some(name.as_bytes())
            && numbers(pid).is_some_and(|numbers| numbers.len() == 1)
        {
            found.push(pid);
        }
    }
    found.sort_unstable();
    match found[..] {
        [] => Err(PlatformError::invalid(format!("no process is named `{name}`"))),
        [pid] => Ok(pid),
        _ => {
            let count = found.len();
            found.truncate(MOST_TOLD);
            let told: Vec<String> = found.iter().map(u32::to_string).collect();
            let more = if count > MOST_TOLD { ", ..." } else { "" };
            let told = format!("{}{more}", told.join(", "));
            Err(PlatformError::invalid(format!("{count} processes are named `{name}`: {told}"))
                .with_hint("name one of them by `pid` or `pid_file`"))
        }
    }
}

impl Attached {
    fn send(&self, number: i32) -> Result<(), PlatformError> {
        if !self.stop {
            let message = "it was attached to, and isn't sent anything";
            return Err(PlatformError::invalid(message)
                .with_hint("with `attach.stop = true` in the stack file it is"));
        }
        let failed = |error| {
            let pid = self.identity.pid;
            PlatformError::system(format!("failed to signal process {pid}"), error)
        };
        let named = rustix::process::Signal::from_named_raw(number);
        let named = named.ok_or_else(|| failed(Errno::INVAL))?;
        match pidfd_send_signal(self.pidfd.get_ref(), named) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn look(&mut self) -> Result<(), PlatformError> {
        let mut usage = self.sampler.sample(None)?;
        usage.open_files = self.sampler.open_files(None)?;
        // What was read after its end may be another's.
        if !has_ended(self.pidfd.get_ref()) {
            self.usage = usage;
        }
        Ok(())
    }

    async fn watch(&mut self) -> Result<Ended, PlatformError> {
        if self.ended.is_none() {
            let ready = self.pidfd.readable().await;
            ready
                .map(|mut guard| guard.retain_ready())
                .map_err(|error| PlatformError::system("failed to watch the process", error))?;
            // Somebody else's child: its status is told to its parent alone.
            let mut ended = Ended::new(HowEnded::Unobserved);
            ended.usage = self.usage.clone();
            ended.wall_time = self.since.elapsed();
            self.ended = Some(ended);
        }
        Ok(self.ended.clone().unwrap_or_else(|| Ended::new(HowEnded::Unobserved)))
    }
}

impl Running for Attached {
    fn pid(&self) -> u32 {
        self.identity.pid
    }

    fn signal(&self, signal: Signal) -> Result<(), PlatformError> {
        self.send(signal.number())
    }

    fn kill(&self) -> Result<(), PlatformError> {
        self.send(libc::SIGKILL)
    }

    fn sample(&mut self, usage: &mut Usage) -> Result<(), PlatformError> {
        if self.ended.is_none() && !has_ended(self.pidfd.get_ref()) {
            self.look()?;
        }
        usage.clone_from(&self.usage);
        Ok(())
    }

    fn processes(&mut self) -> Result<Vec<Process>, PlatformError> {
        if self.has_ended() {
            return Ok(Vec::new());
        }
        self.sampler.rows(None)
    }

    fn update(&mut self, _: &LaunchPlan, _: &LaunchPlan) -> Result<(), PlatformError> {
        Err(PlatformError::invalid("what was attached to has no limits of Stockade's"))
    }

    fn pause(&mut self, _: bool) -> BoxFuture<'_, Result<(), PlatformError>> {
        let why = "what was attached to has no control group of Stockade's to be stopped by";
        Box::pin(async move { Err(PlatformError::invalid(why)) })
    }

    fn has_ended(&self) -> bool {
        self.ended.is_some() || has_ended(self.pidfd.get_ref())
    }

    fn identity(&self) -> Option<ProcessIdentity> {
        Some(self.identity.clone())
    }

    fn enforcement(&self) -> &[Enforcement] {
        &[]
    }

    fn wait(&mut self) -> BoxFuture<'_, Result<Ended, PlatformError>> {
        Box::pin(self.watch())
    }
}
