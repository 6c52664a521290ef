//! What a stack file says of how lines are kept: the table `logging` of a service.

use super::values::Wrong;
use crate::logs::{Driver, Format, Level, Logging};
use crate::platform::Bytes;
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;
use crate::policy::value::{self, Scalar};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One key of the table, or of a table in it.
struct Field {
    /// Such as `rotation.max_size`.
    path: &'static str,
    kind: Kind,
    doc: &'static str,
    /// A value as it is written.
    example: &'static str,
}

enum Kind {
    Choice(&'static [Choice]),
    /// The least, and where it goes.
    Size(u64, fn(&mut Logging, Bytes)),
    /// The least and the most, and where it goes.
    Whole(u32, u32, fn(&mut Logging, u32)),
    Time(fn(&mut Logging, Option<Duration>)),
    Duration(fn(&mut Logging, Duration)),
    Switch(fn(&mut Logging, bool)),
    Patterns(fn(&mut Logging, Vec<Regex>)),
    Names(fn(&mut Logging, Vec<String>)),
}

/// A word and what it does.
type Choice = (&'static str, fn(&mut Logging));

/// Tables in the table.
const SECTIONS: [&str; 2] = ["rotation", "rate_limit"];

/// A pattern that becomes larger than this is refused, so that no stack file takes all memory.
const LARGEST_PATTERN: usize = 1 << 20;

/// Shorthand for a word that sets the least level.
macro_rules! level {
    ($word:literal, $level:ident) => {
        ($word, |logging: &mut Logging| logging.level = Some(Level::$level))
    };
}

static FIELDS: &[Field] = &[
    Field {
        path: "driver",
        kind: Kind::Choice(&[
            ("file", |logging| logging.driver = Driver::File),
            ("none", |logging| logging.driver = Driver::None),
        ]),
        doc: "where its lines are kept: in files below the state directory, or nowhere",
        example: "\"file\"",
    },
    Field {
        path: "targets",
        kind: Kind::Names(|logging, names| logging.targets = names),
        doc: "where its lines are sent to from there: names of `log_targets`",
        example: "[\"journal\"]",
    },
    Field {
        path: "format",
        kind: Kind::Choice(&[
            ("raw", |logging| logging.format = Format::Raw),
            ("json", |logging| logging.format = Format::Json),
            ("logfmt", |logging| logging.format = Format::Logfmt),
            ("auto", |logging| logging.format = Format::Auto),
        ]),
        doc: "what its lines look like: with any but `raw`, level, message and time are taken from those that do",
        example: "\"json\"",
    },
    Field {
        path: "include",
        kind: Kind::Patterns(|logging, patterns| logging.include = patterns),
        doc: "regular expressions: only lines that match one are kept",
        example: "[\"GET|POST\"]",
    },
    Field {
        path: "exclude",
        kind: Kind::Patterns(|logging, patterns| logging.exclude = patterns),
        doc: "regular expressions: lines that match one aren't kept",
        example: "[\"/health\"]",
    },
    Field {
        path: "level",
        kind: Kind::Choice(&[
            level!("debug", Debug),
            level!("info", Info),
            level!("notice", Notice),
            level!("warning", Warning),
            level!("error", Error),
            level!("critical", Critical),
            level!("alert", Alert),
            level!("emergency", Emergency),
        ]),
        doc: "only lines as grave as this are kept, and those that say nothing of that",
        example: "\"info\"",
    },
    Field {
        path: "rotation.max_size",
        kind: Kind::Size(64 << 10, |logging, size| logging.rotation.max_size = size),
        doc: "how large a file may grow",
        example: "\"10MiB\"",
    },
    Field {
        path: "rotation.max_files",
        kind: Kind::Whole(1, 1000, |logging, files| logging.rotation.max_files = files),
        doc: "how many files are kept, with the one that is being written",
        example: "5",
    },
    Field {
        path: "rotation.max_age",
        kind: Kind::Time(|logging, age| logging.rotation.max_age = age),
        doc: "how long a file is written",
        example: "\"1d\"",
    },
    Field {
        path: "rotation.compress",
        kind: Kind::Switch(|logging, compress| logging.rotation.compress = compress),
        doc: "whether files that aren't written any more are compressed",
        example: "true",
    },
    Field {
        path: "rate_limit.lines",
        kind: Kind::Whole(1, 10_000_000, |logging, lines| logging.rate_limit.lines = Some(lines)),
        doc: "how many lines are kept in `per`; what goes beyond is counted, and that is kept",
        example: "1000",
    },
    Field {
        path: "rate_limit.bytes",
        kind: Kind::Size(1, |logging, bytes| logging.rate_limit.bytes = Some(bytes)),
        doc: "how many bytes of lines are kept in `per`",
        example: "\"1MiB\"",
    },
    Field {
        path: "rate_limit.per",
        kind: Kind::Duration(|logging, per| logging.rate_limit.per = per),
        doc: "the time for which the limits count",
        example: "\"1s\"",
    },
    Field {
        path: "rate_limit.burst",
        kind: Kind::Whole(1, 10_000_000, |logging, burst| logging.rate_limit.burst = Some(burst)),
        doc: "how many lines are kept at once after a quiet time, where that isn't `lines`",
        example: "2000",
    },
];

/// Puts what a table says over what is there.
pub(super) fn put(given: &DeValue<'_>, logging: &mut Logging) -> Result<(), Wrong> {
    let DeValue::Table(table) = given else {
        return Err((None, value::wrong_shape("a table such as { format = \"json\" }", given)));
    };
    for (name, value) in table {
        match value.get_ref() {
            DeValue::Table(inner) if SECTIONS.contains(&name.get_ref().as_ref()) => {
                inside(&format!("{}.", name.get_ref()), inner, logging)?;
            }
            other if SECTIONS.contains(&name.get_ref().as_ref()) => {
                return Err((Some(value.span()), value::wrong_shape("a table", other)));
            }
            _ => entry("", name, value, logging)?,
        }
    }
    Ok(())
}

fn inside(section: &str, table: &DeTable<'_>, logging: &mut Logging) -> Result<(), Wrong> {
    table.iter().try_for_each(|(name, value)| entry(section, name, value, logging))
}

fn entry(
    section: &str,
    name: &Spanned<impl AsRef<str>>,
    value: &Spanned<DeValue<'_>>,
    logging: &mut Logging,
) -> Result<(), Wrong> {
    let word = name.get_ref().as_ref();
    if word.starts_with("x-") {
        return Ok(());
    }
    let Some(field) = FIELDS.iter().find(|field| field.path.strip_prefix(section) == Some(word))
    else {
        let names = FIELDS.iter().filter_map(|field| field.path.strip_prefix(section));
        let near = did_you_mean(word, names.filter(|name| !name.contains('.')).chain(SECTIONS));
        return Err((
            Some(name.span()),
            format!("{} is not a key of `logging`{near}", quoted(word)),
        ));
    };
    set(field, value, logging)
}

fn set(field: &Field, given: &Spanned<DeValue<'_>>, logging: &mut Logging) -> Result<(), Wrong> {
    let scalar = Scalar::Toml(given.get_ref());
    let wrong = |message: String| (Some(given.span()), message);
    match &field.kind {
        Kind::Choice(choices) => {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let at = value::choice(scalar, &words).map_err(wrong)?;
            if let Some((_, set)) = choices.get(at) {
                set(logging);
            }
        }
        Kind::Size(least, set) => {
            let text = scalar.text().map_err(wrong)?;
            let size: Bytes = text.parse().map_err(|_| {
                wrong(format!("{} is not a size (write `{}`)", quoted(&text), bare(field.example)))
            })?;
            if size.0 < *least {
                return Err(wrong(format!("it can't be less than {}", Bytes(*least))));
            }
            set(logging, size);
        }
        Kind::Whole(least, most, set) => {
            set(logging, value::whole(scalar, *least, *most).map_err(wrong)?);
        }
        Kind::Time(set) => set(logging, value::time(scalar).map_err(wrong)?),
        Kind::Duration(set) => {
            let duration = value::duration(scalar).map_err(wrong)?;
            if duration.is_zero() {
                return Err(wrong("it can't be no time at all".to_owned()));
            }
            set(logging, duration);
        }
        Kind::Switch(set) => set(logging, value::switch(scalar).map_err(wrong)?),
        Kind::Names(set) => {
            let names = texts(field, given)?.into_iter().map(|(text, _)| text);
            set(logging, names.collect());
        }
        Kind::Patterns(set) => {
            let mut patterns = Vec::new();
            for (text, span) in texts(field, given)? {
                patterns.push(pattern(&text).map_err(|message| (Some(span), message))?);
            }
            set(logging, patterns);
        }
    }
    Ok(())
}

/// What a line is compared with.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    let pattern = RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build();
    pattern.map_err(|error| told(text, &error))
}

/// What is wrong with a pattern, in one line.
pub(super) fn told(text: &str, error: &regex::Error) -> String {
    let reason = error.to_string();
    let reason = reason.lines().last().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    format!("{} is no regular expression: {reason}", quoted(text))
}

type Text = (String, std::ops::Range<usize>);

fn texts(field: &Field, given: &Spanned<DeValue<'_>>) -> Result<Vec<Text>, Wrong> {
    let DeValue::Array(entries) = given.get_ref() else {
        let what = format!("a list such as {}", field.example);
        return Err((Some(given.span()), value::wrong_shape(&what, given.get_ref())));
    };
    let text = |entry: &Spanned<DeValue<'_>>| {
        let text = Scalar::Toml(entry.get_ref()).text().map_err(|it| (Some(entry.span()), it))?;
        Ok((text.into_owned(), entry.span()))
    };
    entries.iter().map(text).collect()
}

