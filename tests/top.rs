//! `stockade top`, as somebody at a terminal sees it.

#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod support;

use std::process::Command;
use support::desk::Desk;
use support::{Scene, Started, guarded};

#[test]
fn the_screen_shows_what_runs_and_its_keys_act_on_it() {
    let scene = Scene::new();
    let line = "echo up; sleep 1000.5 & wait";
    let flags = ["--name", "000shown", "--memory", "256MiB"];
    let run = Started::new(scene.command(&flags, &["bash", "-c", line]));
    support::listed("000shown");

    let mut desk = Desk::new();
    desk.resize(20, 160);
    let before = desk.mode();
    let mut top = Command::new(env!("CARGO_BIN_EXE_stockade"));
    let mut top = desk.start(top.args(["top", "--interval", "200ms"]));
    desk.shows("sandbox");
    desk.shows("000shown-");
    desk.shows("running");
    desk.shows("/256MiB");
    // By name it is the first, whatever else of this user runs.
    desk.types("ssss");
    desk.types(&"k".repeat(50));
    desk.types(" ");
    // Blanks are jumped over, not drawn.
    desk.shows("1000.5");
    // Without a cgroup of its own no tree can be stopped, and the screen says so.
    desk.types("f");
    desk.shows_any(&["paused", "can't"]);
    desk.types("f");
    desk.types("x");
    desk.shows("kill");
    desk.types("y");
    let ended = run.finish(&scene).expect_code(137);
    assert_eq!(ended.reported("/cause"), "stopped", "{}", ended.told());
    desk.types("q");
    let end = guarded(top.id(), || top.wait().unwrap());
    assert_eq!(end.code(), Some(0));
    assert_eq!(desk.mode(), before);
}

#[test]
fn without_a_terminal_it_says_what_does_the_same() {
    let output = Command::new(env!("CARGO_BIN_EXE_stockade")).arg("top").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("a live screen needs a terminal"), "{told}");
    assert!(told.contains("`stockade stats` prints the same once"), "{told}");
}

#[test]
fn bars_stand_below_what_a_program_writes_and_leave_with_it() {
    let mut desk = Desk::new();
    desk.resize(20, 160);
    let line = "echo out; echo error >&2; printf prompt; sleep 1.2; echo; sleep 1.2; echo last";
    let flags = ["--watch", "--name", "barred", "--memory", "256MiB", "--pids", "50"];
    let run = desk.start(&desk.scene.command(&flags, &["bash", "-c", line]));
    desk.shows("out\r\n");
    desk.shows("error\r\n");
    // What the program began to write stays as it is.
    desk.shows("prompt\r\n");
    desk.shows("barred-");
    desk.shows("memory [");
    desk.shows("/256MiB");
    desk.shows("/50");
    desk.shows("\r\u{1b}[2Klast\r\n");
    desk.shows("\r\u{1b}[2K");
    desk.outcome(run).expect_code(0);

    // Where only the bars go to the terminal, the program's output is its own.
    let mut command = desk.scene.command(&["--watch"], &["bash", "-c", "echo alone"]);
    let run = command.stderr(std::process::Stdio::null()).output().unwrap();
    assert_eq!(run.status.code(), Some(125));
}
