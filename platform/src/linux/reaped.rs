//! Reaping the first process of a sandbox by its descriptor, with what the kernel counted for it.

use crate::{Bytes, Usage};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Waits for the end of a process: its wait status, and what it and all that it reaped used.
///
/// The raw waitid(2) fills a `rusage`, which the C library's and rustix's do not pass on.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Result<(i32, Usage), Errno> {
    const P_PIDFD: i32 = 3;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut used = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both structures are writable, of the kernel's size, and outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                P_PIDFD,
                pidfd.as_raw_fd(),
                info.as_mut_ptr(),
                libc::WEXITED,
                used.as_mut_ptr(),
            )
        };
        if result == 0 {
            break;
        }
        match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            error => return Err(error.map_or(Errno::IO, Errno::from_raw_os_error)),
        }
    }
    // SAFETY: zeroed at first and then filled by the kernel, since the call succeeded.
    let info = unsafe { info.assume_init() };
    // SAFETY: as above.
    let used = unsafe { used.assume_init() };
    // SAFETY: the union's member for child events is the one that waitid(2) fills.
    let value = unsafe { info.si_status() };
    let status = if info.si_code == libc::CLD_EXITED { (value & 0xff) << 8 } else { value & 0x7f };
    Ok((status, usage(&used)))
}

fn usage(used: &libc::rusage) -> Usage {
    let time = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds)
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    let mut usage = Usage::default();
    usage.cpu.user = Some(time(used.ru_utime));
    usage.cpu.system = Some(time(used.ru_stime));
    // Of the largest single process, in KiB: a lower bound for the tree.
    usage.memory.peak = u64::try_from(used.ru_maxrss).ok().map(|kib| Bytes(kib << 10));
    usage
}