fn bare(example: &str) -> &str {
    example.trim_matches('"')
}

/// Its JSON Schema.
pub(super) fn schema() -> Value {
    let mut properties = fields("");
    for section in SECTIONS {
        properties.insert(section.to_owned(), table(fields(&format!("{section}."))));
    }
    table(properties)
}

fn table(properties: Map<String, Value>) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "patternProperties": { "^x-": {} },
        "properties": properties,
    })
}

fn fields(section: &str) -> Map<String, Value> {
    let mut all = Map::new();
    for field in FIELDS {
        let Some(name) = field.path.strip_prefix(section).filter(|name| !name.contains('.')) else {
            continue;
        };
        let mut schema = match &field.kind {
            Kind::Choice(choices) => {
                json!({ "enum": choices.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
            }
            Kind::Size(..) | Kind::Duration(_) | Kind::Time(_) => json!({ "type": "string" }),
            Kind::Whole(least, most, _) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Kind::Switch(_) => json!({ "type": "boolean" }),
            Kind::Patterns(_) | Kind::Names(_) => {
                json!({ "type": "array", "items": { "type": "string" } })
            }
        };
        schema["description"] = field.doc.into();
        if let Ok(example) = serde_json::from_str::<Value>(field.example) {
            schema["examples"] = json!([example]);
        }
        all.insert(name.to_owned(), schema);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Logging, String> {
        let table = DeTable::parse(text).unwrap();
        let mut logging = Logging::default();
        let value = DeValue::Table(table.into_inner());
        put(&value, &mut logging).map(|()| logging).map_err(|(span, message)| {
            format!("{}: {message}", span.map_or("", |span| text.get(span).unwrap_or_default()))
        })
    }

    #[test]
    fn every_key_is_understood_as_its_example_shows() {
        for field in FIELDS {
            let text = format!("{} = {}", field.path, field.example);
            assert!(read(&text).is_ok(), "{text}");
        }
        let logging = read(
            "driver = \"none\"\ntargets = [\"a\"]\nrotation = { max_size = \"1MiB\", max_age = \"1d\" }\n\
             rate_limit = { lines = 9, per = \"2s\" }\nexclude = [\"x\"]\nlevel = \"warning\"",
        )
        .unwrap();
        assert_eq!((logging.driver, logging.rotation.max_size), (Driver::None, Bytes::mib(1)));
        assert_eq!((logging.rotation.max_files, logging.rate_limit.lines), (5, Some(9)));
        assert_eq!((logging.level, logging.exclude.len()), (Some(Level::Warning), 1));
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        let told: Vec<String> = [
            "formt = \"json\"",
            "format = \"xml\"",
            "rotation = { max_size = \"10\" }",
            "rotation = { max_size = \"1KiB\" }",
            "rotation = { max_fils = 1 }",
            "rotation = 5",
            "exclude = [\"(\"]",
            "exclude = \"x\"",
            "rate_limit = { lines = 0 }",
            "rate_limit = { per = \"0s\" }",
        ]
        .map(|text| read(text).unwrap_err())
        .into();
        insta::assert_snapshot!(told.join("\n"), @r#"
        formt: `formt` is not a key of `logging` (did you mean `format`?)
        "xml": `xml` is not one of `raw`, `json`, `logfmt`, `auto`
        "10": `10` is not a size (write `10MiB`)
        "1KiB": it can't be less than 64KiB
        max_fils: `max_fils` is not a key of `logging` (did you mean `max_files`?)
        5: expected a table, found an integer
        "(": `(` is no regular expression: unclosed group
        "x": expected a list such as ["/health"], found a string
        0: `0` is not a whole number from 1 to 10000000
        "0s": it can't be no time at all
        "#);
    }

    #[test]
    fn a_huge_pattern_is_refused() {
        let told = read("include = ['(\\w{1000}){1000}']").unwrap_err();
        assert!(told.contains("size limit"), "{told}");
    }
}
