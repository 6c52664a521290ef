//! Heads of HTTP requests and answers, as far as a proxy must understand them. Pure.
//!
//! A request for a plain `http://` address is passed on with a head made anew: one request a connection, to the host that
//! the request names, whatever its `Host` field says. What could be read in two ways is refused.

use crate::platform::Host;
use std::fmt::Write as _;

/// The longest head of a request or an answer.
pub(super) const LONGEST_HEAD: usize = 16 << 10;

const MOST_FIELDS: usize = 100;

/// Why a head can't be used: the end of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A connection.
    Connect { host: Host, port: u16 },
    /// That a request is passed on.
    Forward { host: Host, port: u16, head: Vec<u8>, body: Body },
}

/// What comes after a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// What says its end itself.
    Chunked,
}

/// Where a head ends, if its end is there; the first `seen` bytes were looked at already.
pub(super) fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3).min(bytes.len());
    let found = bytes[from..].windows(4).position(|four| four == b"\r\n\r\n");
    found.map(|at| from + at + 4)
}

/// Understands a whole head.
pub(super) fn request(head: &[u8]) -> Result<Request, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        _ => return Err(Malformed("is no HTTP/1.1 request")),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Malformed("is no HTTP/1.1 request"));
    };
    if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        return Ok(Request::Connect { host, port });
    }
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let Some(rest) = scheme.and_then(|_| target.get(7..)) else {
        return Err(Malformed(
            "names no `http://` address (this is a proxy; for others use CONNECT)",
        ));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (named, path) = rest.split_at(end);
    let (host, port) = authority(named, Some(80))?;
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let body = body(request.headers, request.version == Some(1))?;
    let mut text = format!("{method} {slash}{path} HTTP/1.1\r\nHost: {host}");
    if port != 80 {
        // Writing into a text can't fail.
        write!(text, ":{port}").unwrap_or(());
    }
    text.push_str("\r\n");
    let head = with_fields(text, request.headers, |name| name.eq_ignore_ascii_case("host"));
    Ok(Request::Forward { host, port, head, body })
}

/// The head of an answer, made anew so that the connection isn't used again; and whether another answer follows it.
pub(super) fn answer(head: &[u8]) -> Result<(Vec<u8>, bool), Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    match answer.parse(head) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        _ => return Err(Malformed("is no HTTP/1.1 answer")),
    }
    let code = answer.code.unwrap_or(0);
    // Another protocol wasn't asked for: `Upgrade` isn't passed on.
    if code == 101 || !(100..600).contains(&code) {
        return Err(Malformed("is no answer to what was asked"));
    }
    let text = format!("HTTP/1.1 {code} {}\r\n", answer.reason.unwrap_or_default());
    let follows = code < 200;
    if follows {
        return Ok((head.to_vec(), true));
    }
    Ok((with_fields(text, answer.headers, |_| false), false))
}

