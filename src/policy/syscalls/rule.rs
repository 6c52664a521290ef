//! Rules about arguments, as they are written in a file.

use crate::platform::{ArgumentTest, Compare, SyscallRule};
use serde::Deserialize;

/// One rule: these calls are violations when all of `when` holds.
///
/// ```toml
/// [[syscalls.rules]]
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
    /// The plain rules, one for each call and each combination of bits of `any`.
    ///
    /// # Errors
    /// What is wrong with a test, in words for people.
    pub(crate) fn expand(&self) -> Result<Vec<SyscallRule>, String> {
        let alternatives = self.alternatives()?;
        let for_each = |name: &String| {
            let rule = |tests: &Vec<_>| SyscallRule { name: name.clone(), tests: tests.clone() };
            alternatives.iter().map(rule).collect::<Vec<_>>()
        };
        Ok(self.names.iter().flat_map(for_each).collect())
    }

    /// The lists of tests; the rule holds when all tests of one list hold.
    pub(super) fn alternatives(&self) -> Result<Vec<Vec<ArgumentTest>>, String> {
        let mut all = vec![Vec::new()];
        for test in &self.when {
            let bits = test.compares()?;
            let with = |before: &Vec<ArgumentTest>| {
                let before = before.clone();
                bits.iter()
                    .map(move |tests| [before.as_slice(), tests].concat())
                    .collect::<Vec<_>>()
            };
            all = all.iter().flat_map(with).collect();
        }
        Ok(all)
    }
}

impl TestFile {
    /// Alternatives, of each of which all tests must hold.
    fn compares(&self) -> Result<Vec<Vec<ArgumentTest>>, String> {
        if self.argument > 5 {
            return Err(format!(
                "there is no argument {}: they are counted from 0 to 5",
                self.argument
            ));
        }
        let widest = if self.wide { u64::MAX } else { u64::from(u32::MAX) };
        let test = |compare| ArgumentTest { index: self.argument, compare, wide: self.wide };
        let one = |compare| vec![vec![test(compare)]];
        let mut found = Vec::new();
        if let Some(value) = self.is {
            let compare = match self.mask {
                Some(mask) if value & !mask != 0 => {
                    return Err(format!(
                        "`is = {value:#x}` has bits that `mask = {mask:#x}` leaves out"
                    ));
                }
                Some(mask) => Compare::Masked { mask, value },
                None => Compare::Equal(value),
            };
            found.push((value, one(compare)));
        }
        if let Some(value) = self.is_not {
            found.push((value, one(Compare::NotEqual(value))));
        }
        if let Some(values) = &self.none_of {
            let all = values.iter().map(|&value| test(Compare::NotEqual(value))).collect();
            found.push((values.iter().copied().max().unwrap_or(0), vec![all]));
        }
        if let Some(mask) = self.has {
            found.push((mask, one(Compare::Masked { mask, value: mask })));
        }
        if let Some(mask) = self.any {
            let bits = (0..64).map(|bit| 1 << bit).filter(|bit| mask & bit != 0);
            let each = bits.map(|bit| vec![test(Compare::Masked { mask: bit, value: bit })]);
            found.push((mask, each.collect()));
        }
        if self.mask.is_some() && self.is.is_none() {
            return Err("`mask` goes with `is` only".to_owned());
        }
        match found.pop() {
            Some((value, _)) if value > widest => Err(format!(
                "`{value:#x}` is wider than 32 bits (write `wide = true` to look at all 64)"
            )),
            Some((_, alternatives)) if found.is_empty() => Ok(alternatives),
            _ => {
                Err("a test has exactly one of `is`, `is_not`, `none_of`, `has`, `any`".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(when: &str) -> Result<Vec<Vec<ArgumentTest>>, String> {
        let text = format!("names = [\"socket\"]\nwhen = {when}");
        toml::from_str::<RuleFile>(&text).unwrap().alternatives()
    }

    fn test(index: u8, compare: Compare) -> ArgumentTest {
        ArgumentTest { index, compare, wide: false }
    }

    #[test]
    fn bits_of_any_become_alternatives_and_combine() {
        let bit = |index, bit| test(index, Compare::Masked { mask: bit, value: bit });
        assert_eq!(
            rule("[{ argument = 1, any = 0x5 }, { argument = 2, any = 0o6000 }]").unwrap(),
            [
                [bit(1, 1), bit(2, 0o2000)],
                [bit(1, 1), bit(2, 0o4000)],
                [bit(1, 4), bit(2, 0o2000)],
                [bit(1, 4), bit(2, 0o4000)],
            ]
        );
    }

    #[test]
    fn none_of_is_one_list_of_tests() {
        assert_eq!(
            rule("[{ argument = 0, none_of = [1, 2] }]").unwrap(),
            [[test(0, Compare::NotEqual(1)), test(0, Compare::NotEqual(2))]]
        );
    }

    #[test]
    fn a_rule_is_made_for_each_call() {
        let text = "names = [\"chmod\", \"fchmod\"]\nwhen = [{ argument = 1, has = 0o4000 }]";
        let rules = toml::from_str::<RuleFile>(text).unwrap().expand().unwrap();
        let tests = vec![test(1, Compare::Masked { mask: 0o4000, value: 0o4000 })];
        let rule = |name: &str| SyscallRule { name: name.to_owned(), tests: tests.clone() };
        assert_eq!(rules, [rule("chmod"), rule("fchmod")]);
    }

    #[test]
    fn a_rule_without_tests_always_holds() {
        assert_eq!(rule("[]").unwrap(), [[]]);
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
