//! Reading and writing files beneath an open cgroup directory. No path is resolved twice, and no symlink followed.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, Result, pread, pwrite, read};
use std::path::Path;

/// Big enough for every flat file read here: the longest, `memory.stat`, has 2.5 KiB.
pub(super) const SMALL: usize = 8192;

/// Opens a directory; not a bare path handle, so that it can be read, locked and given to `clone3`.
pub(super) fn open_dir(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(at, name, flags, Mode::empty())
}

/// The same for an absolute path.
pub(super) fn open_dir_path(path: &Path) -> Result<OwnedFd> {
    open_dir(rustix::fs::CWD, path)
}

/// Opens a file to read or write.
pub(super) fn open(
    dir: BorrowedFd<'_>,
    name: impl rustix::path::Arg,
    access: OFlags,
) -> Result<OwnedFd> {
    openat(dir, name, access | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Reads a small file from its start; may be repeated on the same descriptor, which then costs one system call.
pub(super) fn reread(fd: impl AsFd, buffer: &mut [u8; SMALL]) -> Result<&[u8]> {
    let length = pread(fd, &mut buffer[..], 0)?;
    Ok(&buffer[..length])
}

/// Reads a file of any length from its start into `text`, whose former content is dropped; may be repeated on the same
/// descriptor.
pub(super) fn reread_all(fd: impl AsFd, text: &mut Vec<u8>) -> Result<()> {
    text.clear();
    loop {
        text.reserve(SMALL);
        let at = text.len() as u64;
        if pread(&fd, rustix::buffer::spare_capacity(text), at)? == 0 {
            return Ok(());
        }
    }
}

/// Reads a small file.
pub(super) fn read_small<'a>(
    dir: BorrowedFd<'_>,
    name: &str,
    buffer: &'a mut [u8; SMALL],
) -> Result<&'a [u8]> {
    reread(open(dir, name, OFlags::RDONLY)?, buffer)
}

/// Reads a file of any length, such as `cgroup.procs`, into `text`, whose former content is dropped.
pub(super) fn read_all(dir: BorrowedFd<'_>, name: &str, text: &mut Vec<u8>) -> Result<()> {
    text.clear();
    read_to_end(open(dir, name, OFlags::RDONLY)?, text)
}

/// Adds the rest of an open file to `text`.
pub(super) fn read_to_end(file: impl AsFd, text: &mut Vec<u8>) -> Result<()> {
    loop {
        text.reserve(SMALL);
        if read(&file, rustix::buffer::spare_capacity(text))? == 0 {
            return Ok(());
        }
    }
}

/// Writes a value. The cgroup file system takes it whole or refuses it.
pub(super) fn write(dir: BorrowedFd<'_>, name: &str, value: &[u8]) -> Result<()> {
    whole(pwrite(open(dir, name, OFlags::WRONLY)?, value, 0)?, value)
}

/// Writes a value and reads back what is in force now.
pub(super) fn write_and_read<'a>(
    dir: BorrowedFd<'_>,
    name: &str,
    value: &[u8],
    buffer: &'a mut [u8; SMALL],
) -> Result<&'a [u8]> {
    let file = open(dir, name, OFlags::RDWR)?;
    whole(pwrite(&file, value, 0)?, value)?;
    Ok(reread(&file, buffer)?.trim_ascii_end())
}

fn whole(written: usize, value: &[u8]) -> Result<()> {
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}
