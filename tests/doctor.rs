//! `stockade doctor` tells what this host can enforce, in words and as JSON, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "support/skip.rs"]
mod skip;
use skip::skip;

fn doctor(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.arg("doctor").args(arguments).env_remove("STOCKADE_CGROUP");
    command.envs(environment.iter().copied()).output().unwrap()
}

fn json(environment: &[(&str, &str)]) -> (Value, Option<i32>) {
    let output = doctor(&["--json"], environment);
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code())
}

fn state<'a>(answer: &'a Value, control: &str) -> &'a str {
    answer["controls"][control]["state"].as_str().unwrap()
}

/// Where cgroup v2 is mounted.
fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let point = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(point))
    })
}

#[test]
fn each_control_has_an_answer_and_what_is_missing_has_a_reason() {
    let (answer, code) = json(&[]);
    assert_eq!(answer["version"], 1);
    assert_eq!(answer["backend"], "linux");
    let controls = answer["controls"].as_object().unwrap();
    for name in ["limits.memory", "limits.pids", "filesystem.view", "network.mode", "syscalls"] {
        assert!(controls.contains_key(name), "{name}");
    }
    for (name, control) in controls {
        match control["state"].as_str().unwrap() {
            "enforced" => {}
            "degraded" => assert_ne!(control["how"], "", "{name}"),
            "unavailable" => assert_ne!(control["reason"], "", "{name}"),
            other => panic!("{name} is {other}"),
        }
    }
    for fact in answer["facts"].as_array().unwrap() {
        assert_eq!(fact["good"], fact["consequence"] == "", "{fact}");
    }
    let enforceable = answer["verdict"]["enforceable"].as_bool().unwrap();
    assert_eq!(code, Some(if enforceable { 0 } else { 1 }));
    assert_eq!(enforceable, answer["verdict"]["missing"].as_array().unwrap().is_empty());
}

#[test]
fn the_words_end_in_the_same_verdict() {
    let (answer, code) = json(&[]);
    let output = doctor(&[], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let yes = if answer["verdict"]["enforceable"] == true { "yes" } else { "no" };
    let verdict = format!("The policy `worker` can be enforced here: {yes}");
    assert!(text.lines().any(|line| line == verdict), "{text}");
    for name in answer["controls"].as_object().unwrap().keys() {
        let told = text
            .lines()
            .any(|line| line.get(2..).is_some_and(|rest| rest.starts_with(&format!("{name} "))));
        assert!(told, "{name} isn't told:\n{text}");
    }
    assert_eq!(output.status.code(), code);
    assert!(output.stderr.is_empty());
}

#[test]
fn limits_are_enforced_where_the_host_offers_controllers() {
    let Some(mount) = cgroup2() else { skip!("memory: cgroup v2 isn't mounted") };
    let offered = fs::read_to_string(mount.join("cgroup.controllers")).unwrap();
    if !["cpu", "memory", "pids"].iter().all(|name| offered.split(' ').any(|it| it.trim() == *name))
    {
        skip!("memory: `{}` offers only `{}`", mount.display(), offered.trim());
    }
    if Path::new("/run/systemd/system").exists() {
        skip!("delegation: systemd owns the tree, and this test wasn't started in a scope");
    }
    let (answer, _) = json(&[]);
    for limit in ["memory", "memory_high", "swap", "cpu", "cpu_weight", "pids"] {
        let name = format!("limits.{limit}");
        assert_eq!(state(&answer, &name), "enforced", "{}", answer["controls"][&name]);
    }
}

#[test]
fn a_wrong_place_for_sandboxes_is_told_and_takes_the_limits_away() {
    let (answer, _) = json(&[("STOCKADE_CGROUP", "/no/such/cgroup")]);
    assert_eq!(state(&answer, "limits.memory"), "degraded");
    assert_eq!(state(&answer, "limits.memory_high"), "unavailable");
    let facts = answer["facts"].as_array().unwrap();
    let place = facts.iter().find(|fact| fact["name"] == "place of sandboxes").unwrap();
    assert_eq!(place["good"], false);
    let found = place["found"].as_str().unwrap();
    assert!(found.contains("STOCKADE_CGROUP") && found.contains("/no/such/cgroup"), "{found}");
}

#[test]
fn nothing_is_left_behind() {
    fn trials(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut found = Vec::new();
        for entry in below {
            if entry.file_name().to_string_lossy().starts_with("trial-") {
                found.push(entry.path());
            }
            found.extend(trials(&entry.path()));
        }
        found
    }
    let Some(mount) = cgroup2() else { skip!("delegation: cgroup v2 isn't mounted") };
    let mut child = Command::new(env!("CARGO_BIN_EXE_stockade"))
        .arg("doctor")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Other tests have doctors of their own, which may be at work.
    let own = format!("trial-{:08x}", child.id());
    child.wait().unwrap();
    let left: Vec<_> = trials(&mount).into_iter().filter(|path| path.ends_with(&own)).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}
