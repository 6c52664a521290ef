//! What only the whole policy can tell: values that are right by themselves and can't work together.

use super::draft::Draft;
use super::layer::{Findings, Note, Place, Spot, not_visible};
use super::paths;
use super::problem::quoted;
use super::shown::mode_of;
use super::source::Source;
use super::syscalls::{self, Calls};
use crate::network::PROXY_PORT;
use crate::platform::{
    Bytes, Identity, LaunchPlan, Network, OnViolation, Overlay, SecretSource, SysView,
    SyscallAnswer, Syscalls,
};
use std::path::Path;
use std::time::Duration;

/// Adds the problems of a policy whose single values are right.
pub(super) fn whole(draft: &mut Draft, findings: &mut Findings, sources: &[Source]) {
    let limits = &draft.policy.limits;
    let mut problem = |key: &str, entry: &str, message: String| {
        let spot = spot_of(&findings.notes, sources, key, entry);
        findings.problems.add(|| spot.problem(key, message));
    };
    if let (Some(memory), Some(high)) = (limits.memory, limits.memory_high)
        && high > memory
    {
        let message = format!(
            "`{high}` is more than `limits.memory`, which is `{memory}`, so it would never act"
        );
        problem("limits.memory_high", "", message);
    }
    if limits.memory.is_none() && limits.swap.is_some_and(|swap| swap > Bytes(0)) {
        let message =
            "without `limits.memory` nothing needs to be swapped (set both, or write `0B`)";
        problem("limits.swap", "", message.into());
    }
    if let Some(burst) = limits.cpu_burst {
        // The kernel's own period of a tenth of a second (cgroup-v2.rst, `cpu.max`).
        let most = limits.cpu.map(|cores| Duration::from_micros(u64::from(cores.millis()) * 100));
        match most {
            None => {
                let message = "without `limits.cpu` there is nothing to go above".into();
                problem("limits.cpu_burst", "", message);
            }
            Some(most) if burst > most => {
                let message = format!(
                    "`{burst:?}` is more than `limits.cpu` gives in a tenth of a second, which is `{most:?}`"
                );
                problem("limits.cpu_burst", "", message);
            }
            Some(_) => {}
        }
    }
    // The kernel measures within ten seconds at most (accounting/psi.rst).
    if let Some(stall) = limits.memory_stall
        && !(Duration::from_millis(100)..=Duration::from_secs(5)).contains(&stall)
    {
        let message = format!("`{stall:?}` can't be measured (write `100ms` to `5s`)");
        problem("limits.memory_stall", "", message);
    }
    for (key, protected) in
        [("limits.memory_min", limits.memory_min), ("limits.memory_low", limits.memory_low)]
    {
        if let (Some(memory), Some(protected)) = (limits.memory, protected)
            && protected > memory
        {
            let message = format!(
                "`{protected}` is more than `limits.memory`, which is `{memory}`: it can't have that much"
            );
            problem(key, "", message);
        }
    }
    for (key, message) in of_identity(&draft.policy.identity) {
        problem(key, "", message);
    }
    if let Some((name, key, entry)) = needed_and_denied(&draft.calls) {
        let message = format!("no program can be started without {}", quoted(name));
        problem(key, &entry, message);
    }
    for secret in &draft.policy.secrets {
        if let SecretSource::Variable(name) = &secret.source
            && draft.policy.environment.keep.contains(name)
        {
            let shown = quoted(name);
            let message = format!(
                "{shown} is passed on by `environment.keep` too, where everybody can read it"
            );
            problem("secrets.environment", &secret.name, message);
        }
    }
    for path in &draft.policy.filesystem.devices {
        if !path.starts_with("/dev") {
            let entry = LaunchPlan::readable(path);
            let message = format!("{} is not below `/dev`", quoted(&entry));
            problem("filesystem.devices", &entry, message);
        }
    }
    for (key, message) in of_files(draft) {
        let spot = spot_of(&findings.notes, sources, key, "");
        findings.problems.add(|| spot.problem(key, message));
    }
    temporary(draft, findings, sources);
    network(draft, findings, sources);
}

