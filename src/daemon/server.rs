//! The side of HTTP: who connects, what they ask, within bounds.
//!
//! Whoever connects is known by what the kernel says of the other end (unix(7), `SO_PEERCRED`): that is who opened the
//! connection, whoever holds it now. On the network each request says it by a token. Everything that a visitor can make the daemon hold has a bound: connections, the size and
//! the time of a head and of a body, requests of a connection, and what it hasn't read yet.

use super::network::{self, Door};
use super::problem::Problem;
use super::role::{self, Role};
use super::route::{self, Body, Found};
use super::token::{Token, Tokens};
use super::{Daemon, Peer, Sitter, Who};
use crate::platform::{LocalListener, LocalStream, groups_of};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections at once to one listener; others wait.
const MOST_CONNECTIONS: usize = 256;

/// What of them one user may have who isn't an administrator, or one address, so that none keeps the others out.
const MOST_OF_ONE: usize = 32;

/// How long nobody is let in after that failed, for want of descriptors, say.
const PAUSE: Duration = Duration::from_millis(100);

/// Lines of a head.
const MOST_HEADERS: usize = 64;

/// The largest head, in bytes.
const LARGEST_HEAD: usize = 16 << 10;

/// The largest body, in bytes.
const LARGEST_BODY: usize = 64 << 10;

/// How long the handshake of TLS, a head, and then a body, may take to arrive; how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests of one connection, so that none is for ever.
const MOST_REQUESTS: usize = 1000;

/// How long connections have to end when the daemon does.
const FAREWELL: Duration = Duration::from_secs(1);

/// Parts of a stream that a reader hasn't taken yet.
pub(super) const UNREAD: usize = 16;

/// What is answered.
#[derive(Debug)]
pub(super) enum Content {
    Whole(Full<Bytes>),
    /// As it comes, until whoever sends is gone.
    Stream(mpsc::Receiver<Bytes>),
}

impl HttpBody for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Stream(parts) => {
                parts.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    /// Of what is whole the length is told, so that it needn't come in chunks.
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Where somebody may come from.
#[derive(Debug)]
pub(super) enum Listener {
    Local(LocalListener),
    Network(TcpListener, watch::Receiver<Door>),
}

/// Whoever came.
enum Visitor {
    Local(LocalStream),
    Network(TcpStream, SocketAddr, watch::Receiver<Door>),
}

impl Listener {
    async fn accept(&self) -> io::Result<Visitor> {
        Ok(match self {
            Self::Local(listener) => Visitor::Local(listener.accept().await?.0),
            Self::Network(listener, door) => {
                let (stream, address) = listener.accept().await?;
                Visitor::Network(stream, address, door.clone())
            }
        })
    }
}

/// Answers until `ending` says so; then connections have a moment to end.
pub(super) async fn serve(
    daemon: Arc<Daemon>,
    listener: Listener,
    mut ending: watch::Receiver<bool>,
) {
    let mut visits = JoinSet::new();
    loop {
        tokio::select! {
            visitor = listener.accept(), if visits.len() < MOST_CONNECTIONS => match visitor {
                Ok(Visitor::Local(stream)) => {
                    visits.spawn(visit(daemon.clone(), stream, ending.clone()));
                }
                Ok(Visitor::Network(stream, address, door)) => {
                    let address = address.ip().to_canonical();
                    let visit = visit_from(daemon.clone(), stream, address, door, ending.clone());
                    visits.spawn(visit);
                }
                // Without descriptors nobody can be let in: the next one who leaves makes room.
                Err(_) => sleep(PAUSE).await,
            },
            Some(_) = visits.join_next() => {}
            () = ends(&mut ending) => break,
        }
    }
    drop(listener);
    let all = async { while visits.join_next().await.is_some() {} };
    // What still talks then is broken off.
    timeout(FAREWELL, all).await.unwrap_or(());
}

/// A place among the connections of a user or an address, until it is dropped.
struct Seat {
    taken: Arc<Mutex<BTreeMap<Sitter, usize>>>,
    sitter: Sitter,
}

impl Seat {
    /// None where this one has as many as one may have.
    fn take(taken: &Arc<Mutex<BTreeMap<Sitter, usize>>>, sitter: Sitter) -> Option<Self> {
        let mut counts = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(sitter).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Self { taken: taken.clone(), sitter })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.sitter) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.sitter)),
        }
    }
}

