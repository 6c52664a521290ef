use super::rule::RuleFile;
use super::*;
use crate::platform::{Compare, OnViolation, SyscallAnswer, Syscalls};
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
    why: String,
    names: Vec<String>,
}

/// `policies/syscalls/groups.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupsFile {
    group: Vec<GroupFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupFile {
    name: String,
    why: String,
    names: Vec<String>,
}

fn groups_file() -> GroupsFile {
    toml::from_str(include_str!("../../../policies/syscalls/groups.toml")).unwrap()
}

fn list() -> ListFile {
    toml::from_str(include_str!("../../../policies/syscalls/default.toml")).unwrap()
}

/// What a policy of these layers comes to: what each allows, and denies.
fn layered(base: &'static str, layers: &[(&[&str], &[&str], &[&str])]) -> Syscalls {
    let mut calls = Calls::default();
    calls.base = base;
    for (allow, deny, rules) in layers {
        calls.begin_layer();
        allow.iter().for_each(|name| calls.allow(name));
        deny.iter().for_each(|name| calls.deny(name));
        rules.iter().for_each(|text| calls.rule(rule(text)));
    }
    calls.expand(OnViolation::Error).unwrap()
}

/// A rule as on the command line, with one value for each field.
fn rule(text: &str) -> CallRule {
    let fields = text.split(',').filter_map(|part| part.split_once('='));
    let field =
        |(name, value): (&str, &str)| Field { name: name.into(), values: vec![value.into()] };
    CallRule::new(&fields.map(field).collect::<Vec<_>>()).unwrap()
}

fn expanded(base: &'static str, allow: &[&str], deny: &[&str]) -> Syscalls {
    layered(base, &[(allow, deny, &[])])
}

/// What a call gets whose argument 0 is `value`, in plain words.
fn given(syscalls: &Syscalls, name: &str, value: u64) -> SyscallAnswer {
    let holds = |test: &ArgumentTest| match test.compare {
        Compare::Equal(wanted) => value == wanted,
        Compare::NotEqual(wanted) => value != wanted,
        Compare::Masked { mask, value: wanted } => value & mask == wanted,
        Compare::Any(mask) => value & mask != 0,
    };
    let of_it = |test: &ArgumentTest| test.index != 0 || holds(test);
    let mut rules = syscalls.rules.iter().filter(|rule| rule.name == name);
    let listed =
        if has(&syscalls.allow, name) { SyscallAnswer::Allow } else { SyscallAnswer::Violation };
    // Tests of other arguments are taken not to hold.
    let decides = |rule: &&crate::platform::SyscallRule| {
        rule.tests.iter().all(|test| test.index == 0) && rule.tests.iter().all(of_it)
    };
    rules.find(decides).map_or(listed, |rule| rule.answer)
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
    assert!(GROUPS.iter().all(|group| !group.why.is_empty()));
}

#[test]
fn every_system_call_is_in_a_group_and_every_group_is_of_system_calls() {
    for name in GROUPS.iter().flat_map(|group| group.names) {
        assert!(platform::known_syscall(name), "{name}");
    }
    for name in platform::syscall_names() {
        assert!(GROUPS.iter().any(|group| group.names.contains(&name)), "{name}");
    }
    for group in groups() {
        let mut names: Vec<_> = members(group).collect();
        names.sort_unstable();
        assert!(
            names.windows(2).all(|pair| pair[0] != pair[1]) || group == "privileged",
            "{group}"
        );
    }
}

#[test]
fn a_group_for_ordinary_work_opens_nothing_that_the_base_list_denies() {
    let old: Vec<&str> = members("32-bit").chain(members("obsolete")).collect();
    for group in [
        "start",
        "process",
        "signal",
        "basic-io",
        "io",
        "sync",
        "aio",
        "io-event",
        "file-system",
        "chown",
        "memory",
        "memlock",
        "pkey",
        "timer",
        "network",
        "network-io",
        "ipc",
        "identity",
        "setuid",
        "system",
    ] {
        for name in members(group).filter(|name| !old.contains(name)) {
            let entry = ENTRIES.iter().find(|entry| entry.names.contains(&name)).unwrap();
            assert_eq!(entry.verdict, Verdict::Allow, "@{group}: {name}");
        }
    }
}

