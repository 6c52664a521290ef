//! Policies: what a program may do and use.
//!
//! A policy has two forms. A `PolicyFile` is what somebody wrote: it may be wrong, and knows where each value stands.
//! A [`Policy`] is what was meant: it can't be wrong, and knows nothing of files. Turning the one into the other
//! reports every problem at once.

mod syscalls;

use crate::platform::{
    Capabilities, ClockOffsets, Control, Environment, Filesystem, Identity, Limits, Network,
    Syscalls,
};
use serde::Serialize;
use std::collections::BTreeSet;

/// What a program may do and use: checked, complete, and free of host facts other than paths.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Policy {
    /// Name for people and reports: a shipped name, a file's stem, or `custom`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Quotas.
    pub limits: Limits,
    /// What exists of the file system.
    pub filesystem: Filesystem,
    /// What of the network can be reached.
    pub network: Network,
    /// Who the program is.
    pub identity: Identity,
    /// Privileged abilities that stay.
    pub capabilities: Capabilities,
    /// System calls.
    pub syscalls: Syscalls,
    /// Clock offsets.
    pub clock: ClockOffsets,
    /// Environment variables.
    pub environment: Environment,
    /// Whether Stockade's init is the first process.
    pub init: bool,
    /// Controls that may be degraded or missing.
    pub degrade: BTreeSet<Control>,
}

/// stub
#[derive(Debug)]
pub struct PolicyError(String);
impl std::fmt::Display for PolicyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for PolicyError {}
pub(crate) fn flags() -> Vec<clap::Arg> {
    vec![
        clap::Arg::new("memory").long("memory"),
        clap::Arg::new("wall").long("wall-time"),
        clap::Arg::new("grace").long("grace"),
        clap::Arg::new("write").long("write"),
    ]
}
pub(crate) fn overrides(m: &clap::ArgMatches) -> Vec<(String, String)> {
    ["memory", "wall", "grace", "write"]
        .iter()
        .filter_map(|k| m.get_one::<String>(k).map(|v| (k.to_string(), v.clone())))
        .collect()
}
impl Policy {
    pub fn digest(&self) -> String {
        "0".into()
    }
    pub fn shipped(name: &str) -> Result<Self, PolicyError> {
        Self::load(name.as_ref(), &[], &std::env::current_dir().unwrap())
    }
    pub fn load(
        name: &std::ffi::OsStr,
        o: &[(String, String)],
        cwd: &std::path::Path,
    ) -> Result<Self, PolicyError> {
        use crate::platform::*;
        let mut limits = Limits::default();
        limits.pids = Some(64);
        limits.memory = Some(Bytes::mib(256));
        let mut filesystem = Filesystem::default();
        for p in ["/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache"] {
            let mut b = Bind::same(p, Access::Read);
            b.optional = true;
            filesystem.binds.push(b);
        }
        filesystem.binds.push(Bind::same(cwd, Access::Read));
        filesystem.tmp = Some(Tmp { size: Bytes::mib(64) });
        for (k, v) in o {
            match k.as_str() {
                "memory" => limits.memory = Some(v.parse().unwrap()),
                "wall" => limits.wall_time = Some(parse_duration(v).unwrap()),
                "grace" => limits.grace = parse_duration(v).unwrap(),
                "write" => filesystem
                    .binds
                    .push(Bind::same(std::fs::canonicalize(v).unwrap(), Access::Write)),
                _ => {}
            }
        }
        let mut identity = Identity::default();
        identity.hostname = Some("sandbox".into());
        let mut environment = Environment::default();
        environment.set = [("PATH".to_string(), "/usr/local/bin:/usr/bin:/bin".to_string())].into();
        environment.keep = vec!["TERM".into()];
        let syscalls = syscalls::expand("default", &[], &[], OnViolation::Error).unwrap();
        Ok(Policy {
            name: name.to_string_lossy().into_owned(),
            description: String::new(),
            limits,
            filesystem,
            network: Network::None,
            identity,
            capabilities: Capabilities::default(),
            syscalls,
            clock: ClockOffsets::default(),
            environment,
            init: true,
            degrade: Control::all().collect(),
        })
    }
}
