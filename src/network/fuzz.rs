//! What clients of the proxy send, for the fuzzer.

use super::{http, socks};

/// Reads the bytes as each message: none may make a parser panic, and what is passed on is one request to one host.
pub fn proxy_requests(bytes: &[u8]) {
    drop(http::answer(bytes));
    if let Some((_, length)) = socks::greeting(bytes) {
        assert!(length <= bytes.len());
    }
    if let Ok(Some((.., length))) = socks::request(bytes) {
        assert!(length <= bytes.len() && length <= socks::LONGEST);
    }
    if let Some(end) = http::end_of_head(bytes, 0)
        && let Ok(http::Request::Forward { head, host, port, .. }) = http::request(&bytes[..end])
    {
        assert_eq!(http::end_of_head(&head, 0), Some(head.len()));
        let named = if port == 80 { format!("{host}") } else { format!("{host}:{port}") };
        let field = format!("\r\nHost: {named}\r\n").into_bytes();
        assert!(head.windows(field.len()).any(|part| part == field));
        let hosts = head.windows(7).filter(|part| part.eq_ignore_ascii_case(b"\r\nhost:"));
        assert_eq!(hosts.count(), 1);
    }
}
