//! From what a watched program wished for to a policy that is just enough. Pure, but for what it is told of the host's files.

use super::syscalls;
use super::{Policy, exposure};
use crate::platform::{Access, Bytes, LaunchPlan, Overlay, Wished};
use crate::report::ExitReport;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// As many entries of one directory stand for the directory.
const MANY: usize = 8;

/// What was learned from one or more runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    calls: BTreeSet<String>,
    read: BTreeSet<PathBuf>,
    write: BTreeSet<PathBuf>,
    /// Where it started, if anything there is shown.
    workdir: Option<PathBuf>,
    /// The system that it saw in the place of the host's, and where changes to that went.
    root: Option<(PathBuf, Option<Overlay>)>,
    connections: BTreeSet<String>,
    ports: BTreeSet<u16>,
    memory: Option<Bytes>,
    pids: Option<u64>,
    time: Option<Duration>,
    denied: BTreeSet<String>,
    /// What ordinary programs may call.
    usual: BTreeSet<String>,
    partial: bool,
}

/// What of the host's files has to be known: whether a path is there, and whether it is a directory.
pub trait Files {
    /// `None` where there is nothing.
    fn is_directory(&self, path: &Path) -> Option<bool>;

    /// Where a path leads, without symlinks; of one that isn't there, where it would be made.
    fn real(&self, path: &Path) -> PathBuf;
}

/// The files of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostFiles;

impl Files for HostFiles {
    fn is_directory(&self, path: &Path) -> Option<bool> {
        std::fs::symlink_metadata(path).ok().map(|found| found.is_dir())
    }

    fn real(&self, path: &Path) -> PathBuf {
        let whole = std::fs::canonicalize(path).ok();
        let beside = || {
            let above = std::fs::canonicalize(path.parent()?).ok()?;
            Some(above.join(path.file_name()?))
        };
        whole.or_else(beside).unwrap_or_else(|| path.to_owned())
    }
}

impl Learned {
    /// What a run under the policy `used` says, for a policy that has what `base` shows anyway.
    pub fn new(
        (wished, report): (&Wished, &ExitReport),
        used: &Policy,
        base: &Policy,
        files: &impl Files,
    ) -> Self {
        let mut learned = Self {
            calls: wished.calls.iter().map(|name| (*name).to_owned()).collect(),
            partial: wished.partial,
            memory: report.memory.peak,
            pids: report.pids.used.peak,
            time: Some(report.wall_time),
            ports: wished.ports.clone(),
            usual: base.syscalls.allow.iter().cloned().collect(),
            root: used.filesystem.root.clone().map(|root| (root, used.filesystem.overlay.clone())),
            ..Self::default()
        };
        for (path, named) in &wished.paths {
            if is_of_host(path, used) {
                learned.path(path, named.access, base, files);
            }
        }
        learned.workdir = used.filesystem.workdir.clone().filter(|directory| {
            let mut paths = learned.read.iter().chain(&learned.write);
            paths.any(|path| path.starts_with(directory))
        });
        for address in &wished.connections {
            // The sandbox's own, in its own network.
            if !address.ip().is_loopback() {
                learned.connections.insert(address.to_string());
            }
        }
        learned.denied.extend(report.denials.iter().map(|denial| match &denial.allow {
            Some(allow) => format!("{}: {allow}", denial.what),
            None => denial.what.clone(),
        }));
        learned
    }

    fn path(&mut self, path: &Path, access: Access, base: &Policy, files: &impl Files) {
        let binds = base.filesystem.binds.iter();
        let has = |wanted: Access| {
            binds.clone().any(|bind| path.starts_with(&bind.target) && bind.access >= wanted)
        };
        if has(access) {
            return;
        }
        let found = files.is_directory(path);
        if access == Access::Write {
            // What is made, renamed or removed needs the directory that it is in.
            let place = match (found, path.parent()) {
                (Some(true), _) => path,
                (_, Some(above)) => above,
                (_, None) => return,
            };
            if files.is_directory(place) == Some(true) && place.parent().is_some() {
                self.write.insert(place.to_owned());
            }
        } else if found == Some(false) && !exposure::is_servant(path) {
            self.read.insert(path.to_owned());
        }
    }

