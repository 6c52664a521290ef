//! Asking a program over HTTP, also with TLS.

use super::super::health::{HealthCheck, Vitals};
use super::answered;
use crate::platform::BoxFuture;
use crate::tls;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::pki_types::ServerName;

/// What a program that is asked is told of who asks.
pub(super) const AGENT: &str = concat!("stockade-probe/", env!("CARGO_PKG_VERSION"));

/// No more of an answer is read, in bytes; what comes after is the program's to keep.
const MOST_READ: usize = 16 << 10;

/// Well as long as an HTTP request to a port of the program's loopback interface is answered with 200 to 399, or with one of
/// the codes that are named. A redirect is an answer; it isn't followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    pub(crate) port: u16,
    pub(crate) path: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) statuses: BTreeSet<u16>,
    /// With TLS.
    pub(crate) secure: bool,
}

impl HttpCheck {
    /// A request for a path at this port.
    ///
    /// # Errors
    /// When it is no path of a request, such as `/live?level=1`.
    pub fn new(port: u16, path: &str) -> Result<Self, String> {
        let wrong = |_| format!("`{path}` is no path of a request (write `/live`)");
        let uri = path.parse::<Uri>();
        let uri = uri.map_err(|error| wrong(error.to_string()))?;
        if !path.starts_with('/') || uri.scheme().is_some() || uri.authority().is_some() {
            return Err(wrong(String::new()));
        }
        let (headers, statuses) = (HeaderMap::new(), BTreeSet::new());
        Ok(Self { port, path: uri, headers, statuses, secure: false })
    }

    /// The same with TLS. As with Kubernetes' probes the program's certificate isn't verified: what is asked is whether it
    /// answers, at a port that is its own.
    #[must_use]
    pub fn over_tls(self) -> Self {
        Self { secure: true, ..self }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
        let mut request = Request::get(self.path.clone()).body(Empty::new())?;
        let headers = request.headers_mut();
        headers.insert(HOST, hyper::header::HeaderValue::from_static("localhost"));
        headers.insert(USER_AGENT, hyper::header::HeaderValue::from_static(AGENT));
        headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }

    fn accepts(&self, status: StatusCode) -> bool {
        match self.statuses.is_empty() {
            true => (200..400).contains(&status.as_u16()),
            false => self.statuses.contains(&status.as_u16()),
        }
    }

    async fn ask(&self, vitals: &Vitals) -> Result<(), String> {
        let stream = vitals.inside.dial(self.port).await;
        let stream =
            stream.map_err(|error| format!("no connection to port {}: {error}", self.port))?;
        if !self.secure {
            return self.ask_over(stream).await;
        }
        let failed =
            |error: &dyn std::fmt::Display| format!("no TLS at port {}: {error}", self.port);
        let connector = tls::unverified().map_err(|error| failed(&error))?;
        let name = ServerName::try_from("localhost").map_err(|error| failed(&error))?;
        let stream = connector.connect(name, stream).await;
        self.ask_over(stream.map_err(|error| failed(&error))?).await
    }

    async fn ask_over(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), String> {
        let failed = |error: hyper::Error| format!("no answer from port {}: {error}", self.port);
        let handshake =
            http1::Builder::new().max_buf_size(MOST_READ).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        let request = self.request().map_err(|error| error.to_string())?;
        let asked = async {
            let mut response = sender.send_request(request).await.map_err(failed)?;
            if !self.accepts(response.status()) {
                return Err(format!("port {} answers {}", self.port, response.status()));
            }
            // So that it needn't write to nobody; but not without end.
            let mut read = 0;
            while let Some(Ok(frame)) = response.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > MOST_READ {
                    break;
                }
            }
            Ok(())
        };
        answered(asked, connection, failed).await
    }
}

impl HealthCheck for HttpCheck {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.ask(vitals))
    }

    fn dials(&self) -> bool {
        true
    }
}
