//! TCP ports that a program may bind and connect to.

use crate::ranges;
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The most ports of one set: each is a rule of its own in the kernel.
const MOST: usize = 1024;

/// The word for a set without ports.
const NONE: &str = "none";

/// A set of TCP ports. Written `443,8000-8010`, or `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<RangeInclusive<u16>>);

/// A text that is no set of ports, or of too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePortSetError {
    /// It isn't written as one.
    #[error("is not a list of ports (write `443,8000-8010`, or `none`)")]
    Form,
    /// It has more ports than a set may have.
    #[error("has {0} ports, {MOST} at most (leave the key out for all)")]
    Many(usize),
}

impl PortSet {
    /// Every port of it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().cloned().flatten()
    }

    /// Whether a port is in it.
    pub fn has(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

impl FromStr for PortSet {
    type Err = ParsePortSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == NONE {
            return Ok(Self::default());
        }
        let joined = ranges::parse(text, u16::MAX).ok_or(ParsePortSetError::Form)?;
        let ports: usize = joined.iter().map(RangeInclusive::len).sum();
        if ports > MOST {
            return Err(ParsePortSetError::Many(ports));
        }
        Ok(Self(joined))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NONE);
        }
        ranges::write(&self.0, f)
    }
}

impl Serialize for PortSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which TCP ports a program may use; `None` is every one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TcpPorts {
    /// To listen on, as far as the program names one: what the kernel chooses for a socket that listens without is held by
    /// nothing.
    pub bind: Option<PortSet>,
    /// To connect to, whatever the address.
    pub connect: Option<PortSet>,
}

impl TcpPorts {
    /// Whether anything is forbidden.
    pub fn is_limited(&self) -> bool {
        self.bind.is_some() || self.connect.is_some()
    }

    /// Whether `wider` lets do with a port all that `narrower` lets.
    pub fn covers(wider: Option<&PortSet>, narrower: Option<&PortSet>) -> bool {
        match (wider, narrower) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wider), Some(narrower)) => narrower.iter().all(|port| wider.has(port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sets_are_shown_in_order_and_joined() {
        let same = [("443", "443"), ("9-8,1", ""), ("22,20-21,80", "20-22,80"), ("none", "none")];
        for (text, shown) in same {
            match text.parse::<PortSet>() {
                Ok(ports) => assert_eq!(ports.to_string(), shown),
                Err(_) => assert_eq!(shown, "", "{text}"),
            }
        }
        for wrong in ["", "all", "65536", "-1", "1-", "1,,2", "+5", " 1"] {
            assert!(matches!(wrong.parse::<PortSet>(), Err(ParsePortSetError::Form)), "{wrong}");
        }
        let many = "1-2000".parse::<PortSet>().unwrap_err().to_string();
        assert_eq!(many, "has 2000 ports, 1024 at most (leave the key out for all)");
    }

    proptest! {
        #[test]
        fn what_is_shown_means_the_same(ranges in prop::collection::vec((0u16.., 0u16..20), 1..20)) {
            let text: Vec<String> = ranges
                .iter()
                .map(|(first, more)| format!("{first}-{}", first.saturating_add(*more)))
                .collect();
            let ports: PortSet = text.join(",").parse().unwrap();
            prop_assert_eq!(ports.to_string().parse::<PortSet>().unwrap(), ports.clone());
            for (first, more) in ranges {
                prop_assert!(ports.has(first) && ports.has(first.saturating_add(more)));
            }
            prop_assert!(ports.iter().is_sorted());
        }

        #[test]
        fn no_text_is_too_wrong(text: String) {
            let _either = text.parse::<PortSet>();
        }
    }
}
