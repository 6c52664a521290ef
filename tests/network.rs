//! The filtered network: what is allowed is reached through the proxy, nothing else is reached at all.
//!
//! Everything happens on this machine: the servers are the tests' own, on its loopback interface, which takes a rule for the
//! address like any other private place.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "network/rate.rs"]
mod rate;
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;
use stockade::platform::Network;
use stockade::{Event, Policy, Sandbox};
use support::{Outcome, PYTHON, Scene, Started, lacks, processes_with, skip};

/// A server on this host's loopback interface, which answers each request with `hello`. It stays until the test ends.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || answer(stream.unwrap()));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return,
        }
    }
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    // A client that is killed doesn't listen to the end.
    stream.write_all(text.as_bytes()).unwrap_or(());
}

/// A server on this host's loopback interface that says back what it hears.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut from, mut to) =
                (stream.as_ref().unwrap().try_clone().unwrap(), stream.unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    port
}

/// What clients inside are made of. `PORT` stands for the server's.
const CLIENT: &str = "
import os, socket, sys, urllib.parse, urllib.request
proxy = urllib.parse.urlparse(os.environ['HTTP_PROXY'])
def dial(): return socket.create_connection((proxy.hostname, proxy.port), 20)
def whole(s):
    parts = []
    while part := s.recv(4096): parts.append(part)
    return b''.join(parts).decode()
def http(text):
    s = dial()
    s.sendall((text + '\\r\\n\\r\\n').encode())
    return whole(s)
def connect(host):
    s = dial()
    s.sendall(f'CONNECT {host} HTTP/1.1\\r\\n\\r\\n'.encode())
    head = b''
    while not head.endswith(b'\\r\\n\\r\\n'): head += s.recv(1) or b'\\r\\n\\r\\n'
    return s, head.decode().split()[1]
def socks(kind, address, port):
    s = dial()
    s.sendall(b'\\5\\1\\0')
    assert s.recv(2) == b'\\5\\0'
    if kind == 3: address = bytes([len(address)]) + address
    s.sendall(bytes([5, 1, 0, kind]) + address + port.to_bytes(2, 'big'))
    return s, s.recv(10)[1]
def get(s):
    s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')
    return whole(s).split('\\r\\n\\r\\n')[1]
";

fn client(scene: &Scene, flags: &[&str], port: u16, code: &str) -> Outcome {
    let code = format!("{CLIENT}\nPORT = {port}\n{code}");
    scene.python(&[&["--net", "filtered"], flags].concat(), &code)
}

fn rule(host: &str, port: u16) -> String {
    format!("{host}:{port}")
}

macro_rules! need_a_network {
    () => {
        if let Some(why) = lacks("network.mode") {
            skip!("network-namespace: {why}");
        }
    };
}
use need_a_network;

#[test]
fn what_is_allowed_is_reached_by_every_protocol() {
    need_a_network!();
    let (scene, port) = (Scene::new(), server());
    let (address, name) = (rule("127.0.0.1", port), rule("localhost", port));
    let ended = client(
        &scene,
        &["--allow", &address, "--allow", &name],
        port,
        "
s, code = connect(f'127.0.0.1:{PORT}')
print(code, get(s))
s, code = connect(f'LOCALHOST.:{PORT}')
print(code, get(s))
print(http(f'GET http://127.0.0.1:{PORT}/ HTTP/1.1\\r\\nHost: other').split('\\r\\n\\r\\n')[1])
s, code = socks(1, bytes([127, 0, 0, 1]), PORT)
print(code, get(s))
s, code = socks(3, b'localhost', PORT)
print(code, get(s))
# As programs do it that know nothing of this: by the environment.
os.environ['no_proxy'] = ''
print(urllib.request.urlopen(f'http://127.0.0.1:{PORT}/').read().decode())
",
    );
    assert_eq!(ended.text(), "200 hello\n200 hello\nhello\n0 hello\n0 hello\nhello\n");
    assert_eq!(ended.reported("/connections/allowed"), 6);
    assert_eq!(ended.reported("/denials"), &serde_json::json!([]));
    assert_eq!(ended.reported("/enforcement/network.mode/state"), "enforced");
    assert!(ended.reported("/network/sent_bytes").as_u64() > Some(0));
}

