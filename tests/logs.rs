//! What services write, as `stockade logs` shows it.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::process::{Command, Stdio};
use support::{Outcome, Scene, Started};

fn stockade(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(scene.path()).args(arguments).stdin(Stdio::null());
    command
}

fn run(scene: &Scene, arguments: &[&str]) -> Outcome {
    scene.finish(stockade(scene, arguments))
}

/// A job under the policy that starts on any host.
fn service(name: &str, line: &str, rest: &str) -> String {
    format!(
        "[services.{name}]\npolicy = \"default\"\ntype = \"oneshot\"\ncommand = [\"bash\", \"-c\", {line:?}]\n{rest}\n"
    )
}

/// Runs a stack to its end, with its lines kept.
fn kept(stack: &str) -> Scene {
    let scene = Scene::new();
    scene.file("stockade.toml", stack);
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    scene
}

fn logs(scene: &Scene, flags: &[&str]) -> String {
    run(scene, &[&["logs", "--state", "state"], flags].concat()).text().to_owned()
}

#[test]
fn lines_are_shown_in_the_order_of_time_with_who_wrote_them() {
    let scene = kept(
        &[
            service("setup", "echo one; echo two >&2; printf end", ""),
            service("web", "echo three", "depends_on = { setup = \"completed\" }"),
        ]
        .concat(),
    );
    let all = logs(&scene, &[]);
    let mut lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.pop(), Some("web   | three"), "{all}");
    lines.sort_unstable();
    assert_eq!(lines, ["setup | end", "setup | one", "setup | two"]);
    assert_eq!(logs(&scene, &["web"]), "web | three\n");
    assert_eq!(logs(&scene, &["setup", "--stream", "stderr"]), "setup | two\n");
    assert_eq!(logs(&scene, &["--grep", "^t[wh]", "-n", "1"]), "web   | three\n");
    assert_eq!(logs(&scene, &["--since", "1h ago", "--until", "30m ago"]), "");
    assert_eq!(logs(&scene, &["--since", "today", "--grep", "three"]), "web   | three\n");
    let told: serde_json::Value = serde_json::from_str(&logs(&scene, &["web", "--json"])).unwrap();
    let told = [&told["service"], &told["instance"], &told["stream"], &told["text"], &told["seq"]];
    assert_eq!(
        told.map(ToString::to_string),
        ["\"web\"", "\"web\"", "\"stdout\"", "\"three\"", "0"]
    );
}

#[test]
fn what_is_wrong_is_told_with_what_there_is() {
    let scene = kept(&service("web", "echo one", ""));
    let refused = |flags: &[&str], told: &[&str]| {
        run(&scene, &[&["logs"], flags].concat()).expect_refusal(told);
    };
    refused(&["--state", "state", "wbe"], &["there is no log of `wbe`", "there are those of web"]);
    refused(&["--state", "none"], &["there are no logs in `none/logs`", "--state"]);
    refused(&["--state", "state", "--since", "soon"], &["`soon` is no time (write `10m ago`"]);
    refused(
        &["--state", "state", "--grep", "("],
        &["`(` is no regular expression: unclosed group"],
    );
}

#[test]
fn the_stack_says_what_is_kept_and_how_much() {
    let logging = "logging = { format = \"auto\", level = \"warning\", exclude = [\"noise\"], rate_limit = { lines = 5, per = \"1h\" } }";
    let line = "echo level=info msg=light; echo level=error msg=grave; echo noise; for i in {1..100}; do echo $i; done";
    let none = service("quiet", "echo never", "logging = { driver = \"none\" }");
    let scene = kept(&[service("web", line, logging), none].concat());
    let lines = logs(&scene, &[]);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        &lines[..5],
        ["web | level=error msg=grave", "web | 1", "web | 2", "web | 3", "web | 4"]
    );
    assert!(lines[5].starts_with("web | stockade: 96 lines ("), "{lines:?}");
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(logs(&scene, &["--level", "error"]), "web | level=error msg=grave\n");
}

#[test]
fn lines_are_followed_over_every_change_of_files_each_once_and_in_order() {
    let scene = Scene::new();
    let line = "for i in {1..20000}; do echo $i; done; read -r < /dev/zero";
    let logging = "logging = { rotation = { max_size = \"64KiB\", max_files = 1000 } }";
    scene.file("stockade.toml", &service("web", line, logging));
    let up = Started::new(stockade(&scene, &["up", "--state", "state"]));
    let mut following =
        Started::new(stockade(&scene, &["logs", "--state", "state", "-f", "--all"]));
    assert_eq!(following.first_line, "web | 1");
    for number in 2..=20_000 {
        assert_eq!(following.line(), format!("web | {number}"));
    }
    following.signal(Signal::SIGTERM);
    following.finish(&scene);
    let files = std::fs::read_dir(scene.at("state/logs/web")).unwrap().count();
    assert!(files > 10, "{files}");
    up.signal(Signal::SIGTERM);
    // Whoever is reads the rest of what it printed.
    up.finish(&scene);
}

#[test]
fn another_process_does_not_write_into_logs_that_are_kept() {
    let scene = Scene::new();
    scene.file("stockade.toml", &service("web", "echo runs; exec sleep 1004", ""));
    let up = Started::new(stockade(&scene, &["up", "--state", "state"]));
    run(&scene, &["up", "--state", "state"]).expect_refusal(&["another process keeps its logs in"]);
    up.signal(Signal::SIGINT);
    up.finish(&scene).expect_code(0);
}

#[test]
fn a_killed_up_loses_no_line_and_the_next_one_goes_on() {
    let scene = Scene::new();
    let count = "for ((i = 0; ; i++)); do echo $i; done";
    scene.file("stockade.toml", &service("web", count, ""));
    for _ in 0..5 {
        let mut up = Started::new(stockade(&scene, &["up", "--state", "state"]));
        while !up.line().ends_with("000") {}
        up.signal(Signal::SIGKILL);
        up.finish(&scene);
    }
    scene.file("stockade.toml", &service("web", "echo last", ""));
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    let text = logs(&scene, &["--json"]);
    let (mut expected, mut runs) = (0, 0);
    for (seq, line) in text.lines().enumerate() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(told["seq"], seq as u64);
        let text = told["text"].as_str().unwrap();
        if text == "0" {
            (expected, runs) = (0, runs + 1);
        }
        // The last line of a run may be cut where its program was.
        if text != "last" && told["partial"] != true {
            assert_eq!(text, expected.to_string(), "{line}");
        }
        expected += 1;
    }
    assert_eq!(runs, 5);
    assert!(text.lines().last().unwrap().contains("\"text\":\"last\""));
}
