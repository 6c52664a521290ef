//! What a run needed that a policy file doesn't permit, and the file with just that added. Pure, but for what it is told of
//! the host's files.
//!
//! Nothing is taken away and nothing made narrower. What the file denies in so many words (`deny`, `hide`, `syscalls.deny`,
//! rules, a place for reading within one for writing) stays denied, and so does what no ordinary program needs: a program that
//! means harm would only have to ask. Both are told.

use super::chain::{self, Loaded};
use super::edit::{self, Written};
use super::explain::{self, Explained};
use super::keys;
use super::learn::{Files, collapsed, is_of_host, outermost};
use super::learn::{room_for_memory, room_for_pids, room_for_time};
use super::problem::{PolicyError, Problem};
use super::syscalls::Standing;
use super::{Override, Policy, exposure};
use crate::platform::{Access, Host, LaunchPlan, MaskKind, Named, Network, Wall, Wished};
use crate::report::ExitReport;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Places of the system's own programs and settings: to change them is never what one program needs.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/boot"];

/// A policy file that can be added to, as it is written and as it is meant.
#[derive(Debug)]
pub struct PolicyFile {
    /// As it was named.
    path: PathBuf,
    /// Where the command was started.
    directory: PathBuf,
    text: String,
    loaded: Loaded,
}

/// One thing to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The key.
    pub key: &'static str,
    pub(super) written: Written,
    /// The value, as [`explain`](super::explain) has it.
    pub shown: String,
    /// What of the run needs it; a few words.
    pub why: String,
}

/// What a run needed, compared with what a policy file permits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Widening {
    /// What is missing.
    pub additions: Vec<Addition>,
    /// What the program tried and doesn't get, each with the reason, in a line.
    pub refused: Vec<String>,
}

impl PolicyFile {
    /// The file at `path` with this content; relative paths of shipped policies that it extends start at `directory`.
    ///
    /// # Errors
    /// Everything that is wrong with it and with the policies that it extends.
    pub fn new(path: &Path, content: &[u8], directory: &Path) -> Result<Self, PolicyError> {
        let loaded = chain::load_bytes(content.to_owned(), path, &[], directory)?;
        let text = String::from_utf8_lossy(content).into_owned();
        Ok(Self { path: path.to_owned(), directory: directory.to_owned(), text, loaded })
    }

    /// What it means.
    pub fn policy(&self) -> &Policy {
        &self.loaded.draft.policy
    }