/// Run with `WRITE_TABLE=1` to write the table anew after a change of the list.
#[test]
fn the_table_is_what_the_list_says() {
    let wanted = written(&list(), &groups_file().group);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/policy/syscalls/table.rs");
    if std::env::var_os("WRITE_TABLE").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let is = std::fs::read_to_string(path).unwrap();
    assert!(is == wanted, "run `WRITE_TABLE=1 cargo test the_table` and commit `{path}`");
}

/// The calls that a name in `groups.toml` means.
fn calls_of(name: &str, groups: &[GroupFile]) -> Vec<String> {
    match name.strip_prefix('@') {
        None => vec![name.to_owned()],
        Some(group) => {
            let parts = groups.iter().filter(|part| part.name == group);
            let names: Vec<String> = parts
                .flat_map(|part| &part.names)
                .flat_map(|name| calls_of(name, groups))
                .collect();
            assert!(!names.is_empty(), "there is no group `{group}`");
            names
        }
    }
}

/// The source text of the table.
fn written(list: &ListFile, groups: &[GroupFile]) -> String {
    let mut text = String::from(
        "//! Made from the files in `policies/syscalls/` by the test `the_table_is_what_the_list_says`; change those.\n\n\
         use super::{Entry, Group, Rule, Verdict};\n\
         use crate::platform::{ArgumentTest, Compare};\n\n\
         pub(super) static ENTRIES: &[Entry] = &[\n",
    );
    for (verdict, entries) in
        [("Allow", &list.allow), ("Absent", &list.absent), ("Deny", &list.deny)]
    {
        for EntryFile { why, names } in entries {
            writeln!(
                text,
                "    Entry {{\n        verdict: Verdict::{verdict},\n        why: {why:?},\n        names: &{names:?},\n    }},"
            )
            .unwrap();
        }
    }
    text.push_str("];\n\npub(super) static GROUPS: &[Group] = &[\n");
    for GroupFile { name, why, names } in groups {
        let names: Vec<String> = names.iter().flat_map(|name| calls_of(name, groups)).collect();
        writeln!(
            text,
            "    Group {{\n        name: {name:?},\n        why: {why:?},\n        names: &{names:?},\n    }},"
        )
        .unwrap();
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
    let mut syscalls = expanded("none", &["read"], &[]);
    syscalls.allow.sort_unstable();
    let mut wanted: Vec<_> = needed().chain(["read"]).collect();
    wanted.sort_unstable();
    assert_eq!(syscalls.allow, wanted);
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
    let syscalls = expanded("default", &["@debug"], &["@network"]);
    assert!(has(&syscalls.allow, "ptrace") && has(&syscalls.allow, "kcmp"));
    assert!(!has(&syscalls.allow, "socket") && !has(&syscalls.allow, "sendmsg"));
}

#[test]
fn the_later_layer_has_the_last_word_and_within_one_a_denial() {
    let allowed =
        |layers: &[(&[&str], &[&str], &[&str])]| has(&layered("default", layers).allow, "socket");
    assert!(allowed(&[(&[], &["@network"], &[]), (&["socket"], &[], &[])]));
    assert!(!allowed(&[(&["socket"], &[], &[]), (&[], &["@network"], &[])]));
    assert!(!allowed(&[(&["socket:any"], &["@network"], &[])]));
    assert!(allowed(&[(&[], &["socket"], &[]), (&["@network"], &[], &[])]));
}

#[test]
fn a_rule_without_an_action_is_how_alone_a_call_may_be_made() {
    use SyscallAnswer::{Allow, Violation};
    let unix: &[&str] = &["name=socket,arg0=AF_UNIX"];
    let syscalls = layered("default", &[(&[], &[], unix)]);
    assert_eq!((given(&syscalls, "socket", 1), given(&syscalls, "socket", 2)), (Allow, Violation));
    // It allows what the base doesn't, and the rules of the base list hold.
    let syscalls = layered("none", &[(&[], &[], &["name=socket,arg0=AF_ALG"])]);
    assert_eq!(
        (given(&syscalls, "socket", 38), given(&syscalls, "socket", 1)),
        (Violation, Violation)
    );
    // Several of one layer are alternatives; those of a later layer come in their place.
    let both: &[&str] = &["name=socket,arg0=AF_UNIX", "name=socket,arg0=AF_INET"];
    let syscalls = layered("default", &[(&[], &[], both)]);
    assert_eq!((given(&syscalls, "socket", 2), given(&syscalls, "socket", 10)), (Allow, Violation));
    let syscalls =
        layered("default", &[(&[], &[], unix), (&[], &[], &["name=socket,arg0=AF_INET"])]);
    assert_eq!((given(&syscalls, "socket", 1), given(&syscalls, "socket", 2)), (Violation, Allow));
    let syscalls = layered("default", &[(&[], &[], unix), (&["socket"], &[], &[])]);
    assert_eq!((given(&syscalls, "socket", 2), given(&syscalls, "socket", 40)), (Allow, Violation));
    let syscalls = layered("default", &[(&[], &["socket"], unix)]);
    assert_eq!(given(&syscalls, "socket", 1), Violation);
    let syscalls = layered(
        "default",
        &[(&["socket:any"], &[], &[]), (&[], &[], &["name=socket,arg0_not=AF_UNIX"])],
    );
    assert_eq!((given(&syscalls, "socket", 2), given(&syscalls, "socket", 40)), (Allow, Violation));
}

#[test]
fn a_rule_with_an_action_comes_before_everything_below_it() {
    use SyscallAnswer::{Allow, Kill, Violation};
    let vsock: &[&str] = &["name=socket,arg0=AF_VSOCK,action=allow"];
    let syscalls = layered("default", &[(&[], &[], vsock)]);
    assert_eq!(
        (given(&syscalls, "socket", 40), given(&syscalls, "socket", 38)),
        (Allow, Violation)
    );
    let kill: &[&str] = &["name=socket,arg0=AF_VSOCK,action=kill"];
    let syscalls = layered("default", &[(&[], &[], vsock), (&[], &[], kill)]);
    assert_eq!(given(&syscalls, "socket", 40), Kill);
    let syscalls = layered("default", &[(&[], &[], kill), (&[], &[], vsock)]);
    assert_eq!(given(&syscalls, "socket", 40), Allow);
    // Within one layer a denial wins.
    let syscalls = layered("default", &[(&[], &[], &[vsock[0], kill[0]])]);
    assert_eq!(given(&syscalls, "socket", 40), Kill);
    let syscalls = layered(
        "default",
        &[(&[], &["@mount"], &["name=mount,action=kill", "name=mount,action=allow"])],
    );
    assert_eq!((given(&syscalls, "mount", 0), given(&syscalls, "chroot", 0)), (Kill, Violation));
    // Ways alone of a layer below hold on.
    let only: &[&str] = &["name=socket,arg0=AF_UNIX"];
    let syscalls = layered("default", &[(&[], &[], only), (&[], &[], kill)]);
    assert_eq!((given(&syscalls, "socket", 1), given(&syscalls, "socket", 2)), (Allow, Violation));
    let syscalls = layered("default", &[(&[], &[], &["name=@debug,action=kill"])]);
    assert_eq!((given(&syscalls, "ptrace", 0), given(&syscalls, "kcmp", 0)), (Kill, Kill));
}

#[test]
fn names_that_mean_something_are_known() {
    for name in ["read", "@network", "ioctl:any", "open"] {
        assert!(known(name), "{name}");
    }
    for name in ["rad", "@netwrk", "@", "ioctl:", "@network:any", ""] {
        assert!(!known(name), "{name}");
    }
    assert!(
        super::names().any(|name| name == "@debug") && super::names().any(|name| name == "read")
    );
}

#[test]
fn an_unknown_base_is_none() {
    let mut calls = Calls::default();
    calls.base = "defualt";
    assert!(calls.expand(OnViolation::Error).is_none());
}

#[test]
fn the_reasons_can_be_asked_for() {
    assert_eq!(syscall_reasons("vmsplice"), ["nobody uses them but exploits"]);
    assert_eq!(syscall_reasons("socketpair").len(), 2);
    assert!(syscall_reasons("nothing").is_empty());
}
