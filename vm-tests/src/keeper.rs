//! The process between a run and a machine: it ends the machine when the run is gone.
//!
//! A run can be interrupted or killed, and then nothing of it is left to clean up. A signal at the
//! parent's death would reach only one process, but user-mode Linux is several; so the keeper holds
//! a pipe whose other end only the run has, and ends the machine's whole group when that closes.

use crate::failure::{Attempt, Failure, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

/// Runs `-- PROGRAM ARGUMENT...` until it ends or stdin does. Returns the program's exit code.
///
/// # Errors
///
/// When the program can't be started.
pub fn keep(arguments: &[String]) -> Result<u8> {
    let Some((program, arguments)) = arguments.get(1..).and_then(<[String]>::split_first) else {
        return Err(Failure::new("`keep` needs a program"));
    };
    let attempt = || format!("failed to keep `{program}`");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .attempt(|| format!("failed to start `{program}`"))?;
    let leader = Pid::from_child(&child);
    let ended = pidfd_open(leader, PidfdFlags::empty()).attempt(attempt)?;
    let run = std::io::stdin();
    let mut events = [PollFd::new(&ended, PollFlags::IN), PollFd::new(&run, PollFlags::IN)];
    while matches!(poll(&mut events, None), Err(rustix::io::Errno::INTR)) {}
    // Before the leader is reaped: until then its number can't mean another group.
    kill_process_group(leader, Signal::KILL).ok();
    let status = child.wait().attempt(attempt)?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_without_a_program_is_refused() {
        assert!(keep(&["--".to_owned()]).is_err());
    }
}
