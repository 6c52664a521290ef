//! Sockets that listen for a program before it runs, and between its runs.

use crate::files::permissions;
use crate::inherited;
use crate::{Listen, ListenAddress, SocketKind};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, sockopt};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that listens. Its path stays when it is dropped: a program that has the socket may listen on.
#[derive(Debug)]
pub struct Listening {
    socket: OwnedFd,
    path: Option<PathBuf>,
}

impl Listening {
    /// Begins to listen. A path at which nobody listens any more is taken over.
    ///
    /// # Errors
    /// When the address is in use, or the system refuses.
    pub fn open(wanted: &Listen) -> io::Result<Self> {
        let kind = match wanted.kind {
            SocketKind::Stream => SocketType::STREAM,
            SocketKind::Datagram => SocketType::DGRAM,
            SocketKind::SeqPacket => SocketType::SEQPACKET,
        };
        let family = match &wanted.address {
            ListenAddress::Inet(SocketAddr::V4(_)) => AddressFamily::INET,
            ListenAddress::Inet(SocketAddr::V6(_)) => AddressFamily::INET6,
            ListenAddress::Path(_) => AddressFamily::UNIX,
        };
        let socket = inherited::socket(family, kind)?;
        let mut listening = Self { socket, path: None };
        let socket = listening.socket.as_fd();
        match &wanted.address {
            ListenAddress::Inet(address) => {
                if wanted.kind == SocketKind::Stream {
                    // Connections of an earlier run that linger don't stand in the way.
                    sockopt::set_socket_reuseaddr(socket, true)?;
                }
                bind(socket, address)?;
            }
            ListenAddress::Path(path) => {
                let address = SocketAddrUnix::new(path)?;
                match bind(socket, &address) {
                    Err(Errno::ADDRINUSE) if is_left_over(kind, &address) => {
                        rustix::fs::unlink(path)?;
                        bind(socket, &address)?;
                    }
                    bound => bound?,
                }
                listening.path = Some(path.clone());
                let mode = permissions(wanted.mode);
                rustix::fs::chmodat(CWD, path, mode, rustix::fs::AtFlags::empty())?;
            }
        }
        if wanted.kind != SocketKind::Datagram {
            let backlog = i32::try_from(wanted.backlog).unwrap_or(i32::MAX);
            listen(&listening.socket, backlog)?;
        }
        Ok(listening)
    }

    /// One that was opened before, and that somebody kept.
    pub fn again(wanted: &Listen, socket: OwnedFd) -> Self {
        let path = match &wanted.address {
            ListenAddress::Path(path) => Some(path.clone()),
            ListenAddress::Inet(_) => None,
        };
        Self { socket, path }
    }

    /// The same socket, for a program.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn handed(&self) -> io::Result<File> {
        Ok(self.socket.try_clone()?.into())
    }

    /// Lets go of it and removes its path.
    pub fn close(self) {
        if let Some(path) = &self.path {
            // Somebody may have removed it, and the next one takes it over anyway.
            rustix::fs::unlink(path).unwrap_or(());
        }
    }

    /// Where it really listens: a port that was left to the system is known here.
    ///
    /// # Errors
    /// When it isn't one of the internet's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(rustix::net::getsockname(&self.socket)?)?)
    }
}

/// Whether a path is a socket at which nobody listens.
fn is_left_over(kind: SocketType, address: &SocketAddrUnix) -> bool {
    // A file that is none is refused in the same words, and is somebody's.
    let is_socket = address.path().is_some_and(|path| {
        let stat = rustix::fs::statat(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket
        })
    });
    let probe = inherited::socket(AddressFamily::UNIX, kind).and_then(|probe| {
        rustix::io::ioctl_fionbio(&probe, true)?;
        connect(&probe, address)
    });
    is_socket && probe == Err(Errno::CONNREFUSED)
}

/// Returns when something comes to one of these sockets, and takes nothing of it. Must be called inside a tokio runtime.
///
/// # Errors
/// When they can't be watched.
pub async fn something_comes(sockets: Vec<File>) -> io::Result<()> {
    let mut all = tokio::task::JoinSet::new();
    for socket in sockets {
        // SAFETY: the descriptor is owned by the `AsyncFd` alone and stays open until that is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let watched = watched.map_err(io::Error::from)?;
        all.spawn(async move { watched.readable().await.map(drop) });
    }
    match all.join_next().await {
        Some(ready) => ready?,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn at(path: &std::path::Path) -> Listen {
        let (kind, address) = (SocketKind::Stream, ListenAddress::Path(path.to_owned()));
        Listen { address, kind, mode: 0o600, backlog: 16 }
    }

    #[test]
    fn a_path_is_taken_over_from_the_dead_and_from_nobody_else() {
        let scene = tempfile::tempdir().unwrap();
        let path = scene.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listening = Listening::open(&at(&path)).unwrap();
        UnixStream::connect(&path).unwrap();
        assert!(Listening::open(&at(&path)).is_err());
        UnixStream::connect(&path).unwrap();
        listening.close();
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        assert!(Listening::open(&at(&path)).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    }
}
