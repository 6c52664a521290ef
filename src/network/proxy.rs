//! The proxy: one listening socket inside, on which clients speak HTTP or SOCKS.

use super::destination::{self, Failure};
use super::http::{self, Body, Request};
use super::ledger::Ledger;
use super::relay::{self, Pending, Pulse};
use super::resolver::Resolve;
use super::rules::{Destination, Rules};
use super::socks::{self, Reply};
use super::throttle::Throttle;
use crate::platform::Host;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a client may take to say what it wants.
const TO_ASK: Duration = Duration::from_secs(10);

/// How long a client may take to hang up.
const TO_LEAVE: Duration = Duration::from_secs(2);

/// What every connection of one sandbox needs.
#[derive(Debug)]
pub(super) struct Shared {
    /// What is in force; whoever is connected looks again when it changes.
    pub(super) rules: watch::Sender<Arc<Rules>>,
    pub(super) ledger: Ledger,
    pub(super) pending: Pending,
    pub(super) throttle: Throttle,
    pub(super) resolver: Box<dyn Resolve>,
}

impl Shared {
    /// What everything passes that is said inside.
    pub(super) fn way(&self) -> (&Pending, &Throttle) {
        (&self.pending, &self.throttle)
    }
}

/// Accepts and serves until it is dropped, and all who are served with it. Where there is no room, others wait.
pub(super) async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    room: Arc<Semaphore>,
    serve: impl Fn(TcpStream) -> F,
) {
    let mut served = JoinSet::new();
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            (permit, accepted) = next => match accepted {
                Ok((stream, _)) => {
                    let work = serve(stream);
                    served.spawn(async move {
                        work.await;
                        drop(permit);
                    });
                }
                // Without descriptors nobody can be let in: the next one who leaves makes room.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
            Some(_) = served.join_next() => {}
        }
    }
}

/// Serves one client. What goes wrong with it is its own affair.
pub(super) async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let mut first = [0];
    let spoken = match timeout(TO_ASK, client.peek(&mut first)).await {
        Ok(Ok(1)) if first == [socks::VERSION] => speak_socks(&mut client, &shared).await,
        Ok(Ok(1)) if first[0].is_ascii_alphabetic() => speak_http(&mut client, &shared).await,
        _ => Ok(()),
    };
    // It left, or the other side did.
    if spoken.is_ok() {
        leave(&mut client).await;
    }
}

/// Lets a client hear the end of what it was told: what it says that nobody has read would make the system throw that away.
async fn leave(client: &mut TcpStream) {
    const MOST_SAID: u64 = 64 << 10;
    let drained = async {
        client.shutdown().await?;
        tokio::io::copy(&mut client.take(MOST_SAID), &mut tokio::io::sink()).await
    };
    // Who says more, or doesn't hang up, is hung up on.
    drop(timeout(TO_LEAVE, drained).await);
}

/// Someone that a client is connected to, and the rules under which.
struct Found {
    server: TcpStream,
    to: Destination,
    rules: watch::Receiver<Arc<Rules>>,
}

async fn find(shared: &Shared, host: Host, port: u16) -> Result<Found, Failure> {
    // From here on a change is seen, at the latest when the connection is there.
    let rules = shared.rules.subscribe();
    let now = || shared.rules.borrow().clone();
    let found = destination::connect(now, &*shared.resolver, host, port).await;
    if let Err(Failure::Refused(refusal)) = &found {
        shared.ledger.deny(refusal);
    }
    found.map(|(server, to)| Found { server, to, rules })
}

