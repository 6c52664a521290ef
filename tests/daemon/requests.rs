//! Requests as no client of ours makes them.

use super::{Daemon, service, steady, stockade};
use crate::support::{self, is_root, skip};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;

/// The status, and what the problem says.
#[track_caller]
fn problem(daemon: &Daemon, method: &str, path: &str, body: &str) -> (u16, String) {
    let (status, text) = daemon.request(method, path, body);
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status, "{text}");
    (status, problem["detail"].as_str().unwrap().to_owned())
}

#[test]
fn what_is_wrong_with_a_request_is_told_and_the_daemon_goes_on() {
    let daemon = Daemon::new(&steady("web", ""));
    let told = |method: &str, path: &str, body: &str| problem(&daemon, method, path, body);
    let signal = "/v1/services/web/signal";
    assert_eq!(told("GET", "/v2", ""), (404, "there is nothing at `/v2`".into()));
    assert_eq!(
        told("DELETE", "/v1/services/web", ""),
        (405, "`/v1/services/web` knows GET, not DELETE".into())
    );
    assert_eq!(told("GET", "/v1/services/%00", ""), (404, "there is no service `%00`".into()));
    assert_eq!(
        told("GET", "/v1/operations/x", ""),
        (404, "there is no operation `x`, or no longer".into())
    );
    assert_eq!(told("GET", "/v1/services?x=1", ""), (400, "`x` is no parameter here".into()));
    assert_eq!(told("POST", signal, ""), (400, "it names no `signal`".into()));
    assert_eq!(told("POST", signal, "[]"), (400, "the body must be an object".into()));
    assert_eq!(told("POST", "/v1/stack/apply", "null"), (400, "the body must be an object".into()));
    assert_eq!(
        told("GET", "/v1/logs?lines=10001", ""),
        (400, "`lines` must be a whole number from 0 to 10000, not `10001`".into())
    );
    assert_eq!(told("POST", signal, "{\"x\":1}"), (400, "the body has a field `x`".into()));
    let (status, detail) = told("POST", signal, "{");
    assert!(status == 400 && detail.starts_with("the body is no JSON: "), "{detail}");
    let (status, detail) = told("POST", signal, &"[".repeat(60_000));
    assert!(status == 400 && detail.contains("recursion limit"), "{detail}");
    assert_eq!(told("POST", signal, &" ".repeat(70_000)).0, 413);
    assert_eq!(daemon.raw(b"\x16\x03\x01\x02\x00\x01\x00\n\n").0, 400);
    assert_eq!(daemon.raw(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n").0, 400);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(20_000));
    assert!(matches!(daemon.raw(long.as_bytes()).0, 414 | 431));
    let many = format!("GET /live HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(daemon.raw(many.as_bytes()).0, 431);
    // A body in chunks has the same bound, though nobody says its length before.
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096)).repeat(20);
    let chunked =
        format!("POST {signal} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
    assert_eq!(daemon.raw(chunked.as_bytes()).0, 413);
    assert_eq!(daemon.request("GET", "/live", ""), (204, String::new()));
    daemon.said(&["down"]);
}

#[test]
fn who_connects_and_says_nothing_keeps_nobody_out_for_long() {
    let daemon = Daemon::new(&steady("web", ""));
    let mut idle = Vec::new();
    // More than are let in at once.
    for number in 0..300 {
        let mut stream = daemon.connect();
        if number % 2 == 0 {
            stream.write_all(b"GET /live HTTP/1.1\r\nHost: ").unwrap();
        }
        idle.push(stream);
    }
    assert_eq!(daemon.request("GET", "/live", "").0, 204);
    let mut left = Vec::new();
    idle[0].read_to_end(&mut left).unwrap();
    assert!(left.is_empty() || left.starts_with(b"HTTP/1.1 408"), "{left:?}");
    drop(idle);
    daemon.said(&["down"]);
}

#[test]
fn the_stream_begins_with_how_it_is_and_goes_on_with_each_change() {
    let daemon = Daemon::new(&[steady("web", ""), steady("other", "")].concat());
    daemon.said(&["wait", "web", "other"]);
    let mut stream = daemon.connect();
    stream.write_all(b"GET /v1/events?service=web HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = |kind: &str| -> Value {
        let event = format!("event: {kind}");
        lines.find(|line| *line == event).unwrap();
        let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
        serde_json::from_str(&data).unwrap()
    };
    let snapshot = next("snapshot");
    assert_eq!(snapshot["services"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot["services"][0]["state"], "running");
    daemon.said(&["stop", "other"]);
    daemon.said(&["stop", "web"]);
    for state in ["stopping", "inactive"] {
        let change = next("change");
        assert_eq!(
            (&change["service"]["name"], &change["service"]["state"]),
            (&"web".into(), &state.into())
        );
        assert!(change["at"].as_str().unwrap().ends_with('Z'));
    }
    daemon.said(&["down"]);
    assert!(lines.all(|line| !line.starts_with("event: lost")));
}

#[test]
fn what_services_write_comes_line_by_line_and_goes_on() {
    let line = "trap 'echo heard' USR1; trap exit TERM; echo one; echo two >&2; while :; do sleep 0.02; done";
    let daemon = Daemon::new(&[service("web", line, ""), steady("other", "")].concat());
    daemon.said(&["wait", "web", "other"]);
    let mut stream = daemon.connect();
    stream.write_all(b"GET /v1/logs?service=web&follow=yes HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = || -> Value {
        let line = lines.find(|line| line.starts_with('{')).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let mut first = [next(), next()].map(|it| format!("{} {}", it["stream"], it["text"]));
    first.sort_unstable();
    assert_eq!(first, ["\"stderr\" \"two\"", "\"stdout\" \"one\""]);
    daemon.request("POST", "/v1/services/web/signal", "{\"signal\":\"USR1\"}");
    let heard = next();
    assert_eq!((&heard["service"], &heard["text"]), (&"web".into(), &"heard".into()));
    let (status, body) = daemon.request("GET", "/v1/logs?stream=stderr&since=1h", "");
    assert_eq!((status, body.lines().count()), (200, 1), "{body}");
    assert_eq!(daemon.request("GET", "/v1/logs?service=other", "").1, "");
    daemon.said(&["down"]);
}

#[test]
fn a_daemon_that_is_named_tells_what_services_wrote() {
    let line = "for i in 1 2 3 4 5; do echo line $i; echo oops $i >&2; done";
    let daemon = Daemon::new(&[service("web", line, ""), service("other", "echo x", "")].concat());
    daemon.said(&["wait", "--for", "stopped", "web", "other"]);
    let socket = daemon.scene.at("api.sock");
    let logs = |more: &[&str]| {
        daemon.said(&[&["logs", "web", "--socket", &socket, "--stream", "stdout"], more].concat())
    };
    let all = "web | line 1\nweb | line 2\nweb | line 3\nweb | line 4\nweb | line 5\n";
    support::desk::eventually("all is kept", || logs(&[]) == all);
    assert_eq!(logs(&["-n", "2"]), "web | line 4\nweb | line 5\n");
    assert_eq!(logs(&["-n", "1", "--grep", "[23]"]), "web | line 3\n");
    assert_eq!(logs(&["--since", "1h ago"]), all);
    assert_eq!(logs(&["--until", "1h ago"]), "");
    let entry: Value = serde_json::from_str(logs(&["-n", "1", "--json"]).trim()).unwrap();
    assert_eq!((&entry["service"], &entry["text"]), (&"web".into(), &"line 5".into()));
    let told = daemon.refused(&["logs", "--socket", &socket, "--state", "x"], 125);
    assert!(told.contains("cannot be used with"), "{told}");
    daemon.said(&["down"]);
}

#[test]
fn a_stack_file_that_others_can_write_is_not_put_into_force() {
    let daemon = Daemon::new(&steady("web", ""));
    daemon.said(&["wait", "web"]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(daemon.scene.at("stockade.toml"), mode).unwrap();
    let told = daemon.refused(&["config", "apply"], 125);
    assert!(told.contains("everybody can write it"), "{told}");
    let (socket, state) = (daemon.scene.at("2.sock"), daemon.scene.at("second"));
    let second = ["daemon", "--socket", &socket, "--state", &state];
    let told = stockade(&daemon.scene, &second).output().unwrap();
    let told = (told.status.code(), String::from_utf8(told.stderr).unwrap());
    assert!(told.0 == Some(125) && told.1.contains("everybody can write it"), "{told:?}");
    daemon.said(&["down"]);
}

#[test]
fn whoever_asks_for_something_stands_in_the_audit_log() {
    let scene = support::Scene::new();
    let log = scene.at("audit.jsonl");
    let daemon = Daemon::with(&steady("web", ""), &["--audit", &log]);
    daemon.said(&["wait", "web"]);
    daemon.said(&["stop", "web"]);
    daemon.refused(&["pause", "web"], 1);
    daemon.said(&["down"]);
    daemon.finish();
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = lines
        .iter()
        .map(|it| {
            let text = |name: &str| it[name].as_str().unwrap().to_owned();
            assert_eq!(it["user"], nix::unistd::geteuid().as_raw());
            assert!(it["process"].is_u64());
            [text("verb"), text("id"), text("result")].join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "stop web asked",
            "stop web done",
            "pause web asked",
            "pause web it can't pause: it is inactive (asked to stop)",
            "shutdown  asked",
        ]
    );
    let verified = stockade(&scene, &["audit", "verify", &log]).output().unwrap();
    assert!(verified.status.success());
}

#[test]
fn nothing_is_done_that_cannot_be_written_to_the_audit_log() {
    let scene = support::Scene::new();
    let log = scene.file("audit.jsonl", "");
    let daemon = Daemon::with(&steady("web", ""), &["--audit", &log]);
    daemon.said(&["wait", "web"]);
    // No longer a log: its end can't be read any more.
    std::fs::write(&log, "x".repeat(2 << 20)).unwrap();
    let told = daemon.refused(&["stop", "web"], 125);
    assert!(told.contains("failed to add to") && told.contains("nothing is done that"), "{told}");
    assert_eq!(daemon.service("web")["state"], "running");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.finish().code, Some(0));
}

#[test]
fn strangers_are_refused_and_others_may_do_what_their_role_allows() {
    if !is_root() {
        skip!("root: processes of other users can't be started");
    }
    let flags = ["--allow", "read:61001", "--allow", "operate:@61002"];
    let daemon = Daemon::with(&steady("web", ""), &flags);
    daemon.said(&["wait", "web"]);
    // The binary may lie where other users can't get.
    let binary = daemon.scene.at("stockade");
    std::fs::copy(env!("CARGO_BIN_EXE_stockade"), &binary).unwrap();
    let ask = |user: u32, arguments: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        command.args(arguments).env("STOCKADE_SOCKET", daemon.scene.at("api.sock"));
        // It is the caller's, where they can't look.
        command.env_remove("XDG_RUNTIME_DIR");
        let output = command.uid(user).gid(user).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = ask(61_000, &["ps"]);
    assert_eq!(code, Some(125));
    assert!(told.contains("error: user 61000 may not ask this daemon for anything"), "{told}");
    assert_eq!(ask(61_001, &["ps"]).0, Some(0));
    let (code, told) = ask(61_001, &["stop", "web"]);
    assert_eq!(code, Some(125));
    assert!(told.contains("this takes the role `operate`, and user 61001 has `read`"), "{told}");
    assert_eq!(ask(61_002, &["stop", "web"]), (Some(0), String::new()));
    // Its files are the daemon's alone: what is in them is told by the daemon.
    assert_eq!(ask(61_001, &["logs", "web"]), (Some(0), String::new()));
    // One user can't have all connections that there are.
    let many = format!(
        "import socket\nall = []\nfor _ in range(40):\n    s = socket.socket(socket.AF_UNIX)\n    \
         s.connect({:?})\n    all.append(s)\nanswered = 0\nfor s in all:\n    try:\n        \
         s.sendall(b'GET /live HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n        \
         answered += s.recv(100).startswith(b'HTTP/1.1 204')\n    except OSError:\n        pass\nprint(answered)",
        daemon.scene.at("api.sock")
    );
    let mut command = std::process::Command::new(support::PYTHON);
    let output = command.args(["-c", &many]).uid(61_001).gid(61_001).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "32\n", "{output:?}");
    let (code, told) = ask(61_002, &["down"]);
    assert_eq!(code, Some(125));
    assert!(told.contains("this takes the role `admin`"), "{told}");
    daemon.said(&["down"]);

    // Without a role for others nobody else even connects.
    let daemon = Daemon::new(&service("web", "exit 0", ""));
    std::fs::copy(env!("CARGO_BIN_EXE_stockade"), daemon.scene.at("stockade")).unwrap();
    let mut command = std::process::Command::new(daemon.scene.at("stockade"));
    command.arg("ps").env("STOCKADE_SOCKET", daemon.scene.at("api.sock"));
    let told = String::from_utf8(command.uid(61_001).gid(61_001).output().unwrap().stderr).unwrap();
    assert!(told.contains("ermission denied"), "{told}");
    daemon.said(&["down"]);
}

#[test]
fn others_are_not_let_in_where_they_could_not_come_nor_where_they_could_put_a_socket() {
    let scene = support::Scene::new();
    scene.file("stockade.toml", &steady("web", ""));
    let refused = |flags: &[&str]| {
        let mut command = stockade(&scene, &["daemon"]);
        let output = command.args(flags).env("HOME", scene.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused(&["--allow", "read:0"]);
    assert!(told.contains("others can't reach") && told.contains("hint: name a place"), "{told}");
    let open = scene.directory("open");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&open, mode).unwrap();
    let told = refused(&["--socket", &format!("{open}/api.sock")]);
    assert!(told.contains("others could put a socket of theirs at"), "{told}");
}