#[test]
fn what_is_not_allowed_is_refused_and_told() {
    need_a_network!();
    let (scene, port, other) = (Scene::new(), server(), server());
    let (address, name) = (rule("127.0.0.1", port), rule("localhost", other));
    let events = scene.at("events");
    let flags = ["--allow", &address, "--allow", &name, "--events", &events];
    let code = format!(
        "
OTHER = {other}
# A port that isn't named, a name that only its address is, one that leads to this host, and one that is looked up nowhere.
print(connect(f'127.0.0.1:{{OTHER}}')[1], connect(f'localhost:{{PORT}}')[1])
print(connect(f'localhost:{{OTHER}}')[1], connect('example.org:443')[1])
print(socks(1, bytes([127, 0, 0, 1]), OTHER)[1], socks(3, b'example.org', 443)[1])
# The same address in other notations is the same address.
for text in '2130706433', '0x7f.1', '[::ffff:127.0.0.1]', '127.0.0.1.', '017700000001':
    print(connect(f'{{text}}:{{PORT}}')[1], connect(f'{{text}}:{{OTHER}}')[1], end=' ')
print(connect(f'0:{{PORT}}')[1], connect(f'[::1]:{{PORT}}')[1], connect('169.254.169.254:80')[1])
print(http('GET http://example.org/ HTTP/1.1').split('\\r\\n\\r\\n')[1], end='')
"
    );
    let ended = client(&scene, &flags, port, &code);
    let expected = "403 403\n403 403\n2 2\n200 403 200 403 200 403 200 403 200 403 403 403 403\n\
        `example.org:80` is not allowed by the policy of this sandbox\n\
        hint: `network.allow = [\"example.org:80\"]` would allow it\n";
    assert_eq!(ended.text(), expected, "{}", ended.told());
    let denials = ended.reported("/denials").as_array().unwrap();
    let of = |what: &str| denials.iter().find(|denial| denial["what"] == what).unwrap().clone();
    let denial = of("example.org:443");
    assert_eq!((&denial["wall"], &denial["times"]), (&"network".into(), &2.into()));
    assert_eq!(denial["allow"], "network.allow = [\"example.org:443\"]");
    // Six by its number, in whatever notation, and one by SOCKS.
    assert_eq!(of(&rule("127.0.0.1", other))["times"], 7);
    let denial = of(&name);
    let why = denial["why"].as_str().unwrap();
    assert!(why.starts_with("it leads to ") && why.ends_with(", a loopback address"), "{why}");
    let events = std::fs::read_to_string(events).unwrap();
    let told = events.lines().map(|line| serde_json::from_str(line).unwrap());
    let told: Vec<serde_json::Value> = told.collect();
    let times = told.iter().filter(|event| event["what"] == "example.org:443");
    let times: u64 = times.map(|event| event["times"].as_u64().unwrap()).sum();
    assert_eq!((times, &told[0]["event"]), (2, &"denied".into()));
}

#[test]
fn a_client_that_ignores_the_proxy_gets_nothing() {
    need_a_network!();
    let (scene, port) = (Scene::new(), server());
    let code = format!(
        "
import socket
try:
    s = socket.create_connection(('127.0.0.1', {port}), 20)
    s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')
    print(s.recv(4096).decode().split()[1])
except OSError as error: print(type(error).__name__)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: print(s.connect(('192.0.2.1', 53)))
except OSError as error: print(error.strerror)"
    );
    let address = rule("127.0.0.1", port);
    for flags in [&["--net", "filtered", "--allow", &address][..], &["--net", "filtered"]] {
        let ended = scene.python(flags, &code);
        assert_eq!(ended.text(), "ConnectionRefusedError\nNetwork is unreachable\n");
    }
    // So that the test can fail.
    assert!(scene.python(&["--net", "host"], &code).text().starts_with("200\n"));
}

