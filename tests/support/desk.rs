//! Somebody at a terminal, who types and looks.

use super::{Outcome, Scene};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// When something that should appear counts as missing. Far above what the slowest guest needs.
const MISSING: Duration = Duration::from_secs(60);

/// Somebody at a terminal of 30 rows and 100 columns.
pub(crate) struct Desk {
    pub(crate) scene: Scene,
    keys: File,
    /// The side that programs hold. Kept open, so that the screen outlives them.
    line: OwnedFd,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
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
    pub(crate) fn start(&self, words: &Command) -> Child {
        let line = || Stdio::from(self.line.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(words.get_program()).args(words.get_args());
        command.current_dir(self.scene.path()).env("PS1", "$ ");
        command.stdin(line()).stdout(line()).stderr(line()).spawn().unwrap()
    }

    /// `stockade run --tty` of a program.
    pub(crate) fn run(&self, program: &[&str]) -> Child {
        self.start(&self.scene.command(&["--tty"], program))
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text is on the screen, and forgets what was there up to its end.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) {
        self.shows_any(&[text]);
    }

    /// Waits until one of these texts is on the screen, and forgets what was there up to its end.
    #[track_caller]
    pub(crate) fn shows_any(&mut self, texts: &[&str]) {
        let deadline = Instant::now() + MISSING;
        loop {
            let found = texts.iter().find_map(|text| Some(self.seen.find(text)? + text.len()));
            if let Some(end) = found {
                self.seen.drain(..end);
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.screen.recv_timeout(left) else {
                panic!("never shown: {texts:?}; shown: {:?}", self.seen);
            };
            self.seen += &String::from_utf8_lossy(&bytes);
        }
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let mut stty = Command::new("stty");
        stty.args(["rows", &rows, "cols", &columns]).stdin(self.line.try_clone().unwrap());
        assert!(stty.status().unwrap().success());
    }

    pub(crate) fn mode(&self) -> Termios {
        tcgetattr(&self.line).unwrap()
    }

    /// Whether keys go to the program as they are.
    pub(crate) fn is_raw(&self) -> bool {
        !self
            .mode()
            .local_flags
            .intersects(LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::ECHO)
    }

    /// Waits for a run's end.
    pub(crate) fn outcome(&self, child: Child) -> Outcome {
        self.scene.outcome("stockade run --tty".to_owned(), child)
    }
}

#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a terminal's mode and another's process send no event"
)]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + MISSING;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
