//! `stockade run --tty`: the program gets a terminal of its own, joined to the caller's.

#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod support;

use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use support::{Outcome, PYTHON, Scene, guarded, signal};

/// When something that should appear counts as missing. Far above what the slowest guest needs.
const MISSING: Duration = Duration::from_secs(60);

/// Somebody at a terminal of 30 rows and 100 columns.
struct Desk {
    scene: Scene,
    keys: File,
    /// The side that programs hold. Kept open, so that the screen outlives them.
    line: OwnedFd,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Desk {
    fn new() -> Self {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let mut reader = File::from(master.try_clone().unwrap());
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = File::from(master);
        let desk = Self { scene: Scene::new(), keys, line: slave, screen, seen: String::new() };
        desk.resize(30, 100);
        desk
    }

    /// Starts a command here as the leader of a session whose terminal this is, as a terminal's window does.
    fn start(&self, words: &Command) -> Child {
        let line = || Stdio::from(self.line.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(words.get_program()).args(words.get_args());
        command.current_dir(self.scene.path()).env("PS1", "$ ");
        command.stdin(line()).stdout(line()).stderr(line()).spawn().unwrap()
    }

    /// `stockade run --tty` of a program.
    fn run(&self, program: &[&str]) -> Child {
        self.start(&self.scene.command(&["--tty"], program))
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text is on the screen, and forgets what was there up to its end.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + MISSING;
        loop {
            if let Some(place) = self.seen.find(text) {
                self.seen.drain(..place + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.screen.recv_timeout(left) else {
                panic!("never shown: {text:?}; shown: {:?}", self.seen);
            };
            self.seen += &String::from_utf8_lossy(&bytes);
        }
    }

    fn resize(&self, rows: u16, columns: u16) {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let mut stty = Command::new("stty");
        stty.args(["rows", &rows, "cols", &columns]).stdin(self.line.try_clone().unwrap());
        assert!(stty.status().unwrap().success());
    }

    fn mode(&self) -> Termios {
        tcgetattr(&self.line).unwrap()
    }

    /// Whether keys go to the program as they are.
    fn is_raw(&self) -> bool {
        !self
            .mode()
            .local_flags
            .intersects(LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::ECHO)
    }

    /// Waits for a run's end.
    fn outcome(&self, child: Child) -> Outcome {
        self.scene.outcome("stockade run --tty".to_owned(), child)
    }
}

#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a terminal's mode and another's process send no event"
)]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + MISSING;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

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
    // `stty` on the caller's side sets rows and columns one after the other, which is two changes.
    let line = "stty size; trap 'stty size | grep 132 && exit' WINCH; echo ready; \
                while :; do read -t 1; done";
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
