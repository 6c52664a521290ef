//! A webhook of the test's own: what comes is held against the form, and handed over.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// When what should come counts as missing. Far above what the slowest guest needs.
const MISSING: Duration = Duration::from_secs(120);

pub(crate) struct Webhook {
    port: u16,
    bodies: Receiver<Value>,
    status: Arc<AtomicU16>,
}

impl Webhook {
    pub(crate) fn new() -> Self {
        Self::at(0)
    }

    /// One at this port; any where that is 0.
    pub(crate) fn at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, bodies) = channel();
        let status = Arc::new(AtomicU16::new(200));
        let answer = status.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if take(stream.unwrap(), &sender, answer.load(Ordering::SeqCst)).is_none() {
                    return;
                }
            }
        });
        Self { port, bodies, status }
    }

    /// From now on this is what it answers.
    pub(crate) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/alerts?x=1", self.port)
    }

    /// The next body, which is of the form.
    #[track_caller]
    pub(crate) fn next(&self) -> Value {
        let body = self.bodies.recv_timeout(MISSING).unwrap();
        is_version_4(&body);
        body
    }
}

/// Takes one request; none where nobody wants them any more.
fn take(mut stream: TcpStream, bodies: &Sender<Value>, status: u16) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return Some(());
        }
        if line == "\r\n" {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push(lower);
    }
    assert_eq!(head[0], "post /alerts?x=1 http/1.1\r\n");
    assert!(head.contains(&"content-type: application/json\r\n".to_owned()), "{head:?}");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    // Who waits for the answer knows then that it was taken.
    let sent = bodies.send(serde_json::from_slice(&body).unwrap());
    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).unwrap_or(());
    sent.ok()
}

/// Alertmanager's webhook, version 4: these fields, and no others.
#[track_caller]
fn is_version_4(body: &Value) {
    let text: fn(&Value) -> bool = Value::is_string;
    let texts: fn(&Value) -> bool =
        |it| it.as_object().is_some_and(|all| all.values().all(Value::is_string));
    has(
        body,
        &[
            ("version", |it| it == "4"),
            ("groupKey", text),
            ("truncatedAlerts", Value::is_u64),
            ("status", |it| it == "firing" || it == "resolved"),
            ("receiver", text),
            ("groupLabels", texts),
            ("commonLabels", texts),
            ("commonAnnotations", texts),
            ("externalURL", text),
            ("alerts", |it| it.as_array().is_some_and(|all| !all.is_empty())),
        ],
    );
    let moment: fn(&Value) -> bool =
        |it| it.as_str().is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok());
    for alert in body["alerts"].as_array().unwrap() {
        has(
            alert,
            &[
                ("status", |it| it == "firing" || it == "resolved"),
                ("labels", texts),
                ("annotations", texts),
                ("startsAt", moment),
                ("endsAt", moment),
                ("generatorURL", text),
                ("fingerprint", |it| {
                    it.as_str().is_some_and(|it| {
                        it.len() == 16 && it.bytes().all(|b| b.is_ascii_hexdigit())
                    })
                }),
            ],
        );
        for (name, value) in body["commonLabels"].as_object().unwrap() {
            assert_eq!(&alert["labels"][name], value, "{body}");
        }
        assert_eq!(alert["labels"]["alertname"], body["groupLabels"]["alertname"], "{body}");
    }
    let alerts = body["alerts"].as_array().unwrap();
    let fires = alerts.iter().any(|alert| alert["status"] == "firing");
    assert_eq!(body["status"] == "firing", fires, "{body}");
}

/// What a field must be.
type Is = fn(&Value) -> bool;

#[track_caller]
fn has(object: &Value, fields: &[(&str, Is)]) {
    let object = object.as_object().unwrap();
    for (name, is) in fields {
        let value = object.get(*name).unwrap_or_else(|| panic!("no `{name}`: {object:?}"));
        assert!(is(value), "{name}: {value}");
    }
    assert_eq!(object.len(), fields.len(), "{object:?}");
}

/// A port at which nobody listens now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
