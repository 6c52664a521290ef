//! The script of one launch, owned: what [`stockade_child::Script`] borrows.

use crate::plan::readable;
use crate::{PlatformError, Stage};
use libc::sock_filter;
use rustix::fd::OwnedFd;
use rustix::process::Resource;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use stockade_child::{AccessRule, Lasting, Op, Phase, PortRule, Script, Source, Text};

/// The kernel shows a new `/proc` only to those who see the whole of the outer one (fs/namespace.c, `mnt_already_visible`).
const PROC_IS_COVERED: &str = "something covers parts of `/proc` around this process, as containers do: start it outside, show the \
                               container all (docker, podman: `--security-opt systempaths=unconfined`), or do without: `--proc none`";
/// What takes the right to build a sandbox away.
const AROUND: &str = "a sandbox or container around this process, or a security module, may forbid it: start it outside; in a sandbox of \
                      Stockade's own, that one's policy needs `filesystem.access_rules = false` and `syscalls.allow = [\"@nesting\"]`";
/// What takes single calls away.
pub(super) const FILTERED: &str = "a filter around this process forbids calls that building a sandbox needs: start it outside (docker, podman: \
                        `--security-opt seccomp=unconfined`); in a sandbox of Stockade's own, that one's policy needs \
                        `syscalls.allow = [\"@nesting\"]`";

/// Everything that the child will read, made before the clone.
#[derive(Debug, Default)]
pub(crate) struct OwnedScript {
    pub(crate) setup: Vec<Op>,
    pub(crate) program: Vec<Op>,
    pub(crate) access: Vec<AccessRule>,
    pub(crate) ports: Vec<PortRule>,
    pub(crate) filters: Vec<Box<[sock_filter]>>,
    pub(crate) candidates: Vec<Text>,
    /// Whether everything is mounted with mount(2) alone.
    pub(crate) classic: bool,
    pub(crate) init: bool,
    /// Whether the program may leave its work to another process.
    pub(crate) forks: bool,
    /// Capabilities that the first process keeps as init.
    pub(crate) init_rights: u64,
    /// What the first process keeps, where it outlives its starter.
    pub(crate) lasting: Option<OwnedLasting>,
    /// Descriptors that operations use; open until the child has its copies.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// How many of the program's descriptors from 3 on are passed to it.
    pub(crate) passed: u32,
    argv: Vec<Text>,
    envp: Vec<Text>,
    text: Vec<u8>,
    known: HashMap<Box<[u8]>, Text>,
}

/// What [`stockade_child::Lasting`] borrows. The descriptors are somebody else's, and open until the child has its copies.
#[derive(Debug)]
pub(crate) struct OwnedLasting {
    pub(crate) door: i32,
    pub(crate) token: [i32; 3],
    pub(crate) handed: Vec<i32>,
    pub(crate) held: Vec<i32>,
}

impl OwnedScript {
    /// An empty script.
    pub(crate) fn new(init: bool) -> Self {
        let mut script = Self::default();
        script.init = init;
        script
    }

    /// Puts a text into the table.
    ///
    /// # Errors
    /// When it holds a NUL byte, which no system call can take.
    pub(crate) fn text(&mut self, text: impl AsRef<OsStr>) -> Result<Text, PlatformError> {
        let bytes = text.as_ref().as_bytes();
        if let Some(known) = self.known.get(bytes) {
            return Ok(*known);
        }
        if bytes.contains(&0) {
            let shown = readable(text.as_ref());
            return Err(PlatformError::invalid(format!("`{shown}` holds a NUL byte")));
        }
        let too_much = |_| PlatformError::invalid("the texts of a launch are larger than 4 GiB");
        let offset = Text(u32::try_from(self.text.len()).map_err(too_much)?);
        self.text.extend_from_slice(bytes);
        self.text.push(0);
        self.known.insert(bytes.into(), offset);
        Ok(offset)
    }

