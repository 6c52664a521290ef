//! Policies: what a program may do and use.
//!
//! A policy has two forms. What somebody wrote may be wrong, and knows where each value stands. A [`Policy`] is what was
//! meant: it is checked, and knows nothing of files. Turning the one into the other reports every problem at once
//! ([`PolicyError`]).
//!
//! * The keys, with their types and meanings, are one table, from which [`schema`] is made too.
//! * A policy may extend another, a shipped one or a file. The extending policy's single values replace those below;
//!   its lists and tables add to those below, and have the last word on an entry that both name.
//! * A relative path starts at the file that has it; in a shipped policy and on the command line, where the command was
//!   started.

mod chain;
mod check;
mod diff;
mod draft;
mod edit;
mod explain;
mod exposure;
mod key;
pub(crate) mod keys;
mod layer;
mod learn;
mod lint;
mod overrides;
mod paths;
pub(crate) mod problem;
mod remedy;
mod schema;
mod shown;
pub(crate) mod source;
pub(crate) mod suggest;
pub(crate) mod syntax;
mod syscalls;
pub(crate) mod value;
mod widening;

pub use diff::{Difference, Wider, diff};
pub use explain::{Explained, explain, explain_syscalls};
pub use exposure::{Exposure, Finding, exposure};
pub use learn::{Files, HostFiles, Learned};
pub use lint::{Warning, lint};
pub use overrides::{Override, UnknownKey};
pub use problem::{PolicyError, Problem};
pub(crate) use remedy::denial;
pub use schema::schema;
pub use syscalls::{CallRuling, ExplainedCall, syscall_reasons};
pub use widening::{Addition, PolicyFile, Widening};

use crate::platform::{
    Access, AllowRule, Bind, Bytes, Capabilities, ClockOffsets, Control, Cores, Environment,
    Filesystem, Identity, Limits, Network, Overlay, Publish, Secret, Syscalls, TcpPorts,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a program may do and use: checked, complete, and free of host facts other than paths.
///
/// ```
/// use stockade::Policy;
/// use stockade::platform::Bytes;
///
/// let policy = Policy::shipped("worker")?.memory(Bytes::mib(64)).write("/srv/out");
/// assert_eq!(policy.limits.memory, Some(Bytes::mib(64)));
/// # Ok::<(), stockade::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Policy {
    /// Name for people and reports: a shipped name, or a file's without `.toml`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Quotas.
    pub limits: Limits,
    /// What exists of the file system.
    pub filesystem: Filesystem,
    /// Whether the same file rules are held a second time, as far as the platform can.
    pub access_rules: bool,
    /// Files that the program alone can read.
    pub secrets: Vec<Secret>,
    /// What of the network can be reached.
    pub network: Network,
    /// Whom a filtered network lets out to; nobody when it is empty.
    pub allow: Vec<AllowRule>,
    /// What a filtered network lets in.
    pub publish: Vec<Publish>,
    /// TCP ports that the program may use, whatever the network.
    pub tcp: TcpPorts,
    /// Who the program is.
    pub identity: Identity,
    /// Privileged abilities that stay.
    pub capabilities: Capabilities,
    /// System calls.
    pub syscalls: Arc<Syscalls>,
    /// Clock offsets.
    pub clock: ClockOffsets,
    /// Environment variables.
    pub environment: Environment,
    /// Whether Stockade's init is the first process.
    pub init: bool,
    /// Controls that may be degraded or missing.
    pub degrade: BTreeSet<Control>,
    /// What people should know before they use it here.
    #[serde(skip)]
    pub(crate) warnings: Vec<String>,
}

/// Names and descriptions of the policies that come with Stockade.
///
/// ```
/// assert!(stockade::policy::shipped().any(|(name, _)| name == "worker"));
/// ```
pub fn shipped() -> impl Iterator<Item = (&'static str, String)> {
    source::SHIPPED.iter().map(|shipped| {
        // Only the descriptions are wanted, so any directory will do.
        let loaded = chain::load(OsStr::new(shipped.name), &[], Path::new("/"));
        let describe = |loaded: chain::Loaded| loaded.draft.policy.description;
        (shipped.name, loaded.map_or_else(|error| error.to_string(), describe))
    })
}

/// The file of a policy that comes with Stockade.
///
/// # Errors
/// When there is none of this name.
pub fn shipped_text(name: &str) -> Result<&'static str, PolicyError> {
    let found = source::find(OsStr::new(name));
    found.map(|shipped| shipped.text).map_err(|message| Problem::whole("policy", message).into())
}

/// The tables of a policy file.
pub(crate) fn sections() -> impl Iterator<Item = &'static str> {
    keys::SECTIONS.iter().map(|(name, _)| *name)
}

pub(crate) use chain::{Over, load_under};

/// The most bytes that a policy file has.
pub const LARGEST_FILE: u64 = source::LARGEST;

