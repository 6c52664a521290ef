//! Open files and local connections, by the types that the system has for them.

/// An open file, pipe or socket, whatever it is of.
#[cfg(unix)]
pub type OwnedFile = std::os::fd::OwnedFd;
/// A connection to a process of this host that a runtime watches.
#[cfg(unix)]
pub type LocalStream = tokio::net::UnixStream;
/// The half of one from which is read.
#[cfg(unix)]
pub type LocalReader = tokio::net::unix::OwnedReadHalf;
/// The half of one to which is written.
#[cfg(unix)]
pub type LocalWriter = tokio::net::unix::OwnedWriteHalf;
/// Waits for processes of this host that connect.
#[cfg(unix)]
pub type LocalListener = tokio::net::UnixListener;
/// A socket for single messages to a process of this host.
#[cfg(unix)]
pub type LocalDatagram = tokio::net::UnixDatagram;
/// A connection to a process of this host that its thread waits for.
#[cfg(unix)]
pub type BlockingStream = std::os::unix::net::UnixStream;

/// Reading and writing a file at a place in it.
#[cfg(unix)]
pub use std::os::unix::fs::FileExt as Positioned;

#[cfg(windows)]
pub use crate::windows::streams::{
    BlockingStream, LocalDatagram, LocalListener, LocalReader, LocalStream, LocalWriter, OwnedFile,
    Positioned,
};
