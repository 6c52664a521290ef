//! The daemon on the network: TLS, tokens, and who is turned away.

use super::{Daemon, daemon_in, service, steady, stockade};
use crate::support::{self, Scene, skip};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

/// Made up, and long enough.
const READER: &str = "reader-0123456789abcdef0123456789abcdef";
const CHIEF: &str = "chief-0123456789abcdef0123456789abcdef";

/// A file that nobody else may read.
fn private(scene: &Scene, name: &str, text: &str) -> String {
    let path = scene.file(name, text);
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// An authority, and what it has made: `NAME.crt` and `NAME.key` in the scene.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Its own certificate is `NAME.crt`.
    fn new(scene: &Scene, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        scene.file(&format!("{name}.crt"), &params.self_signed(&key).unwrap().pem());
        Self(Issuer::new(params, key))
    }

    fn certify(&self, scene: &Scene, name: &str, host: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        scene.file(&format!("{name}.crt"), &params.signed_by(&key, &self.0).unwrap().pem());
        private(scene, &format!("{name}.key"), &key.serialize_pem());
    }
}

/// A scene with a stack and tokens, and those who ask with them.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.file("stockade.toml", &steady("web", ""));
    private(&scene, "tokens", &format!("read:reader:{READER}\nadmin:chief:{CHIEF}\n"));
    private(&scene, "reader", &format!("{READER}\n"));
    private(&scene, "chief", CHIEF);
    private(&scene, "stranger", "nobody-0123456789abcdef0123456789abcdef");
    scene
}

const TLS: [&str; 8] = [
    "--listen",
    "localhost:0",
    "--token-file",
    "tokens",
    "--tls-cert",
    "daemon.crt",
    "--tls-key",
    "daemon.key",
];

const PLAIN: [&str; 4] = ["--listen", "127.0.0.1:0", "--token-file", "tokens"];

