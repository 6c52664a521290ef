//! Syslog as RFC 5424 has it: a datagram for each record, or a stream in which each has its length before it (RFC 6587, 3.4.1).

use super::{Failure, Origin, Syslog, severity, text};
use crate::logs::record::Record;
use crate::platform::LocalDatagram;
use std::io;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

/// The number that stands for examples and for whoever has none (RFC 5612), as others use it too.
const ENTERPRISE: u32 = 32473;

pub(super) struct Connection {
    origin: Origin,
    to: Syslog,
    facility: u8,
    host: String,
    open: Option<Open>,
}

enum Open {
    Unix(LocalDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Connection {
    pub(super) fn new(origin: Origin, to: Syslog, facility: u8) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { origin, to, facility, host: word(host.trim(), 255), open: None }
    }

    pub(super) async fn send(&mut self, records: &[Record]) -> Result<(), Failure> {
        for (taken, record) in records.iter().enumerate() {
            let message = message(&self.origin, &self.host, self.facility, record);
            if let Err(error) = self.send_one(message.as_bytes()).await {
                self.open = None;
                return Err(Failure::passing(taken, format_args!("syslog: {error}")));
            }
        }
        Ok(())
    }

    async fn send_one(&mut self, message: &[u8]) -> io::Result<()> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        let open = self.open.insert(open);
        match open {
            Open::Unix(socket) => drop(socket.send(message).await?),
            Open::Udp(socket) => drop(socket.send(message).await?),
            Open::Tcp(stream) => {
                let frame = [format!("{} ", message.len()).as_bytes(), message].concat();
                stream.write_all(&frame).await?;
            }
        }
        Ok(())
    }

    async fn connect(&self) -> io::Result<Open> {
        Ok(match &self.to {
            Syslog::Unix(path) => {
                let socket = LocalDatagram::unbound()?;
                socket.connect(path)?;
                Open::Unix(socket)
            }
            Syslog::Udp(to) => {
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(to).await?;
                Open::Udp(socket)
            }
            Syslog::Tcp(to) => Open::Tcp(TcpStream::connect(to).await?),
        })
    }
}

fn message(origin: &Origin, host: &str, facility: u8, record: &Record) -> String {
    let priority = u16::from(facility) * 8 + u16::from(severity(record));
    let name = word(&origin.instance, 48);
    let parameters = [
        ("service", origin.service.as_str()),
        ("instance", &origin.instance),
        ("generation", &record.generation.to_string()),
        ("seq", &record.seq.to_string()),
    ];
    let parameters: String =
        parameters.iter().map(|(name, value)| format!(" {name}=\"{}\"", escaped(value))).collect();
    let (time, stream) = (record.time, record.stream);
    let text = text(record);
    format!(
        "<{priority}>1 {time:.6} {host} {name} - {stream} [stockade@{ENTERPRISE}{parameters}] {text}"
    )
}

/// A word of the header: printable ASCII without spaces, or `-` for none.
fn word(text: &str, longest: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// PARAM-VALUE: `"`, `\` and `]` have a backslash before them (RFC 5424, 6.3.3).
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        if matches!(c, '"' | '\\' | ']') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::record::{Level, Stream};

    #[test]
    fn a_message_has_what_the_standard_says() {
        let origin = Origin { service: "a\"]\\".into(), instance: "web 1".into() };
        let record = Record {
            level: Some(Level::Error),
            ..Record::plain(
                3,
                Stream::Error,
                "it fails [x]".into(),
                "2026-11-26T05:00:00Z".parse().unwrap(),
            )
        };
        insta::assert_snapshot!(message(&origin, "host", 3, &record), @r#"<27>1 2026-11-26T05:00:00.000000Z host web1 - stderr [stockade@32473 service="a\"\]\\" instance="web 1" generation="3" seq="0"] it fails [x]"#);
    }
}
