//! The side of the sandbox.

use super::{Reply, Request, Response};
use crate::error::Error;
use crate::platform::{Door, Listed, LocalReader, LocalStream, LocalWriter, RuntimeDir};
use std::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

/// The longest line of a request: a list of some thousand hosts.
const LONGEST: u64 = 64 << 10;

/// The most that are heard at once; others wait.
const MOST_VISITORS: usize = 32;

/// A request, and whom to answer.
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// The streams of a program that is to be started.
    pub(crate) streams: Option<[File; 3]>,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// Hears requests until it is dropped; whoever is still connected sees the end of the stream then.
#[derive(Debug)]
pub(crate) struct Server {
    requests: mpsc::Receiver<Asked>,
    work: JoinHandle<()>,
    _listed: Listed,
}

impl Server {
    /// Lists a sandbox among its user's, and begins to listen.
    ///
    /// # Errors
    /// When there is no directory for it, or the system refuses.
    pub(crate) fn start(id: &str) -> Result<Self, Error> {
        let failed = |error| Error::io("failed to list the sandbox for `stockade top`", error);
        let directory = RuntimeDir::make().map_err(failed)?;
        let (listed, door) = directory.list(id).map_err(failed)?;
        // The leftovers of others are no reason to fail; whoever lists next tries again.
        directory.sweep().unwrap_or(0);
        let (sender, requests) = mpsc::channel(1);
        let work = tokio::spawn(receive(door, sender));
        Ok(Self { requests, work, _listed: listed })
    }

    /// The next request. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Asked> {
        self.requests.recv().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn receive(door: Door, requests: mpsc::Sender<Asked>) {
    let mut visitors = JoinSet::new();
    loop {
        tokio::select! {
            // Without descriptors nobody can be let in: the next one who leaves makes room.
            Ok(stream) = door.enter(), if visitors.len() < MOST_VISITORS => {
                visitors.spawn(hear(stream, requests.clone()));
            }
            Some(_) = visitors.join_next() => {}
            else => return,
        }
    }
}

/// Answers one visitor until it leaves, or says what can't be understood.
async fn hear(stream: LocalStream, requests: mpsc::Sender<Asked>) {
    let (reader, writer) = stream.into_split();
    let mut visitor = Visitor { reader: BufReader::new(reader), writer, requests };
    while let Some(request) = visitor.next().await {
        let response = match request {
            Ok(Request::Exec { command }) => match visitor.execute(command).await {
                Some(response) => response,
                None => return,
            },
            Ok(request) => match visitor.ask(request, None).await {
                Some(Reply::Said(response)) => response,
                Some(Reply::Enters(_)) | None => return,
            },
            Err(message) => Response::Failed { message },
        };
        if visitor.answer(&response).await.is_none() {
            return;
        }
    }
}

/// Somebody who is heard.
pub(super) struct Visitor {
    pub(super) reader: BufReader<LocalReader>,
    writer: LocalWriter,
    requests: mpsc::Sender<Asked>,
}

impl Visitor {
    /// The next request, or why it isn't one; nothing when the visitor left. Dropping the future may lose a part of it.
    pub(super) async fn next(&mut self) -> Option<Result<Request, String>> {
        let mut line = String::new();
        match (&mut self.reader).take(LONGEST).read_line(&mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
        Some(serde_json::from_str(&line).map_err(|error| format!("not understood: {error}")))
    }

    /// Has the sandbox answer; nothing when it ended instead.
    pub(super) async fn ask(&self, request: Request, streams: Option<[File; 3]>) -> Option<Reply> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Asked { request, streams, reply }).await.ok()?;
        match answer.await {
            Ok(answer) => Some(answer),
            Err(_) if self.requests.is_closed() => None,
            // Whoever waited for the sandbox left off for a moment.
            Err(_) => {
                let message = "interrupted (ask again)".into();
                Some(Reply::Said(Response::Failed { message }))
            }
        }
    }

    /// Nothing when the visitor left.
    pub(super) async fn answer(&mut self, response: &Response) -> Option<()> {
        let mut text = serde_json::to_vec(response).ok()?;
        text.push(b'\n');
        self.writer.write_all(&text).await.ok()
    }
}
