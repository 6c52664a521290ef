//! Moments that people and other programs see.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::time::Duration;

/// A moment, in milliseconds since 1970. Shown in UTC, as RFC 3339 has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub(super) i64);

impl Time {
    /// This moment.
    pub fn now() -> Self {
        Self(Timestamp::now().as_millisecond())
    }

    /// So much later; as late as can be where that has no name.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let later = self.0.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        Self(later.min(Timestamp::MAX.as_millisecond()))
    }

    /// Reads one, as RFC 3339 has it.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Timestamp>().ok().map(|at| Self(at.as_millisecond()))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Timestamp::from_millisecond(self.0).unwrap_or_default().fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("it is no moment"))
    }
}
