//! Where lines are sent to from the files in which they are kept.
//!
//! Nothing waits in memory: what isn't sent yet lies in the files, whose limits are the bound. How far it came is written down beside
//! them, so that a next process goes on there. What may have arrived before a failure is sent again: each line arrives, some more than
//! once; over UDP and to a socket that nobody holds, as far as the network cares. What was removed before it was sent is told in its
//! place.

mod http;
mod journald;
mod sender;
mod syslog;

pub(crate) use http::post;
pub(super) use sender::Sender;

use super::record::Record;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A place to which lines are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// systemd's journal, in its native protocol, at this socket.
    Journald(PathBuf),
    /// A syslog server (RFC 5424), with the number of the facility.
    Syslog(Syslog, u8),
    /// An HTTP server, with labels for all lines.
    Http(Form, Url, BTreeMap<String, String>),
}

/// How a syslog server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Syslog {
    /// A datagram a line, at a socket of the file system.
    Unix(PathBuf),
    /// A datagram a line.
    Udp(SocketAddr),
    /// Lines with their length before them (RFC 6587, octet counting).
    Tcp(SocketAddr),
}

/// What an HTTP server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Loki's push, as JSON.
    Loki,
    /// OpenTelemetry's logs (OTLP), as JSON.
    Otlp,
}

/// An `http` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host and port, as they are connected to.
    authority: String,
    /// Path and query.
    path: String,
}

impl Url {
    /// Reads one; what is wrong with it otherwise.
    ///
    /// # Errors
    /// When it isn't a plain `http` URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_like(text, "http://127.0.0.1:3100/loki/api/v1/push")
    }

    /// The same, where this is one that people may write.
    pub(crate) fn parse_like(text: &str, example: &str) -> Result<Self, String> {
        let example = format!("write `{example}`");
        if text.starts_with("https://") {
            return Err(format!(
                "HTTPS isn't spoken here; let an agent on this host do that ({example})"
            ));
        }
        let rest =
            text.strip_prefix("http://").ok_or_else(|| format!("it is no URL ({example})"))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at).unwrap_or((rest, "/")),
            None => (rest, "/"),
        };
        let plain = |c: char| c.is_ascii_graphic() && c != '#';
        let host =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
        if authority.is_empty() || !authority.chars().all(host) || !path.chars().all(plain) {
            return Err(format!("it is no URL ({example})"));
        }
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let bare = authority.starts_with('[') && authority.ends_with(']');
        let authority = match has_port && !bare {
            true => authority.to_owned(),
            false => format!("{authority}:80"),
        };
        Ok(Self { authority, path: path.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// Whose lines are sent.
#[derive(Clone, Debug)]
struct Origin {
    service: String,
    instance: String,
}

/// What went wrong with records, of which so many before were taken.
#[derive(Debug)]
struct Failure {
    taken: usize,
    /// Whether it would go wrong again, so that they are left out.
    lasting: bool,
    message: String,
}

impl Failure {
    fn passing(taken: usize, message: impl fmt::Display) -> Self {
        Self { taken, lasting: false, message: message.to_string() }
    }
}

/// A text that is sent for a record.
fn text(record: &Record) -> &str {
    &record.text
}

/// How grave a record counts as where it doesn't say.
fn severity(record: &Record) -> u8 {
    let usual = if record.lost.is_some() { 4 } else { 6 };
    record.level.map_or(usual, super::Level::severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_plain_http() {
        let shown = |text: &str| Url::parse(text).map(|url| url.to_string());
        assert_eq!(
            shown("http://127.0.0.1:3100/push?a=1").unwrap(),
            "http://127.0.0.1:3100/push?a=1"
        );
        assert_eq!(shown("http://[::1]/x").unwrap(), "http://[::1]:80/x");
        assert_eq!(shown("http://loki").unwrap(), "http://loki:80/");
        for wrong in [
            "",
            "loki",
            "ftp://x/",
            "http://",
            "http:///x",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://u@h/",
        ] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
        assert!(shown("https://x/").unwrap_err().starts_with("HTTPS isn't spoken"));
    }
}
