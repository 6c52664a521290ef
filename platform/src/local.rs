//! A socket in the file system for the users of this host, and who they are.

use crate::files::permissions;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Where a socket's file is: its directory, opened, and its name there. The address of a socket holds 108 bytes (unix(7)), and a
/// path is looked up anew each time; this one is as long as its name at most, and leads nowhere else later.
#[derive(Debug)]
pub struct SocketPlace {
    directory: OwnedFd,
    name: OsString,
}

/// A socket's file; dropping it removes it.
#[derive(Debug)]
pub struct SocketFile(SocketPlace);

impl SocketPlace {
    /// Opens the directory of `path`.
    ///
    /// # Errors
    /// When there is none, or the path names no file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self { directory: rustix::fs::openat(CWD, parent, flags, Mode::empty())?, name })
    }

    /// Whether others than root and this user may put files there, or take away what isn't theirs.
    ///
    /// # Errors
    /// When the directory can't be looked at.
    pub fn is_open_to_others(&self) -> io::Result<bool> {
        let stat = rustix::fs::fstat(&self.directory)?;
        let own = rustix::process::geteuid().as_raw();
        let sticky = stat.st_mode & 0o1000 != 0;
        Ok((stat.st_uid != own && stat.st_uid != 0) || (stat.st_mode & 0o022 != 0 && !sticky))
    }

    /// Opens a file beside it, to be locked, and makes it where it is missing: for this user alone.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn lock_file(&self) -> io::Result<std::fs::File> {
        let mut name = self.name.clone();
        name.push(".lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Makes the socket, for those whom the mode lets in, in place of one that is there: whoever calls this holds the lock.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses, or something else than a socket is there.
    pub fn listen(self, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
        match rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_mode & 0o170_000 == 0o140_000 => self.remove()?,
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // It gets its name when it has its mode: until then nobody finds it.
        let mut early = OsString::from(".");
        early.push(&self.name);
        let early = Self { directory: self.directory.try_clone()?, name: early };
        early.remove()?;
        let listener = std::os::unix::net::UnixListener::bind(early.address())?;
        rustix::fs::chmodat(
            &self.directory,
            &early.name,
            permissions(mode & 0o777),
            AtFlags::empty(),
        )?;
        rustix::fs::renameat(&self.directory, &early.name, &self.directory, &self.name)?;
        listener.set_nonblocking(true)?;
        Ok((UnixListener::from_std(listener)?, SocketFile(self)))
    }

    /// Connects to whoever listens there.
    ///
    /// # Errors
    /// `NotFound` when nothing is there, `ConnectionRefused` when nobody listens.
    pub fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.address())
    }

    fn remove(&self) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn address(&self) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()));
        path.push(&self.name);
        path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody is left to tell; whoever listens there next removes it.
        self.0.remove().unwrap_or(());
    }
}

/// This process's user.
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The id of a user by name or number.
///
/// # Errors
/// When the users of this host can't be looked up.
pub fn user_id(word: &str) -> io::Result<Option<u32>> {
    if let Ok(number) = word.parse() {
        return Ok(Some(number));
    }
    Ok(nix::unistd::User::from_name(word)?.map(|user| user.uid.as_raw()))
}

/// The id of a group by name or number.
///
/// # Errors
/// When the groups of this host can't be looked up.
pub fn group_id(word: &str) -> io::Result<Option<u32>> {
    if let Ok(number) = word.parse() {
        return Ok(Some(number));
    }
    Ok(nix::unistd::Group::from_name(word)?.map(|group| group.gid.as_raw()))
}

/// The groups that a user is in by this host's list, beside `group`; only that one where the user isn't listed.
pub fn groups_of(user: u32, group: u32) -> Vec<u32> {
    let mut all = vec![group];
    let listed = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(user)).ok().flatten();
    let name = listed.and_then(|user| Some((std::ffi::CString::new(user.name).ok()?, user.gid)));
    if let Some((name, gid)) = name {
        all.extend(listed_groups(&name, gid.as_raw()));
    }
    all
}

#[cfg(not(target_os = "macos"))]
fn listed_groups(name: &std::ffi::CStr, group: u32) -> Vec<u32> {
    let groups = nix::unistd::getgrouplist(name, nix::unistd::Gid::from_raw(group));
    groups.unwrap_or_default().into_iter().map(nix::unistd::Gid::as_raw).collect()
}

/// The same call, which takes signed numbers there.
#[cfg(target_os = "macos")]
fn listed_groups(name: &std::ffi::CStr, group: u32) -> Vec<u32> {
    let mut groups = vec![0_i32; 256];
    let mut count = 256;
    // SAFETY: at most `count` numbers are written, and there is room for as many.
    let listed = unsafe {
        libc::getgrouplist(name.as_ptr(), group.cast_signed(), groups.as_mut_ptr(), &raw mut count)
    };
    groups.truncate(if listed == 0 { usize::try_from(count).unwrap_or(0) } else { 0 });
    groups.into_iter().map(i32::cast_unsigned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_socket_takes_the_place_of_a_dead_one_and_of_nothing_else() {
        let scene = tempfile::tempdir().unwrap();
        // Too long for an address as a whole.
        let directory = scene.path().join("d".repeat(100));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("x".repeat(80));
        let place = || SocketPlace::open(&path).unwrap();
        let (listener, file) = place().listen(0o600).unwrap();
        place().connect().unwrap();
        drop(listener);
        assert_eq!(place().connect().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        std::mem::forget(file);
        let (_listener, file) = place().listen(0o666).unwrap();
        place().connect().unwrap();
        drop(file);
        assert_eq!(place().connect().unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "somebody's").unwrap();
        assert_eq!(place().listen(0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn users_have_numbers_and_groups() {
        assert_eq!((user_id("root").unwrap(), user_id("17").unwrap()), (Some(0), Some(17)));
        assert_eq!(user_id("nobody-of-this-name").unwrap(), None);
        assert!(groups_of(0, 4711).starts_with(&[4711]));
    }
}