/// Returns when the daemon ends.
pub(super) async fn ends(ending: &mut watch::Receiver<bool>) {
    // An error means that nobody can say so any more, which says so.
    ending.wait_for(|ends| *ends).await.map(drop).unwrap_or(());
}

async fn visit(daemon: Arc<Daemon>, stream: LocalStream, mut ending: watch::Receiver<bool>) {
    // Who can't be told is a stranger.
    let Ok(credentials) = stream.peer_cred() else { return };
    let (user, group) = (credentials.uid(), credentials.gid());
    let role = match role::role_of(&daemon.grants, daemon.user, user, &[group]) {
        Some(Role::Admin) => Some(Role::Admin),
        _ => role::role_of(&daemon.grants, daemon.user, user, &groups_of(user, group)),
    };
    let _seat = match (role, Seat::take(&daemon.seats, Sitter::User(user))) {
        (Some(Role::Admin), _) => None,
        (_, Some(seat)) => Some(seat),
        // There is no telling: that would take a place too.
        (_, None) => return,
    };
    let who = Who::User { id: user, process: credentials.pid() };
    let peer = Asker::Known(Peer { who, role });
    talk(daemon, stream, peer, ends(&mut ending)).await;
}

async fn visit_from(
    daemon: Arc<Daemon>,
    stream: TcpStream,
    address: IpAddr,
    door: watch::Receiver<Door>,
    mut ending: watch::Receiver<bool>,
) {
    // Whoever they are by their token, nobody knows that before they may speak.
    let Some(_seat) = Seat::take(&daemon.seats, Sitter::Address(address)) else { return };
    let acceptor = door.borrow().acceptor.clone();
    let (mut changes, used) = (door.clone(), LastToken::default());
    let asker = Asker::ByToken { address, door, used: used.clone() };
    let closes = async {
        let gone = changes.wait_for(|door| used.is_gone(&door.tokens));
        tokio::select! {
            // An error means that the daemon is gone.
            _ = gone => {}
            () = ends(&mut ending) => {}
        }
    };
    match acceptor {
        None => talk(daemon, stream, asker, closes).await,
        Some(acceptor) => {
            // Whoever doesn't speak TLS has nothing to be told.
            let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await else { return };
            talk(daemon, stream, asker, closes).await;
        }
    }
}

/// How it is known who sends a request.
#[derive(Clone)]
enum Asker {
    Known(Peer),
    ByToken { address: IpAddr, door: watch::Receiver<Door>, used: LastToken },
}

/// The token of a connection's last request.
#[derive(Clone, Default)]
struct LastToken(Arc<Mutex<Option<Token>>>);

impl LastToken {
    fn is_gone(&self, tokens: &Tokens) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_some_and(|token| !tokens.holds(token))
    }
}

impl Asker {
    fn peer(&self, headers: &HeaderMap) -> Result<Peer, Problem> {
        match self {
            Self::Known(peer) => Ok(peer.clone()),
            Self::ByToken { address, door, used } => {
                let token = network::token(&door.borrow().tokens, headers)?;
                let peer = token.peer(*address);
                *used.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
                Ok(peer)
            }
        }
    }
}