    /// Puts bytes of any kind into the table, which are shown to nobody.
    ///
    /// # Errors
    /// When they are too many.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> Result<(Text, u32), PlatformError> {
        let too_much = |_| PlatformError::invalid("the texts of a launch are larger than 4 GiB");
        let offset = Text(u32::try_from(self.text.len()).map_err(too_much)?);
        let len = u32::try_from(bytes.len()).map_err(too_much)?;
        self.text.extend_from_slice(bytes);
        self.text.push(0);
        Ok((offset, len))
    }

    /// Keeps the numbers from 3 on free for so many descriptors that the program gets, and open at its execution.
    pub(crate) fn pass(&mut self, count: u32) {
        if count == 0 {
            return;
        }
        self.passed = count;
        self.setup.insert(0, Op::ReserveDescriptors { count });
        for op in &mut self.program {
            if let Op::CloseDescriptors { first } = op {
                *first = count.saturating_add(3);
            }
        }
    }

    /// Sets arguments and environment.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub(crate) fn set_vectors(
        &mut self,
        argv: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> Result<(), PlatformError> {
        for argument in argv {
            let text = self.text(argument)?;
            self.argv.push(text);
        }
        for (name, value) in environment {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            let text = self.text(pair)?;
            self.envp.push(text);
        }
        Ok(())
    }

    /// Runs `f` with the script as the child sees it.
    pub(crate) fn with<R>(&self, [control, peer]: [i32; 2], f: impl FnOnce(&Script<'_>) -> R) -> R {
        let pointer = |text: &Text| -> *const c_char {
            self.text.get(text.0 as usize..).map_or(c"".as_ptr(), |rest| rest.as_ptr().cast())
        };
        let closed = |list: &[Text]| -> Vec<*const c_char> {
            list.iter().map(pointer).chain([std::ptr::null()]).collect()
        };
        let (argv, envp) = (closed(&self.argv), closed(&self.envp));
        let filters: Vec<&[sock_filter]> = self.filters.iter().map(|filter| &**filter).collect();
        f(&Script {
            setup: &self.setup,
            program: &self.program,
            text: &self.text,
            access: &self.access,
            ports: &self.ports,
            filters: &filters,
            candidates: &self.candidates,
            argv: &argv,
            envp: &envp,
            control,
            peer,
            classic: self.classic,
            init: self.init,
            forks: self.forks,
            init_rights: self.init_rights,
            lasting: self.lasting.as_ref().map(|lasting| Lasting {
                door: lasting.door,
                token: lasting.token,
                handed: &lasting.handed,
                held: &lasting.held,
            }),
        })
    }

    fn read(&self, text: Text) -> String {
        let rest = self.text.get(text.0 as usize..).unwrap_or(&[]);
        let text = CStr::from_bytes_until_nul(rest).unwrap_or_default();
        readable(OsStr::from_bytes(text.to_bytes()))
    }

    /// Which restrictions (`MOUNT_ATTR_*`) every mount of the finished view has, by its place; and so has everything below.
    pub(crate) fn restrictions(&self) -> BTreeMap<PathBuf, u64> {
        /// Read-only, without setuid, devices and programs.
        const DATA: u64 = 0xf;
        /// Without setuid and devices.
        const OWN: u64 = 6;
        let mut all = BTreeMap::new();
        let place = |target: Text| {
            let rest = self.text.get(target.0 as usize..).unwrap_or(&[]);
            let name = CStr::from_bytes_until_nul(rest).unwrap_or_default();
            Path::new("/").join(OsStr::from_bytes(name.to_bytes()))
        };
        for op in &self.setup {
            match *op {
                // What was made before lies below it, and is gone at the end.
                Op::NewRoot { .. } => all = BTreeMap::from([(PathBuf::from("/"), OWN)]),
                Op::Bind { target, attributes, .. }
                | Op::Mount { target, attributes, .. }
                | Op::Overlay { target, attributes, .. }
                | Op::Restrict { target, attributes } => _ = all.insert(place(target), attributes),
                Op::Content { target, .. } => _ = all.insert(place(target), DATA),
                Op::ReadOnly(target) => *all.entry(place(target)).or_insert(OWN) |= 1,
                _ => {}
            }
        }
        all
    }

    /// Every operation in words, in order, for `policy explain`.
    pub(crate) fn describe(&self) -> Vec<String> {
        let first = self.setup.iter().map(|op| format!("setup: {}", self.op(op)));
        let program = self.program.iter().map(|op| format!("program: {}", self.op(op)));
        let exec =
            self.candidates.iter().map(|path| format!("program: execute {}", self.read(*path)));
        first.chain(program).chain(exec).collect()
    }

    /// The error for a failure that the child told.
    pub(crate) fn failure(&self, phase: Phase, index: i32, errno: i32) -> PlatformError {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let cause = || Some(std::io::Error::from_raw_os_error(errno));
        let step = |list: &[Op]| {
            let op = list.get(place);
            let step = op.map_or_else(|| "an unknown step".into(), |op| self.op(op));
            let message = format!("launch failed at `{step}`");
            let failed = PlatformError::launch(Stage::Setup, message, cause());
            match (op, errno) {
                (Some(Op::Mount { kind, .. }), libc::EPERM) if self.read(*kind) == "proc" => {
                    failed.with_hint(PROC_IS_COVERED)
                }
                // Nobody under Landlock rules may change what is mounted, whatever the rules (landlock(7)); filters of
                // system calls forbid it to most; and where AppArmor restricts user namespaces, there is no right to it.
                (
                    Some(
                        Op::OwnQuotaView
                        | Op::PrivateMounts
                        | Op::NewRoot { .. }
                        | Op::Hostname { .. }
                        | Op::LoopbackUp
                        | Op::DropGroups,
                    ),
                    libc::EPERM | libc::EACCES,
                ) => failed.with_hint(AROUND),
                // Linux 5.14, which is needed, has every call.
                (_, libc::ENOSYS) => failed.with_hint(FILTERED),
                (Some(Op::Overlay { .. }), _) => failed.with_hint(
                    "users can copy on write since Linux 5.11, and root for its sandboxes since 5.19; changes can be kept on a disk \
                     or a tmpfs, not on another overlay",
                ),
                _ => failed,
            }
        };
        match phase {
            Phase::Setup => step(&self.setup),
            Phase::Program => step(&self.program),
            Phase::Init => {
                let step = [
                    "lock the first process",
                    "start the program's process",
                    "unblock signals",
                    "watch for the end of children",
                    "drop init's rights",
                    "hand over what tells of denied system calls",
                    "be the first of its processes",
                ];
                let step = step.get(place).copied().unwrap_or("an unknown step");
                PlatformError::launch(Stage::Setup, format!("launch failed at `{step}`"), cause())
            }
            Phase::Exec => {
                let name = self.argv.first().map_or_else(String::new, |text| self.read(*text));
                let path = self
                    .candidates
                    .get(place)
                    .map_or_else(|| name.clone(), |text| self.read(*text));
                if errno == libc::ENOENT || errno == libc::ENOTDIR {
                    let message =
                        format!("failed to execute `{name}`: not found inside the sandbox");
                    PlatformError::launch(Stage::NotFound, message, None).with_hint(
                        "a program must be below a path that the policy's `filesystem.read` names",
                    )
                } else {
                    let message = format!("failed to execute `{path}`");
                    PlatformError::launch(Stage::NotExecutable, message, cause())
                }
            }
        }
    }

    /// A path in a mount of the sandbox's own, as seen inside.
    fn joined(&self, within: Text, path: Text) -> String {
        match self.read(within) {
            top if top.is_empty() => format!("/{}", self.read(path)),
            top => format!("/{top}/{}", self.read(path)),
        }
    }

    fn op(&self, op: &Op) -> String {
        match *op {
            Op::Enter { .. } => "enter the sandbox".into(),
            Op::ReserveDescriptors { count } => format!("keep {count} descriptors free"),
            Op::OwnQuotaView => "hide the host's cgroup tree".into(),
            Op::PrivateMounts => "make mounts private".into(),
            Op::ClockOffsets(text) => {
                format!("set clock offsets {}", self.read(text).replace('\n', " ").trim_end())
            }
            Op::DropGroups => "drop supplementary groups".into(),
            Op::Identity { user, group } => format!("become user {user} group {group}"),
            Op::Hostname { name, .. } => format!("set host name {}", self.read(name)),
            Op::LoopbackUp => "bring loopback up".into(),
            Op::Listen { port } => format!("listen on 127.0.0.1:{port} and hand the socket out"),
            Op::OfferSockets => "offer sockets of this network".into(),
            Op::NewRoot { size } => format!("mount a new root ({} bytes)", self.read(size)),
            Op::Directory { within, path, mode } => {
                format!("make directory {} mode {mode:o}", self.joined(within, path))
            }
            Op::EmptyFile { within, path } => format!("make file {}", self.joined(within, path)),
            Op::Content { target, len, mode, .. } => {
                format!("mount /{} (file of {len} bytes, mode {mode:o})", self.read(target))
            }
            Op::Symlink { target, within, path } => {
                format!("link {} -> {}", self.joined(within, path), self.read(target))
            }
            Op::Bind { source, target, attributes, .. } => {
                let source = match source {
                    Source::Path(path) => self.read(path),
                    Source::Inside(path) => format!("what is there, /{}", self.read(path)),
                    Source::Tree(fd) => format!("tree {fd}"),
                };
                let kind = if attributes & 1 == 1 { "read-only" } else { "writable" };
                format!("mount /{} ({kind} bind of {source})", self.read(target))
            }
            Op::Mount { kind, target, .. } => {
                format!("mount /{} ({})", self.read(target), self.read(kind))
            }
            Op::Overlay { lower, upper, target, .. } => {
                let (lower, upper) = (self.read(lower), self.read(upper));
                format!(
                    "mount /{} (copy on write of {lower}, changes to {upper})",
                    self.read(target)
                )
            }
            Op::Restrict { target, .. } => {
                format!("restrict what is mounted at /{}", self.read(target))
            }
            Op::ReadOnly(mount) => format!("make /{} read-only", self.read(mount)),
            Op::PivotRoot => "pivot to the new root".into(),
            Op::Terminal { .. } => "open a terminal".into(),
            Op::NewSession => "start a session".into(),
            Op::ForegroundGroup => "take the terminal's foreground".into(),
            Op::Stdio { from, to } => format!("make descriptor {from} the program's {to}"),
            Op::ResourceLimit { resource, soft, hard } => {
                format!("set {} to {soft} (hard {hard})", resource_name(resource))
            }
            Op::Nice(nice) => format!("set niceness {nice}"),
            Op::Affinity(mask) => format!("run on CPUs {mask:#x}"),
            Op::FileModeMask(mask) => format!("set umask {mask:03o}"),
            Op::WorkingDirectory(path) => format!("enter {}", self.read(path)),
            Op::BoundingSet { keep, .. } => format!("bound capabilities to {keep:#x}"),
            Op::LockSecureBits => "lock secure bits".into(),
            Op::CapabilitySets(mask) => format!("set capabilities to {mask:#x}"),
            Op::EndWithStarter => "end with the starter".into(),
            Op::NoNewPrivileges => "set no_new_privs".into(),
            Op::AccessRules { handled_net: 0, .. } => {
                format!("restrict files with Landlock ({} rules)", self.access.len())
            }
            Op::AccessRules { handled_fs: 0, .. } => {
                format!("restrict TCP ports with Landlock ({} rules)", self.ports.len())
            }
            Op::AccessRules { .. } => {
                let (files, ports) = (self.access.len(), self.ports.len());
                format!("restrict files and TCP ports with Landlock ({files} and {ports} rules)")
            }
            Op::CloseDescriptors { first } => format!("close descriptors from {first} up"),
            Op::SyscallFilter { plain, told } => {
                let filter = self.filters.get(plain as usize).map_or(0, |filter| filter.len());
                let told = if told.is_some() { ", denials told" } else { "" };
                format!("install system call filter ({filter} instructions{told})")
            }
        }
    }
}

