//! Open files that outlive the process that keeps them: they wait in the queue of a pair of sockets, which the kernel keeps for
//! as long as somebody holds both ends (unix(7), `SCM_RIGHTS`). A sandbox that outlives its starter does.
//!
//! Whatever is done here can be broken off anywhere: a file may be there twice after that, but none is lost.

use crate::inherited;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType,
};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// The longest label.
const LONGEST_LABEL: usize = 4096;

/// Files, each with a label. How many there can be is bounded by the kernel (`net.core.wmem_default`, some two hundred).
#[derive(Debug)]
pub struct Shelf {
    sender: OwnedFd,
    receiver: OwnedFd,
}

impl Shelf {
    /// An empty one.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (sender, receiver) = inherited::pair(AddressFamily::UNIX, SocketType::SEQPACKET)?;
        Ok(Self { sender, receiver })
    }

    /// One that somebody kept, from its [`Self::ends`].
    pub fn again([sender, receiver]: [File; 2]) -> Self {
        Self { sender: sender.into(), receiver: receiver.into() }
    }

    /// Copies of both ends, for somebody to keep.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn ends(&self) -> io::Result<[File; 2]> {
        Ok([self.sender.try_clone()?.into(), self.receiver.try_clone()?.into()])
    }

    /// Puts a copy of a file there. A label isn't empty.
    ///
    /// # Errors
    /// When there is no room, or the system refuses.
    pub fn put(&self, label: &[u8], file: impl AsFd) -> io::Result<()> {
        if !(1..=LONGEST_LABEL).contains(&label.len()) || label[0] == MARK[0] {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.send(label, Some(file.as_fd()))?)
    }

    /// Looks at each file that is there, in their order, and leaves those that are to be kept.
    ///
    /// # Errors
    /// When there is no room for that, or the system refuses; what wasn't looked at is still there.
    pub fn sort_out(&self, mut keep: impl FnMut(&[u8], OwnedFd) -> bool) -> io::Result<()> {
        // By a number that whoever was broken off before won't have had.
        let mark = [MARK, &RandomState::new().hash_one(0_u8).to_ne_bytes()].concat();
        self.send(&mark, None)?;
        loop {
            // What is taken away only when its copy is at the end can't be lost.
            match self.receive(RecvFlags::PEEK)? {
                (label, _) if label == mark => {
                    self.receive(RecvFlags::empty())?;
                    return Ok(());
                }
                (label, Some(file)) => {
                    let copy = rustix::io::fcntl_dupfd_cloexec(&file, 3)?;
                    if keep(&label, file) {
                        self.send(&label, Some(copy.as_fd()))?;
                    }
                }
                // The mark of somebody who was broken off.
                (_, None) => {}
            }
            self.receive(RecvFlags::empty())?;
        }
    }

    fn send(&self, label: &[u8], file: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files = file.map(|file| [file]);
        if let Some(files) = &files {
            ancillary.push(SendAncillaryMessage::ScmRights(files));
        }
        let flags = SendFlags::DONTWAIT | inherited::SEND;
        rustix::net::sendmsg(&self.sender, &[IoSlice::new(label)], &mut ancillary, flags).map(drop)
    }

    fn receive(&self, flags: RecvFlags) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut label = vec![0; LONGEST_LABEL];
        let mut parts = [IoSliceMut::new(&mut label)];
        let flags = flags | inherited::RECEIVE;
        let received = rustix::net::recvmsg(&self.receiver, &mut parts, &mut ancillary, flags)?;
        let mut file = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                for received in files {
                    file = Some(inherited::received(received)?);
                }
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Errno::MFILE.into());
        }
        label.truncate(received.bytes);
        Ok((label, file))
    }
}

/// How what isn't a file's label begins.
const MARK: &[u8] = b"\0";

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    fn labels(shelf: &Shelf) -> Vec<String> {
        let mut labels = Vec::new();
        let take = |label: &[u8], _| {
            labels.push(String::from_utf8(label.to_vec()).unwrap());
            true
        };
        shelf.sort_out(take).unwrap();
        labels
    }

    #[test]
    fn files_wait_for_whoever_has_both_ends() {
        let shelf = Shelf::new().unwrap();
        assert_eq!(labels(&shelf), [""; 0]);
        let (mut reader, writer) = std::io::pipe().unwrap();
        shelf.put(b"one", &writer).unwrap();
        shelf.put(b"two", &reader).unwrap();
        drop(writer);
        let shelf = Shelf::again(shelf.ends().unwrap());
        assert_eq!(labels(&shelf), ["one", "two"]);
        // As often as one likes.
        assert_eq!(labels(&shelf), ["one", "two"]);
        shelf.sort_out(|label, _| label != b"one").unwrap();
        assert_eq!(labels(&shelf), ["two"]);
        // Its last writer was there, and nowhere else.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        shelf.put(b"", &reader).unwrap_err();
        shelf.put(b"\0", &reader).unwrap_err();
    }

    #[test]
    fn whoever_is_broken_off_loses_nothing() {
        let shelf = Shelf::new().unwrap();
        let file = File::open("/dev/null").unwrap();
        for label in [&b"a"[..], b"b", b"c"] {
            shelf.put(label, &file).unwrap();
        }
        // It had begun, and had moved the first.
        shelf.send(b"\0mark", None).unwrap();
        shelf.send(b"a", Some(file.as_fd())).unwrap();
        assert_eq!(labels(&shelf), ["a", "b", "c", "a"]);
        assert_eq!(labels(&shelf), ["a", "b", "c", "a"]);
        let mut most = 0;
        while shelf.put(b"x", &file).is_ok() {
            most += 1;
        }
        assert!(most > 50, "{most}");
        // Where there is no room, nothing is taken away either.
        shelf.sort_out(|_, _| true).unwrap_err();
        assert!(shelf.sender.as_raw_fd() > 2);
    }
}
