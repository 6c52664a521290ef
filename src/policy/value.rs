//! From what is written to what it means, one value at a time. Each `Err` is the message of a problem.

use super::key::{ALL, Count, Size, UNLIMITED};
use super::paths;
use super::problem::quoted;
use super::suggest::did_you_mean;
use crate::platform::{
    Bytes, Cores, IdRange, IdSet, ParsePortSetError, PortSet, Rate, parse_duration,
};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;
use toml::de::DeValue;

/// A single value as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    /// On the command line, where nothing has quotes.
    Typed(&'a OsStr),
    /// In a file, with its TOML type.
    Toml(&'a DeValue<'a>),
}

/// The longest time offset: a hundred years. Clocks of systems end a little beyond.
const LONGEST_OFFSET: u64 = 36_525 * 24 * 3600;

impl<'a> Scalar<'a> {
    /// The value as text, with what it was written as.
    fn read(self) -> Result<(Cow<'a, str>, Form), String> {
        Ok(match self {
            Self::Typed(text) => match text.to_str() {
                Some(text) => (text.into(), Form::Typed),
                None => return Err(format!("{} is not UTF-8", super::paths::shown(text))),
            },
            Self::Toml(DeValue::String(text)) => (Cow::Borrowed(text.as_ref()), Form::Text),
            Self::Toml(DeValue::Integer(number)) if number.radix() == 10 => {
                (number.as_str().into(), Form::Number)
            }
            Self::Toml(DeValue::Integer(number)) => {
                // Octal and hexadecimal are numbers too; beyond 64 bits none of them is in any range.
                let value = i64::from_str_radix(number.as_str(), number.radix());
                (
                    value.map_or_else(|_| number.to_string(), |value| value.to_string()).into(),
                    Form::Number,
                )
            }
            Self::Toml(DeValue::Float(number)) => (number.as_str().into(), Form::Number),
            Self::Toml(DeValue::Boolean(switch)) => (switch.to_string().into(), Form::Switch),
            Self::Toml(other) => return Err(found(other)),
        })
    }

    /// A text; in a file it must be in quotes.
    pub(crate) fn text(self) -> Result<Cow<'a, str>, String> {
        let (text, form) = self.read().map_err(|found| expected("a text in quotes", &found))?;
        match form {
            Form::Typed | Form::Text => Ok(text),
            Form::Number | Form::Switch => {
                Err(format!("{} must be in quotes (write \"{text}\")", quoted(&text)))
            }
        }
    }

    /// A text of the system's kind.
    pub(crate) fn system_text(self) -> Result<Cow<'a, OsStr>, String> {
        match self {
            Self::Typed(text) => Ok(text.into()),
            Self::Toml(_) => Ok(match self.text()? {
                Cow::Borrowed(text) => Cow::Borrowed(OsStr::new(text)),
                Cow::Owned(text) => Cow::Owned(text.into()),
            }),
        }
    }
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Typed,
    Text,
    Number,
    Switch,
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
        DeValue::Datetime(_) => "a date".into(),
        other => format!(
            "{} {}",
            if other.type_str() == "integer" { "an" } else { "a" },
            other.type_str()
        ),
    }
}

/// `found` is the end of the sentence, or already a whole one about the text.
fn expected(what: &str, found: &str) -> String {
    if found.starts_with('`') {
        found.to_owned()
    } else {
        format!("expected {what}, found {found}")
    }
}

/// What a TOML value of the wrong shape gets.
pub(crate) fn wrong_shape(what: &str, value: &DeValue<'_>) -> String {
    expected(what, &found(value))
}

/// A size; `None` for the word that switches it off.
pub(super) fn size(scalar: Scalar<'_>, rules: &Size) -> Result<Option<Bytes>, String> {
    let (text, form) =
        scalar.read().map_err(|found| expected("a size such as \"512MiB\"", &found))?;
    if text == rules.off && form != Form::Switch {
        return Ok(None);
    }
    match text.parse::<Bytes>() {
        Ok(size) if size < rules.least => {
            Err(format!("{} is too small (at least `{}`)", quoted(&text), rules.least))
        }
        Ok(size) => Ok(Some(size)),
        Err(_) => {
            let instead =
                instead_of(&text, rules.off).unwrap_or_else(|| format!("`{}`", likely_size(&text)));
            Err(format!("{} is not a size (write {instead})", quoted(&text)))
        }
    }
}

