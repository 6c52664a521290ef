//! Datagrams that are too large for their socket.

use rustix::io::Errno;
use std::io;
use tokio::net::UnixDatagram;

/// Whether a datagram failed for its length.
pub fn is_too_large(error: &io::Error) -> bool {
    let known = [Errno::MSGSIZE, Errno::NOBUFS].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| known.contains(&code))
}

/// Sends what is too large for a datagram as a sealed file in memory (memfd_create(2)), as journald takes it.
///
/// # Errors
/// When the other end is gone, or the system refuses or has no such files.
#[cfg(target_os = "linux")]
pub async fn send_as_file(socket: &UnixDatagram, content: &[u8]) -> io::Result<()> {
    use rustix::fs::{MemfdFlags, SealFlags};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    use std::io::{IoSlice, Write};
    use std::os::fd::AsFd;

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("datagram", flags)?);
    file.write_all(content)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    socket
        .async_io(tokio::io::Interest::WRITABLE, || {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
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

/// Where there are no such files, what is too large can't be sent.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub async fn send_as_file(_: &UnixDatagram, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
