//! What a filtered network lets out: one entry of `network.allow`.

use super::{Host, ParseNetworkError, port};
use ipnet::IpNet;
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One entry: whom, and which ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllowRule {
    /// Whom.
    pub target: Target,
    /// Which of its ports.
    pub ports: Ports,
}

/// Whom a rule allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The host of this name.
    Name(String),
    /// All names below this one, and not the name itself.
    Below(String),
    /// Addresses.
    Network(IpNet),
}

/// Which ports a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// 80 and 443: what an entry without a port means.
    Web,
    /// This one.
    One(u16),
    /// All of them.
    Any,
}

impl AllowRule {
    /// The rule for one port of one host.
    pub fn exactly(host: &Host, port: u16) -> Self {
        let target = match host {
            Host::Name(name) => Target::Name(name.clone()),
            Host::Address(address) => Target::Network(IpNet::from(*address)),
        };
        Self { target, ports: Ports::One(port) }
    }
}

impl Target {
    /// Whether it is about this host. A name is never about an address, nor the other way round.
    pub fn covers(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Name(own), Host::Name(name)) => own == name,
            (Self::Below(own), Host::Name(name)) => {
                name.strip_suffix(own.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (Self::Network(network), Host::Address(address)) => network.contains(address),
            _ => false,
        }
    }
}

impl Ports {
    /// Whether this port is one of them.
    pub fn has(self, port: u16) -> bool {
        match self {
            Self::Web => matches!(port, 80 | 443),
            Self::One(own) => own == port,
            Self::Any => true,
        }
    }
}

impl FromStr for AllowRule {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (target, rest) = split(text)?;
        let ports = match rest {
            None => Ports::Web,
            Some("*") => Ports::Any,
            Some(text) => Ports::One(port(text)?),
        };
        Ok(Self { target: self::target(target)?, ports })
    }
}

/// The host and the text after the colon, if there is one. Brackets stay, but around a network's address.
fn split(text: &str) -> Result<(&str, Option<&str>), ParseNetworkError> {
    let Some(end) = text.starts_with('[').then(|| text.find(']')).flatten() else {
        return match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => Err(ParseNetworkError::new(
                "must have its IPv6 address in brackets (write `[2001:db8::1]:443`)",
            )),
            Some((host, rest)) => Ok((host, Some(rest))),
            None => Ok((text, None)),
        };
    };
    let (host, rest) = text.split_at(end + 1);
    match rest.strip_prefix(':') {
        None if !rest.is_empty() => {
            Err(ParseNetworkError::new("has something else than a port after the `]`"))
        }
        port => Ok((host, port)),
    }
}

fn target(text: &str) -> Result<Target, ParseNetworkError> {
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if plain.contains('/') {
        return network(plain).map(Target::Network);
    }
    if let Some(below) = text.strip_prefix("*.") {
        return match below.parse() {
            Ok(Host::Name(name)) => Ok(Target::Below(name)),
            Ok(Host::Address(_)) => Err(ParseNetworkError::new(
                "has a `*` before an address (write a network such as `10.0.0.0/8`)",
            )),
            Err(error) => Err(error),
        };
    }
    match text {
        "*" => Err(ParseNetworkError::new(
            "would allow everything (name what is needed, such as `*.example.org`)",
        )),
        "none" => Err(ParseNetworkError::new("is no host (an empty list, `[]`, allows nothing)")),
        _ if text.contains('*') => Err(ParseNetworkError::new(
            "has a `*` that isn't the whole first part (write `*.example.org`)",
        )),
        _ => match text.parse()? {
            Host::Name(name) => Ok(Target::Name(name)),
            // A rule is to be read by people.
            Host::Address(address) if plain.parse() != Ok(address) => Err(ParseNetworkError::new(
                format!("is an address in another notation (write `{}`)", Host::Address(address)),
            )),
            Host::Address(address) => Ok(Target::Network(address.into())),
        },
    }
}

