//! The side of whoever asks.

use super::Request;
use crate::error::Error;
use crate::platform::{BlockingStream, IncomingSignals, LocalStream, RuntimeDir, send_own_streams};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

/// How long a living sandbox may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The ids of this user's sandboxes, sorted. One of them may have ended since.
///
/// # Errors
/// When they can't be listed.
pub fn ids() -> Result<Vec<String>, Error> {
    let failed = |error| Error::io("failed to list the sandboxes of this user", error);
    match RuntimeDir::open().map_err(failed)? {
        Some(directory) => directory.ids().map_err(failed),
        None => Ok(Vec::new()),
    }
}

/// The id that `word` means: a whole one, or the beginning of just one.
///
/// # Errors
/// When there is none, or more than one.
pub fn find(word: &str) -> Result<String, Error> {
    let ids = ids()?;
    if ids.iter().any(|id| id == word) {
        return Ok(word.to_owned());
    }
    let matching: Vec<&String> = ids.iter().filter(|id| id.starts_with(word)).collect();
    match matching.as_slice() {
        [one] if !word.is_empty() => Ok((*one).clone()),
        [] | [_] => Err(Error::asked(
            format!("no sandbox of this user is called `{}`", word.escape_default()),
            "`stockade stats` lists them",
        )),
        several => {
            let names: Vec<String> = several.iter().map(|id| format!("`{id}`")).collect();
            Err(Error::asked(
                format!("`{word}` is the beginning of {} sandboxes", names.len()),
                format!("one of {}", names.join(", ")),
            ))
        }
    }
}

/// A conversation with one sandbox.
#[derive(Debug)]
pub struct Visit {
    id: String,
    stream: BufReader<BlockingStream>,
}

impl Visit {
    /// Connects to the sandbox with this id; `None` when it has ended.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(id: &str) -> Result<Option<Self>, Error> {
        let failed = |error| Error::io(format!("failed to reach sandbox `{id}`"), error);
        let Some(directory) = RuntimeDir::open().map_err(failed)? else { return Ok(None) };
        let stream = match directory.connect(id) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Some(Self { id: id.to_owned(), stream: BufReader::new(stream) }))
    }

    /// The same conversation, in which an answer may take no longer than this.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn patient_for(self, time: Duration) -> Result<Self, Error> {
        let failed = |error| Error::io(format!("failed to reach sandbox `{}`", self.id), error);
        self.stream.get_ref().set_read_timeout(Some(time)).map_err(failed)?;
        Ok(self)
    }

    /// Asks, and gives the answer; `None` when the sandbox ended instead of answering.
    ///
    /// # Errors
    /// When the sandbox can't do it, or its starter doesn't answer in time: five seconds, unless said otherwise.
    pub fn ask(&mut self, request: &Request) -> Result<Option<Value>, Error> {
        let failed = |error| Error::io(format!("failed to talk to sandbox `{}`", self.id), error);
        let mut text = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let mut line = String::new();
        let talked = self.stream.get_mut().write_all(&text);
        match talked.and_then(|()| self.stream.read_line(&mut line)) {
            Ok(1..) => {}
            Ok(0) => return Ok(None),
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(failed(ErrorKind::TimedOut.into()));
            }
            Err(error) => return Err(failed(error)),
        }
        let answer: Value = serde_json::from_str(&line).map_err(|error| failed(error.into()))?;
        match answer["message"].as_str() {
            Some(message) => Err(Error::asked(format!("sandbox `{}`: {message}", self.id), "")),
            None => Ok(Some(answer)),
        }
    }

    /// Lends this process's streams to a program that was asked for ([`Request::Exec`]), passes signals on, and waits for its end:
    /// an exit code as shells have it; `None` when the sandbox ended.
    ///
    /// # Errors
    /// When the program isn't executed, or the connection fails.
    pub(crate) async fn execute(self, mut signals: IncomingSignals) -> Result<Option<u8>, Error> {
        let failed = |error| Error::io(format!("failed to talk to sandbox `{}`", self.id), error);
        let stream = self.stream.into_inner();
        send_own_streams(&stream).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let stream = LocalStream::from_std(stream).map_err(failed)?;
        let (reader, mut writer) = stream.into_split();
        let mut answers = tokio::io::BufReader::new(reader).lines();
        loop {
            let line = tokio::select! {
                line = answers.next_line() => line,
                signal = signals.next() => {
                    let Some(signal) = signal.name() else { continue };
                    let request = Request::Signal { signal: signal.to_owned() };
                    let mut text =
                        serde_json::to_vec(&request).map_err(|error| failed(error.into()))?;
                    text.push(b'\n');
                    // A program that has ended needs none.
                    writer.write_all(&text).await.unwrap_or(());
                    continue;
                }
            };
            let line = match line {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            let answer: Value =
                serde_json::from_str(&line).map_err(|error| failed(error.into()))?;
            let number = |name: &str| answer[name].as_u64().and_then(|n| u8::try_from(n).ok());
            let message = || answer["message"].as_str().unwrap_or_default();
            let hint = || answer["hint"].as_str().unwrap_or_default();
            match answer["answer"].as_str() {
                Some("executed") => {}
                Some("exited") => return Ok(number("code")),
                Some("signalled") => {
                    return Ok(number("signal").map(|signal| signal.saturating_add(128)));
                }
                Some("not_executed") => {
                    let code = number("exit_code").unwrap_or(125);
                    return Err(Error::asked(message(), hint()).exiting_with(code));
                }
                _ => return Err(Error::asked(format!("sandbox `{}`: {}", self.id, message()), "")),
            }
        }
    }

    /// Waits until the sandbox has ended, all of it.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn ended(mut self) -> Result<(), Error> {
        let failed = |error| Error::io(format!("failed to wait for sandbox `{}`", self.id), error);
        self.stream.get_ref().set_read_timeout(None).map_err(failed)?;
        match self.stream.read_to_end(&mut Vec::new()) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(failed(error)),
            _ => Ok(()),
        }
    }
}
