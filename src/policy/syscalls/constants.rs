//! Names for the values of arguments, such as `AF_UNIX`: what policies write and people are shown.
//!
//! Values are Linux's (the headers in include/uapi), and the same on every processor that Stockade knows; what differs between
//! them, such as `O_DIRECTORY`, isn't here. Names are known on every platform, so that a policy is checked the same
//! everywhere.

use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;

#[rustfmt::skip]
mod table;

use table::FAMILIES;

/// Names of values of one kind.
#[derive(Debug)]
struct Family {
    /// What they have in common, mostly how they begin.
    name: &'static str,
    kind: Kind,
    names: &'static [(&'static str, u64)],
}

/// How values of a family go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A value is one of them.
    Choice,
    /// A value is a set of bits, each with a name.
    Flags,
    /// The bits of this mask are one of them, the others are flags.
    Low(u64),
}

/// Which family an argument of a call belongs to.
const ARGUMENTS: &[(&str, u8, &str)] = &[
    ("bpf", 0, "BPF"),
    ("clone", 0, "CLONE"),
    ("fcntl", 1, "F"),
    ("getsockopt", 1, "SOL"),
    ("ioctl", 1, "TIOC"),
    ("keyctl", 0, "KEYCTL"),
    ("kill", 1, "SIG"),
    ("madvise", 2, "MADV"),
    ("memfd_create", 1, "MFD"),
    ("mmap", 2, "PROT"),
    ("mmap", 3, "MAP"),
    ("mount", 3, "MS"),
    ("mprotect", 2, "PROT"),
    ("personality", 0, "PERSONALITY"),
    ("pkey_mprotect", 2, "PROT"),
    ("prctl", 0, "PR"),
    ("ptrace", 0, "PTRACE"),
    ("seccomp", 0, "SECCOMP"),
    ("setns", 1, "CLONE"),
    ("setrlimit", 0, "RLIMIT"),
    ("setsockopt", 1, "SOL"),
    ("shmget", 2, "SHM"),
    ("socket", 0, "AF"),
    ("socket", 1, "SOCK"),
    ("socketpair", 0, "AF"),
    ("socketpair", 1, "SOCK"),
    ("tgkill", 2, "SIG"),
    ("tkill", 1, "SIG"),
    ("umount2", 1, "MNT"),
    ("unshare", 0, "CLONE"),
];

/// Arguments that are modes of files, which people read in octal.
const MODES: &[(&str, u8)] = &[
    ("chmod", 1),
    ("creat", 1),
    ("fchmod", 1),
    ("fchmodat", 2),
    ("fchmodat2", 2),
    ("mknod", 1),
    ("mknodat", 2),
    ("open", 2),
    ("openat", 3),
];

/// The value of a name; an error, for people, when there is none.
pub(super) fn value(name: &str) -> Result<u64, String> {
    let mut all = FAMILIES.iter().flat_map(|family| family.names);
    match all.find(|(known, _)| *known == name) {
        Some((_, value)) => Ok(*value),
        None => {
            let names = FAMILIES.iter().flat_map(|family| family.names).map(|(name, _)| *name);
            Err(format!("{} is not the name of a value{}", quoted(name), did_you_mean(name, names)))
        }
    }
}

/// An argument of a call as it can be written in a policy: with names where it has them.
pub(super) fn shown(call: &str, index: u8, value: u64) -> String {
    if MODES.contains(&(call, index)) {
        return format!("0o{value:o}");
    }
    let family = ARGUMENTS.iter().find(|(known, at, _)| (*known, *at) == (call, index));
    let family = family.and_then(|(.., name)| FAMILIES.iter().find(|family| family.name == *name));
    family.and_then(|family| family.shown(value)).unwrap_or_else(|| number(value))
}

/// A number for people.
pub(super) fn number(value: u64) -> String {
    if value < 10 { value.to_string() } else { format!("{value:#x}") }
}

