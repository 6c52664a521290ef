//! What is kept of a line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the files' format. One with a higher number isn't read.
pub(crate) const VERSION: u32 = 1;

/// Which stream of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stream {
    /// Standard output.
    #[serde(rename = "stdout")]
    Output,
    /// Standard error.
    #[serde(rename = "stderr")]
    Error,
}

impl Stream {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Output => "stdout",
            Self::Error => "stderr",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How grave a line is, in the words and numbers of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// The system can't be used.
    Emergency,
    /// Something must be done at once.
    Alert,
    /// Critical.
    Critical,
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// Normal, but worth a look.
    Notice,
    /// For information.
    Info,
    /// For finding mistakes.
    Debug,
}

impl Level {
    /// All, gravest first.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Alert => "alert",
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// Its number in syslog(3), 0 the gravest.
    pub fn severity(self) -> u8 {
        match self {
            Self::Emergency => 0,
            Self::Alert => 1,
            Self::Critical => 2,
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }

    /// The level that a program means by a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "emergency" | "emerg" | "panic" => Self::Emergency,
            "alert" => Self::Alert,
            "critical" | "crit" | "fatal" => Self::Critical,
            "error" | "err" | "severe" => Self::Error,
            "warning" | "warn" => Self::Warning,
            "notice" => Self::Notice,
            "info" | "information" | "informational" => Self::Info,
            "debug" | "trace" | "verbose" => Self::Debug,
            _ => return None,
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Lines that weren't kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lost {
    /// How many.
    pub lines: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// A line of a service, or a long line's piece; or that some weren't kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// When it was read.
    #[serde(with = "micros")]
    pub time: Timestamp,
    /// Its number among all that is kept of this instance, from 0 without a gap.
    pub seq: u64,
    /// The run of the program that wrote it.
    pub generation: u64,
    /// To which stream.
    pub stream: Stream,
    /// Where it ends in that stream of that run, in bytes.
    pub end: u64,
    /// Without its line break; what isn't UTF-8 is shown as U+FFFD.
    pub text: String,
    /// Whether no line break follows: the next record of the stream goes on with it, or the stream ended there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
    /// How grave it says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// What it says beside its fields, where it has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it says it was written, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Set where this isn't a line, but tells that lines before it weren't kept; the text says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
}

impl Record {
    /// A line of which nothing is known but where it comes from.
    pub(crate) fn plain(generation: u64, stream: Stream, text: String, time: Timestamp) -> Self {
        Self {
            time,
            seq: 0,
            generation,
            stream,
            end: 0,
            text,
            partial: false,
            level: None,
            message: None,
            said: None,
            lost: None,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Where a stream of a run is known to be kept up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) generation: u64,
    pub(crate) stream: Stream,
    pub(crate) end: u64,
}

/// The first line of every file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) service: String,
    pub(crate) instance: String,
    /// The number of the first record.
    pub(crate) first: u64,
    #[serde(with = "micros")]
    pub(crate) time: Timestamp,
    /// How far streams were kept in the files before this one.
    pub(crate) ends: Vec<End>,
}

/// Times with microseconds always, so that their texts sort as they do.
pub(crate) mod micros {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{time:.6}"))
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Timestamp, D::Error> {
        std::borrow::Cow::<'d, str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_short_json_object_and_read_again() {
        let record = Record {
            time: "2026-11-26T05:00:00.5Z".parse().unwrap(),
            seq: 7,
            generation: 2,
            stream: Stream::Error,
            end: 12,
            text: "a \"b\"\u{1b}".into(),
            partial: false,
            level: None,
            message: None,
            said: None,
            lost: None,
        };
        let text = serde_json::to_string(&record).unwrap();
        insta::assert_snapshot!(text, @r#"{"time":"2026-11-26T05:00:00.500000Z","seq":7,"generation":2,"stream":"stderr","end":12,"text":"a \"b\"\u001b"}"#);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn levels_are_syslogs_and_understood_in_other_words() {
        for (severity, level) in (0..).zip(Level::ALL) {
            assert_eq!(level.severity(), severity);
            assert_eq!(Level::of_word(level.word()), Some(level));
        }
        assert_eq!(Level::of_word("WARN"), Some(Level::Warning));
        assert_eq!(Level::of_word("loud"), None);
    }
}
