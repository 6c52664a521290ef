//! What Linux tells of processes.

use crate::Process;
use crate::linux::processes;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::CStr;
use std::io;

pub(super) use processes::{Sum as Used, parent_of};

/// When a process was started; `None` where there is none, or it has ended.
pub(super) fn started_at(pid: u32) -> io::Result<Option<u64>> {
    Ok(processes::started_at(pid)?)
}

/// Whether there is a Seatbelt.
pub(super) const SEATBELT: bool = false;

/// There is none; nobody asks for it.
pub(super) fn confine(_: &CStr) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// What a process looks like to people; `None` when it is gone.
pub(super) fn row(pid: u32) -> io::Result<Option<Process>> {
    match processes::row(pid) {
        Ok(row) => Ok(row),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Every process that there is.
pub(super) fn all() -> io::Result<Vec<u32>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// The children of a process; none of one that is gone.
pub(super) fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    match processes::children(pid, &mut children) {
        Ok(()) | Err(Errno::NOENT | Errno::SRCH) => Ok(children),
        Err(error) => Err(error.into()),
    }
}

/// What a process uses; nothing when it is gone.
pub(super) fn used(pid: u32) -> io::Result<Used> {
    Ok(processes::one(pid, true)?)
}

/// Sends a signal to a process, if it is still the one that was started then.
pub(super) fn signal(pid: u32, started: u64, number: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(number).ok_or(io::ErrorKind::InvalidInput)?;
    let Some(pid) = pid.try_into().ok().and_then(Pid::from_raw) else { return Ok(()) };
    let sent = pidfd_open(pid, PidfdFlags::empty()).and_then(|process| {
        // Held by its descriptor, it can't become another while it is looked at.
        match processes::started_at(pid.as_raw_nonzero().get().unsigned_abs())? == Some(started) {
            true => pidfd_send_signal(process, signal),
            false => Ok(()),
        }
    });
    match sent {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Has every descriptor but the standard ones closed when a program is executed (close_range(2), Linux 5.11).
pub(super) fn close_on_exec() -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    let done =
        // SAFETY: only flags of descriptors change.
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    if done == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    }
}