/// Bytes per second; `None` for no limit.
pub(crate) fn rate(scalar: Scalar<'_>, least: Rate) -> Result<Option<Rate>, String> {
    let (text, form) =
        scalar.read().map_err(|found| expected("a rate such as \"50MiB/s\"", &found))?;
    if text == UNLIMITED && form != Form::Switch {
        return Ok(None);
    }
    match text.parse::<Rate>() {
        Ok(rate) if rate < least => {
            Err(format!("{} is too little (at least `{least}`)", quoted(&text)))
        }
        Ok(rate) => Ok(Some(rate)),
        Err(_) => {
            let size = text.strip_suffix("/s").unwrap_or(&text);
            let instead = instead_of(size, UNLIMITED).filter(|_| size != "0");
            let instead = instead.map_or_else(
                || format!("`{}/s`", likely_size(size)),
                |_| format!("`{UNLIMITED}` for no limit"),
            );
            Err(format!("{} is not a rate (write {instead})", quoted(&text)))
        }
    }
}

/// What is written instead of a word or number that other programs take for "nothing" or "no limit".
fn instead_of(text: &str, off: &str) -> Option<String> {
    match text {
        "0" => Some("`0B`".into()),
        "none" | "no" | "off" | "false" if off == UNLIMITED => {
            Some(format!("`0B`, or `{off}` for no limit"))
        }
        "none" | "no" | "off" | "false" | "max" | "inf" | "infinity" | "-1" | UNLIMITED => {
            Some(format!("`{off}`"))
        }
        _ => None,
    }
}

/// How the size that `text` probably means is written.
fn likely_size(text: &str) -> String {
    let unit = |word: &str| {
        let first = word.chars().next()?.to_ascii_uppercase();
        ["KiB", "MiB", "GiB", "TiB"].into_iter().find(|unit| unit.starts_with(first))
    };
    likely(
        text,
        |number, word| Some(format!("{number}{}", unit(word)?)),
        |likely| likely.parse::<Bytes>().is_ok(),
    )
    .unwrap_or_else(|| "512MiB".into())
}

/// How the duration that `text` probably means is written.
fn likely_duration(text: &str) -> String {
    let unit = |word: &str| match word.to_ascii_lowercase().as_str() {
        "" => Some("s"),
        word if word.starts_with("mil") || word.starts_with("ms") => Some("ms"),
        word => ["d", "h", "m", "s"].into_iter().find(|unit| word.starts_with(unit)),
    };
    likely(
        text,
        |number, word| Some(format!("{number}{}", unit(word)?)),
        |likely| parse_duration(likely).is_ok(),
    )
    .unwrap_or_else(|| "30s".into())
}

/// `text` as a number and a word, joined anew, if that is `right`.
fn likely(
    text: &str,
    join: impl FnOnce(&str, &str) -> Option<String>,
    right: impl FnOnce(&str) -> bool,
) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, word) = text.split_at(end);
    join(number, word.trim()).filter(|joined| joined.len() <= 20 && right(joined))
}

/// An amount of CPU.
pub(crate) fn cores(scalar: Scalar<'_>) -> Result<Option<Cores>, String> {
    let (text, form) =
        scalar.read().map_err(|found| expected("a number of cores such as 1.5", &found))?;
    if text == UNLIMITED {
        return Ok(None);
    }
    match text.parse::<Cores>() {
        Ok(_) if form == Form::Text => {
            Err(format!("{} must be a number (write it without quotes)", quoted(&text)))
        }
        Ok(cores) => Ok(Some(cores)),
        Err(_) => Err(format!(
            "{} is not a number of cores from 0.01 to 1000 (write `1.5`)",
            quoted(&text)
        )),
    }
}

