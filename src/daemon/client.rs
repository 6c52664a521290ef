//! The side of whoever asks the daemon.

use super::usual_socket;
use crate::error::Error;
use crate::platform::{LaunchPlan, LocalStream, SocketPlace};
use crate::tls::{self, Seen};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

/// Names the socket of a daemon that isn't at the usual place, or its address.
pub const SOCKET_VARIABLE: &str = "STOCKADE_SOCKET";

/// Names the file with the token for a daemon on the network.
pub const TOKEN_VARIABLE: &str = "STOCKADE_TOKEN_FILE";

/// Names the file with the authorities of its certificate.
pub const CA_VARIABLE: &str = "STOCKADE_CA";

/// How long a connection over the network may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether a connection is still there.
const LOOK: Duration = Duration::from_millis(10);

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    place: String,
    /// The authority of its address, and the token.
    host: String,
    token: Option<HeaderValue>,
}

/// Where a daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At a socket of this host.
    Socket(PathBuf),
    /// On the network.
    Network(Address),
}

/// Where on the network a daemon is, and how it is asked there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    secure: bool,
    /// The file with the token.
    tokens: PathBuf,
    /// The authorities of its certificate; else the system's.
    authorities: Option<PathBuf>,
}

/// What names a daemon on a command line.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// A path, or a URL.
    pub place: Option<OsString>,
    /// The file with the token.
    pub tokens: Option<OsString>,
    /// The authorities of its certificate.
    pub authorities: Option<OsString>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => f.write_str(&LaunchPlan::readable(path)),
            Self::Network(Address { secure, .. }) if *secure => {
                write!(f, "https://{}", self.authority())
            }
            Self::Network(_) => write!(f, "http://{}", self.authority()),
        }
    }
}

impl Place {
    /// Where the daemon is: as it is named, else by `STOCKADE_SOCKET`, else at the usual socket.
    ///
    /// # Errors
    /// When it is a URL that can't be used.
    pub fn find(named: Named) -> Result<Self, Error> {
        let variable = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty());
        let Named { place, tokens, authorities } = named;
        let Some(place) = place.or_else(|| variable(SOCKET_VARIABLE)) else {
            return Ok(Self::Socket(usual_socket()));
        };
        let url = place.to_str().and_then(|text| text.split_once("://"));
        let Some((scheme, rest)) = url else { return Ok(Self::Socket(place.into())) };
        let secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(unusable(&place, "a daemon is at `https://HOST:PORT`")),
        };
        let (host, port) = rest
            .trim_end_matches('/')
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
            .filter(|(host, _)| !host.is_empty() && !host.contains(['/', '@', '?']))
            .ok_or_else(|| unusable(&place, "write `https://HOST:PORT`"))?;
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let is_here = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !secure && !is_here {
            return Err(unusable(&place, "others could read the token on its way; use `https`"));
        }
        let tokens = tokens.or_else(|| variable(TOKEN_VARIABLE)).ok_or_else(|| {
            let message = format!("`{}` wants a token", LaunchPlan::readable(&place));
            Error::asked(message, format!("name its file with `--token-file`, or {TOKEN_VARIABLE}"))
        })?;
        let authorities = authorities.or_else(|| variable(CA_VARIABLE)).map(Into::into);
        let (host, tokens) = (host.to_owned(), tokens.into());
        Ok(Self::Network(Address { host, port, secure, tokens, authorities }))
    }

    fn authority(&self) -> String {
        match self {
            Self::Socket(_) => "localhost".to_owned(),
            Self::Network(Address { host, port, .. }) if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            Self::Network(Address { host, port, .. }) => format!("{host}:{port}"),
        }
    }
}

fn unusable(place: &OsString, why: &str) -> Error {
    Error::asked(format!("`{}` can't be asked", LaunchPlan::readable(place)), why)
}

