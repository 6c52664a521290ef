//! systemd's journal in its native protocol: a datagram of fields for each record (systemd.io/JOURNAL_NATIVE_PROTOCOL).

use super::{Failure, Origin, severity, text};
use crate::logs::record::Record;
use crate::platform::{LocalDatagram, is_too_large, send_as_file};
use std::io;
use std::path::PathBuf;

pub(super) struct Journald {
    origin: Origin,
    path: PathBuf,
    socket: Option<LocalDatagram>,
}

impl Journald {
    pub(super) fn new(origin: Origin, path: PathBuf) -> Self {
        Self { origin, path, socket: None }
    }

    pub(super) async fn send(&mut self, records: &[Record]) -> Result<(), Failure> {
        for (taken, record) in records.iter().enumerate() {
            let sent = self.send_one(&fields(&self.origin, record)).await;
            sent.map_err(|error| {
                // It may have been started anew.
                self.socket = None;
                Failure::passing(taken, format_args!("{}: {error}", self.path.display()))
            })?;
        }
        Ok(())
    }

    async fn send_one(&mut self, datagram: &[u8]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = LocalDatagram::unbound()?;
                socket.connect(&self.path)?;
                socket
            }
        };
        match socket.send(datagram).await {
            // What is too large for a datagram is sent as a file.
            Err(error) if is_too_large(&error) => {
                send_as_file(&socket, datagram).await?;
            }
            other => drop(other?),
        }
        self.socket = Some(socket);
        Ok(())
    }
}

fn fields(origin: &Origin, record: &Record) -> Vec<u8> {
    let mut datagram = Vec::new();
    let mut add = |name: &str, value: &str| field(&mut datagram, name, value);
    add("MESSAGE", text(record));
    add("PRIORITY", &severity(record).to_string());
    add("SYSLOG_IDENTIFIER", &origin.instance);
    add("SYSLOG_TIMESTAMP", &format!("{:.6}", record.time));
    add("STOCKADE_SERVICE", &origin.service);
    add("STOCKADE_INSTANCE", &origin.instance);
    add("STOCKADE_GENERATION", &record.generation.to_string());
    add("STOCKADE_STREAM", record.stream.word());
    add("STOCKADE_SEQ", &record.seq.to_string());
    datagram
}

/// A field; one with a line break in its value, or another control character, with its length before it.
fn field(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend(name.as_bytes());
    if value.chars().any(|c| c.is_control() && c != '\t') {
        datagram.push(b'\n');
        datagram.extend((value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend(value.as_bytes());
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_plain_or_have_their_length() {
        let mut datagram = Vec::new();
        field(&mut datagram, "A", "x=y\t\"z\"");
        field(&mut datagram, "B", "one\ntwo");
        assert_eq!(datagram, b"A=x=y\t\"z\"\nB\n\x07\0\0\0\0\0\0\0one\ntwo\n");
    }
}
