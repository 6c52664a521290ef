//! The project that an inode counts for (ioctl_fsgetxattr(2): `fsx_projid`, and the flag that makes what is created in a
//! directory count for the directory's own).

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

/// First of the project ids that Stockade gives. Ids up to here are left to those who number their projects themselves;
/// a later one in `/etc/projid` is met, and refused, as anybody's.
pub(super) const FIRST: u32 = 0x7000_0000;
/// How many there are.
const COUNT: u32 = 0x0f00_0000;
/// How many of them may be tried for one set of directories.
const TRIES: u32 = 8;

/// Requests of ioctl(2) (`linux/fs.h`).
const GET: u32 = 0x801c_581f;
const SET: u32 = 0x401c_5820;
/// What is created in the directory gets its project.
const INHERIT: u32 = 0x200;
/// Nobody can write it (chattr(1), `i`).
const IMMUTABLE: u32 = 0x8;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

impl Attributes {
    /// Those of an open file or directory.
    ///
    /// # Errors
    /// When the file system doesn't have them, or refuses.
    pub(super) fn of(file: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let mut attributes = Self::default();
        let place = &raw mut attributes;
        // SAFETY: the kernel fills the structure of this request, which outlives the call.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::Ioctl::from(GET), place) };
        done(answer).map(|()| attributes)
    }

    /// Which project it counts for; 0 for none.
    pub(super) fn project(&self) -> u32 {
        self.project
    }

    pub(super) fn is_immutable(&self) -> bool {
        self.flags & IMMUTABLE != 0
    }

    /// Whether it and, for a directory, all that is created in it count for this project.
    pub(super) fn count_for(&self, project: u32, is_dir: bool) -> bool {
        self.project == project && (!is_dir || self.flags & INHERIT != 0)
    }

    /// Has it count for a project, and what is created in it as well.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn join(
        mut self,
        file: BorrowedFd<'_>,
        project: u32,
        is_dir: bool,
    ) -> rustix::io::Result<()> {
        self.project = project;
        self.flags |= if is_dir { INHERIT } else { 0 };
        self.set(file)
    }

    /// Has a directory count for no project.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn leave(mut self, file: BorrowedFd<'_>) -> rustix::io::Result<()> {
        self.project = 0;
        self.flags &= !INHERIT;
        self.set(file)
    }

    fn set(&self, file: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let place: *const Self = self;
        // SAFETY: the kernel reads the structure of this request, which outlives the call.
        done(unsafe { libc::ioctl(file.as_raw_fd(), libc::Ioctl::from(SET), place) })
    }
}

fn done(answer: i32) -> rustix::io::Result<()> {
    if answer == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}

/// Whether Stockade gives this id.
pub(super) fn is_ours(project: u32) -> bool {
    (FIRST..FIRST + COUNT).contains(&project)
}

/// The ids that a set of directories, known by their inode numbers, may have, in the order in which they are tried. They
/// follow from the set, so that a directory's id tells whether it was given to just this set, and not to one of the
/// directories above, or to a larger set.
pub(super) fn candidates(inodes: &[u64]) -> impl Iterator<Item = u32> {
    let mut inodes = inodes.to_vec();
    inodes.sort_unstable();
    // FNV-1a: it must stay the same for ever, which the standard library's hashes don't promise.
    let hash = inodes
        .iter()
        .flat_map(|inode| inode.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let first = u32::try_from(hash % u64::from(COUNT)).unwrap_or(0);
    // A step that no power of two divides goes everywhere.
    (0..TRIES).map(move |place| FIRST + (first + place * 7_919) % COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_size_of_the_kernel() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert_eq!(GET, 0x8000_0000 | (28 << 16) | (u32::from(b'X') << 8) | 31);
        assert_eq!(SET, 0x4000_0000 | (28 << 16) | (u32::from(b'X') << 8) | 32);
    }

    #[test]
    fn the_same_set_has_the_same_ids_and_another_has_others() {
        let ids = |inodes: &[u64]| candidates(inodes).collect::<Vec<_>>();
        assert_eq!(ids(&[12, 7]), ids(&[7, 12]));
        assert!(ids(&[12]).iter().all(|id| is_ours(*id) && !ids(&[12, 7]).contains(id)));
        // What is on disks already.
        assert_eq!(ids(&[12])[..2], [2_128_044_617, 2_128_052_536]);
    }
}
