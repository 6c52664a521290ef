//! The launch plan: everything about one launch, decided, as plain data.

use crate::{
    AllowRule, Bytes, Control, Cores, Errno, IdRange, IdSet, IoLimit, Network, Publish, Secret,
    TcpPorts, Token,
};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Everything a backend needs for one launch. It decides nothing further; what it can't do is an error.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LaunchPlan {
    /// The backend that it was decided for.
    pub backend: String,
    /// Why that isn't the platform's own, where that came first and can't hold the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Name of the sandbox, unique among those alive: the given name and eight hex digits.
    pub id: String,
    /// The program and its arguments. A program without a slash is looked up in the `PATH` of [`Self::environment`].
    #[serde(serialize_with = "texts")]
    pub command: Vec<OsString>,
    /// The whole environment of the program, resolved.
    #[serde(serialize_with = "pairs")]
    pub environment: Vec<(OsString, OsString)>,
    /// Quotas.
    pub limits: Limits,
    /// What exists of the file system, and where the program starts.
    pub filesystem: Filesystem,
    /// Files that the program alone can read.
    pub secrets: Vec<Secret>,
    /// What of the network can be reached.
    pub network: Network,
    /// Whom a filtered network lets out to.
    pub allow: Vec<AllowRule>,
    /// What a filtered network lets in.
    pub publish: Vec<Publish>,
    /// TCP ports that the program may use.
    pub tcp: TcpPorts,
    /// The port of the sandbox's loopback interface whose listening socket goes to the starter, for a proxy.
    pub proxy: Option<u16>,
    /// Whether the starter wants to connect to what listens inside of its own network.
    pub dialed: bool,
    /// Who the program is.
    pub identity: Identity,
    /// Privileged abilities that stay.
    pub capabilities: Capabilities,
    /// System calls that the program may make.
    pub syscalls: Arc<Syscalls>,
    /// Clock offsets.
    pub clock: ClockOffsets,
    /// Whether a small init of Stockade's is the first process and the program its child.
    pub init: bool,
    /// Whether the program gets a terminal of its own.
    pub terminal: bool,
    /// Whether everything that it wishes for is taken note of, which makes each of its system calls slow.
    pub watch: bool,
    /// Whether paths that are denied are told, which makes each system call that names a path slow.
    pub trace: bool,
    /// Whether the program may end with success and leave its work to a process that it started, which is named then
    /// ([`Running::name_main`](crate::Running::name_main)); it needs an init and processes of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forks: bool,
    /// Whether it outlives its starter, and what a next one has to know then; it needs an init and processes of its own.
    #[serde(skip)]
    pub lasting: Option<Token>,
    /// What was decided for each control that the policy asks for.
    pub controls: BTreeMap<Control, Decision>,
    /// Controls that may be missing where only the launch finds out that they can't be held.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub accepted: BTreeSet<Control>,
}

impl LaunchPlan {
    /// The process id of the program as it sees it itself, where the plan decides it: it has processes of its own then, and is
    /// the first one, or the first that the init starts.
    pub fn program_pid(&self) -> Option<u32> {
        let own = self.controls.get(&Control::Processes) == Some(&Decision::Enforce);
        own.then_some(if self.init { 2 } else { 1 })
    }

    /// A plan with no limits, nothing of the file system, no network, and no control asked for.
    pub fn new(id: impl Into<String>, command: Vec<OsString>) -> Self {
        Self {
            backend: String::new(),
            fallback: None,
            id: id.into(),
            command,
            environment: Vec::new(),
            limits: Limits::default(),
            filesystem: Filesystem::default(),
            secrets: Vec::new(),
            network: Network::None,
            allow: Vec::new(),
            publish: Vec::new(),
            tcp: TcpPorts::default(),
            proxy: None,
            dialed: false,
            identity: Identity::default(),
            capabilities: Capabilities::default(),
            syscalls: Arc::default(),
            clock: ClockOffsets::default(),
            init: true,
            terminal: false,
            watch: false,
            trace: false,
            forks: false,
            lasting: None,
            controls: BTreeMap::new(),
            accepted: BTreeSet::new(),
        }
    }
}

/// What was decided for one control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// The platform holds it.
    Enforce,
    /// Something weaker is done, which the policy accepts.
    Degrade {
        /// What is done instead.
        how: String,
        /// Why not the real thing.
        reason: String,
    },
    /// Nothing is done, which the policy accepts.
    Skip {
        /// Why.
        reason: String,
    },
}

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

