//! The side of the sandbox.

use super::{Request, Response};
use crate::error::Error;
use crate::platform::{Door, Listed, RuntimeDir};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

/// The longest line of a request: a list of some thousand hosts.
const LONGEST: u64 = 64 << 10;

/// The most that are heard at once; others wait.
const MOST_VISITORS: usize = 32;

/// A request, and whom to answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Response>,
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
async fn hear(stream: UnixStream, requests: mpsc::Sender<Asked>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        match (&mut reader).take(LONGEST).read_line(&mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let response = match serde_json::from_str(&line) {
            Ok(request) => {
                let (reply, answer) = oneshot::channel();
                if requests.send(Asked { request, reply }).await.is_err() {
                    return;
                }
                match answer.await {
                    Ok(answer) => answer,
                    Err(_) if requests.is_closed() => return,
                    // Whoever waited for the sandbox left off for a moment.
                    Err(_) => Response::Failed { message: "interrupted (ask again)".into() },
                }
            }
            Err(error) => Response::Failed { message: format!("not understood: {error}") },
        };
        let Ok(mut text) = serde_json::to_vec(&response) else { return };
        text.push(b'\n');
        if writer.write_all(&text).await.is_err() {
            return;
        }
    }
}
