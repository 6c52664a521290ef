//! What services write, as `stockade logs` shows it.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use support::{Outcome, Scene, Started};

fn stockade(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(scene.path()).args(arguments).stdin(Stdio::null());
    command
}

fn run(scene: &Scene, arguments: &[&str]) -> Outcome {
    scene.finish(stockade(scene, arguments))
}

/// A job under the policy that starts on any host.
fn service(name: &str, line: &str, rest: &str) -> String {
    format!(
        "[services.{name}]\npolicy = \"default\"\ntype = \"oneshot\"\ncommand = [\"bash\", \"-c\", {line:?}]\n{rest}\n"
    )
}

/// Runs a stack to its end, with its lines kept.
fn kept(stack: &str) -> Scene {
    let scene = Scene::new();
    scene.file("stockade.toml", stack);
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    scene
}

fn logs(scene: &Scene, flags: &[&str]) -> String {
    run(scene, &[&["logs", "--state", "state"], flags].concat()).text().to_owned()
}

#[test]
fn lines_are_shown_in_the_order_of_time_with_who_wrote_them() {
    let scene = kept(
        &[
            service("setup", "echo one; echo two >&2; printf end", ""),
            service("web", "echo three", "depends_on = { setup = \"completed\" }"),
        ]
        .concat(),
    );
    let all = logs(&scene, &[]);
    let mut lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.pop(), Some("web   | three"), "{all}");
    lines.sort_unstable();
    assert_eq!(lines, ["setup | end", "setup | one", "setup | two"]);
    assert_eq!(logs(&scene, &["web"]), "web | three\n");
    assert_eq!(logs(&scene, &["setup", "--stream", "stderr"]), "setup | two\n");
    assert_eq!(logs(&scene, &["--grep", "^t[wh]", "-n", "1"]), "web   | three\n");
    assert_eq!(logs(&scene, &["--since", "1h ago", "--until", "30m ago"]), "");
    assert_eq!(logs(&scene, &["--since", "today", "--grep", "three"]), "web   | three\n");
    let told: serde_json::Value = serde_json::from_str(&logs(&scene, &["web", "--json"])).unwrap();
    let told = [&told["service"], &told["instance"], &told["stream"], &told["text"], &told["seq"]];
    assert_eq!(
        told.map(ToString::to_string),
        ["\"web\"", "\"web\"", "\"stdout\"", "\"three\"", "0"]
    );
}

#[test]
fn what_is_wrong_is_told_with_what_there_is() {
    let scene = kept(&service("web", "echo one", ""));
    let refused = |flags: &[&str], told: &[&str]| {
        run(&scene, &[&["logs"], flags].concat()).expect_refusal(told);
    };
    refused(&["--state", "state", "wbe"], &["there is no log of `wbe`", "there are those of web"]);
    refused(&["--state", "none"], &["there are no logs in `none/logs`", "--state"]);
    refused(&["--state", "state", "--since", "soon"], &["`soon` is no time (write `10m ago`"]);
    refused(
        &["--state", "state", "--grep", "("],
        &["`(` is no regular expression: unclosed group"],
    );
}

#[test]
fn the_stack_says_what_is_kept_and_how_much() {
    let logging = "logging = { format = \"auto\", level = \"warning\", exclude = [\"noise\"], rate_limit = { lines = 5, per = \"1h\" } }";
    let line = "echo level=info msg=light; echo level=error msg=grave; echo noise; for i in {1..100}; do echo $i; done";
    let none = service("quiet", "echo never", "logging = { driver = \"none\" }");
    let scene = kept(&[service("web", line, logging), none].concat());
    let lines = logs(&scene, &[]);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        &lines[..5],
        ["web | level=error msg=grave", "web | 1", "web | 2", "web | 3", "web | 4"]
    );
    // Told together or one after another, as the lines came.
    let missing: u32 = lines[5..]
        .iter()
        .map(|line| {
            let count = line.strip_prefix("web | stockade: ").unwrap();
            count.split(' ').next().unwrap().parse::<u32>().unwrap()
        })
        .sum();
    assert_eq!(missing, 96, "{lines:?}");
    assert_eq!(logs(&scene, &["--level", "error"]), "web | level=error msg=grave\n");
}

