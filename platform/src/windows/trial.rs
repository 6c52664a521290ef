//! What this system's jobs and tokens keep of what they are told, found out with processes that never begin to run.

use super::birth::{Born, Command};
use super::job::Job;
use super::support::TRIALS;
use super::token::Token;
use crate::{Control, Fact, LaunchPlan, PlatformError, Stdio, StdioSet};
use std::io;
use std::os::windows::io::AsRawHandle;
use std::sync::OnceLock;
use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::Threading::{TerminateProcess, WaitForSingleObject};

/// How long a process may take to end when its job is gone, in milliseconds.
const PATIENCE: u32 = 2_000;

/// The controls that jobs don't hold here, each with why. It stays so while this process lives.
pub(super) fn lost() -> &'static [(Control, String)] {
    static LOST: OnceLock<Vec<(Control, String)>> = OnceLock::new();
    LOST.get_or_init(|| {
        let jobs = TRIALS.iter().filter_map(|(control, setting)| {
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
        });
        let [restricted, low] = tokens().map(|tried| tried.err().map(|why| why.to_string()));
        let restricted = restricted
            .map(|why| (Control::Capabilities, format!("no token is restricted ({why})")));
        let low = low.map(|why| (Control::Filesystem, format!("no token is lowered ({why})")));
        jobs.chain(restricted).chain(low).collect()
    })
}

/// Whether a process can be had without privileges, and with low integrity. Neither begins to run.
fn tokens() -> [io::Result<()>; 2] {
    let restricted = Token::restricted().and_then(|token| born(&token));
    let low = Token::restricted().and_then(|token| token.lower().and_then(|()| born(&token)));
    [restricted, low]
}

/// Tries whether a process becomes who a token says.
fn born(token: &Token) -> io::Result<()> {
    let job = Job::new()?;
    let born = never_runs(&job, Some(token))?;
    end(&born);
    Ok(())
}

/// A process that never begins to run.
fn never_runs(job: &Job, token: Option<&Token>) -> io::Result<Born> {
    let own = std::env::current_exe()?;
    let plan = LaunchPlan::new("trial", vec![own.into()]);
    let failed = |error: PlatformError| {
        let why = std::error::Error::source(&error).map(|why| format!(": {why}"));
        io::Error::other(format!("{error}{}", why.unwrap_or_default()))
    };
    let stdio = StdioSet {
        stdin: Stdio::Null,
        stdout: Stdio::Null,
        stderr: Stdio::Null,
        ..StdioSet::default()
    };
    Command::of(&plan).and_then(|mut it| it.start(job, token, stdio, true)).map_err(failed)
}

fn end(born: &Born) {
    // SAFETY: the handle is open; one that has ended is as good.
    unsafe { TerminateProcess(born.process.as_raw_handle(), 1) };
}

/// What was found, for people.
pub(super) fn facts() -> Vec<Fact> {
    let lost = lost();
    if lost.is_empty() {
        return vec![Fact::good("jobs", "they and tokens keep all that they are told")];
    }
    let names: Vec<&str> = lost.iter().map(|(control, _)| control.name()).collect();
    let consequence = format!("these aren't held: {}", names.join(", "));
    vec![Fact::bad("jobs", "they and tokens lose what they are told", consequence, "")]
}

/// Whether a process ends with the last handle of its job: one that never began to run is put into one.
fn ends_with_its_last_handle() -> io::Result<bool> {
    let job = Job::new()?;
    job.tell(&[super::limits::Setting::KillOnClose]);
    let born = never_runs(&job, None)?;
    drop(job);
    // SAFETY: the handle is open.
    let answer = unsafe { WaitForSingleObject(born.process.as_raw_handle(), PATIENCE) };
    if answer != WAIT_OBJECT_0 {
        end(&born);
    }
    Ok(answer == WAIT_OBJECT_0)
}
