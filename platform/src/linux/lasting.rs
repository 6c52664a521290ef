//! What a sandbox takes along that outlives its starter, and the door by which a next one comes in.
//!
//! The first process keeps everything that must go on: the read ends of the program's streams, so that what it writes waits
//! in the kernel; the listener of denied calls, which wait as well; the sockets of its network; and, by their descriptors, the
//! locks on its cgroup, its ids, its disk limits and its kept changes. It listens at a socket that stands under the sandbox's
//! id in a directory of the user's alone. That nobody listens there any more is how its end is known.

pub(crate) mod walls;

use super::prepare::Prepared;
use super::script::OwnedScript;
use super::streams::Streams;
use crate::{MOST_KEPT, PlatformError, RuntimeDir, Token};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// Below the runtime directory.
const DIRECTORY: &str = "lasting";

/// What is handed over, in [`stockade_child::Lasting::handed`]: standard output and error, the memo, the filter, the walls, which
/// denied call was heard last, and what the caller gave for the next one.
pub(crate) const HANDED: usize = OWN + MOST_KEPT;
/// How many of those aren't the caller's.
pub(crate) const OWN: usize = 6;

/// The name of a door. Dropping it changes nothing: only the end of the sandbox takes it away.
#[derive(Debug)]
pub(crate) struct Door {
    directory: OwnedFd,
    id: String,
}

impl Door {
    /// Where the door of this sandbox is, if it has one.
    ///
    /// # Errors
    /// When the runtime directory can't be used.
    pub(crate) fn of(id: &str) -> Result<Self, PlatformError> {
        let directory = RuntimeDir::make().and_then(|runtime| runtime.below(DIRECTORY, true));
        let directory = directory.map_err(|error| {
            PlatformError::system("failed to open the directory of lasting sandboxes", error)
        })?;
        Ok(Self { directory, id: id.to_owned() })
    }

    /// By descriptor, since an address holds 108 bytes and follows symlinks.
    fn address(&self) -> Result<SocketAddrUnix, Errno> {
        SocketAddrUnix::new(format!("/proc/self/fd/{}/{}", self.directory.as_raw_fd(), self.id))
    }

    fn socket() -> Result<OwnedFd, Errno> {
        let kind = SocketType::SEQPACKET;
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
    }

    /// Makes it, for the first process to listen at.
    fn hang(&self) -> Result<OwnedFd, Errno> {
        /// Visitors that may wait: one is usual.
        const BACKLOG: i32 = 8;
        let socket = Self::socket()?;
        rustix::net::bind(&socket, &self.address()?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    /// Knocks; `NOENT` or `CONNREFUSED` where nobody is there any more. What comes back tells who sent it.
    pub(crate) fn knock(&self) -> Result<OwnedFd, Errno> {
        let socket = Self::socket()?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        rustix::net::connect(&socket, &self.address()?)?;
        Ok(socket)
    }

    /// Takes the name away, if it is still there.
    ///
    /// # Errors
    /// When it can't be removed.
    pub(crate) fn remove(&self) -> Result<(), PlatformError> {
        match rustix::fs::unlinkat(&self.directory, &*self.id, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(PlatformError::system(
                format!("failed to remove the door of `{}`", self.id),
                error,
            )),
        }
    }
}

/// What the first process takes along, until it is cloned.
#[derive(Debug)]
pub(crate) struct Luggage {
    door: Door,
    listening: OwnedFd,
    token: Token,
    memo: File,
    heard: File,
    handed: Vec<Option<OwnedFd>>,
    held: Vec<OwnedFd>,
}

/// What its starter keeps of that.
#[derive(Debug)]
pub(crate) struct Lasting {
    pub(crate) door: Door,
    pub(crate) memo: File,
    pub(crate) heard: File,
}

impl Luggage {
    /// Packs what there is before the launch. `locks` are descriptors of what is locked.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn pack(
        id: &str,
        token: Token,
        streams: &Streams,
        prepared: &Prepared,
        locks: &[BorrowedFd<'_>],
    ) -> Result<Self, PlatformError> {
        let failed = |error: Errno| {
            let message = format!("failed to prepare that `{id}` outlives its starter");
            PlatformError::system(message, error)
        };
        if streams.kept().count() > MOST_KEPT {
            let message = format!("no more than {MOST_KEPT} files are kept for a next starter");
            return Err(PlatformError::invalid(message));
        }
        // Below, the program's own will be.
        let lowest = streams.lowest();
        let copy = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, lowest).map_err(failed);
        let [output, errors] = streams.read_ends().map(|stream| stream.map(copy).transpose());
        let memo = memory("stockade-memo").map_err(failed)?;
        let heard = memory("stockade-heard").map_err(failed)?;
        let filter = prepared.script.filters.first().map(|filter| instructions(filter));
        let filter = filter.map(|bytes| sealed("stockade-filter", &bytes));
        let walls = walls::written(&prepared.ids, prepared.rules.as_ref())
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
            .and_then(|bytes| sealed("stockade-walls", &bytes));
        let filter = filter.transpose().map_err(failed)?;
        let mut handed = vec![
            output?,
            errors?,
            Some(copy(memo.as_fd())?),
            filter.map(|filter| copy(filter.as_fd())).transpose()?,
            Some(copy(walls.map_err(failed)?.as_fd())?),
            Some(copy(heard.as_fd())?),
        ];
        for file in streams.kept() {
            handed.push(file.map(copy).transpose()?);
        }
        let held = locks.iter().map(|fd| copy(*fd)).collect::<Result<_, _>>()?;
        let door = Door::of(id)?;
        let listening = copy(door.hang().map_err(failed)?.as_fd())?;
        Ok(Self { door, listening, token, memo, heard, handed, held })
    }

    /// Has the first process keep it.
    pub(crate) fn add_to(&self, script: &mut OwnedScript) {
        let number = |fd: &Option<OwnedFd>| fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        script.lasting = Some(super::script::OwnedLasting {
            door: self.listening.as_raw_fd(),
            token: self.token.words(),
            handed: self.handed.iter().map(number).collect(),
            held: self.held.iter().map(AsRawFd::as_raw_fd).collect(),
        });
    }

    /// Leaves it to the first process, which has its own descriptors by now.
    pub(crate) fn leave(self) -> Lasting {
        Lasting { door: self.door, memo: self.memo, heard: self.heard }
    }

    /// Nobody took it: the launch has failed.
    pub(crate) fn discard(self) {
        // The error to tell is the launch's; the next look for this id finds that nobody listens.
        self.door.remove().unwrap_or(());
    }
}

impl Lasting {
    /// Leaves a note for the next starter, instead of the one before.
    ///
    /// # Errors
    /// When the system has no memory left.
    pub(crate) fn remember(&self, memo: &[u8]) -> io::Result<()> {
        self.memo.set_len(0)?;
        self.memo.write_all_at(memo, 0)
    }

