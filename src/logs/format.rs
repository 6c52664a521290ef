//! What a line says of itself: how grave it is, when it was written, and its message, where it has fields. A line that doesn't
//! look as expected is kept as it is, like every other.

use super::record::Level;
use serde_json::Value;

/// What a service's lines look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Text; nothing is looked for in it.
    #[default]
    Raw,
    /// A JSON object.
    Json,
    /// Words such as `level=info msg="it runs"`.
    Logfmt,
    /// Whichever of these it looks like.
    Auto,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) level: Option<Level>,
    pub(crate) message: Option<String>,
    pub(crate) said: Option<String>,
}

/// The usual names, the more usual ones first.
const LEVELS: [&str; 5] = ["level", "severity", "lvl", "loglevel", "log.level"];
const MESSAGES: [&str; 3] = ["msg", "message", "event"];
const TIMES: [&str; 5] = ["time", "ts", "timestamp", "@timestamp", "t"];

impl Format {
    /// What a line says of itself.
    pub(crate) fn fields(self, line: &str) -> Fields {
        let found = match self {
            Self::Raw => None,
            Self::Json => json(line),
            Self::Logfmt => logfmt(line).map(|pairs| chosen(&pairs)),
            Self::Auto if line.trim_start().starts_with('{') => json(line),
            Self::Auto => logfmt(line)
                .map(|pairs| chosen(&pairs))
                // A text with an equals sign in it is no logfmt.
                .filter(|fields| fields.level.is_some() && fields.message.is_some()),
        };
        found.unwrap_or_default()
    }
}

fn json(line: &str) -> Option<Fields> {
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(line) else { return None };
    let get = |names: &[&str]| names.iter().find_map(|name| object.get(*name));
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Some(Fields {
        level: get(&LEVELS).and_then(|value| match value {
            Value::String(word) => Level::of_word(word),
            Value::Number(number) => number.as_u64().and_then(of_number),
            _ => None,
        }),
        message: get(&MESSAGES).and_then(text),
        said: get(&TIMES).and_then(text),
    })
}

/// Levels as pino and bunyan number them.
fn of_number(number: u64) -> Option<Level> {
    Some(match number {
        10 | 20 => Level::Debug,
        30 => Level::Info,
        40 => Level::Warning,
        50 => Level::Error,
        60 => Level::Critical,
        _ => return None,
    })
}

fn chosen(pairs: &[(&str, String)]) -> Fields {
    let get = |names: &[&str]| {
        names.iter().find_map(|name| {
            pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        })
    };
    let level = get(&LEVELS).and_then(|word| Level::of_word(&word));
    Fields { level, message: get(&MESSAGES), said: get(&TIMES) }
}

/// The pairs of a logfmt line; `None` where it isn't one.
fn logfmt(line: &str) -> Option<Vec<(&str, String)>> {
    let (mut pairs, mut rest) = (Vec::new(), line.trim());
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at_checked(end)?;
        if key.is_empty() || key.contains(['"', '{', '}', '[', ']']) {
            return None;
        }
        let (value, after) = match after.strip_prefix('=') {
            None => (String::new(), after),
            Some(after) if after.starts_with('"') => quoted(after)?,
            Some(after) => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                let (value, after) = after.split_at_checked(end)?;
                (value.to_owned(), after)
            }
        };
        // Behind a quoted value comes a space.
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return None;
        }
        pairs.push((key, value));
        rest = after.trim_start();
    }
    Some(pairs)
}

/// A text in quotes, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = stream.next()?.ok()?;
    let (_, after) = text.split_at_checked(stream.byte_offset())?;
    Some((value, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(level: Option<Level>, message: &str, said: &str) -> Fields {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Fields { level, message: some(message), said: some(said) }
    }

    #[test]
    fn json_lines_tell_their_level_message_and_time_whatever_they_call_them() {
        let json = |line: &str| Format::Json.fields(line);
        assert_eq!(
            json(r#"{"level":"warn","msg":"low \"ink\"","time":"2026-11-26T05:00:00Z","x":1}"#),
            fields(Some(Level::Warning), "low \"ink\"", "2026-11-26T05:00:00Z")
        );
        assert_eq!(
            json(r#"{"severity":"CRITICAL","message":"m","@timestamp":17}"#),
            fields(Some(Level::Critical), "m", "17")
        );
        assert_eq!(json(r#"{"level":50,"msg":"m"}"#), fields(Some(Level::Error), "m", ""));
        for bad in ["", "text", "[1]", r#"{"level":"warn""#, r#"{"level":["warn"],"msg":{}}"#] {
            assert_eq!(json(bad), Fields::default(), "{bad}");
        }
    }

    #[test]
    fn logfmt_lines_tell_the_same() {
        let logfmt = |line: &str| Format::Logfmt.fields(line);
        assert_eq!(
            logfmt(r#"ts=12 level=info flag msg="it \"runs\" now" n=3"#),
            fields(Some(Level::Info), "it \"runs\" now", "12")
        );
        for bad in [r#"msg="open"#, r#"msg="a"b"#, "=x", "{}"] {
            assert_eq!(logfmt(bad), Fields::default(), "{bad}");
        }
    }

    #[test]
    fn a_guess_is_made_only_where_it_is_plain() {
        let auto = |line: &str| Format::Auto.fields(line);
        assert_eq!(auto(r#"{"level":"info","msg":"m"}"#), fields(Some(Level::Info), "m", ""));
        assert_eq!(auto("level=error msg=m"), fields(Some(Level::Error), "m", ""));
        assert_eq!(auto("the level=error was reached"), Fields::default());
        assert_eq!(Format::Raw.fields("level=error msg=m"), Fields::default());
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in "\\PC*|[ =\"\\\\{}a-z]*") {
            for format in [Format::Json, Format::Logfmt, Format::Auto] {
                format.fields(&line);
            }
        }
    }
}
