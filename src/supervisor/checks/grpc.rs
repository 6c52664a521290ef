//! Asking a program over gRPC whether it serves: the health checking protocol (grpc/doc/health-checking.md).

use super::super::health::{HealthCheck, Vitals};
use super::answered;
use super::http::AGENT;
use crate::platform::BoxFuture;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// The whole name of the call.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// No answer to that is longer, in bytes.
const MOST_READ: usize = 1 << 10;

/// Well as long as `grpc.health.v1.Health/Check` at a port of the program's loopback interface answers `SERVING` for a
/// service; for the empty name, that is the program as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcCheck {
    pub(crate) port: u16,
    pub(crate) service: String,
}

impl GrpcCheck {
    /// A call at this port about a service.
    pub fn new(port: u16, service: impl Into<String>) -> Self {
        Self { port, service: service.into() }
    }

    async fn ask(&self, vitals: &Vitals) -> Result<(), String> {
        let port = self.port;
        let stream = vitals.inside.dial(port).await;
        let stream = stream.map_err(|error| format!("no connection to port {port}: {error}"))?;
        let failed = |error: hyper::Error| format!("no answer from port {port}: {error}");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        let request = Request::post(format!("http://localhost{CHECK}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, AGENT)
            .body(Full::new(framed(&request(&self.service))))
            .map_err(|error| error.to_string())?;
        let asked = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            if response.status() != StatusCode::OK {
                return Err(format!("port {port} answers {}", response.status()));
            }
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MOST_READ).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => format!("port {port} answers more than a health check does"),
                false => format!("no answer from port {port}: {error}"),
            })?;
            // A call that fails at once says so in its head, any other behind the body.
            let trailers = body.trailers().unwrap_or(&head.headers).clone();
            answer(&head.headers, &trailers, &body.to_bytes())
        };
        answered(asked, connection, failed).await
    }
}

impl HealthCheck for GrpcCheck {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.ask(vitals))
    }

    fn dials(&self) -> bool {
        true
    }
}

/// `HealthCheckRequest { string service = 1; }`. A field that is empty isn't written.
fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(low(length) | 0x80);
            length >>= 7;
        }
        message.push(low(length));
        message.extend_from_slice(service.as_bytes());
    }
    message
}

/// The lowest seven bits.
fn low(number: usize) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or(0)
}

/// A message of a call: not compressed, its length, itself.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

fn answer(head: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let of = |name: &str| trailers.get(name).or(head.get(name)).and_then(|it| it.to_str().ok());
    match of("grpc-status") {
        None | Some("0") => {}
        Some(status) => {
            let message = of("grpc-message").unwrap_or_default();
            return Err(format!("the health check fails with status {status}: {message}"));
        }
    }
    match status(body) {
        Some(1) => Ok(()),
        Some(0) => Err("it answers UNKNOWN".to_owned()),
        Some(2) => Err("it answers NOT_SERVING".to_owned()),
        Some(3) => Err("it answers SERVICE_UNKNOWN".to_owned()),
        Some(other) => Err(format!("it answers {other}, which means nothing")),
        None => Err("its answer is no health check's".to_owned()),
    }
}

/// `HealthCheckResponse { ServingStatus status = 1; }`, which is 0 where it isn't written.
fn status(body: &[u8]) -> Option<u64> {
    let (header, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(header.get(1..)?.try_into().ok()?);
    if header.first() != Some(&0) || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let (mut status, mut rest) = (0, message);
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut rest)?,
            (_, 0) => _ = varint(&mut rest)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 1) => rest = rest.get(8..)?,
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, others) = rest.split_first()?;
        *rest = others;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_as_the_protocol_has_them() {
        assert_eq!(request(""), b"");
        assert_eq!(request("a.B"), b"\x0a\x03a.B");
        assert_eq!(request(&"x".repeat(300))[..3], [0x0a, 0xac, 0x02]);
        assert_eq!(framed(b"ab")[..], [0, 0, 0, 0, 2, b'a', b'b']);
        for (body, expected) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\0", Some(0)),
            (b"\0\0\0\0\x06\x12\x02hi\x08\x02", Some(2)),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x02\x08\x80", None),
            (b"\0\0\0\0\x03\x12\x09x", None),
            (b"", None),
        ] {
            assert_eq!(status(body), expected, "{body:?}");
        }
    }

    #[test]
    fn only_serving_is_well() {
        let (none, mut failed) = (HeaderMap::new(), HeaderMap::new());
        failed.insert("grpc-status", "12".parse().unwrap());
        failed.insert("grpc-message", "unimplemented".parse().unwrap());
        assert_eq!(answer(&none, &none, b"\0\0\0\0\x02\x08\x01"), Ok(()));
        let not_serving = answer(&none, &none, b"\0\0\0\0\x02\x08\x02");
        assert_eq!(not_serving.unwrap_err(), "it answers NOT_SERVING");
        let unimplemented = answer(&none, &failed, b"").unwrap_err();
        assert_eq!(unimplemented, "the health check fails with status 12: unimplemented");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(body: Vec<u8>) {
            status(&body);
        }
    }
}
