//! A limit on what a tree reads and writes below a path.

use crate::plan::readable;
use crate::{Bytes, ParseUnitError};
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Rates for the disk that a path's files are on. `None` is "no limit".
///
/// Two limits whose paths are on one disk add up to the stricter of each rate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IoLimit {
    /// An absolute path on the host; its disk is what is limited, so other paths on that disk are too.
    #[serde(serialize_with = "path")]
    pub path: PathBuf,
    /// Bytes read per second.
    pub read: Option<Rate>,
    /// Bytes written per second.
    pub write: Option<Rate>,
    /// Reads per second.
    pub read_iops: Option<u32>,
    /// Writes per second.
    pub write_iops: Option<u32>,
}

impl IoLimit {
    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        self.read.is_none() && self.read_iops.is_none() && !self.limits_writes()
    }

    /// Whether it limits what is written.
    pub fn limits_writes(&self) -> bool {
        self.write.is_some() || self.write_iops.is_some()
    }
}

/// As it is typed on a command line: `path=/data,read=50MiB/s,write_iops=200`.
impl fmt::Display for IoLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path={}", readable(self.path.as_os_str()))?;
        for (name, rate) in [("read", self.read), ("write", self.write)] {
            if let Some(rate) = rate {
                write!(f, ",{name}={rate}")?;
            }
        }
        for (name, number) in [("read_iops", self.read_iops), ("write_iops", self.write_iops)] {
            if let Some(number) = number {
                write!(f, ",{name}={number}")?;
            }
        }
        Ok(())
    }
}

/// Bytes per second. Written as a size with `/s`: `50MiB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub Bytes);

impl FromStr for Rate {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let size = text.strip_suffix("/s").and_then(|size| size.parse().ok());
        size.map(Self).ok_or_else(|| ParseUnitError::new(text, "a rate", "`50MiB/s`"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&readable(path.as_os_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_sizes_per_second_and_come_back_as_written() {
        assert_eq!("50MiB/s".parse(), Ok(Rate(Bytes::mib(50))));
        assert_eq!(Rate(Bytes::mib(50)).to_string(), "50MiB/s");
        for wrong in ["50MiB", "50/s", "MiB/s", "/s", "50 MiB/m", "-1MiB/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_shown_as_it_is_typed() {
        let limit = IoLimit {
            path: "/data".into(),
            read: Some(Rate(Bytes::mib(1))),
            write_iops: Some(200),
            ..IoLimit::default()
        };
        assert_eq!(limit.to_string(), "path=/data,read=1MiB/s,write_iops=200");
        assert!(limit.limits_writes() && !limit.is_unlimited());
        assert!(IoLimit::default().is_unlimited());
    }
}
