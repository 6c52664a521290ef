//! What macOS tells of processes (libproc.h, sys/resource.h). Checked for types here and there, never run where this was written.

use crate::{Bytes, Process};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// What one process uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Its footprint: what the system charges it with, in bytes.
    pub(super) memory: u64,
    pub(super) threads: u64,
    pub(super) user: Duration,
    pub(super) system: Duration,
}

impl Used {
    pub(super) fn add(&mut self, other: Self) {
        self.memory += other.memory;
        self.threads += other.threads;
        self.user += other.user;
        self.system += other.system;
    }
}

/// Whether there is a Seatbelt.
pub(super) const SEATBELT: bool = true;

/// Holds this process and all its children to a profile from here on (sandbox_init(3)).
pub(super) fn confine(profile: &CStr) -> Result<(), Errno> {
    // In no header any more, and in the system's library all the same.
    // SAFETY: as sandbox_init(3) has it.
    unsafe extern "C" {
        fn sandbox_init(
            profile: *const libc::c_char,
            flags: u64,
            error: *mut *mut libc::c_char,
        ) -> libc::c_int;
    }
    let mut error = std::ptr::null_mut();
    // It allocates, which the system's allocator lets a child do after fork: it has handlers for that (pthread_atfork(3)).
    // SAFETY: the text ends with a NUL byte; what is told of an error is left behind, by a process that is about to end.
    match unsafe { sandbox_init(profile.as_ptr(), 0, &raw mut error) } {
        0 => Ok(()),
        // Its errno tells nothing.
        _ => Err(Errno::PERM),
    }
}

/// What a process looks like to people; `None` when it is gone.
pub(super) fn row(pid: u32) -> io::Result<Option<Process>> {
    let Some(info) = described(pid) else { return Ok(None) };
    let usage = accounted(pid);
    let name = info.pbi_comm.iter().take_while(|byte| **byte != 0);
    let name: Vec<u8> = name.map(|byte| byte.cast_unsigned()).collect();
    Ok(Some(Process {
        pid,
        parent: info.pbi_ppid,
        command: format!("[{}]", String::from_utf8_lossy(&name)),
        state: match info.pbi_status {
            libc::SSTOP => 'T',
            libc::SZOMB => 'Z',
            libc::SSLEEP => 'S',
            _ => 'R',
        },
        cpu: usage.map_or(Duration::ZERO, |usage| {
            time(usage.ri_user_time.saturating_add(usage.ri_system_time))
        }),
        memory: Bytes(usage.map_or(0, |usage| usage.ri_phys_footprint)),
        threads: threads(pid),
        open_files: None,
    }))
}

/// Every process that there is.
pub(super) fn all() -> io::Result<Vec<u32>> {
    list(|buffer, size| {
        // SAFETY: the kernel writes at most `size` bytes.
        unsafe { libc::proc_listallpids(buffer, size) }
    })
}

/// The children of a process; none of one that is gone.
pub(super) fn children(pid: u32) -> io::Result<Vec<u32>> {
    list(|buffer, size| {
        // SAFETY: the kernel writes at most `size` bytes.
        unsafe { libc::proc_listchildpids(pid.cast_signed(), buffer, size) }
    })
}

/// A list that may grow while it is asked for.
fn list(
    mut ask: impl FnMut(*mut libc::c_void, libc::c_int) -> libc::c_int,
) -> io::Result<Vec<u32>> {
    let mut pids = vec![0_u32; 1024];
    loop {
        let size = libc::c_int::try_from(std::mem::size_of_val(pids.as_slice()))
            .unwrap_or(libc::c_int::MAX);
        let count = ask(pids.as_mut_ptr().cast(), size);
        let Ok(count) = usize::try_from(count) else {
            return Err(io::Error::last_os_error());
        };
        if count < pids.len() {
            pids.truncate(count);
            return Ok(pids);
        }
        pids.resize(pids.len() * 2, 0);
    }
}

