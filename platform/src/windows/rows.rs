//! The processes of a job one by one, for people who look.

use super::job::done;
use super::running::{committed, opened};
use crate::{Bytes, Process};
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::time::Duration;
use windows_sys::Win32::Foundation::{ERROR_NO_MORE_FILES, FILETIME, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::Threading::GetProcessTimes;

/// Those of a job's processes that a look at all of the system's finds, in the order of their ids.
///
/// # Errors
/// When the system doesn't tell.
pub(super) fn rows(job: &[u32]) -> io::Result<Vec<Process>> {
    // SAFETY: it has no preconditions.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else has it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let size = u32::try_from(size_of::<PROCESSENTRY32W>()).unwrap_or(0);
    let mut entry = PROCESSENTRY32W { dwSize: size, ..Default::default() };
    let mut rows = Vec::with_capacity(job.len());
    // SAFETY: the snapshot is open, and one entry is written, which says how large it is.
    let mut answer = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
    loop {
        match done(answer) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == i32::try_from(ERROR_NO_MORE_FILES).ok() => break,
            Err(error) => return Err(error),
        }
        if job.contains(&entry.th32ProcessID) {
            rows.push(row(&entry));
        }
        // SAFETY: as above.
        answer = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
    }
    rows.sort_unstable_by_key(|row| row.pid);
    Ok(rows)
}

fn row(entry: &PROCESSENTRY32W) -> Process {
    let name: Vec<u16> = entry.szExeFile.iter().copied().take_while(|unit| *unit != 0).collect();
    Process {
        pid: entry.th32ProcessID,
        parent: entry.th32ParentProcessID,
        command: format!("[{}]", String::from_utf16_lossy(&name)),
        // Threads run or wait here, and processes don't.
        state: '?',
        cpu: time(entry.th32ProcessID).unwrap_or_default(),
        memory: Bytes(committed(entry.th32ProcessID)),
        threads: entry.cntThreads.into(),
        open_files: None,
    }
}

/// The CPU time of a process; nothing when it is gone.
fn time(pid: u32) -> Option<Duration> {
    let process = opened(pid)?;
    let (mut begun, mut ended) = (FILETIME::default(), FILETIME::default());
    let (mut system, mut user) = (FILETIME::default(), FILETIME::default());
    // SAFETY: the handle is open, and four times are written.
    let answer = unsafe {
        GetProcessTimes(
            process.as_raw_handle(),
            &raw mut begun,
            &raw mut ended,
            &raw mut system,
            &raw mut user,
        )
    };
    // In tenths of microseconds.
    let number =
        |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    done(answer).ok()?;
    Some(Duration::from_nanos((number(system) + number(user)).saturating_mul(100)))
}
