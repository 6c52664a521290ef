//! What a sandbox used.

use crate::Bytes;
use serde::Serialize;
use std::time::Duration;

/// What a whole tree used so far. `None` means that the platform couldn't tell, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// CPU time.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Processes and threads.
    pub pids: PidsUsage,
}

/// CPU time of the whole tree, the dead included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CpuUsage {
    /// In the program's own code.
    #[serde(rename = "user_s", serialize_with = "seconds")]
    pub user: Option<Duration>,
    /// In the kernel.
    #[serde(rename = "system_s", serialize_with = "seconds")]
    pub system: Option<Duration>,
    /// Held back by the CPU limit.
    #[serde(rename = "throttled_s", serialize_with = "seconds")]
    pub throttled: Option<Duration>,
}

/// Memory of the whole tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemoryUsage {
    /// Now.
    #[serde(rename = "current_bytes")]
    pub current: Option<Bytes>,
    /// At most so far.
    #[serde(rename = "peak_bytes")]
    pub peak: Option<Bytes>,
}

/// Processes and threads of the whole tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PidsUsage {
    /// Now.
    pub current: Option<u64>,
    /// At most so far.
    pub peak: Option<u64>,
}

fn seconds<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

impl Usage {
    /// The same, with what it doesn't know taken from another source.
    #[must_use]
    pub fn or(mut self, other: &Usage) -> Self {
        self.cpu.user = self.cpu.user.or(other.cpu.user);
        self.cpu.system = self.cpu.system.or(other.cpu.system);
        self.cpu.throttled = self.cpu.throttled.or(other.cpu.throttled);
        self.memory.current = self.memory.current.or(other.memory.current);
        self.memory.peak = self.memory.peak.or(other.memory.peak);
        self.pids.current = self.pids.current.or(other.pids.current);
        self.pids.peak = self.pids.peak.or(other.pids.peak);
        self
    }

    /// The same with every peak and CPU time raised to at least that of `earlier`: samples taken while it ran count too,
    /// and what a process used that nobody waited for is known from them alone.
    #[must_use]
    pub fn with_peaks_of(mut self, earlier: &Usage) -> Self {
        self.memory.peak = self.memory.peak.max(earlier.memory.peak).max(earlier.memory.current);
        self.pids.peak = self.pids.peak.max(earlier.pids.peak).max(earlier.pids.current);
        self.cpu.user = self.cpu.user.max(earlier.cpu.user);
        self.cpu.system = self.cpu.system.max(earlier.cpu.system);
        self
    }
}
