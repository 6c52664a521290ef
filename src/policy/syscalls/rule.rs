//! Rules about arguments, as they are written in `policies/syscalls/default.toml`.

use crate::platform::{ArgumentTest, Compare};
use serde::Deserialize;

/// One rule: these calls are violations when all of `when` holds.
///
/// ```toml
/// [[rule]]
/// why = "only ROUTE"
/// names = ["socket"]
/// when = [{ argument = 0, is = 16 }, { argument = 2, is_not = 0 }]
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFile {
    /// The reason, for people.
    #[serde(default)]
    pub(crate) why: String,
    /// The calls.
    pub(crate) names: Vec<String>,
    /// Tests that must all hold.
    #[serde(default)]
    pub(crate) when: Vec<TestFile>,
}

/// A test of one argument: exactly one of `is`, `is_not`, `none_of`, `has`, `any`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestFile {
    /// Which argument, from 0 to 5.
    pub(crate) argument: u8,
    /// Equal to this value, after `mask` if there is one.
    pub(crate) is: Option<u64>,
    /// Bits that count for `is`.
    pub(crate) mask: Option<u64>,
    /// Different from this value.
    pub(crate) is_not: Option<u64>,
    /// Different from each of these values.
    pub(crate) none_of: Option<Vec<u64>>,
    /// All these bits are set.
    pub(crate) has: Option<u64>,
    /// At least one of these bits is set.
    pub(crate) any: Option<u64>,
    /// Whether all 64 bits count, instead of the low 32.
    #[serde(default)]
    pub(crate) wide: bool,
}

impl RuleFile {
    /// The tests, all of which must hold.
    pub(super) fn tests(&self) -> Result<Vec<ArgumentTest>, String> {
        let tests: Vec<_> = self.when.iter().map(TestFile::tests).collect::<Result<_, _>>()?;
        Ok(tests.concat())
    }
}

impl TestFile {
    /// The plain tests: several for `none_of`.
    fn tests(&self) -> Result<Vec<ArgumentTest>, String> {
        if self.argument > 5 {
            let argument = self.argument;
            return Err(format!("there is no argument {argument}: they are counted from 0 to 5"));
        }
        let compares = self.compares()?;
        let values = compares.iter().map(|compare| match *compare {
            Compare::Equal(value) | Compare::NotEqual(value) | Compare::Any(value) => value,
            Compare::Masked { mask, value } => mask | value,
        });
        let widest = values.max().unwrap_or(0);
        if !self.wide && widest > u64::from(u32::MAX) {
            return Err(format!(
                "`{widest:#x}` is wider than 32 bits (write `wide = true` to look at all 64)"
            ));
        }
        let test = |compare| ArgumentTest { index: self.argument, compare, wide: self.wide };
        Ok(compares.into_iter().map(test).collect())
    }

    fn compares(&self) -> Result<Vec<Compare>, String> {
        match (self.is, self.mask, self.is_not, &self.none_of, self.has, self.any) {
            (Some(value), None, None, None, None, None) => Ok(vec![Compare::Equal(value)]),
            (Some(value), Some(mask), None, None, None, None) if value & !mask != 0 => {
                Err(format!("`is = {value:#x}` has bits that `mask = {mask:#x}` leaves out"))
            }
            (Some(value), Some(mask), None, None, None, None) => {
                Ok(vec![Compare::Masked { mask, value }])
            }
            (None, None, Some(value), None, None, None) => Ok(vec![Compare::NotEqual(value)]),
            (None, None, None, Some(values), None, None) => {
                Ok(values.iter().copied().map(Compare::NotEqual).collect())
            }
            (None, None, None, None, Some(mask), None) => {
                Ok(vec![Compare::Masked { mask, value: mask }])
            }
            (None, None, None, None, None, Some(mask)) => Ok(vec![Compare::Any(mask)]),
            (None, Some(_), ..) => Err("`mask` goes with `is` only".to_owned()),
            _ => {
                Err("a test has exactly one of `is`, `is_not`, `none_of`, `has`, `any`".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(when: &str) -> Result<Vec<ArgumentTest>, String> {
        let text = format!("names = [\"socket\"]\nwhen = {when}");
        toml::from_str::<RuleFile>(&text).unwrap().tests()
    }

    fn test(index: u8, compare: Compare) -> ArgumentTest {
        ArgumentTest { index, compare, wide: false }
    }

    #[test]
    fn each_word_is_a_test() {
        let masked = |mask, value| Compare::Masked { mask, value };
        assert_eq!(
            rule("[{ argument = 1, any = 0x5 }, { argument = 2, has = 0o6000 }]").unwrap(),
            [test(1, Compare::Any(5)), test(2, masked(0o6000, 0o6000))]
        );
        assert_eq!(
            rule("[{ argument = 1, mask = 0xf, is = 5 }, { argument = 0, is_not = 1 }]").unwrap(),
            [test(1, masked(0xf, 5)), test(0, Compare::NotEqual(1))]
        );
    }

    #[test]
    fn none_of_is_one_test_for_each_value() {
        assert_eq!(
            rule("[{ argument = 0, none_of = [1, 2] }]").unwrap(),
            [test(0, Compare::NotEqual(1)), test(0, Compare::NotEqual(2))]
        );
    }

    #[test]
    fn a_rule_without_tests_always_holds() {
        assert_eq!(rule("[]").unwrap(), []);
    }

    #[test]
    fn mistakes_are_told() {
        let told = |when| rule(when).unwrap_err();
        assert_eq!(
            told("[{ argument = 6, is = 1 }]"),
            "there is no argument 6: they are counted from 0 to 5"
        );
        assert_eq!(
            told("[{ argument = 0 }]"),
            "a test has exactly one of `is`, `is_not`, `none_of`, `has`, `any`"
        );
        assert_eq!(
            told("[{ argument = 0, is = 1, has = 1 }]"),
            "a test has exactly one of `is`, `is_not`, `none_of`, `has`, `any`"
        );
        assert_eq!(told("[{ argument = 0, mask = 1, has = 1 }]"), "`mask` goes with `is` only");
        assert_eq!(
            told("[{ argument = 0, mask = 0xf, is = 0x10 }]"),
            "`is = 0x10` has bits that `mask = 0xf` leaves out"
        );
        assert_eq!(
            told("[{ argument = 0, is = 0x1_0000_0000 }]"),
            "`0x100000000` is wider than 32 bits (write `wide = true` to look at all 64)"
        );
    }
}
