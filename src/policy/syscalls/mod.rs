//! System calls: from a base list and a policy's own names to the plain list that a backend takes.
//!
//! The base list is `policies/syscalls/default.toml`. Reading it takes half a millisecond, a good part of a launch, so
//! what it says is kept as a [`table`] in the program; a test keeps the two in step and writes the table anew.
//!
//! A name in a policy is one of:
//!
//! * `socket`: the call, within the rules that the base list has for its arguments;
//! * `socket:any`: the call with any arguments;
//! * `@sockets`: all calls of a group of the base list.

// The base list's rules are read by its test alone: policies have no rules of their own yet.
#[cfg(test)]
mod rule;
#[rustfmt::skip]
mod table;

use crate::platform::{self, ArgumentTest, OnViolation, SyscallRule, Syscalls};
use table::{ENTRIES, RULES};

/// What follows the name of a call that may have any arguments.
const ANY: &str = ":any";

/// Calls of the base list with the same answer for the same reason.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    verdict: Verdict,
    /// The group's name without `@`; empty when there is none.
    group: &'static str,
    why: &'static str,
    names: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Absent,
    Deny,
}

/// A rule of the base list: it forbids the calls when all tests hold.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    why: &'static str,
    names: &'static [&'static str],
    tests: &'static [ArgumentTest],
}

/// The whole list of system calls for a policy.
///
/// `base` is `default` or `none` (only what starting a program needs). `allow` adds, `deny` takes away and wins. With
/// either base, calls that the base list wants absent stay absent unless allowed by name, and its rules hold for all calls
/// that aren't allowed with `:any`. Names that don't exist are passed on as they are: the policy's checker tells them
/// ([`known`]), and no backend accepts them.
///
/// `None` when there is no such base.
pub(crate) fn expand(
    base: &str,
    allow: &[String],
    deny: &[String],
    on_violation: OnViolation,
) -> Option<Syscalls> {
    let in_base = |entry: &&Entry| match base {
        "none" => entry.group == "start",
        _ => entry.verdict == Verdict::Allow,
    };
    if !bases().any(|known| known == base) {
        return None;
    }
    let denied: Vec<&str> = deny.iter().flat_map(|name| resolve(name)).collect();
    let added: Vec<&str> = allow.iter().flat_map(|name| resolve(name)).collect();
    let any: Vec<&str> = allow.iter().filter_map(|name| name.strip_suffix(ANY)).collect();

    let mut allowed: Vec<&str> =
        ENTRIES.iter().filter(in_base).flat_map(|entry| entry.names).copied().collect();
    for name in &added {
        if !allowed.contains(name) {
            allowed.push(name);
        }
    }
    allowed.retain(|name| !denied.contains(name));

    let absent = ENTRIES.iter().filter(|entry| entry.verdict == Verdict::Absent);
    let absent = absent.flat_map(|entry| entry.names).filter(|name| !allowed.contains(name));
    let rules = RULES.iter().flat_map(|rule| {
        let names = rule.names.iter().filter(|name| !any.contains(name));
        names.map(|&name| SyscallRule { name: name.to_owned(), tests: rule.tests.to_vec() })
    });
    // `Syscalls` may gain fields in the platform, so it can't be built in one expression here.
    let mut syscalls = Syscalls::default();
    syscalls.absent = absent.map(|&name| name.to_owned()).collect();
    syscalls.rules = rules.collect();
    syscalls.allow = allowed.into_iter().map(str::to_owned).collect();
    syscalls.on_violation = on_violation;
    Some(syscalls)
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

/// The groups of the base list, each once.
pub(crate) fn groups() -> impl Iterator<Item = &'static str> {
    let first = |(at, entry): &(usize, &Entry)| {
        !entry.group.is_empty() && ENTRIES[..*at].iter().all(|before| before.group != entry.group)
    };
    ENTRIES.iter().enumerate().filter(first).map(|(_, entry)| entry.group)
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
    let members = |group| {
        let entries = ENTRIES.iter().filter(move |entry| entry.group == group);
        entries.flat_map(|entry| entry.names).copied().collect()
    };
    match name.strip_prefix('@') {
        Some(group) if groups().any(|known| known == group) => members(group),
        _ => vec![name.strip_suffix(ANY).unwrap_or(name)],
    }
}

#[cfg(test)]
mod tests;
