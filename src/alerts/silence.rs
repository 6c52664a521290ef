//! Silences: alerts that nobody is told of for a while. Pure.

use super::Time;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// No more than this at once.
pub(super) const MOST: usize = 1000;

/// The longest name, value or reason, in bytes.
const LONGEST: usize = 1000;

/// A pattern that becomes larger than this is refused.
const LARGEST_PATTERN: usize = 1 << 20;

/// A silence: alerts that all its matchers fit aren't told while it lasts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Silence {
    /// Its number.
    pub id: u64,
    /// Which alerts.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub from: Time,
    /// Until when.
    pub until: Time,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub by: String,
}

impl Silence {
    /// Whether an alert with these labels isn't told now.
    pub(super) fn is_about(&self, labels: &BTreeMap<String, String>, now: Time) -> bool {
        now < self.until && self.matchers.iter().all(|matcher| matcher.fits(labels))
    }
}

/// What a label of an alert must be; a label that isn't there is empty. Written `name=value`, or `name=~pattern` with a regular
/// expression for the whole value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Matcher {
    name: String,
    value: String,
    pattern: Option<Regex>,
}

/// The form that is shown and written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
}

impl Matcher {
    /// One that a label of this name and value fits.
    ///
    /// # Errors
    /// When the name is none, or the pattern can't be one.
    pub fn new(name: &str, value: &str, is_regex: bool) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.len() > LONGEST || !name.chars().all(plain) {
            return Err(format!("`{}` is no name of a label", name.escape_default()));
        }
        if value.len() > LONGEST || value.chars().any(char::is_control) {
            return Err(format!("`{name}` can't be that: it is too long, or not one line"));
        }
        let pattern = is_regex.then(|| {
            RegexBuilder::new(&format!("^(?:{value})$")).size_limit(LARGEST_PATTERN).build()
        });
        let pattern = pattern.transpose().map_err(|_| {
            format!("`{}` is no regular expression, or too large a one", value.escape_default())
        })?;
        Ok(Self { name: name.to_owned(), value: value.to_owned(), pattern })
    }

    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.takes(labels.get(&self.name).map_or("", String::as_str))
    }

    fn takes(&self, value: &str) -> bool {
        self.pattern.as_ref().map_or(value == self.value, |pattern| pattern.is_match(value))
    }
}

impl TryFrom<Written> for Matcher {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        Self::new(&written.name, &written.value, written.is_regex)
    }
}

impl From<Matcher> for Written {
    fn from(it: Matcher) -> Self {
        Self { name: it.name, value: it.value, is_regex: it.pattern.is_some() }
    }
}

impl FromStr for Matcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| "it is no matcher (write `alertname=web-down`)".to_owned())?;
        match value.strip_prefix('~') {
            Some(pattern) => Self::new(name, pattern, true),
            None => Self::new(name, value, false),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.pattern.is_some() { "=~" } else { "=" };
        write!(f, "{}{sign}{}", self.name, self.value)
    }
}

/// What is wrong with a silence that somebody wants; nothing where it is well.
pub(super) fn wrong(
    matchers: &[Matcher],
    reason: &str,
    until: Time,
    now: Time,
) -> Result<(), String> {
    if matchers.iter().all(|matcher| matcher.takes("")) {
        return Err("it would silence every alert: it needs a matcher that isn't empty".to_owned());
    }
    if matchers.len() > 32 {
        return Err("it has more than 32 matchers".to_owned());
    }
    if reason.trim().is_empty() || reason.len() > LONGEST || reason.chars().any(char::is_control) {
        return Err(format!("it needs a reason: one line of at most {LONGEST} bytes"));
    }
    if until <= now {
        return Err("it would be over already".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_matcher_fits_the_whole_value_and_what_is_missing_is_empty() {
        for (matcher, given, fits) in [
            ("service=web", "service=web", true),
            ("service=web", "service=web2", false),
            ("service=", "alertname=x", true),
            ("service=~web|db", "service=db", true),
            ("service=~web|db", "service=db2", false),
            ("service=~w.*", "service=web.1", true),
        ] {
            let matcher: Matcher = matcher.parse().unwrap();
            assert_eq!(matcher.fits(&labels(given)), fits, "{matcher} {given}");
            let written = serde_json::to_string(&matcher).unwrap();
            let read: Matcher = serde_json::from_str(&written).unwrap();
            assert_eq!(read.to_string(), matcher.to_string());
        }
        for wrong in ["", "service", "=x", "a b=c", "a=~(", "a=b\nc", "a=~(((a{99}){99}){99}){99}"]
        {
            assert!(wrong.parse::<Matcher>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_silence_needs_an_end_a_reason_and_something_that_it_is_about() {
        let matchers = |text: &str| vec![text.parse::<Matcher>().unwrap()];
        let (now, later) = (Time(1000), Time(2000));
        assert_eq!(wrong(&matchers("a=b"), "work", later, now), Ok(()));
        for (matchers, reason, until) in [
            (matchers("a=b"), " ", later),
            (matchers("a=b"), "two\nlines", later),
            (matchers("a=b"), "work", now),
            (matchers("a=~.*"), "work", later),
            (Vec::new(), "work", later),
        ] {
            assert!(wrong(&matchers, reason, until, now).is_err(), "{matchers:?} {reason}");
        }
    }
}
