//! The cheap readings: a few small files and system calls, no process.

use crate::Probe;
use crate::linux::apparmor;
use crate::linux::cgroup::{Controllers, NoTree, Tree};
use crate::linux::disk;
use crate::linux::identity::Caller;
use crate::linux::landlock;
use rustix::fs::{Access, CWD, Mode, OFlags, access, openat};
use rustix::io::{Errno, read};

/// A kind of namespace (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespace {
    User,
    Mount,
    Pid,
    Ipc,
    Uts,
    Net,
    Cgroup,
    Time,
}

impl Namespace {
    pub(super) const ALL: [Self; 8] = [
        Self::User,
        Self::Mount,
        Self::Pid,
        Self::Ipc,
        Self::Uts,
        Self::Net,
        Self::Cgroup,
        Self::Time,
    ];

    /// Its file in `/proc/self/ns`; in `/proc/sys/user` it is `max_NAME_namespaces`.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Net => "net",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// Whether there can be one more namespace of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Possible {
    Yes,
    /// The kernel doesn't have them.
    Missing,
    /// `/proc/sys/user/max_*_namespaces` is 0.
    Forbidden,
}

/// What was read.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Why sandboxes can't have the limits of one controller.
    pub(super) lacks: [(Controllers, Option<NoTree>); 6],
    /// Whether something can be swapped to now.
    pub(super) swap: bool,
    /// In the order of [`Namespace::ALL`].
    pub(super) namespaces: [Possible; 8],
    /// `kernel.unprivileged_userns_clone` is 0, which Debian's kernels have.
    pub(super) debian_forbids: bool,
    /// AppArmor takes the rights from user namespaces that this process makes (Ubuntu 23.10 and later).
    pub(super) apparmor_restricts: bool,
    pub(super) caller: Caller,
    /// Why this caller can launch nothing, whatever the host can.
    pub(super) no_launch: Option<NoTree>,
    /// Number of supplementary groups beside the effective one.
    pub(super) groups: usize,
    pub(super) landlock: Result<u32, &'static str>,
    /// Why the kernel can't tell this caller of pressure.
    pub(super) pressure: Result<(), NoTree>,
    /// Why no disk is shared by weight.
    pub(super) io_shares: Option<NoTree>,
    /// Why no directory can be limited in what it holds.
    pub(super) no_disk_limits: Option<NoTree>,
    /// Why nothing can be copied on write.
    pub(super) no_overlay: Option<NoTree>,
    /// Why this caller can't have several users inside.
    pub(super) no_ids: Option<NoTree>,
    /// System call filters with all answers that are used.
    pub(super) filters: bool,
}

