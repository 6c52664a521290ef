//! A sandbox's file system, looked at from outside: by the root of its program, as `/proc` has it.
//!
//! The program chose what stands there, so nothing but a regular file is opened for reading, no symlink leads out of that root,
//! and none of `/proc`'s own links is followed. Nor is a look made on the caller's thread: a file system may take its time.

use super::processes::first_child;
use crate::{BoxFuture, View};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixStream;

/// A look into one sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Window(Arc<Place>);

#[derive(Debug)]
struct Place {
    /// Of its first process: as long as that hasn't ended, its number is nobody else's.
    pidfd: OwnedFd,
    pid: u32,
    /// Whether that is Stockade's init, and the program its child.
    init: bool,
}

impl Window {
    pub(crate) fn new(pidfd: OwnedFd, pid: u32, init: bool) -> Self {
        Self(Arc::new(Place { pidfd, pid, init }))
    }

    fn open(&self, path: PathBuf) -> impl Future<Output = io::Result<OwnedFd>> + Send + 'static {
        let place = self.0.clone();
        let opening = tokio::task::spawn_blocking(move || place.open(&path));
        async { opening.await.map_err(io::Error::other)? }
    }
}

impl Place {
    /// The root of the program.
    fn root(&self) -> io::Result<OwnedFd> {
        // The init is closed to users, so that of them only root could look at its root.
        let process = |init: bool| if init { first_child(self.pid) } else { Some(self.pid) };
        let gone = || io::Error::from(Errno::SRCH);
        let number = process(self.init).ok_or_else(gone)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The directory is this process's for good: if its number is still the right one then, so is the directory.
        let process_dir = openat(CWD, format!("/proc/{number}"), flags, Mode::empty())?;
        if process(self.init) != Some(number) || self.has_ended()? {
            return Err(gone());
        }
        Ok(openat(&process_dir, "root", flags, Mode::empty())?)
    }

    fn has_ended(&self) -> io::Result<bool> {
        let mut looked = [PollFd::new(&self.pidfd, PollFlags::IN)];
        Ok(poll(&mut looked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
    }

    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        Ok(openat2(self.root()?, path, flags, Mode::empty(), resolve)?)
    }
}

impl View for Window {
    fn exists(&self, path: PathBuf) -> BoxFuture<'static, io::Result<bool>> {
        let opening = self.open(path);
        Box::pin(async {
            match opening.await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    fn read(&self, path: PathBuf, most: usize) -> BoxFuture<'static, io::Result<Vec<u8>>> {
        let place = self.0.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let found = place.open(&path)?;
            // Looked at before it is opened: a device or a pipe would hear of it, or wait.
            if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::RegularFile {
                return Err(io::Error::other("it is no regular file"));
            }
            let same = format!("/proc/self/fd/{}", found.as_raw_fd());
            let mut text = Vec::new();
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            std::fs::File::open(same)?.take(most).read_to_end(&mut text)?;
            Ok(text)
        });
        Box::pin(async { reading.await.map_err(io::Error::other)? })
    }

    fn connect(&self, path: PathBuf) -> BoxFuture<'static, io::Result<UnixStream>> {
        let opening = self.open(path);
        Box::pin(async {
            // connect(2) takes no descriptor; its link names what was opened, whatever stands at the path by now.
            let socket = opening.await?;
            UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
        })
    }
}
