//! nginx: workers behind a published port, new settings while it runs, and an end that waits for who is being served.

use crate::support::Scene;
use crate::{expect_content, free_port, needs_programs, until};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What nginx would be told on any machine, with the paths of a directory of one's own.
pub(crate) const SETTINGS: &str = "
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
events {}
http {
    access_log access.log;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {
        listen 127.0.0.1:8080;
        root first;
    }
}
";

/// Asks for a path, and gives the connection to read the answer from.
fn ask(port: u16, path: &str) -> Option<TcpStream> {
    asked(TcpStream::connect(("127.0.0.1", port)).ok()?, path)
}

fn asked(mut stream: TcpStream, path: &str) -> Option<TcpStream> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    Some(stream)
}

/// The body of an answer that says "200".
pub(crate) fn page(port: u16, path: &str) -> Option<String> {
    page_over(TcpStream::connect(("127.0.0.1", port)).ok()?, path)
}

/// The same, over a connection that there is.
pub(crate) fn page_over(stream: TcpStream, path: &str) -> Option<String> {
    let mut text = String::new();
    asked(stream, path)?.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    (head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200")).then(|| body.to_owned())
}

#[test]
fn nginx_serves_takes_new_settings_and_ends_when_everybody_is_served() {
    needs_programs!();
    let scene = Scene::new();
    // More than all buffers on the way hold together. In both: the workers of before may still take a client.
    let large = vec![b'x'; 32 << 20];
    for name in ["first", "second"] {
        scene.directory(name);
        scene.file(&format!("{name}/name"), name);
        fs::write(scene.path().join(name).join("large"), &large).unwrap();
    }
    scene.file("nginx.conf", SETTINGS);
    let port = free_port();
    let rest = format!(
        "filesystem.write = ['.']\nnetwork = {{ mode = 'filtered', publish = ['{port}:8080'] }}\n"
    );
    let server = scene.serve("nginx", "service", &rest, "nginx -p . -c nginx.conf");
    assert_eq!(until("a page", || page(port, "/name")), "first");

    scene.file("nginx.conf", &SETTINGS.replace("root first", "root second"));
    server.signal(Signal::SIGHUP);
    until("the other page", || page(port, "/name").filter(|text| text == "second"));

    // What was begun is served to its end, and nothing new.
    let mut stream = ask(port, "/large").unwrap();
    let mut answer = vec![0; 1024];
    stream.read_exact(&mut answer).unwrap();
    server.signal(Signal::SIGQUIT);
    until("the end of service", || page(port, "/name").is_none().then_some(()));
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(&large), "{} bytes", answer.len());
    let run = server.finish(&scene);
    expect_content(&run);
    // The first process, the master, and two workers.
    assert!(run.reported("/pids/peak").as_u64() >= Some(4), "{}", run.told());
    let log = fs::read_to_string(scene.at("access.log")).unwrap();
    assert!(log.contains("\"GET /large HTTP/1.0\" 200 33554432"), "{log}");
}
