//! `stockade run --tty`: the program gets a terminal of its own, joined to the caller's.

#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::process::{Command, Stdio};
use support::desk::{Desk, eventually};
use support::{PYTHON, Scene, guarded, signal};

#[test]
fn the_program_has_a_terminal_of_its_own() {
    let mut desk = Desk::new();
    let code =
        "import os; print({os.ttyname(fd) for fd in (0, 1, 2)}, os.tcgetpgrp(0) == os.getpgrp())";
    let run = desk.run(&[PYTHON, "-c", code]);
    desk.shows("{'/dev/pts/0'} True\r\n");
    desk.outcome(run).expect_code(0);
    // Without the flag it is the caller's, and the program's session has no terminal to control.
    let code = "import os; print(os.isatty(1)); os.open('/dev/tty', os.O_RDWR)";
    let run = desk.start(&desk.scene.command(&[], &[PYTHON, "-c", code]));
    desk.shows("True\r\n");
    desk.shows("No such device or address: '/dev/tty'");
    desk.outcome(run).expect_code(1);
}

#[test]
fn its_size_is_the_callers_from_the_start_and_follows_it() {
    let mut desk = Desk::new();
    // `stty` on the caller's side sets rows and columns one after the other, which is two changes, told as one or two.
    let line = "stty size; trap told=yes WINCH; echo ready; \
                until [ \"$told $(stty size)\" = 'yes 40 132' ]; do sleep 0.1; done; stty size";
    let run = desk.run(&["bash", "-c", line]);
    desk.shows("30 100\r\n");
    desk.shows("ready");
    desk.resize(40, 132);
    desk.shows("40 132\r\n");
    desk.outcome(run).expect_code(0);
}

#[test]
fn keys_reach_the_program_and_the_callers_mode_comes_back() {
    let mut desk = Desk::new();
    let before = desk.mode();
    let run = desk.run(&["cat"]);
    eventually("raw mode", || desk.is_raw());
    desk.types("hello\r");
    // Once as its own terminal's echo, and once from the program.
    desk.shows("hello\r\nhello\r\n");
    desk.types("\u{4}");
    desk.outcome(run).expect_code(0);
    assert_eq!(desk.mode(), before);
}

#[test]
fn an_interrupt_from_the_keyboard_is_for_the_program() {
    let mut desk = Desk::new();
    let before = desk.mode();
    let run = desk.run(&["sleep", "1000"]);
    eventually("raw mode", || desk.is_raw());
    desk.types("\u{3}");
    let run = desk.outcome(run).expect_code(130);
    assert_eq!(run.reported("/cause"), "signalled", "{}", run.told());
    assert_eq!(desk.mode(), before);
    // A program that catches it goes on.
    // Its `read` has an end: a signal that comes before the shell sleeps in it is acted on after it.
    let line = "trap 'echo caught; exit 7' INT; echo ready; while :; do read -t 1; done";
    let run = desk.run(&["bash", "-c", line]);
    desk.shows("ready");
    desk.types("\u{3}");
    desk.shows("caught");
    desk.outcome(run).expect_code(7);
}

#[test]
fn what_is_printed_on_a_terminal_counts_as_output() {
    let mut desk = Desk::new();
    let run = desk.start(&desk.scene.command(&["--tty", "--output", "100B"], &["yes", "line"]));
    desk.shows("line\r\nline");
    let run = desk.outcome(run).expect_code(137);
    assert_eq!(run.reported("/limit"), "limits.output", "{}", run.told());
    assert_eq!(run.reported("/output_bytes"), 100);
}

#[test]
fn a_shell_inside_has_job_control() {
    let mut desk = Desk::new();
    let run = desk.run(&["bash", "--norc", "--noprofile", "-i"]);
    desk.shows("$ ");
    desk.types("sh -c \"echo g''o; exec sed -u s/o/O/\"\r");
    // The shell's line editor is done with the terminal.
    desk.shows("go\r\n");
    desk.types("one\r");
    // Not the terminal's echo, but the answer of the one who has the foreground.
    desk.shows("One");
    desk.types("\u{1a}");
    desk.shows("Stopped");
    desk.shows("$ ");
    desk.types("fg\r");
    desk.shows("exec sed -u s/o/O/");
    desk.types("two\r");
    desk.shows("twO");
    desk.types("\u{4}");
    desk.shows("$ ");
    desk.types("exit 3\r");
    desk.outcome(run).expect_code(3);
}

#[test]
fn a_program_that_is_stopped_from_the_keyboard_goes_on_with_the_shell_outside() {
    let mut desk = Desk::new();
    let mut shell = desk.start(Command::new("bash").args(["--norc", "--noprofile", "-i"]));
    desk.shows("$ ");
    let stockade = desk.scene.command(&["--tty"], &["cat"]);
    let words: Vec<_> = stockade.get_args().map(|word| word.to_str().unwrap()).collect();
    desk.types(&format!("{} {}\r", env!("CARGO_BIN_EXE_stockade"), words.join(" ")));
    eventually("raw mode", || desk.is_raw());
    desk.types("one\r");
    desk.shows("one\r\none\r\n");
    desk.types("\u{1a}");
    desk.shows("Stopped");
    eventually("the shell's mode", || !desk.is_raw());
    desk.types("fg\r");
    eventually("raw mode again", || desk.is_raw());
    desk.types("two\r");
    desk.shows("two\r\ntwo\r\n");
    desk.types("\u{4}");
    desk.shows("$ ");
    desk.types("exit $?\r");
    let end = guarded(shell.id(), || shell.wait().unwrap());
    assert_eq!(end.code(), Some(0));
}

#[test]
fn a_terminal_that_closes_takes_the_program_along() {
    let scene = Scene::new();
    let marker = format!("1000.{}", std::process::id());
    let line = format!("{} run --tty -- sleep {marker}", env!("CARGO_BIN_EXE_stockade"));
    // script(1) is the window: it holds the other side, and nobody else does.
    // Whoever runs the tests may have told them to outlive a window: nohup(1).
    let mut window = Command::new("env");
    window
        .args(["--default-signal=HUP", "script", "--quiet", "--command", &line, "/dev/null"])
        .current_dir(scene.path());
    let mut window = window.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let programs = || support::processes_with(&marker).len();
    // The window, its shell, Stockade, and the program.
    eventually("the program", || program_runs(&marker));
    signal(window.id(), Signal::SIGKILL);
    guarded(window.id(), || window.wait().unwrap());
    eventually("its end", || programs() == 0);
}

/// Whether a `sleep` with this marker runs.
fn program_runs(marker: &str) -> bool {
    let commands = support::processes_with(marker).into_iter();
    let mut words = commands.filter_map(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok());
    words.any(|words| words.starts_with(b"sleep\0"))
}
