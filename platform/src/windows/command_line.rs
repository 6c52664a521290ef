//! The one line into which Windows puts a program and its arguments, and the block of its environment. Pure.

use crate::PlatformError;

/// The longest line that `CreateProcessW` takes, with the zero at its end.
const LONGEST: usize = 32_767;

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;

/// The words as one line that a program's runtime takes apart again (`CommandLineToArgvW`), with a zero at its end. The first one is
/// taken apart by a rule of its own: what is between quotes, as it is.
///
/// # Errors
/// When a word has a zero, the first one a quote, or the line is too long.
pub(super) fn command_line(words: &[Vec<u16>]) -> Result<Vec<u16>, PlatformError> {
    let mut line = Vec::new();
    for (place, word) in words.iter().enumerate() {
        if word.contains(&0) {
            return Err(PlatformError::invalid("an argument of the command has a zero character"));
        }
        match place {
            0 if word.contains(&QUOTE) => {
                let message = "a program's path can't have a quotation mark";
                return Err(PlatformError::invalid(message));
            }
            0 => {
                line.push(QUOTE);
                line.extend(word);
                line.push(QUOTE);
            }
            _ => {
                line.push(u16::from(b' '));
                add_argument(&mut line, word);
            }
        }
    }
    line.push(0);
    if line.len() > LONGEST {
        let message = format!("the command has more than {LONGEST} characters");
        return Err(PlatformError::invalid(message).with_hint("pass what is long in a file"));
    }
    Ok(line)
}

/// A backslash means something only before a quotation mark: there two stand for one.
fn add_argument(line: &mut Vec<u16>, word: &[u16]) {
    let means_something =
        |unit: &u16| [b' ', b'\t', b'\n', 0x0b, b'"'].map(u16::from).contains(unit);
    if !word.is_empty() && !word.iter().any(means_something) {
        line.extend(word);
        return;
    }
    line.push(QUOTE);
    let mut backslashes = 0;
    for unit in word {
        match *unit {
            BACKSLASH => backslashes += 1,
            QUOTE => {
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        line.push(*unit);
    }
    line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
    line.push(QUOTE);
}

/// Variables as the block that `CreateProcessW` takes: in the order of their names in capitals, each with a zero, and one more.
///
/// # Errors
/// When a name is empty, has an equals sign after its first character, or anything has a zero.
pub(super) fn environment_block(
    variables: &[(Vec<u16>, Vec<u16>)],
) -> Result<Vec<u16>, PlatformError> {
    let mut sorted: Vec<&(Vec<u16>, Vec<u16>)> = variables.iter().collect();
    sorted
        .sort_by_cached_key(|(name, _)| name.iter().map(|unit| capital(*unit)).collect::<Vec<_>>());
    let mut block = Vec::new();
    for (name, value) in sorted {
        let equals = name.iter().skip(1).any(|unit| *unit == u16::from(b'='));
        if name.is_empty() || equals || name.contains(&0) || value.contains(&0) {
            let shown = String::from_utf16_lossy(name);
            let message =
                format!("`{}` can't be a variable of the environment", shown.escape_debug());
            return Err(PlatformError::invalid(message));
        }
        block.extend(name);
        block.push(u16::from(b'='));
        block.extend(value);
        block.push(0);
    }
    // An empty block has two zeros too.
    block.extend(if block.is_empty() { &[0, 0][..] } else { &[0] });
    Ok(block)
}

fn capital(unit: u16) -> u16 {
    u8::try_from(unit).map_or(unit, |byte| u16::from(byte.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn line(words: &[&str]) -> String {
        let words: Vec<Vec<u16>> = words.iter().map(|word| wide(word)).collect();
        let line = command_line(&words).unwrap();
        String::from_utf16(&line[..line.len() - 1]).unwrap()
    }

    /// What `CommandLineToArgvW` makes of a line, as its documentation has it.
    fn taken_apart(line: &str) -> Vec<String> {
        let (first, mut rest) = line.strip_prefix('"').unwrap().split_once('"').unwrap();
        let mut words = vec![first.to_owned()];
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            if rest.is_empty() {
                return words;
            }
            let (mut word, mut inside, mut chars) = (String::new(), false, rest.chars().peekable());
            loop {
                let backslashes = std::iter::from_fn(|| chars.next_if_eq(&'\\')).count();
                match chars.peek() {
                    Some('"') => {
                        word.extend(std::iter::repeat_n('\\', backslashes / 2));
                        chars.next();
                        if backslashes % 2 == 1 {
                            word.push('"')
                        } else {
                            inside = !inside
                        }
                        continue;
                    }
                    _ => word.extend(std::iter::repeat_n('\\', backslashes)),
                }
                match chars.next() {
                    Some(' ' | '\t') if !inside => break,
                    Some(c) => word.push(c),
                    None => break,
                }
            }
            words.push(word);
            let left: String = chars.collect();
            rest = &rest[rest.len() - left.len()..];
        }
    }

    #[test]
    fn only_what_needs_quotes_has_them() {
        assert_eq!(
            line(&[r"C:\a b\c.exe", "plain", r"C:\x\", ""]),
            r#""C:\a b\c.exe" plain C:\x\ """#
        );
        assert_eq!(line(&["p", r#"say "hi""#]), r#""p" "say \"hi\"""#);
        assert_eq!(line(&["p", r"a b\"]), r#""p" "a b\\""#);
        assert_eq!(line(&["p", r#"\\"x"#]), r#""p" "\\\\\"x""#);
    }

    #[test]
    fn what_no_line_can_hold_is_refused() {
        for words in [&["p", "a\0b"][..], &["p\"q"], &["p", &"x".repeat(40_000)]] {
            let words: Vec<Vec<u16>> = words.iter().map(|word| wide(word)).collect();
            assert!(command_line(&words).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_line_is_taken_apart_into_the_same_words(
            arguments in proptest::collection::vec("[a \\t\\\\\"é]{0,6}", 0..5),
        ) {
            let mut words = vec!["C:\\p.exe"];
            words.extend(arguments.iter().map(String::as_str));
            prop_assert_eq!(taken_apart(&line(&words)), words);
        }
    }

    #[test]
    fn a_block_is_sorted_by_names_in_capitals_and_ends_with_two_zeros() {
        let block = |variables: &[(&str, &str)]| {
            let pairs: Vec<_> = variables.iter().map(|(n, v)| (wide(n), wide(v))).collect();
            environment_block(&pairs).map(|block| String::from_utf16(&block).unwrap())
        };
        assert_eq!(block(&[("b", "2"), ("A", "1"), ("=C:", "x")]).unwrap(), "=C:=x\0A=1\0b=2\0\0");
        assert_eq!(block(&[]).unwrap(), "\0\0");
        assert!(block(&[("", "x")]).is_err() && block(&[("A=B", "x")]).is_err());
        assert!(block(&[("A", "x\0y")]).is_err());
    }
}
