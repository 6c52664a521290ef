//! What only the whole policy can tell: values that are right by themselves and can't work together.

use super::draft::Draft;
use super::layer::{Findings, Note, Place, Spot, not_visible};
use super::paths;
use super::problem::quoted;
use super::source::Source;
use super::syscalls;
use crate::platform::{Bytes, LaunchPlan, Network, OnViolation, Overlay, SecretSource, SysView};
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
    if !draft.calls.deny.is_empty() {
        let allowed = draft.expanded_calls(OnViolation::Error).allow;
        let needed =
            syscalls::expand("none", &[], &[], OnViolation::Error).unwrap_or_default().allow;
        let missing: Vec<_> = needed.iter().filter(|name| !allowed.contains(name)).collect();
        if let Some(name) = missing.first() {
            let entry =
                draft.calls.deny.iter().find(|denied| denied == name || denied.starts_with('@'));
            let entry = entry.map_or("", String::as_str);
            problem(
                "syscalls.deny",
                entry,
                format!("no program can be started without {}", quoted(name)),
            );
        }
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
