//! Datagrams that are too large for their socket.

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Whether a datagram failed for its length.
pub fn is_too_large(error: &io::Error) -> bool {
    let known = [Errno::MSGSIZE, Errno::NOBUFS].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| known.contains(&code))
}

/// Sends what is too large for a datagram as a sealed file in memory (memfd_create(2)), as journald takes it.
///
/// # Errors
/// When the other end is gone, or the system refuses.
pub async fn send_as_file(socket: &UnixDatagram, content: &[u8]) -> io::Result<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("datagram", flags)?);
    file.write_all(content)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    socket
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let files = [file.as_fd()];
            // There is room for just this.
            if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
                return Err(Errno::NOBUFS.into());
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            rustix::net::sendmsg(socket, &[IoSlice::new(b"")], &mut ancillary, flags)?;
            Ok(())
        })
        .await
}
