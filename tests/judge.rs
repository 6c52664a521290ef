//! What is said of policies: how much they expose, what in them is probably not meant, and how they differ.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fs;
use std::process::Command;

/// `stockade policy` with these words, in a directory: exit code, standard output and error.
fn policy(directory: &tempfile::TempDir, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    let output = command.arg("policy").args(words).current_dir(directory).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(
        place.path().join("own.toml"),
        "extends = 'worker'\n[network]\nmode = 'host'\n[filesystem]\nwrite = ['.']\n[limits]\nmemory = '1GiB'\n",
    )
    .unwrap();
    place
}

#[test]
fn a_score_has_its_reasons_and_a_bound() {
    let place = place();
    let (code, worker, _) = policy(&place, &["score", "worker"]);
    assert_eq!(code, Some(0), "{worker}");
    assert!(worker.contains("network.mode           no network"), "{worker}");
    assert!(worker.lines().last().unwrap().starts_with("worker exposes "), "{worker}");
    let (_, own, _) = policy(&place, &["score", "own.toml", "--json"]);
    let own: serde_json::Value = serde_json::from_str(&own).unwrap();
    assert_eq!(own["findings"][0]["key"], "network.mode", "{own}");
    let score = own["score"].as_f64().unwrap();
    for (most, code) in [(score, 0), (score - 0.1, 1)] {
        let (ended, ..) = policy(&place, &["score", "own.toml", "--at-most", &most.to_string()]);
        assert_eq!(ended, Some(code), "{most}");
    }
}

#[test]
fn a_policy_that_its_program_may_change_is_warned_of() {
    let place = place();
    let (code, told, _) = policy(&place, &["lint", "own.toml", "worker"]);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.starts_with("own.toml: filesystem.write: ")
            && told.contains("own.toml` is this policy"),
        "{told}"
    );
    let (code, told, _) =
        policy(&place, &["lint", "worker", "default", "service", "build", "agent"]);
    assert_eq!((code, told.as_str()), (Some(0), ""));
}

#[test]
fn a_difference_says_who_permits_more() {
    let place = place();
    let (code, told, _) = policy(&place, &["diff", "worker", "own.toml"]);
    assert_eq!(code, Some(1), "{told}");
    for part in [
        "limits.memory: own.toml permits more\n  - 256MiB\n  + 1GiB\n",
        "network.mode: own.toml permits more\n",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(policy(&place, &["diff", "worker", "worker"]).0, Some(0));
    let (code, _, error) = policy(&place, &["diff", "worker", "wroker"]);
    assert!(code == Some(125) && error.contains("did you mean `worker`?"), "{error}");
}
