//! The second wall around files: rules that the kernel holds for the program and all its children (landlock(7)).
//!
//! The view of files is the first wall: what a policy doesn't name doesn't exist inside. These rules repeat it, so that a
//! hole in the view (a descriptor that leaked, a mount that shouldn't be there) still doesn't open a file. And they hold
//! what a view can't: a read-only mount doesn't keep anybody from connecting to a socket in it.
//!
//! This module only decides; the child makes the calls. For each rule it opens the path inside the view, so a rule can't
//! mean another file than the one the program sees.

use crate::{Access, TcpPorts};
use landlock::{ABI, Access as _, AccessFs, AccessNet, BitFlags, Scope, make_bitflags};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A path of the view and what may be done with it and below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedPath {
    /// Absolute path inside.
    pub(crate) path: PathBuf,
    /// Whether it is a directory; a rule for anything else may only have rights of files.
    pub(crate) is_dir: bool,
    /// What may be done.
    pub(crate) purpose: Purpose,
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What the policy says; private temporary directories are `Write`.
    Files(Access),
    /// Device nodes, such as `/dev` and `/dev/pts`: use them, make none.
    Devices,
    /// Process information: its files can be read and written, none can be made.
    Processes,
}

/// What the child hands to the kernel, and what to tell about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessRules {
    /// `handled_access_fs`: what is forbidden where no rule allows it.
    pub(crate) handled_fs: u64,
    /// `handled_access_net`.
    pub(crate) handled_net: u64,
    /// `scoped`.
    pub(crate) scoped: u64,
    /// Paths inside and the rights below them.
    pub(crate) rules: Vec<(PathBuf, u64)>,
    /// Ports and what may be done with them.
    pub(crate) ports: BTreeMap<u16, u64>,
    /// What this kernel can hold, for the report.
    pub(crate) how: String,
    /// Whether it holds all that is asked of it; if not, [`Self::how`] says what is missing.
    pub(crate) complete: bool,
}

impl AccessRules {
    /// The same rules for a program that is started in the sandbox later. The kernel takes it for a stranger to the sandbox's
    /// own programs, so the scopes would keep it from signalling them and from their abstract sockets. A scope that keeps
    /// nothing else away, where the sandbox has processes or a network of its `own`, is left out.
    pub(crate) fn for_another_program(&self, (processes, network): (bool, bool)) -> Self {
        let mut scoped = self.scoped;
        for (own, scope) in [(processes, Scope::Signal), (network, Scope::AbstractUnixSocket)] {
            scoped &= if own { !BitFlags::from(scope).bits() } else { u64::MAX };
        }
        Self { scoped, ..self.clone() }
    }
}

/// The newest version whose rights are given out here. Rights of a later one must be looked at first: handling a right
/// forbids it everywhere, which would break programs on the day the kernel is updated.
const NEWEST: u32 = 10;

/// The version from which on everything a policy promises is held: changing and truncating files (3), devices (5),
/// and reaching processes outside (6).
const COMPLETE: u32 = 6;

/// The version from which on there are rules for TCP ports.
pub(crate) const PORTS: u32 = 4;

/// The rights to make device nodes, which no rule gives.
pub(crate) const DEVICE_NODES: u64 = make_bitflags!(AccessFs::{MakeChar | MakeBlock}).bits_c();

/// Which version of the rules this kernel has, 1 or more.
///
/// # Errors
/// Why there are none, in words for people.
pub(crate) fn abi() -> Result<u32, &'static str> {
    /// `LANDLOCK_CREATE_RULESET_VERSION`
    const VERSION: libc::c_uint = 1;
    let attributes: *const libc::c_void = std::ptr::null();
    let answer =
        // SAFETY: with no attributes and this flag the call only answers a number.
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attributes, 0_usize, VERSION) };
    if let Ok(version @ 1..) = u32::try_from(answer) {
        return Ok(version);
    }
    let error = std::io::Error::last_os_error().raw_os_error();
    Err(match error {
        Some(libc::EOPNOTSUPP) => {
            "the kernel has Landlock, but it isn't among the security modules enabled at boot (add \
             `landlock` to the `lsm=` list of the kernel's command line)"
        }
        Some(libc::ENOSYS) => "this kernel has no Landlock (it came with Linux 5.13)",
        _ => "Landlock is forbidden here, probably by a filter around this process",
    })
}