#[test]
fn an_empty_list_means_nothing() {
    need_a_network!();
    let (scene, port) = (Scene::new(), server());
    let code = "
print(connect(f'127.0.0.1:{PORT}')[1], connect(f'localhost:{PORT}')[1], connect('example.org:443')[1])
print(socks(3, b'example.org', 443)[1], http('GET http://example.org/ HTTP/1.1').split()[1])";
    client(&scene, &[], port, code).expect_text("403 403 403\n2 403\n");
    scene.file("p.toml", "extends = 'default'\n[network]\nmode = 'filtered'\nallow = []\n");
    let code = format!("{CLIENT}\nPORT = {port}\n{code}");
    scene.python(&["-p", "./p.toml"], &code).expect_text("403 403 403\n2 403\n");
}

#[test]
fn the_environment_tells_of_the_proxy_and_the_policy_has_the_last_word() {
    need_a_network!();
    let scene = Scene::new();
    let mut command = scene.command(
        &["--net", "filtered", "--keep-env", "http_proxy", "--env", "NO_PROXY=.corp"],
        &["bash", "-c", "echo $HTTP_PROXY $http_proxy $https_proxy $ALL_PROXY $NO_PROXY $no_proxy"],
    );
    command.env("http_proxy", "http://proxy.corp:3128");
    scene.finish(command).expect_text(
        "http://127.0.0.1:1080 http://127.0.0.1:1080 http://127.0.0.1:1080 socks5h://127.0.0.1:1080 .corp \
         localhost,127.0.0.1,::1\n",
    );
    let ended = scene.bash(&["--net", "none"], "echo -$HTTP_PROXY-");
    ended.expect_text("--\n");
}

/// A port of this host that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const INSIDE: &str = "
import socket, threading
s = socket.create_server(('127.0.0.1', 8000))
print('up', flush=True)
def serve(c):
    while part := c.recv(4096): c.sendall(part.upper())
    c.close()
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()";

/// Says something to a port of this host, and gives the whole answer; `None` where nobody listens.
fn say(port: u16, text: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_published_port_leads_inside_and_is_free_again_at_the_end() {
    need_a_network!();
    let (scene, port, nobody) = (Scene::new(), free_port(), free_port());
    let (published, unheard) = (format!("{port}:8000"), format!("{nobody}:8001"));
    let flags = ["--net", "filtered", "--publish", &published, "--publish", &unheard];
    let run = Started::new(scene.command(&flags, &[PYTHON, "-c", INSIDE]));
    assert_eq!(say(port, "hello").as_deref(), Some("HELLO"));
    let long = "x".repeat(1 << 20);
    let many: Vec<_> = (0..8)
        .map(|_| {
            let long = long.clone();
            thread::spawn(move || say(port, &long))
        })
        .collect();
    for one in many {
        assert!(one.join().unwrap() == Some(long.to_uppercase()));
    }
    // Where nobody listens inside, whoever comes is let go.
    assert_eq!(say(nobody, "").unwrap_or_default(), "");
    run.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = run.finish(&scene);
    assert_eq!(ended.reported("/connections/published"), 9);
    TcpListener::bind(("127.0.0.1", port)).unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the end of a process that isn't this one's child")]
fn what_was_said_last_arrives_though_nobody_is_left_inside() {
    need_a_network!();
    let (scene, port) = (Scene::new(), free_port());
    let marker = scene.at("");
    // As much as fits on the way while nobody listens, and then the end.
    let code = format!(
        "# {marker}
import select, socket
s = socket.create_server(('127.0.0.1', 8000))
print('up', flush=True)
c, _ = s.accept()
c.setblocking(False)
sent = 0
while select.select([], [c], [], 1)[1]: sent += c.send(bytes(1 << 16))
print(sent, flush=True)"
    );
    let published = format!("{port}:8000");
    let flags = ["--net", "filtered", "--publish", &published];
    let mut run = Started::new(scene.command(&flags, &[PYTHON, "-c", &code]));
    let program = run.program();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let sent: usize = run.line().parse().unwrap();
    while processes_with(&marker).contains(&program) {
        thread::sleep(Duration::from_millis(10));
    }
    let mut heard = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), sent);
    run.finish(&scene).expect_code(0);
}

