//! The end of a cgroup: emptying it, and removing it with all below.

use super::file::{self, SMALL};
use super::parse;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, unlinkat};
use rustix::io::{Errno, Result};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// How long a removal waits for killed processes to go.
const PATIENCE: Duration = Duration::from_secs(2);

/// Kills what is left in the cgroup `dir`, which is `name` in `parent`, and removes it with all below.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &str, dir: BorrowedFd<'_>) -> Result<()> {
    if remove_dir(parent, name)? {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    // Without `cgroup.kill` (before Linux 5.14) it can still be that everything ends by itself.
    match file::write(dir, "cgroup.kill", b"1") {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
        Err(error) => return Err(error),
    }
    loop {
        await_empty(dir, deadline)?;
        remove_below(dir)?;
        if remove_dir(parent, name)? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Errno::BUSY);
        }
        // Empty and still busy: a fork is on its way, or someone makes cgroups below. No event tells when that is over.
        poll_for(Duration::from_millis(1), &mut [])?;
    }
}

/// Removes one directory; `false` when it still has processes or cgroups below.
fn remove_dir(parent: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<bool> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(true),
        Err(Errno::BUSY) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the cgroups below `dir`, deepest first, as far as they are empty.
fn remove_below(dir: BorrowedFd<'_>) -> Result<()> {
    each_below(dir, &mut |parent, name, child| {
        remove_below(child)?;
        remove_dir(parent, name).map(|_| ())
    })
}

/// Calls `visit` with each cgroup right below `dir`: parent, name, directory.
pub(super) fn each_below(
    dir: BorrowedFd<'_>,
    visit: &mut dyn FnMut(BorrowedFd<'_>, &std::ffi::CStr, BorrowedFd<'_>) -> Result<()>,
) -> Result<()> {
    // A fresh descriptor, because the position in the listing belongs to the descriptor.
    let listing = match file::open_dir(dir, c".") {
        Ok(listing) => listing,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&listing, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || name == c"." || name == c".." {
            continue;
        }
        match file::open_dir(dir, name) {
            Ok(child) => visit(dir, name, child.as_fd())?,
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Adds the processes of `dir` and of all cgroups below it to `pids`. The room in `text` is used for reading.
pub(super) fn pids_below(
    dir: BorrowedFd<'_>,
    pids: &mut Vec<u32>,
    text: &mut Vec<u8>,
) -> Result<()> {
    match file::read_all(dir, "cgroup.procs", text) {
        Ok(()) => pids.extend(parse::pids(text)),
        Err(Errno::NODEV | Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    }
    each_below(dir, &mut |_, _, child| pids_below(child, pids, text))
}

/// Whether no process is left in `dir` or below; a removed cgroup is empty.
pub(super) fn is_empty(dir: BorrowedFd<'_>) -> Result<bool> {
    match file::open(dir, "cgroup.events", OFlags::RDONLY) {
        Ok(events) => shows_empty(&events),
        Err(Errno::NOENT | Errno::NODEV) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The same from an open `cgroup.events`.
pub(super) fn shows_empty(events: impl AsFd) -> Result<bool> {
    match file::reread(events, &mut [0; SMALL]) {
        Ok(text) => Ok(parse::keyed(text, "populated") == Some(0)),
        Err(Errno::NODEV) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Waits until `dir` is empty or the deadline has passed, whichever comes first.
fn await_empty(dir: BorrowedFd<'_>, deadline: Instant) -> Result<()> {
    let events = match file::open(dir, "cgroup.events", OFlags::RDONLY) {
        Ok(events) => events,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(error) => return Err(error),
    };
    while !shows_empty(&events)? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        poll_for(left, &mut [PollFd::new(&events, PollFlags::PRI)])?;
    }
    Ok(())
}

fn poll_for(time: Duration, fds: &mut [PollFd<'_>]) -> Result<()> {
    let time = Timespec::try_from(time).map_err(|_| Errno::INVAL)?;
    match poll(fds, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