    /// What it means, key by key, as [`explain`](super::explain) gives it.
    pub fn explained(&self) -> Vec<Explained> {
        explain::values(&self.loaded)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The policy to watch a run under: the file's own, but for what is to be found out. What the policy `default` shows is
    /// shown, the usual system calls may be made, memory and processes have at least the limits of `default`, and time has
    /// none. `overrides` have the last word.
    ///
    /// # Errors
    /// What is wrong with the overrides.
    pub fn watched(&self, overrides: &[Override]) -> Result<Policy, PolicyError> {
        let default = Policy::load("default", &[], &self.directory)?;
        let limits = &self.policy().limits;
        let mut all = vec![
            ("syscalls.base", "default".to_owned()),
            ("syscalls.on_violation", "error".into()),
            ("limits.wall_time", "unlimited".into()),
            ("limits.memory_high", "unlimited".into()),
            ("limits.memory_stall", "unlimited".into()),
        ];
        // What isn't limited is wider than any limit.
        let sizes = [
            ("limits.memory", limits.memory, default.limits.memory),
            ("limits.swap", limits.swap, default.limits.swap),
        ];
        for (key, own, usual) in sizes {
            if let (Some(own), Some(usual)) = (own, usual) {
                all.push((key, format!("{}B", own.max(usual).0)));
            }
        }
        if let (Some(own), Some(usual)) = (limits.pids, default.limits.pids) {
            all.push(("limits.pids", own.max(usual).to_string()));
        }
        all.extend(default.degrade.iter().map(|control| ("degrade.allow", control.to_string())));
        let known = |(key, value): (&str, String)| {
            keys::find(key).map(|key| Override::of(key, value.into()))
        };
        let said = |one: &Override| overrides.iter().any(|own| own.path() == one.path());
        let mut all: Vec<Override> = all
            .into_iter()
            .filter_map(known)
            .filter(|one| one.key.is_many() || !said(one))
            .collect();
        // Named here and by the caller it would be named twice.
        all.retain(|one| {
            !overrides.iter().any(|own| own.path() == one.path() && own.value() == one.value())
        });
        all.extend(overrides.iter().cloned());
        let content = self.text.clone().into_bytes();
        let mut policy =
            chain::load_bytes(content, &self.path, &all, &self.directory)?.draft.policy;
        // Where the command was started, above all.
        let usual = default.filesystem.binds.into_iter().map(|bind| bind.target);
        let has_own_root = policy.filesystem.root.is_none();
        for path in usual.filter(|_| has_own_root) {
            let binds = &policy.filesystem.binds;
            if !binds.iter().any(|bind| path.starts_with(&bind.target)) {
                policy = policy.read_too(path);
            }
        }
        Ok(policy)
    }

    /// What a run under the policy `used` needed and the file doesn't permit. `base` says which system calls are usual.
    pub fn missing(
        &self,
        (wished, report): (&Wished, &ExitReport),
        used: &Policy,
        base: &Policy,
        files: &impl Files,
    ) -> Widening {
        let mut widening = Widening::default();
        self.limits(report, &mut widening);
        if self.policy().filesystem.root.is_none() {
            self.paths(wished, used, files, &mut widening);
        }
        self.network(wished, report, &mut widening);
        self.calls(wished, report, base, &mut widening);
        if wished.partial {
            let told = "it did more than was taken note of: something may be missing still";
            widening.refused.push(told.into());
        }
        widening
    }

    /// The file with these added.
    ///
    /// # Errors
    /// When what comes out is no policy, which then isn't for anybody to use.
    pub fn widened(&self, additions: &[Addition]) -> Result<Self, PolicyError> {
        let place = self.directory.join(&self.path);
        let beside = place.parent().unwrap_or(&self.directory);
        let text = edit::add(&self.text, additions, &self.relative_start(beside));
        let shown = LaunchPlan::readable(&self.path);
        let text = text.map_err(|error| Problem::whole(shown, error.message()))?;
        Self::new(&self.path, text.as_bytes(), &self.directory)
    }

    /// Where its relative paths start.
    fn relative_start(&self, beside: &Path) -> PathBuf {
        let own = self.loaded.sources.first();
        own.map_or_else(|| beside.to_owned(), |source| source.directory.clone())
    }

    /// Where the file, or one that it extends, says this.
    fn place(&self, key: &str, entry: &str) -> String {
        let key = keys::find(key);
        key.map_or_else(String::new, |key| explain::origin(key, entry, &self.loaded))
    }

    fn limits(&self, report: &ExitReport, widening: &mut Widening) {
        let limits = &self.policy().limits;
        let mut add = |key, written, shown: String, why: String| {
            widening.additions.push(Addition { key, written, shown, why });
        };
        if let (Some(limit), Some(used)) = (limits.memory, report.memory.peak)
            && used > limit
        {
            let room = room_for_memory(used).to_string();
            add("limits.memory", Written::Text(room.clone()), room, format!("it used {used}"));
        }
        if let (Some(limit), Some(used)) = (limits.pids, report.pids.used.peak)
            && used > u64::from(limit)
        {
            let room = room_for_pids(used);
            let number = Written::Number(i64::try_from(room).unwrap_or(i64::MAX));
            add("limits.pids", number, room.to_string(), format!("it had {used}"));
        }
        if let Some(limit) = limits.wall_time
            && report.wall_time > limit
        {
            let room = format!("{}s", room_for_time(report.wall_time));
            let why = format!("it took {:.1}s, watched", report.wall_time.as_secs_f64());
            add("limits.wall_time", Written::Text(room.clone()), room, why);
        }
    }

    fn paths(&self, wished: &Wished, used: &Policy, files: &impl Files, widening: &mut Widening) {
        let mut read: BTreeMap<PathBuf, &'static str> = BTreeMap::new();
        let mut write: BTreeMap<PathBuf, (PathBuf, &'static str)> = BTreeMap::new();
        let mut refused = BTreeSet::new();
        let mut listed: BTreeSet<PathBuf> = BTreeSet::new();
        for (path, Named { access, call }) in &wished.paths {
            if !is_of_host(path, used) {
                continue;
            }
            let real = files.real(path);
            let standings = [path, &real].map(|path| self.standing(path, *access));
            let because = standings.iter().find_map(|standing| match standing {
                Shown::Denied(because) => Some(because.clone()),
                _ => None,
            });
            if let Some(because) = because {
                refused.insert(because);
                continue;
            }
            // The link is made again inside when what it leads to is shown by the link's name.
            let missing = [path, &real].into_iter().zip(&standings);
            let missing =
                missing.filter(|(_, standing)| **standing == Shown::Not).map(|(it, _)| it);
            let Some(path) = missing.map(PathBuf::as_path).next() else { continue };
            let found = files.is_directory(path);
            if *access == Access::Read {
                if found == Some(true) && ["open", "openat", "openat2"].contains(call) {
                    listed.insert(path.to_owned());
                }
                if found == Some(false) && !exposure::is_servant(&real) {
                    read.insert(path.to_owned(), call);
                } else if found == Some(false) {
                    let shown = LaunchPlan::readable(path);
                    refused.insert(format!(
                        "`{shown}` isn't added: it does anything for whoever connects"
                    ));
                }
                continue;
            }
            // What is made, renamed or removed needs the directory that it is in.
            let place = if found == Some(true) { Some(path) } else { path.parent() };
            let Some(place) = place.filter(|place| place.parent().is_some()) else { continue };
            if files.is_directory(place) != Some(true) {
                continue;
            }
            if SYSTEM.iter().any(|system| place.starts_with(system)) {
                let shown = LaunchPlan::readable(place);
                refused.insert(format!("writing to `{shown}` isn't added: that is the system's"));
            } else {
                write.entry(place.to_owned()).or_insert((path.to_owned(), call));
            }
        }
        let named = |call: &str| match call {
            "" => "a program that it executed".to_owned(),
            call => call.to_owned(),
        };
        let places: BTreeSet<PathBuf> = write.keys().cloned().collect();
        let outer: BTreeSet<PathBuf> = outermost(&places).into_iter().cloned().collect();
        for place in &outer {
            let Some((path, call)) = write.get(place) else { continue };
            let shown = LaunchPlan::readable(path);
            self.path("filesystem.write", place, format!("{call}: {shown}"), widening);
        }
        read.retain(|path, _| !outer.iter().any(|place| path.starts_with(place)));
        let all: BTreeSet<PathBuf> = read.keys().cloned().collect();
        let all = collapsed(&all);
        for path in outermost(&all) {
            let why = match read.get(path) {
                Some(call) => named(call),
                None => {
                    let below = read.keys().filter(|one| one.parent() == Some(path)).count();
                    format!("{below} files in it were named")
                }
            };
            self.path("filesystem.read", path, why, widening);
        }
        let binds = self.policy().filesystem.binds.iter().map(|bind| bind.target.as_path());
        let shown: BTreeSet<&Path> =
            binds.chain(all.iter().chain(&outer).map(PathBuf::as_path)).collect();
        // One that is there inside, if only for what is below it, may be enough.
        listed.retain(|path| !shown.iter().any(|one| one.starts_with(path)));
        for path in outermost(&listed) {
            let shown = LaunchPlan::readable(path);
            refused.insert(format!(
                "`{shown}` was listed and isn't added: that would show all below it"
            ));
        }
        let added = |start: &Path| all.iter().chain(&outer).any(|path| path.starts_with(start));
        if let Some(start) = &used.filesystem.workdir
            && self.policy().filesystem.workdir.is_none()
            && !shown.iter().any(|one| start.starts_with(one))
            && added(start)
            && let Some(text) = self.spelled(start)
        {
            let (key, shown) = ("filesystem.workdir", LaunchPlan::readable(start));
            let why = "it started there, which wouldn't be visible".to_owned();
            widening.additions.push(Addition { key, written: Written::Text(text), shown, why });
        }
        widening.refused.extend(refused);
    }

    fn path(&self, key: &'static str, path: &Path, why: String, widening: &mut Widening) {
        let shown = LaunchPlan::readable(path);
        let Some(text) = self.spelled(path) else {
            widening.refused.push(format!("`{shown}` isn't added: its name is not UTF-8"));
            return;
        };
        widening.additions.push(Addition { key, written: Written::Entry(text), shown, why });
    }

    /// A path as this file would have it: relative where its own are.
    fn spelled(&self, path: &Path) -> Option<String> {
        let start = self.loaded.sources.first().map(|source| source.directory.as_path());
        let below = start.and_then(|start| path.strip_prefix(start).ok());
        let is_relative = self.text.contains("\"./") || self.text.contains("\".\"");
        match below.filter(|below| is_relative && below.components().next().is_some()) {
            Some(below) => Some(format!("./{}", below.to_str()?)),
            None => path.to_str().map(str::to_owned),
        }
    }

    /// What is permitted of a path.
    fn standing(&self, path: &Path, wanted: Access) -> Shown {
        let filesystem = &self.policy().filesystem;
        let shown = LaunchPlan::readable(path);
        let length = |path: &Path| path.as_os_str().len();
        let masks = filesystem.masks.iter().filter(|mask| path.starts_with(&mask.path));
        let mask = masks.max_by_key(|mask| length(&mask.path));
        let mut binds: Vec<_> =
            filesystem.binds.iter().filter(|bind| path.starts_with(&bind.target)).collect();
        binds.sort_by_key(|bind| length(&bind.target));
        let bind = binds.pop();
        if let Some(mask) = mask
            && bind.is_none_or(|bind| length(&bind.target) <= length(&mask.path))
        {
            let key = match mask.kind {
                MaskKind::Hide => "filesystem.hide",
                MaskKind::Deny => "filesystem.deny",
            };
            let place = self.place(key, &LaunchPlan::readable(&mask.path));
            return Shown::Denied(format!("`{shown}` is denied by `{key}`, {place}: it stays so"));
        }
        match bind {
            _ if filesystem.files.contains_key(path) && wanted == Access::Read => Shown::Enough,
            Some(bind) if bind.access >= wanted => Shown::Enough,
            Some(bind) if binds.iter().any(|above| above.access >= wanted) => {
                let key =
                    if bind.optional { "filesystem.read_optional" } else { "filesystem.read" };
                let place = self.place(key, &LaunchPlan::readable(&bind.target));
                let within = "within what may be changed";
                Shown::Denied(format!("`{shown}` is for reading {within}, {place}: it stays so"))
            }
            _ => Shown::Not,
        }
    }

    fn network(&self, wished: &Wished, report: &ExitReport, widening: &mut Widening) {
        let policy = self.policy();
        if policy.network == Network::Host {
            return;
        }
        let is_allowed = |host: &Host, port: u16| {
            policy.network == Network::Filtered
                && policy.allow.iter().any(|rule| rule.target.covers(host) && rule.ports.has(port))
        };
        let mut allow = BTreeMap::new();
        for address in wished.connections.iter().filter(|address| !address.ip().is_loopback()) {
            if !is_allowed(&Host::Address(address.ip()), address.port()) {
                allow.insert(address.to_string(), "it connected there");
            }
        }
        let network = report.denials.iter().filter(|denial| denial.wall == Wall::Network);
        for denial in network {
            let line = denial.allow.as_deref().and_then(|line| line.split('"').nth(1));
            if let Some(entry) = line {
                allow.insert(entry.to_owned(), "it asked for it");
            }
        }
        if policy.network == Network::None && !allow.is_empty() {
            let (filtered, why) = ("filtered".to_owned(), "to reach whom `allow` names".to_owned());
            let written = Written::Text(filtered.clone());
            let key = "network.mode";
            widening.additions.push(Addition { key, written, shown: filtered, why });
        }
        for (entry, why) in allow {
            widening.additions.push(Addition {
                key: "network.allow",
                written: Written::Entry(entry.clone()),
                shown: entry,
                why: why.into(),
            });
        }
    }

    fn calls(&self, wished: &Wished, report: &ExitReport, base: &Policy, widening: &mut Widening) {
        let standing = self.loaded.draft.calls.standing();
        let of = |name: &str| standing.get(name).copied().unwrap_or(Standing::Unlisted);
        let mut told = BTreeSet::new();
        for name in &wished.calls {
            match of(name) {
                Standing::Allowed | Standing::Ruled { listed: true, .. } => {}
                Standing::Denied(entry) => {
                    told.insert(*name);
                    let place = self.place("syscalls.deny", entry);
                    widening.refused.push(format!(
                        "`{name}` is denied by `syscalls.deny`, {place}: it stays so"
                    ));
                }
                Standing::Ruled { rule, listed: false } => {
                    told.insert(*name);
                    let place = self.place("syscalls.rules", rule);
                    widening
                        .refused
                        .push(format!("`{name}` has a rule of its own, {place}: it stays so"));
                }
                Standing::Unlisted if base.syscalls.allow.iter().any(|usual| usual == name) => {
                    widening.additions.push(Addition {
                        key: "syscalls.allow",
                        written: Written::Entry((*name).into()),
                        shown: (*name).into(),
                        why: "it called it".into(),
                    });
                }
                Standing::Unlisted => {}
            }
        }
        for denial in report.denials.iter().filter(|denial| denial.wall == Wall::Syscalls) {
            let name = denial.what.split(['(', ' ']).next().unwrap_or_default();
            if told.contains(name) {
                continue;
            }
            let what = &denial.what;
            widening.refused.push(match (of(name), &denial.allow) {
                (Standing::Ruled { rule, .. }, _) => {
                    let place = self.place("syscalls.rules", rule);
                    format!("`{what}` is denied by `syscalls.rules`, {place}: it stays so")
                }
                (_, Some(allow)) => {
                    format!("`{what}` isn't added: ordinary programs don't need it (`{allow}` would allow it)")
                }
                (_, None) => format!("`{what}` isn't added: ordinary programs don't need it"),
            });
        }
    }
}

/// What a policy permits of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    /// What is wanted.
    Enough,
    /// Less, since nobody said more.
    Not,
    /// Less, since the policy says so: how.
    Denied(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every path is a file; a link leads to the docker daemon.
    struct Host;

    impl Files for Host {
        fn is_directory(&self, _: &Path) -> Option<bool> {
            Some(false)
        }

        fn real(&self, path: &Path) -> PathBuf {
            if path.ends_with("link") { "/run/docker.sock".into() } else { path.to_owned() }
        }
    }

    #[test]
    fn no_socket_that_does_anything_for_whoever_connects_is_added() {
        let file =
            PolicyFile::new(Path::new("job.toml"), b"extends = \"base\"", Path::new("/srv/app"));
        let (file, mut wished) = (file.unwrap(), Wished::default());
        for path in ["/srv/app/link", "/run/docker.sock", "/srv/app/data"] {
            let named = Named { access: Access::Read, call: "stat" };
            wished.paths.insert(path.into(), named);
        }
        let base = Policy::load("base", &[], Path::new("/srv/app")).unwrap();
        let name = crate::report::PolicyName { name: "learn".into(), digest: String::new() };
        let error = crate::error::Error::asked("none", "");
        let report = ExitReport::launch_failed("job-00000001", &[], name, &error);
        let used = file.watched(&[]).unwrap();
        let found = file.missing((&wished, &report), &used, &base, &Host);
        let added: Vec<&str> = found.additions.iter().map(|one| one.shown.as_str()).collect();
        assert_eq!(added, ["/srv/app/data"]);
        assert_eq!(found.refused.len(), 2, "{:?}", found.refused);
    }
}