/// What is let out and in needs a network that is filtered.
///
/// Where a later layer only says another mode, as `--net none` does, the lists below it are put aside with it: that isn't a
/// mistake. Where they stand beside it or above it, they are.
fn network(draft: &mut Draft, findings: &mut Findings, sources: &[Source]) {
    let policy = &mut draft.policy;
    if policy.network != Network::Filtered {
        let mode = note_of(&findings.notes, "network.mode", "").map(|note| layer(note.place));
        let told = |key: &str, findings: &mut Findings, what: &str| {
            let beside = |note: &&Note| {
                note.key.path == key && mode.is_none_or(|mode| layer(note.place) >= mode)
            };
            // A list that isn't used has one problem, not one for each entry.
            let Some(note) = findings.notes.iter().rfind(beside) else { return };
            let (word, spot) = (mode_of(&policy.network), spot_at(sources, note.place));
            let message = format!("with `network.mode` `{word}` {what} (set it to `filtered`)");
            findings.problems.add(|| spot.problem(key, message));
        };
        let (out, into) = match policy.network {
            Network::Host => ("everything is allowed", "the program listens on the host itself"),
            _ => ("nothing is allowed", "nothing can be published"),
        };
        told("network.allow", findings, out);
        told("network.publish", findings, into);
        policy.allow.clear();
        policy.publish.clear();
    }
    for publish in &policy.publish {
        let shown = publish.to_string();
        let problem = if !policy.init {
            "without `process.init` nobody inside can make the connections"
        } else if publish.inside == PROXY_PORT {
            "this port inside is the proxy's"
        } else {
            continue;
        };
        let spot = spot_of(&findings.notes, sources, "network.publish", &shown);
        findings
            .problems
            .add(|| spot.problem("network.publish", format!("{}: {problem}", quoted(&shown))));
    }
}

/// How late a layer is: what is said later has the last word.
fn layer(place: Place) -> isize {
    match place {
        Place::CommandLine => 1,
        // The file that was asked for is the first, and extends those after it.
        Place::Source(number, _) => -isize::try_from(number).unwrap_or(isize::MAX),
    }
}

/// A call that every start of a program needs and that is denied, and the key and entry that deny it.
fn needed_and_denied(calls: &Calls) -> Option<(&'static str, &'static str, String)> {
    if calls.denied().next().is_none() && calls.rules().next().is_none() {
        return None;
    }
    let Syscalls { allow, rules, .. } = calls.expand(OnViolation::Error)?;
    let name = syscalls::needed().find(|name| !allow.iter().any(|allowed| allowed == name));
    if let Some(name) = name {
        let denied = calls.denied().find(|entry| syscalls::means(entry, name));
        return Some((name, "syscalls.deny", denied.unwrap_or_default().to_owned()));
    }
    // Whoever starts the program makes them with arguments that no policy can know.
    let denies =
        |answer: SyscallAnswer| !matches!(answer, SyscallAnswer::Allow | SyscallAnswer::Log);
    let name = syscalls::needed()
        .find(|name| rules.iter().any(|rule| rule.name == **name && denies(rule.answer)))?;
    let rule = calls.rules().filter(|rule| syscalls::means(rule.name(), name)).last();
    Some((name, "syscalls.rules", rule.map_or_else(String::new, |rule| rule.text().to_owned())))
}

/// What of the program's ids can't be, with the key that is to be changed.
fn of_identity(identity: &Identity) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    let count = identity.several().unwrap_or(1);
    if let Some(last) = identity.several().map(|count| count - 1) {
        for (key, id) in [("identity.user", identity.user), ("identity.group", identity.group)] {
            if let Some(id) = id.filter(|id| *id > last) {
                let message = format!("`{id}` isn't among those of `identity.ids`: 0 to {last}");
                problems.push((key, message));
            }
        }
    }
    if let Some(range) = identity.range.filter(|range| range.count() < count) {
        let message = format!(
            "`{range}` has only {} of the {count} numbers that `identity.ids` asks for",
            range.count()
        );
        problems.push(("identity.range", message));
    }
    problems
}