fn network(text: &str) -> Result<IpNet, ParseNetworkError> {
    let wrong = |_| ParseNetworkError::new("is no network (write `10.0.0.0/8`)");
    let network: IpNet = text.parse().map_err(wrong)?;
    let shown = |network: IpNet| Target::Network(network).to_string();
    if network.addr() != network.network() {
        let message = format!(
            "has an address with more bits than its network (write `{}`)",
            shown(network.trunc())
        );
        return Err(ParseNetworkError::new(message));
    }
    // Addresses are compared as what they are, so this one would never match.
    match network.addr() {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(ParseNetworkError::new(
            "is a network of IPv4 inside of IPv6 (write it as one of IPv4)",
        )),
        _ => Ok(network),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                Host::from(network.addr()).fmt(f)
            }
            Self::Network(network @ IpNet::V4(_)) => network.fmt(f),
            Self::Network(network @ IpNet::V6(_)) => write!(f, "[{network}]"),
        }
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)?;
        match self.ports {
            Ports::Web => Ok(()),
            Ports::One(port) => write!(f, ":{port}"),
            Ports::Any => f.write_str(":*"),
        }
    }
}

impl Serialize for AllowRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_shown_the_same() {
        for text in [
            "example.org",
            "example.org:443",
            "example.org:*",
            "*.example.org",
            "*.example.org:8080",
            "10.0.0.0/8",
            "10.0.0.0/8:5432",
            "192.0.2.1",
            "192.0.2.1:80",
            "[2001:db8::1]",
            "[2001:db8::1]:80",
            "[2001:db8::/32]:443",
            "localhost:8000",
            "0.0.0.0/0:443",
        ] {
            assert_eq!(text.parse::<AllowRule>().unwrap().to_string(), text);
        }
        assert_eq!("Example.ORG.:80".parse::<AllowRule>().unwrap().to_string(), "example.org:80");
    }

    #[test]
    fn what_could_be_meant_otherwise_is_no_rule() {
        let told = |text: &str| format!("{text}: {}", text.parse::<AllowRule>().unwrap_err());
        let rows = [
            "",
            "*",
            "*:443",
            "none",
            "a*.example.org",
            "*.*.org",
            "*.10.0.0.1",
            "example.org:0",
            "example.org:+1",
            "example.org:65536",
            "example.org:",
            "2001:db8::1",
            "[2001:db8::1]443",
            "[2001:db8::1",
            "10.1.2.3/8",
            "10.0.0.0/33",
            "[::ffff:10.0.0.0/104]",
            "0x7f.1",
            "http://example.org",
            "user@example.org",
            "256.1.1.1",
        ];
        insta_like(&rows.map(told));
    }

    /// Every row is told with a reason, and none twice with the same text.
    fn insta_like(rows: &[String]) {
        for row in rows {
            assert!(!row.ends_with(": "), "{row}");
        }
        assert!(rows.iter().any(|row| row.ends_with("(write `10.0.0.0/8`)")));
        assert!(rows.iter().any(|row| row.contains("(write `127.0.0.1`)")));
    }

    #[test]
    fn a_wildcard_is_for_what_is_below_and_an_entry_without_a_port_for_the_web() {
        let covers = |rule: &str, host: &str| {
            rule.parse::<AllowRule>().unwrap().target.covers(&host.parse().unwrap())
        };
        assert!(
            covers("*.example.org", "a.example.org") && covers("*.example.org", "a.b.example.org")
        );
        for other in ["example.org", "badexample.org", "example.org.evil.net"] {
            assert!(!covers("*.example.org", other), "{other}");
        }
        assert!(!covers("example.org", "a.example.org"));
        assert!(covers("10.0.0.0/8", "10.1.2.3") && covers("10.0.0.0/8", "[::ffff:10.0.0.1]"));
        assert!(!covers("10.0.0.0/8", "11.0.0.1"));
        let ports = "example.org".parse::<AllowRule>().unwrap().ports;
        assert!(ports.has(80) && ports.has(443) && !ports.has(8080));
    }

    proptest! {
        #[test]
        fn what_is_understood_is_shown_so_that_it_means_the_same(text in "[0-9a-fx.:*/\\[\\]-]{0,24}") {
            if let Ok(rule) = text.parse::<AllowRule>() {
                prop_assert_eq!(rule.to_string().parse::<AllowRule>(), Ok(rule));
            }
        }
    }
}
