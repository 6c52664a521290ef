//! The runner inside: does the job and reports every step of it.

use super::{Channel, delegation};
use crate::failure::{Attempt, Result};
use crate::frame::Frame;
use crate::identity::Identity;
use crate::job::{Job, Task};
use crate::process::{self, Leftovers};
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Runs the job at `job` and reports on `frames`.
///
/// # Errors
///
/// When the job can't be read or the host can't be told.
pub fn work(job: &Path, frames: &Path) -> Result<()> {
    let job = Job::read(job)?;
    let mut channel = Channel::open(frames, &job.token)?;
    // The machine's last memory is for the one who reports; `enter` undoes this for every test.
    fs::write("/proc/self/oom_score_adj", "-1000").attempt(|| "failed to protect the runner")?;
    let leftovers = Leftovers::adopt()?;
    let code = match &job.task {
        Task::Shell { command, as_user } => shell(&mut channel, &job, command, *as_user)?,
        Task::Tests(cases) => {
            for (index, case) in cases.iter().enumerate() {
                channel.send(&Frame::Started { index })?;
                let mut command =
                    process::test_command(case, &identity(case.as_user), &job.environment);
                let mut outcome = process::run(&mut command, Duration::from_secs(case.timeout_s));
                outcome.notes.extend(leftovers.end());
                outcome.notes.extend(delegation::sweep());
                channel.send(&Frame::Finished { index, outcome })?;
            }
            0
        }
    };
    channel.send(&Frame::Bye { code })
}

fn identity(as_user: bool) -> Identity {
    if as_user { Identity::guest_user() } else { Identity::guest_root() }
}

/// Runs a shell command and passes its output on as it comes. It has no limit here: the host ends
/// a guest that takes too long.
fn shell(channel: &mut Channel, job: &Job, command: &str, as_user: bool) -> Result<i32> {
    let (mut reader, writer) = std::io::pipe().attempt(|| "failed to make a pipe")?;
    let errors = writer.try_clone().attempt(|| "failed to make a pipe")?;
    let mut shell = identity(as_user).command(Path::new("/bin/sh"), &job.environment);
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(writer).stderr(errors);
    if let Some(directory) = job.keep.first() {
        shell.current_dir(directory);
    }
    let mut child = shell.spawn().attempt(|| "failed to start the shell")?;
    // The command holds the pipe's ends too; ours must go, or the end is never seen.
    drop(shell);
    let mut buffer = [0_u8; 8192];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                channel.send(&Frame::Output(text.into_owned()))?;
            }
        }
    }
    let status = child.wait().attempt(|| "failed to wait for the shell")?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}
