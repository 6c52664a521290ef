//! Probes of a stack file, at real servers that nobody but the probe can reach.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::path::Path;
use stockade::supervisor::{Health, Outcome, Stack, State, Status, Supervisor};
use support::service::wait;
use support::{PYTHON, Scene};

/// The only service of a stack, with this Python program and these lines.
fn start(scene: &Scene, program: &str, lines: &str) -> Supervisor {
    let path = scene.file(
        "stockade.toml",
        &format!(
            "[services.it]\npolicy = \"default\"\ncommand = [\"{PYTHON}\", \"-c\", {program:?}]\n{lines}\n"
        ),
    );
    let stack = Stack::load(Path::new(&path), scene.path()).unwrap();
    Supervisor::start(&stack).0
}

/// A server that answers each path with its number, and keeps answering.
const HTTP: &str = "
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        assert self.headers['User-Agent'].startswith('stockade-probe/')
        code = int(self.path[1:])
        self.send_response(code)
        if code == 302: self.send_header('Location', 'http://127.0.0.1:1/')
        self.end_headers()
        self.wfile.write(b'x' * 100000)
http.server.ThreadingHTTPServer(('127.0.0.1', 8080), Answer).serve_forever()";

#[tokio::test(flavor = "current_thread")]
async fn an_http_answer_of_its_own_network_tells_whether_it_is_ready() {
    let scene = Scene::new();
    for (path, statuses, ready) in
        [("/204", "", true), ("/302", "", true), ("/500", "", false), ("/500", "500", true)]
    {
        let probe = format!(
            "readiness_probe = {{ http_get = {{ port = 8080, path = \"{path}\", status = [{statuses}] }}, period = \"50ms\", timeout = \"20s\" }}"
        );
        let team = start(&scene, HTTP, &probe);
        if ready {
            let status = wait(&team, |status| status.ready).await;
            assert_eq!(status.health, Health::Healthy);
        } else {
            let refused = "port 8080 answers 500 Internal Server Error";
            let status = wait(&team, |status| status.error.as_deref() == Some(refused)).await;
            assert_eq!((status.state, status.ready), (State::Running, false));
        }
        team.kill().await.unwrap();
    }
}

/// A server that shows a certificate of its own making, for another host.
const HTTPS: &str = "
import http.server, ssl, threading
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 8443), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.maximum_version = getattr(ssl.TLSVersion, 'VERSION')
context.load_cert_chain('PAIR')
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()";

#[tokio::test(flavor = "current_thread")]
async fn an_answer_over_tls_counts_whatever_certificate_is_shown() {
    let scene = Scene::new();
    let made = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
    let pair =
        scene.file("pair.pem", &format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()));
    let probe = "readiness_probe = { http_get = { port = 8443, scheme = \"HTTPS\" }, period = \"50ms\", timeout = \"20s\" }";
    for version in ["TLSv1_2", "TLSv1_3"] {
        let program = HTTPS.replace("VERSION", version).replace("PAIR", &pair);
        let team = start(&scene, &program, probe);
        let status = wait(&team, |status| status.ready).await;
        assert_eq!(status.health, Health::Healthy);
        team.kill().await.unwrap();
    }
    // Who speaks no TLS isn't well.
    let team = start(&scene, &HTTP.replace("8080", "8443"), probe);
    let no_tls = |status: &Status| {
        status.error.as_deref().is_some_and(|error| error.starts_with("no TLS at port 8443: "))
    };
    let status = wait(&team, no_tls).await;
    assert!(!status.ready);
    team.kill().await.unwrap();
}

/// Speaks just enough HTTP/2 for one call at a time: a `SETTINGS`, and the answer with its trailers, never indexed.
const GRPC: &str = "
import socket, struct
def frame(kind, flags, stream, data):
    return struct.pack('>I', len(data))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + data
def field(name, value):
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value
def exactly(conn, n):
    data = b''
    while len(data) < n:
        more = conn.recv(n - len(data))
        if not more: raise EOFError
        data += more
    return data
