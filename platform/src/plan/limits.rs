//! Quotas.

use crate::{Bytes, Control, Cores, IdSet, IoLimit, Rate};
use serde::{Serialize, Serializer};
use std::time::Duration;

/// Quotas; `None` is "no limit asked for".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// Memory of the whole tree.
    pub memory: Option<Bytes>,
    /// Memory above which the tree is slowed and reclaimed.
    pub memory_high: Option<Bytes>,
    /// Time that the whole tree may wait for memory within twice that time: a tree that does nothing else is ended.
    #[serde(serialize_with = "seconds")]
    pub memory_stall: Option<Duration>,
    /// Memory that is never taken from the tree.
    pub memory_min: Option<Bytes>,
    /// Memory that is taken from the tree only when nothing else is left to take.
    pub memory_low: Option<Bytes>,
    /// Whom the end of the memory takes.
    pub oom_kill: OomKill,
    /// Swap of the whole tree.
    pub swap: Option<Bytes>,
    /// Memory for compressed swap.
    pub zswap: Option<Bytes>,
    /// Memory in huge pages, of each size.
    pub huge_pages: Option<Bytes>,
    /// CPU bandwidth.
    pub cpu: Option<Cores>,
    /// Share of a contended CPU, 1 to 10,000; 100 is the usual share.
    pub cpu_weight: Option<u32>,
    /// CPU time that an idle tree may save up and use above its bandwidth.
    #[serde(serialize_with = "seconds")]
    pub cpu_burst: Option<Duration>,
    /// Whether it runs only when nothing else wants the CPU.
    pub cpu_idle: bool,
    /// CPUs that the tree may run on.
    pub cpus: Option<IdSet>,
    /// Memory nodes that the tree may allocate from.
    pub mems: Option<IdSet>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Rates of disks, by a path on each.
    pub io: Vec<IoLimit>,
    /// Share of a contended disk, 1 to 10,000; 100 is the usual share.
    pub io_weight: Option<u32>,
    /// Bytes that the directories which it may write hold together, with what is there already.
    pub disk: Option<Bytes>,
    /// Files, directories and links that they hold together.
    pub disk_files: Option<u32>,
    /// What it may send to the network.
    pub network_send: Option<Rate>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Size of any file written.
    pub file_size: Option<Bytes>,
    /// Size of a core dump.
    pub core_size: Option<Bytes>,
    /// Size of a process's stack.
    pub stack: Option<Bytes>,
    /// Memory that a process may lock.
    pub locked_memory: Option<Bytes>,
    /// Realtime priority that a process may take, 0 to 99.
    pub realtime: Option<u32>,
    /// Niceness that the program starts with, 0 to 19.
    pub nice: Option<u32>,
    /// Bytes that the program may write to its standard output and error together.
    pub output: Option<Bytes>,
    /// Time from start to end.
    #[serde(serialize_with = "seconds")]
    pub wall_time: Option<Duration>,
    /// CPU time of the tree.
    #[serde(serialize_with = "seconds")]
    pub cpu_time: Option<Duration>,
    /// Time between the polite signal and the kill when a time limit ends the sandbox. Zero kills at once.
    #[serde(serialize_with = "seconds_plain")]
    pub grace: Duration,
}

impl Limits {
    /// Whether they say anything of this control; nothing of what is no limit.
    pub fn sets(&self, control: Control) -> bool {
        match control {
            Control::Memory => self.memory.is_some(),
            Control::MemoryHigh => self.memory_high.is_some(),
            Control::MemoryStall => self.memory_stall.is_some(),
            Control::MemoryMin => self.memory_min.is_some(),
            Control::MemoryLow => self.memory_low.is_some(),
            Control::Swap => self.swap.is_some(),
            Control::Zswap => self.zswap.is_some(),
            Control::HugePages => self.huge_pages.is_some(),
            Control::Cpu => self.cpu.is_some(),
            // What runs only when nothing else wants the CPU has no share of it.
            Control::CpuWeight => self.cpu_weight.is_some() && !self.cpu_idle,
            Control::CpuBurst => self.cpu_burst.is_some(),
            Control::CpuIdle => self.cpu_idle,
            Control::Cpus => self.cpus.is_some(),
            Control::Mems => self.mems.is_some(),
            Control::Pids => self.pids.is_some(),
            Control::Io => !self.io.is_empty(),
            Control::IoWeight => self.io_weight.is_some(),
            Control::Disk => self.disk.is_some(),
            Control::DiskFiles => self.disk_files.is_some(),
            Control::NetworkSend => self.network_send.is_some(),
            Control::OpenFiles => self.open_files.is_some(),
            Control::FileSize => self.file_size.is_some(),
            Control::CoreSize => self.core_size.is_some(),
            Control::Stack => self.stack.is_some(),
            Control::LockedMemory => self.locked_memory.is_some(),
            Control::Realtime => self.realtime.is_some(),
            Control::Nice => self.nice.is_some(),
            Control::Output => self.output.is_some(),
            Control::WallTime => self.wall_time.is_some(),
            Control::CpuTime => self.cpu_time.is_some(),
            _ => false,
        }
    }
}

/// Whom the kernel kills when the memory limit is reached and nothing can be reclaimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OomKill {
    /// Every process of the tree: none goes on with a hole in it.
    #[default]
    Tree,
    /// The process that the kernel picks, usually the largest; the others go on.
    Process,
}

fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&time.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}

fn seconds_plain<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
