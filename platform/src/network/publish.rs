//! What a filtered network lets in: one entry of `network.publish`.

use super::{ParseNetworkError, port};
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// A port of the host that leads to one inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Publish {
    /// Where the host listens. Without an address in the entry that is its loopback interface: whoever wants the rest of the
    /// world to come in says so.
    pub outside: SocketAddr,
    /// The port of the loopback interface inside.
    pub inside: u16,
}

impl FromStr for Publish {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || {
            ParseNetworkError::new(
                "doesn't say where and to which port (write `8080:80` or `0.0.0.0:8080:80`)",
            )
        };
        let (outside, inside) = text.rsplit_once(':').ok_or_else(shape)?;
        let inside = port(inside)?;
        let outside = match outside.rsplit_once(':') {
            None => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port(outside)?),
            Some((address, outside)) => {
                let bare = address.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                let address = match bare {
                    Some(bare) => bare.parse().map(IpAddr::V6),
                    None => address.parse().map(IpAddr::V4),
                };
                let address = address.map_err(|_| ParseNetworkError::new("has no address of this host (write `127.0.0.1:8080:80` or `[::1]:8080:80`)"))?;
                SocketAddr::new(address, port(outside)?)
            }
        };
        Ok(Self { outside, inside })
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.outside, self.inside)
    }
}

impl Serialize for Publish {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_an_address_is_published_to_this_host_alone() {
        for (text, shown) in [
            ("8080:80", "127.0.0.1:8080:80"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080:80"),
            ("[::1]:1:65535", "[::1]:1:65535"),
        ] {
            assert_eq!(text.parse::<Publish>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "80",
            "80:",
            ":80",
            "0:80",
            "80:0",
            "a:80:80",
            "::1:80:80",
            "80:80/udp",
            "[1.2.3.4]:1:1",
        ] {
            assert!(text.parse::<Publish>().is_err(), "{text}");
        }
    }
}
