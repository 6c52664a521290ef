//! Processes that Stockade didn't start, and only looks at.

use std::path::PathBuf;

/// Which process is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Whom {
    /// The one that has this number now.
    Pid(u32),
    /// The one whose number stands in this file of the host.
    PidFile(PathBuf),
    /// The only one with this name (proc_pid_comm(5)).
    Name(String),
}

/// A process to be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Which one.
    pub whom: Whom,
    /// Whether it may be asked to end, and killed; else it is never sent anything.
    pub stop: bool,
}