    /// What both say together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.calls.extend(other.calls);
        self.read.extend(other.read);
        self.write.extend(other.write);
        self.connections.extend(other.connections);
        self.ports.extend(other.ports);
        self.workdir = other.workdir.or(self.workdir);
        self.root = other.root.or(self.root);
        self.denied.extend(other.denied);
        self.usual.extend(other.usual);
        self.memory = self.memory.max(other.memory);
        self.pids = self.pids.max(other.pids);
        self.time = self.time.max(other.time);
        self.partial |= other.partial;
        self
    }

    /// The system calls to allow: those that were made, and of each group that they belong to what ordinary programs have
    /// anyway, since the next run takes another way through the same libraries.
    fn allowed(&self) -> Vec<String> {
        let usual = &self.usual;
        let mut allowed = self.calls.clone();
        for group in syscalls::groups() {
            let members: Vec<&str> =
                syscalls::members(group).filter(|name| usual.contains(*name)).collect();
            let made = members.iter().filter(|name| self.calls.contains(**name)).count();
            // One call of many says little about the rest.
            if made * 4 >= members.len() {
                allowed.extend(members.into_iter().map(str::to_owned));
            }
        }
        allowed.retain(|name| usual.contains(name));
        allowed.into_iter().collect()
    }

    /// The policy, as a file with its reasons.
    pub fn text(&self, command: &str) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        let mut line = |what: std::fmt::Arguments<'_>| writeln!(text, "{what}").unwrap_or(());
        line(format_args!(
            "# Learned from what this did, and nothing more: read it before you use it."
        ));
        line(format_args!("#   {}", comment(command)));
        if self.partial {
            line(format_args!(
                "# It did more than was taken note of, so that something may be missing."
            ));
        }
        line(format_args!("description = {}", quoted(&comment(&format!("learned: {command}")))));
        line(format_args!("extends = \"base\"\n"));
        line(format_args!(
            "[limits]                        # What it used, and half as much again."
        ));
        if let Some(memory) = self.memory {
            line(format_args!("memory = \"{}\"", room_for_memory(memory)));
        }
        if let Some(pids) = self.pids {
            line(format_args!("pids = {}", room_for_pids(pids)));
        }
        if let Some(time) = self.time {
            line(format_args!(
                "wall_time = \"{}s\"            # Three times what it took, at least ten seconds.",
                room_for_time(time)
            ));
        }
        line(format_args!("\n[filesystem]"));
        if let Some((root, overlay)) = &self.root {
            line(format_args!("root = {}", quoted(&LaunchPlan::readable(root))));
            match overlay {
                Some(Overlay::Discard) => line(format_args!("overlay = \"discard\"")),
                Some(Overlay::Keep(place)) => {
                    line(format_args!("overlay = {}", quoted(&LaunchPlan::readable(place))));
                }
                None => {}
            }
        }
        for (key, paths) in [("read", self.collapsed()), ("write", self.write.clone())] {
            let paths = outermost(&paths);
            if !paths.is_empty() {
                line(format_args!("{key} = ["));
                for path in paths {
                    line(format_args!("  {},", quoted(&LaunchPlan::readable(path))));
                }
                line(format_args!("]"));
            }
        }
        if let Some(directory) = &self.workdir {
            line(format_args!("workdir = {}", quoted(&LaunchPlan::readable(directory))));
        }
        line(format_args!("\n[network]"));
        if self.connections.is_empty() {
            line(format_args!(
                "mode = \"none\"                   # It talked to nobody but itself."
            ));
        } else {
            line(format_args!(
                "mode = \"filtered\"               # Where it talks to names, write those instead."
            ));
            line(format_args!("allow = ["));
            for address in &self.connections {
                line(format_args!("  {},", quoted(address)));
            }
            line(format_args!("]"));
        }
        for port in &self.ports {
            line(format_args!(
                "# It listened on {port}: `publish = [\"{port}:{port}\"]` would let others in."
            ));
        }
        line(format_args!(
            "\n[syscalls]                      # What it called, and what goes with that."
        ));
        line(format_args!("base = \"none\""));
        line(format_args!("allow = ["));
        for some in self.allowed().chunks(8) {
            let names: Vec<String> = some.iter().map(|name| quoted(name)).collect();
            line(format_args!("  {},", names.join(", ")));
        }
        line(format_args!("]"));
        if !self.denied.is_empty() {
            line(format_args!("\n# It was denied these, and went on:"));
            for denied in &self.denied {
                line(format_args!("#   {}", comment(denied)));
            }
        }
        text
    }

    /// The paths to read, with a directory in the place of many of its entries.
    fn collapsed(&self) -> BTreeSet<PathBuf> {
        let mut all = collapsed(&self.read);
        // What may be written may be read.
        all.retain(|path| !self.write.iter().any(|place| path.starts_with(place)));
        all
    }
}

/// The paths, with a directory in the place of many of its entries.
pub(super) fn collapsed(paths: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut by_directory: BTreeMap<&Path, Vec<&PathBuf>> = BTreeMap::new();
    for path in paths {
        by_directory.entry(path.parent().unwrap_or(path)).or_default().push(path);
    }
    let mut all = BTreeSet::new();
    for (directory, entries) in by_directory {
        // Never a place that holds everybody's.
        if entries.len() >= MANY && directory.components().count() > 2 {
            all.insert(directory.to_owned());
        } else {
            all.extend(entries.into_iter().cloned());
        }
    }
    all
}

/// What was used, and half as much again, in whole steps of 16 MiB.
pub(super) fn room_for_memory(used: Bytes) -> Bytes {
    let mebibytes = (used.0.saturating_mul(3) / 2).div_ceil(1 << 20).max(16);
    Bytes(mebibytes.next_multiple_of(16).saturating_mul(1 << 20))
}

/// What was used, and half as much again.
pub(super) fn room_for_pids(used: u64) -> u64 {
    (used * 3).div_ceil(2).max(8)
}

