//! Control groups: membership, limits, kill, freeze and usage of a whole tree of processes.
//!
//! [`Tree::find`] decides where sandboxes stand, [`Tree::create`] makes one [`Cgroup`] with its limits in force before
//! it has a process. Everything goes through directory descriptors, every write is checked and read back. Numbers and
//! file names are those of the kernel's cgroup-v2.rst.

mod accounts;
mod again;
mod devices;
mod file;
mod io;
mod limits;
mod parse;
mod place;
mod protection;
mod readings;
mod removal;
mod tree;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use accounts::traffic;
pub(crate) use again::{clear, thaw};
pub(crate) use limits::LIMITS;
pub(crate) use tree::{NoTree, Origin, Tree};

use crate::{Bytes, Control, Enforcement, Hits, LaunchPlan, PlatformError, State, Usage};
use file::SMALL;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fmt;
use std::ops::BitOr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use watch::CgroupWatcher;

/// Flag of `clone3` that starts the child in the cgroup whose directory is `clone_args.cgroup`
/// (`linux/sched.h`). The libc crate's constant of that name is 0 on glibc, which starts it elsewhere without a word.
pub(crate) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A set of the controllers that Stockade's limits need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controllers(u8);

impl Controllers {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const CPU: Self = Self(1);
    pub(crate) const MEMORY: Self = Self(2);
    pub(crate) const PIDS: Self = Self(4);
    pub(crate) const CPUSET: Self = Self(8);
    pub(crate) const IO: Self = Self(16);
    pub(crate) const HUGETLB: Self = Self(32);
    #[cfg(test)]
    pub(crate) const ALL: Self = Self(63);

    /// Each of them, alone.
    pub(crate) const EACH: [Self; 6] =
        [Self::MEMORY, Self::CPU, Self::PIDS, Self::CPUSET, Self::IO, Self::HUGETLB];

    const NAMES: [(Self, &str); 6] = [
        (Self::CPU, "cpu"),
        (Self::MEMORY, "memory"),
        (Self::PIDS, "pids"),
        (Self::CPUSET, "cpuset"),
        (Self::IO, "io"),
        (Self::HUGETLB, "hugetlb"),
    ];

    /// Reads `cgroup.controllers` or `cgroup.subtree_control`; other controllers are passed over.
    fn parse(text: &[u8]) -> Self {
        text.split(u8::is_ascii_whitespace).fold(Self::NONE, Self::with_token)
    }

    fn with_token(self, token: &[u8]) -> Self {
        let known = Self::NAMES.iter().find(|(_, name)| name.as_bytes() == token);
        known.map_or(self, |(controller, _)| self | *controller)
    }

    /// Whether all of `other` are in it.
    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that are not in `other`.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those that are in both.
    pub(crate) fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is written to `cgroup.subtree_control` to enable them.
    fn words(self) -> String {
        self.each().map(|one| format!("+{one}")).collect::<Vec<_>>().join(" ")
    }

    /// Each one by itself.
    pub(crate) fn each(self) -> impl Iterator<Item = Self> {
        Self::NAMES.iter().map(|(controller, _)| *controller).filter(move |one| self.has(*one))
    }
}

impl BitOr for Controllers {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The names, with a blank between.
impl fmt::Display for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Self::NAMES.iter().filter(|(one, _)| self.has(*one)).map(|(_, name)| *name);
        f.write_str(names.next().unwrap_or(""))?;
        names.try_for_each(|name| write!(f, " {name}"))
    }
}

fn failed(verb: &str, file: &str, cgroup: &Path, error: Errno) -> PlatformError {
    PlatformError::system(
        format!("failed to {verb} `{file}` in cgroup `{}`", cgroup.display()),
        error,
    )
}

