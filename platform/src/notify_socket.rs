//! Where a program says how it is: the datagram socket of sd_notify(3), made by the starter and shown inside.
//!
//! It has a name in the user's runtime directory for as long as somebody listens, so that it can be mounted into a view. Whoever is
//! inside may send, and is a stranger: nothing is taken but a bounded text and a bounded number of descriptors, and what waits
//! to be read is bounded by the kernel (`net.unix.max_dgram_qlen`), so that a flood makes its sender wait and nobody else.

use crate::{Access, Bind, RuntimeDir, inherited};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Where it is inside: `/dev` is the sandbox's own whatever its root is.
const INSIDE: &str = "/dev/notify";

/// The longest text that is taken, as systemd's manager has it.
pub const LONGEST_NOTICE: usize = 4096;

/// The most descriptors of one message (unix(7), `SCM_MAX_FD`).
const MOST_DESCRIPTORS: usize = 253;

/// The socket, and its name.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    directory: RuntimeDir,
    name: String,
}

/// What a program sent.
#[derive(Debug)]
pub struct Datagram {
    /// The text.
    pub text: Vec<u8>,
    /// Descriptors that came along, each close-on-exec.
    pub files: Vec<OwnedFd>,
}

impl NotifySocket {
    /// Makes one under a name that nobody else has. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When this user has no place for it, or the system refuses.
    pub fn bind(name: &str) -> io::Result<Self> {
        let directory = RuntimeDir::make()?;
        let name = format!("{name}.notify");
        let socket = std::os::unix::net::UnixDatagram::bind(directory.at(&name))?;
        // From here on dropping it removes the name.
        socket.set_nonblocking(true)?;
        let socket = Self { socket: UnixDatagram::from_std(socket)?, directory, name };
        // The program may be another user; nobody else gets into the directory.
        let everybody = Mode::from_raw_mode(0o666);
        rustix::fs::chmodat(
            &socket.directory.directory,
            &*socket.name,
            everybody,
            AtFlags::empty(),
        )?;
        Ok(socket)
    }

    /// The same socket, for somebody to keep who outlives this process.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn kept(&self) -> io::Result<File> {
        Ok(self.socket.as_fd().try_clone_to_owned()?.into())
    }

    /// One that somebody kept. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When it isn't one that was made here, or the system refuses.
    pub fn again(kept: File) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::from(OwnedFd::from(kept));
        let address = socket.local_addr()?;
        let name = address.as_pathname().and_then(|path| path.file_name()?.to_str());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        socket.set_nonblocking(true)?;
        let directory = RuntimeDir::make()?;
        Ok(Self { socket: UnixDatagram::from_std(socket)?, directory, name })
    }

    /// What shows it inside.
    pub fn shown(&self) -> Bind {
        let source: PathBuf = self.directory.path().join(&self.name);
        Bind { target: INSIDE.into(), optional: false, ..Bind::same(source, Access::Read) }
    }

    /// Its path inside.
    pub fn inside(&self) -> &'static str {
        INSIDE
    }

    /// The next message. One that is too long is passed over, and its descriptors closed. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn receive(&self) -> io::Result<Datagram> {
        loop {
            let received =
                self.socket.async_io(Interest::READABLE, || receive(&self.socket)).await?;
            if let Some(datagram) = received {
                return Ok(datagram);
            }
        }
    }
}

impl NotifySocket {
    /// What waits, if anything does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn receive_waiting(&self) -> io::Result<Option<Datagram>> {
        loop {
            match receive(&self.socket) {
                Ok(None) => {}
                Ok(some) => return Ok(some),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

fn receive(socket: &UnixDatagram) -> io::Result<Option<Datagram>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; LONGEST_NOTICE];
    let mut parts = [IoSliceMut::new(&mut text)];
    let received = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, inherited::RECEIVE)?;
    let mut files = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                files.push(inherited::received(descriptor)?);
            }
        }
    }
    text.truncate(received.bytes);
    let is_cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    Ok((!is_cut).then_some(Datagram { text, files }))
}

/// Whether a descriptor may be handed to a program: not a directory or a bare place, which would be ways to other files.
///
/// # Errors
/// When it can't be looked at.
pub fn is_harmless(file: &OwnedFd) -> io::Result<bool> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode);
    // Elsewhere there are no bare places.
    #[cfg(target_os = "linux")]
    if rustix::fs::fcntl_getfl(file)?.contains(rustix::fs::OFlags::PATH) {
        return Ok(false);
    }
    Ok(kind != FileType::Directory)
}

/// Whether two descriptors are of the same file or socket.
///
/// # Errors
/// When one can't be looked at.
pub fn same_file(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Whether the other end of a descriptor is gone. What can't be asked has none.
pub fn is_abandoned(file: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(file, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut asked, Some(&at_once)).is_ok()
        && asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        // Nobody is left to tell; whoever lists next sweeps it.
        self.directory.remove(&self.name).unwrap_or(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_sent_meanwhile_is_heard_by_whoever_takes_it_over() {
        let name = format!("notify-test-{}", std::process::id());
        let socket = NotifySocket::bind(&name).unwrap();
        let shown = socket.shown().source;
        let kept = socket.kept().unwrap();
        drop(socket);
        let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
        // Its name is gone, but what was mounted from it is not: here that is its descriptor.
        assert!(sender.connect(&shown).is_err());
        let again = NotifySocket::again(kept).unwrap();
        assert_eq!(again.name, format!("{name}.notify"));
        assert!(again.receive_waiting().unwrap().is_none());
        let other = File::open("/dev/null").unwrap();
        assert!(NotifySocket::again(other).is_err());
    }

    #[test]
    fn a_directory_is_not_handed_on() {
        let file = |path: &str| OwnedFd::from(std::fs::File::open(path).unwrap());
        assert!(!is_harmless(&file("/")).unwrap());
        assert!(is_harmless(&file("/dev/null")).unwrap());
    }
}
