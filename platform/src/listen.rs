//! Where sockets are to listen for a program.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and a port of the host.
    Inet(SocketAddr),
    /// An absolute path of the host.
    Path(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// What comes over a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketKind {
    /// Connections that carry bytes.
    #[default]
    Stream,
    /// Single messages.
    Datagram,
    /// Connections that carry messages; paths only.
    SeqPacket,
}

/// A socket that is to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: ListenAddress,
    /// For what.
    pub kind: SocketKind,
    /// Permissions of a path.
    pub mode: u32,
    /// Connections that may wait to be accepted; the kernel has a limit of its own (`net.core.somaxconn`).
    pub backlog: u32,
}