/// The rules for a view of files, on a kernel with version `abi`.
///
/// `paths` are all places of the view at which something is mounted; what is above them consists of empty directories,
/// which can be listed and no more. One file right is enough for `/`, since a rule covers everything below it, and
/// listing is allowed in every other rule too.
///
/// The scopes are always set: they keep a program that shares the host's network from the abstract sockets of the host. Ports
/// are left alone, see [`AccessRules::with_ports`].
pub(crate) fn rules(abi: u32, paths: &[ResolvedPath]) -> AccessRules {
    let version = version(abi);
    let handled = AccessFs::from_all(version);
    let rule = |path: &Path, is_dir, wanted: BitFlags<AccessFs>| {
        let possible = if is_dir { handled } else { AccessFs::from_file(version) };
        (path.to_owned(), (wanted & possible).bits())
    };
    let root = rule(Path::new("/"), true, AccessFs::ReadDir.into());
    let named = paths.iter().map(|one| rule(&one.path, one.is_dir, wanted(one.purpose)));
    let (how, complete) = told(abi);
    AccessRules {
        handled_fs: handled.bits(),
        handled_net: 0,
        scoped: Scope::from_all(version).bits(),
        // A rule without rights is an error to the kernel; it would be one for a right that this version doesn't know.
        rules: std::iter::once(root).chain(named).filter(|(_, rights)| *rights != 0).collect(),
        ports: BTreeMap::new(),
        how,
        complete,
    }
}

impl AccessRules {
    /// No rules for anything.
    pub(crate) fn none() -> Self {
        Self {
            handled_fs: 0,
            handled_net: 0,
            scoped: 0,
            rules: Vec::new(),
            ports: BTreeMap::new(),
            how: String::new(),
            complete: true,
        }
    }

    /// The same, with only these ports to bind and connect to; `proxy` is one more to connect to. What isn't limited stays
    /// unhandled: in a network of its own there is nothing but the sandbox's own loopback, and with the host's network
    /// nothing is promised.
    pub(crate) fn with_ports(mut self, tcp: &TcpPorts, proxy: Option<u16>) -> Self {
        let mut limit = |right: AccessNet, ports: &mut dyn Iterator<Item = u16>| {
            let right = BitFlags::from(right).bits();
            self.handled_net |= right;
            for port in ports {
                *self.ports.entry(port).or_default() |= right;
            }
        };
        if let Some(ports) = &tcp.bind {
            limit(AccessNet::BindTcp, &mut ports.iter());
        }
        if let Some(ports) = &tcp.connect {
            limit(AccessNet::ConnectTcp, &mut ports.iter().chain(proxy));
        }
        self
    }
}

/// The rights of a rule for an inherited descriptor that isn't a directory, opened for reading or writing or both.
///
/// With it, `/dev/stdout` can be opened when the standard output is a file or terminal outside of the view; it gives no
/// right that the descriptor doesn't give already. The kernel takes no rules for pipes and sockets (`EBADFD`), and needs
/// none.
pub(crate) fn descriptor(abi: u32, readable: bool, writable: bool) -> u64 {
    let mut rights = BitFlags::<AccessFs>::EMPTY;
    if readable {
        rights |= AccessFs::ReadFile;
    }
    if writable {
        rights |= make_bitflags!(AccessFs::{WriteFile | Truncate});
    }
    // Commands, because a terminal that can be written to but not asked for its size breaks programs.
    ((rights | AccessFs::IoctlDev) & AccessFs::from_file(version(abi))).bits()
}

