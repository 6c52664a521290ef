//! A directory in which a supervisor keeps what it must not forget: its user's alone to write, and opened once.

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;

/// An open directory of this user's.
#[derive(Debug)]
pub struct StateDir(OwnedFd);

impl StateDir {
    /// Opens it, and makes it where it is missing.
    ///
    /// # Errors
    /// When it can't be made, is a symlink, or others own it or may write there.
    pub fn make(path: &Path) -> io::Result<Self> {
        match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&directory)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            let message = "it isn't this user's alone to write";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(Self(directory))
    }

    /// A file in it that only this user can read, made where it is missing.
    ///
    /// # Errors
    /// When it can't be opened, or is a symlink.
    pub fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Takes a file of it for this process, until what comes back is dropped; `None` while another one has it.
    ///
    /// # Errors
    /// When the system can't lock.
    pub fn lock(&self, name: &str) -> io::Result<Option<File>> {
        let file = self.file(name)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts one file in another one's place, so that it is always the one or the other, also after a power cut.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn replace(&self, old: &str, new: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.0, new, &self.0, old)?;
        Ok(rustix::fs::fsync(&self.0)?)
    }
}

/// Makes sure that so many bytes can be added to a file, where its file system can (fallocate(2)).
///
/// # Errors
/// When there is no room.
pub fn reserve_room(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let end = file.metadata()?.len();
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, end, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _can_not = (file, bytes);
        Ok(())
    }
}
