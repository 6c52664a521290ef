//! `stockade daemon`: services by real processes, asked by the command line and by hand.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

#[path = "daemon/clients.rs"]
mod clients;
#[path = "daemon/document.rs"]
mod document;
#[path = "daemon/network.rs"]
mod network;
#[path = "daemon/requests.rs"]
mod requests;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, Output};
use std::time::Duration;
use support::Scene;
use support::daemon::{self, Answering, answering, daemon_in, stockade};

/// A daemon of this test.
struct Daemon {
    scene: Scene,
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// Where it listens on the network, if it does.
    address: String,
}

/// What a daemon left.
struct Left {
    scene: Scene,
    code: Option<i32>,
    stderr: String,
}

/// A service that goes on, or a job, under the policy that starts on any host.
fn service(name: &str, line: &str, rest: &str) -> String {
    format!(
        "[services.{name}]\npolicy = \"default\"\ncommand = [\"bash\", \"-c\", {line:?}]\n{rest}\n"
    )
}

/// One that runs until it is asked to end, and then does.
fn steady(name: &str, rest: &str) -> String {
    service(name, "trap 'exit 0' TERM; while :; do sleep 0.02; done", rest)
}

/// A body that came in chunks, each after its length in hexadecimal.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let (chunk, rest) = rest.split_at(usize::from_str_radix(length, 16).unwrap());
        body.push_str(chunk);
        chunks = rest.trim_start_matches("\r\n");
    }
    body
}

impl Daemon {
    fn new(stack: &str) -> Self {
        Self::with(stack, &[])
    }

    /// One that answers.
    fn with(stack: &str, flags: &[&str]) -> Self {
        let scene = Scene::new();
        scene.file("stockade.toml", stack);
        Self::start(scene, flags)
    }

    /// That of a scene, once it answers.
    fn start(scene: Scene, flags: &[&str]) -> Self {
        let mut command = daemon_in(&scene);
        command.args(flags);
        let Answering { child, stderr, address } = answering(command);
        Self { scene, child, stderr, address }
    }

    /// Runs a command of its user's to its end.
    fn ask(&self, arguments: &[&str]) -> Output {
        daemon::ask(&self.scene, arguments)
    }

    #[track_caller]
    fn said(&self, arguments: &[&str]) -> String {
        daemon::said(&self.scene, arguments)
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32) -> String {
        daemon::refused(&self.scene, arguments, code)
    }

    fn service(&self, name: &str) -> Value {
        serde_json::from_str(&self.said(&["inspect", name])).unwrap()
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.scene.at("api.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// What comes back for these bytes, until the daemon closes: the status and everything.
    fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        // Who is refused early may find its end closed while it still writes.
        let written = stream.write_all(bytes);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        (status.unwrap_or_else(|| panic!("{written:?} {read:?} {text}")), text)
    }

    /// The status and the body of a request.
    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (status, text) = self.raw(head.as_bytes());
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let in_chunks = head.to_lowercase().contains("transfer-encoding: chunked");
        (status, if in_chunks { joined(body) } else { body.to_owned() })
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn signal(&self, signal: Signal) {
        support::signal(self.child.id(), signal);
    }

    /// Waits for its end.
    fn finish(mut self) -> Left {
        let mut stderr = String::new();
        let pid = self.child.id();
        support::guarded(pid, || self.stderr.read_to_string(&mut stderr).unwrap());
        let code = support::guarded(pid, || self.child.wait().unwrap()).code();
        Left { scene: self.scene, code, stderr }
    }
}