/// A whole number in a range; `None` for the word that switches it off, where there is one.
pub(super) fn count(scalar: Scalar<'_>, rules: &Count) -> Result<Option<u32>, String> {
    let off = rules.off;
    if !off.is_empty() && scalar.read().is_ok_and(|(text, _)| text == off) {
        return Ok(None);
    }
    whole(scalar, rules.least, rules.most).map(Some)
}

/// A whole number in a range.
pub(crate) fn whole(scalar: Scalar<'_>, least: u32, most: u32) -> Result<u32, String> {
    let (text, form) = scalar.read().map_err(|found| expected("a whole number", &found))?;
    match text.parse::<u32>() {
        Ok(_) if form == Form::Text => {
            Err(format!("{} must be a number (write it without quotes)", quoted(&text)))
        }
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{} is not a whole number from {least} to {most}", quoted(&text))),
    }
}

/// A number with a fraction, in a range.
pub(crate) fn factor(scalar: Scalar<'_>, least: f64, most: f64) -> Result<f64, String> {
    let (text, form) = scalar.read().map_err(|found| expected("a number", &found))?;
    match text.parse::<f64>() {
        Ok(_) if form == Form::Text => {
            Err(format!("{} must be a number (write it without quotes)", quoted(&text)))
        }
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{} is not a number from {least} to {most}", quoted(&text))),
    }
}

/// A set of CPUs or memory nodes.
pub(crate) fn ids(scalar: Scalar<'_>) -> Result<Option<IdSet>, String> {
    let text = scalar.text()?;
    if text == ALL {
        return Ok(None);
    }
    let wrong = |_| format!("{} is not a list of numbers (write `0-3,8`)", quoted(&text));
    text.parse().map(Some).map_err(wrong)
}

/// TCP ports; one may be written as the number that it is.
pub(crate) fn ports(scalar: Scalar<'_>) -> Result<Option<PortSet>, String> {
    let (text, _) = scalar
        .read()
        .map_err(|found| expected("a list of ports such as \"443,8000-8010\"", &found))?;
    if text == ALL {
        return Ok(None);
    }
    let wrong = |error: ParsePortSetError| format!("{} {error}", quoted(&text));
    text.parse().map(Some).map_err(wrong)
}

/// Numbers of users and groups of the host.
pub(crate) fn range(scalar: Scalar<'_>) -> Result<IdRange, String> {
    let text = scalar.text()?;
    text.parse().map_err(|error| format!("{} {error}", quoted(&text)))
}

/// Bits of permissions as they are written everywhere: `"0660"`.
pub(crate) fn mode(scalar: Scalar<'_>) -> Result<u32, String> {
    let text = scalar.text()?;
    let mode = u32::from_str_radix(&text, 8).ok();
    let is_octal = text.chars().all(|c| c.is_digit(8));
    mode.filter(|mode| *mode <= 0o777 && is_octal)
        .ok_or_else(|| format!("{} is no mode (three digits from 0 to 7: \"0660\")", quoted(&text)))
}

/// A duration.
pub(crate) fn duration(scalar: Scalar<'_>) -> Result<Duration, String> {
    let (text, _) =
        scalar.read().map_err(|found| expected("a duration such as \"30s\"", &found))?;
    parse_duration(&text).map_err(|_| {
        format!("{} is not a duration (write `{}`)", quoted(&text), likely_duration(&text))
    })
}

/// A time limit.
pub(crate) fn time(scalar: Scalar<'_>) -> Result<Option<Duration>, String> {
    if let Ok((text, _)) = scalar.read()
        && text == UNLIMITED
    {
        return Ok(None);
    }
    match duration(scalar)? {
        Duration::ZERO => {
            Err("no program can run in no time (write `unlimited` for no limit)".into())
        }
        time => Ok(Some(time)),
    }
}