/// The proxy's own answer.
pub(super) fn told(status: &str, text: &str) -> Vec<u8> {
    let length = text.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

/// Host and port, as they stand before a path.
fn authority(text: &str, usual: Option<u16>) -> Result<(Host, u16), Malformed> {
    const WRONG: Malformed = Malformed("names no host and port");
    let end = if text.starts_with('[') { text.find(']').ok_or(WRONG)? + 1 } else { 0 };
    let colon = text[end..].find(':').map(|at| end + at);
    let (host, port) = match colon {
        Some(colon) => {
            let digits = &text[colon + 1..];
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = digits.parse().ok().filter(|port| plain && *port != 0).ok_or(WRONG)?;
            (&text[..colon], port)
        }
        None => (text, usual.ok_or(WRONG)?),
    };
    Ok((host.parse().map_err(|_| WRONG)?, port))
}

/// What comes after the head. A request whose length could be read in two ways is one that somebody else will read in the
/// other (RFC 9112, 6.3 and 11.2).
fn body(fields: &[httparse::Header<'_>], may_be_chunked: bool) -> Result<Body, Malformed> {
    let named = |name: &'static str| {
        fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    let mut codings = named("transfer-encoding");
    let mut lengths = named("content-length");
    let wrong = Malformed("has a body whose length isn't clear");
    let body = match (codings.next(), lengths.next()) {
        (None, None) => Body::Length(0),
        (None, Some(length)) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(length).ok().filter(|_| digits);
            Body::Length(length.and_then(|length| length.parse().ok()).ok_or(wrong)?)
        }
        (Some(coding), None) if may_be_chunked && coding.eq_ignore_ascii_case(b"chunked") => {
            Body::Chunked
        }
        _ => return Err(wrong),
    };
    if codings.next().is_some() || lengths.next().is_some() {
        return Err(wrong);
    }
    Ok(body)
}

/// A head from its first lines and those fields that go from end to end.
fn with_fields(
    start: String,
    fields: &[httparse::Header<'_>],
    left_out: impl Fn(&str) -> bool,
) -> Vec<u8> {
    /// Between two neighbours (RFC 9110, 7.6.1); `Transfer-Encoding` stays, since the body is passed on as it is.
    const HOP: [&str; 8] = [
        "connection",
        "proxy-connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-authenticate",
        "te",
        "trailer",
        "upgrade",
    ];
    const BODY: [&str; 2] = ["content-length", "transfer-encoding"];
    let is_one_of =
        |list: &[&str], name: &str| list.iter().any(|one| one.eq_ignore_ascii_case(name));
    let connection = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    let nominated: Vec<&str> = connection
        .filter_map(|field| str::from_utf8(field.value).ok())
        .flat_map(|value| value.split(',').map(str::trim))
        // What says where the body ends can't be taken away.
        .filter(|name| !is_one_of(&BODY, name))
        .collect();
    let mut head = start.into_bytes();
    for field in fields {
        if is_one_of(&HOP, field.name) || is_one_of(&nominated, field.name) || left_out(field.name)
        {
            continue;
        }
        head.extend_from_slice(field.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(field.value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forwarded(head: &str) -> (String, Body) {
        match request(head.as_bytes()).unwrap() {
            Request::Forward { head, body, .. } => (String::from_utf8(head).unwrap(), body),
            other => panic!("{other:?}"),
        }
    }

    fn refused(head: &str) -> bool {
        request(head.as_bytes()).is_err()
    }

    #[test]
    fn a_connection_is_asked_for_with_host_and_port() {
        for (target, host, port) in [
            ("example.org:443", "example.org", 443),
            ("[2001:db8::1]:80", "[2001:db8::1]", 80),
            ("0x7f.1:80", "127.0.0.1", 80),
            ("EXAMPLE.org.:443", "example.org", 443),
        ] {
            let found =
                request(format!("CONNECT {target} HTTP/1.1\r\nHost: other\r\n\r\n").as_bytes());
            let host = host.parse().unwrap();
            assert_eq!(found, Ok(Request::Connect { host, port }), "{target}");
        }
        for target in [
            "example.org",
            "example.org:",
            ":443",
            "example.org:0",
            "example.org:+1",
            "a:b:1",
            "user@example.org:443",
            "[::1]",
            "[::1:80",
            "example.org:65536",
            "/",
            "http://a:1",
        ] {
            assert!(refused(&format!("CONNECT {target} HTTP/1.1\r\n\r\n")), "{target}");
        }
    }

    #[test]
    fn a_request_is_passed_on_to_the_host_that_it_names_and_once() {
        let (head, body) = forwarded(
            "POST http://example.org:8080?q=1#frag HTTP/1.1\r\nHost: evil.example\r\nAccept: */*\r\n\
             Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Secret, Content-Length\r\n\
             X-Secret: 1\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n",
        );
        insta::assert_snapshot!(head.replace("\r\n", "\n"), @r"
        POST /?q=1 HTTP/1.1
        Host: example.org:8080
        Accept: */*
        Content-Length: 5
        Connection: close
        ");
        assert_eq!(body, Body::Length(5));
        let (head, body) = forwarded("GET HTTP://example.org/a HTTP/1.0\r\n\r\n");
        assert!(head.starts_with("GET /a HTTP/1.1\r\nHost: example.org\r\n"), "{head}");
        assert_eq!(body, Body::Length(0));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let fields = [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Content-Length: +5",
            "Content-Length: 5, 5",
            "Content-Length: 99999999999999999999",
            "A: b\r\n folded",
            "A b: c",
            "A : b",
        ];
        for field in fields {
            assert!(
                refused(&format!("POST http://a.example/ HTTP/1.1\r\n{field}\r\n\r\n")),
                "{field}"
            );
        }
        for line in [
            "GET / HTTP/1.1",
            "GET https://a.example/ HTTP/1.1",
            "GET http:///x HTTP/1.1",
            "GET http://user:pass@a.example/ HTTP/1.1",
            "GET  http://a.example/ HTTP/1.1",
            "GET http://a.example/",
            "GET http://a.example:80:80/ HTTP/1.1",
            "GET http://a.example/ HTTP/2.0",
        ] {
            assert!(refused(&format!("{line}\r\n\r\n")), "{line}");
        }
        assert!(refused("POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn an_answer_ends_the_connection() {
        let (head, follows) = answer(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nKeep-Alive: 9\r\n\r\n",
        )
        .unwrap();
        let expected = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
        assert_eq!((str::from_utf8(&head).unwrap(), follows), (expected, false));
        assert!(answer(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap().1);
        assert!(answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").is_err());
        assert!(answer(b"hello\r\n\r\n").is_err());
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_it_was_cut() {
        let bytes = b"GET / HTTP/1.1\r\n\r\nbody";
        for cut in 0..bytes.len() {
            assert_eq!(end_of_head(&bytes[..cut], 0), (cut >= 18).then_some(18), "{cut}");
            assert_eq!(end_of_head(bytes, cut.min(17)), Some(18), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..400) {
            drop((request(&bytes), answer(&bytes)));
            prop_assert!(end_of_head(&bytes, at).is_none_or(|end| end <= bytes.len()));
        }

        #[test]
        fn what_is_passed_on_is_one_request_to_one_host(
            target in "http://[a-z0-9.:@\\[\\]/?#%-]{0,30}", field in "[A-Za-z-]{1,20}: ?[ -~]{0,30}"
        ) {
            let head = format!("GET {target} HTTP/1.1\r\n{field}\r\n\r\n");
            if let Ok(Request::Forward { head, host, .. }) = request(head.as_bytes()) {
                let text = String::from_utf8(head).unwrap();
                prop_assert_eq!(text.matches("\r\n\r\n").count(), 1);
                let hosts = text.lines().filter(|line| line.to_ascii_lowercase().starts_with("host:"));
                prop_assert_eq!(hosts.count(), 1);
                let line = format!("\r\nHost: {host}");
                prop_assert!(text.contains(&line));
            }
        }
    }
}
