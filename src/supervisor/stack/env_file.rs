//! Files of environment variables. Pure.
//!
//! One variable a line, `NAME=value`, with `export ` before it or not. Empty lines, and those that begin with `#`, say
//! nothing. A value is one of:
//!
//! * plain: to the end of the line, without the spaces around it; a `#` after a space begins a comment;
//! * in single quotes: everything between them, line breaks too;
//! * in double quotes: the same, where `\n`, `\r` and `\t` are those characters, `\"`, `\\` and `\$` what follows the
//!   backslash, and every other backslash a mistake.
//!
//! After a quote only a comment follows. No variable is looked up in a value: a `$` is a `$`. Where a name stands twice, the
//! later line counts.

use crate::policy::problem::quoted;
use std::ops::Range;

/// More variables than this are a mistake.
const MOST: usize = 10_000;

/// What is wrong, and where.
pub(super) type Wrong = (Range<usize>, String);

/// The variables of a file, in its order.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, Wrong> {
    let (mut all, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let end = line_end(text, at);
        let line = &text[at..end];
        let start = at + (line.len() - line.trim_start().len());
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            at = end + 1;
            continue;
        }
        let (name, equals) = name(text, start, end)?;
        let (value, after) = value(text, equals + 1, end)?;
        if value.contains('\0') {
            return Err((start..end, format!("the value of `{name}` has a NUL character")));
        }
        all.push((name, value));
        if all.len() > MOST {
            return Err((start..end, format!("there are more than {MOST} variables")));
        }
        at = after + 1;
    }
    Ok(all)
}

fn line_end(text: &str, from: usize) -> usize {
    text[from..].find('\n').map_or(text.len(), |at| from + at)
}

/// The name of a line, and where its `=` is.
fn name(text: &str, start: usize, end: usize) -> Result<(String, usize), Wrong> {
    let line = &text[start..end];
    let Some(equals) = line.find('=') else {
        return Err((
            start..end,
            format!("{} has no `=` (write `NAME=value`)", quoted(line.trim())),
        ));
    };
    let whole = &line[..equals];
    let name = whole.strip_prefix("export ").unwrap_or(whole).trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let digit = |c: char| c.is_ascii_digit();
    if name.is_empty() || name.starts_with(digit) || !name.chars().all(plain) {
        let message =
            format!("{} is no name for a variable (letters, digits and `_`)", quoted(name));
        return Err((start..start + equals.max(1), message));
    }
    Ok((name.to_owned(), start + equals))
}

/// The value that begins here, and where its last line ends. `end` is where its first line does.
fn value(text: &str, from: usize, end: usize) -> Result<(String, usize), Wrong> {
    let line = &text[from..end];
    let start = from + (line.len() - line.trim_start().len());
    let (value, after) = match text[start..end].chars().next() {
        Some('\'') => {
            let inner = &text[start + 1..];
            let length = inner.find('\'').ok_or_else(|| unclosed(start, end))?;
            (inner[..length].to_owned(), start + 1 + length + 1)
        }
        Some('"') => double(text, start, end)?,
        _ => {
            let plain = &text[from..end];
            let comment = plain
                .match_indices('#')
                .map(|(at, _)| at)
                .find(|at| plain[..*at].ends_with([' ', '\t']) || plain[..*at].is_empty());
            return Ok((plain[..comment.unwrap_or(plain.len())].trim().to_owned(), end));
        }
    };
    let end = line_end(text, after);
    let rest = text[after..end].trim();
    match rest.is_empty() || rest.starts_with('#') {
        true => Ok((value, end)),
        false => Err((after..end, format!("{} stands behind the quotes", quoted(rest)))),
    }
}

fn unclosed(start: usize, end: usize) -> Wrong {
    (start..end, "the quotes aren't closed".to_owned())
}

/// A value in double quotes, and where what follows it begins.
fn double(text: &str, start: usize, end: usize) -> Result<(String, usize), Wrong> {
    let mut value = String::new();
    let mut rest = text[start + 1..].char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => return Ok((value, start + 1 + at + 1)),
            '\\' => match rest.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\' | '$'))) => value.push(c),
                Some((_, other)) => {
                    let (at, shown) = (start + 1 + at, quoted(&format!("\\{other}")));
                    let message = format!(
                        "{shown} means nothing in double quotes (write `\\\\` for a backslash)"
                    );
                    return Err((at..at + 1 + other.len_utf8(), message));
                }
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(unclosed(start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variables() {
        let text = "# comment\n\nA=1\n export B = two words # not this \r\nC=a#b\nD='x $A\ny' # z\nE=\"l\\n\\\"\\$\\\\\"\nF=\nG=#none\nA=again";
        let all = parse(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a#b"),
            ("D", "x $A\ny"),
            ("E", "l\n\"$\\"),
            ("F", ""),
            ("G", ""),
            ("A", "again"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(all, expected);
    }

    #[test]
    fn what_is_no_variable_is_told_with_its_place() {
        for (text, place, message) in [
            ("A=1\nword", 4..8, "`word` has no `=` (write `NAME=value`)"),
            ("1A=x", 0..2, "`1A` is no name for a variable (letters, digits and `_`)"),
            ("=x", 0..1, "`` is no name for a variable (letters, digits and `_`)"),
            ("A='x\n", 2..4, "the quotes aren't closed"),
            ("A=\"x\\", 2..5, "the quotes aren't closed"),
            (
                "A=\"\\x\"",
                3..5,
                "`\\x` means nothing in double quotes (write `\\\\` for a backslash)",
            ),
            ("A='x' y", 5..7, "`y` stands behind the quotes"),
            ("A=\0", 0..3, "the value of `A` has a NUL character"),
        ] {
            assert_eq!(parse(text), Err((place, message.to_owned())), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A='\"\\\\# \n\u{e4}]{0,30}|.*") {
            if let Err((place, _)) = parse(&text) {
                proptest::prop_assert!(place.start <= text.len());
            }
        }

        #[test]
        fn what_is_written_with_double_quotes_is_read_as_it_was(value in "[^\0]{0,40}") {
            let escaped: String = value.chars().map(|c| match c {
                '\n' => "\\n".to_owned(),
                '"' | '\\' => format!("\\{c}"),
                other => other.to_string(),
            }).collect();
            let all = parse(&format!("A=\"{escaped}\"")).unwrap();
            proptest::prop_assert_eq!(all, [("A".to_owned(), value)]);
        }
    }
}
