//! SOCKS version 5 (RFC 1928), as far as it makes connections. Pure.

use crate::platform::Host;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first byte of everything that a client says.
pub(super) const VERSION: u8 = 5;

/// The longest message of a client: a request with a name of 255 bytes.
pub(super) const LONGEST: usize = 262;

/// How the proxy answers a greeting: no authentication, or none that suits.
pub(super) const WELCOME: [u8; 2] = [VERSION, 0];
pub(super) const NOT_WELCOME: [u8; 2] = [VERSION, 0xff];

/// The second byte of the proxy's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reply {
    Connected = 0,
    Failed = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    Refused = 5,
    TimedOut = 6,
    NoSuchCommand = 7,
    NoSuchAddress = 8,
}

impl Reply {
    /// The whole answer. Where the connection comes from is nobody's business inside.
    pub(super) fn message(self) -> [u8; 10] {
        [VERSION, self as u8, 0, 1, 0, 0, 0, 0, 0, 0]
    }
}

/// Whether a greeting offers to do without authentication, and its length; `None` while it isn't whole.
pub(super) fn greeting(bytes: &[u8]) -> Option<(bool, usize)> {
    let [VERSION, count, rest @ ..] = bytes else {
        // What isn't a greeting offers nothing.
        return bytes.first().filter(|first| **first != VERSION).map(|_| (false, bytes.len()));
    };
    let methods = rest.get(..usize::from(*count))?;
    Some((methods.contains(&0), 2 + methods.len()))
}

/// Whom a request asks for, and its length; `None` while it isn't whole.
///
/// # Errors
/// What a request gets that asks for something else than a connection, or can't be understood.
pub(super) fn request(bytes: &[u8]) -> Result<Option<(Host, u16, usize)>, Reply> {
    const CONNECT: u8 = 1;
    let (command, kind, rest) = match bytes {
        [VERSION, command, _, kind, rest @ ..] => (*command, *kind, rest),
        [first, ..] if *first != VERSION => return Err(Reply::Failed),
        _ => return Ok(None),
    };
    let length = match (kind, rest) {
        (1, _) => 4,
        (4, _) => 16,
        (3, [length, ..]) => 1 + usize::from(*length),
        (3, []) => return Ok(None),
        _ => return Err(Reply::NoSuchAddress),
    };
    let (Some(address), Some([high, low])) = (rest.get(..length), rest.get(length..length + 2))
    else {
        return Ok(None);
    };
    if command != CONNECT {
        return Err(Reply::NoSuchCommand);
    }
    let host = match address {
        [a, b, c, d] if kind == 1 => Host::from(IpAddr::from(Ipv4Addr::from([*a, *b, *c, *d]))),
        [_, name @ ..] if kind == 3 => {
            let name = str::from_utf8(name).map_err(|_| Reply::Failed)?;
            name.parse().map_err(|_| Reply::Failed)?
        }
        _ => {
            let bytes: [u8; 16] = address.try_into().map_err(|_| Reply::Failed)?;
            Host::from(IpAddr::from(Ipv6Addr::from(bytes)))
        }
    };
    match u16::from_be_bytes([*high, *low]) {
        0 => Err(Reply::Failed),
        port => Ok(Some((host, port, 4 + length + 2))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(name: &[u8], port: [u8; 2]) -> Vec<u8> {
        [&[5, 1, 0, 3, u8::try_from(name.len()).unwrap()], name, &port].concat()
    }

    fn host(bytes: &[u8]) -> Result<Option<String>, Reply> {
        request(bytes).map(|found| found.map(|(host, port, _)| format!("{host}:{port}")))
    }

    #[test]
    fn a_greeting_without_authentication_is_welcome() {
        assert_eq!(greeting(&[5, 2, 2, 0, 9]), Some((true, 4)));
        assert_eq!(greeting(&[5, 1, 2]), Some((false, 3)));
        assert_eq!(greeting(&[5, 0]), Some((false, 2)));
        for part in [&[][..], &[5], &[5, 2, 0]] {
            assert_eq!(greeting(part), None);
        }
    }

    #[test]
    fn names_and_addresses_are_asked_for() {
        assert_eq!(host(&[5, 1, 0, 1, 127, 0, 0, 1, 0, 80]), Ok(Some("127.0.0.1:80".into())));
        let mapped = [&[5, 1, 0, 4][..], &Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(), &[1, 0]];
        assert_eq!(host(&mapped.concat()), Ok(Some("127.0.0.1:256".into())));
        assert_eq!(host(&named(b"Example.org", [1, 187])), Ok(Some("example.org:443".into())));
        // A name may be an address too, in any notation.
        assert_eq!(host(&named(b"0x7f.1", [0, 80])), Ok(Some("127.0.0.1:80".into())));
        for wrong in [&b""[..], b"a b", b"\xff", b"a\0b", b"user@a"] {
            assert_eq!(host(&named(wrong, [0, 80])), Err(Reply::Failed), "{wrong:?}");
        }
        assert_eq!(host(&named(b"a", [0, 0])), Err(Reply::Failed));
        assert_eq!(host(&[5, 3, 0, 1, 0, 0, 0, 0, 0, 80]), Err(Reply::NoSuchCommand));
        assert_eq!(host(&[5, 1, 0, 2, 0, 0]), Err(Reply::NoSuchAddress));
        assert_eq!(host(&[4, 1, 0, 80]), Err(Reply::Failed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let whole = |length: usize| length <= bytes.len();
            prop_assert!(greeting(&bytes).is_none_or(|(_, length)| whole(length)));
            if let Ok(Some((.., length))) = request(&bytes) {
                prop_assert!(whole(length) && length <= LONGEST);
            }
        }

        #[test]
        fn a_request_in_parts_means_what_it_means_whole(name in "[a-z0-9.]{1,40}", cut in 0usize..50) {
            let bytes = named(name.as_bytes(), [1, 187]);
            if let Some(part) = bytes.get(..cut).filter(|part| part.len() < bytes.len()) {
                prop_assert_eq!(request(part), Ok(None));
            }
        }
    }
}
