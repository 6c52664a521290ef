use super::rule::RuleFile;
use super::*;
use crate::platform::Compare;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `policies/syscalls/default.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    #[expect(dead_code, reason = "for people")]
    description: String,
    allow: Vec<EntryFile>,
    absent: Vec<EntryFile>,
    deny: Vec<EntryFile>,
    rule: Vec<RuleFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    #[serde(default)]
    group: String,
    why: String,
    names: Vec<String>,
}

fn list() -> ListFile {
    toml::from_str(include_str!("../../../policies/syscalls/default.toml")).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn expanded(base: &str, allow: &[&str], deny: &[&str]) -> Syscalls {
    expand(base, &names(allow), &names(deny), OnViolation::Error).unwrap()
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|one| one == name)
}

#[test]
fn every_system_call_stands_in_the_list_exactly_once() {
    let mut seen: BTreeMap<&str, u32> = platform::syscall_names().map(|name| (name, 0)).collect();
    for name in ENTRIES.iter().flat_map(|entry| entry.names) {
        *seen.get_mut(name).unwrap_or_else(|| panic!("`{name}` doesn't exist")) += 1;
    }
    let wrong: Vec<_> = seen.into_iter().filter(|(_, count)| *count != 1).collect();
    assert!(wrong.is_empty(), "decide on these: {wrong:?}");
}

#[test]
fn every_rule_is_about_a_call_that_is_allowed() {
    let allowed = expanded("default", &[], &[]).allow;
    for name in RULES.iter().flat_map(|rule| rule.names) {
        assert!(has(&allowed, name), "{name}");
    }
}

#[test]
fn every_reason_is_given() {
    assert!(ENTRIES.iter().all(|entry| !entry.why.is_empty()));
    assert!(RULES.iter().all(|rule| !rule.why.is_empty()));
}

/// Run with `WRITE_TABLE=1` to write the table anew after a change of the list.
#[test]
fn the_table_is_what_the_list_says() {
    let wanted = written(&list());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/policy/syscalls/table.rs");
    if std::env::var_os("WRITE_TABLE").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let is = std::fs::read_to_string(path).unwrap();
    assert!(is == wanted, "run `WRITE_TABLE=1 cargo test the_table` and commit `{path}`");
}

/// The source text of the table.
fn written(list: &ListFile) -> String {
    let mut text = String::from(
        "//! Made from `policies/syscalls/default.toml` by the test `the_table_is_what_the_list_says`; change that file.\n\n\
         use super::{Entry, Rule, Verdict};\n\
         use crate::platform::{ArgumentTest, Compare};\n\n\
         pub(super) static ENTRIES: &[Entry] = &[\n",
    );
    for (verdict, entries) in
        [("Allow", &list.allow), ("Absent", &list.absent), ("Deny", &list.deny)]
    {
        for EntryFile { group, why, names } in entries {
            writeln!(
                text,
                "    Entry {{\n        verdict: Verdict::{verdict},\n        group: {group:?},\n        \
                 why: {why:?},\n        names: &{names:?},\n    }},"
            )
            .unwrap();
        }
    }
    text.push_str("];\n\npub(super) static RULES: &[Rule] = &[\n");
    for rule in &list.rule {
        let RuleFile { why, names, .. } = rule;
        writeln!(text, "    Rule {{\n        why: {why:?},\n        names: &{names:?},").unwrap();
        text.push_str("        tests: &[\n");
        for test in rule.tests().unwrap() {
            writeln!(text, "            {},", source(test)).unwrap();
        }
        text.push_str("        ],\n    },\n");
    }
    text.push_str("];\n");
    text
}

fn source(ArgumentTest { index, compare, wide }: ArgumentTest) -> String {
    let compare = match compare {
        Compare::Equal(value) => format!("Equal({value:#x})"),
        Compare::NotEqual(value) => format!("NotEqual({value:#x})"),
        Compare::Any(mask) => format!("Any({mask:#x})"),
        Compare::Masked { mask, value } => {
            format!("Masked {{ mask: {mask:#x}, value: {value:#x} }}")
        }
    };
    format!("ArgumentTest {{ index: {index}, compare: Compare::{compare}, wide: {wide} }}")
}

#[test]
fn allow_adds_deny_takes_away_and_wins() {
    let syscalls = expanded("default", &["ptrace", "unshare"], &["unshare", "read"]);
    assert!(has(&syscalls.allow, "ptrace") && has(&syscalls.allow, "openat"));
    assert!(!has(&syscalls.allow, "unshare") && !has(&syscalls.allow, "read"));
}

#[test]
fn none_allows_only_what_starts_a_program() {
    let syscalls = expanded("none", &["read"], &[]);
    assert_eq!(
        syscalls.allow,
        [
            "execve",
            "exit",
            "exit_group",
            "rt_sigprocmask",
            "rt_sigreturn",
            "sendto",
            "write",
            "read"
        ]
    );
    assert!(has(&syscalls.absent, "clone3"));
}

#[test]
fn a_name_in_a_list_never_lifts_the_rules_of_its_arguments() {
    let ruled = |syscalls: Syscalls| syscalls.rules.iter().any(|rule| rule.name == "ioctl");
    assert!(ruled(expanded("default", &["ioctl", "@io"], &[])));
    assert!(ruled(expanded("none", &["ioctl"], &[])));
    assert!(!ruled(expanded("default", &["ioctl:any"], &[])));
    assert!(ruled(expanded("default", &["socket:any"], &[])));
}

#[test]
fn an_absent_call_is_there_when_allowed_by_name() {
    let syscalls = expanded("default", &["clone3"], &[]);
    assert!(has(&syscalls.allow, "clone3") && !has(&syscalls.absent, "clone3"));
    let denied = expanded("default", &["clone3"], &["clone3"]);
    assert!(!has(&denied.allow, "clone3") && has(&denied.absent, "clone3"));
}

#[test]
fn a_group_is_all_its_calls() {
    let syscalls = expanded("default", &["@trace"], &["@sockets"]);
    assert!(has(&syscalls.allow, "ptrace") && has(&syscalls.allow, "kcmp"));
    assert!(!has(&syscalls.allow, "socket") && !has(&syscalls.allow, "sendmsg"));
}

#[test]
fn names_that_mean_something_are_known() {
    for name in ["read", "@sockets", "ioctl:any", "open"] {
        assert!(known(name), "{name}");
    }
    for name in ["rad", "@socket", "@", "ioctl:", "@sockets:any", ""] {
        assert!(!known(name), "{name}");
    }
    assert!(
        super::names().any(|name| name == "@trace") && super::names().any(|name| name == "read")
    );
}

#[test]
fn an_unknown_base_is_none() {
    assert!(expand("defualt", &[], &[], OnViolation::Error).is_none());
}

#[test]
fn the_reasons_can_be_asked_for() {
    assert_eq!(syscall_reasons("vmsplice"), ["nobody uses them but exploits"]);
    assert_eq!(syscall_reasons("socketpair").len(), 2);
    assert!(syscall_reasons("nothing").is_empty());
}
