//! A process that made a call for which it ends.

use super::Program;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::sync::atomic::Ordering;

/// One process, known by its descriptor.
#[derive(Debug)]
pub(super) struct Condemned {
    pidfd: OwnedFd,
    status: Status,
}

/// What is needed of `/proc/PID/status` (proc_pid_status(5)).
#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    /// The process of the thread.
    process: i32,
    /// Its number in each namespace from the reader's to its own.
    numbers: Vec<i32>,
    /// Signals that the thread blocks, and that the process ignores or catches.
    withheld: u64,
}

impl Condemned {
    /// The process of this thread.
    pub(super) fn find(thread: u32) -> Option<Self> {
        let status = Status::parse(&std::fs::read(format!("/proc/{thread}/status")).ok()?)?;
        let pidfd = pidfd_open(Pid::from_raw(status.process)?, PidfdFlags::empty()).ok()?;
        Some(Self { pidfd, status })
    }

    /// Whether it is the program's own process.
    pub(super) fn is(&self, program: &Program) -> bool {
        let pid = program.pid.load(Ordering::Acquire);
        self.status.numbers.get(usize::from(program.inner)) == Some(&pid)
    }

    /// Whether this signal would end it. The first process of a namespace takes only what it asked for.
    pub(super) fn takes(&self, signal: i32) -> bool {
        self.status.withheld & (1 << (signal - 1)) == 0 && self.status.numbers.last() != Some(&1)
    }

    /// Sends what the kernel sends for a forbidden call. A process that is gone is gone.
    pub(super) fn signal_forbidden(&self) {
        pidfd_send_signal(&self.pidfd, Signal::SYS).unwrap_or(());
    }

    pub(super) fn kill(&self) {
        pidfd_send_signal(&self.pidfd, Signal::KILL).unwrap_or(());
    }
}

impl Status {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let mut status = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match key {
                "Tgid" => status.process = value.parse().ok()?,
                "NStgid" => {
                    let numbers = value.split_ascii_whitespace().map(str::parse);
                    status.numbers = numbers.collect::<Result<_, _>>().ok()?;
                }
                "SigBlk" | "SigIgn" | "SigCgt" => {
                    status.withheld |= u64::from_str_radix(value, 16).ok()?;
                }
                _ => {}
            }
        }
        (status.process > 0).then_some(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_thread_is_read() {
        let text =
            b"Name:\tx:y\nTgid:\t4711\nPid:\t4712\nNStgid:\t4711\t2\nSigBlk:\t0000000000000000\n\
                     SigIgn:\t0000000000001000\nSigCgt:\t0000000040000000\n";
        let status = Status::parse(text).unwrap();
        let expected = Status { process: 4711, numbers: vec![4711, 2], withheld: 0x4000_1000 };
        assert_eq!(status, expected);
        assert_eq!(Status::parse(b"Tgid:\t0\n"), None);
        assert_eq!(Status::parse(b"Tgid:\t-\n"), None);
    }
}