/// What of the root and its copies can't be, with the key that is to be changed.
fn of_files(draft: &Draft) -> Vec<(&'static str, String)> {
    let filesystem = &draft.policy.filesystem;
    let mut problems = Vec::new();
    if let Some(root) = &filesystem.root
        && paths::reserved(root).is_some()
    {
        let shown = quoted(&LaunchPlan::readable(root));
        let message =
            format!("{shown} can't be the root (name a directory with a system of its own)");
        problems.push(("filesystem.root", message));
    }
    if filesystem.overlay.is_some() && !filesystem.copies() {
        let message =
            "nothing is copied (set `filesystem.root`, or name directories in `filesystem.copy`)";
        problems.push(("filesystem.overlay", message.into()));
    }
    if filesystem.overlay_size.is_some() && matches!(filesystem.overlay, Some(Overlay::Keep(_))) {
        let message = "only what is discarded has a size (`limits.disk` holds what is kept)";
        problems.push(("filesystem.overlay_size", message.into()));
    }
    if filesystem.sys == SysView::Read && draft.policy.network == Network::Host {
        let message = "the kernel shows `/sys` only with a network of one's own (set `network.mode` to `none`)";
        problems.push(("filesystem.sys", message.into()));
    }
    problems
}

/// A private `/tmp` and the host's can't both be at `/tmp`.
fn temporary(draft: &mut Draft, findings: &mut Findings, sources: &[Source]) {
    let place = Path::new("/tmp");
    let binds = &mut draft.policy.filesystem.binds;
    let Some(at) = binds.iter().position(|bind| bind.target == place) else { return };
    if draft.policy.filesystem.tmp.is_none() {
        return;
    }
    let reason = "`/tmp` is the sandbox's own (set `filesystem.tmp` to `none` to show the host's)";
    let shown = LaunchPlan::readable(place);
    let note = findings
        .notes
        .iter()
        .rfind(|note| note.entry == shown && note.key.section() == "filesystem");
    let (key, spot) = match note {
        Some(note) => (note.key.path, spot_at(sources, note.place)),
        None => ("filesystem.tmp", Spot::Flag),
    };
    match spot {
        // There it is written `.`, and the command was started in /tmp.
        Spot::Text { source, .. } if source.shipped => {
            binds.remove(at);
            findings.warnings.push(not_visible(reason));
        }
        spot => findings.problems.add(|| spot.problem(key, reason.into())),
    }
}

/// Where the value that counts is written.
pub(super) fn note_of<'n>(notes: &'n [Note], key: &str, entry: &str) -> Option<&'n Note> {
    notes.iter().rfind(|note| note.key.path == key && note.entry == entry)
}

fn spot_of<'a>(notes: &[Note], sources: &'a [Source], key: &str, entry: &str) -> Spot<'a> {
    note_of(notes, key, entry).map_or(Spot::Flag, |note| spot_at(sources, note.place))
}

fn spot_at(sources: &[Source], place: Place) -> Spot<'_> {
    match place {
        Place::CommandLine => Spot::Flag,
        Place::Source(number, start) => sources.get(number).map_or(Spot::Flag, |source| {
            let end = start + value_length(&source.text[start..]);
            Spot::Text { source, number, span: start..end }
        }),
    }
}

/// The length of the value that `text` begins with: to the closing quote, or to what can't belong to a bare value.
fn value_length(text: &str) -> usize {
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text[1..].find(quote).map_or(1, |at| at + 2),
        _ => text.find([',', ']', '}', '#', '\n', ' ', '\r', '\t']).unwrap_or(text.len()),
    }
}
