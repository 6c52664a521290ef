//! Where sandboxes that run are found by their user: a directory with a socket for each.
//!
//! The directory is the user's alone. A socket appears under its name only once somebody listens on it, and whoever is
//! refused there knows that its process is gone: that is how leftovers of a killed process are told from the living.

use crate::{LocalReader, inherited};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, SendAncillaryBuffer, SendAncillaryMessage,
};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixListener;

/// The end of a socket's name.
const SUFFIX: &str = ".sock";

/// The end of the name of a socket at which a program says how it is.
const NOTIFY: &str = ".notify";

/// The directory of this user's sandboxes.
#[derive(Clone, Debug)]
pub struct RuntimeDir {
    pub(crate) directory: Arc<OwnedFd>,
    path: PathBuf,
}

/// A sandbox's name in the directory; dropping it removes the name.
#[derive(Debug)]
pub struct Listed {
    directory: RuntimeDir,
    name: String,
}

/// Waits for those who connect to a sandbox.
#[derive(Debug)]
pub struct Door(UnixListener);

impl RuntimeDir {
    /// Where it is: `/run/stockade` for root; else `stockade` in `$XDG_RUNTIME_DIR` or in `/run/user/UID`; where there is
    /// neither, `/tmp/stockade-UID`.
    pub fn place() -> PathBuf {
        let user = rustix::process::geteuid();
        if user.is_root() {
            return "/run/stockade".into();
        }
        let user = user.as_raw();
        let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let usual = PathBuf::from(format!("/run/user/{user}"));
        let session = given.filter(|path| path.is_absolute()).or(Some(usual));
        match session.filter(|path| path.is_dir()) {
            Some(session) => session.join("stockade"),
            None => format!("/tmp/stockade-{user}").into(),
        }
    }

    /// Opens it, and makes it where it is missing.
    ///
    /// # Errors
    /// When it can't be made, or others own it or may look into it.
    pub fn make() -> io::Result<Self> {
        let path = Self::place();
        match rustix::fs::mkdirat(CWD, &path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Self::open_at(path),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens it; `None` where nobody has made it yet.
    ///
    /// # Errors
    /// When others own it or may look into it.
    pub fn open() -> io::Result<Option<Self>> {
        match Self::open_at(Self::place()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn open_at(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, &path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&directory)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            let message = format!("`{}` isn't this user's alone", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(Self { directory: Arc::new(directory), path })
    }

    /// Makes a directory of this user's alone below it, where it is missing.
    ///
    /// # Errors
    /// When it can't be made, or isn't a directory.
    pub fn make_below(&self, name: &str) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        Ok(())
    }

    /// A directory of this user's alone below it, made where `make` says so.
    ///
    /// # Errors
    /// When it can't be opened or made.
    #[cfg(target_os = "linux")]
    pub(crate) fn below(&self, name: &str, make: bool) -> io::Result<OwnedFd> {
        if make {
            match rustix::fs::mkdirat(&self.directory, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, name, flags, Mode::empty())?)
    }

    /// A file of this user's alone in it, to be read and written, made where it is missing.
    ///
    /// # Errors
    /// When it can't be opened.
    #[cfg(target_os = "linux")]
    pub(crate) fn file(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)?)
    }

    /// Its path, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ids of the sandboxes that are listed, sorted. One of them may have died since.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn ids(&self) -> io::Result<Vec<String>> {
        let names = self.names(SUFFIX)?.into_iter();
        let ids = names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned));
        Ok(ids.filter(|id| !id.starts_with('.')).collect())
    }

    /// The names that end so, sorted.
    fn names(&self, ending: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            names.extend(name.filter(|name| name.ends_with(ending)).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Lists a sandbox, and opens its door. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses, or the id is listed already.
    pub fn list(&self, id: &str) -> io::Result<(Listed, Door)> {
        let (name, early) = (format!("{id}{SUFFIX}"), format!(".{id}"));
        let listener = std::os::unix::net::UnixListener::bind(self.at(&early))?;
        // From here on dropping it removes the name.
        let mut listed = Listed { directory: self.clone(), name: early };
        listener.set_nonblocking(true)?;
        let door = Door(UnixListener::from_std(listener)?);
        let (old, new) = (&*listed.name, &*name);
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&self.directory, old, &self.directory, new, flags)?;
        listed.name = name;
        Ok((listed, door))
    }

    /// Connects to a sandbox.
    ///
    /// # Errors
    /// `NotFound` when none of this id is listed, `ConnectionRefused` when it died without a word.
    pub fn connect(&self, id: &str) -> io::Result<UnixStream> {
        UnixStream::connect(self.at(&format!("{id}{SUFFIX}")))
    }

    /// Removes the names of sandboxes that died without a word, and returns how many there were.
    ///
    /// # Errors
    /// When the directory can't be read or changed.
    pub fn sweep(&self) -> io::Result<usize> {
        let mut swept = 0;
        for id in self.ids()? {
            let Err(error) = self.connect(&id) else { continue };
            if error.kind() == io::ErrorKind::ConnectionRefused {
                self.remove(&format!("{id}{SUFFIX}"))?;
                swept += 1;
            }
        }
        // Nobody answers there, so only a refusal tells the dead.
        for name in self.names(NOTIFY)? {
            let probe = UnixDatagram::unbound()?;
            if let Err(error) = probe.connect(self.at(&name))
                && error.kind() == io::ErrorKind::ConnectionRefused
            {
                self.remove(&name)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The address of a name in it: by descriptor, since the address of a socket holds 108 bytes and follows symlinks.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()).into()
    }
}

impl Door {
    /// The next one who connects and is this user, or root. Dropping the future loses nobody.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub async fn enter(&self) -> io::Result<tokio::net::UnixStream> {
        let own = rustix::process::geteuid().as_raw();
        loop {
            let (stream, _) = self.0.accept().await?;
            if let Ok(peer) = stream.peer_cred()
                && (peer.uid() == own || peer.uid() == 0)
            {
                return Ok(stream);
            }
        }
    }
}