impl Host {
    /// Reads the host. What can't be read is taken as the usual: a launch tells the truth in the end. In a hurry it
    /// believes that a kind of namespace which the kernel has isn't forbidden, but for the two that hardening guides name.
    pub(super) fn read(probe: Probe, tree: &Result<Tree, NoTree>) -> Self {
        let caller = Caller::find();
        let unprivileged = !caller.privileged;
        let lacks = Controllers::EACH.map(|one| {
            let why = match tree {
                Ok(tree) => tree.lacks(one),
                Err(none) => Some(none.clone()),
            };
            (one, why)
        });
        Self {
            // The controller limits swap wherever there is one; only without it does it matter.
            swap: lacks[0].1.is_some() && has_swap(),
            lacks,
            namespaces: Namespace::ALL.map(|kind| possible(kind, probe)),
            debian_forbids: unprivileged
                && first_byte("/proc/sys/kernel/unprivileged_userns_clone") == Some(b'0'),
            apparmor_restricts: unprivileged
                && first_byte("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
                    == Some(b'1')
                && is_unconfined(),
            no_launch: caller.no_launch(),
            caller,
            groups: groups(),
            landlock: landlock::abi(),
            pressure: pressure(),
            io_shares: tree.as_ref().ok().and_then(Tree::no_io_shares),
            no_disk_limits: disk::lacking(caller.privileged),
            no_overlay: no_overlay(),
            no_ids: caller.lacks_ids(),
            filters: has_filters(),
        }
    }

    /// Why sandboxes can't have the limits of this controller.
    pub(super) fn lacks(&self, controller: Controllers) -> Option<NoTree> {
        self.lacks.iter().find(|(one, _)| *one == controller).and_then(|(_, why)| why.clone())
    }

    /// Why sandboxes can't have a namespace of this kind.
    pub(super) fn namespace(&self, kind: Namespace) -> Option<NoTree> {
        self.one_namespace(Namespace::User).or_else(|| self.one_namespace(kind))
    }

    fn one_namespace(&self, kind: Namespace) -> Option<NoTree> {
        let found = Namespace::ALL.iter().zip(self.namespaces).find(|(one, _)| **one == kind);
        let name = kind.file();
        let none = |reason: String, remedy: String| Some(NoTree { reason, remedy });
        match found.map(|(_, possible)| possible) {
            Some(Possible::Missing) => {
                let option = if kind == Namespace::Cgroup {
                    "CGROUPS".into()
                } else {
                    format!("{}_NS", name.to_uppercase())
                };
                return none(
                    format!("the kernel has no {name} namespaces"),
                    format!("run a kernel with CONFIG_{option}"),
                );
            }
            Some(Possible::Forbidden) => {
                let setting = format!("user.max_{name}_namespaces");
                return none(
                    format!("`{setting}` is 0"),
                    format!("sysctl -w {setting}=10000 (as root)"),
                );
            }
            Some(Possible::Yes) | None => {}
        }
        if kind == Namespace::User && self.no_launch.is_some() {
            return self.no_launch.clone();
        }
        if kind == Namespace::User && self.debian_forbids {
            return none(
                "`kernel.unprivileged_userns_clone` is 0: only root may make user namespaces"
                    .into(),
                "sysctl -w kernel.unprivileged_userns_clone=1 (as root)".into(),
            );
        }
        if kind == Namespace::User && self.apparmor_restricts {
            return none(
                "AppArmor takes all rights from user namespaces that unconfined programs make"
                    .into(),
                apparmor::remedy(),
            );
        }
        None
    }

    /// What mends [`Self::landlock`] when it is off.
    pub(super) fn landlock_remedy(&self) -> String {
        let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
        match modules.trim() {
            "" => "run a kernel with CONFIG_SECURITY_LANDLOCK, enabled at boot".into(),
            modules => format!("boot with `lsm=landlock,{modules}`"),
        }
    }
}

fn possible(kind: Namespace, probe: Probe) -> Possible {
    let name = kind.file();
    if access(format!("/proc/self/ns/{name}"), Access::EXISTS).is_err() {
        return Possible::Missing;
    }
    if probe == Probe::Quick && !matches!(kind, Namespace::User | Namespace::Net) {
        return Possible::Yes;
    }
    match first_byte(&format!("/proc/sys/user/max_{name}_namespaces")) {
        Some(b'0') => Possible::Forbidden,
        _ => Possible::Yes,
    }
}

/// The first byte of a file, which says all about a switch, and of a number whether it is 0.
fn first_byte(path: &str) -> Option<u8> {
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut byte = [0];
    (read(&file, &mut byte[..]).ok()? == 1).then_some(byte[0])
}

/// Whether no AppArmor profile holds this process: one of its own, even an empty one, is how it gets the right.
fn is_unconfined() -> bool {
    let label = std::fs::read_to_string("/proc/self/attr/apparmor/current")
        .or_else(|_| std::fs::read_to_string("/proc/self/attr/current"));
    label.is_ok_and(|label| label.trim_end_matches(['\n', '\0']) == "unconfined")
}

/// Whether `/proc/swaps` has a line below its heading.
fn has_swap() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().nth(1).is_some())
}

/// A kernel module is loaded when it is first used, by whomever; `/sys` has the ones that are loaded or built in.
fn no_overlay() -> Option<NoTree> {
    if access("/sys/module/overlay", Access::EXISTS).is_ok() {
        return None;
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let module = format!("/lib/modules/{release}/kernel/fs/overlayfs");
    if known.lines().any(|line| line.ends_with("\toverlay"))
        || access(&module, Access::EXISTS).is_ok()
    {
        return None;
    }
    Some(NoTree {
        reason: "the kernel has no overlay file system (CONFIG_OVERLAY_FS)".into(),
        remedy: "modprobe overlay (as root)".into(),
    })
}

fn groups() -> usize {
    let own = rustix::process::getegid();
    rustix::process::getgroups()
        .map_or(0, |groups| groups.iter().filter(|group| **group != own).count())
}

/// Whether thresholds of pressure can be set. Linux 6.4, and later releases of 6.1, open these files to
/// everybody; before, they are root's.
fn pressure() -> Result<(), NoTree> {
    let none =
        |reason: &str, remedy: &str| Err(NoTree { reason: reason.into(), remedy: remedy.into() });
    match access("/proc/pressure/memory", Access::WRITE_OK) {
        Ok(()) => Ok(()),
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => none(
            "this kernel tells only root of pressure",
            "start Stockade as root, or run Linux 6.4 or newer",
        ),
        Err(_) => none("this kernel measures no pressure", "boot with `psi=1`"),
    }
}

/// Whether the answers of the filter exist: an error number, and the end of the process (Linux 4.14).
fn has_filters() -> bool {
    [libc::SECCOMP_RET_ERRNO, libc::SECCOMP_RET_KILL_PROCESS].iter().all(|action| {
        let action: *const u32 = action;
        let flags: libc::c_uint = 0;
        let operation = libc::SECCOMP_GET_ACTION_AVAIL;
        // SAFETY: reads the one number, which outlives the call, and changes nothing.
        let answer = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, action) };
        answer == 0
    })
}