/// Three times what it took, at least ten, in seconds.
pub(super) fn room_for_time(took: Duration) -> f64 {
    (took.as_secs_f64() * 3.0).ceil().max(10.0)
}

/// Whether a path meant something of the host's, not what the sandbox had there of its own.
pub(super) fn is_of_host(path: &Path, used: &Policy) -> bool {
    const OWN: [&str; 5] = ["/proc", "/dev", "/sys", "/tmp", "/run/secrets"];
    let shown = used.filesystem.binds.iter().any(|bind| path.starts_with(&bind.target));
    if used.filesystem.root.is_some() {
        return shown;
    }
    path.parent().is_some() && (shown || !OWN.iter().any(|own| path.starts_with(own)))
}

/// The paths that are below none of the others.
pub(super) fn outermost(paths: &BTreeSet<PathBuf>) -> Vec<&PathBuf> {
    let mut all: Vec<&PathBuf> = Vec::new();
    for path in paths {
        if !all.iter().any(|above| path.starts_with(above)) {
            all.push(path);
        }
    }
    all
}

/// A text as TOML has it: what JSON escapes, TOML does in the same way, and one character more.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A text in a comment: one line, and nothing that moves a terminal's cursor.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything is a file but what ends with a slash.
    struct Known(&'static [&'static str]);

    impl Files for Known {
        fn is_directory(&self, path: &Path) -> Option<bool> {
            let path = path.to_str()?;
            let is = |known: &&&str| known.trim_end_matches('/') == path;
            self.0.iter().find(is).map(|known| known.ends_with('/'))
        }

        fn real(&self, path: &Path) -> PathBuf {
            path.to_owned()
        }
    }

    fn report() -> ExitReport {
        let name = crate::report::PolicyName { name: "learn".into(), digest: String::new() };
        let error = crate::error::Error::asked("none", "");
        let mut report = ExitReport::launch_failed("job-00000001", &[], name, &error);
        report.memory.peak = Some(Bytes::mib(100));
        report.pids.used.peak = Some(4);
        report.wall_time = Duration::from_millis(1500);
        report
    }

    fn learned(paths: &[(&str, Access)], known: &'static [&'static str]) -> Learned {
        let base = Policy::load("base", &[], Path::new("/srv/app")).unwrap();
        let mut wished = Wished::default();
        wished.calls = ["openat", "read", "write", "close", "lseek", "unshare"].into();
        let named = |access| crate::platform::Named { access, call: "openat" };
        wished.paths =
            paths.iter().map(|(path, access)| (PathBuf::from(path), named(*access))).collect();
        Learned::new((&wished, &report()), &base, &base, &Known(known))
    }

    #[test]
    fn what_is_there_and_not_shown_anyway_is_to_be_read() {
        let paths = ["/usr/lib/x", "/srv/app/data", "/srv/none", "/proc/self/maps", "/tmp/x"];
        let learned =
            learned(&paths.map(|path| (path, Access::Read)), &["/usr/lib/x", "/srv/app/data"]);
        assert_eq!(learned.read, [PathBuf::from("/srv/app/data")].into());
    }

    #[test]
    fn what_is_made_needs_its_directory() {
        let paths = [("/srv/app/out/new", Access::Write), ("/srv/app/out", Access::Read)];
        let learned = learned(&paths, &["/srv/app/out/"]);
        assert_eq!(learned.write, [PathBuf::from("/srv/app/out")].into());
        assert!(learned.read.is_empty());
    }

    #[test]
    fn many_files_of_a_directory_are_the_directory() {
        let mut learned = Learned::default();
        for number in 0..MANY {
            learned.read.insert(format!("/srv/data/{number}").into());
            learned.read.insert(format!("/etc/{number}").into());
        }
        let collapsed = learned.collapsed();
        assert!(
            collapsed.contains(Path::new("/srv/data")) && !collapsed.contains(Path::new("/etc"))
        );
        assert_eq!(collapsed.len(), 1 + MANY);
    }

    #[test]
    fn it_is_a_policy_with_room_for_the_next_run() {
        let learned = learned(&[("/srv/app/a\"b", Access::Read)], &["/srv/app/a\"b"]);
        let text = learned.text("job \u{1b}[2J --all");
        assert!(!text.contains('\u{1b}'), "{text}");
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("learned.toml");
        std::fs::write(&file, &text).unwrap();
        let policy = Policy::load(&file, &[], place.path()).unwrap();
        assert_eq!(policy.limits.memory, Some(Bytes::mib(160)));
        assert_eq!(policy.limits.wall_time, Some(Duration::from_secs(10)));
        assert!(
            policy.filesystem.binds.iter().any(|bind| bind.target == Path::new("/srv/app/a\"b"))
        );
        let allows = |name: &str| policy.syscalls.allow.iter().any(|known| known == name);
        assert!(allows("openat") && allows("pread64") && !allows("unshare") && !allows("ptrace"));
    }

    #[test]
    fn two_runs_add_up() {
        let one = learned(&[("/srv/a", Access::Read)], &["/srv/a"]);
        let other = learned(&[("/srv/b", Access::Read)], &["/srv/b"]);
        assert_eq!(one.and(other).read.len(), 2);
    }
}
