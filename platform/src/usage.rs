//! What a sandbox used.

use crate::Bytes;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// What a whole tree used so far. `None` means that the platform couldn't tell, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// CPU time.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// What was read from and written to devices.
    pub io: Option<IoUsage>,
    /// What the directories hold that it may write, where that is limited.
    pub disk: Option<DiskUsage>,
    /// Processes and threads.
    pub pids: PidsUsage,
    /// Open files of all its processes; unknown for a tree of more than 64, where counting would cost too much.
    pub open_files: Option<u64>,
    /// What went over the interfaces of its own network, loopback included; unknown on the host's network.
    pub network: Option<NetworkUsage>,
    /// Time that it waited for what others had.
    pub pressure: PressureUsage,
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
    /// Periods of the CPU limit in which it wanted to run.
    pub periods: Option<u64>,
    /// Those of them in which it was held back.
    pub throttled_periods: Option<u64>,
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
    /// Now, of files: what reading and writing left in the page cache, and files in memory.
    #[serde(rename = "file_bytes")]
    pub file: Option<Bytes>,
    /// Now, of no file: the heaps and stacks of processes.
    #[serde(rename = "anonymous_bytes")]
    pub anonymous: Option<Bytes>,
    /// Swapped out now.
    #[serde(rename = "swap_bytes")]
    pub swap: Option<Bytes>,
    /// Page faults.
    pub faults: Option<u64>,
    /// Those of them that waited for a device.
    pub major_faults: Option<u64>,
}

/// What was read from and written to devices, by device.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct IoUsage {
    /// Each device that was used.
    pub devices: Vec<DeviceUsage>,
}

/// What was read from and written to one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceUsage {
    /// Which one.
    #[serde(rename = "device")]
    pub number: DeviceNumber,
    /// Bytes read.
    #[serde(rename = "read_bytes")]
    pub read: Bytes,
    /// Bytes written.
    #[serde(rename = "written_bytes")]
    pub written: Bytes,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Major and minor number of a block device. Written as the kernel does: `8:0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// What the directories hold that a sandbox may write, with what was there before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskUsage {
    /// Space on the disk.
    #[serde(rename = "used_bytes")]
    pub used: Bytes,
    /// Files, directories and links.
    pub files: u64,
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

/// Traffic over the interfaces of the sandbox's own network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetworkUsage {
    /// Bytes that came in.
    #[serde(rename = "received_bytes")]
    pub received: Bytes,
    /// Bytes that went out.
    #[serde(rename = "sent_bytes")]
    pub sent: Bytes,
}

/// Time that the tree waited for what others had (the kernel's accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PressureUsage {
    /// For a CPU; `full` is what its own limit held back.
    pub cpu: Option<Pressure>,
    /// For memory: reclaim, refaults, swap.
    pub memory: Option<Pressure>,
    /// For devices.
    pub io: Option<Pressure>,
}

/// Time lost to one kind of pressure so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pressure {
    /// With at least one thread waiting.
    #[serde(rename = "some_s", serialize_with = "seconds_plain")]
    pub some: Duration,
    /// With all of them waiting.
    #[serde(rename = "full_s", serialize_with = "seconds_plain")]
    pub full: Duration,
}

fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

fn seconds_plain<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl Serialize for DeviceNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl IoUsage {
    /// All devices together.
    pub fn total(&self) -> DeviceUsage {
        self.devices.iter().fold(DeviceUsage::default(), |sum, one| DeviceUsage {
            number: DeviceNumber::default(),
            read: Bytes(sum.read.0.saturating_add(one.read.0)),
            written: Bytes(sum.written.0.saturating_add(one.written.0)),
            reads: sum.reads.saturating_add(one.reads),
            writes: sum.writes.saturating_add(one.writes),
        })
    }
}

/// The totals, and each device below them.
impl Serialize for IoUsage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let total = self.total();
        let mut io = serializer.serialize_struct("IoUsage", 5)?;
        io.serialize_field("read_bytes", &total.read)?;
        io.serialize_field("written_bytes", &total.written)?;
        io.serialize_field("reads", &total.reads)?;
        io.serialize_field("writes", &total.writes)?;
        io.serialize_field("devices", &self.devices)?;
        io.end()
    }
}

impl Usage {
    /// The same, with what it doesn't know taken from another source.
    #[must_use]
    pub fn or(mut self, other: &Usage) -> Self {
        let (cpu, memory) = (&mut self.cpu, &mut self.memory);
        cpu.user = cpu.user.or(other.cpu.user);
        cpu.system = cpu.system.or(other.cpu.system);
        cpu.throttled = cpu.throttled.or(other.cpu.throttled);
        cpu.periods = cpu.periods.or(other.cpu.periods);
        cpu.throttled_periods = cpu.throttled_periods.or(other.cpu.throttled_periods);
        memory.current = memory.current.or(other.memory.current);
        memory.peak = memory.peak.or(other.memory.peak);
        memory.file = memory.file.or(other.memory.file);
        memory.anonymous = memory.anonymous.or(other.memory.anonymous);
        memory.swap = memory.swap.or(other.memory.swap);
        memory.faults = memory.faults.or(other.memory.faults);
        memory.major_faults = memory.major_faults.or(other.memory.major_faults);
        self.pids.current = self.pids.current.or(other.pids.current);
        self.pids.peak = self.pids.peak.or(other.pids.peak);
        self.open_files = self.open_files.or(other.open_files);
        self.disk = self.disk.or(other.disk);
        self.network = self.network.or(other.network);
        self.pressure.cpu = self.pressure.cpu.or(other.pressure.cpu);
        self.pressure.memory = self.pressure.memory.or(other.pressure.memory);
        self.pressure.io = self.pressure.io.or(other.pressure.io);
        if self.io.is_none() {
            self.io.clone_from(&other.io);
        }
        self
    }

    /// Raises every peak and CPU time to at least that of `earlier`: samples taken while it ran count too, and what a
    /// process used that nobody waited for is known from them alone.
    pub fn keep_peaks_of(&mut self, earlier: &Usage) {
        self.memory.peak = self.memory.peak.max(earlier.memory.peak).max(earlier.memory.current);
        self.pids.peak = self.pids.peak.max(earlier.pids.peak).max(earlier.pids.current);
        self.cpu.user = self.cpu.user.max(earlier.cpu.user);
        self.cpu.system = self.cpu.system.max(earlier.cpu.system);
    }
}