/// An offset in whole seconds.
pub(crate) fn offset(scalar: Scalar<'_>) -> Result<i64, String> {
    let (text, _) =
        scalar.read().map_err(|found| expected("a duration such as \"-90s\"", &found))?;
    let (sign, plain) = match text.strip_prefix('-') {
        Some(plain) => (-1, plain),
        None => (1, text.strip_prefix('+').unwrap_or(&text)),
    };
    let wrong = || format!("{} is not a duration (write `90s` or `-90s`)", quoted(&text));
    let time = parse_duration(plain).map_err(|_| wrong())?;
    if time.subsec_nanos() != 0 {
        return Err(format!("{} is not a number of whole seconds", quoted(&text)));
    }
    if time.as_secs() > LONGEST_OFFSET {
        return Err(format!("{} is more than a hundred years", quoted(&text)));
    }
    i64::try_from(time.as_secs()).map(|seconds| sign * seconds).map_err(|_| wrong())
}

/// Yes or no.
pub(crate) fn switch(scalar: Scalar<'_>) -> Result<bool, String> {
    let (text, form) = scalar.read().map_err(|found| expected("`true` or `false`", &found))?;
    match (text.parse(), form) {
        (Ok(_), Form::Text) => Err(format!("{} must be without quotes", quoted(&text))),
        (Ok(switch), _) => Ok(switch),
        (Err(_), _) => Err(format!("{} is neither `true` nor `false`", quoted(&text))),
    }
}

/// One of some words, by its place among them.
pub(crate) fn choice(scalar: Scalar<'_>, words: &[&str]) -> Result<usize, String> {
    let text = scalar.text()?;
    words.iter().position(|word| *word == text).ok_or_else(|| {
        let all: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        let suggestion = did_you_mean(&text, words.iter().copied());
        format!("{} is not one of {}{suggestion}", quoted(&text), all.join(", "))
    })
}

/// A line of text for people.
pub(crate) fn line(scalar: Scalar<'_>) -> Result<Cow<'_, str>, String> {
    let text = scalar.text()?;
    if text.chars().any(char::is_control) {
        return Err(format!("{} has a line break or another control character", quoted(&text)));
    }
    Ok(text)
}

/// A host name.
pub(crate) fn host_name(scalar: Scalar<'_>) -> Result<Cow<'_, str>, String> {
    let text = scalar.text()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let edges = |c: char| c == '-' || c == '.';
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) || text.starts_with(edges) {
        return Err(format!(
            "{} is not a host name (at most 64 letters, digits, `-` and `.`)",
            quoted(&text)
        ));
    }
    Ok(text)
}

/// The name of an environment variable.
pub(crate) fn variable(name: &str) -> Result<(), String> {
    match name {
        "" => Err("an empty text is not the name of a variable".into()),
        _ if name.contains('=') => {
            Err(format!("{} has a `=`, which no variable's name can have", quoted(name)))
        }
        _ if name.contains('\0') => {
            Err(format!("{} has a NUL character, which no variable can have", quoted(name)))
        }
        _ => Ok(()),
    }
}

/// A place for a file inside: an absolute path in its plain form, below a directory.
pub(crate) fn place_inside(path: &str) -> Result<(), String> {
    let base = paths::Base { directory: Path::new("/"), may_climb: false };
    if !path.starts_with('/') {
        return Err(format!("{} is not an absolute path", quoted(path)));
    }
    let plain = paths::resolve(OsStr::new(path), base)?;
    match paths::reserved(&plain) {
        Some(reason) => Err(reason.into()),
        None if path.ends_with('/') => Err(format!(
            "{} is the name of a directory (leave the `/` at its end out)",
            quoted(path)
        )),
        None => Ok(()),
    }
}

/// The name of a secret: that of a file.
pub(crate) fn secret_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.chars().all(plain) {
        let shown = quoted(name);
        return Err(format!("{shown} is no name for a secret (letters, digits, `-`, `_` and `.`)"));
    }
    Ok(())
}

/// The content of a file that a policy holds.
pub(crate) fn content(text: &str) -> Result<String, String> {
    const MOST: usize = 64 << 10;
    if text.len() > MOST {
        return Err(format!(
            "{} bytes are too many for a file in a policy (at most {MOST})",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// The value of an environment variable.
pub(crate) fn variable_value(name: &str, value: &str) -> Result<(), String> {
    if value.contains('\0') {
        return Err(format!(
            "the value of {} has a NUL character, which no variable can have",
            quoted(name)
        ));
    }
    Ok(())
}
