//! Processes of a job that stand still. Windows tells nobody how (`NtSuspendProcess` is in no document of its owner's), and every
//! debugger and task manager does it so.

use super::job::{Job, done};
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, HANDLE};
use windows_sys::Win32::System::Threading::{OpenProcess, PROCESS_SUSPEND_RESUME};

#[link(name = "ntdll")]
// SAFETY: both take a handle and give a status (NTSTATUS), as every debugger's headers have them.
unsafe extern "system" {
    fn NtSuspendProcess(process: HANDLE) -> i32;
    fn NtResumeProcess(process: HANDLE) -> i32;
}

/// Those that stand still, each held so that its number stays its own.
#[derive(Debug, Default)]
pub(super) struct Suspended(Vec<(u32, OwnedHandle)>);

impl Suspended {
    /// Stops all of a job, until no look finds one that still runs.
    ///
    /// # Errors
    /// When the system refuses; those that were stopped go on then.
    pub(super) fn stop(&mut self, job: &Job) -> io::Result<()> {
        let stopped = self.stop_all(job);
        if stopped.is_err() {
            self.go_on()?;
        }
        stopped
    }

    fn stop_all(&mut self, job: &Job) -> io::Result<()> {
        loop {
            let pids = job.processes()?;
            let new: Vec<u32> =
                pids.into_iter().filter(|pid| self.0.iter().all(|(it, _)| it != pid)).collect();
            if new.is_empty() {
                return Ok(());
            }
            for pid in new {
                // One that has ended since needs no stop.
                let Some(process) = open(pid)? else { continue };
                // SAFETY: the handle is open.
                answered(unsafe { NtSuspendProcess(process.as_raw_handle()) })?;
                self.0.push((pid, process));
            }
        }
    }

    /// Lets all go on that were stopped.
    ///
    /// # Errors
    /// When the system refuses for one; the others go on.
    pub(super) fn go_on(&mut self) -> io::Result<()> {
        let resume = |(_, process): (u32, OwnedHandle)| {
            // SAFETY: the handle is open.
            answered(unsafe { NtResumeProcess(process.as_raw_handle()) })
        };
        self.0.drain(..).map(resume).fold(Ok(()), io::Result::and)
    }
}

fn open(pid: u32) -> io::Result<Option<OwnedHandle>> {
    // SAFETY: it has no preconditions.
    let process = unsafe { OpenProcess(PROCESS_SUSPEND_RESUME, 0, pid) };
    match done(i32::from(!process.is_null())) {
        // SAFETY: it is open, and nobody else has it.
        Ok(()) => Ok(Some(unsafe { OwnedHandle::from_raw_handle(process) })),
        Err(error) if error.raw_os_error() == i32::try_from(ERROR_INVALID_PARAMETER).ok() => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A status of the system's is below zero where it failed. A process that is about to end is none to stop.
fn answered(status: i32) -> io::Result<()> {
    /// STATUS_PROCESS_IS_TERMINATING.
    const ENDING: i32 = 0xc000_010a_u32.cast_signed();
    match status {
        0.. | ENDING => Ok(()),
        failed => Err(io::Error::other(format!("status {failed:#x}"))),
    }
}
