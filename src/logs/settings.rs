//! How the lines of a service are kept.

use super::format::Format;
use super::record::Level;
use super::targets::Target;
use crate::platform::Bytes;
use regex::Regex;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where the lines of a service are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// In files.
    #[default]
    File,
    /// Nowhere.
    None,
}

/// How the lines of a service are kept.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Logging {
    /// Where.
    pub driver: Driver,
    /// Where they are sent to from there: names of the stack's `log_targets`.
    pub targets: Vec<String>,
    /// What those names stand for.
    pub sinks: BTreeMap<String, Target>,
    /// How much of them.
    pub rotation: Rotation,
    /// How many at once.
    pub rate_limit: RateLimit,
    /// What a line looks like.
    pub format: Format,
    /// Of which only those are kept that match one of these, where there are any.
    pub include: Vec<Regex>,
    /// Of which those aren't kept that match one of these.
    pub exclude: Vec<Regex>,
    /// Of which only those are kept that are as grave as this, or say nothing of that.
    pub level: Option<Level>,
}

impl Logging {
    /// Whether another one means the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let texts = |patterns: &[Regex]| -> Vec<String> {
            patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()
        };
        let Self { driver, targets, sinks, rotation, rate_limit, format, include, exclude, level } =
            self;
        *driver == other.driver
            && *targets == other.targets
            && *sinks == other.sinks
            && *rotation == other.rotation
            && *rate_limit == other.rate_limit
            && *format == other.format
            && texts(include) == texts(&other.include)
            && texts(exclude) == texts(&other.exclude)
            && *level == other.level
    }
}

/// When a file is followed by a new one, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The most that a file holds.
    pub max_size: Bytes,
    /// The most files, with the one that is being written.
    pub max_files: u32,
    /// How long a file is written.
    pub max_age: Option<Duration>,
    /// Whether files that aren't written any more are compressed.
    pub compress: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_size: Bytes::mib(10), max_files: 5, max_age: None, compress: true }
    }
}

/// How much is kept in a time; what goes beyond is counted, and that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Lines; `None` for any number.
    pub lines: Option<u32>,
    /// Bytes; `None` for any number.
    pub bytes: Option<Bytes>,
    /// In which time.
    pub per: Duration,
    /// So many lines at once after a quiet time, where that isn't `lines`.
    pub burst: Option<u32>,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { lines: None, bytes: None, per: Duration::from_secs(1), burst: None }
    }
}
