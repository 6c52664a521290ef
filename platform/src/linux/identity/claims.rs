//! Ids of the host that no other living sandbox has.
//!
//! In a file of the runtime directory each byte stands for an id of the host, and is locked while a sandbox has it. The file
//! stays empty: a lock needs no byte to be there, and goes with its descriptor however the process ends.

use crate::{IdRange, PlatformError, RuntimeDir};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;

const TAKEN: &str = "ids";

/// Users and groups have the same numbers, and are taken for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Users,
    Groups,
}

/// What a sandbox holds of them; nothing where it has only its caller's own.
#[derive(Debug)]
pub(crate) struct Claim(Option<OwnedFd>);

/// The file, as one sandbox has it open.
#[derive(Debug)]
pub(super) struct Ledger(OwnedFd);

impl Claim {
    /// Of one that takes nothing.
    pub(super) fn nothing() -> Self {
        Self(None)
    }

    /// What holds the locks: as long as a copy of it is open, the ids are taken.
    pub(crate) fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }
}

impl Ledger {
    /// Opens the file of this user.
    ///
    /// # Errors
    /// When the runtime directory can't be used.
    pub(super) fn open() -> Result<Self, PlatformError> {
        RuntimeDir::make()
            .and_then(|runtime| runtime.file(TAKEN))
            .map(Self)
            .map_err(|error| PlatformError::system("failed to look who has which ids", error))
    }

    /// Takes a whole block; whether it was free.
    ///
    /// # Errors
    /// When the kernel can't lock.
    pub(super) fn take(&self, kind: Kind, block: IdRange) -> io::Result<bool> {
        let word = |number: i32| libc::c_short::try_from(number).unwrap_or(-1);
        let groups = if kind == Kind::Groups { 1 << 32 } else { 0 };
        let bytes = libc::flock {
            l_type: word(libc::F_WRLCK),
            l_whence: word(libc::SEEK_SET),
            l_start: groups + i64::from(block.first()),
            l_len: i64::from(block.count()),
            l_pid: 0,
        };
        // Of the open file, not of the process (fcntl(2), "Open file description locks").
        match nix::fcntl::fcntl(&self.0, nix::fcntl::FcntlArg::F_OFD_SETLK(&bytes)) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What was taken, to be held.
    pub(super) fn close(self) -> Claim {
        Claim(Some(self.0))
    }
}

/// The blocks of `count` ids that ranges have room for, beginning with the one that chance picks; `step` ids lie between the
/// beginnings of two.
pub(super) fn blocks(
    ranges: &[IdRange],
    count: u32,
    step: u32,
    chance: u32,
) -> impl Iterator<Item = IdRange> {
    let room = move |range: &IdRange| match range.count().checked_sub(count) {
        Some(more) => u64::from(more / step.max(1)) + 1,
        None => 0,
    };
    let all: u64 = ranges.iter().map(room).sum();
    let first = u64::from(chance).checked_rem(all).unwrap_or(0);
    (first..all).chain(0..first).filter_map(move |mut number| {
        for range in ranges {
            if number < room(range) {
                // No more than the range's own length.
                let skipped = u32::try_from(number).ok()?.checked_mul(step)?;
                return IdRange::starting(range.first().checked_add(skipped)?, count);
            }
            number -= room(range);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u32, count: u32) -> IdRange {
        IdRange::starting(first, count).unwrap()
    }

    #[test]
    fn a_block_is_one_sandbox_s_for_as_long_as_it_lives() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let open = || Ledger(OwnedFd::from(place.reopen().unwrap()));
        let users = |ledger: &Ledger, first, count| ledger.take(Kind::Users, range(first, count));
        let first = open();
        assert!(users(&first, 100, 10).unwrap());
        let other = open();
        for (start, count) in [(100, 1), (109, 1), (95, 6), (50, 100)] {
            assert!(!users(&other, start, count).unwrap(), "{start} {count}");
        }
        assert!(users(&other, 110, 10).unwrap());
        assert!(other.take(Kind::Groups, range(100, 10)).unwrap());
        drop(first);
        assert!(users(&open(), 100, 10).unwrap());
    }

    #[test]
    fn blocks_lie_side_by_side_and_each_comes_once() {
        let of = |ranges: &[IdRange], count, step, chance| -> Vec<u32> {
            blocks(ranges, count, step, chance).map(IdRange::first).collect()
        };
        assert_eq!(of(&[range(100, 35)], 10, 10, 0), [100, 110, 120]);
        assert_eq!(of(&[range(100, 35)], 10, 16, 0), [100, 116]);
        assert_eq!(of(&[range(100, 20), range(500, 25)], 10, 10, 5), [110, 500, 510, 100]);
        assert_eq!(of(&[range(100, 9)], 10, 10, 7), [0u32; 0]);
        assert_eq!(of(&[], 10, 10, 7), [0u32; 0]);
        assert_eq!(of(&[range(u32::MAX - 9, 10)], 10, 10, 7), [u32::MAX - 9]);
    }
}
