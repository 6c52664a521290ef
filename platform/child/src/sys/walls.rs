//! System calls that take rights away: capabilities, Landlock, filters of system calls.

use super::{Result, call, int, small};
use core::ptr;
use syscalls::Sysno;

const SECCOMP_SET_MODE_FILTER: usize = 1;
const SECCOMP_FILTER_FLAG_NEW_LISTENER: usize = 1 << 3;
/// Once the starter has a denied call in hand, no signal but a kill takes it away again (Linux 5.19).
const SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: usize = 1 << 5;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Sets permitted, effective and inheritable capabilities (capset(2)).
pub(crate) fn set_capabilities(mask: u64) -> Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "split into two words")]
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    let header = [CAPABILITY_VERSION_3, 0];
    let data = [low, low, low, high, high, high];
    // SAFETY: header and data have the layout of version 3 and outlive the call.
    unsafe { call(Sysno::capset, [header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0, 0]) }
        .map(drop)
}

/// A Landlock ruleset (landlock_create_ruleset(2)); `size` is that of the structure this kernel knows.
pub(crate) fn create_ruleset(attributes: [u64; 3], size: u32) -> Result<i32> {
    let args = [attributes.as_ptr() as usize, size as usize, 0, 0, 0, 0];
    // SAFETY: the structure is at least `size` bytes long, which the script's maker checked.
    unsafe { call(Sysno::landlock_create_ruleset, args) }.map(small)
}

/// Adds a rule for everything below an open path.
pub(crate) fn add_path_rule(ruleset: i32, path: i32, rights: u64) -> Result<()> {
    const LANDLOCK_RULE_PATH_BENEATH: usize = 1;
    #[repr(C, packed)]
    struct PathBeneath {
        rights: u64,
        parent: i32,
    }
    let rule = PathBeneath { rights, parent: path };
    let args = [int(ruleset), LANDLOCK_RULE_PATH_BENEATH, ptr::from_ref(&rule) as usize, 0, 0, 0];
    // SAFETY: the rule outlives the call.
    unsafe { call(Sysno::landlock_add_rule, args) }.map(drop)
}

/// Adds a rule for a TCP port.
pub(crate) fn add_port_rule(ruleset: i32, port: u16, rights: u64) -> Result<()> {
    const LANDLOCK_RULE_NET_PORT: usize = 2;
    #[repr(C)]
    struct NetPort {
        rights: u64,
        port: u64,
    }
    let rule = NetPort { rights, port: u64::from(port) };
    let args = [int(ruleset), LANDLOCK_RULE_NET_PORT, ptr::from_ref(&rule) as usize, 0, 0, 0];
    // SAFETY: the rule outlives the call.
    unsafe { call(Sysno::landlock_add_rule, args) }.map(drop)
}

pub(crate) fn restrict_self(ruleset: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(Sysno::landlock_restrict_self, [int(ruleset), 0, 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn install_filter(filter: &[libc::sock_filter]) -> Result<()> {
    install_filter_as(filter, 0).map(drop)
}

/// Installs a filter, and gives the descriptor where it asks; that is closed at exec.
pub(crate) fn install_filter_with_listener(filter: &[libc::sock_filter]) -> Result<i32> {
    let flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    match install_filter_as(filter, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(libc::EINVAL) => install_filter_as(filter, flags),
        other => other,
    }
}

fn install_filter_as(filter: &[libc::sock_filter], flags: usize) -> Result<i32> {
    let len = u16::try_from(filter.len()).map_err(|_| libc::EINVAL)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let args = [SECCOMP_SET_MODE_FILTER, flags, ptr::from_ref(&program) as usize, 0, 0, 0];
    // SAFETY: the program and its instructions outlive the call; the kernel only reads them.
    unsafe { call(Sysno::seccomp, args) }.map(small)
}
