//! A directory of this user's alone, held by its descriptor.

use crate::hold;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory that nobody else owns or may look into. What is in it is opened beneath its descriptor, by plain names, and no
/// symlink is followed: whatever becomes of its path, it stays the same directory.
#[derive(Clone, Debug)]
pub struct Directory {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Directory {
    /// Where what lasts is, where nobody says otherwise: `/var/lib/stockade` for root; else `stockade` in `$XDG_STATE_HOME` or in
    /// `~/.local/state`. `None` where nothing tells.
    pub fn usual_state() -> Option<PathBuf> {
        if rustix::process::geteuid().is_root() {
            return Some("/var/lib/stockade".into());
        }
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let absolute = |path: &PathBuf| path.is_absolute();
        let home = || Some(variable("HOME").filter(absolute)?.join(".local/state"));
        Some(variable("XDG_STATE_HOME").filter(absolute).or_else(home)?.join("stockade"))
    }

    /// Opens a directory, made with all that is missing above it.
    ///
    /// # Errors
    /// When it can't be made, or others own it or may look into it.
    pub fn make(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::open(path)
    }

    /// As [`Self::make`], where others may look into one that is there: what is made in it is for this user's eyes all the same.
    ///
    /// # Errors
    /// When it can't be made, or others own it or may write there.
    pub fn make_readable(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let fd = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?;
        Self::checked(fd, path.to_owned(), Mode::WGRP | Mode::WOTH)
    }

    /// Opens a directory that is there.
    ///
    /// # Errors
    /// When it can't be opened, or others own it or may look into it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?;
        Self::checked(fd, path.to_owned(), Mode::RWXG | Mode::RWXO)
    }

    /// A directory in this one, made where it is missing.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_below(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.fd, plain(name)?, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => self.open_below(name),
            Err(error) => Err(error.into()),
        }
    }

    /// A directory in this one that is there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_below(&self, name: &str) -> io::Result<Self> {
        let fd = rustix::fs::openat(&self.fd, plain(name)?, DIRECTORY, Mode::empty())?;
        Self::checked(fd, self.path.join(name), Mode::RWXG | Mode::RWXO)
    }

    fn checked(fd: OwnedFd, path: PathBuf, others: Mode) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&fd)?;
        if stat.st_uid != rustix::process::geteuid().as_raw()
            || Mode::from_raw_mode(stat.st_mode).intersects(others)
        {
            let message = format!("`{}` isn't this user's alone", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(Self { fd: Arc::new(fd), path })
    }

    /// Its path when it was opened, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a file in it, made where it is missing, as [`hold`] does; `None` where another process has it.
    ///
    /// # Errors
    /// When it can't be opened, or the file system knows no locks.
    pub fn lock(&self, name: &str) -> io::Result<Option<File>> {
        let file = self.open_or_create(name)?;
        Ok(hold(&file)?.then_some(file))
    }

    /// The names of the regular files in it, sorted.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn files(&self) -> io::Result<Vec<String>> {
        self.names(FileType::RegularFile)
    }

    /// The names of the directories in it, sorted.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn directories(&self) -> io::Result<Vec<String>> {
        self.names(FileType::Directory)
    }

    fn names(&self, kind: FileType) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let found = match entry.file_type() {
                FileType::Unknown => match self.kind(&name) {
                    // Gone since it was listed.
                    Err(Errno::NOENT) => continue,
                    other => other?,
                },
                known => known,
            };
            if found == kind {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn kind(&self, name: &str) -> rustix::io::Result<FileType> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    /// Makes a new file of this user's alone, to be read and written.
    ///
    /// # Errors
    /// When it can't be made, or is there already.
    pub fn create(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file to be read and written, made where it is missing.
    ///
    /// # Errors
    /// When it can't be opened or made.
    pub fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Opens a file to be read.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn read(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlags::RDONLY)
    }

    fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(&self.fd, plain(name)?, flags, mode)?);
        if !file.metadata()?.is_file() {
            let message = format!("`{}` is no regular file", self.path.join(name).display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(file)
    }

    /// Gives a file another name, in place of whatever has that.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(self.fd.as_fd(), plain(from)?, self.fd.as_fd(), plain(to)?)?)
    }

    /// As [`Self::rename`], and afterwards it is the one file or the other also when the power fails.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename(from, to)?;
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Removes a file; one that is gone already is as good.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, plain(name)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
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

/// A name that leads nowhere else.
fn plain(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        let message = format!("`{}` is no plain file name", name.escape_debug());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn files_are_opened_by_plain_names_and_no_symlink_is_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b");
        let directory = Directory::make(&path).unwrap();
        directory.create("one").unwrap();
        assert!(directory.create("one").is_err());
        directory.make_below("inner").unwrap().create("two").unwrap();
        symlink("one", path.join("link")).unwrap();
        symlink("inner", path.join("way")).unwrap();
        assert!(directory.read("link").is_err() && directory.open_below("way").is_err());
        for name in ["..", "", "inner/two", "."] {
            assert!(directory.open_or_create(name).is_err(), "{name}");
        }
        assert!(directory.read("inner").is_err());
        assert_eq!(directory.files().unwrap(), ["one"]);
        assert_eq!(directory.directories().unwrap(), ["inner"]);
        directory.rename("one", "other").unwrap();
        directory.remove("other").unwrap();
        directory.remove("other").unwrap();
        assert!(directory.files().unwrap().is_empty());
    }

    #[test]
    fn what_others_may_look_into_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Directory::open(scratch.path()).unwrap_err().to_string();
        assert!(refused.ends_with("isn't this user's alone"), "{refused}");
        assert!(Directory::make_readable(scratch.path()).is_ok());
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(Directory::make_readable(scratch.path()).is_err());
    }

    #[test]
    fn only_one_holds_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        let first = Directory::make(&path).unwrap();
        let lock = first.lock("lock").unwrap().unwrap();
        assert!(Directory::open(&path).unwrap().lock("lock").unwrap().is_none());
        drop(lock);
        assert!(first.lock("lock").unwrap().is_some());
    }
}
