//! One process of a sandbox, for people.

use crate::Bytes;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// One process of a sandbox as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Process {
    /// Its id, as the host counts: for people, never for signalling.
    pub pid: u32,
    /// Its parent's; of the sandbox's first process, one outside.
    pub parent: u32,
    /// Its command line, cut where it is long, or its name in brackets. The program chooses both: bytes that aren't
    /// UTF-8 are replaced, control characters stay.
    pub command: String,
    /// What it does, as the system's letters say: `R` runs, `S` sleeps, `D` waits for a device, `T` is stopped, `Z` is dead
    /// and not yet waited for (proc_pid_stat(5)); `?` where the system has no such thing.
    pub state: char,
    /// CPU time, without its children's.
    #[serde(rename = "cpu_s", serialize_with = "seconds")]
    pub cpu: Duration,
    /// Memory in its address space now, shared pages included.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
    /// Threads.
    pub threads: u64,
    /// Open files, where the kernel tells (Linux 6.2).
    pub open_files: Option<u64>,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