#[test]
fn lines_are_followed_over_every_change_of_files_each_once_and_in_order() {
    let scene = Scene::new();
    let line = "for i in {1..20000}; do echo $i; done; read -r < /dev/zero";
    let logging = "logging = { rotation = { max_size = \"64KiB\", max_files = 1000 } }";
    scene.file("stockade.toml", &service("web", line, logging));
    let up = Started::new(stockade(&scene, &["up", "--state", "state"]));
    let mut following =
        Started::new(stockade(&scene, &["logs", "--state", "state", "-f", "--all"]));
    assert_eq!(following.first_line, "web | 1");
    for number in 2..=20_000 {
        assert_eq!(following.line(), format!("web | {number}"));
    }
    following.signal(Signal::SIGTERM);
    following.finish(&scene);
    let files = std::fs::read_dir(scene.at("state/logs/web")).unwrap().count();
    assert!(files > 10, "{files}");
    up.signal(Signal::SIGTERM);
    // Whoever is reads the rest of what it printed.
    up.finish(&scene);
}

#[test]
fn another_process_does_not_write_into_logs_that_are_kept() {
    let scene = Scene::new();
    scene.file("stockade.toml", &service("web", "echo runs; exec sleep 1004", ""));
    let up = Started::new(stockade(&scene, &["up", "--state", "state"]));
    run(&scene, &["up", "--state", "state"]).expect_refusal(&["another process keeps its logs in"]);
    up.signal(Signal::SIGINT);
    up.finish(&scene).expect_code(0);
}

#[test]
fn a_killed_up_loses_no_line_and_the_next_one_goes_on() {
    let scene = Scene::new();
    let count = "for ((i = 0; ; i++)); do echo $i; done";
    scene.file("stockade.toml", &service("web", count, ""));
    for _ in 0..5 {
        let mut up = Started::new(stockade(&scene, &["up", "--state", "state"]));
        while !up.line().ends_with("000") {}
        up.signal(Signal::SIGKILL);
        up.finish(&scene);
    }
    scene.file("stockade.toml", &service("web", "echo last", ""));
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    let text = logs(&scene, &["--json"]);
    let (mut expected, mut runs) = (0, 0);
    for (seq, line) in text.lines().enumerate() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(told["seq"], seq as u64);
        let text = told["text"].as_str().unwrap();
        if text == "0" {
            (expected, runs) = (0, runs + 1);
        }
        // The last line of a run may be cut where its program was.
        if text != "last" && told["partial"] != true {
            assert_eq!(text, expected.to_string(), "{line}");
        }
        expected += 1;
    }
    assert_eq!(runs, 5);
    assert!(text.lines().last().unwrap().contains("\"text\":\"last\""));
}

/// The longest that a receiver waits: the sender tries again after a while.
const LONG: Duration = Duration::from_secs(60);

/// A stack with one service that writes three lines, and sends them to a target.
fn sending(target: &str) -> String {
    let line = "echo one; echo level=error 'msg=\"two ]\"' >&2; printf three; sleep 0.2";
    let logging = "logging = { targets = [\"there\"], format = \"logfmt\" }";
    format!("[log_targets.there]\n{target}\n{}", service("web", line, logging))
}

#[test]
fn the_journal_gets_each_line_as_a_datagram_of_fields() {
    let scene = Scene::new();
    let socket = UnixDatagram::bind(scene.at("journal")).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let target = format!("type = \"journald\"\nsocket = {:?}", scene.at("journal"));
    scene.file("stockade.toml", &sending(&target));
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    let mut told = BTreeSet::new();
    for _ in 0..3 {
        let mut datagram = [0; 65536];
        let length = socket.recv(&mut datagram).unwrap();
        let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
        let get = |name: &str| {
            let field = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            field.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
        };
        assert_eq!(
            (get("SYSLOG_IDENTIFIER"), get("STOCKADE_GENERATION")),
            ("web".into(), "1".into())
        );
        told.insert([get("MESSAGE"), get("PRIORITY"), get("STOCKADE_STREAM")].join("|"));
    }
    let expected = ["level=error msg=\"two ]\"|3|stderr", "one|6|stdout", "three|6|stdout"];
    assert_eq!(told.into_iter().collect::<Vec<_>>(), expected);
}

