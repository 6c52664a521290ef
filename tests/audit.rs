//! The audit log from outside: what is in it, and that a change of it is found.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use serde_json::Value;
use std::fs;
use std::process::{Command, Output};
use support::Scene;

/// What `audit verify` says of the log of a scene.
fn verify(scene: &Scene, flags: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(scene.path()).args(["audit", "verify", "audit.jsonl"]).args(flags);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn lines(scene: &Scene) -> Vec<Value> {
    let text = fs::read_to_string(scene.path().join("audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_is_written_down_from_its_start_to_its_end() {
    let scene = Scene::new();
    let run = scene.bash(&["--audit", "audit.jsonl"], "unshare -U true; exit 3").expect_code(3);
    let lines = lines(&scene);
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!((events.first(), events.last()), (Some(&"started"), Some(&"ended")));
    assert!(events.contains(&"exited"), "{events:?}");
    for line in &lines {
        assert_eq!(&line["id"], run.reported("/id"));
        assert_eq!(&line["policy"], run.reported("/policy/digest"));
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line["before"].as_str().unwrap().len(), 64);
    }
    let how = run.reported("/enforcement")["syscalls"]["how"].as_str().unwrap_or("aren't counted");
    if !how.contains("aren't counted") {
        let denied = lines.iter().find(|line| line["event"] == "denied").unwrap();
        assert_eq!(
            (&denied["what"], &denied["times"]),
            (&"unshare(CLONE_NEWUSER)".into(), &1.into())
        );
    }
    let last = lines.last().unwrap();
    assert_eq!((&last["cause"], &last["exit_code"]), (&"exited".into(), &3.into()));
    let (code, told, _) = verify(&scene, &[]);
    assert_eq!(code, Some(0));
    assert!(
        told.starts_with(&format!("audit.jsonl: {} lines, all fit, the last is ", lines.len())),
        "{told}"
    );
}

#[test]
fn a_launch_that_failed_is_written_down() {
    let scene = Scene::new();
    scene.run(&["--audit", "audit.jsonl"], &["/no/such/program"]).expect_code(127);
    let lines = lines(&scene);
    assert_eq!((lines.len(), &lines[0]["event"]), (1, &"launch_failed".into()));
    assert!(lines[0]["error"].as_str().unwrap().contains("/no/such/program"));
}

#[test]
fn several_sandboxes_share_a_log_and_a_change_is_found_with_its_line() {
    let scene = Scene::new();
    std::thread::scope(|scope| {
        for at in 0..4 {
            let scene = &scene;
            scope.spawn(move || {
                let report = format!("report-{at}.json");
                let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
                command.current_dir(scene.path());
                command.args(["run", "--report", &report, "--audit", "audit.jsonl", "--", "true"]);
                assert!(command.status().unwrap().success());
            });
        }
    });
    let count = lines(&scene).len();
    assert_eq!((count % 4, verify(&scene, &[]).0), (0, Some(0)));

    let path = scene.path().join("audit.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let changed: Vec<String> = whole
        .lines()
        .enumerate()
        .map(|(at, line)| if at == 2 { line.replacen("Z\"", "z\"", 1) } else { line.to_owned() })
        .collect();
    fs::write(&path, changed.join("\n") + "\n").unwrap();
    let (code, told, _) = verify(&scene, &[]);
    let expected = "audit.jsonl:4: doesn't fit the one before it: one of them was changed, or lines between them are gone\n";
    assert_eq!((code, told.as_str()), (Some(1), expected));
    let (code, told, _) = verify(&scene, &["--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["unfit"]["line"]), (Some(1), &4.into()));

    // A line that was interrupted is told, and the log goes on behind it.
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let (code, _, warned) = verify(&scene, &[]);
    let warning = format!("warning: audit.jsonl:{count}: interrupted while it was written\n");
    assert_eq!((code, warned), (Some(0), warning.clone()));
    scene.run(&["--audit", "audit.jsonl"], &["true"]).expect_code(0);
    let (code, told, warned) = verify(&scene, &[]);
    assert_eq!((code, warned), (Some(0), warning), "{told}");
}

#[test]
fn what_can_not_be_a_log_is_told_before_anything_runs() {
    let scene = Scene::new();
    for (place, told) in [
        ("/no/such/directory/log", "failed to open `/no/such/directory/log` for the audit log"),
        ("/dev/null", "`/dev/null` can't be an audit log: it is no regular file"),
    ] {
        let run = scene.bash(&["--audit", place], "echo ran").expect_code(125);
        assert!(run.stderr.contains(told) && run.stdout.is_empty(), "{}", run.told());
    }
    let (code, _, told) = verify(&scene, &[]);
    assert_eq!(code, Some(125));
    assert!(told.contains("failed to read `audit.jsonl`"), "{told}");
}
