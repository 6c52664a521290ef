//! Which projects are limited, for whom: a file for each in Stockade's own directory, locked for as long as the sandbox
//! lives. A file that nobody locks is the leftover of a crash, and its limits go with it.

use super::quota::{self, Space};
use crate::RuntimeDir;
use crate::linux::mounts;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory, below the one of all sandboxes of this user.
const NAME: &str = "disk";

/// All of them.
#[derive(Debug)]
pub(super) struct Claims(OwnedFd);

/// One of them; dropping it leaves it to a sweep.
#[derive(Debug)]
pub(super) struct Claim {
    directory: OwnedFd,
    name: String,
    /// Holds the lock.
    file: File,
}

impl Claim {
    /// What holds the lock.
    pub(super) fn lock(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A file system, as `major:minor`, and a project there.
fn name_of(device: &str, project: u32) -> String {
    format!("{device}-{project}")
}

impl Claims {
    /// Opens the directory, and makes it where it is missing.
    ///
    /// # Errors
    /// When it can't be made, or isn't this user's alone.
    pub(super) fn make() -> io::Result<Self> {
        RuntimeDir::make()?.below(NAME, true).map(Self)
    }

    /// Waits until nobody else gives projects on this file system, and keeps others waiting until the answer is dropped:
    /// between a look at who has a directory and the taking of it nothing may change.
    ///
    /// # Errors
    /// When there are no locks.
    pub(super) fn alone(&self, device: &str) -> io::Result<OwnedFd> {
        let file = self.open(device, OFlags::CREATE)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Takes a project for a sandbox, if no living one has it: else the answer is that one's id.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(super) fn take(
        &self,
        device: &str,
        project: u32,
        sandbox: &str,
        path: &Path,
    ) -> io::Result<Result<Claim, String>> {
        let name = name_of(device, project);
        loop {
            let file = self.open(&name, OFlags::CREATE)?;
            if !lock(&file)? {
                return Ok(Err(sandbox_in(&file)));
            }
            let mut file = File::from(file);
            // Whoever had it may have removed it before the lock was free.
            if file.metadata()?.nlink() == 0 {
                continue;
            }
            file.set_len(0)?;
            file.write_all(&[sandbox.as_bytes(), b"\n", path.as_os_str().as_bytes()].concat())?;
            let directory = self.0.try_clone()?;
            return Ok(Ok(Claim { directory, name, file }));
        }
    }

    /// The living sandbox that has a project.
    ///
    /// # Errors
    /// When its file can't be opened.
    pub(super) fn holder(&self, device: &str, project: u32) -> io::Result<Option<String>> {
        match self.open(&name_of(device, project), OFlags::empty()) {
            Ok(file) if lock(&file)? => Ok(None),
            Ok(file) => Ok(Some(sandbox_in(&file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?)
    }

    /// Removes the limits that crashed runs left, and returns how many there were.
    ///
    /// # Errors
    /// When a limit that is there can't be removed; it is tried again at the next sweep.
    fn sweep(&self) -> io::Result<usize> {
        let mut swept = 0;
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_str().unwrap_or_default();
            let Some((device, project)) = name.rsplit_once('-') else { continue };
            let Ok(project) = project.parse() else { continue };
            let other = self.open(device, OFlags::CREATE)?;
            // Somebody is about to take or give one: the next start looks again.
            if !lock(&other)? {
                continue;
            }
            let file = match self.open(name, OFlags::empty()) {
                Ok(file) if lock(&file)? => file,
                _ => continue,
            };
            if fstat(&file)?.st_nlink > 0 && free(device, project, &path_in(&file))? {
                unlinkat(&self.0, name, AtFlags::empty())?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

impl Claim {
    /// Gives the project up. Its limits must be gone by now.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub(super) fn give_up(self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &*self.name, AtFlags::empty())?)
    }
}

/// Removes the limits that crashed runs of this user left; returns how many there were.
///
/// # Errors
/// When a limit that is there can't be removed.
pub(in crate::linux) fn sweep() -> io::Result<usize> {
    match RuntimeDir::open()?.map(|runtime| runtime.below(NAME, false)) {
        Some(Ok(directory)) => Claims(directory).sweep(),
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(0),
    }
}

/// Removes the limits of a project; `false` where its file system isn't mounted now.
fn free(device: &str, project: u32, path: &Path) -> io::Result<bool> {
    // The directory itself may be gone, or hidden below another mount.
    let table = mounts::table()?;
    let points = mounts::all(&table).filter(|mount| mount.device == device);
    for place in std::iter::once(path.to_owned()).chain(points.map(|mount| mount.point)) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = openat(CWD, &place, flags, Mode::empty()) else { continue };
        if super::device_of(file.as_fd())? == device {
            quota::allow(file.as_fd(), project, Space::default())?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Locks a file, if nobody has.
fn lock(file: &OwnedFd) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The first line of a file: a sandbox's id.
fn sandbox_in(file: &OwnedFd) -> String {
    String::from_utf8_lossy(&read(file).0).into_owned()
}

/// What follows: a path of it.
fn path_in(file: &OwnedFd) -> PathBuf {
    OsStr::from_bytes(&read(file).1).into()
}

/// What can't be read is only missing from a message, or found by its device.
fn read(file: &OwnedFd) -> (Vec<u8>, Vec<u8>) {
    // An id has at most 200 bytes, a path 4096.
    let mut text = [0; 8192];
    let length = rustix::io::pread(file, &mut text, 0).unwrap_or(0);
    let text = text.get(..length).unwrap_or_default();
    let mut lines = text.splitn(2, |byte| *byte == b'\n').map(<[u8]>::to_vec);
    (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_one_sandbox_s_until_it_is_given_up_or_dropped() {
        let place = tempfile::tempdir().unwrap();
        let claims = Claims(std::fs::File::open(place.path()).unwrap().into());
        let take = |sandbox: &str| claims.take("8:1", 7, sandbox, Path::new("/srv/a")).unwrap();
        assert_eq!(claims.holder("8:1", 7).unwrap(), None);
        let first = take("first-00000001").unwrap();
        assert_eq!(take("other-00000002").unwrap_err(), "first-00000001");
        assert_eq!(claims.holder("8:1", 7).unwrap().as_deref(), Some("first-00000001"));
        assert_eq!(claims.holder("8:2", 7).unwrap(), None);
        // Nothing of the living is swept.
        assert_eq!(claims.sweep().unwrap(), 0);
        first.give_up().unwrap();
        assert_eq!(claims.holder("8:1", 7).unwrap(), None);

        drop(take("killed-00000003").unwrap());
        assert!(place.path().join("8:1-7").exists());
        assert_eq!(claims.holder("8:1", 7).unwrap(), None);
        take("next-00000004").unwrap().give_up().unwrap();
        assert!(!place.path().join("8:1-7").exists());
    }
}
