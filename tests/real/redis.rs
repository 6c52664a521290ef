//! Redis: what was saved is there again after a stop.

use crate::support::{Outcome, Scene, Started};
use crate::{expect_content, free_port, needs_programs, stop, until};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The answer to one command: the first line, and of a text that.
pub(crate) fn answer(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "{command}\r\n").ok()?;
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    if first.starts_with('$') { lines.next() } else { Some(first) }
}

/// A server on a published port, and a name to stop it by.
struct Redis<'a> {
    scene: &'a Scene,
    server: Started,
    name: String,
    port: u16,
}

impl<'a> Redis<'a> {
    fn start(scene: &'a Scene, name: &str) -> Self {
        let (port, name) = (free_port(), format!("{name}-{}", std::process::id()));
        let rest = format!(
            "filesystem.write = ['.']\nnetwork = {{ mode = 'filtered', publish = ['{port}:6379'] }}\n"
        );
        let program = "redis-server --bind 127.0.0.1 --save ''";
        let server = scene.serve(&name, "service", &rest, program);
        Self { scene, server, name, port }
    }

    fn answer(&self, command: &str) -> Option<String> {
        answer(self.port, command)
    }

    fn stop(self) -> Outcome {
        stop(self.scene, self.server, &self.name)
    }
}

#[test]
fn redis_keeps_what_it_saved() {
    needs_programs!();
    let scene = Scene::new();
    let redis = Redis::start(&scene, "redis-first");
    assert_eq!(until("an answer", || redis.answer("PING")), "+PONG");
    for (command, answer) in [
        ("SET kept one", "+OK"),
        ("INCRBY count 41", ":41"),
        ("INCR count", ":42"),
        ("SAVE", "+OK"),
        ("SET lost two", "+OK"),
        ("GET lost", "two"),
    ] {
        assert_eq!(redis.answer(command).as_deref(), Some(answer), "{command}");
    }
    // In a process of its own, while it serves.
    assert_eq!(
        redis.answer("BGREWRITEAOF").as_deref(),
        Some("+Background append only file rewriting started")
    );
    let run = redis.stop();
    expect_content(&run);

    let redis = Redis::start(&scene, "redis-second");
    until("an answer", || redis.answer("PING").filter(|answer| answer == "+PONG"));
    assert_eq!(redis.answer("GET kept").as_deref(), Some("one"));
    assert_eq!(redis.answer("GET count").as_deref(), Some("42"));
    assert_eq!(redis.answer("EXISTS lost").as_deref(), Some(":0"));
    expect_content(&redis.stop());
}
