//! System calls around mounts.

use super::{Result, call, int, small};
use core::ptr;
use syscalls::Sysno;

const AT_RECURSIVE: usize = 0x8000;
const OPEN_TREE_CLONE: usize = 1;
const MOVE_MOUNT_F_EMPTY_PATH: usize = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: usize = 0x40;
const FSCONFIG_SET_FLAG: usize = 0;
const FSCONFIG_SET_STRING: usize = 1;
const FSCONFIG_CMD_CREATE: usize = 6;

/// The structure of mount_setattr(2).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// A detached copy of the tree at an open descriptor, with everything mounted below.
pub(crate) fn clone_tree(fd: i32) -> Result<i32> {
    let flags =
        OPEN_TREE_CLONE | libc::O_CLOEXEC as usize | libc::AT_EMPTY_PATH as usize | AT_RECURSIVE;
    // SAFETY: the path is a static empty text.
    unsafe { call(Sysno::open_tree, [int(fd), c"".as_ptr() as usize, flags, 0, 0, 0]) }.map(small)
}

pub(crate) fn set_mount_attributes(
    fd: i32,
    set: u64,
    propagation: u64,
    recursive: bool,
) -> Result<()> {
    let attributes = MountAttributes { set, clear: 0, propagation, userns: 0 };
    let flags = libc::AT_EMPTY_PATH as usize | if recursive { AT_RECURSIVE } else { 0 };
    let (path, attr) = (c"".as_ptr() as usize, ptr::from_ref(&attributes) as usize);
    // SAFETY: both pointers outlive the call, and the size is that of the structure.
    unsafe {
        call(Sysno::mount_setattr, [int(fd), path, flags, attr, size_of::<MountAttributes>(), 0])
    }
    .map(drop)
}

/// Attaches a detached tree at an open descriptor.
pub(crate) fn move_mount(tree: i32, target: i32) -> Result<()> {
    let empty = c"".as_ptr() as usize;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are static empty texts.
    unsafe { call(Sysno::move_mount, [int(tree), empty, int(target), empty, flags, 0]) }.map(drop)
}

pub(crate) fn open_filesystem(kind: *const u8) -> Result<i32> {
    const FSOPEN_CLOEXEC: usize = 1;
    // SAFETY: `kind` is NUL-terminated.
    unsafe { call(Sysno::fsopen, [kind as usize, FSOPEN_CLOEXEC, 0, 0, 0, 0]) }.map(small)
}

/// One option; without a value it is a flag.
pub(crate) fn set_option(fs: i32, key: *const u8, value: Option<*const u8>) -> Result<()> {
    let (command, value) = match value {
        Some(value) => (FSCONFIG_SET_STRING, value as usize),
        None => (FSCONFIG_SET_FLAG, 0),
    };
    // SAFETY: key and value are NUL-terminated.
    unsafe { call(Sysno::fsconfig, [int(fs), command, key as usize, value, 0, 0]) }.map(drop)
}

/// Makes the file system and a detached mount of it.
pub(crate) fn make_mount(fs: i32, attributes: u64) -> Result<i32> {
    const FSMOUNT_CLOEXEC: usize = 1;
    // SAFETY: no pointers.
    unsafe { call(Sysno::fsconfig, [int(fs), FSCONFIG_CMD_CREATE, 0, 0, 0, 0]) }?;
    #[expect(clippy::cast_possible_truncation, reason = "attributes fit 32 bits on every target")]
    let attributes = attributes as usize;
    // SAFETY: no pointers.
    unsafe { call(Sysno::fsmount, [int(fs), FSMOUNT_CLOEXEC, attributes, 0, 0, 0]) }.map(small)
}

/// mount(2), with the source, the type and the options that it needs.
pub(crate) fn mount(
    source: Option<*const u8>,
    target: *const u8,
    kind: Option<*const u8>,
    flags: u64,
    options: Option<*const u8>,
) -> Result<()> {
    let address = |text: Option<*const u8>| text.map_or(0, |text| text as usize);
    #[expect(clippy::cast_possible_truncation, reason = "flags fit 32 bits on every target")]
    let flags = flags as usize;
    let args = [address(source), target as usize, address(kind), flags, address(options), 0];
    // SAFETY: the texts are NUL-terminated and outlive the call.
    unsafe { call(Sysno::mount, args) }.map(drop)
}

/// The flags of the mount at an open place, as statfs(2) has them.
pub(crate) fn mount_flags(fd: i32) -> Result<u64> {
    // Fifteen longs on every 64-bit target; the eleventh are the flags.
    let mut answer = [0_u64; 15];
    // SAFETY: the buffer is of the structure's size.
    unsafe { call(Sysno::fstatfs, [int(fd), answer.as_mut_ptr() as usize, 0, 0, 0, 0]) }?;
    let [_, _, _, _, _, _, _, _, _, _, flags, ..] = answer;
    Ok(flags)
}

/// Swaps the root for the working directory, the old one stacked on top of it (pivot_root(2), "pivot_root(".", ".")").
pub(crate) fn pivot_root_here() -> Result<()> {
    let here = c".".as_ptr() as usize;
    // SAFETY: static texts.
    unsafe { call(Sysno::pivot_root, [here, here, 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn detach_mount_here() -> Result<()> {
    // SAFETY: a static text.
    unsafe { call(Sysno::umount2, [c".".as_ptr() as usize, libc::MNT_DETACH as usize, 0, 0, 0, 0]) }
        .map(drop)
}
