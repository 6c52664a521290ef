//! What this system's jobs keep of what they are told, found out with jobs in which nothing ever runs.

use super::birth::Command;
use super::job::Job;
use super::support::TRIALS;
use crate::{Control, Fact, LaunchPlan, Stdio, StdioSet};
use std::io;
use std::os::windows::io::AsRawHandle;
use std::sync::OnceLock;
use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::Threading::WaitForSingleObject;

/// How long a process may take to end when its job is gone, in milliseconds.
const PATIENCE: u32 = 2_000;

/// The controls that jobs don't hold here, each with why. It stays so while this process lives.
pub(super) fn lost() -> &'static [(Control, String)] {
    static LOST: OnceLock<Vec<(Control, String)>> = OnceLock::new();
    LOST.get_or_init(|| {
        TRIALS
            .iter()
            .filter_map(|(control, setting)| {
                let told = Job::new().map(|job| job.tell(&[*setting]).pop());
                let why = match told {
                    Ok(None) => return None,
                    Ok(Some((_, error))) => error.to_string(),
                    Err(error) => format!("no job can be made: {error}"),
                };
                // Wine does it, and doesn't say so.
                if *control == Control::Lifetime && ends_with_its_last_handle().unwrap_or(false) {
                    return None;
                }
                Some((*control, format!("a job doesn't keep it ({why})")))
            })
            .collect()
    })
}

/// What was found, for people.
pub(super) fn facts() -> Vec<Fact> {
    let lost = lost();
    if lost.is_empty() {
        return vec![Fact::good("jobs", "they keep every limit that they are told")];
    }
    let names: Vec<&str> = lost.iter().map(|(control, _)| control.name()).collect();
    let consequence = format!("these aren't held by a job: {}", names.join(", "));
    vec![Fact::bad("jobs", "they lose limits that they are told", consequence, "")]
}

/// Whether a process ends with the last handle of its job: one that never began to run is put into one.
fn ends_with_its_last_handle() -> io::Result<bool> {
    let own = std::env::current_exe()?;
    let plan = LaunchPlan::new("trial", vec![own.into()]);
    let failed = |error: crate::PlatformError| io::Error::other(error.to_string());
    let job = Job::new()?;
    job.tell(&[super::limits::Setting::KillOnClose]);
    let stdio = StdioSet {
        stdin: Stdio::Null,
        stdout: Stdio::Null,
        stderr: Stdio::Null,
        ..StdioSet::default()
    };
    let born = Command::of(&plan).and_then(|mut it| it.start(&job, stdio, true)).map_err(failed)?;
    drop(job);
    // SAFETY: the handle is open.
    let answer = unsafe { WaitForSingleObject(born.process.as_raw_handle(), PATIENCE) };
    if answer != WAIT_OBJECT_0 {
        // SAFETY: the handle is open.
        unsafe {
            windows_sys::Win32::System::Threading::TerminateProcess(born.process.as_raw_handle(), 1)
        };
    }
    Ok(answer == WAIT_OBJECT_0)
}
