//! Where a file isn't TOML: the mistakes that are told, and the lines that say nothing reliable any more.

use super::problem::{Problem, Problems, quoted};
use super::source::Source;
use std::ops::Range;

/// A file with more lines that aren't TOML isn't looked at any further.
pub(crate) const MOST_BROKEN: usize = 100;

/// Tells where a file isn't TOML, and gives the lines.
pub(crate) fn tell(
    source: &Source,
    number: usize,
    errors: &[toml::de::Error],
    problems: &mut Problems,
) -> Vec<Range<usize>> {
    let mut broken: Vec<Range<usize>> = Vec::new();
    for error in errors {
        if broken.len() == MOST_BROKEN {
            break;
        }
        let span = error.span().unwrap_or_default();
        let line = line_around(&source.text, &span);
        // What follows the first mistake of a line is mostly no mistake of its own.
        if broken.contains(&line) {
            continue;
        }
        let (span, message) = match bare_word(&source.text, line.clone()) {
            Some(word) => {
                let text = &source.text[word.clone()];
                (word, format!("{} must be in quotes (write \"{text}\")", quoted(text)))
            }
            None => (span, lower_first(error.message())),
        };
        problems.add(|| {
            Problem::in_text(&source.name, &source.text, span, "", message).in_source(number)
        });
        broken.push(line);
    }
    broken
}

/// The whole lines that a place touches.
fn line_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let (start, end) = (span.start.min(bytes.len()), span.end.min(bytes.len()));
    let before = bytes[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let after =
        bytes[end..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| end + at);
    before..after
}

/// The value of a line such as `memory = 512MiB`: the mistake that is made most, and the TOML parser tells of numbers.
fn bare_word(text: &str, line: Range<usize>) -> Option<Range<usize>> {
    let (before, value) = text[line.clone()].split_once('=')?;
    let start = line.start + before.len() + 1 + (value.len() - value.trim_start().len());
    let word = value.split('#').next()?.trim();
    let in_words = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '%');
    let is_word = word.chars().all(in_words) && word.contains(|c: char| c.is_ascii_alphabetic());
    (is_word && word.len() <= 40).then(|| start..start + word.len())
}

/// Messages begin in lower case.
fn lower_first(message: &str) -> String {
    let mut rest = message.chars();
    rest.next().map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}
