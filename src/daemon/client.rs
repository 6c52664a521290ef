//! The side of whoever asks the daemon.

use super::usual_socket;
use crate::error::Error;
use crate::platform::{LaunchPlan, SocketPlace};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Names the socket of a daemon that isn't at the usual place.
pub const SOCKET_VARIABLE: &str = "STOCKADE_SOCKET";

/// How often it is looked whether a connection is still there.
const LOOK: Duration = Duration::from_millis(10);

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    place: String,
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

/// Where the daemon listens: as it is named, else by `STOCKADE_SOCKET`, else at the usual place.
pub fn socket(named: Option<&Path>) -> PathBuf {
    let variable = || std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
    named.map(Path::to_owned).or_else(|| variable().map(Into::into)).unwrap_or_else(usual_socket)
}

impl Client {
    /// Connects to the daemon at this socket; `None` where there is none. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn connect(path: &Path) -> Result<Option<Self>, Error> {
        let place = LaunchPlan::readable(path);
        let failed = |error| Error::io(format!("failed to reach the daemon at `{place}`"), error);
        let stream = match SocketPlace::open(path).and_then(|place| place.connect()) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        stream.set_nonblocking(true).map_err(failed)?;
        let stream = TokioIo::new(UnixStream::from_std(stream).map_err(failed)?);
        let (sender, connection) =
            handshake(stream).await.map_err(|error| broken(&place, error))?;
        // Whatever becomes of it, the sender tells.
        tokio::spawn(async move { connection.await.unwrap_or(()) });
        Ok(Some(Self { sender, place }))
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
    pub async fn events(mut self, path: &str) -> Result<Events, Error> {
        let response = self.send(Method::GET, path, None).await?;
        if !response.status().is_success() {
            let problem: Value =
                serde_json::from_slice(&self.whole(response).await?).unwrap_or_default();
            let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
            return Err(Error::asked(text("detail"), text("hint")));
        }
        Ok(Events { body: response.into_body(), pending: Vec::new(), client: self })
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
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(bytes)));
        let request = request.map_err(|error| {
            Error::asked(format!("`{}` can't be asked for: {error}", path.escape_default()), "")
        })?;
        self.sender.send_request(request).await.map_err(|error| broken(&self.place, error))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Vec<u8>, Error> {
        let whole = response.into_body().collect().await;
        Ok(whole.map_err(|error| broken(&self.place, error))?.to_bytes().to_vec())
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    pending: Vec<u8>,
    client: Client,
}

impl Events {
    /// The next one, its name and what it says; `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn next(&mut self) -> Result<Option<(String, Value)>, Error> {
        loop {
            while let Some(end) = self.pending.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.pending.drain(..end + 2).collect();
                if let Some(event) = parsed(&String::from_utf8_lossy(&event)) {
                    return Ok(Some(event));
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.pending.extend(frame.data_ref().into_iter().flatten()),
                Some(Err(error)) => return Err(broken(&self.client.place, error)),
                None => return Ok(None),
            }
        }
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
