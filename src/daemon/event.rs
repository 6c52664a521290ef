//! The stream of what happens: server-sent events, first how everything is, then each change, and each turn of an alert.

use super::Daemon;
use super::server::{UNREAD, ends};
use super::view::{ServiceView, time};
use crate::alerts::Turned;
use crate::supervisor::{Notice, Notices};
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{broadcast, mpsc};

/// Where nothing happens, something is said all the same, so that a reader that is gone is noticed.
const PULSE: Duration = Duration::from_secs(15);

/// The parts of a stream, of all services or of one. It ends when the daemon does, or the reader.
pub(super) fn stream(daemon: Arc<Daemon>, only: Option<String>) -> mpsc::Receiver<Bytes> {
    let (parts, stream) = mpsc::channel(UNREAD);
    // From here on nothing is missed: what happens while the snapshot is made comes after it.
    let (notices, turns) = (daemon.supervisor.notices(), daemon.alerts.turns());
    tokio::spawn(async move { tell(&daemon, only.as_deref(), notices, turns, &parts).await });
    stream
}

async fn tell(
    daemon: &Daemon,
    only: Option<&str>,
    mut notices: Notices,
    mut turns: broadcast::Receiver<Turned>,
    parts: &mpsc::Sender<Bytes>,
) -> Option<()> {
    let snapshot = || part("snapshot", None, &json!({ "services": daemon.views(only) }));
    let mut ending = daemon.ending.subscribe();
    parts.send(snapshot()).await.ok()?;
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(PULSE, notices.next()) => next,
            turn = turns.recv() => {
                // Those that were missed still stand in `/v1/alerts`, unless they are over.
                if let Ok(turn) = turn
                    && only.is_none_or(|only| only == turn.service)
                {
                    parts.send(alert(&turn)).await.ok()?;
                }
                continue;
            }
            () = parts.closed() => return None,
            () = ends(&mut ending) => return None,
        };
        let told = match next {
            Err(_) => Bytes::from_static(b":\n\n"),
            Ok(Some(Ok(notice))) if only.is_none_or(|only| only == &*notice.service) => {
                change(daemon, &notice)
            }
            Ok(Some(Ok(_))) => continue,
            Ok(Some(Err(lost))) => {
                parts.send(part("lost", None, &json!({ "count": lost }))).await.ok()?;
                snapshot()
            }
            Ok(None) => return None,
        };
        parts.send(told).await.ok()?;
    }
}

fn change(daemon: &Daemon, notice: &Notice) -> Bytes {
    let stack = daemon.supervisor.stack();
    let Some(service) = stack.services.get(&*notice.service) else { return Bytes::new() };
    let view = ServiceView::new(&notice.service, service, &notice.status);
    let data = json!({ "at": time(Some(notice.at)), "service": view });
    part("change", Some(notice.number), &data)
}

fn alert(turned: &Turned) -> Bytes {
    let data = json!({
        "at": time(Some(SystemTime::now())),
        "alert": turned.rule,
        "state": turned.turn.word(),
        "service": turned.service,
        "summary": turned.summary,
    });
    part("alert", None, &data)
}

/// One event (HTML Standard, section 9.2). JSON has no line breaks of its own.
fn part(event: &str, number: Option<u64>, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = number.map_or_else(String::new, |number| format!("id: {number}\n"));
    format!("event: {event}\n{id}data: {data}\n\n").into()
}
