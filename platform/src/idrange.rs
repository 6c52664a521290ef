//! Ranges of users' and groups' numbers.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Numbers of users and groups of the host, written `200000-265535`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    first: u32,
    last: u32,
}

/// A text that is no such range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdRangeError {
    /// Not two numbers, the second no less than the first.
    #[error("is not a range of numbers (write `200000-265535`)")]
    Form,
    /// It begins among those that systems and people have.
    #[error("has numbers of the system's and of people's accounts (begin at 65536 or above)")]
    Low,
    /// It ends among those that some programs take for negative ones.
    #[error("has numbers that some programs take for negative ones (end at 2147483647 or below)")]
    High,
}

impl IdRange {
    /// The lowest that may be given to sandboxes. Below are the system's accounts, people's (login.defs(5), `UID_MAX`), the
    /// dynamic ones of service managers, and `nobody`.
    pub const LOWEST: u32 = 0x1_0000;
    /// The highest that is positive in every program.
    pub const HIGHEST: u32 = 0x7fff_ffff;

    /// From `first` on, so many; nothing where there are none, or not so many numbers.
    pub fn starting(first: u32, count: u32) -> Option<Self> {
        Some(Self { first, last: first.checked_add(count.checked_sub(1)?)? })
    }

    /// The first number of it.
    pub fn first(self) -> u32 {
        self.first
    }

    /// The last number of it.
    pub fn last(self) -> u32 {
        self.last
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether a number is in both.
    pub fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// What is in both.
    pub fn within(self, other: Self) -> Option<Self> {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        self.meets(other).then_some(both)
    }
}

impl FromStr for IdRange {
    type Err = ParseIdRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |word: &str| {
            let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            word.parse::<u32>().ok().filter(|_| plain).ok_or(ParseIdRangeError::Form)
        };
        let (first, last) = text.split_once('-').ok_or(ParseIdRangeError::Form)?;
        let (first, last) = (number(first)?, number(last)?);
        match (first, last) {
            _ if first > last => Err(ParseIdRangeError::Form),
            (..Self::LOWEST, _) => Err(ParseIdRangeError::Low),
            (_, last) if last > Self::HIGHEST => Err(ParseIdRangeError::High),
            _ => Ok(Self { first, last }),
        }
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Serialize for IdRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_numbers_above_those_of_accounts() {
        let range: IdRange = "200000-265535".parse().unwrap();
        assert_eq!((range.first(), range.last(), range.count()), (200_000, 265_535, 65_536));
        assert_eq!(range.to_string(), "200000-265535");
        for (text, error) in [
            ("200000", ParseIdRangeError::Form),
            ("200001-200000", ParseIdRangeError::Form),
            ("+70000-80000", ParseIdRangeError::Form),
            ("70000-4294967296", ParseIdRangeError::Form),
            ("1000-2000", ParseIdRangeError::Low),
            ("65535-70000", ParseIdRangeError::Low),
            ("70000-2147483648", ParseIdRangeError::High),
        ] {
            assert_eq!(text.parse::<IdRange>(), Err(error), "{text}");
        }
    }

    #[test]
    fn what_two_ranges_share() {
        let range = |first, count| IdRange::starting(first, count).unwrap();
        assert_eq!(range(100, 10).within(range(105, 10)), Some(range(105, 5)));
        assert_eq!(range(100, 10).within(range(110, 10)), None);
        assert!(range(100, 10).meets(range(109, 1)) && !range(100, 10).meets(range(110, 1)));
        assert_eq!(IdRange::starting(1, 0), None);
        assert_eq!(IdRange::starting(u32::MAX, 2), None);
    }
}
