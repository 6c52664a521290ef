//! Sockets that no program inherits. Linux makes and receives them so in one step. Elsewhere that takes a second one, and what another
//! thread executes in between has them too.

use rustix::fd::OwnedFd;
use rustix::io::Result;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

#[cfg(target_os = "linux")]
mod system {
    use super::{AddressFamily, OwnedFd, RecvFlags, Result, SendFlags, SocketType};
    use rustix::net::SocketFlags;

    pub(super) const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
    pub(super) const SEND: SendFlags = SendFlags::NOSIGNAL;

    pub(super) fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd> {
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
    }

    pub(super) fn pair(family: AddressFamily, kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
        rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None)
    }

    pub(super) fn received(descriptor: OwnedFd) -> Result<OwnedFd> {
        Ok(descriptor)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{AddressFamily, OwnedFd, RecvFlags, Result, SendFlags, SocketType};
    use rustix::io::{FdFlags, fcntl_setfd};

    pub(super) const RECEIVE: RecvFlags = RecvFlags::empty();
    /// Rust's runtime ignores the signal that this would keep away.
    pub(super) const SEND: SendFlags = SendFlags::empty();

    pub(super) fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd> {
        received(rustix::net::socket(family, kind, None)?)
    }

    pub(super) fn pair(family: AddressFamily, kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
        let flags = rustix::net::SocketFlags::empty();
        let (one, other) = rustix::net::socketpair(family, kind, flags, None)?;
        Ok((received(one)?, received(other)?))
    }

    pub(super) fn received(descriptor: OwnedFd) -> Result<OwnedFd> {
        fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
        Ok(descriptor)
    }
}

/// How messages are received, without waiting; their descriptors must go through [`received`].
pub(crate) const RECEIVE: RecvFlags = system::RECEIVE.union(RecvFlags::DONTWAIT);
/// How messages are sent: where the other end is gone, that is an error and nothing more.
pub(crate) const SEND: SendFlags = system::SEND;

/// A new socket.
///
/// # Errors
/// As socket(2).
pub(crate) fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd> {
    system::socket(family, kind)
}

/// Two new sockets that are connected.
///
/// # Errors
/// As socketpair(2).
pub(crate) fn pair(family: AddressFamily, kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    system::pair(family, kind)
}

/// A descriptor that came with a message.
///
/// # Errors
/// As fcntl(2).
pub(crate) fn received(descriptor: OwnedFd) -> Result<OwnedFd> {
    system::received(descriptor)
}
