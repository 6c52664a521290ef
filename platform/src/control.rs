//! The table of controls: everything a policy can ask of a platform.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// One thing a policy can ask for and a platform can enforce, do in part, or not have.
///
/// The name of a control is what `[degrade] allow`, the report and `doctor` use; limits are named as their policy key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Control {
    /// Memory of the whole tree; going over ends the sandbox.
    Memory,
    /// Memory above which the tree is slowed down and reclaimed.
    MemoryHigh,
    /// Time that the whole tree may wait for memory.
    MemoryStall,
    /// Memory that other programs' needs never take from the tree.
    MemoryMin,
    /// Memory that is taken from the tree only when nothing else is left to take.
    MemoryLow,
    /// Swap of the whole tree.
    Swap,
    /// Memory for compressed swap.
    Zswap,
    /// Memory in huge pages.
    HugePages,
    /// CPU bandwidth, in cores.
    Cpu,
    /// Share of the CPU when it is contended.
    CpuWeight,
    /// CPU time that an idle tree may save up and use above its bandwidth.
    CpuBurst,
    /// Runs only when nothing else wants the CPU.
    CpuIdle,
    /// CPUs that the tree may run on.
    Cpus,
    /// Memory nodes that the tree may allocate from.
    Mems,
    /// Number of processes and threads.
    Pids,
    /// What is read from and written to disks.
    Io,
    /// Share of a contended disk.
    IoWeight,
    /// What the writable directories hold.
    Disk,
    /// Number of files and directories that the writable directories hold.
    DiskFiles,
    /// What is sent to the network.
    NetworkSend,
    /// Open files of each process.
    OpenFiles,
    /// Size of any file a process writes.
    FileSize,
    /// Size of a core dump.
    CoreSize,
    /// Size of a process's stack.
    Stack,
    /// Memory that a process may lock.
    LockedMemory,
    /// Realtime priority that a process may take.
    Realtime,
    /// Niceness that the program starts with and can't lower.
    Nice,
    /// What the program writes to its standard output and error.
    Output,
    /// Time from start to end.
    WallTime,
    /// CPU time of the whole tree.
    CpuTime,
    /// No process of the tree outlives the sandbox, or the program that started it.
    Lifetime,
    /// Processes outside are invisible and can't be signalled.
    Processes,
    /// System V and POSIX message objects are the sandbox's own.
    Ipc,
    /// Its own host name.
    Hostname,
    /// Its own clock offsets.
    Clock,
    /// The quota tree of the host is out of sight.
    QuotaView,
    /// Its own view of files: only what the policy names exists.
    Filesystem,
    /// A second wall of the same file rules, held by the kernel for the program's process and its children.
    AccessRules,
    /// Changes to what is copied on write stay away from the host's files.
    Overlay,
    /// What of the network can be reached.
    Network,
    /// TCP ports that can be bound and connected to.
    TcpPorts,
    /// An unprivileged host identity.
    User,
    /// More users and groups inside than the program's own.
    Ids,
    /// Supplementary groups of the caller are dropped.
    Groups,
    /// Privileged abilities of the program.
    Capabilities,
    /// No program started inside can gain privileges.
    NoNewPrivileges,
    /// No descriptor of the caller but the three standard ones is inherited.
    Descriptors,
    /// Which system calls the program may make.
    Syscalls,
}

