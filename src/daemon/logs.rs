//! The stream of what services wrote: one JSON object a line, first what is kept, then what is added.

use super::Daemon;
use super::problem::Problem;
use super::server::{UNREAD, ends};
use crate::error::Error;
use crate::logs::{Entry, Level, Listing, Query, Stream};
use crate::platform::parse_duration;
use hyper::body::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// How often files are looked at for more.
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes that are sent at once, and some more.
const PART: usize = 32 << 10;

/// The records that a request's parameters ask for.
pub(super) fn query(queries: &BTreeMap<&'static str, String>) -> Query {
    let get = |name| queries.get(name).map(String::as_str);
    let since = get("since").and_then(|text| parse_duration(text).ok());
    Query {
        services: get("service").map(str::to_owned).into_iter().collect(),
        // What lies before all time is everything.
        since: since.and_then(|ago| jiff::Timestamp::now().checked_sub(ago).ok()),
        stream: get("stream").map(|word| match word {
            "stderr" => Stream::Error,
            _ => Stream::Output,
        }),
        level: get("level").and_then(Level::of_word),
        ..Query::default()
    }
}

/// The parts of a stream, of what is kept only the `last` so many. It ends with what is kept, or with the daemon or the reader where that `follows`.
pub(super) async fn stream(
    daemon: &Arc<Daemon>,
    query: Query,
    last: Option<usize>,
    follows: bool,
) -> Result<mpsc::Receiver<Bytes>, Problem> {
    let files = daemon.logs.clone();
    let listing = wait(move || {
        let mut listing = Listing::open(files, query)?;
        let mut first = Vec::new();
        for entry in last.map_or(Ok(Vec::new()), |last| listing.last(last))? {
            add(&mut first, &entry)?;
        }
        Ok((listing, first))
    });
    let (listing, first) =
        listing.await.map_err(|error| Problem::of(&Error::io("failed to read the logs", error)))?;
    let (parts, stream) = mpsc::channel(UNREAD);
    let daemon = daemon.clone();
    tokio::spawn(async move {
        if !first.is_empty() {
            parts.send(first.into()).await.ok()?;
        }
        if follows || last.is_none() {
            tell(&daemon, listing, follows, &parts).await?;
        }
        Some(())
    });
    Ok(stream)
}

async fn tell(
    daemon: &Daemon,
    mut listing: Listing,
    follows: bool,
    parts: &mpsc::Sender<Bytes>,
) -> Option<()> {
    let mut ending = daemon.ending.subscribe();
    loop {
        let read = wait(move || {
            listing.look()?;
            let mut part = Vec::new();
            while part.len() < PART
                && let Some(entry) = listing.advance()?
            {
                add(&mut part, &entry)?;
            }
            Ok((listing, part))
        });
        // A stream that ends early says by that that it isn't all.
        let part;
        (listing, part) = read.await.ok()?;
        if !part.is_empty() {
            parts.send(part.into()).await.ok()?;
            continue;
        }
        if !follows {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = parts.closed() => return None,
            () = ends(&mut ending) => return None,
        }
    }
}

fn add(part: &mut Vec<u8>, entry: &Entry) -> io::Result<()> {
    serde_json::to_writer(&mut *part, entry)?;
    part.push(b'\n');
    Ok(())
}

/// Reads where nobody else waits for the disk.
async fn wait<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(read).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