/// What exists of the file system inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Filesystem {
    /// Directory of the host that is the root inside; when `None`, a fresh root with nothing but what is named here.
    #[serde(serialize_with = "maybe_path")]
    pub root: Option<PathBuf>,
    /// Where changes go to what is copied on write. When `None`, the root can't be changed and other changes are discarded.
    pub overlay: Option<Overlay>,
    /// Most bytes of discarded changes.
    pub overlay_size: Option<Bytes>,
    /// Host paths that exist inside, at the same place unless told otherwise.
    pub binds: Vec<Bind>,
    /// Host paths below those that look as if nothing were there, or can't be opened.
    pub masks: Vec<Mask>,
    /// Devices of the host beside those that every program has.
    #[serde(serialize_with = "paths")]
    pub devices: Vec<PathBuf>,
    /// Files with content of their own, by their place inside.
    #[serde(serialize_with = "contents")]
    pub files: BTreeMap<PathBuf, String>,
    /// A private `/tmp` (and shared memory directory).
    pub tmp: Option<Tmp>,
    /// Most files, directories and links in each directory in memory; a file for each page of its size when `None`.
    pub tmp_files: Option<u32>,
    /// View of the process information file system.
    pub proc: ProcView,
    /// View of the device information file system.
    pub sys: SysView,
    /// Where the program starts; `/` when `None`.
    #[serde(serialize_with = "maybe_path")]
    pub workdir: Option<PathBuf>,
    /// Permissions that new files of the program don't get (umask(2)); `022` when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
}

impl Filesystem {
    /// Whether the root is a directory of the host that is copied on write.
    pub fn copies_root(&self) -> bool {
        self.root.is_some() && self.overlay.is_some()
    }

    /// Whether anything is copied on write.
    pub fn copies(&self) -> bool {
        self.copies_root() || self.binds.iter().any(|bind| bind.access == Access::Copy)
    }
}

/// Where changes go to what is copied on write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Into memory, and away with the sandbox.
    Discard,
    /// Into this directory, from which a later sandbox goes on.
    Keep(PathBuf),
}

impl Serialize for Overlay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Discard => serializer.serialize_str("discard"),
            Self::Keep(directory) => path(directory, serializer),
        }
    }
}

/// One host path made visible inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bind {
    /// Absolute path on the host.
    #[serde(serialize_with = "path")]
    pub source: PathBuf,
    /// Absolute path inside.
    #[serde(serialize_with = "path")]
    pub target: PathBuf,
    /// Read, write, or write to a copy.
    pub access: Access,
    /// Whether a missing source is passed over instead of refused.
    pub optional: bool,
}

/// A path that the program is to see nothing of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mask {
    /// Absolute path on the host.
    #[serde(serialize_with = "path")]
    pub path: PathBuf,
    /// What the program meets there instead.
    pub kind: MaskKind,
}

/// What stands in front of a masked path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskKind {
    /// An empty directory or an empty file.
    Hide,
    /// Something that can't be opened.
    Deny,
}

/// What may be done below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read and execute.
    Read,
    /// Read, execute, write, create, delete.
    Write,
    /// The same, to a copy: what the host has stays as it is.
    Copy,
}

/// A private temporary directory in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tmp {
    /// Most bytes of its files.
    pub size: Bytes,
}

/// What of process information is visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcView {
    /// The sandbox's own processes, and the system's information files.
    #[default]
    Private,
    /// The sandbox's own processes only.
    Pids,
    /// Nothing.
    None,
}

/// What of device information is visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SysView {
    /// Nothing.
    #[default]
    None,
    /// The system's devices and the sandbox's own network, to be read.
    Read,
}

/// Who the program is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Identity {
    /// User id seen inside; `None` is the caller's own, or 1000 when the caller is privileged.
    pub user: Option<u32>,
    /// Group id seen inside; `None` as for the user.
    pub group: Option<u32>,
    /// How many users, and as many groups, there are inside, counted from 0; `None` or 1: the program's own alone.
    pub ids: Option<u32>,
    /// Numbers of the host that they are taken from; `None` is the platform's own choice.
    pub range: Option<IdRange>,
    /// Host name seen inside.
    pub hostname: Option<String>,
}

impl Identity {
    /// How many users and groups inside are asked for, where those are several.
    pub fn several(&self) -> Option<u32> {
        self.ids.filter(|ids| *ids > 1)
    }
}

/// Privileged abilities that stay, by their names (`CAP_NET_BIND_SERVICE`). Empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Names that stay, within what the sandbox owns.
    pub keep: Vec<String>,
}

/// Which system calls may be made: an allow list, and rules that test arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Syscalls {
    /// Names that are allowed; every other is a violation. Empty with the control asked for: nothing is allowed.
    pub allow: Vec<String>,
    /// Names that answer "no such system call", whatever [`Self::on_violation`] says, so that callers use an older one.
    pub absent: Vec<String>,
    /// Answers that depend on arguments, or that differ from the lists'. Of those about one call the first whose tests all
    /// hold decides; where none does, the lists do.
    pub rules: Vec<SyscallRule>,
    /// What a violation gets.
    pub on_violation: OnViolation,
}

