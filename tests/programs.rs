//! Real programs do real work behind the walls: each under a shipped policy that says where its system is, and what else its
//! work takes.
//!
//! The programs are Debian's, unpacked below `target/vm` by `cargo vm` (`vm-tests/programs.toml`), and seen as the whole system.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

#[path = "real/apparmor.rs"]
mod apparmor;
#[path = "real/git.rs"]
mod git;
#[path = "real/java.rs"]
mod java;
#[path = "real/learned.rs"]
mod learned;
#[path = "real/make.rs"]
mod make;
#[path = "real/nginx.rs"]
mod nginx;
#[path = "real/node.rs"]
mod node;
#[path = "real/postgres.rs"]
mod postgres;
#[path = "real/python.rs"]
mod python;
#[path = "real/redis.rs"]
mod redis;
#[path = "real/site.rs"]
mod site;
#[path = "real/supervised.rs"]
mod supervised;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Outcome, Scene, Started, lacks, listed, skip};

/// Where `cargo vm` puts what it fetches.
const FETCHED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../vm/programs");

/// What is known to come within moments; the slowest guest takes a hundred times as long.
const PATIENCE: Duration = Duration::from_secs(150);

fn fetched(name: &str) -> PathBuf {
    Path::new(FETCHED).canonicalize().unwrap().join(name)
}

impl Scene {
    /// Runs a program of the fetched system to its end, in this directory and behind these policies' walls: the shipped one, and
    /// what stands here on top of it.
    fn work(&self, extends: &str, rest: &str, program: &[&str]) -> Outcome {
        self.finish(self.start("work", extends, rest, program))
    }

    /// The same, still to be started, with a name.
    fn start(&self, name: &str, extends: &str, rest: &str, program: &[&str]) -> Command {
        let root = fetched("root");
        let top = format!("extends = \"{extends}\"\nfilesystem.root = \"{}\"\n", root.display());
        self.file(&format!("{name}.toml"), &(top + rest));
        self.command(&["--policy", &format!("./{name}.toml"), "--name", name], program)
    }

    /// Starts a server: a program that runs until it is told to stop.
    fn serve(&self, name: &str, extends: &str, rest: &str, program: &str) -> Started {
        let line = format!("echo up; exec {program}");
        Started::new(self.start(name, extends, rest, &["sh", "-c", &line]))
    }
}

/// Unpacks zlib as its authors released it, as `zlib`.
fn unpack_zlib(scene: &Scene) {
    let files = std::fs::read_dir(fetched("sources")).unwrap().map(|entry| entry.unwrap().path());
    let mut archives =
        files.filter(|path| path.file_name().unwrap().as_encoded_bytes().starts_with(b"zlib_"));
    scene.directory("zlib");
    let mut tar = Command::new("tar");
    tar.args(["--no-same-owner", "--strip-components=1", "-C", &scene.at("zlib"), "-xzf"])
        .arg(archives.next().unwrap());
    assert!(tar.status().unwrap().success());
}

/// `stockade stop`, by a name that no other test has.
fn stop(scene: &Scene, server: Started, name: &str) -> Outcome {
    listed(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    let asked = command.args(["stop", name]).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    server.finish(scene)
}

/// That a run did its work, and that nothing which it wanted was denied.
#[track_caller]
fn expect_content(run: &Outcome) {
    assert_eq!(run.status.code(), Some(0), "{}", run.told());
    assert_eq!(run.reported("/denials"), &serde_json::json!([]), "{}", run.told());
}

/// Tries until there is something.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a server tells nobody when it is ready")]
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(begin.elapsed() < PATIENCE, "{what} never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port of this host that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Ends the test where the programs, or limits that hold, can't be had.
macro_rules! needs_programs {
    () => {
        if !std::fs::exists(crate::FETCHED).unwrap() {
            crate::skip!("programs: `cargo vm` fetches them");
        }
        // No shipped policy but `default` starts without them.
        if let Some(why) = crate::lacks("limits.memory") {
            crate::skip!("memory: {why}");
        }
    };
}
use needs_programs;