/// Name and meaning of every control, in the order in which reports show them.
const TABLE: &[(Control, &str, &str)] = &[
    (Control::Memory, "limits.memory", "memory of the whole tree; going over ends the sandbox"),
    (
        Control::MemoryHigh,
        "limits.memory_high",
        "memory above which the tree is slowed and reclaimed",
    ),
    (Control::MemoryStall, "limits.memory_stall", "time that the whole tree may wait for memory"),
    (Control::MemoryMin, "limits.memory_min", "memory that is never taken from the tree"),
    (Control::MemoryLow, "limits.memory_low", "memory that is taken from the tree last"),
    (Control::Swap, "limits.swap", "swap of the whole tree"),
    (Control::Zswap, "limits.zswap", "memory for compressed swap"),
    (Control::HugePages, "limits.huge_pages", "memory in huge pages, of each size"),
    (Control::Cpu, "limits.cpu", "CPU bandwidth in cores"),
    (Control::CpuWeight, "limits.cpu_weight", "share of a contended CPU"),
    (Control::CpuBurst, "limits.cpu_burst", "CPU time saved up while idle"),
    (Control::CpuIdle, "limits.cpu_idle", "runs only when nothing else wants the CPU"),
    (Control::Cpus, "limits.cpus", "CPUs that the tree may run on"),
    (Control::Mems, "limits.mems", "memory nodes that the tree may allocate from"),
    (Control::Pids, "limits.pids", "number of processes and threads"),
    (Control::Io, "limits.io", "rates of reading and writing, by a path on the disk"),
    (Control::IoWeight, "limits.io_weight", "share of a contended disk"),
    (Control::Disk, "limits.disk", "bytes that the writable directories may hold"),
    (Control::DiskFiles, "limits.disk_files", "files that the writable directories may hold"),
    (Control::NetworkSend, "limits.network_send", "rate of what is sent to the network"),
    (Control::OpenFiles, "limits.open_files", "open files of each process"),
    (Control::FileSize, "limits.file_size", "size of any file a process writes"),
    (Control::CoreSize, "limits.core_size", "size of a core dump"),
    (Control::Stack, "limits.stack", "size of a process's stack"),
    (Control::LockedMemory, "limits.locked_memory", "memory that a process may lock"),
    (Control::Realtime, "limits.realtime", "realtime priority that a process may take"),
    (Control::Nice, "limits.nice", "niceness that the program starts with and can't lower"),
    (Control::Output, "limits.output", "bytes written to standard output and error"),
    (Control::WallTime, "limits.wall_time", "time from start to end"),
    (Control::CpuTime, "limits.cpu_time", "CPU time of the whole tree"),
    (Control::Lifetime, "lifetime", "nothing of the tree outlives the sandbox or its starter"),
    (Control::Processes, "isolation.processes", "processes outside are invisible"),
    (Control::Ipc, "isolation.ipc", "message queues, semaphores and shared memory are its own"),
    (Control::Hostname, "isolation.hostname", "its own host name"),
    (Control::Clock, "isolation.clock", "its own clock offsets"),
    (Control::QuotaView, "isolation.quota_view", "the host's quota tree is out of sight"),
    (Control::Filesystem, "filesystem.view", "only the files that the policy names exist"),
    (
        Control::AccessRules,
        "filesystem.access_rules",
        "the same file rules again, as a second wall",
    ),
    (
        Control::Overlay,
        "filesystem.overlay",
        "what is changed of a copy stays as it is on the host",
    ),
    (Control::Network, "network.mode", "what of the network can be reached"),
    (Control::TcpPorts, "network.tcp_ports", "TCP ports that can be bound and connected to"),
    (Control::User, "identity.user", "an unprivileged host identity"),
    (Control::Ids, "identity.ids", "more users and groups inside than the program's own"),
    (Control::Groups, "identity.groups", "the caller's supplementary groups are dropped"),
    (Control::Capabilities, "capabilities", "privileged abilities are dropped"),
    (Control::NoNewPrivileges, "no_new_privileges", "no program inside can gain privileges"),
    (Control::Descriptors, "descriptors", "no descriptor but the standard three is inherited"),
    (Control::Syscalls, "syscalls", "only the listed system calls"),
];

impl Control {
    /// Every control, in report order.
    pub fn all() -> impl Iterator<Item = Control> {
        TABLE.iter().map(|(control, ..)| *control)
    }

    fn row(self) -> (&'static str, &'static str) {
        TABLE
            .iter()
            .find(|(control, ..)| *control == self)
            .map_or(("", ""), |(_, name, doc)| (*name, *doc))
    }

    /// The name that policies and reports use, such as `limits.memory`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Whether it is a limit; else it is a wall.
    pub fn is_limit(self) -> bool {
        self.name().starts_with("limits.")
    }

    /// One line of meaning, without a full stop.
    pub fn summary(self) -> &'static str {
        self.row().1
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Control {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Control {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is no control's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such control")]
pub struct UnknownControl;

impl FromStr for Control {
    type Err = UnknownControl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TABLE
            .iter()
            .find(|(_, name, _)| *name == text)
            .map(|(control, ..)| *control)
            .ok_or(UnknownControl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_has_one_row_and_a_name_that_parses_back() {
        let mut seen = std::collections::BTreeSet::new();
        for control in Control::all() {
            assert!(seen.insert(control.name()), "{control} is listed twice");
            assert_eq!(control.name().parse(), Ok(control));
            assert!(!control.summary().is_empty());
        }
        // The last variant closes the enum; a new one must be added to the table and here.
        assert_eq!(seen.len(), Control::Syscalls as usize + 1);
    }
}