fn described(pid: u32) -> Option<libc::proc_bsdinfo> {
    let mut info = MaybeUninit::<libc::proc_bsdinfo>::zeroed();
    let size = libc::c_int::try_from(size_of::<libc::proc_bsdinfo>()).ok()?;
    // SAFETY: the kernel writes at most `size` bytes.
    let written = unsafe {
        libc::proc_pidinfo(
            pid.cast_signed(),
            libc::PROC_PIDTBSDINFO,
            0,
            info.as_mut_ptr().cast(),
            size,
        )
    };
    // SAFETY: every byte was zero before, which is a value of this type.
    (written == size).then(|| unsafe { info.assume_init() })
}

/// The parent of a process; `None` when there is no such process.
pub(super) fn parent_of(pid: u32) -> Option<u32> {
    described(pid).map(|info| info.pbi_ppid)
}

/// When a process was started, in microseconds since 1970; `None` when there is none, or only what is left of one that ended.
pub(super) fn started_at(pid: u32) -> io::Result<Option<u64>> {
    let info = described(pid).filter(|info| info.pbi_status != libc::SZOMB);
    Ok(info.map(|info| info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec))
}

/// What the system accounts to a process; `None` when it is gone, or somebody else's.
fn accounted(pid: u32) -> Option<libc::rusage_info_v4> {
    let mut usage = MaybeUninit::<libc::rusage_info_v4>::zeroed();
    // SAFETY: it is the structure of this flavor.
    let asked = unsafe {
        libc::proc_pid_rusage(pid.cast_signed(), libc::RUSAGE_INFO_V4, usage.as_mut_ptr().cast())
    };
    // SAFETY: every byte was zero before, which is a value of this type.
    (asked == 0).then(|| unsafe { usage.assume_init() })
}

/// What a process uses, and what those used that it has waited for; nothing when it is gone, or somebody else's.
pub(super) fn used(pid: u32) -> io::Result<Used> {
    let Some(usage) = accounted(pid) else { return Ok(Used::default()) };
    Ok(Used {
        memory: usage.ri_phys_footprint,
        threads: threads(pid),
        user: time(usage.ri_user_time.saturating_add(usage.ri_child_user_time)),
        system: time(usage.ri_system_time.saturating_add(usage.ri_child_system_time)),
    })
}

fn threads(pid: u32) -> u64 {
    let mut info = MaybeUninit::<libc::proc_taskinfo>::zeroed();
    let size = libc::c_int::try_from(size_of::<libc::proc_taskinfo>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `size` bytes.
    let written = unsafe {
        libc::proc_pidinfo(
            pid.cast_signed(),
            libc::PROC_PIDTASKINFO,
            0,
            info.as_mut_ptr().cast(),
            size,
        )
    };
    // SAFETY: every byte was zero before, which is a value of this type.
    let info = unsafe { info.assume_init() };
    if written == size { u64::try_from(info.pti_threadnum).unwrap_or(1) } else { 1 }
}

/// These times are in units of the system's absolute time.
#[expect(deprecated, reason = "one call isn't worth another package")]
fn time(units: u64) -> Duration {
    let mut base = libc::mach_timebase_info { numer: 1, denom: 1 };
    // SAFETY: the kernel fills the structure.
    unsafe { libc::mach_timebase_info(&mut base) };
    let nanoseconds = u128::from(units) * u128::from(base.numer) / u128::from(base.denom.max(1));
    Duration::from_nanos(nanoseconds.try_into().unwrap_or(u64::MAX))
}

/// Sends a signal to a process, if it is still the one that was started then. Nothing holds its number here: in the moment between
/// the look and the signal it could end and its number become another's.
pub(super) fn signal(pid: u32, started: u64, number: i32) -> io::Result<()> {
    if started_at(pid)? != Some(started) {
        return Ok(());
    }
    // SAFETY: no memory is passed.
    match unsafe { libc::kill(pid.cast_signed(), number) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

/// Has every descriptor but the standard ones closed when a program is executed.
pub(super) fn close_on_exec() -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    let most = unsafe { libc::getdtablesize() };
    for number in 3..most {
        // SAFETY: only a flag of a descriptor changes; who isn't open is refused.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}
