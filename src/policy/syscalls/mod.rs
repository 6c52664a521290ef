//! System calls: from a base list and a policy's own names to the plain list that a backend takes.
//!
//! The base list is `policies/syscalls/default.toml`. Reading it takes half a millisecond, a good part of a launch, so
//! what it says is kept as a [`table`] in the program; a test keeps the two in step and writes the table anew.
//!
//! A name in a policy is one of:
//!
//! * `socket`: the call, within the rules that the base list has for its arguments;
//! * `socket:any`: the call with any arguments;
//! * `@network`: all calls of a group (`policies/syscalls/groups.toml`).
//!
//! What the layers of a policy say of calls, and which of them wins, is in [`said`]; their rules in [`written`].

mod constants;
mod explained;
mod remedy;
// The base list's rules are read by its test alone.
#[cfg(test)]
mod rule;
mod said;
#[rustfmt::skip]
mod table;
mod written;

pub(crate) use explained::explain;
pub use explained::{CallRuling, ExplainedCall};
pub(crate) use remedy::denial;
pub(crate) use said::{Calls, Standing};
pub(crate) use written::{ACTIONS, CallRule, Field, TESTS};

use super::problem::quoted;
use super::suggest::did_you_mean;
use crate::platform::{self, ArgumentTest};
use table::{ENTRIES, GROUPS, RULES};

/// What follows the name of a call that may have any arguments.
const ANY: &str = ":any";

/// Calls of the base list with the same answer for the same reason.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    verdict: Verdict,
    why: &'static str,
    names: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Absent,
    Deny,
}

/// A part of a group.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// Without its `@`.
    name: &'static str,
    why: &'static str,
    names: &'static [&'static str],
}

/// A rule of the base list: it forbids the calls when all tests hold.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    why: &'static str,
    names: &'static [&'static str],
    tests: &'static [ArgumentTest],
}

/// The names of the base lists.
pub(crate) fn bases() -> impl Iterator<Item = &'static str> {
    ["default", "none"].into_iter()
}

/// Whether `name` means something in the `allow` or `deny` of a policy.
pub(crate) fn known(name: &str) -> bool {
    match name.strip_prefix('@') {
        Some(group) => groups().any(|known| known == group),
        None => platform::known_syscall(name.strip_suffix(ANY).unwrap_or(name)),
    }
}

/// All names that mean something, for suggestions: calls, and groups with their `@`.
pub(crate) fn names() -> impl Iterator<Item = String> {
    groups().map(|group| format!("@{group}")).chain(platform::syscall_names().map(str::to_owned))
}

/// What is said of a name that means nothing.
fn unknown(name: &str) -> String {
    let names: Vec<String> = names().collect();
    // A group is meant for a group, a call for a call.
    let same = |known: &&String| known.starts_with('@') == name.starts_with('@');
    let suggestion = did_you_mean(name, names.iter().filter(same).map(String::as_str));
    let what = if name.starts_with('@') { "a group of system calls" } else { "a system call" };
    format!("{} is not {what}{suggestion}", quoted(name))
}

/// The subject of a name in `allow` or `deny`, when it means something.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn subject(name: &str) -> Result<&str, String> {
    if known(name) { Ok(name.strip_suffix(ANY).unwrap_or(name)) } else { Err(unknown(name)) }
}

/// The groups, each once.
pub(crate) fn groups() -> impl Iterator<Item = &'static str> {
    let first = |(at, group): &(usize, &Group)| {
        GROUPS[..*at].iter().all(|before| before.name != group.name)
    };
    GROUPS.iter().enumerate().filter(first).map(|(_, group)| group.name)
}

/// The calls of a group.
pub(crate) fn members(group: &str) -> impl Iterator<Item = &'static str> {
    GROUPS.iter().filter(move |part| part.name == group).flat_map(|part| part.names).copied()
}

/// Whether an entry of a policy means this call.
pub(crate) fn means(entry: &str, call: &str) -> bool {
    resolve(entry.strip_suffix(ANY).unwrap_or(entry)).contains(&call)
}

/// Calls without which no program can be started.
pub(crate) fn needed() -> impl Iterator<Item = &'static str> {
    members("start")
}

/// Why the base list of system calls answers as it does to this call: the reason for the answer, and those of the rules
/// about its arguments. Empty when there is no such call.
///
/// ```
/// let reasons = stockade::policy::syscall_reasons("unshare");
/// assert!(reasons[0].starts_with("in a user namespace of its own"));
/// ```
pub fn syscall_reasons(name: &str) -> Vec<&'static str> {
    let entry = ENTRIES.iter().find(|entry| entry.names.contains(&name)).map(|entry| entry.why);
    let rules = RULES.iter().filter(|rule| rule.names.contains(&name)).map(|rule| rule.why);
    entry.into_iter().chain(rules).collect()
}

/// The calls that a name of a policy means. What is not a known group is taken for a call.
fn resolve(name: &str) -> Vec<&str> {
    match name.strip_prefix('@') {
        Some(group) => members(group).collect(),
        None => vec![name],
    }
}

#[cfg(test)]
mod tests;
