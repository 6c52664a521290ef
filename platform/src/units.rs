//! Quantities as people write them: sizes, cores, durations.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A text that is not the quantity asked for; the message says how to write it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what} (write {example})")]
pub struct ParseUnitError {
    text: String,
    what: &'static str,
    example: &'static str,
}

impl ParseUnitError {
    pub(crate) fn new(text: &str, what: &'static str, example: &'static str) -> Self {
        Self { text: text.into(), what, example }
    }
}

/// A size in bytes. Written with binary units: `512MiB`, `1.5GiB`, `64KiB`, `100B`.
///
/// A bare number and decimal units are refused: `512` or `512MB` leave open what is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

/// The most that is understood: far above any machine, and, being a whole number of the largest unit, the most that can be
/// shown too, with what is rounded for people.
const MOST: u64 = 8_000_000 << 40;

const SIZE_UNITS: &[(&str, u64)] =
    &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];

impl Bytes {
    /// `n` mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` gibibytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
}

impl FromStr for Bytes {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseUnitError { text: text.into(), what: "a size", example: "`512MiB`" };
        let (number, factor) = SIZE_UNITS
            .iter()
            .find_map(|(unit, factor)| {
                text.strip_suffix(unit).map(|number| (number.trim_end(), *factor))
            })
            .ok_or_else(error)?;
        scaled(number, factor).filter(|size| *size <= MOST).map(Bytes).ok_or_else(error)
    }
}

/// `number` x `factor`, exactly for whole numbers, rounded down for fractions; `None` when it isn't a plain
/// non-negative number or doesn't fit.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).filter(|_| !number.starts_with('+'));
    }
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value = number.parse::<f64>().ok().filter(|_| plain)? * factor as f64;
    // 2^63 is far above any size or time that makes sense and is exactly representable.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "range checked here"
    )]
    (0.0..9.2e18).contains(&value).then_some(value as u64)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in
            [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
            if self.0 >= factor {
                return write!(f, "{:.1}{unit}", self.0 as f64 / factor as f64);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// An amount of CPU in thousandths of a core. Written as a number of cores: `1.5`, `0.25`, `2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cores(u32);

impl Cores {
    /// From thousandths of a core; `None` below 10 (the kernel's smallest quota) or above 1,000,000.
    pub const fn from_millis(millis: u32) -> Option<Self> {
        if millis >= 10 && millis <= 1_000_000 { Some(Self(millis)) } else { None }
    }

    /// Thousandths of a core.
    pub const fn millis(self) -> u32 {
        self.0
    }

    /// From a number of cores, rounded to thousandths.
    pub fn from_f64(cores: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "range checked here"
        )]
        (0.01..=1000.0).contains(&cores).then(|| Self((cores * 1000.0).round() as u32))
    }
}

impl FromStr for Cores {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::from_f64).ok_or_else(|| ParseUnitError {
            text: text.into(),
            what: "a number of cores from 0.01 to 1000",
            example: "`1.5`",
        })
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

impl Serialize for Cores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

/// Reads a duration: one or more of `90ms`, `30s`, `5m`, `2h`, `1d`, as in `1h30m`.
///
/// # Errors
/// When the text is anything else, or more than 290 years; a bare number has no unit and is refused.
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    let error = || ParseUnitError {
        text: text.into(),
        what: "a duration",
        example: "`30s`, `500ms` or `1h30m`",
    };
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let nanos = match unit {
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "d" => 86_400 * 1_000_000_000,
            _ => return Err(error()),
        };
        let part = scaled(number, nanos).ok_or_else(error)?;
        total = total.checked_add(Duration::from_nanos(part)).ok_or_else(error)?;
        rest = tail;
    }
    // Clocks can't add much more to the time that they show, and one part alone can't say it.
    let longest = Duration::from_secs(290 * 365 * 86_400);
    if text.is_empty() || total > longest { Err(error()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_binary_unit() {
        assert_eq!("512MiB".parse(), Ok(Bytes::mib(512)));
        assert_eq!("1.5GiB".parse(), Ok(Bytes::mib(1536)));
        assert_eq!("0B".parse(), Ok(Bytes(0)));
        for wrong in [
            "512",
            "512MB",
            "512 megs",
            "-1MiB",
            "+1MiB",
            "",
            "MiB",
            "nanMiB",
            "1e3MiB",
            "99999999999TiB",
        ] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_print_as_they_are_written() {
        assert_eq!(Bytes::mib(256).to_string(), "256MiB");
        assert_eq!(Bytes(1536 << 10).to_string(), "1.5MiB");
        assert_eq!(Bytes(7).to_string(), "7B");
    }

    #[test]
    fn durations_add_up_and_need_a_unit() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["30", "", "s", "5 s", "-1s", "1w", "1s2"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cores_have_a_range() {
        assert_eq!("1.5".parse::<Cores>().map(Cores::millis), Ok(1500));
        for wrong in ["0", "-1", "1001", "NaN", "many", "inf"] {
            assert!(wrong.parse::<Cores>().is_err(), "{wrong}");
        }
    }
}
