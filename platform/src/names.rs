//! Names that policies use: system calls and privileged abilities.
//!
//! They are known on every platform, so that a policy is checked the same everywhere.

use syscalls::{aarch64, x86_64};

/// Whether a system call of this name exists, on any processor that Stockade knows.
pub fn known_syscall(name: &str) -> bool {
    lookup(name).is_some()
}

/// The names of all system calls, each once, in no particular order.
pub fn syscall_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flatten().map(|entry| entry.name)
}

/// Whether a privileged ability of this name exists, written with or without `CAP_`.
pub fn known_capability(name: &str) -> bool {
    capability_names().any(|known| known == name || known.strip_prefix("CAP_") == Some(name))
}

/// The names of all privileged abilities, in the order of their numbers.
pub fn capability_names() -> impl Iterator<Item = &'static str> {
    CAPABILITIES.iter().copied()
}

/// A processor, as far as it numbers system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux numbers them"))]
pub(crate) enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux numbers them"))]
impl Arch {
    /// The highest number that the table has.
    pub(crate) const fn highest(self) -> u32 {
        let last = match self {
            Self::X86_64 => x86_64::Sysno::last().id(),
            Self::Aarch64 => aarch64::Sysno::last().id(),
        };
        last.cast_unsigned()
    }

    /// Whether the table has a name for this number; there are gaps.
    pub(crate) const fn has(self, number: u32) -> bool {
        match self {
            Self::X86_64 => x86_64::Sysno::new(number as usize).is_some(),
            Self::Aarch64 => aarch64::Sysno::new(number as usize).is_some(),
        }
    }

    /// The name of this number; empty where there is none.
    pub(crate) fn name(self, number: u32) -> &'static str {
        match self {
            Self::X86_64 => x86_64::Sysno::new(number as usize).map_or("", |known| known.name()),
            Self::Aarch64 => aarch64::Sysno::new(number as usize).map_or("", |known| known.name()),
        }
    }
}

/// What number a system call has on each processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    name: &'static str,
    x86_64: Option<u16>,
    aarch64: Option<u16>,
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux numbers them"))]
impl Entry {
    /// Its number; `None` where the processor doesn't have it, such as `open` on ARM.
    pub(crate) fn number(&self, arch: Arch) -> Option<u32> {
        match arch {
            Arch::X86_64 => self.x86_64,
            Arch::Aarch64 => self.aarch64,
        }
        .map(u32::from)
    }
}

/// The system call of this name.
pub(crate) fn lookup(name: &str) -> Option<&'static Entry> {
    let mut slot = hash(name);
    while let Some(entry) = &TABLE[slot % SLOTS] {
        if entry.name == name {
            return Some(entry);
        }
        slot += 1;
    }
    None
}

/// Twice the number of names and a bit, so that a look-up ends soon.
const SLOTS: usize = 1024;

/// No processor numbers its system calls higher.
const NUMBERS: u16 = 1024;

/// A hash table made at compile time: every launch looks up some three hundred names, and the search by comparison that
/// the `syscalls` crate offers takes ten times as long as compiling the whole filter.
static TABLE: [Option<Entry>; SLOTS] = table();

const fn table() -> [Option<Entry>; SLOTS] {
    let mut table = [None; SLOTS];
    let mut number = 0;
    while number < NUMBERS {
        if let Some(known) = x86_64::Sysno::new(number as usize) {
            let slot = slot_of(&table, known.name());
            table[slot] = Some(Entry { name: known.name(), x86_64: Some(number), aarch64: None });
        }
        number += 1;
    }
    number = 0;
    while number < NUMBERS {
        if let Some(known) = aarch64::Sysno::new(number as usize) {
            let slot = slot_of(&table, known.name());
            let x86_64 = match table[slot] {
                Some(entry) => entry.x86_64,
                None => None,
            };
            table[slot] = Some(Entry { name: known.name(), x86_64, aarch64: Some(number) });
        }
        number += 1;
    }
    table
}

/// Where `name` is in the table, or the free slot where it belongs.
const fn slot_of(table: &[Option<Entry>; SLOTS], name: &str) -> usize {
    let mut slot = hash(name) % SLOTS;
    while let Some(entry) = &table[slot] {
        if same(entry.name.as_bytes(), name.as_bytes()) {
            return slot;
        }
        slot = (slot + 1) % SLOTS;
    }
    slot
}

/// FNV-1a: short, and good enough for names.
const fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash as usize
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The names of `capabilities(7)`; written down here because the package that knows their numbers is Linux only. A test
/// of the Linux backend keeps the two in step.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_number_of_both_processors_is_found_by_its_name() {
        for number in 0..=Arch::X86_64.highest() {
            if let Some(known) = x86_64::Sysno::new(number as usize) {
                assert_eq!(lookup(known.name()).unwrap().number(Arch::X86_64), Some(number));
            }
        }
        for number in 0..=Arch::Aarch64.highest() {
            if let Some(known) = aarch64::Sysno::new(number as usize) {
                assert_eq!(lookup(known.name()).unwrap().number(Arch::Aarch64), Some(number));
            }
        }
    }

    #[test]
    fn a_name_of_one_processor_has_no_number_on_the_other() {
        let open = lookup("open").unwrap();
        assert_eq!((open.number(Arch::X86_64), open.number(Arch::Aarch64)), (Some(2), None));
    }

    #[test]
    fn each_name_is_listed_once() {
        let names: BTreeSet<_> = syscall_names().collect();
        assert_eq!(names.len(), syscall_names().count());
        assert!(names.contains("file_setattr") && names.contains("renameat"));
    }

    #[test]
    fn an_unknown_name_is_not_known() {
        assert!(!known_syscall("opn") && !known_syscall("") && !known_syscall("Read"));
    }

    #[test]
    fn a_capability_is_known_with_and_without_its_prefix() {
        assert!(known_capability("CAP_NET_RAW") && known_capability("NET_RAW"));
        assert!(!known_capability("CAP_CAP_NET_RAW") && !known_capability("NET"));
    }
}
