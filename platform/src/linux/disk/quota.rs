//! Project quotas of one file system: quotactl_fd(2) with the commands of XFS, which every file system with project quotas
//! answers (`linux/dqblk_xfs.h`; the kernel translates for ext4 and f2fs, fs/quota/quota.c).

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

/// The kind of quota (`linux/quota.h`).
const PRJQUOTA: u32 = 2;
/// Commands (`XQM_CMD`): what of an id is used and allowed, other limits for it, and whether quotas are in force.
const GET: u32 = 0x5803;
const SET: u32 = 0x5804;
const STATE: u32 = 0x5808;
/// Flags of the state: projects are counted, and their limits are held.
const COUNTED: u16 = 1 << 4;
const HELD: u16 = 1 << 5;
/// What is meant of an account when it is set: the soft and hard limits of inodes and blocks.
const LIMITS: u16 = 0b1111;
/// Blocks of this interface, whatever the file system's own are.
const BLOCK: u64 = 512;

/// `struct fs_disk_quota`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Account {
    version: i8,
    flags: i8,
    fields: u16,
    id: u32,
    blocks_hard: u64,
    blocks_soft: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    blocks: u64,
    inodes: u64,
    timers: [u32; 4],
    realtime: [u64; 5],
}

/// The beginning of `struct fs_quota_statv`, and more room than the rest of it takes.
#[repr(C)]
struct State {
    version: i8,
    padding: u8,
    flags: u16,
    rest: [u64; 31],
}

/// Space and inodes, used or allowed; 0 allowed is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) bytes: u64,
    pub(super) inodes: u64,
}

/// What is known of one project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) used: Space,
    pub(super) allowed: Space,
}

/// Whether a file system holds projects to limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// It does.
    Held,
    /// It only counts what they use.
    Counted,
    /// It doesn't know them.
    None,
}

/// Whether this kernel has quotas at all, and a call that takes a descriptor (Linux 5.14).
pub(super) fn in_kernel() -> bool {
    // SAFETY: a descriptor that is none is refused before anything else is looked at.
    let answer = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, -1, GET << 8 | PRJQUOTA, 0, std::ptr::null::<u8>())
    };
    answer == -1 && std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// Whether the file system of `file` holds projects to limits.
pub(super) fn force(file: BorrowedFd<'_>) -> Force {
    let mut state = State { version: 1, padding: 0, flags: 0, rest: [0; 31] };
    match call(file, STATE, 0, &raw mut state) {
        Ok(()) if state.flags & HELD != 0 => Force::Held,
        Ok(()) if state.flags & COUNTED != 0 => Force::Counted,
        _ => Force::None,
    }
}

/// What a project of the file system of `file` uses and may use.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn project(file: BorrowedFd<'_>, id: u32) -> rustix::io::Result<Project> {
    let mut account = Account::default();
    match call(file, GET, id, &raw mut account) {
        Ok(()) => {}
        // XFS has no account of a project that nobody has used.
        Err(Errno::NOENT) => return Ok(Project::default()),
        Err(error) => return Err(error),
    }
    let used = Space { bytes: account.blocks * BLOCK, inodes: account.inodes };
    let allowed = Space { bytes: account.blocks_hard * BLOCK, inodes: account.inodes_hard };
    Ok(Project { used, allowed })
}

/// Sets what a project of the file system of `file` may use.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn allow(file: BorrowedFd<'_>, id: u32, most: Space) -> rustix::io::Result<()> {
    const FOR_PROJECT: i8 = 2;
    let mut account = Account {
        version: 1,
        flags: FOR_PROJECT,
        fields: LIMITS,
        id,
        blocks_hard: most.bytes / BLOCK,
        inodes_hard: most.inodes,
        ..Account::default()
    };
    call(file, SET, id, &raw mut account)
}

fn call<T>(
    file: BorrowedFd<'_>,
    command: u32,
    id: u32,
    structure: *mut T,
) -> rustix::io::Result<()> {
    let file = file.as_raw_fd();
    let command = command << 8 | PRJQUOTA;
    // SAFETY: each caller hands over the structure of its command, which outlives the call.
    let answer = unsafe { libc::syscall(libc::SYS_quotactl_fd, file, command, id, structure) };
    if answer == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        assert_eq!(size_of::<Account>(), 112);
        assert_eq!(std::mem::offset_of!(Account, realtime), 72);
        // `struct fs_quota_statv` has 160.
        assert!(size_of::<State>() > 160);
    }
}
