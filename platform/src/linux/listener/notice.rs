//! The requests that a listener takes (seccomp_unotify(2)).

use libc::{seccomp_notif, seccomp_notif_resp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::mem::MaybeUninit;

/// Whether a call waits to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    One,
    None,
    /// No process has the filter any more.
    Over,
}

/// Looks, without waiting.
pub(super) fn waiting(listener: BorrowedFd<'_>) -> Waiting {
    let mut entries = [PollFd::from_borrowed_fd(listener, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut entries, Some(&now)).is_err() {
        return Waiting::None;
    }
    match entries[0].revents() {
        events if events.contains(PollFlags::IN) => Waiting::One,
        events if events.intersects(PollFlags::HUP | PollFlags::ERR) => Waiting::Over,
        _ => Waiting::None,
    }
}

/// Takes a call that waits.
pub(super) fn receive(listener: BorrowedFd<'_>) -> Result<seccomp_notif, Errno> {
    let mut notice = MaybeUninit::<seccomp_notif>::zeroed();
    // SAFETY: the structure is zeroed, as the kernel wants it, of the size that is part of the request, and outlives the
    // call.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, notice.as_mut_ptr())
    };
    checked(result)?;
    // SAFETY: integers, zeroed at first and then filled by the kernel.
    Ok(unsafe { notice.assume_init() })
}

/// Has a call fail with `errno`. One that doesn't wait any more, since its process is gone, is no error.
pub(super) fn answer(listener: BorrowedFd<'_>, id: u64, errno: i32) -> Result<(), Errno> {
    let mut answer = seccomp_notif_resp { id, val: 0, error: -errno, flags: 0 };
    // SAFETY: the structure is of the size that is part of the request, and outlives the call.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
    };
    match checked(result) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Has the kernel carry a call out, which is only for calls that the filter would have allowed: what they point to
/// may have changed since, and a filter looks at nothing of that.
pub(super) fn let_go_on(listener: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).map_err(|_| Errno::INVAL)?;
    let mut answer = seccomp_notif_resp { id, val: 0, error: 0, flags };
    // SAFETY: the structure is of the size that is part of the request, and outlives the call.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
    };
    match checked(result) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Whether a call still waits.
pub(super) fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the number outlives the call, which only reads it.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id)
    };
    result == 0
}

fn checked(result: i32) -> Result<(), Errno> {
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