#[tokio::test(flavor = "current_thread")]
async fn ports_and_rules_work_while_nobody_waits_for_the_sandbox() {
    need_a_network!();
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    let (port, far) = (free_port(), echo());
    let policy = Policy::shipped("default").unwrap().network(Network::Filtered);
    let policy = policy.publish(format!("{port}:8000").parse().unwrap());
    // Passes on what comes in to the far server, and back.
    let code = format!(
        "{CLIENT}
s = socket.create_server(('127.0.0.1', 8000))
print('up', flush=True)
while True:
    c, _ = s.accept()
    far, code = connect('127.0.0.1:{far}')
    if code == '200': far.sendall(c.recv(4096))
    c.sendall(far.recv(4096) if code == '200' else code.encode())
    c.close()"
    );
    let mut sandbox =
        Sandbox::builder(policy).command([PYTHON, "-c", &code]).piped().start().unwrap();
    let mut lines = BufReader::new(sandbox.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("up"));
    let say = async |text: &str| {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert_eq!(say("hello").await, "403");
    sandbox.allow(vec![rule("127.0.0.1", far).parse().unwrap()]).unwrap();
    assert_eq!(say("hello").await, "hello");
    sandbox.allow(Vec::new()).unwrap();
    assert_eq!(say("hello").await, "403");
    let mut events = sandbox.events().unwrap();
    sandbox.kill().unwrap();
    let report = sandbox.wait().await.unwrap();
    assert_eq!(report.connections.unwrap().published, 3);
    // Two that were refused and one that was closed, before anybody listened: told to whoever does.
    let Some(Event::Denied(denial)) = events.next().await else { panic!("no denial is told") };
    assert_eq!((denial.what, denial.times), (rule("127.0.0.1", far), 3));
}

#[test]
fn so_many_connections_and_no_more_are_open_at_once() {
    need_a_network!();
    let (scene, port) = (Scene::new(), echo());
    let address = rule("127.0.0.1", port);
    let code = "
held = [connect(f'127.0.0.1:{PORT}') for _ in range(192)]
assert {code for _, code in held} == {'200'}
more = dial()
more.sendall(f'CONNECT 127.0.0.1:{PORT} HTTP/1.1\\r\\n\\r\\n'.encode())
more.settimeout(0.5)
try: print(more.recv(12))
except TimeoutError: print('waits')
held.pop()[0].close()
more.settimeout(20)
print(more.recv(12).decode())";
    let ended = client(&scene, &["--allow", &address], port, code);
    ended.expect_text("waits\nHTTP/1.1 200\n");
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_runs() {
    need_a_network!();
    let scene = Scene::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let published = format!("{}:80", taken.local_addr().unwrap().port());
    let out = scene.directory("out");
    std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let flags = ["--net", "filtered", "--publish", &published, "--write", "./out"];
    let ended = scene.bash(&flags, "touch out/ran");
    ended.expect_refusal(&["failed to publish `127.0.0.1:", "caused by: Address already in use"]);
    assert!(!std::path::Path::new(&out).join("ran").exists());
}

fn update(name: &str, flags: &[&str]) -> Output {
    let words = [&["update", name], flags].concat();
    Command::new(env!("CARGO_BIN_EXE_stockade")).args(words).output().unwrap()
}

#[track_caller]
fn updated(name: &str, flags: &[&str]) -> String {
    let output = update(name, flags);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    told
}

#[test]
fn rules_are_changed_as_a_whole_and_what_they_forbid_is_closed() {
    need_a_network!();
    let (scene, first, second) = (Scene::new(), echo(), echo());
    let code = format!(
        "{CLIENT}
open = {{}}
print('up', flush=True)
for line in sys.stdin:
    word, port = line.split()
    if word == 'open':
        open[port], code = connect(f'127.0.0.1:{{port}}')
        print(code, flush=True)
    else:
        try:
            open[port].sendall(b'x')
            print(open[port].recv(1).decode() or 'closed', flush=True)
        except OSError: print('closed', flush=True)"
    );
    let (one, two) = (rule("127.0.0.1", first), rule("127.0.0.1", second));
    let flags = ["--name", "ruled", "--net", "filtered", "--allow", &one];
    let mut run = Started::new(scene.command(&flags, &[PYTHON, "-c", &code]));
    support::listed("ruled");
    let mut ask = |word: &str, port: u16| {
        run.say(&format!("{word} {port}\n"));
        run.line()
    };
    assert_eq!((ask("open", first), ask("open", second)), ("200".into(), "403".into()));
    assert_eq!(ask("say", first), "x");
    // Wider: what was open stays open.
    assert_eq!(updated("ruled", &["--allow", &one, "--allow", &two]), "");
    assert_eq!((ask("open", second), ask("say", first)), ("200".into(), "x".into()));
    // A list with a mistake changes nothing.
    for mistake in ["*", "127.0.0.1:0", "10.0.0.1/8"] {
        let refused = update("ruled", &["--allow", &two, "--allow", mistake]);
        assert_eq!(refused.status.code(), Some(125), "{mistake}");
    }
    assert_eq!((ask("say", first), ask("say", second)), ("x".into(), "x".into()));
    // Nor does one beside a limit that can't be had.
    assert!(!update("ruled", &["--allow", &two, "--open-files", "10"]).status.success());
    assert_eq!((ask("say", first), ask("say", second)), ("x".into(), "x".into()));
    // Narrower: said first, and then closed.
    let told = updated("ruled", &["--allow", &two, "--dry-run"]);
    let warned = format!("warning: network.mode: 1 open connection to {one}: closed at once\n");
    assert!(told.ends_with(&warned), "{told}");
    assert_eq!(ask("say", first), "x");
    updated("ruled", &["--allow", &two]);
    assert_eq!((ask("say", first), ask("say", second)), ("closed".into(), "x".into()));
    assert_eq!(ask("open", first), "403");
    updated("ruled", &["--allow", "none"]);
    assert_eq!((ask("say", second), ask("open", second)), ("closed".into(), "403".into()));
    let ended = run.finish(&scene).expect_code(0);
    let denials = ended.reported("/denials").as_array().unwrap();
    let closed = denials.iter().filter(|denial| denial["times"] == 2);
    // Each was closed once and refused once; the second was refused at the beginning too.
    assert_eq!((denials.len(), closed.count()), (2, 1), "{}", ended.told());
}

#[test]
fn only_a_filtered_network_has_rules_to_change() {
    let scene = Scene::new();
    let run = Started::new(scene.command(&["--name", "unruled"], &["bash", "-c", "echo up; read"]));
    support::listed("unruled");
    let refused = update("unruled", &["--allow", "example.org"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("network.allow can't be changed: the network isn't filtered"), "{told}");
    run.finish(&scene);
}

#[test]
fn a_client_in_a_hurry_and_one_that_says_nothing_are_served_beside_each_other() {
    need_a_network!();
    let (scene, port) = (Scene::new(), server());
    let address = rule("127.0.0.1", port);
    // Some that connect and say nothing, some that break off in the middle: nobody waits for them.
    let code = "
idle = [dial() for _ in range(50)]
for s in idle[:25]: s.sendall(b'CONNECT 127.0.0.1')
for s in idle[:10]: s.close()
for _ in range(20):
    s, code = connect(f'127.0.0.1:{PORT}')
    assert (code, get(s)) == ('200', 'hello')
print('done')";
    client(&scene, &["--allow", &address], port, code).expect_text("done\n");
}
