//! How one run of a program came out, and whether that counts as success.

use crate::platform::Control;
use crate::report::{Cause, ExitReport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// How one run came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it that none of the others explains.
    Signalled(i32),
    /// It wasn't ready in time.
    StartTimedOut,
    /// It didn't end in time when it was asked to, and was killed.
    StopTimedOut,
    /// It ran longer than it may, by a limit of its policy or of its service.
    RunTimedOut,
    /// It didn't say in time that it was alive.
    Watchdog,
    /// The probe of whether it lives failed too often.
    Liveness,
    /// The probe of whether it has started failed too often.
    StartupProbe,
    /// It ran out of memory.
    OutOfMemory,
    /// It exceeded this limit.
    Limit(Control),
    /// A forbidden system call ended it.
    Denied,
    /// Its program ended and left nothing that goes on (`type = "forking"`).
    NoMainProcess,
    /// It never ran, for this reason.
    NotLaunched(String),
    /// What it depends on, by its name, failed.
    Dependency(String),
    /// Nobody saw how it ended.
    Unobserved,
}

impl Outcome {
    /// What a report says.
    pub fn of(report: &ExitReport) -> Self {
        let signalled = || report.signal.map_or(Self::Unobserved, Self::Signalled);
        match report.cause {
            Cause::Exited | Cause::Stopped => report.exit_code.map_or_else(signalled, Self::Exited),
            Cause::Signalled => signalled(),
            Cause::OutOfMemory => Self::OutOfMemory,
            Cause::TimedOut => Self::RunTimedOut,
            Cause::Denied => Self::Denied,
            Cause::LimitExceeded => report.limit.map_or(Self::Unobserved, Self::Limit),
            Cause::Unobserved => Self::Unobserved,
            Cause::LaunchFailed => Self::NotLaunched(report.error.clone().unwrap_or_default()),
        }
    }

    /// What kind of end it was, in one word: for machines, which take the figures elsewhere.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Exited(0) => "success",
            Self::Exited(_) => "exit_code",
            Self::Signalled(_) => "signal",
            Self::StartTimedOut => "timeout_start",
            Self::StopTimedOut => "timeout_stop",
            Self::RunTimedOut => "timeout_run",
            Self::Watchdog => "watchdog",
            Self::Liveness => "liveness",
            Self::StartupProbe => "startup_probe",
            Self::OutOfMemory => "oom_kill",
            Self::Limit(_) => "resource_limit",
            Self::Denied => "denied",
            Self::NoMainProcess => "protocol",
            Self::NotLaunched(_) => "spawn_error",
            Self::Dependency(_) => "dependency",
            Self::Unobserved => "unobserved",
        }
    }

    /// Whose account a restart after it is on, for a program that had become ready.
    pub(super) fn cause(&self) -> Trouble {
        match self {
            Self::Watchdog | Self::Liveness | Self::StartupProbe => Trouble::Health,
            Self::OutOfMemory | Self::Limit(_) => Trouble::Limit,
            Self::NoMainProcess
            | Self::NotLaunched(_)
            | Self::StartTimedOut
            | Self::Dependency(_) => Trouble::Start,
            Self::Exited(_)
            | Self::Signalled(_)
            | Self::StopTimedOut
            | Self::RunTimedOut
            | Self::Denied
            | Self::Unobserved => Trouble::Run,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Signalled(number) => write!(f, "ended by signal {number}"),
            Self::StartTimedOut => f.write_str("wasn't ready in time"),
            Self::StopTimedOut => f.write_str("didn't stop in time and was killed"),
            Self::RunTimedOut => f.write_str("ran longer than it may"),
            Self::Watchdog => f.write_str("didn't say in time that it lives"),
            Self::Liveness => f.write_str("the liveness probe failed"),
            Self::StartupProbe => f.write_str("the startup probe failed"),
            Self::OutOfMemory => f.write_str("ran out of memory"),
            Self::Limit(control) => write!(f, "exceeded `{control}`"),
            Self::Denied => f.write_str("made a forbidden system call"),
            Self::NoMainProcess => f.write_str("its program ended and left nothing that goes on"),
            Self::NotLaunched(reason) => write!(f, "not launched: {reason}"),
            Self::Dependency(name) => write!(f, "`{name}` failed, which it needs"),
            Self::Unobserved => f.write_str("nobody saw how it ended"),
        }
    }
}

/// What kind of trouble a restart is for. Each has a budget of its own: a program that never starts is another matter than one
/// that runs out of memory once a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trouble {
    /// It ended before it was ready.
    Start,
    /// It ended after it was ready.
    Run,
    /// It was ended because it didn't do well.
    Health,
    /// It was ended for a limit.
    Limit,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Run => "run",
            Self::Health => "health",
            Self::Limit => "limit",
        })
    }
}

/// An exit code or the number of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ExitStatus {
    /// What a program exited with.
    Code(i32),
    /// What ended it.
    Signal(i32),
}

/// Which ends count as success, and which decide about a restart whatever else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExitStatuses {
    /// Success, beside exit code 0 and the signals that end a program politely (systemd.service(5), `SuccessExitStatus=`).
    pub success: BTreeSet<ExitStatus>,
    /// No restart after these.
    pub prevent: BTreeSet<ExitStatus>,
    /// A restart after these.
    pub force: BTreeSet<ExitStatus>,
}

/// SIGHUP, SIGINT, SIGPIPE and SIGTERM: somebody asked, or nobody reads any more.
const POLITE: [i32; 4] = [1, 2, 13, 15];

impl ExitStatuses {
    /// Whether this is success.
    pub fn is_success(&self, outcome: &Outcome) -> bool {
        match status(outcome) {
            Some(ExitStatus::Code(0)) => true,
            Some(ExitStatus::Signal(number)) if POLITE.contains(&number) => true,
            Some(status) => self.success.contains(&status),
            None => false,
        }
    }

    /// Whether a restart is decided by these lists alone.
    pub(super) fn decided(&self, outcome: &Outcome) -> Option<bool> {
        let status = status(outcome)?;
        if self.prevent.contains(&status) {
            return Some(false);
        }
        self.force.contains(&status).then_some(true)
    }
}

fn status(outcome: &Outcome) -> Option<ExitStatus> {
    match outcome {
        Outcome::Exited(code) => Some(ExitStatus::Code(*code)),
        Outcome::Signalled(number) => Some(ExitStatus::Signal(*number)),
        _ => None,
    }
}
