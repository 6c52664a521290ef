//! Sets of CPUs or memory nodes, as the kernel writes them.

use crate::ranges;
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The highest number that any kernel knows: `CONFIG_NR_CPUS` ends at 8192.
const HIGHEST: u16 = 8191;

/// A set of CPUs or memory nodes that isn't empty. Written as the kernel does (cpuset(7), "List format"): `0-3,8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdSet(Vec<RangeInclusive<u16>>);

/// A text that is no list of numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a list of numbers (write `0-3,8`)")]
pub struct ParseIdSetError(String);

impl IdSet {
    /// Every number of it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().cloned().flatten()
    }

    /// Whether all of `other` is in it.
    pub fn has(&self, other: &Self) -> bool {
        let inside = |part: &RangeInclusive<u16>| {
            self.0.iter().any(|own| own.start() <= part.start() && part.end() <= own.end())
        };
        other.0.iter().all(inside)
    }
}

impl FromStr for IdSet {
    type Err = ParseIdSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ranges::parse(text, HIGHEST).map(Self).ok_or_else(|| ParseIdSetError(text.into()))
    }
}

impl fmt::Display for IdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ranges::write(&self.0, f)
    }
}

impl Serialize for IdSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_read_in_any_order_and_written_in_the_shortest_form() {
        for (text, shown) in
            [("0", "0"), ("3,1,2", "1-3"), ("0-3,2-5,8", "0-5,8"), ("7-7", "7"), ("0,1", "0-1")]
        {
            assert_eq!(text.parse::<IdSet>().unwrap().to_string(), shown, "{text}");
        }
        for wrong in ["", "-", "a", "3-1", "1,", ",1", "1-", "+1", "8192", "1 2", "0-3,x", "-1"] {
            assert!(wrong.parse::<IdSet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_set_is_inside_another_or_not() {
        let set = |text: &str| text.parse::<IdSet>().unwrap();
        assert!(set("0-3,8").has(&set("1-2,8")));
        assert!(!set("0-3").has(&set("3-4")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same_set(numbers in prop::collection::btree_set(0u16..200, 1..40)) {
            let text = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let set: IdSet = text.parse().unwrap();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), numbers.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(set.to_string().parse::<IdSet>().unwrap(), set);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9,\\-a ]{0,20}") {
            let read = text.parse::<IdSet>();
            prop_assert!(read.is_err() || !text.is_empty());
        }
    }
}
