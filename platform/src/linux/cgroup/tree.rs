//! The parent of all sandboxes: which controllers it has, and making cgroups in it.

use super::place::{self, Chosen, OWN_DIRECTORY, Place};
pub(crate) use super::place::{NoTree, Origin};
use super::{Cgroup, Controllers, file, io, limits, parse, removal};
use crate::linux::processes;
use crate::{Control, Decision, Enforcement, LaunchPlan, PlatformError};
use file::SMALL;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, FlockOperation, Mode, accessat, flock, mkdirat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The directory below the parent that Stockade's own processes move to: a cgroup with processes can't hand
/// controllers down (cgroup-v2.rst, "No Internal Process Constraint").
const SUPERVISOR: &str = "supervisor";

/// How often a cgroup is made anew when sweeps of other Stockades take it away: each of them sweeps once.
const MOST_TRIES: u32 = 16;

/// Where sandboxes are made.
#[derive(Debug)]
pub(crate) struct Tree {
    place: Place,
    chosen: Chosen,
    anchor: OwnedFd,
    /// Opened when the first sandbox is made, and again when someone removed it.
    parent: Mutex<Option<Arc<OwnedFd>>>,
    available: Controllers,
    /// What the parent hands down, as bits of [`Controllers`].
    enabled: AtomicU8,
    hindrance: Hindrance,
}

/// What stands in the way of handing more controllers down from the anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hindrance {
    None,
    /// Stockade's own processes, which can move.
    Self_,
    /// Something that Stockade can't or mustn't change.
    Reason(String),
}

