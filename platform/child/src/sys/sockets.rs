//! Sockets of the sandbox's own network, made inside for the starter to use outside, and those that lead to a starter.

use super::{Result, call, int, small};
use core::ptr;
use syscalls::Sysno;

const STREAM: i32 = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
const MESSAGES: i32 = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// A TCP socket that does nothing yet. Whoever holds it reaches what this network reaches.
pub(crate) fn stream() -> Result<i32> {
    // SAFETY: no pointers.
    unsafe { call(Sysno::socket, [int(libc::AF_INET), int(STREAM), 0, 0, 0, 0]) }.map(small)
}

/// Makes a socket wait for connections to a port of the loopback interface.
pub(crate) fn listen_on_loopback(socket: i32, port: u16) -> Result<()> {
    /// Connections that may wait to be accepted.
    const BACKLOG: i32 = 128;
    #[expect(clippy::cast_possible_truncation, reason = "the family is 2")]
    let family = libc::AF_INET.cast_unsigned() as libc::sa_family_t;
    let address = libc::sockaddr_in {
        sin_family: family,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: libc::INADDR_LOOPBACK.to_be() },
        sin_zero: [0; 8],
    };
    let args = [int(socket), ptr::from_ref(&address) as usize, size_of_val(&address), 0, 0, 0];
    // SAFETY: the address outlives the call and has the size given.
    unsafe { call(Sysno::bind, args) }?;
    // SAFETY: no pointers.
    unsafe { call(Sysno::listen, [int(socket), int(BACKLOG), 0, 0, 0, 0]) }.map(drop)
}

/// Two connected sockets for messages, neither of which ever waits.
pub(crate) fn message_pair() -> Result<[i32; 2]> {
    let mut pair = [-1i32; 2];
    let args = [int(libc::AF_UNIX), int(MESSAGES), 0, pair.as_mut_ptr() as usize, 0, 0];
    // SAFETY: the kernel writes two descriptors, for which there is room.
    unsafe { call(Sysno::socketpair, args) }?;
    Ok(pair)
}

/// The next one who connects.
pub(crate) fn accept(listening: i32) -> Result<i32> {
    // SAFETY: no address is asked for.
    unsafe { call(Sysno::accept4, [int(listening), 0, 0, int(libc::SOCK_CLOEXEC), 0, 0]) }
        .map(small)
}

/// Process id of whoever is at the other end, as this process counts: 0 for one outside of its namespace (unix(7),
/// SO_PEERCRED).
pub(crate) fn peer(socket: i32) -> Result<i32> {
    let mut peer = libc::ucred { pid: -1, uid: 0, gid: 0 };
    #[expect(clippy::cast_possible_truncation, reason = "it is 12")]
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, option) = (int(libc::SOL_SOCKET), int(libc::SO_PEERCRED));
    let args = [
        int(socket),
        level,
        option,
        ptr::from_mut(&mut peer) as usize,
        ptr::from_mut(&mut size) as usize,
        0,
    ];
    // SAFETY: both outlive the call, which writes no more than the size says.
    unsafe { call(Sysno::getsockopt, args) }?;
    Ok(peer.pid)
}