fn version(abi: u32) -> ABI {
    ABI::from(i32::try_from(abi.min(NEWEST)).unwrap_or(0))
}

/// The rights that a purpose needs, on a kernel that knows them all.
fn wanted(purpose: Purpose) -> BitFlags<AccessFs> {
    let read = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});
    let change = make_bitflags!(AccessFs::{WriteFile | Truncate});
    match purpose {
        Purpose::Files(Access::Read) => read,
        // No device nodes, and no commands to those that are there: `/dev` has the ones a program needs.
        Purpose::Files(Access::Write | Access::Copy) => {
            read | change
                | make_bitflags!(AccessFs::{
                    RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSock | MakeFifo | MakeSym
                    | Refer | ResolveUnix
                })
        }
        Purpose::Devices => {
            change | make_bitflags!(AccessFs::{ReadFile | ReadDir | IoctlDev | ResolveUnix})
        }
        // Execute: `/proc/self/exe` is a way to start oneself again. What it leads to is judged by its own place.
        Purpose::Processes => read | change,
    }
}

/// What version `abi` holds, and whether that is all. The version itself stands beside it in a report.
fn told(abi: u32) -> (String, bool) {
    let missing: Vec<_> = [
        (2, "moving files between directories is forbidden altogether"),
        (3, "files that can be read can be truncated"),
        (5, "commands to devices aren't checked"),
        (6, "abstract sockets and signals aren't checked"),
    ]
    .iter()
    .filter(|(since, _)| abi < *since)
    .map(|(_, what)| *what)
    .collect();
    let how = match &missing[..] {
        [] => "Landlock".to_owned(),
        missing => format!("Landlock of an older kernel: {}", missing.join(", ")),
    };
    (how, abi >= COMPLETE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXECUTE: u64 = 1 << 0;
    const WRITE_FILE: u64 = 1 << 1;
    const READ_FILE: u64 = 1 << 2;
    const READ_DIR: u64 = 1 << 3;
    const MAKE_CHAR: u64 = 1 << 6;
    const MAKE_REG: u64 = 1 << 8;
    const MAKE_BLOCK: u64 = 1 << 11;
    const REFER: u64 = 1 << 13;
    const TRUNCATE: u64 = 1 << 14;
    const IOCTL_DEV: u64 = 1 << 15;
    const RESOLVE_UNIX: u64 = 1 << 16;

    fn rules_for(abi: u32, path: &str, is_dir: bool, purpose: Purpose) -> AccessRules {
        rules(abi, &[ResolvedPath { path: path.into(), is_dir, purpose }])
    }

    fn rights(abi: u32, is_dir: bool, purpose: Purpose) -> u64 {
        rules_for(abi, "/x", is_dir, purpose).rules[1].1
    }

    const READ: Purpose = Purpose::Files(Access::Read);
    const WRITE: Purpose = Purpose::Files(Access::Write);

    #[test]
    fn every_right_of_the_version_is_handled_and_none_beyond() {
        let handled = |abi| rules(abi, &[]).handled_fs;
        let last_known = |abi: u32| match abi {
            1 => MAKE_BLOCK << 1,
            2 => REFER,
            3 | 4 => TRUNCATE,
            5..=8 => IOCTL_DEV,
            _ => RESOLVE_UNIX,
        };
        for abi in 1..=12 {
            assert_eq!(handled(abi), (last_known(abi) << 1) - 1, "version {abi}");
        }
    }

    #[test]
    fn another_program_is_scoped_by_what_the_sandbox_shares() {
        let scoped = |own| rules(7, &[]).for_another_program(own).scoped;
        assert_eq!((scoped((false, false)), scoped((true, true))), (3, 0));
        let (socket, signal) = (Scope::AbstractUnixSocket as u64, Scope::Signal as u64);
        assert_eq!((scoped((true, false)), scoped((false, true))), (socket, signal));
    }

    #[test]
    fn scopes_exist_from_version_6() {
        let scoped = |abi| rules(abi, &[]).scoped;
        assert_eq!((scoped(5), scoped(6), scoped(7)), (0, 3, 3));
    }

    #[test]
    fn the_root_can_be_listed_and_no_more() {
        assert_eq!(rules(7, &[]).rules, [("/".into(), READ_DIR)]);
    }

    #[test]
    fn reading_includes_executing_and_changes_nothing() {
        assert_eq!(rights(10, true, READ), EXECUTE | READ_FILE | READ_DIR);
    }

    #[test]
    fn writing_includes_all_but_devices() {
        let write = rights(7, true, WRITE);
        assert_eq!(write & (MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV), 0);
        assert_eq!(write & (MAKE_REG | REFER | TRUNCATE), MAKE_REG | REFER | TRUNCATE);
        assert_eq!(rights(1, true, WRITE) & (REFER | TRUNCATE), 0, "unknown to version 1");
    }

    #[test]
    fn a_file_gets_only_rights_of_files() {
        let rights = rights(7, false, WRITE);
        assert_eq!(rights, EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE);
    }

    #[test]
    fn a_read_only_socket_can_not_be_connected_to() {
        assert_eq!(rights(9, true, READ) & RESOLVE_UNIX, 0);
        assert_eq!(rights(9, true, WRITE) & RESOLVE_UNIX, RESOLVE_UNIX);
    }

    #[test]
    fn devices_take_commands_and_can_not_be_made() {
        let devices = rights(7, true, Purpose::Devices);
        assert_eq!(devices, READ_FILE | WRITE_FILE | READ_DIR | TRUNCATE | IOCTL_DEV);
    }

    #[test]
    fn ports_that_are_limited_are_handled_and_only_those_named_are_open() {
        const BIND: u64 = 1;
        const CONNECT: u64 = 2;
        let tcp = |bind: Option<&str>, connect: Option<&str>| {
            let set = |text: Option<&str>| text.map(|text| text.parse().unwrap());
            TcpPorts { bind: set(bind), connect: set(connect) }
        };
        let rules = AccessRules::none().with_ports(&tcp(Some("80"), Some("80,443")), Some(1));
        assert_eq!((rules.handled_fs, rules.handled_net), (0, BIND | CONNECT));
        assert_eq!(rules.ports, [(1, CONNECT), (80, BIND | CONNECT), (443, CONNECT)].into());
        let nothing = AccessRules::none().with_ports(&tcp(Some("none"), None), Some(1));
        assert_eq!((nothing.handled_net, nothing.ports.len()), (BIND, 0));
        let all = super::rules(7, &[]).with_ports(&TcpPorts::default(), Some(1));
        assert_eq!((all.handled_net, all.ports.len()), (0, 0));
    }

    #[test]
    fn an_inherited_descriptor_gets_what_it_was_opened_for() {
        assert_eq!(descriptor(7, true, false), READ_FILE | IOCTL_DEV);
        assert_eq!(descriptor(7, false, true), WRITE_FILE | TRUNCATE | IOCTL_DEV);
        assert_eq!(descriptor(1, true, true), READ_FILE | WRITE_FILE);
    }

    #[test]
    fn what_an_old_kernel_does_not_hold_is_told() {
        let old = rules(2, &[]);
        assert!(!old.complete);
        assert_eq!(
            old.how,
            "Landlock of an older kernel: files that can be read can be truncated, commands to devices aren't \
             checked, abstract sockets and signals aren't checked"
        );
        let new = rules(6, &[]);
        assert_eq!((new.complete, new.how.as_str()), (true, "Landlock"));
    }

    #[test]
    fn the_kernel_tells_its_version_or_why_not() {
        match abi() {
            Ok(version) => assert!(version >= 1),
            Err(why) => assert!(why.contains("Landlock")),
        }
    }
}