/// What is behind the structured data of syslog messages, and the messages.
fn texts_of(messages: &[String]) -> Vec<&str> {
    let mut texts: Vec<&str> = messages
        .iter()
        .map(|message| {
            assert!(
                message.contains(" web - std")
                    && message.contains(" [stockade@32473 service=\"web\""),
                "{message}"
            );
            message.split_once("\"] ").unwrap().1
        })
        .collect();
    texts.sort_unstable();
    texts
}

const TEXTS: [&str; 3] = ["level=error msg=\"two ]\"", "one", "three"];

#[test]
fn a_syslog_server_gets_datagrams_or_frames() {
    let scene = Scene::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let target = format!(
        "type = \"syslog\"\naddress = \"udp://{}\"\nfacility = \"local0\"",
        socket.local_addr().unwrap()
    );
    scene.file("stockade.toml", &sending(&target));
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    let received: Vec<String> = (0..3)
        .map(|_| {
            let mut datagram = [0; 65536];
            let length = socket.recv(&mut datagram).unwrap();
            String::from_utf8(datagram[..length].to_vec()).unwrap()
        })
        .collect();
    assert_eq!(texts_of(&received), TEXTS);
    let grave = received.iter().find(|message| message.contains("two")).unwrap();
    // local0 is 16, an error 3.
    assert!(grave.starts_with("<131>1 2"), "{grave}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target =
        format!("type = \"syslog\"\naddress = \"tcp://{}\"", listener.local_addr().unwrap());
    let scene = Scene::new();
    scene.file("stockade.toml", &sending(&target));
    let receiver = thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut messages = Vec::new();
        for _ in 0..3 {
            let mut length = Vec::new();
            stream.read_until(b' ', &mut length).unwrap();
            let length = str::from_utf8(&length).unwrap().trim().parse::<usize>().unwrap();
            let mut message = vec![0; length];
            stream.read_exact(&mut message).unwrap();
            messages.push(String::from_utf8(message).unwrap());
        }
        messages
    });
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    assert_eq!(texts_of(&receiver.join().unwrap()), TEXTS);
}