/// Whether what stands behind `-p` is a file; else it is the name of a shipped policy.
///
/// ```
/// assert!(stockade::policy::is_file("./worker") && !stockade::policy::is_file("worker"));
/// ```
pub fn is_file(word: impl AsRef<OsStr>) -> bool {
    matches!(source::reference(word.as_ref()), Ok(source::Reference::File(_)))
}

impl Policy {
    /// A policy that comes with Stockade. Its relative paths start at the current directory.
    ///
    /// # Errors
    /// When there is none of this name, or the current directory is gone.
    pub fn shipped(name: &str) -> Result<Self, PolicyError> {
        shipped_text(name)?;
        Self::load(name, &[], &current_directory()?)
    }

    /// A policy file.
    ///
    /// # Errors
    /// Everything that is wrong with it and with the policies that it extends.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let path = path.as_ref();
        let directory = current_directory()?;
        // A path without a slash would be taken for a shipped name.
        let full = directory.join(path);
        Self::load(
            if path.components().count() == 1 { full.as_path() } else { path },
            &[],
            &directory,
        )
    }

    /// The policy that `word` means, a shipped name or a path (with a `/`, or ending in `.toml`), with `overrides`.
    /// `directory` is where relative paths start: the one of `word`, and those in shipped policies and overrides.
    ///
    /// # Errors
    /// Everything that is wrong with the policy, with those that it extends, and with the overrides.
    pub fn load(
        word: impl AsRef<OsStr>,
        overrides: &[Override],
        directory: &Path,
    ) -> Result<Self, PolicyError> {
        chain::load(word.as_ref(), overrides, directory).map(|loaded| loaded.draft.policy)
    }

    /// What people should know before they use this policy here: what it had to leave out.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A fingerprint of what it means, in hexadecimal: the same for policies that allow the same, whatever their names.
    pub fn digest(&self) -> String {
        let meaning = (
            (&self.limits, &self.filesystem, &self.identity, &self.capabilities),
            (self.network, &self.allow, &self.publish, &self.tcp),
            (
                &self.syscalls,
                self.clock,
                &self.environment,
                self.init,
                self.access_rules,
                &self.degrade,
            ),
        );
        let mut hash = Sha256::new();
        // These types have no map with other keys than texts, so that they can always be written.
        hash.update(serde_json::to_vec(&meaning).unwrap_or_default());
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The same policy with this much memory.
    #[must_use]
    pub fn memory(mut self, size: Bytes) -> Self {
        self.limits.memory = Some(size);
        self
    }

    /// The same policy with this much CPU.
    #[must_use]
    pub fn cpu(mut self, cores: Cores) -> Self {
        self.limits.cpu = Some(cores);
        self
    }

    /// The same policy with this many processes and threads.
    #[must_use]
    pub fn pids(mut self, number: u32) -> Self {
        self.limits.pids = Some(number);
        self
    }

    /// The same policy with this much time from start to end.
    #[must_use]
    pub fn wall_time(mut self, time: Duration) -> Self {
        self.limits.wall_time = Some(time);
        self
    }

    /// The same policy with a path that can be read. A relative one starts at the current directory.
    #[must_use]
    pub fn read(mut self, path: impl AsRef<Path>) -> Self {
        self.bind(Bind::same(absolute(path.as_ref()), Access::Read));
        self
    }

    /// The same policy with a path that can be changed. A relative one starts at the current directory.
    #[must_use]
    pub fn write(mut self, path: impl AsRef<Path>) -> Self {
        self.bind(Bind::same(absolute(path.as_ref()), Access::Write));
        self
    }

    /// The same policy with a directory of the host as the root, without the host paths that it showed before. A relative
    /// one starts at the current directory.
    #[must_use]
    pub fn root(mut self, path: impl AsRef<Path>) -> Self {
        self.filesystem.binds.clear();
        self.filesystem.root = Some(absolute(path.as_ref()));
        self
    }

    /// The same policy with a directory that can be changed inside and stays as it is on the host. A relative one starts at
    /// the current directory.
    #[must_use]
    pub fn copy(mut self, path: impl AsRef<Path>) -> Self {
        self.bind(Bind::same(absolute(path.as_ref()), Access::Copy));
        self
    }

    /// The same policy with a place for the changes to copies; its root is one then.
    #[must_use]
    pub fn overlay(mut self, overlay: Overlay) -> Self {
        self.filesystem.overlay = Some(overlay);
        self
    }

    /// The same policy with this network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// The same policy with somebody whom its filtered network lets out to.
    ///
    /// ```
    /// use stockade::Policy;
    /// use stockade::platform::Network;
    ///
    /// let policy = Policy::shipped("worker")?;
    /// let policy = policy.network(Network::Filtered).allow("example.org:443".parse().unwrap());
    /// assert_eq!(policy.allow.len(), 1);
    /// # Ok::<(), stockade::policy::PolicyError>(())
    /// ```
    #[must_use]
    pub fn allow(mut self, rule: AllowRule) -> Self {
        self.allow.push(rule);
        self
    }

    /// The same policy with a port that leads inside of its filtered network.
    #[must_use]
    pub fn publish(mut self, publish: Publish) -> Self {
        self.publish.push(publish);
        self
    }

    /// The same policy with a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.set_variable(name.as_ref(), value.as_ref());
        self
    }

    /// The same policy, accepting that `control` is held less well, or not at all, where the host can't.
    #[must_use]
    pub fn degrade(mut self, control: Control) -> Self {
        self.degrade.insert(control);
        self
    }

    /// Shows a path for reading, where nothing is said of it.
    pub(crate) fn read_too(mut self, path: PathBuf) -> Self {
        if !self.filesystem.binds.iter().any(|bind| bind.target == path) {
            let target = path.clone();
            self.bind(Bind { source: path, target, access: Access::Read, optional: true });
        }
        self
    }

    /// Shows a path; what was said of that place before no longer counts.
    fn bind(&mut self, bind: Bind) {
        self.filesystem.binds.retain(|known| known.target != bind.target);
        self.filesystem.binds.push(bind);
    }

    /// Sets a variable, over one that is kept.
    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.keep.retain(|known| known != name);
        self.environment.set.insert(name.to_owned(), value.to_owned());
    }
}

