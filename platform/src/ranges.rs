//! Sets of numbers as ranges, in the kernel's words (cpuset(7), "List format"): `0-3,8`.

use std::fmt;
use std::ops::RangeInclusive;

/// The ranges of a text, ascending, each apart from the next; `None` when it is no list of numbers up to `highest`.
pub(crate) fn parse(text: &str, highest: u16) -> Option<Vec<RangeInclusive<u16>>> {
    let one = |part: &str| {
        let plain = part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u16>().ok().filter(|number| plain && *number <= highest)
    };
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(one(first)?..=one(last)?).filter(|range| !range.is_empty())
    };
    let mut ranges: Vec<_> = text.split(',').map(range).collect::<Option<_>>()?;
    ranges.sort_by_key(|range| *range.start());
    let mut joined: Vec<RangeInclusive<u16>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => joined.push(range),
        }
    }
    Some(joined)
}

/// Writes them back.
pub(crate) fn write(ranges: &[RangeInclusive<u16>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (place, range) in ranges.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        match (range.start(), range.end()) {
            (first, last) if first == last => write!(f, "{comma}{first}")?,
            (first, last) => write!(f, "{comma}{first}-{last}")?,
        }
    }
    Ok(())
}