impl Address {
    /// The token, as it is sent.
    fn token(&self) -> Result<HeaderValue, Error> {
        let file = tls::read(&self.tokens, "token file", Seen::ByNobody)?;
        let token = file.0.trim_ascii();
        let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
        let mut value = value.map_err(|_| {
            let name = LaunchPlan::readable(&self.tokens);
            Error::asked(format!("the token file `{name}` holds more than a token"), "")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// A connection; what it is refused with tells whether anybody is there.
    async fn connect(&self) -> io::Result<TcpStream> {
        let late = |_| io::Error::from(ErrorKind::TimedOut);
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        timeout(PATIENCE, connecting).await.map_err(late)?
    }
}

/// What a daemon answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The object that came, or null.
    pub body: Value,
    /// Why it wasn't done, with what to do about it, where it wasn't.
    pub problem: Option<(String, String)>,
    /// Whether what was asked for doesn't exist.
    pub is_missing: bool,
}

impl Answer {
    /// The object that came.
    ///
    /// # Errors
    /// What the daemon says is wrong.
    pub fn accepted(self) -> Result<Value, Error> {
        match self.problem {
            Some((message, hint)) => Err(Error::asked(message, hint)),
            None => Ok(self.body),
        }
    }
}

impl Client {
    /// Connects to the daemon at this place; `None` where there is none. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses, or the daemon's certificate is none to trust.
    pub async fn connect(place: &Place) -> Result<Option<Self>, Error> {
        let failed = |error| Error::io(format!("failed to reach the daemon at `{place}`"), error);
        let absent = |error: &io::Error| {
            // Where a system has no such sockets, nobody listens at one.
            matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::Unsupported
            )
        };
        match place {
            Place::Socket(path) => {
                let stream = match SocketPlace::open(path).and_then(|place| place.connect()) {
                    Err(error) if absent(&error) => return Ok(None),
                    stream => stream.map_err(failed)?,
                };
                stream.set_nonblocking(true).map_err(failed)?;
                let stream = LocalStream::from_std(stream).map_err(failed)?;
                Self::over(stream, place, None).await.map(Some)
            }
            Place::Network(address) => {
                let token = Some(address.token()?);
                let stream = match address.connect().await {
                    Err(error) if absent(&error) => return Ok(None),
                    stream => stream.map_err(failed)?,
                };
                if !address.secure {
                    return Self::over(stream, place, token).await.map(Some);
                }
                let connector = tls::connector(address.authorities.as_deref())?;
                let name = ServerName::try_from(address.host.clone());
                let name = name.map_err(|error| failed(io::Error::other(error)))?;
                let late = |_| failed(ErrorKind::TimedOut.into());
                let stream = timeout(PATIENCE, connector.connect(name, stream)).await;
                let stream = stream.map_err(late)?.map_err(failed)?;
                Self::over(stream, place, token).await.map(Some)
            }
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        place: &Place,
        token: Option<HeaderValue>,
    ) -> Result<Self, Error> {
        let (host, place) = (place.authority(), place.to_string());
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| broken(&place, error))?;
        // Whatever becomes of it, the sender tells.
        tokio::spawn(async move { connection.await.unwrap_or(()) });
        Ok(Self { sender, place, host, token })
    }

    /// Asks, and gives the answer.
    ///
    /// # Errors
    /// When the connection fails, or what comes isn't JSON.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let response = self.send(method, path, body).await?;
        let (status, bytes) = (response.status(), self.whole(response).await?);
        let body: Value = match bytes.as_slice() {
            [] => Value::Null,
            bytes => serde_json::from_slice(bytes).map_err(|error| {
                Error::io(
                    format!("failed to understand the daemon at `{}`", self.place),
                    error.into(),
                )
            })?,
        };
        let problem = (!status.is_success()).then(|| {
            let text = |name: &str| body[name].as_str().map(str::to_owned);
            let message = text("detail").unwrap_or_else(|| format!("the daemon answers {status}"));
            (message, text("hint").unwrap_or_default())
        });
        Ok(Answer { body, problem, is_missing: status == StatusCode::NOT_FOUND })
    }

    /// The text at a path.
    ///
    /// # Errors
    /// When the connection fails, or the daemon refuses.
    pub async fn text(&mut self, path: &str) -> Result<String, Error> {
        let response = self.send(Method::GET, path, None).await?;
        let status = response.status();
        let text = String::from_utf8_lossy(&self.whole(response).await?).into_owned();
        if status.is_success() { Ok(text) } else { Err(Error::asked(text, "")) }
    }

    /// The events at a path, as they come.
    ///
    /// # Errors
    /// When the connection fails, or the daemon refuses.
    pub async fn events(self, path: &str) -> Result<Events, Error> {
        self.parts(path).await.map(Events)
    }

    /// The lines at a path, as they come.
    ///
    /// # Errors
    /// When the connection fails, or the daemon refuses.
    pub async fn lines(self, path: &str) -> Result<Lines, Error> {
        self.parts(path).await.map(Lines)
    }

    async fn parts(mut self, path: &str) -> Result<Parts, Error> {
        let response = self.send(Method::GET, path, None).await?;
        if !response.status().is_success() {
            let problem: Value =
                serde_json::from_slice(&self.whole(response).await?).unwrap_or_default();
            let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
            return Err(Error::asked(text("detail"), text("hint")));
        }
        Ok(Parts { body: response.into_body(), pending: Vec::new(), client: self })
    }

    /// Whether the daemon has closed the connection.
    pub fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    /// Returns when the daemon has gone.
    pub async fn ended(mut self) {
        while self.sender.ready().await.is_ok() {
            // A connection that is idle is ready as long as it is there.
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, Error> {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(bytes)));
        let mut request = request.map_err(|error| {
            Error::asked(format!("`{}` can't be asked for: {error}", path.escape_default()), "")
        })?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        self.sender.send_request(request).await.map_err(|error| broken(&self.place, error))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Vec<u8>, Error> {
        let whole = response.into_body().collect().await;
        Ok(whole.map_err(|error| broken(&self.place, error))?.to_bytes().to_vec())
    }
}

/// What comes in parts.
#[derive(Debug)]
struct Parts {
    body: Incoming,
    pending: Vec<u8>,
    client: Client,
}

impl Parts {
    /// The next one, up to this end and with it; `None` at the end. Dropping the future loses nothing.
    async fn next(&mut self, end: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(at) = self.pending.windows(end.len()).position(|here| here == end) {
                return Ok(Some(self.pending.drain(..at + end.len()).collect()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.pending.extend(frame.data_ref().into_iter().flatten()),
                Some(Err(error)) => return Err(broken(&self.client.place, error)),
                None => return Ok(None),
            }
        }
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events(Parts);

impl Events {
    /// The next one, its name and what it says; `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn next(&mut self) -> Result<Option<(String, Value)>, Error> {
        while let Some(event) = self.0.next(b"\n\n").await? {
            if let Some(event) = parsed(&String::from_utf8_lossy(&event)) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

/// A stream of lines.
#[derive(Debug)]
pub struct Lines(Parts);

impl Lines {
    /// The next one; `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.0.next(b"\n").await
    }
}

fn parsed(text: &str) -> Option<(String, Value)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let name = field("event: ")?.to_owned();
    Some((name, serde_json::from_str(field("data: ")?).ok()?))
}

fn broken(place: &str, error: hyper::Error) -> Error {
    let error = std::io::Error::other(error);
    Error::io(format!("the daemon at `{place}` broke off"), error)
}
