//! A host as a client names it.

use super::ParseNetworkError;
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The longest name (RFC 1035, 2.3.4), and the longest label of one.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A name, or an address in whatever notation: the resolver of a system takes `0x7f.1`, `2130706433` and `017700000001` for
/// 127.0.0.1, and so must whoever decides about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name, in lower case and without a final dot.
    Name(String),
    /// An address; one of IPv4 inside of IPv6 is one of IPv4.
    Address(IpAddr),
}

impl FromStr for Host {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside.strip_suffix(']').and_then(|text| text.parse::<Ipv6Addr>().ok());
            let address = address.ok_or(ParseNetworkError::new("is no IPv6 address"))?;
            return Ok(Self::from(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::from(address));
        }
        let plain = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let last = plain.rsplit('.').next().unwrap_or_default();
        // What ends in a number is an address or nothing (URL Standard, "ends in a number checker").
        if is_number(last) {
            let address = any_ipv4(&plain).ok_or(ParseNetworkError::new("is no IPv4 address"))?;
            return Ok(Self::Address(address.into()));
        }
        if is_name(&plain) {
            return Ok(Self::Name(plain));
        }
        let hint = if plain.is_ascii() { "" } else { " (write it in its `xn--` form)" };
        Err(ParseNetworkError::new(format!("is no host name{hint}")))
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn is_name(text: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let is_label =
        |label: &str| (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(plain);
    text.len() <= LONGEST_NAME && text.split('.').all(is_label)
}

fn is_number(label: &str) -> bool {
    let hexadecimal = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let decimal = !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit());
    decimal || label.strip_prefix("0x").is_some_and(hexadecimal)
}

/// One to four numbers, decimal, octal or hexadecimal, of which the last fills what is left (inet_aton(3)).
fn any_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut parts: Vec<u64> = text.split('.').map(number).collect::<Option<_>>()?;
    let last = parts.pop()?;
    let left = 4usize.checked_sub(parts.len()).filter(|left| *left > 0)?;
    let mut address = last;
    if last >> (8 * left) != 0 {
        return None;
    }
    for (place, part) in parts.iter().enumerate() {
        let part = u8::try_from(*part).ok()?;
        address |= u64::from(part) << (8 * (3 - place));
    }
    u32::try_from(address).ok().map(Ipv4Addr::from)
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x', ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    match digits {
        // As the library has it: `0x` is nothing.
        "" if radix == 16 => Some(0),
        _ if digits.starts_with('+') => None,
        _ => u64::from_str_radix(digits, radix).ok().filter(|number| *number <= u32::MAX.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(text: &str) -> Option<String> {
        text.parse::<Host>().ok().map(|host| host.to_string())
    }

    #[test]
    fn an_address_is_one_in_whatever_notation() {
        for text in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7F.1",
            "017700000001",
            "0177.0.0.1",
            "0x7f.0x0.0x0.0x1",
            "127.0.0.1.",
            "[::ffff:127.0.0.1]",
            "::ffff:127.0.0.1",
            "[::ffff:7f00:1]",
        ] {
            assert_eq!(host(text).as_deref(), Some("127.0.0.1"), "{text}");
        }
        assert_eq!(host("0").as_deref(), Some("0.0.0.0"));
        assert_eq!(host("[2001:DB8:0:0::1]").as_deref(), Some("[2001:db8::1]"));
    }

    #[test]
    fn what_ends_in_a_number_and_is_no_address_is_nothing() {
        for text in [
            "256.1.1.1",
            "1.2.3.4.5",
            "1.2.3.256",
            "09",
            "4294967296",
            "a.0x7f",
            "example.1",
            "1..1",
            "-1",
            "+1",
            "0x+1",
            "127.0.0.0x1ff",
        ] {
            let found = host(text);
            // `-1` is a label like any other, and none that the system would take for a number.
            assert!(found.is_none() || text == "-1" && found.as_deref() == Some("-1"), "{text}");
        }
    }

    #[test]
    fn names_are_in_lower_case_and_stay_as_they_are_otherwise() {
        assert_eq!(host("Example.ORG.").as_deref(), Some("example.org"));
        assert_eq!(host("xn--bcher-kva.example").as_deref(), Some("xn--bcher-kva.example"));
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "user@host",
            "b\u{fc}cher.example",
            "a:1",
            "fe80::1%lo",
            "[fe80::1%lo]",
            "[127.0.0.1]",
            "[",
            "[]",
            "*",
            "a\0b",
            "a.b..",
        ] {
            assert_eq!(host(text), None, "{text:?}");
        }
        assert_eq!(host(&"a".repeat(64)), None);
        assert_eq!(host(&["a"; 200].join(".")), None);
    }

    proptest! {
        #[test]
        fn what_is_understood_is_shown_so_that_it_means_the_same(text in "[0-9a-fA-Fx.:\\[\\]%-]{0,20}") {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert_eq!(host.to_string().parse::<Host>(), Ok(host));
            }
        }
    }
}
