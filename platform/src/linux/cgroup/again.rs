//! The cgroup of a sandbox that another process made.

use super::{Cgroup, file, place, removal};
use crate::{Control, Decision, LaunchPlan, PlatformError};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Cgroup {
    /// Where the sandbox of this plan has its cgroup, by what the kernel says of its first process; `None` where that stands
    /// in no cgroup of this name.
    ///
    /// # Errors
    /// When the kernel doesn't say.
    pub(crate) fn path_of(pid: u32, plan: &LaunchPlan) -> Result<Option<PathBuf>, PlatformError> {
        let found = place::of(pid).map_err(|none| PlatformError::invalid(none.reason))?;
        Ok(found.filter(|path| path.file_name().is_some_and(|name| *name == *plan.id)))
    }

    /// Takes over the one at this path, together with whoever made it.
    ///
    /// # Errors
    /// When it isn't there, or a sweep has it.
    pub(crate) fn again(path: &Path, plan: &LaunchPlan) -> Result<Self, PlatformError> {
        let failed = |error| failed_at(path, error);
        let (parent, dir) = opened(path, &plan.id).map_err(failed)?;
        flock(&dir, FlockOperation::NonBlockingLockShared).map_err(failed)?;
        let mut cgroup = Self::new(dir, Arc::new(parent), plan.id.clone(), path.to_owned());
        if let (Some(stall), Some(Decision::Enforce)) =
            (plan.limits.memory_stall, plan.controls.get(&Control::MemoryStall))
        {
            // The threshold went with the starter who had set it.
            if let Err(error) = cgroup.notice_stalls(stall) {
                cgroup.leave();
                return Err(error);
            }
        }
        cgroup.protected = plan.limits.memory_min.or(plan.limits.memory_low).is_some();
        Ok(cgroup)
    }
}

/// Lets a frozen one go on, so that its first process can answer. One that isn't there is no error.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn thaw(path: &Path, id: &str) -> Result<(), PlatformError> {
    let written =
        opened(path, id).and_then(|(_, dir)| file::write(dir.as_fd(), "cgroup.freeze", b"0"));
    match written {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(error) => Err(failed_at(path, error)),
    }
}

/// Removes what is left of a sandbox whose first process is gone; `false` while something holds on to it.
///
/// # Errors
/// When it can't be removed.
pub(crate) fn clear(path: &Path, id: &str) -> Result<bool, PlatformError> {
    let failed = |error| failed_at(path, error);
    let (parent, dir) = match opened(path, id) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(true),
        Err(error) => return Err(failed(error)),
    };
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(false),
        Err(error) => return Err(failed(error)),
    }
    removal::remove(parent.as_fd(), id, dir.as_fd()).map_err(failed)?;
    Ok(true)
}

fn opened(path: &Path, id: &str) -> Result<(OwnedFd, OwnedFd), Errno> {
    let parent = file::open_dir_path(path.parent().ok_or(Errno::NOENT)?)?;
    let dir = file::open_dir(parent.as_fd(), id)?;
    Ok((parent, dir))
}

fn failed_at(path: &Path, error: Errno) -> PlatformError {
    PlatformError::system(format!("failed to take over cgroup `{}`", path.display()), error)
}