/// What single values said anew change of a sandbox that runs.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    pub(crate) limits: Limits,
    /// The whole of `network.allow`, where any of it was said.
    pub(crate) allow: Option<Vec<AllowRule>>,
}

/// Limits, and whom a filtered network lets out to, said anew: checked with the same rules as a policy's. What is said of
/// `network.allow` is the whole list, in which the word `none` stands for nothing.
///
/// # Errors
/// As [`change_limits`].
pub(crate) fn change(
    limits: &Limits,
    overrides: &[Override],
    directory: &Path,
) -> Result<Changes, PolicyError> {
    chain::change(limits, overrides, directory)
}

/// Limits with single values said anew, checked with the same rules as a policy's. `directory` is where relative paths
/// start.
///
/// # Errors
/// Everything that is wrong with the values, and a value of something else than a limit.
pub fn change_limits(
    limits: &Limits,
    overrides: &[Override],
    directory: &Path,
) -> Result<Limits, PolicyError> {
    chain::change_limits(limits, overrides, directory)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn current_directory() -> Result<PathBuf, PolicyError> {
    std::env::current_dir().map_err(|error| {
        Problem::whole("policy", format!("failed to find the current directory: {error}")).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_policy_is_right_and_has_a_description() {
        for (name, description) in shipped() {
            let policy = Policy::load(name, &[], Path::new("/srv/app")).unwrap();
            assert_eq!(policy.name, name);
            assert_eq!(policy.description, description);
            assert!(!description.is_empty() && !description.ends_with('.'));
            assert_eq!(policy.warnings(), [""; 0]);
        }
    }

    #[test]
    fn shipped_policies_take_the_path_of_no_caller_and_show_no_secrets() {
        for (name, _) in shipped() {
            let policy = Policy::load(name, &[], Path::new("/srv/app")).unwrap();
            assert!(policy.environment.set["PATH"].split(':').all(|part| part.starts_with('/')));
            assert!(!policy.environment.keep.iter().any(|name| name == "PATH"));
            for bind in &policy.filesystem.binds {
                for secret in ["/etc/shadow", "/etc/ssl/private", "/root", "/home", "/etc/sudoers"]
                {
                    assert!(!Path::new(secret).starts_with(&bind.target), "{name}: {secret}");
                }
                assert!(
                    bind.access == Access::Read || bind.target == Path::new("/srv/app"),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn only_the_default_accepts_weaker_limits() {
        for (name, _) in shipped().filter(|(name, _)| *name != "default") {
            let policy = Policy::load(name, &[], Path::new("/srv/app")).unwrap();
            let accepted = [Control::AccessRules, Control::Groups];
            assert!(policy.degrade.iter().all(|control| accepted.contains(control)), "{name}");
        }
    }

    #[test]
    fn where_the_sandbox_has_its_own_the_working_directory_is_left_out_and_that_is_told() {
        for (place, told) in [
            ("/", "`/` can't be shown"),
            ("/tmp", "`/tmp` is the sandbox's own"),
            ("/proc/1", "`/proc`"),
        ] {
            let policy = Policy::load("default", &[], Path::new(place)).unwrap();
            assert!(policy.warnings()[0].contains(told), "{:?}", policy.warnings());
            assert!(!policy.filesystem.binds.iter().any(|bind| bind.target == Path::new(place)));
        }
    }

    #[test]
    fn digests_tell_meanings_apart_not_names() {
        let worker = Policy::load("worker", &[], Path::new("/srv")).unwrap();
        let mut renamed = worker.clone();
        renamed.name = "other".into();
        assert_eq!(worker.digest(), renamed.digest());
        assert_eq!(worker.digest().len(), 64);
        assert_ne!(worker.digest(), worker.memory(Bytes::mib(1)).digest());
    }
}