/// One cgroup of one sandbox. Dropping it kills what is left inside and removes it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    dir: OwnedFd,
    parent: Arc<OwnedFd>,
    name: String,
    path: PathBuf,
    readings: readings::Readings,
    events: Option<AsyncFd<OwnedFd>>,
    /// Notifies when the whole tree waits for memory for too long.
    stalled: Option<OwnedFd>,
    /// Whether the parent protects memory for it.
    protected: bool,
    removed: bool,
}

impl Cgroup {
    fn new(dir: OwnedFd, parent: Arc<OwnedFd>, name: String, path: PathBuf) -> Self {
        let readings = readings::Readings::default();
        let (events, stalled) = (None, None);
        let (protected, removed) = (false, false);
        Self { dir, parent, name, path, readings, events, stalled, protected, removed }
    }

    /// The directory, for `clone3` with [`CLONE_INTO_CGROUP`]. Close-on-exec, and it must not reach the program: the
    /// lock on it is what tells a living sandbox from a leftover.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// A cgroup in it for a part of its processes, which can then be killed as one. It has no limits of its own, and all of
    /// this one's hold for it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn part(&self, name: String) -> Result<Self, PlatformError> {
        let path = self.path.join(&name);
        let fail = |error: Errno| {
            PlatformError::system(format!("failed to make cgroup `{}`", path.display()), error)
        };
        rustix::fs::mkdirat(&self.dir, &name, Mode::from_raw_mode(0o755)).map_err(fail)?;
        let dir = file::open_dir(self.dir.as_fd(), &name).map_err(fail)?;
        let parent = rustix::io::fcntl_dupfd_cloexec(&self.dir, 3).map_err(fail)?;
        Ok(Self::new(dir, Arc::new(parent), name, path))
    }

    /// The name of its directory: the id of the sandbox.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, for people.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Kills every process below it, also those being forked (`cgroup.kill`, Linux 5.14).
    ///
    /// # Errors
    /// When the kernel is older or refuses. A cgroup that is gone already is no error.
    pub(crate) fn kill(&self) -> Result<(), PlatformError> {
        self.write("cgroup.kill", b"1")
    }

    /// Stops every process below it, or lets them go on, and waits until the kernel has done it (cgroup-v2.rst,
    /// `cgroup.freeze`).
    ///
    /// # Errors
    /// When the kernel refuses. A cgroup that is gone already is no error.
    pub(crate) async fn freeze(&mut self, frozen: bool) -> Result<(), PlatformError> {
        self.write("cgroup.freeze", if frozen { b"1" } else { b"0" })?;
        self.until(|text| {
            parse::keyed(text, "frozen") == Some(u64::from(frozen))
                || parse::keyed(text, "populated") == Some(0)
        })
        .await
    }

    /// Moves a process into it: the slow way in (10 to 100 ms), for kernels that refuse [`CLONE_INTO_CGROUP`].
    ///
    /// # Errors
    /// When the kernel refuses: no such process, or no right to move it.
    pub(crate) fn add(&self, pid: u32) -> Result<(), PlatformError> {
        file::write(self.fd(), "cgroup.procs", pid.to_string().as_bytes())
            .map_err(|error| failed("write", "cgroup.procs", &self.path, error))
    }

    /// Whether a process, as the caller's pid namespace counts, stands in this very cgroup.
    ///
    /// # Errors
    /// When its list of processes can't be read.
    pub(crate) fn contains(&self, pid: u32) -> Result<bool, PlatformError> {
        let mut text = Vec::new();
        self.pids_text(&mut text)?;
        Ok(parse::pids(&text).any(|found| found == pid))
    }

    /// Adds the processes that stand in it to `pids`; with those of cgroups below it, if there are any. The room in `text`
    /// is used for reading.
    ///
    /// # Errors
    /// When a list of processes can't be read.
    pub(crate) fn pids(
        &mut self,
        pids: &mut Vec<u32>,
        text: &mut Vec<u8>,
    ) -> Result<(), PlatformError> {
        if !self.readings.pids((self.dir.as_fd(), &self.path), pids, text)? {
            return Ok(());
        }
        removal::each_below(self.fd(), &mut |_, _, child| removal::pids_below(child, pids, text))
            .map_err(|error| failed("read", "cgroup.procs", &self.path, error))
    }

    fn pids_text(&self, text: &mut Vec<u8>) -> Result<(), PlatformError> {
        file::read_all(self.fd(), "cgroup.procs", text)
            .map_err(|error| failed("read", "cgroup.procs", &self.path, error))
    }

    /// Whether no process is left in it or below. Processes that ended but weren't waited for don't count.
    ///
    /// # Errors
    /// When `cgroup.events` can't be read.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> Result<bool, PlatformError> {
        match removal::is_empty(self.fd()) {
            Ok(empty) => Ok(empty),
            Err(error) => Err(failed("read", "cgroup.events", &self.path, error)),
        }
    }

    /// Waits until no process is left in it or below. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When `cgroup.events` can't be watched.
    pub(crate) async fn emptied(&mut self) -> Result<(), PlatformError> {
        self.until(|text| parse::keyed(text, "populated") == Some(0)).await
    }

    /// Waits until `cgroup.events` shows what is wished, or is gone.
    async fn until(&mut self, wished: impl Fn(&[u8]) -> bool) -> Result<(), PlatformError> {
        let fail = |error: std::io::Error| {
            let path = self.path.display();
            PlatformError::system(format!("failed to watch `cgroup.events` of `{path}`"), error)
        };
        let events = match &mut self.events {
            Some(events) => events,
            none => {
                let file = file::open(self.dir.as_fd(), "cgroup.events", OFlags::RDONLY);
                let file = file.map_err(|error| fail(error.into()))?;
                // The kernel tells a change as "priority" data (cgroup-v2.rst, "[Un]populated Notification").
                // SAFETY: the descriptor is owned by the `AsyncFd` alone and stays open until that is dropped.
                let watched = unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) };
                none.insert(watched.map_err(|error| fail(error.into()))?)
            }
        };
        loop {
            match file::reread(events.get_ref(), &mut [0; SMALL]) {
                Ok(text) if wished(text) => return Ok(()),
                Ok(_) => {}
                Err(Errno::NODEV) => return Ok(()),
                Err(error) => return Err(fail(error.into())),
            }
            events.ready(Interest::PRIORITY).await.map_err(fail)?.clear_ready();
        }
    }

    /// What the tree used so far. Without controllers only the CPU time is known.
    ///
    /// # Errors
    /// When a file that exists can't be read.
    pub(crate) fn usage(&mut self, usage: &mut Usage) -> Result<(), PlatformError> {
        self.readings.usage((self.dir.as_fd(), &self.path), usage)
    }

    /// Times that limits were reached; 0 for a limit without its controller.
    ///
    /// # Errors
    /// When a file that exists can't be read.
    pub(crate) fn hits(&self) -> Result<Hits, PlatformError> {
        watch::hits(self.fd()).map_err(|error| failed("read", "memory.events", &self.path, error))
    }

    /// Watches what happens to it beyond what was `told`. The first watcher takes the threshold of `limits.memory_stall`.
    ///
    /// # Errors
    /// When a file that exists can't be watched.
    pub(crate) fn watcher(&mut self, told: Hits) -> Result<CgroupWatcher, PlatformError> {
        CgroupWatcher::new(self.dir.as_fd(), self.stalled.take(), told)
            .map_err(|error| failed("watch", "memory.events", &self.path, error))
    }

    /// Has the kernel notify when the whole tree waited for memory for `stall`, before there is a process.
    ///
    /// # Errors
    /// When the kernel doesn't measure pressure, or not for this caller.
    fn notice_stalls(&mut self, stall: Duration) -> Result<Enforcement, PlatformError> {
        let made = watch::threshold(self.fd(), "memory.pressure", "full", stall);
        self.stalled = Some(made.map_err(|error| {
            match error {
                Errno::NOENT | Errno::OPNOTSUPP => PlatformError::unsupported(
                    Control::MemoryStall,
                    "this kernel measures no pressure",
                )
                .with_hint("boot with `psi=1`"),
                error => failed("write", "memory.pressure", &self.path, error),
            }
        })?);
        let how = "memory.pressure: the kernel tells, the starter ends";
        Ok(Enforcement::new(Control::MemoryStall, State::Enforced, how)
            .with_value(format!("{stall:?}")))
    }

    /// Changes its limits from those of `old` to those of `new`, and tells what was read back.
    ///
    /// # Errors
    /// When a limit has no controller here, or the kernel refuses or shows another value; all limits are as before then.
    pub(crate) fn change(
        &mut self,
        old: &LaunchPlan,
        new: &LaunchPlan,
    ) -> Result<Vec<Enforcement>, PlatformError> {
        self.protected |= new.limits.memory_min.or(new.limits.memory_low).is_some();
        // First, since it changes nothing until somebody watches.
        let noticed = match new.limits.memory_stall {
            Some(stall) if old.limits.memory_stall != Some(stall) => {
                Some(self.notice_stalls(stall)?)
            }
            _ => None,
        };
        let changed = limits::change(self.fd(), &self.path, old, new).inspect_err(|_| {
            self.stalled = None;
            // The error to tell is the first one.
            drop(limits::change(self.fd(), &self.path, new, old));
        });
        changed.map(|mut changed| {
            changed.extend(noticed);
            changed
        })
    }

    /// The memory limit in force; `None` when there is none.
    ///
    /// # Errors
    /// When `memory.max` exists and can't be read.
    pub(crate) fn memory_limit(&self) -> Result<Option<Bytes>, PlatformError> {
        Ok(self.value("memory.max", parse::number)?.map(Bytes))
    }

    /// Leaves it to whoever else holds it.
    pub(crate) fn leave(mut self) {
        self.removed = true;
    }

    /// Kills what is left inside and removes the cgroup with all below it. Repeated calls do nothing.
    ///
    /// # Errors
    /// When processes don't go within two seconds (one may hang in the kernel), or the kernel refuses.
    pub(crate) fn remove(&mut self) -> Result<(), PlatformError> {
        if !self.removed {
            removal::remove(self.parent.as_fd(), &self.name, self.dir.as_fd()).map_err(
                |error| {
                    let path = self.path.display();
                    PlatformError::system(format!("failed to remove cgroup `{path}`"), error)
                },
            )?;
            self.removed = true;
            if self.protected {
                let parent = self.path.parent().unwrap_or(&self.path);
                protection::FILES.iter().try_for_each(|file| protection::grant(parent, file))?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), PlatformError> {
        match file::write(self.fd(), name, value) {
            Ok(()) | Err(Errno::NODEV) => Ok(()),
            Err(Errno::NOENT) if self.removed => Ok(()),
            Err(error) => Err(failed("write", name, &self.path, error)),
        }
    }

    fn value(
        &self,
        name: &str,
        parse: impl Fn(&[u8]) -> Option<u64>,
    ) -> Result<Option<u64>, PlatformError> {
        match file::read_small(self.fd(), name, &mut [0; SMALL]) {
            Ok(text) => Ok(parse(text)),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(error) => Err(failed("read", name, &self.path, error)),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Nobody is left to tell; what stays behind has no lock any more, and the next sweep takes it.
        drop(self.remove());
    }
}

/// Reads bytes as each of the files of a cgroup, and those that tell where it is.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    parse::membership(bytes);
    parse::cgroup2_mounts(bytes);
    parse::number(bytes);
    parse::keyed_micros(bytes, "usage_usec");
    parse::pids(bytes).count();
    accounts::devices(bytes).count();
    accounts::pressure(bytes);
    accounts::traffic(bytes);
    devices::fuzz(bytes);
}
