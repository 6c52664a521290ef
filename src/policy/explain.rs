//! What a policy means, key by key, and where each value comes from.

use super::chain::{self, Loaded};
use super::check::note_of;
use super::key::{Key, Kind};
use super::keys;
use super::layer::Place;
use super::syscalls::{self, ExplainedCall};
use super::{Override, Policy, PolicyError};
use serde::Serialize;
use std::ffi::OsStr;
use std::path::Path;

/// One value of a policy and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// The key, such as `limits.memory`.
    pub key: &'static str,
    /// The value, or one entry of the list or table.
    pub value: String,
    /// File and line, `command line`, or `nothing else said`.
    pub origin: String,
    /// What the key means.
    pub meaning: &'static str,
}

/// The policy that `word` means, with where each of its values comes from; the arguments are those of [`Policy::load`].
///
/// # Errors
/// As [`Policy::load`].
pub fn explain(
    word: impl AsRef<OsStr>,
    overrides: &[Override],
    directory: &Path,
) -> Result<(Policy, Vec<Explained>), PolicyError> {
    let loaded = chain::load(word.as_ref(), overrides, directory)?;
    let values = values(&loaded);
    Ok((loaded.draft.policy, values))
}

/// Every value, with where it comes from.
pub(super) fn values(loaded: &Loaded) -> Vec<Explained> {
    keys::all().flat_map(|key| values_of(key, loaded)).collect()
}

/// What the policy that `word` means makes of every system call, and why; the arguments are those of [`Policy::load`].
///
/// # Errors
/// As [`Policy::load`].
pub fn explain_syscalls(
    word: impl AsRef<OsStr>,
    overrides: &[Override],
    directory: &Path,
) -> Result<(Policy, Vec<ExplainedCall>), PolicyError> {
    let loaded = chain::load(word.as_ref(), overrides, directory)?;
    let on_violation = loaded.draft.policy.syscalls.on_violation;
    let calls = syscalls::explain(&loaded.draft.calls, on_violation, |path, entry| {
        let place = keys::find(path).map_or_else(String::new, |key| origin(key, entry, &loaded));
        let name = path.rsplit('.').next().unwrap_or_default();
        format!("`{name}`, {place}")
    });
    Ok((loaded.draft.policy, calls))
}

fn values_of(key: &'static Key, loaded: &Loaded) -> Vec<Explained> {
    let mut values = (key.show)(&loaded.draft);
    // Said, and said to be nothing: that is worth seeing, since it may undo what is said below.
    if let ([], Some(word), Some(_)) =
        (values.as_slice(), key.off(), note_of(&loaded.notes, key.path, ""))
    {
        values.push(word.into());
    }
    let explained = |value: String| {
        let entry = match key.kind {
            Kind::Pairs(..) => value.split('=').next().unwrap_or_default(),
            _ if key.is_many() => value.as_str(),
            _ => "",
        };
        let origin = origin(key, entry, loaded);
        Explained { key: key.path, origin, value, meaning: key.doc }
    };
    values.into_iter().map(explained).collect()
}

/// Where the value that counts is written.
pub(super) fn origin(key: &Key, entry: &str, loaded: &Loaded) -> String {
    // Notes are about the thing that a name means, values about the name.
    let subject = entry.strip_prefix("CAP_").unwrap_or(entry);
    let subject = subject.strip_suffix(":any").unwrap_or(subject);
    let note = note_of(&loaded.notes, key.path, entry)
        .or_else(|| note_of(&loaded.notes, key.path, subject));
    match note.map(|note| note.place) {
        None => "nothing else said".into(),
        Some(Place::CommandLine) => "command line".into(),
        Some(Place::Source(number, start)) => {
            loaded.sources.get(number).map_or_else(String::new, |source| {
                let line = source.text[..start].matches('\n').count() + 1;
                format!("{}:{line}", source.name)
            })
        }
    }
}