/// Takes one request, answers it, and gives its head and its body.
fn request(listener: &TcpListener, answer: &str) -> (String, serde_json::Value) {
    let mut stream = BufReader::new(listener.accept().unwrap().0);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        head += &line;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    stream.get_mut().write_all(answer.as_bytes()).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

const DONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn loki_gets_lines_by_streams_and_what_it_could_not_take_again() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!(
        "type = \"loki\"\nurl = \"http://{}/loki/api/v1/push\"\nlabels = {{ host = \"here\" }}",
        listener.local_addr().unwrap()
    );
    scene.file("stockade.toml", &sending(&target));
    let receiver = thread::spawn(move || {
        let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        let first = request(&listener, busy);
        let mut lines = BTreeSet::new();
        while lines.len() < 3 {
            let (head, body) = request(&listener, DONE);
            assert!(head.starts_with("POST /loki/api/v1/push HTTP/1.1\r\n"), "{head}");
            for stream in body["streams"].as_array().unwrap() {
                let labels = &stream["stream"];
                assert_eq!(
                    (&labels["host"], &labels["service_name"]),
                    (&"here".into(), &"web".into())
                );
                for value in stream["values"].as_array().unwrap() {
                    assert!(
                        value[0].as_str().unwrap().parse::<u64>().unwrap()
                            > 1_700_000_000_000_000_000
                    );
                    let (text, of) =
                        (value[1].as_str().unwrap(), labels["stream"].as_str().unwrap());
                    assert!(lines.insert(format!("{text}|{of}")), "{text} came twice");
                }
            }
        }
        (first, lines)
    });
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    // What couldn't be sent before the end is sent by the next.
    scene.file("stockade.toml", &sending(&target).replace("echo one", "exit; echo one"));
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    let (_, lines) = receiver.join().unwrap();
    let expected = ["level=error msg=\"two ]\"|stderr", "one|stdout", "three|stdout"];
    assert_eq!(lines.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn otlp_gets_records_with_their_severity() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let target = format!("type = \"otlp\"\nurl = \"http://{address}/v1/logs\"");
    scene.file("stockade.toml", &sending(&target));
    let receiver = thread::spawn(move || {
        let mut lines = BTreeSet::new();
        while lines.len() < 3 {
            let (_, body) = request(&listener, DONE);
            let resource = &body["resourceLogs"][0];
            let service = &resource["resource"]["attributes"][0];
            assert_eq!(
                service.to_string(),
                r#"{"key":"service.name","value":{"stringValue":"web"}}"#
            );
            for record in resource["scopeLogs"][0]["logRecords"].as_array().unwrap() {
                let text = record["body"]["stringValue"].as_str().unwrap();
                lines.insert(format!("{text}|{}", record["severityNumber"]));
            }
        }
        lines
    });
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    let expected = ["level=error msg=\"two ]\"|17", "one|null", "three|null"];
    assert_eq!(receiver.join().unwrap().into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_target_that_is_not_there_holds_nothing_up() {
    let scene = Scene::new();
    scene.file("stockade.toml", &sending("type = \"syslog\"\naddress = \"unix:/nowhere/log\""));
    run(&scene, &["up", "--state", "state"]).expect_code(0);
    assert_eq!(logs(&scene, &[]).lines().count(), 3);
    scene.file("stockade.toml", &service("web", "true", "logging = { targets = [\"where\"] }"));
    run(&scene, &["config", "check"]).expect_refusal(&["there is no log target `where`"]);
}

/// A daemon that is killed without warning.
fn daemon(scene: &Scene) -> std::process::Child {
    let mut command = stockade(scene, &["daemon", "--socket", "api.sock", "--state", "state"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a moment that has nothing to do with what happens")]
fn a_daemon_that_is_killed_again_and_again_loses_no_line_of_a_service_that_goes_on() {
    let scene = Scene::new();
    let line = "trap 'echo end; exit' TERM; for ((i = 0; ; i++)); do echo $i; ((i % 50)) || sleep 0.005; done";
    let stack = service(
        "web",
        line,
        "logging = { rotation = { max_size = \"256KiB\", max_files = 1000 } }",
    );
    scene.file("stockade.toml", &stack.replace("type = \"oneshot\"\n", ""));
    let ask = |words: &[&str]| {
        let mut command = stockade(&scene, words);
        scene.finish({
            command.env("STOCKADE_SOCKET", scene.at("api.sock"));
            command
        })
    };
    // A launch that is broken off would be another run.
    let mut first = daemon(&scene);
    while !ask(&["wait", "web"]).status.success() {
        thread::sleep(Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    for round in 0..20_u64 {
        let mut child = daemon(&scene);
        thread::sleep(Duration::from_millis(30 + round * 137 % 250));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut last = daemon(&scene);
    while !ask(&["wait", "web"]).status.success() {
        thread::sleep(Duration::from_millis(20));
    }
    ask(&["down"]).expect_code(0);
    assert!(last.wait().unwrap().success());
    let text = logs(&scene, &["--json"]);
    let mut expected = 0;
    for (seq, line) in text.lines().enumerate() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&told["seq"], &told["generation"]), (&seq.into(), &1.into()), "{line}");
        if told["text"] != "end" {
            assert_eq!(told["text"], expected.to_string(), "{line}");
            expected += 1;
        }
    }
    println!("{expected} lines over 20 kills");
    assert!(expected > 1000, "{expected}");
    assert!(text.lines().last().unwrap().contains("\"text\":\"end\""));
}
