//! The launch plan: everything about one launch, decided, as plain data.

mod environment;
mod filesystem;
mod limits;
mod syscalls;

pub use environment::Environment;
pub use filesystem::{Access, Bind, Filesystem, Mask, MaskKind, Overlay, ProcView, SysView, Tmp};
pub use limits::{Limits, OomKill};
pub use syscalls::{ArgumentTest, Compare, OnViolation, SyscallAnswer, SyscallRule, Syscalls};

use crate::{AllowRule, Control, IdRange, Network, Publish, Secret, TcpPorts, Token};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

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

/// Offsets added to the sandbox's clocks, in whole seconds; zero is the host's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClockOffsets {
    /// Added to the monotonic clock.
    pub monotonic: i64,
    /// Added to the boot-time clock (uptime).
    pub boottime: i64,
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

fn texts<S: Serializer>(texts: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(|text| readable(text)))
}

fn pairs<S: Serializer>(pairs: &[(OsString, OsString)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (readable(name), readable(value))))
}

pub(crate) fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&readable(path.as_os_str()))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_utf8_stays_readable() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(readable(OsStr::from_bytes(b"a\xffb")), "a\\xffb");
    }
}