/// Lends this process's standard streams to whoever serves this connection, as those of a program (unix(7), `SCM_RIGHTS`).
///
/// # Errors
/// When the other end is gone, or the system refuses.
pub fn send_own_streams(stream: &UnixStream) -> io::Result<()> {
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let files = [input.as_fd(), output.as_fd(), errors.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    // There is room for just these.
    if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(Errno::NOBUFS.into());
    }
    let parts = [IoSlice::new(b"\n")];
    rustix::net::sendmsg(stream, &parts, &mut ancillary, inherited::SEND)?;
    Ok(())
}

/// Takes what [`send_own_streams`] sends. Nothing may have been read ahead of it. Every descriptor is close-on-exec.
///
/// # Errors
/// When something else comes, or the connection fails.
pub async fn receive_streams(reader: &LocalReader) -> io::Result<[File; 3]> {
    let stream: &tokio::net::UnixStream = reader.as_ref();
    let received = stream.async_io(Interest::READABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        rustix::net::recvmsg(stream, &mut parts, &mut ancillary, inherited::RECEIVE)?;
        let mut files = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                for descriptor in descriptors {
                    files.push(File::from(inherited::received(descriptor)?));
                }
            }
        }
        Ok(files)
    });
    let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "three open files were expected");
    received.await?.try_into().map_err(wrong)
}

impl Drop for Listed {
    fn drop(&mut self) {
        // Nobody is left to tell; whoever lists next sweeps it.
        self.directory.remove(&self.name).unwrap_or(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn scratch() -> (tempfile::TempDir, RuntimeDir) {
        let place = tempfile::tempdir().unwrap();
        let alone = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(place.path(), alone).unwrap();
        let directory = RuntimeDir::open_at(place.path().to_owned()).unwrap();
        (place, directory)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_listed_are_found_until_they_go_and_the_dead_are_swept() {
        let (_place, directory) = scratch();
        let (listed, door) = directory.list("job-00000001").unwrap();
        assert_eq!(directory.ids().unwrap(), ["job-00000001"]);
        directory.connect("job-00000001").unwrap();
        door.enter().await.unwrap();
        assert_eq!(directory.sweep().unwrap(), 0);
        assert!(directory.list("job-00000001").is_err());
        // Killed without a word: the name stays, and nobody listens.
        std::mem::forget(listed);
        drop(door);
        assert_eq!(directory.sweep().unwrap(), 1);
        assert_eq!(directory.ids().unwrap(), [""; 0]);

        let (listed, _door) = directory.list("job-00000002").unwrap();
        drop(listed);
        assert_eq!(directory.ids().unwrap(), [""; 0]);
    }

    #[test]
    fn a_directory_that_others_may_look_into_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(place.path(), open).unwrap();
        let error = RuntimeDir::open_at(place.path().to_owned()).unwrap_err();
        assert!(error.to_string().contains("isn't this user's alone"), "{error}");
    }
}
