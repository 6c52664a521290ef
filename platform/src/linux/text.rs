//! Words and numbers in the text files of the kernel, without allocating.

/// The lines that aren't empty.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The words of a line.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A number that is all digits and fits.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_a_number() {
        assert_eq!(digits(b"18446744073709551615"), Some(u64::MAX));
        for none in ["", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"] {
            assert_eq!(digits(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn words_and_lines_skip_what_is_empty() {
        assert_eq!(words(b" a\t\tb ").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(lines(b"\na\n\nb").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