/// Answers what is asked over a connection, until it is to close.
async fn talk(
    daemon: Arc<Daemon>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    asker: Asker,
    closes: impl Future<Output = ()>,
) {
    let asked = Arc::new(AtomicUsize::new(0));
    let service = service_fn(|request| {
        let (daemon, asker, asked) = (daemon.clone(), asker.clone(), asked.clone());
        async move {
            let (mut response, is_stranger) = answer(&daemon, &asker, request).await;
            let last = asked.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_REQUESTS;
            if last || is_stranger {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(MOST_HEADERS)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closes => {
            connection.as_mut().graceful_shutdown();
            // What still comes then, such as events, is broken off.
            timeout(FAREWELL, connection).await.unwrap_or(Ok(()))
        }
    };
    // Whoever breaks off, or speaks something else, has had its answer.
    ended.unwrap_or(());
}

/// What is answered, and whether whoever asks may ask for nothing at all.
async fn answer(
    daemon: &Arc<Daemon>,
    asker: &Asker,
    request: Request<Incoming>,
) -> (Response<Content>, bool) {
    let is_head = request.method() == hyper::Method::HEAD;
    let peer = asker.peer(request.headers());
    let is_stranger = peer.as_ref().map_or(true, |peer| peer.role.is_none());
    let answered = match peer {
        Ok(peer) => met(daemon, &peer, request).await,
        Err(problem) => Err(problem),
    };
    let mut response = answered.unwrap_or_else(|problem| told(&problem));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_head {
        *response.body_mut() = Content::Whole(Full::default());
    }
    (response, is_stranger)
}

async fn met(
    daemon: &Arc<Daemon>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Result<Response<Content>, Problem> {
    let Some(role) = peer.role else {
        let hint = "an administrator of the daemon can let them in with `--allow ROLE:USER`";
        let message = format!("{} may not ask this daemon for anything", peer.who);
        return Err(Problem::new(StatusCode::FORBIDDEN, message).hint(hint));
    };
    let path = request.uri().path();
    let (route, chosen) = match route::find(request.method().as_str(), path) {
        Found::Route(route, chosen) => (route, chosen),
        Found::OtherMethods(methods) => {
            let message = format!("`{path}` knows {methods}, not {}", request.method());
            let mut problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, message);
            problem.allow = Some(methods);
            return Err(problem);
        }
        Found::Nothing => {
            let message = format!("there is nothing at `{}`", path.escape_default());
            let hint = "`/openapi.json` says what there is";
            return Err(Problem::new(StatusCode::NOT_FOUND, message).hint(hint));
        }
    };
    if role < route.role {
        let message =
            format!("this takes the role `{}`, and {} has `{role}`", route.role, peer.who);
        daemon.refused(peer, route, chosen.as_deref());
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    let queries = route::queries(route, request.uri().query().unwrap_or(""));
    let queries = queries.map_err(Problem::request)?;
    let body = match route.body {
        Body::Nothing => Value::Null,
        Body::Signal | Body::Scale | Body::Apply | Body::Silence | Body::TestAlerts => {
            read(request.into_body()).await?
        }
    };
    daemon.meet(peer, route, chosen.as_deref().unwrap_or(""), &queries, &body).await
}

/// The whole body, as a JSON object; null where there is none.
async fn read(body: Incoming) -> Result<Value, Problem> {
    let whole = timeout(PATIENCE, Limited::new(body, LARGEST_BODY).collect()).await;
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body didn't arrive in time");
    let bytes = whole.map_err(late)?.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            let message = format!("the body is larger than {LARGEST_BODY} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        } else {
            Problem::request(format!("the body can't be read: {error}"))
        }
    })?;
    let bytes = bytes.to_bytes();
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    let body: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::request(format!("the body is no JSON: {error}")))?;
    if body.is_object() { Ok(body) } else { Err(Problem::request("the body must be an object")) }
}

/// An answer with a body.
pub(super) fn whole(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Content> {
    let mut response = Response::new(Content::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer that goes on.
pub(super) fn stream(kind: &'static str, parts: mpsc::Receiver<Bytes>) -> Response<Content> {
    let mut response = Response::new(Content::Stream(parts));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A JSON object.
pub(super) fn json(status: StatusCode, body: &Value) -> Response<Content> {
    whole(status, "application/json", format!("{body}\n"))
}

fn told(problem: &Problem) -> Response<Content> {
    let body = format!("{}\n", problem.body());
    let mut response = whole(problem.status, "application/problem+json", body);
    if let Some(allow) = problem.allow.as_deref().and_then(|methods| methods.parse().ok()) {
        response.headers_mut().insert(ALLOW, allow);
    }
    if problem.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
