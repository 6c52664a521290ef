//! Sockets that only Unix has: for the users of a host, for programs that say how they are, and those that are kept between runs of a
//! program. None can be made here, so what is below each constructor is never reached.

use super::streams::{BlockingStream, LocalDatagram, LocalListener, OwnedFile, unsupported};
use crate::{Bind, Listen};
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Where a socket's file is.
#[derive(Debug)]
pub struct SocketPlace(Infallible);

/// A socket's file.
#[derive(Debug)]
pub struct SocketFile(Infallible);

impl SocketPlace {
    /// Opens the directory of a socket's file.
    ///
    /// # Errors
    /// Always.
    pub fn open(_: &Path) -> io::Result<Self> {
        unsupported("the daemon has no local socket")
    }

    /// Whether others may put files there.
    ///
    /// # Errors
    /// When that can't be told.
    pub fn is_open_to_others(&self) -> io::Result<bool> {
        match self.0 {}
    }

    /// Opens a file beside it, to be locked.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn lock_file(&self) -> io::Result<File> {
        match self.0 {}
    }

    /// Makes the socket.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen(self, _: u32) -> io::Result<(LocalListener, SocketFile)> {
        match self.0 {}
    }

    /// Connects to whoever listens there.
    ///
    /// # Errors
    /// When nobody does.
    pub fn connect(&self) -> io::Result<BlockingStream> {
        match self.0 {}
    }
}

/// This process's user: users have no numbers here, so all are one.
pub fn own_user() -> u32 {
    0
}

/// The id of a user by name or number.
///
/// # Errors
/// Where it is a name: users have no numbers here.
pub fn user_id(word: &str) -> io::Result<Option<u32>> {
    word.parse().map(Some).or_else(|_| unsupported("users have no numbers"))
}

/// The id of a group by name or number.
///
/// # Errors
/// Where it is a name: groups have no numbers here.
pub fn group_id(word: &str) -> io::Result<Option<u32>> {
    word.parse().map(Some).or_else(|_| unsupported("groups have no numbers"))
}

/// The groups that a user is in beside `group`: none is known here.
pub fn groups_of(_: u32, group: u32) -> Vec<u32> {
    vec![group]
}

/// A socket that listens for a program.
#[derive(Debug)]
pub struct Listening(());

impl Listening {
    /// Begins to listen.
    ///
    /// # Errors
    /// Always.
    pub fn open(_: &Listen) -> io::Result<Self> {
        unsupported("sockets can't be passed to a program")
    }

    /// One that was opened before: nobody can have, so nothing can be done with it.
    pub fn again(_: &Listen, _: OwnedFile) -> Self {
        Self(())
    }

    /// The same socket, for a program.
    ///
    /// # Errors
    /// Always.
    pub fn handed(&self) -> io::Result<File> {
        unsupported("sockets can't be passed to a program")
    }

    /// Lets go of it.
    pub fn close(self) {}

    /// Where it really listens.
    ///
    /// # Errors
    /// Always.
    pub fn address(&self) -> io::Result<SocketAddr> {
        unsupported("sockets can't be passed to a program")
    }
}

/// Returns when something comes to one of these sockets.
///
/// # Errors
/// Where there is one.
pub async fn something_comes(sockets: Vec<File>) -> io::Result<()> {
    if sockets.is_empty() {
        return std::future::pending().await;
    }
    unsupported("sockets can't be watched")
}

/// The longest text that is taken from a program.
pub const LONGEST_NOTICE: usize = 4096;

/// Where a program says how it is.
#[derive(Debug)]
pub struct NotifySocket(Infallible);

/// What a program sent.
#[derive(Debug)]
pub struct Datagram {
    /// The text.
    pub text: Vec<u8>,
    /// Open files that came along.
    pub files: Vec<OwnedFile>,
}

impl NotifySocket {
    /// Makes one under a name that nobody else has.
    ///
    /// # Errors
    /// Always.
    pub fn bind(_: &str) -> io::Result<Self> {
        unsupported("programs can't say that they are ready")
    }

    /// The same socket, for somebody to keep.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kept(&self) -> io::Result<File> {
        match self.0 {}
    }

    /// One that somebody kept.
    ///
    /// # Errors
    /// Always.
    pub fn again(_: File) -> io::Result<Self> {
        unsupported("programs can't say that they are ready")
    }

    /// What shows it inside.
    pub fn shown(&self) -> Bind {
        match self.0 {}
    }

    /// Its path inside.
    pub fn inside(&self) -> &'static str {
        match self.0 {}
    }

    /// The next message.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn receive(&self) -> io::Result<Datagram> {
        match self.0 {}
    }

    /// What waits, if anything does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn receive_waiting(&self) -> io::Result<Option<Datagram>> {
        match self.0 {}
    }
}

/// Whether an open file may be handed to a program: none can.
///
/// # Errors
/// Never.
pub fn is_harmless(_: &OwnedFile) -> io::Result<bool> {
    Ok(false)
}

/// Whether two are of the same file.
///
/// # Errors
/// Always.
pub fn same_file(_: &OwnedFile, _: &OwnedFile) -> io::Result<bool> {
    unsupported("open files can't be compared")
}

/// Whether the other end is gone: that can't be asked.
pub fn is_abandoned(_: &OwnedFile) -> bool {
    false
}

/// Open files that outlive the process that keeps them.
#[derive(Debug)]
pub struct Shelf(());

/// What a shelf can't do.
fn no_shelf<T>() -> io::Result<T> {
    unsupported("open files can't outlive a process")
}

impl Shelf {
    /// An empty one.
    ///
    /// # Errors
    /// Always.
    pub fn new() -> io::Result<Self> {
        no_shelf()
    }

    /// One that somebody kept: nobody can have, so nothing can be done with it.
    pub fn again(_: [File; 2]) -> Self {
        Self(())
    }

    /// Copies of both ends, for somebody to keep.
    ///
    /// # Errors
    /// Always.
    pub fn ends(&self) -> io::Result<[File; 2]> {
        no_shelf()
    }

    /// Puts a copy of a file there.
    ///
    /// # Errors
    /// Always.
    pub fn put<F>(&self, _: &[u8], _: F) -> io::Result<()> {
        no_shelf()
    }

    /// Looks at each file that is there.
    ///
    /// # Errors
    /// Always.
    pub fn sort_out(&self, _: impl FnMut(&[u8], OwnedFile) -> bool) -> io::Result<()> {
        no_shelf()
    }
}

/// Whether a message failed for its length.
pub fn is_too_large(_: &io::Error) -> bool {
    false
}

/// Sends what is too large for a message as a file.
///
/// # Errors
/// Always.
pub async fn send_as_file(_: &LocalDatagram, _: &[u8]) -> io::Result<()> {
    unsupported("files in memory can't be sent")
}

/// Lets this process have as many open files as it may at most: there is no such limit here.
///
/// # Errors
/// Never.
pub fn raise_descriptors() -> io::Result<()> {
    Ok(())
}

/// Lets it have as many as was usual.
///
/// # Errors
/// Never.
pub fn restore_descriptors() -> io::Result<()> {
    Ok(())
}