/// What a system call gets when all its tests hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SyscallRule {
    /// The system call.
    pub name: String,
    /// Tests that must all hold.
    pub tests: Vec<ArgumentTest>,
    /// What the call gets then.
    pub answer: SyscallAnswer,
}

/// What a rule gives a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyscallAnswer {
    /// What every forbidden call gets ([`Syscalls::on_violation`]).
    Violation,
    /// It is carried out.
    Allow,
    /// It is carried out, and the platform's own log tells of it.
    Log,
    /// It fails with this error.
    Error(Errno),
    /// It ends the process.
    Kill,
}

/// A test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ArgumentTest {
    /// Which argument, from 0 to 5.
    pub index: u8,
    /// How it is compared; only its low 32 bits are looked at unless `wide`.
    pub compare: Compare,
    /// Whether all 64 bits count.
    pub wide: bool,
}

/// A comparison of an argument with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Equal to the value.
    Equal(u64),
    /// Different from the value.
    NotEqual(u64),
    /// Has the bits of `mask` equal to `value`.
    Masked {
        /// Bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
    /// Has at least one of these bits.
    Any(u64),
}

/// What a forbidden system call gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnViolation {
    /// An error: "operation not permitted", or "no such system call" for one the list doesn't know.
    #[default]
    Error,
    /// The end of the whole process.
    Kill,
}

/// Offsets added to the sandbox's clocks, in whole seconds; zero is the host's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClockOffsets {
    /// Added to the monotonic clock.
    pub monotonic: i64,
    /// Added to the boot-time clock (uptime).
    pub boottime: i64,
}

/// Which variables of the caller's environment stay, and which are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Environment {
    /// Names that are passed on when the caller has them.
    pub keep: Vec<String>,
    /// Names and values that are set, over what is kept.
    pub set: BTreeMap<String, String>,
}

impl Environment {
    /// The environment for a caller who has `caller`.
    pub fn resolve(
        &self,
        caller: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Vec<(OsString, OsString)> {
        let kept = caller.into_iter().filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                self.keep.iter().any(|keep| is_same_variable(keep, name))
                    && !self.set.keys().any(|set| is_same_variable(set, name))
            })
        });
        let mut all: Vec<_> = kept.collect();
        all.extend(self.set.iter().map(|(name, value)| (name.into(), value.into())));
        all.sort();
        all
    }
}

/// Whether two names are of the same variable: Windows doesn't tell capitals apart.
fn is_same_variable(one: &str, other: &str) -> bool {
    if cfg!(windows) { one.eq_ignore_ascii_case(other) } else { one == other }
}

/// A system text as UTF-8; bytes that aren't are written `\xNN`, so that nothing is lost or mistaken.
pub(crate) fn readable(text: &OsStr) -> String {
    let mut out = String::new();
    for chunk in text.as_encoded_bytes().utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    out
}

impl LaunchPlan {
    /// [`OsStr`] for people and JSON: bytes that aren't UTF-8 are written `\xNN`.
    pub fn readable(text: impl AsRef<OsStr>) -> String {
        readable(text.as_ref())
    }
}

impl Bind {
    /// A bind at the same path inside as outside.
    pub fn same(path: impl AsRef<Path>, access: Access) -> Self {
        let path = path.as_ref().to_owned();
        Self { source: path.clone(), target: path, access, optional: false }
    }
}

fn texts<S: Serializer>(texts: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(|text| readable(text)))
}

fn pairs<S: Serializer>(pairs: &[(OsString, OsString)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (readable(name), readable(value))))
}

pub(crate) fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&readable(path.as_os_str()))
}

fn paths<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| readable(path.as_os_str())))
}

fn contents<S: Serializer>(
    files: &BTreeMap<PathBuf, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(files.iter().map(|(path, text)| (readable(path.as_os_str()), text)))
}

fn maybe_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| readable(path.as_os_str())).serialize(serializer)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_keeps_only_what_is_named_and_set_wins() {
        let environment = Environment {
            keep: vec!["TERM".into(), "PATH".into()],
            set: [("PATH".into(), "/usr/bin".into())].into(),
        };
        let caller = [("TERM", "xterm"), ("PATH", "/evil"), ("AWS_KEY", "secret")];
        let resolved = environment.resolve(caller.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(resolved, [("PATH".into(), "/usr/bin".into()), ("TERM".into(), "xterm".into())]);
    }

    #[cfg(unix)]
    #[test]
    fn text_that_is_not_utf8_stays_readable() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(readable(OsStr::from_bytes(b"a\xffb")), "a\\xffb");
    }
}
