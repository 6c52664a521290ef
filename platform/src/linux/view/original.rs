//! A directory of the host of which more than single paths is used: as the root, or to be copied on write.
//!
//! Whoever fills it isn't trusted: it may be a hostile image, changed while a launch looks. So what is in it is only ever
//! opened beneath its descriptor, without following anything, here for the message and by the child for the mount. A symlink
//! where something is to be mounted isn't followed inside either: what it leads to would depend on when it is looked at.

use super::host_path::open_host;
use crate::plan::readable;
use crate::{PlatformError, Stage};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// The directory, open.
#[derive(Debug)]
pub(super) struct Original {
    /// Where it is on the host, without symlinks.
    pub(super) path: PathBuf,
    directory: OwnedFd,
    pub(super) stat: Stat,
}

impl Original {
    /// Opens a path without symlinks.
    ///
    /// # Errors
    /// When it can't be opened or is no directory; `key` is named as what wants it.
    pub(super) fn open(path: &Path, key: &str) -> Result<Self, PlatformError> {
        let directory = open_host(path)?;
        let stat = fstat(&directory).map_err(|error| failed(path, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let shown = readable(path.as_os_str());
            let message = format!("`{shown}`, which `{key}` names, is not a directory");
            return Err(PlatformError::invalid(message));
        }
        Ok(Self { path: path.to_owned(), directory, stat })
    }

    /// What is at a path in it; nothing when there is nothing.
    ///
    /// # Errors
    /// `LOOP` when a symlink is on the way or at the end.
    pub(super) fn kind(&self, within: &Path) -> rustix::io::Result<Option<FileType>> {
        if within.as_os_str().is_empty() {
            return Ok(Some(FileType::Directory));
        }
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(&self.directory, within, flags, Mode::empty(), resolve) {
            Ok(found) => Ok(Some(FileType::from_raw_mode(fstat(&found)?.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether something can be mounted at a path in it, a directory or something else; `false` when nothing is there.
    ///
    /// # Errors
    /// What is there instead.
    pub(super) fn has_mount_point(
        &self,
        within: &Path,
        is_dir: bool,
    ) -> Result<bool, PlatformError> {
        let wrong = |what: &str| {
            let (place, top) = (readable(within.as_os_str()), readable(self.path.as_os_str()));
            let wanted = if is_dir { "a directory" } else { "a file" };
            PlatformError::invalid(format!(
                "`/{place}` in `{top}` is {what}, and {wanted} is needed there to mount on"
            ))
        };
        match self.kind(within) {
            Ok(None) => Ok(false),
            Ok(Some(FileType::Directory)) if is_dir => Ok(true),
            Ok(Some(FileType::Directory)) => Err(wrong("a directory")),
            // Whatever it is: nothing of it is used.
            Ok(Some(_)) if !is_dir => Ok(true),
            Ok(Some(_)) => Err(wrong("a file")),
            Err(Errno::LOOP) => Err(wrong("a symbolic link or behind one, which isn't followed")),
            Err(Errno::NOTDIR) => Err(wrong("behind a file")),
            Err(error) => Err(failed(&self.path.join(within), error)),
        }
    }
}

fn failed(path: &Path, error: Errno) -> PlatformError {
    let message = format!("failed to look at `{}`", readable(path.as_os_str()));
    PlatformError::launch(Stage::Prepare, message, Some(error.into()))
}
