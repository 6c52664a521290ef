//! Learning a policy from what a program does: the next run under it passes, and what it didn't do doesn't.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};
use support::{PYTHON, Scene};

/// Limits are accepted as the default policy does, so that a learned policy starts on any host.
const ACCEPTED: [&str; 6] =
    ["--degrade", "limits.memory", "--degrade", "limits.swap", "--degrade", "limits.pids"];

const JOB: &str = "
import subprocess, sys
text = open('data/input').read()
open('out/result', 'w').write(text.upper())
print(subprocess.run(['wc', '-c', 'data/input'], capture_output=True, text=True).stdout)
if len(sys.argv) > 1: print(open('data/other').read())";

fn scene() -> Scene {
    let scene = Scene::new();
    scene.directory("data");
    scene.directory("out");
    for (name, text) in [("data/input", "hello\n"), ("data/other", "other\n"), ("job.py", JOB)] {
        scene.file(name, text);
    }
    scene
}

fn learn(scene: &Scene, flags: &[&str], program: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(scene.path()).args(["policy", "learn", "-o", "job.toml"]);
    command.args(flags).arg("--").args(program).output().unwrap()
}

#[test]
fn what_was_learned_is_enough_for_the_next_run_and_no_more() {
    let scene = scene();
    let learned = learn(&scene, &["--write", "out"], &[PYTHON, "job.py"]);
    let error = String::from_utf8_lossy(&learned.stderr);
    assert!(learned.status.success(), "{error}");
    let policy = fs::read_to_string(scene.at("job.toml")).unwrap();
    fs::remove_file(scene.at("out/result")).unwrap();
    let flags = [&["-p", "job.toml"], &ACCEPTED[..]].concat();
    let run = scene.run(&flags, &[PYTHON, "job.py"]).expect_code(0);
    assert_eq!(run.text(), "6 data/input\n\n", "{policy}{}", run.told());
    assert_eq!(fs::read_to_string(scene.at("out/result")).unwrap(), "HELLO\n");
    // What it didn't do then it can't now.
    let other = scene.run(&flags, &[PYTHON, "job.py", "more"]).expect_code(1);
    assert!(other.stderr.contains("FileNotFoundError"), "{policy}{}", other.told());
    assert!(!policy.contains("\"ptrace\"") && policy.contains("mode = \"none\""), "{policy}");
}

#[test]
fn whom_it_talks_to_is_learned_though_it_reaches_nobody() {
    let scene = scene();
    let code = "import socket
for address in ('192.0.2.1', 443), ('127.0.0.1', 9):
    try: socket.create_connection(address, 1)
    except OSError: pass
socket.create_server(('127.0.0.1', 8080))";
    let learned = learn(&scene, &[], &[PYTHON, "-c", code]);
    assert!(learned.status.success(), "{}", String::from_utf8_lossy(&learned.stderr));
    let policy = fs::read_to_string(scene.at("job.toml")).unwrap();
    assert!(policy.contains("\"192.0.2.1:443\"") && !policy.contains("127.0.0.1:9"), "{policy}");
    assert!(policy.contains("# It listened on 8080"), "{policy}");
}

#[test]
fn what_is_denied_stays_denied_and_is_told() {
    let scene = scene();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let code = format!(
        "import ctypes, socket
print(ctypes.CDLL(None).unshare(0x10000000))
try: socket.create_connection(('127.0.0.1', {})); print('reached')
except OSError: print('refused')",
        listener.local_addr().unwrap().port()
    );
    let learned = learn(&scene, &[], &[PYTHON, "-c", &code]);
    assert_eq!(String::from_utf8_lossy(&learned.stdout), "-1\nrefused\n");
    let policy = fs::read_to_string(scene.at("job.toml")).unwrap();
    assert!(
        policy.contains("# It was denied these, and went on:\n#   unshare(CLONE_NEWUSER)"),
        "{policy}"
    );
}

#[test]
fn nothing_is_written_over_and_nothing_is_left_of_what_failed() {
    let scene = scene();
    scene.file("job.toml", "mine");
    let refused = learn(&scene, &[], &["true"]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(125) && error.contains("failed to make `job.toml`"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(scene.at("job.toml")).unwrap(), "mine");
    fs::remove_file(scene.at("job.toml")).unwrap();
    assert_eq!(learn(&scene, &[], &["no-such-program"]).status.code(), Some(127));
    assert!(!fs::exists(scene.at("job.toml")).unwrap());
}