impl Tree {
    /// Looks where sandboxes can be made, and changes nothing. Takes some 20 microseconds on usual hosts.
    ///
    /// # Errors
    /// The reason why no cgroup can be made here, with the remedy.
    pub(crate) fn find() -> Result<Self, NoTree> {
        let place = place::locate()?;
        let chosen = place::choose(&place)?;
        let anchor = file::open_dir_path(&chosen.anchor)
            .map_err(|error| NoTree::io("open", &chosen.anchor, error))?;
        let control = |dir: BorrowedFd<'_>, name: &str| {
            file::read_small(dir, name, &mut [0; SMALL]).map(Controllers::parse)
        };
        let fail = |error| NoTree::io("read the controllers of", &chosen.anchor, error);
        let available = control(anchor.as_fd(), "cgroup.controllers").map_err(fail)?;
        let (parent, enabled) = if chosen.own_directory {
            match file::open_dir(anchor.as_fd(), OWN_DIRECTORY) {
                Ok(parent) => {
                    let enabled = control(parent.as_fd(), "cgroup.subtree_control");
                    (Some(Arc::new(parent)), enabled.map_err(fail)?)
                }
                Err(_) => (None, Controllers::NONE),
            }
        } else {
            (None, control(anchor.as_fd(), "cgroup.subtree_control").map_err(fail)?)
        };
        let hindrance = if enabled.has(available) {
            Hindrance::None
        } else {
            hindrance(anchor.as_fd(), &chosen.anchor)
                .map_err(|error| NoTree::io("look into", &chosen.anchor, error))?
        };
        let parent = Mutex::new(parent);
        let enabled = AtomicU8::new(enabled.0);
        Ok(Self { place, chosen, anchor, parent, available, enabled, hindrance })
    }

    /// The directory in which sandboxes are made; it may not exist yet.
    pub(crate) fn path(&self) -> PathBuf {
        if self.chosen.own_directory {
            self.chosen.anchor.join(OWN_DIRECTORY)
        } else {
            self.chosen.anchor.clone()
        }
    }

    /// How the parent was chosen.
    pub(crate) fn origin(&self) -> Origin {
        self.chosen.origin
    }

    /// Why no disk is shared by weight among its sandboxes.
    pub(crate) fn no_io_shares(&self) -> Option<NoTree> {
        io::no_shares(self.mount())
    }

    /// Where the cgroup2 tree is mounted.
    pub(crate) fn mount(&self) -> &Path {
        &self.place.mount
    }

    /// Controllers that version 1 hierarchies hold: not empty on a hybrid host.
    pub(crate) fn held_by_v1(&self) -> Controllers {
        self.place.v1
    }

    /// Controllers that the parent hands down by now.
    pub(crate) fn enabled(&self) -> Controllers {
        Controllers(self.enabled.load(Ordering::Relaxed))
    }

    /// Why sandboxes can't have the limits of `controllers`, with the remedy; `None` when they can.
    pub(crate) fn lacks(&self, controllers: Controllers) -> Option<NoTree> {
        let missing = controllers.without(self.enabled());
        let path = self.chosen.anchor.display();
        let absent = missing.without(self.available);
        let v1 = absent.common(self.place.v1);
        if let Some(one) = v1.each().next() {
            return Some(NoTree::new(
                format!("controller `{one}` is held by the cgroup v1 tree of this hybrid host"),
                "boot with `systemd.unified_cgroup_hierarchy=1` or `cgroup_no_v1=all`",
            ));
        }
        if let Some(one) = absent.each().next() {
            let above = self.chosen.anchor.parent().filter(|_| self.chosen.anchor != *self.mount());
            let reason = format!("controller `{one}` isn't enabled in `{path}`");
            let remedy = match above {
                None if one == Controllers::MEMORY => "boot with `cgroup_enable=memory`".into(),
                None => String::new(),
                Some(above) => format!(
                    "echo +{one} > {}/cgroup.subtree_control (as root; systemd: `Delegate=yes`)",
                    above.display()
                ),
            };
            return Some(NoTree::new(reason, remedy));
        }
        match &self.hindrance {
            Hindrance::Reason(reason) if missing != Controllers::NONE => {
                let one = missing.each().next().unwrap_or(missing);
                let remedy = if place::has_systemd() {
                    place::systemd_run()
                } else {
                    format!(
                        "mkdir -p {path}/session && \
                         xargs -rn1 < {path}/cgroup.procs > {path}/session/cgroup.procs"
                    )
                };
                Some(NoTree::new(
                    format!("controller `{one}` can't be enabled in `{path}`: {reason}"),
                    remedy,
                ))
            }
            _ => None,
        }
    }

    /// Makes the cgroup of one sandbox, named for the plan's id, with all limits in force that the plan doesn't hand to
    /// something weaker, and tells what was read back. On failure nothing is left behind.
    ///
    /// # Errors
    /// When a limit can't be held (then [`PlatformError::is_unsupported`]) or the kernel refuses.
    pub(crate) fn create(
        &self,
        plan: &LaunchPlan,
    ) -> Result<(Cgroup, Vec<Enforcement>), PlatformError> {
        check_id(&plan.id)?;
        let needed = limits::needed(plan);
        let path = self.path().join(&plan.id);
        let fail = |error: Errno| {
            PlatformError::system(format!("failed to make cgroup `{}`", path.display()), error)
        };
        let mut parent = self.parent(needed)?;
        let mut tries = 0;
        let dir = loop {
            tries += 1;
            match make(parent.as_fd(), &plan.id) {
                Ok(dir) => break dir,
                Err(error) if tries == MOST_TRIES => return Err(fail(error)),
                // Someone removed the parent, or a sweep took the new directory before it was locked.
                Err(Errno::NOENT | Errno::NODEV) => {
                    self.forget_parent();
                    parent = self.parent(needed)?;
                }
                Err(Errno::EXIST) => {
                    let freed = free_name(parent.as_fd(), &plan.id).map_err(fail)?;
                    if !freed {
                        return Err(fail(Errno::EXIST));
                    }
                }
                Err(error) => return Err(fail(error)),
            }
        };
        // From here on dropping it removes it.
        let mut cgroup = Cgroup::new(dir, parent, plan.id.clone(), path);
        cgroup.protected = plan.limits.memory_min.or(plan.limits.memory_low).is_some();
        let mut enforcement = limits::apply(cgroup.fd(), cgroup.path(), plan)?;
        if let (Some(stall), Some(Decision::Enforce)) =
            (plan.limits.memory_stall, plan.controls.get(&Control::MemoryStall))
        {
            enforcement.push(cgroup.notice_stalls(stall)?);
        }
        Ok((cgroup, enforcement))
    }

    /// Removes what crashed runs left: cgroups named as sandboxes are, whose lock nobody holds. Processes that still
    /// live in one are killed only where the directory is Stockade's own. Returns how many were removed.
    ///
    /// # Errors
    /// When the parent can't be read, or a leftover can't be removed.
    pub(crate) fn sweep(&self) -> Result<usize, PlatformError> {
        let path = self.path();
        let fail = |error| {
            PlatformError::system(format!("failed to sweep cgroup `{}`", path.display()), error)
        };
        let parent = match file::open_dir_path(&path) {
            Ok(parent) => parent,
            Err(Errno::NOENT) => return Ok(0),
            Err(error) => return Err(fail(error)),
        };
        let mut names = Vec::new();
        removal::each_below(parent.as_fd(), &mut |_, name, _| {
            names.extend(name.to_str().ok().filter(|name| is_id(name)).map(str::to_owned));
            Ok(())
        })
        .map_err(fail)?;
        let mut swept = 0;
        for name in names {
            let gone = sweep_one(parent.as_fd(), &name, self.chosen.own_directory);
            swept += usize::from(gone.map_err(fail)?);
        }
        Ok(swept)
    }

    fn forget_parent(&self) {
        *self.parent.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.enabled.store(0, Ordering::Relaxed);
    }

    /// The directory of all sandboxes, made where it is missing, handing `needed` down.
    fn parent(&self, needed: Controllers) -> Result<Arc<OwnedFd>, PlatformError> {
        let mut kept = self.parent.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = match &*kept {
            Some(parent) => parent.clone(),
            None => kept.insert(Arc::new(self.open_parent()?)).clone(),
        };
        let missing = needed.without(self.enabled());
        if missing == Controllers::NONE {
            return Ok(parent);
        }
        if let Some(NoTree { reason, remedy }) = self.lacks(needed) {
            let error = PlatformError::unsupported(control_of(missing), reason);
            return Err(if remedy.is_empty() { error } else { error.with_hint(remedy) });
        }
        if self.hindrance == Hindrance::Self_ {
            self.move_out()?;
        }
        let words = missing.words();
        let anchor = (self.anchor.as_fd(), self.chosen.anchor.clone());
        let below = (parent.as_fd(), self.path());
        for (dir, path) in [anchor, below].iter().take(1 + usize::from(self.chosen.own_directory)) {
            file::write(*dir, "cgroup.subtree_control", words.as_bytes())
                .map_err(|error| not_enabled(missing, path, error))?;
        }
        self.enabled.fetch_or(missing.0, Ordering::Relaxed);
        Ok(parent)
    }

    fn open_parent(&self) -> Result<OwnedFd, PlatformError> {
        let path = self.path();
        let fail = |error| {
            PlatformError::system(format!("failed to make cgroup `{}`", path.display()), error)
        };
        if !self.chosen.own_directory {
            return file::open_dir_path(&path).map_err(fail);
        }
        match mkdirat(&self.anchor, OWN_DIRECTORY, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(error)),
        }
        file::open_dir(self.anchor.as_fd(), OWN_DIRECTORY).map_err(fail)
    }

    /// Moves Stockade's own processes out of the anchor, so that it can hand controllers down.
    fn move_out(&self) -> Result<(), PlatformError> {
        let path = self.chosen.anchor.join(SUPERVISOR);
        let fail = |error| {
            let path = path.display();
            PlatformError::system(format!("failed to move Stockade to cgroup `{path}`"), error)
        };
        match mkdirat(&self.anchor, SUPERVISOR, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(error)),
        }
        let dir = file::open_dir(self.anchor.as_fd(), SUPERVISOR).map_err(fail)?;
        let mut text = Vec::new();
        // Again, because a process can have forked in between; not for ever.
        for _ in 0..8 {
            file::read_all(self.anchor.as_fd(), "cgroup.procs", &mut text).map_err(fail)?;
            let mut ours = parse::pids(&text).filter(|pid| is_ours(*pid)).peekable();
            if ours.peek().is_none() {
                break;
            }
            for pid in ours {
                match file::write(dir.as_fd(), "cgroup.procs", pid.to_string().as_bytes()) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(fail(error)),
                }
            }
        }
        Ok(())
    }
}