impl Drop for OwnedScript {
    /// Secrets and the environment don't stay in memory that somebody else gets next.
    fn drop(&mut self) {
        self.text.fill(0);
        std::hint::black_box(&self.text);
    }
}

fn resource_name(number: u32) -> &'static str {
    const NAMES: [(Resource, &str); 10] = [
        (Resource::Cpu, "RLIMIT_CPU"),
        (Resource::Fsize, "RLIMIT_FSIZE"),
        (Resource::Data, "RLIMIT_DATA"),
        (Resource::Core, "RLIMIT_CORE"),
        (Resource::Nproc, "RLIMIT_NPROC"),
        (Resource::Nofile, "RLIMIT_NOFILE"),
        (Resource::Stack, "RLIMIT_STACK"),
        (Resource::Memlock, "RLIMIT_MEMLOCK"),
        (Resource::Rtprio, "RLIMIT_RTPRIO"),
        (Resource::Nice, "RLIMIT_NICE"),
    ];
    let known = NAMES.iter().find(|(resource, _)| *resource as u32 == number);
    known.map_or("a resource limit", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_nul_is_refused_and_the_same_text_is_stored_once() {
        let mut script = OwnedScript::default();
        assert!(script.text("a\0b").is_err());
        let first = script.text("/usr");
        assert_eq!(first.as_ref().ok(), script.text("/usr").as_ref().ok());
        assert_eq!(script.read(first.unwrap()), "/usr");
    }

    #[test]
    fn a_call_that_the_kernel_has_and_refuses_to_know_is_taken_for_filtered() {
        let mut script = OwnedScript::default();
        let size = script.text("4m").unwrap();
        script.setup.push(Op::NewRoot { size });
        let error = script.failure(Phase::Setup, 0, libc::ENOSYS);
        assert_eq!(error.to_string(), "launch failed at `mount a new root (4m bytes)`");
        assert_eq!(error.hint(), Some(FILTERED));
        assert_eq!(script.failure(Phase::Setup, 0, libc::ENOMEM).hint(), None);
    }

    #[test]
    fn a_failure_names_its_step_and_object() {
        let mut script = OwnedScript::default();
        let (source, target) = (script.text("/data").unwrap(), script.text("data").unwrap());
        script.setup.push(Op::Bind {
            source: Source::Path(source),
            target,
            attributes: 1,
            device: 0,
        });
        let error = script.failure(Phase::Setup, 0, libc::ENOENT);
        assert_eq!(error.to_string(), "launch failed at `mount /data (read-only bind of /data)`");
    }
}