/// The exit code of a command that asks over the network, and what it says.
fn asked(daemon: &Daemon, scheme: &str, token: &str, words: &[&str]) -> (Option<i32>, String) {
    let place = format!("{scheme}://{}", daemon.address);
    let mut command = stockade(&daemon.scene, words);
    command.args(["--daemon", &place, "--token-file", token, "--ca", "authority.crt"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = support::guarded(child.id(), || child.wait_with_output().unwrap());
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(told).unwrap())
}

/// Everything that comes back for these bytes.
fn raw(daemon: &Daemon, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&daemon.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // Whoever is broken off has read all that there is.
    stream.read_to_end(&mut answer).unwrap_or_default();
    answer
}

/// The answer to a request with these lines in its head.
fn answer(daemon: &Daemon, request: &str, head: &str) -> String {
    let text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
    String::from_utf8(raw(daemon, text.as_bytes())).unwrap()
}

#[test]
fn a_token_decides_who_asks_over_tls() {
    let scene = scene();
    Authority::new(&scene, "authority").certify(&scene, "daemon", "127.0.0.1");
    let daemon = Daemon::start(scene, &[TLS.as_slice(), &["--audit", "audit.jsonl"]].concat());
    let ask = |token: &str, words: &[&str]| asked(&daemon, "https", token, words);
    assert_eq!(ask("reader", &["wait", "web"]).0, Some(0));
    let (code, told) = ask("reader", &["ps"]);
    assert!(code == Some(0) && told.contains("web"), "{told}");
    let (code, told) = ask("reader", &["stop", "web"]);
    assert!(code == Some(125), "{told}");
    assert!(told.contains("takes the role `operate`, and token `reader` has `read`"), "{told}");
    let (code, told) = ask("stranger", &["ps"]);
    assert!(code == Some(125) && told.contains("doesn't know the token"), "{told}");
    // A file that others can read isn't asked with: it may be anybody's by now.
    daemon.scene.file("open", READER);
    let (code, told) = ask("open", &["ps"]);
    assert!(code == Some(125) && told.contains("everybody can read the token file"), "{told}");
    assert_eq!(ask("chief", &["stop", "web"]).0, Some(0));
    assert_eq!(ask("chief", &["start", "web"]).0, Some(0));

    let entries = std::fs::read_to_string(daemon.scene.at("audit.jsonl")).unwrap();
    let entries = entries.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let entries: Vec<Value> = entries.filter(|entry| entry["event"] == "action").collect();
    let who: Vec<(&str, &str)> = entries
        .iter()
        .map(|entry| (entry["token"].as_str().unwrap(), entry["result"].as_str().unwrap()))
        .collect();
    let expected = [
        ("reader", "refused"),
        ("chief", "asked"),
        ("chief", "done"),
        ("chief", "asked"),
        ("chief", "done"),
    ];
    assert_eq!(who, expected);
    assert_eq!(entries[0]["address"], "127.0.0.1");
    assert_eq!(ask("chief", &["down"]).0, Some(0));
    let left = daemon.finish();
    let audit = std::fs::read_to_string(left.scene.at("audit.jsonl")).unwrap();
    for secret in [READER, CHIEF] {
        assert!(!left.stderr.contains(secret) && !audit.contains(secret));
    }
}

#[test]
fn a_certificate_of_nobody_known_or_for_another_host_is_not_asked() {
    let scene = scene();
    let authority = Authority::new(&scene, "authority");
    authority.certify(&scene, "daemon", "elsewhere.example");
    let daemon = Daemon::start(scene, &TLS);
    let (code, told) = asked(&daemon, "https", "reader", &["ps"]);
    assert!(code == Some(125) && told.contains("failed to reach the daemon"), "{told}");
    assert!(told.contains("not valid for name"), "{told}");
    // The same daemon with another certificate, which is read again with the stack file.
    authority.certify(&daemon.scene, "daemon", "127.0.0.1");
    daemon.said(&["config", "apply"]);
    assert_eq!(asked(&daemon, "https", "reader", &["ps"]).0, Some(0));
    Authority::new(&daemon.scene, "authority");
    let (code, told) = asked(&daemon, "https", "reader", &["ps"]);
    assert!(code == Some(125) && told.contains("failed to reach the daemon"), "{told}");
    // What is wrong with a file leaves what was in force.
    daemon.scene.file("daemon.crt", "no certificate");
    let told = daemon.refused(&["config", "apply"], 125);
    assert!(told.contains("`") && told.contains("daemon.crt"), "{told}");
    daemon.said(&["down"]);
}

#[test]
fn whoever_speaks_no_tls_or_stalls_is_let_go_and_keeps_nobody_out() {
    let scene = scene();
    Authority::new(&scene, "authority").certify(&scene, "daemon", "127.0.0.1");
    let daemon = Daemon::start(scene, &TLS);
    let stalled: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(&daemon.address).unwrap()).collect();
    let answer = raw(&daemon, b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(asked(&daemon, "https", "reader", &["ps"]).0, Some(0));
    for mut stream in stalled {
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        // The end, without a word.
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    }
    daemon.said(&["down"]);
}

#[test]
fn only_clients_with_a_certificate_are_let_in_where_that_is_asked_for() {
    let scene = scene();
    let authority = Authority::new(&scene, "authority");
    authority.certify(&scene, "daemon", "127.0.0.1");
    let clients = Authority::new(&scene, "clients");
    clients.certify(&scene, "known", "known.example");
    authority.certify(&scene, "unknown", "unknown.example");
    let flags = [TLS.as_slice(), &["--tls-client-ca", "clients.crt"]].concat();
    let daemon = Daemon::start(scene, &flags);
    let code = |certificate: Option<&str>| {
        let shown = certificate.map_or(String::new(), |name| {
            format!("context.load_cert_chain('{name}.crt', '{name}.key')\n")
        });
        let (host, port) = daemon.address.rsplit_once(':').unwrap();
        let program = format!(
            "import http.client, ssl\ncontext = ssl.create_default_context(cafile='authority.crt')\n{shown}\
             ask = http.client.HTTPSConnection('{host}', {port}, context=context)\n\
             try:\n    ask.request('GET', '/v1/status', headers={{'Authorization': 'Bearer {READER}'}})\n    \
             print(ask.getresponse().status)\nexcept OSError:\n    print('refused')\n"
        );
        let mut command = std::process::Command::new(support::PYTHON);
        command.args(["-c", &program]).current_dir(daemon.scene.path());
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(code(Some("known")), "200");
    assert_eq!((code(Some("unknown")), code(None)), ("refused".into(), "refused".into()));
    daemon.said(&["down"]);
}

#[test]
fn without_a_token_nothing_is_told_and_one_that_is_gone_ends_its_connections() {
    let daemon = Daemon::start(scene(), &PLAIN);
    for head in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Basic cmVhZGVyOng=\r\n",
        "Authorization: Bearer reader\r\n",
        &format!("Authorization: Bearer {READER}x\r\n"),
        &format!("Authorization: Bearer {READER}\r\nAuthorization: Bearer {READER}\r\n"),
    ] {
        for request in ["GET /live", "GET /v1/services", "POST /v1/shutdown", "GET /nothing"] {
            let answer = answer(&daemon, request, head).to_lowercase();
            assert!(answer.starts_with("http/1.1 401 "), "{request} {head}: {answer}");
            assert!(answer.contains("\r\nwww-authenticate: bearer\r\n"), "{answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
    }
    let head = format!("authorization: bearer {READER}\r\n");
    assert!(answer(&daemon, "GET /live", &head).starts_with("HTTP/1.1 204 "));
    // The same route table and bounds as on the socket.
    assert!(answer(&daemon, "POST /v1/shutdown", &head).starts_with("HTTP/1.1 403 "));
    assert!(answer(&daemon, "DELETE /v1/status", &head).starts_with("HTTP/1.1 405 "));
    let large = format!("{head}Content-Length: 9\r\nX: {}\r\n", "x".repeat(20 << 10));
    assert!(answer(&daemon, "GET /live", &large).starts_with("HTTP/1.1 431 "));
    assert_eq!(asked(&daemon, "http", "reader", &["wait", "web"]).0, Some(0));

    // One address can't have all connections that there are, and those of the socket are others.
    let mut many: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(&daemon.address).unwrap()).collect();
    // They are met in their order: when the last is turned away, all are judged.
    let mut last = many.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(last.read(&mut [0]).unwrap(), 0);
    let answered = many.into_iter().filter(|mut stream| {
        let request = format!("GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
        let mut answer = Vec::new();
        let written = stream.write_all(request.as_bytes());
        stream.read_to_end(&mut answer).unwrap_or_default();
        written.is_ok() && answer.starts_with(b"HTTP/1.1 204 ")
    });
    assert_eq!(answered.count(), 32);
    daemon.said(&["ps"]);

    // A stream of events goes on until its token is gone.
    let mut events = TcpStream::connect(&daemon.address).unwrap();
    events.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    write!(events, "GET /v1/events HTTP/1.1\r\nHost: x\r\n{head}\r\n").unwrap();
    assert!(events.read(&mut [0; 15]).unwrap() > 0);
    private(&daemon.scene, "tokens", &format!("admin:chief:{CHIEF}\n"));
    // Whoever's token stays hears the end of what was asked for.
    let (code, told) = asked(&daemon, "http", "chief", &["config", "apply"]);
    assert!(code == Some(0) && told == "nothing has changed\n", "{told}");
    std::io::copy(&mut events, &mut std::io::sink()).unwrap_or_default();
    assert!(answer(&daemon, "GET /live", &head).starts_with("HTTP/1.1 401 "));
    assert_eq!(asked(&daemon, "http", "chief", &["down"]).0, Some(0));
}

#[test]
fn what_would_show_tokens_to_others_is_refused_at_the_start() {
    let scene = scene();
    Authority::new(&scene, "authority").certify(&scene, "daemon", "127.0.0.1");
    let refused = |flags: &[&str]| {
        let output = daemon_in(&scene).args(flags).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(125) || output.status.code() == Some(2), "{told}");
        told
    };
    let told = refused(&["--listen", "0.0.0.0:0", "--token-file", "tokens"]);
    assert!(told.contains("without TLS others could read the tokens"), "{told}");
    let told = refused(&["--listen", "127.0.0.1:0"]);
    assert!(told.contains("--token-file"), "{told}");
    let told = refused(&["--listen", "example.org:80", "--token-file", "tokens"]);
    assert!(told.contains("must be an address of this host and a port"), "{told}");
    let told = refused(&["--tls-cert", "daemon.crt", "--tls-key", "daemon.key"]);
    assert!(told.contains("--listen"), "{told}");
    scene.file("empty", "# nobody yet\n");
    std::fs::set_permissions(scene.at("empty"), Permissions::from_mode(0o600)).unwrap();
    let told = refused(&["--listen", "127.0.0.1:0", "--token-file", "empty"]);
    assert!(told.contains("there is no token in it"), "{told}");
    let told = refused(&["--listen", "127.0.0.1:0", "--token-file", "/dev/zero"]);
    assert!(told.contains("the token file `/dev/zero` is a device"), "{told}");
    let mut other_key = TLS;
    other_key[7] = "authority.crt";
    std::fs::set_permissions(scene.at("authority.crt"), Permissions::from_mode(0o600)).unwrap();
    let told = refused(&other_key);
    assert!(told.contains("can't be used as a private key"), "{told}");
    for (file, told) in [("tokens", "read the token file"), ("daemon.key", "read the key file")] {
        std::fs::set_permissions(scene.at(file), Permissions::from_mode(0o644)).unwrap();
        let output = refused(&TLS);
        assert!(output.contains(&format!("everybody can {told}")), "{output}");
        std::fs::set_permissions(scene.at(file), Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::set_permissions(scene.at("daemon.crt"), Permissions::from_mode(0o666)).unwrap();
    let told = refused(&TLS);
    assert!(told.contains("everybody can write the certificate file"), "{told}");
}

#[test]
fn curl_asks_with_a_token() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        skip!("curl isn't installed");
    }
    let scene = scene();
    scene.file("stockade.toml", &service("web", "exit 0", ""));
    Authority::new(&scene, "authority").certify(&scene, "daemon", "127.0.0.1");
    let daemon = Daemon::start(scene, &TLS);
    let mut command = std::process::Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--cacert", "authority.crt"]);
    command.arg("--header").arg(format!("Authorization: Bearer {READER}"));
    command.arg(format!("https://{}/v1/services", daemon.address));
    let output = command.current_dir(daemon.scene.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let body: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
    assert_eq!(body["services"][0]["name"], "web");
    daemon.said(&["down"]);
}