/// Makes the directory `name` in `parent` and locks it: the lock goes with the process that holds it, and so tells a
/// living sandbox from the leftover of a crash.
fn make(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    let dir = file::open_dir(parent, name)?;
    // Waits for a sweep that was there first, which removes the empty directory at once. Trying again instead would
    // meet the same directory for as long as that sweep isn't given a processor.
    flock(&dir, FlockOperation::LockShared)?;
    // A lock on a removed directory holds nothing.
    accessat(&dir, "cgroup.procs", Access::EXISTS, AtFlags::empty())?;
    Ok(dir)
}

/// Removes the leftover `name`; `false` when a living process holds it, or it has processes that mustn't be killed.
fn sweep_one(parent: BorrowedFd<'_>, name: &str, kill: bool) -> rustix::io::Result<bool> {
    let dir = match file::open_dir(parent, name) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(false),
        Err(error) => return Err(error),
    };
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(false),
        Err(error) => return Err(error),
    }
    if !kill && !removal::is_empty(dir.as_fd())? {
        return Ok(false);
    }
    removal::remove(parent, name, dir.as_fd()).map(|()| true)
}

/// Removes a leftover that has the wanted name; `false` when a living sandbox has it, or it has processes.
fn free_name(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<bool> {
    if sweep_one(parent, name, false)? {
        return Ok(true);
    }
    let dir = match file::open_dir(parent, name) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(true),
        Err(error) => return Err(error),
    };
    // The living share their lock; a sweep doesn't, and then it is gone when the sweep is over.
    flock(&dir, FlockOperation::LockShared)?;
    match accessat(&dir, "cgroup.procs", Access::EXISTS, AtFlags::empty()) {
        Ok(()) => Ok(false),
        Err(Errno::NOENT | Errno::NODEV) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A sandbox's id: any name, a dash and eight hex digits.
fn is_id(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, digits)| {
        digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn check_id(id: &str) -> Result<(), PlatformError> {
    let wrong = id.is_empty()
        || id.len() > 200
        || id.starts_with('.')
        || id.starts_with("cgroup.")
        || id == SUPERVISOR
        || id.bytes().any(|byte| byte == b'/' || byte == b'\n' || byte == 0);
    if wrong {
        return Err(PlatformError::invalid(format!("`{id}` can't be the name of a sandbox")));
    }
    Ok(())
}

/// What hinders `dir` from handing more controllers down (cgroup-v2.rst, "No Internal Process Constraint", "Threads").
fn hindrance(dir: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Hindrance> {
    let mut buffer = [0; SMALL];
    match file::read_small(dir, "cgroup.type", &mut buffer) {
        // Only the true root has no type, and only it may have processes and hand controllers down.
        Err(Errno::NOENT) => return Ok(writable_control(dir, path)),
        Err(error) => return Err(error),
        Ok(kind) if kind.trim_ascii_end() != b"domain" => {
            let kind = String::from_utf8_lossy(kind.trim_ascii_end()).into_owned();
            return Ok(Hindrance::Reason(format!("its type is `{kind}`")));
        }
        Ok(_) => {}
    }
    let mut text = Vec::new();
    file::read_all(dir, "cgroup.procs", &mut text)?;
    if let Some(stranger) = parse::pids(&text).find(|pid| !is_ours(*pid)) {
        let name = std::fs::read_to_string(format!("/proc/{stranger}/comm")).unwrap_or_default();
        let who =
            format!("process {stranger} ({}), which isn't Stockade's, lives in it", name.trim());
        return Ok(Hindrance::Reason(who));
    }
    match writable_control(dir, path) {
        Hindrance::None if parse::pids(&text).next().is_some() => Ok(Hindrance::Self_),
        other => Ok(other),
    }
}

fn writable_control(dir: BorrowedFd<'_>, path: &Path) -> Hindrance {
    match accessat(dir, "cgroup.subtree_control", Access::WRITE_OK, AtFlags::empty()) {
        Ok(()) => Hindrance::None,
        Err(error) => Hindrance::Reason(format!(
            "`{}/cgroup.subtree_control`: {}",
            path.display(),
            std::io::Error::from(error)
        )),
    }
}

/// Whether a process is this one or descends from it.
fn is_ours(pid: u32) -> bool {
    let own = std::process::id();
    let mut pid = pid;
    // The chain of parents is short; the bound is against numbers used again while it is followed.
    for _ in 0..64 {
        if pid == own {
            return true;
        }
        match processes::parent_of(pid) {
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

fn control_of(controllers: Controllers) -> Control {
    match controllers.each().next() {
        Some(Controllers::CPU) => Control::Cpu,
        Some(Controllers::PIDS) => Control::Pids,
        Some(Controllers::CPUSET) => Control::Cpus,
        Some(Controllers::HUGETLB) => Control::HugePages,
        Some(Controllers::IO) => Control::Io,
        _ => Control::Memory,
    }
}

fn not_enabled(controllers: Controllers, path: &Path, error: Errno) -> PlatformError {
    let shown = path.display();
    match error {
        Errno::NOENT => PlatformError::unsupported(
            control_of(controllers),
            format!("controller `{controllers}` isn't enabled in `{shown}`"),
        ),
        Errno::BUSY => PlatformError::unsupported(
            control_of(controllers),
            format!(
                "controller `{controllers}` can't be enabled in `{shown}`, which has processes"
            ),
        ),
        error => super::failed("write", "cgroup.subtree_control", path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_nothing_else_are_swept() {
        for id in ["job-7f3a0b1c", "a-b-00000000"] {
            assert!(is_id(id), "{id}");
        }
        for other in ["supervisor", "session", "job-7f3", "job-7f3g", "init.scope", "7f3a"] {
            assert!(!is_id(other), "{other}");
        }
    }

    #[test]
    fn a_name_that_could_leave_the_directory_is_refused() {
        for wrong in ["", ".", "..", "../x-0000", "a/b-0000", "cgroup.procs", "supervisor"] {
            assert!(check_id(wrong).is_err(), "{wrong}");
        }
        assert!(check_id("job-7f3a").is_ok());
    }

    #[test]
    fn own_processes_are_told_from_strangers() {
        assert!(is_ours(std::process::id()));
        assert!(!is_ours(1));
    }
}