server = socket.create_server(('127.0.0.1', 50051))
times = 0
while True:
    conn, _ = server.accept()
    try:
        exactly(conn, 24)
        conn.sendall(frame(4, 0, 0, b''))
        while True:
            head = exactly(conn, 9)
            data = exactly(conn, int.from_bytes(head[:3], 'big'))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], 'big')
            if kind == 4 and not flags & 1: conn.sendall(frame(4, 1, 0, b''))
            if kind == 0 and flags & 1:
                assert data.endswith(b'\\x0a\\x04shop'), data
                times += 1
                status = 1 if times < 4 else 2
                conn.sendall(frame(1, 4, stream, bytes([0x88]) + field(b'content-type', b'application/grpc'))
                    + frame(0, 0, stream, b'\\0\\0\\0\\0\\x02\\x08' + bytes([status]))
                    + frame(1, 5, stream, field(b'grpc-status', b'0')))
    except (EOFError, ConnectionError): pass
    conn.close()";

#[tokio::test(flavor = "current_thread")]
async fn a_grpc_service_that_no_longer_serves_is_started_again() {
    let scene = Scene::new();
    let probe = "grpc = { port = 50051, service = \"shop\" }, period = \"50ms\", timeout = \"20s\"";
    let lines = format!(
        "startup_probe = {{ {probe}, failure_threshold = 1000 }}\nliveness_probe = {{ {probe}, failure_threshold = 2 }}\nrestart.delay = \"1ms\""
    );
    let team = start(&scene, GRPC, &lines);
    wait(&team, |status| status.ready && status.health != Health::Unhealthy).await;
    let status = wait(&team, |status| status.generation.0 == 2).await;
    assert_eq!(status.last, Some(Outcome::Liveness));
    assert_eq!(status.error.as_deref(), Some("it answers NOT_SERVING"));
    team.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_socket_and_a_file_are_looked_for_where_the_program_sees_them() {
    let scene = Scene::new();
    // Nothing of this is on the host; a link out of the sandbox's root leads to its own.
    let program = "
import os, socket, time
os.symlink('/tmp/real', '/tmp/link')
server = socket.socket(socket.AF_UNIX)
server.bind('/tmp/socket')
server.listen()
time.sleep(0.3)
open('/tmp/real', 'w').close()
time.sleep(1000)";
    for check in ["unix_socket = \"/tmp/socket\"", "file = \"/tmp/link\""] {
        let probe =
            format!("readiness_probe = {{ {check}, period = \"20ms\", timeout = \"20s\" }}");
        let team = start(&scene, program, &probe);
        wait(&team, |status| status.ready).await;
        team.kill().await.unwrap();
    }
    let team = start(
        &scene,
        "import time; time.sleep(1000)",
        "readiness_probe = { file = \"/proc/1/root/tmp\", period = \"20ms\", timeout = \"20s\" }",
    );
    let status = wait(&team, |status| status.error.is_some()).await;
    let error = status.error.unwrap();
    // A user may not even look at that link.
    let refused = ["Too many levels of symbolic links", "Permission denied"];
    assert!(refused.iter().any(|why| error.contains(why)) && !status.ready, "{error}");
    team.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_port_of_the_hosts_network_is_looked_for_there() {
    let scene = Scene::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let program = format!(
        "import socket, time; server = socket.create_server(('127.0.0.1', {port})); time.sleep(1000)"
    );
    let lines = format!(
        "network.mode = \"host\"\nstartup_probe = {{ tcp_socket = {port}, period = \"50ms\", timeout = \"20s\", failure_threshold = 1000 }}"
    );
    let team = start(&scene, &program, &lines);
    wait(&team, |status| status.ready).await;
    team.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_line_that_it_writes_tells_that_it_is_ready_and_one_of_a_hook_does_not() {
    let scene = Scene::new();
    // Looks are so far apart that only the line itself can have been what was waited for.
    let program = "
import os, sys, time
print('not up', flush=True)
for name in ['hooked', 'go']:
    while not os.path.exists('/tmp/' + name): time.sleep(0.02)
print('server is up on port 80', file=sys.stderr, flush=True)
time.sleep(1000)";
    let hook = "print('server is up on port 80', flush=True); open('/tmp/hooked', 'w')";
    let lines = format!(
        "readiness_probe = {{ log_line = {{ pattern = '^server .* port \\d+$' }}, period = \"1h\" }}\n\
         hooks.pre_start = [\"/bin/echo\", \"server is up on port 80\"]\n\
         hooks.post_start = [\"{PYTHON}\", \"-c\", {hook:?}]\n\
         reload.command = [\"/bin/touch\", \"/tmp/go\"]"
    );
    let team = start(&scene, program, &lines);
    let why = "no line matches `^server .* port \\d+$`";
    let status = wait(&team, |status| status.error.as_deref() == Some(why)).await;
    assert_eq!((status.state, status.ready), (State::Running, false));
    team.service("it").unwrap().reload().await.unwrap();
    let status = wait(&team, |status| status.ready).await;
    assert_eq!((status.state, status.health), (State::Running, Health::Healthy));
    team.kill().await.unwrap();
    let program = "import time; print('up', flush=True); time.sleep(1000)";
    let team = start(&scene, program, "startup_probe = { log_line = \"^up$\", period = \"1h\" }");
    wait(&team, |status| status.ready).await;
    team.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_startup_probe_that_never_sees_its_line_gives_up() {
    let scene = Scene::new();
    let probe = "startup_probe = { log_line = \"up\", period = \"20ms\", failure_threshold = 2 }\nrestart.policy = \"no\"";
    let team = start(&scene, "import time; print('down', flush=True); time.sleep(1000)", probe);
    let status = wait(&team, |status| status.state == State::Failed).await;
    assert_eq!(status.last, Some(Outcome::StartupProbe));
    team.kill().await.unwrap();
}

/// Says that it is ready, and nothing else.
const READY: &str = "
import os, socket, time
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to.connect(os.environ['NOTIFY_SOCKET'])
to.send(b'READY=1')
time.sleep(1000)";

#[tokio::test(flavor = "current_thread")]
async fn a_probe_hears_what_a_service_of_another_type_says() {
    let scene = Scene::new();
    for purpose in ["startup", "readiness"] {
        let probe = format!("{purpose}_probe = {{ notify = true, period = \"1h\" }}");
        let team = start(&scene, READY, &probe);
        let status = wait(&team, |status| status.ready).await;
        assert_eq!((status.state, status.health), (State::Running, Health::Healthy));
        team.kill().await.unwrap();
    }
    let silent = "import os, time; assert 'NOTIFY_SOCKET' in os.environ; time.sleep(1000)";
    let team = start(&scene, silent, "readiness_probe = { notify = true, period = \"20ms\" }");
    let why = "it hasn't said `READY=1`";
    let status = wait(&team, |status| status.error.as_deref() == Some(why)).await;
    assert_eq!((status.state, status.ready), (State::Running, false));
    team.kill().await.unwrap();
}

#[test]
fn what_was_said_once_does_not_tell_whether_it_lives() {
    let scene = Scene::new();
    for (probe, why) in [
        ("liveness_probe = { log_line = \"up\" }", "`log_line` doesn't tell whether it lives"),
        ("liveness_probe = { notify = true }", "`notify` doesn't tell whether it lives"),
        ("readiness_probe = { notify = false }", "without it there is no check"),
        ("readiness_probe = { log_line = \"(\" }", "`(` is no regular expression"),
    ] {
        let text = format!("[services.it]\ncommand = [\"true\"]\n{probe}\n");
        let path = scene.file("stockade.toml", &text);
        let error = Stack::load(Path::new(&path), scene.path()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
