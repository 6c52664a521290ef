//! Which lines are kept, and what is noted of them. What is said of a line follows from it and the settings; only the rate limit
//! remembers anything.

use super::cutter::Piece;
use super::format::Fields;
use super::rate::Limiter;
use super::settings::Logging;
use std::time::Duration;

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep(String, Fields),
    /// Nobody wants it.
    Unwanted,
    /// It is one too many.
    TooMuch,
}

#[derive(Debug)]
pub(super) struct Sieve {
    logging: Logging,
    limiter: Limiter,
}

impl Sieve {
    pub(super) fn new(logging: Logging) -> Self {
        let limiter = Limiter::new(&logging.rate_limit);
        Self { logging, limiter }
    }

    pub(super) fn judge(&mut self, piece: &Piece<'_>, now: Duration) -> Verdict {
        let text = String::from_utf8_lossy(piece.text).into_owned();
        let Logging { include, exclude, level, format, .. } = &self.logging;
        let fields = format.fields(&text);
        let wanted = include.is_empty() || include.iter().any(|pattern| pattern.is_match(&text));
        let unwanted = exclude.iter().any(|pattern| pattern.is_match(&text));
        let light = matches!((level, fields.level), (Some(least), Some(level)) if level > *least);
        if !wanted || unwanted || light {
            return Verdict::Unwanted;
        }
        if !self.limiter.allows(piece.length, now) {
            return Verdict::TooMuch;
        }
        Verdict::Keep(text, fields)
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Format;
    use super::super::record::Level;
    use super::super::settings::RateLimit;
    use super::*;
    use regex::Regex;

    fn kept(sieve: &mut Sieve, line: &str) -> bool {
        let piece = Piece { text: line.as_bytes(), length: line.len() + 1, ends: true };
        matches!(sieve.judge(&piece, Duration::ZERO), Verdict::Keep(..))
    }

    #[test]
    fn only_wanted_lines_are_kept() {
        let regex = |text| vec![Regex::new(text).unwrap()];
        let mut sieve = Sieve::new(Logging {
            include: regex("GET|POST"),
            exclude: regex("/health$"),
            level: Some(Level::Warning),
            format: Format::Auto,
            ..Logging::default()
        });
        assert!(kept(&mut sieve, "GET /"));
        assert!(!kept(&mut sieve, "GET /health") && !kept(&mut sieve, "HEAD /"));
        assert!(!kept(&mut sieve, "level=info msg=GET") && kept(&mut sieve, "level=error msg=GET"));
    }

    #[test]
    fn what_is_unwanted_counts_for_no_limit() {
        let exclude = vec![Regex::new("noise").unwrap()];
        let rate_limit = RateLimit { lines: Some(1), ..RateLimit::default() };
        let mut sieve = Sieve::new(Logging { exclude, rate_limit, ..Logging::default() });
        assert!(!kept(&mut sieve, "noise") && kept(&mut sieve, "one") && !kept(&mut sieve, "two"));
    }
}