/// Lets `talk` go on for as long as the rules allow it.
async fn while_allowed(
    shared: &Shared,
    mut rules: watch::Receiver<Arc<Rules>>,
    to: Destination,
    talk: impl Future<Output = ()>,
) {
    let open = shared.ledger.open(to.clone());
    let forbidden = async {
        // Also a change from when the connection was only asked for.
        while rules.changed().await.is_ok() {
            if rules.borrow_and_update().allow_connection(&to).is_err() {
                return;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = forbidden => shared.ledger.deny(&super::rules::Refusal::late(&to)),
        () = talk => {}
    }
    drop(open);
}

async fn speak_socks(client: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let asked = timeout(TO_ASK, async {
        let mut bytes = Vec::with_capacity(socks::LONGEST);
        let (welcome, length) = until(client, &mut bytes, socks::greeting).await?;
        if !welcome {
            client.write_all(&socks::NOT_WELCOME).await?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        client.write_all(&socks::WELCOME).await?;
        bytes.drain(..length);
        let asked = until(client, &mut bytes, |bytes| socks::request(bytes).transpose()).await?;
        let asked = asked.map(|(host, port, length)| (host, port, bytes.split_off(length)));
        Ok::<_, io::Error>(asked)
    });
    let (host, port, early) = match asked.await {
        Ok(Ok(Ok(asked))) => asked,
        Ok(Ok(Err(reply))) => return client.write_all(&reply.message()).await,
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(()),
    };
    let Found { mut server, to, rules } = match find(shared, host, port).await {
        Ok(found) => found,
        Err(failure) => return client.write_all(&reply(&failure).message()).await,
    };
    let talk = async {
        if client.write_all(&Reply::Connected.message()).await.is_ok() {
            relay::join(client, &mut server, &early, shared.way()).await;
        }
    };
    while_allowed(shared, rules, to, talk).await;
    Ok(())
}

/// Reads until `parse` has found a whole message.
async fn until<T>(
    client: &mut TcpStream,
    bytes: &mut Vec<u8>,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<T> {
    loop {
        if let Some(found) = parse(bytes) {
            return Ok(found);
        }
        // No message is longer, so this is none.
        if bytes.len() >= socks::LONGEST || client.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

fn reply(failure: &Failure) -> Reply {
    match failure {
        Failure::Refused(_) => Reply::NotAllowed,
        Failure::Unresolved(_) => Reply::HostUnreachable,
        Failure::TimedOut => Reply::TimedOut,
        Failure::Unreachable(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Reply::Refused,
            io::ErrorKind::NetworkUnreachable => Reply::NetworkUnreachable,
            io::ErrorKind::HostUnreachable => Reply::HostUnreachable,
            _ => Reply::Failed,
        },
    }
}

async fn speak_http(client: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(1024);
    let end = match timeout(TO_ASK, head(client, &mut bytes)).await {
        Ok(Ok(end)) => end,
        Ok(Err(error)) if error.kind() == io::ErrorKind::FileTooLarge => {
            let told = http::told("431 Request Header Fields Too Large", "the head is too long\n");
            return client.write_all(&told).await;
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            let told = http::told("408 Request Timeout", "nothing was asked for in time\n");
            return client.write_all(&told).await;
        }
    };
    let early = bytes.split_off(end);
    let request = match http::request(&bytes) {
        Ok(request) => request,
        Err(http::Malformed(why)) => {
            let told = http::told("400 Bad Request", &format!("the request {why}\n"));
            return client.write_all(&told).await;
        }
    };
    let (host, port) = match &request {
        Request::Connect { host, port } | Request::Forward { host, port, .. } => {
            (host.clone(), *port)
        }
    };
    let shown = format!("{host}:{port}");
    let Found { mut server, to, rules } = match find(shared, host, port).await {
        Ok(found) => found,
        Err(failure) => return client.write_all(&failed(&failure, &shown)).await,
    };
    match request {
        Request::Connect { .. } => {
            let talk = async {
                let told = b"HTTP/1.1 200 Connection established\r\n\r\n";
                if client.write_all(told).await.is_ok() {
                    relay::join(client, &mut server, &early, shared.way()).await;
                }
            };
            while_allowed(shared, rules, to, talk).await;
        }
        Request::Forward { head, body, .. } => {
            let talk = async {
                // Where it broke off is what the client sees.
                let asked = (&*head, body, &*early);
                exchange(client, &mut server, asked, shared.way()).await.unwrap_or(());
            };
            while_allowed(shared, rules, to, talk).await;
        }
    }
    Ok(())
}

/// Reads a head, and what comes along with it; tells where it ends.
async fn head(from: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut seen = 0;
    loop {
        if let Some(end) = http::end_of_head(bytes, seen) {
            return Ok(end);
        }
        if bytes.len() >= http::LONGEST_HEAD {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        seen = bytes.len();
        if from.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// One request and its answer.
async fn exchange(
    client: &mut TcpStream,
    server: &mut TcpStream,
    (request, body, early): (&[u8], Body, &[u8]),
    (pending, throttle): (&Pending, &Throttle),
) -> io::Result<()> {
    let pulse = Pulse::new();
    let (from_client, to_client) = &mut client.split();
    let (from_server, to_server) = &mut server.split();
    let up = async {
        let more = pending.begin();
        throttle.pass(request.len()).await;
        if to_server.write_all(request).await.is_ok() {
            let rest = early.chain(from_client);
            // What comes after it isn't of this request, and there is no other.
            let length = match body {
                Body::Length(length) => length,
                Body::Chunked => u64::MAX,
            };
            let copied = relay::copy(rest.take(length), to_server, &pulse, Some(throttle)).await;
            copied.unwrap_or(());
        }
        drop(more);
        // The answer is what ends it, also where the host didn't want to hear all.
        std::future::pending::<io::Result<()>>().await
    };
    let down = async {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            let answer = match head(from_server, &mut bytes).await {
                Ok(end) => http::answer(&bytes[..end]).map(|answer| (answer, end)),
                Err(_) => Err(http::Malformed("is no answer")),
            };
            let Ok(((head, follows), end)) = answer else {
                let told = http::told("502 Bad Gateway", "the host gave no HTTP answer\n");
                return to_client.write_all(&told).await;
            };
            to_client.write_all(&head).await?;
            bytes.drain(..end);
            if !follows {
                return relay::copy((&bytes[..]).chain(from_server), to_client, &pulse, None).await;
            }
        }
    };
    tokio::select! {
        done = up => done,
        done = down => done,
        () = pulse.stopped() => Ok(()),
    }
}

fn failed(failure: &Failure, shown: &str) -> Vec<u8> {
    match failure {
        Failure::Refused(refusal) => http::told("403 Forbidden", &refusal.text()),
        Failure::Unresolved(name) => {
            http::told("502 Bad Gateway", &format!("`{name}` has no address\n"))
        }
        Failure::TimedOut => {
            http::told("504 Gateway Timeout", &format!("`{shown}` doesn't answer\n"))
        }
        Failure::Unreachable(error) => {
            http::told("502 Bad Gateway", &format!("failed to connect to `{shown}`: {error}\n"))
        }
    }
}

#[cfg(test)]
mod tests;