impl Family {
    /// The value in its names; `None` where it has none.
    fn shown(&self, value: u64) -> Option<String> {
        let choice = |wanted: u64| {
            let found = self.names.iter().find(|(_, known)| *known == wanted);
            found.map(|(name, _)| (*name).to_owned())
        };
        let mut rest = value;
        let mut parts = Vec::new();
        match self.kind {
            Kind::Choice => return choice(value),
            Kind::Flags => {}
            Kind::Low(mask) => {
                parts.push(choice(value & mask)?);
                rest &= !mask;
            }
        }
        for (name, flag) in self.names {
            let is_flag =
                flag.is_power_of_two() && !matches!(self.kind, Kind::Low(mask) if flag & mask != 0);
            if is_flag && rest & flag != 0 {
                parts.push((*name).to_owned());
                rest &= !flag;
            }
        }
        if rest != 0 {
            parts.push(number(rest));
        }
        (!parts.is_empty()).then(|| parts.join("|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_there_once_and_every_argument_has_its_family() {
        let mut seen = HashSet::new();
        for (name, value) in FAMILIES.iter().flat_map(|family| family.names) {
            assert!(seen.insert(name), "{name}");
            assert!(*value <= u64::from(u32::MAX), "{name}");
        }
        for (call, index, family) in ARGUMENTS {
            assert!(FAMILIES.iter().any(|known| known.name == *family), "{call} {index}");
            assert!(crate::platform::known_syscall(call), "{call}");
        }
    }

    #[test]
    fn the_values_are_the_systems() {
        let of = |name: &str| value(name).unwrap();
        let known = |value: i32| u64::from(value.cast_unsigned());
        for (name, value) in [
            ("AF_VSOCK", libc::AF_VSOCK),
            ("AF_ALG", libc::AF_ALG),
            ("SOCK_SEQPACKET", libc::SOCK_SEQPACKET),
            ("SOCK_CLOEXEC", libc::SOCK_CLOEXEC),
            ("CLONE_NEWUSER", libc::CLONE_NEWUSER),
            ("CLONE_NEWNET", libc::CLONE_NEWNET),
            ("PR_SET_MM", libc::PR_SET_MM),
            ("PROT_EXEC", libc::PROT_EXEC),
            ("MAP_HUGETLB", libc::MAP_HUGETLB),
            ("IPPROTO_SCTP", libc::IPPROTO_SCTP),
            ("NETLINK_KOBJECT_UEVENT", libc::NETLINK_KOBJECT_UEVENT),
            ("SIGSYS", libc::SIGSYS),
            ("F_SETSIG", 10),
            ("O_CREAT", libc::O_CREAT),
            ("MADV_DONTNEED", libc::MADV_DONTNEED),
        ] {
            assert_eq!(of(name), known(value), "{name}");
        }
        assert_eq!((of("TIOCSTI"), of("TIOCLINUX"), of("TIOCSETD")), (0x5412, 0x541c, 0x5423));
        assert_eq!((of("PTRACE_SEIZE"), of("S_ISUID")), (0x4206, 0o4000));
    }

    #[test]
    fn values_are_shown_by_their_names() {
        for (call, index, value, expected) in [
            ("socket", 0, 40, "AF_VSOCK"),
            ("socket", 0, 999, "0x3e7"),
            ("socket", 1, 0x8_0005, "SOCK_SEQPACKET|SOCK_CLOEXEC"),
            ("clone", 0, 0x1000_0011, "CLONE_NEWUSER|0x11"),
            ("ioctl", 1, 0x5412, "TIOCSTI"),
            ("unshare", 0, 0, "0"),
            ("fchmod", 1, 0o4755, "0o4755"),
            ("read", 0, 7, "7"),
        ] {
            assert_eq!(shown(call, index, value), expected);
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_the_likely_one() {
        let told = value("AF_UNXI").unwrap_err();
        assert_eq!(told, "`AF_UNXI` is not the name of a value (did you mean `AF_UNIX`?)");
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_written(at in 0..ARGUMENTS.len(), value in any::<u32>(), small in 0..64u32) {
            let (call, index, _) = ARGUMENTS[at];
            for value in [value, small, 1 << (small % 32)].map(u64::from) {
                let text = shown(call, index, value);
                prop_assert_eq!(super::super::written::number_of(&text), Ok(value), "{}", text);
            }
        }
    }
}