    /// What was noted.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn memo(&self) -> io::Result<Vec<u8>> {
        contents(&self.memo)
    }
}

/// All that a file in memory holds, wherever it was read or written last.
pub(crate) fn contents(file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn memory(name: &str) -> Result<File, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(rustix::fs::memfd_create(name, flags)?.into())
}

/// What nobody changes any more: also the next starter is to find what was true at the launch.
fn sealed(name: &str, bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let mut file = memory(name)?;
    file.write_all(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, all)?;
    Ok(file.into())
}

/// The filter that is in force, for whoever answers for it next: the policy may be another by then.
fn instructions(filter: &[libc::sock_filter]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(filter.len() * 8);
    for instruction in filter {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    bytes
}

/// The filter back from what [`instructions`] wrote.
pub(crate) fn filter(file: &File) -> io::Result<Box<[libc::sock_filter]>> {
    let bytes = contents(file)?;
    let instruction = |bytes: &[u8]| match *bytes {
        [a, b, jt, jf, c, d, e, f] => Some(libc::sock_filter {
            code: u16::from_ne_bytes([a, b]),
            jt,
            jf,
            k: u32::from_ne_bytes([c, d, e, f]),
        }),
        _ => None,
    };
    let whole: Option<Box<[_]>> = bytes.chunks(8).map(instruction).collect();
    whole.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_comes_back_as_it_was_and_cannot_be_changed() {
        let one = libc::sock_filter { code: 6, jt: 1, jf: 2, k: 0x7fff_0001 };
        let fd = sealed("test", &instructions(&[one, one])).unwrap();
        let mut file = File::from(fd);
        let back = filter(&file).unwrap();
        assert_eq!(back.len(), 2);
        assert_eq!((back[1].code, back[1].jt, back[1].jf, back[1].k), (6, 1, 2, 0x7fff_0001));
        assert!(file.write_all(b"x").is_err() && file.set_len(0).is_err());
    }

    #[test]
    fn the_last_note_is_the_one_that_counts() {
        let door = Door {
            directory: rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())
                .unwrap(),
            id: String::new(),
        };
        let lasting =
            Lasting { door, memo: memory("test").unwrap(), heard: memory("test").unwrap() };
        lasting.remember(b"a long one").unwrap();
        lasting.remember(b"short").unwrap();
        assert_eq!(lasting.memo().unwrap(), b"short");
    }
}
