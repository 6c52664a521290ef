//! Talking to a sandbox from another process of the same user: see it, pause it, end it.
//!
//! Whoever started a sandbox holds its cgroup and its descriptors, knows its limits, and must know of every end that somebody
//! asked for, to tell the truth about it. So nobody else touches it: requests come to the starter's socket, one JSON
//! object a line, and so do the answers.

pub mod client;
mod executing;
mod server;

pub(crate) use server::{Asked, Server};

use crate::error::Error;
use crate::platform::{BoxFuture, Execution, Limits, Process, Usage};
use crate::sandbox::Consequence;
use serde::{Deserialize, Serialize};

/// What can be asked of a sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// What it is and uses.
    Status {
        /// With its processes, one by one.
        processes: bool,
    },
    /// Stop every process.
    Pause,
    /// Let every process go on.
    Resume,
    /// End the whole tree now.
    Kill,
    /// Change its limits.
    Update {
        /// Keys and values as on a command line: `limits.memory`, `512MiB`.
        set: Vec<(String, String)>,
        /// Where relative paths start.
        directory: String,
        /// Only tell what it would do at once.
        dry_run: bool,
    },
    /// Start another program inside, behind the same walls. The answer asks for its streams, which come as three descriptors
    /// with one byte; then it is told when it is executed, and how it ended. Whoever leaves before takes it along.
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Send a signal to the program that was started over this connection.
    Signal {
        /// Its name, such as `SIGTERM`.
        signal: String,
    },
    /// Ask the program to end, and end the tree after a grace.
    Stop {
        /// Seconds; the policy's when `None`.
        grace_s: Option<f64>,
    },
}

/// What a sandbox is and uses now.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Version of this form: 1. Fields may be added to a version, not changed.
    pub version: u32,
    /// Its name.
    pub id: String,
    /// The program and its arguments; bytes that aren't UTF-8 are written `\xNN`.
    pub command: Vec<String>,
    /// Name of its policy.
    pub policy: String,
    /// When it was started, in UTC (RFC 3339).
    pub started_at: String,
    /// Since then.
    pub age_s: f64,
    /// Process id of its first process, as the host counts.
    pub pid: u32,
    /// Whether it stands still.
    pub paused: bool,
    /// Its limits.
    pub limits: Limits,
    /// What it used so far.
    pub usage: Usage,
    /// Its processes, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<Vec<Process>>,
}

/// What a sandbox answers.
#[derive(Debug, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Response {
    Done,
    Status {
        status: Box<Status>,
    },
    /// What an update does at once.
    Consequences {
        consequences: Vec<Consequence>,
    },
    Failed {
        message: String,
    },
    /// The three streams of a program are expected.
    Streams,
    Executed {
        pid: u32,
    },
    Exited {
        code: i32,
    },
    Signalled {
        signal: i32,
    },
    /// The program wasn't executed; 126 and 127 as shells have them.
    NotExecuted {
        message: String,
        hint: Option<String>,
        exit_code: u8,
    },
}

/// What is answered at once, and what takes its time.
pub(crate) enum Reply {
    Said(Response),
    /// A program that enters.
    Enters(BoxFuture<'static, Result<Execution, Error>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_the_one_that_was_written() {
        // Such a number is easily read as its neighbour.
        let request = Request::Stop { grace_s: Some(3.690_901_458_134_666e-8) };
        let text = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<Request>(&text).unwrap(), request);
    }
}
