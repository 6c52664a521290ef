//! A daemon of a test's, which listens at `api.sock` in its scene, and the command line as its client.

#![allow(dead_code, reason = "not every suite has a daemon")]

use super::{Scene, guarded};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// A command that asks the scene's daemon.
pub(crate) fn stockade(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(scene.path()).args(arguments).stdin(Stdio::null());
    command.env("STOCKADE_SOCKET", scene.at("api.sock"));
    command
}

/// The daemon of a scene.
pub(crate) fn daemon_in(scene: &Scene) -> Command {
    let (socket, state) = (scene.at("api.sock"), scene.at("state"));
    stockade(scene, &["daemon", "--socket", &socket, "--state", &state])
}

/// A daemon that answers.
pub(crate) struct Answering {
    pub(crate) child: Child,
    /// What it says from here on.
    pub(crate) stderr: BufReader<ChildStderr>,
    /// Where it listens on the network, if it does.
    pub(crate) address: String,
}

/// Starts a daemon, and returns when it answers.
pub(crate) fn answering(mut daemon: Command) -> Answering {
    let mut child = daemon.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut address = String::new();
    loop {
        let mut line = String::new();
        guarded(child.id(), || stderr.read_line(&mut line).unwrap());
        let heard = line.strip_prefix("stockade: the daemon listens at ");
        match heard.and_then(|rest| rest.strip_suffix(" too\n")) {
            Some(heard) => heard.clone_into(&mut address),
            None if line == "stockade: the daemon answers\n" => break,
            None => {
                stderr.read_to_string(&mut line).unwrap();
                panic!("{line}");
            }
        }
    }
    Answering { child, stderr, address }
}

/// Runs a command to its end.
pub(crate) fn ask(scene: &Scene, arguments: &[&str]) -> Output {
    let mut command = stockade(scene, arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    guarded(child.id(), || child.wait_with_output().unwrap())
}

/// What a command says that succeeds.
#[track_caller]
pub(crate) fn said(scene: &Scene, arguments: &[&str]) -> String {
    let output = ask(scene, arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says that ends with this code.
#[track_caller]
pub(crate) fn refused(scene: &Scene, arguments: &[&str], code: i32) -> String {
    let output = ask(scene, arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    told
}
