//! What is wrong with a policy, and where: all of it at once.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::fmt;
use std::ops::Range;

/// More problems than this aren't told: the file is something else than a policy.
const MOST_PROBLEMS: usize = 100;

/// The longest line that is shown whole; of longer ones only the part around the problem.
const LONGEST_LINE: usize = 160;

/// One thing wrong with a policy.
///
/// Its text is one line, `web.toml:12:9: limits.memory: ...`, and then the line of the file with a mark below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    origin: String,
    position: Option<(usize, usize)>,
    key: String,
    message: String,
    excerpt: Option<Excerpt>,
    /// Which source and where in it, for sorting.
    order: (usize, usize),
}

/// The line of a problem and the part of it that is marked, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    mark: Range<usize>,
}

impl Problem {
    /// A problem with a whole source, such as a file that can't be read.
    pub(crate) fn whole(origin: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            position: None,
            key: String::new(),
            message: message.into(),
            excerpt: None,
            order: (0, 0),
        }
    }

    /// A problem with `text[span]`.
    pub(crate) fn in_text(
        origin: &str,
        text: &str,
        span: Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let number = text[..line_start].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count() + 1;
        let mark = start - line_start..floor(text, span.end.min(line_end)).max(start) - line_start;
        Self {
            origin: origin.to_owned(),
            position: Some((number, column)),
            key: key.into(),
            message: message.into(),
            excerpt: Some(Excerpt::new(line, mark)),
            order: (0, start),
        }
    }

    /// A problem with a flag of the command line.
    pub(crate) fn of_flag(flag: &str, message: impl Into<String>) -> Self {
        let key = format!("--{flag}");
        Self { key, order: (usize::MAX, 0), ..Self::whole("command line", message) }
    }

    /// The same problem, of the source with this number; they are told in the order of their sources.
    #[must_use]
    pub(crate) fn in_source(mut self, number: usize) -> Self {
        self.order.0 = number;
        self
    }

    pub(crate) fn order(&self) -> (usize, usize) {
        self.order
    }

    /// The file, or `command line`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Line and column, counted from one; columns count characters. `None` for what isn't in a file's text.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.position
    }

    /// The key, such as `limits.memory`, or the flag; empty when it is about the whole file.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, without its place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line of the file with a mark under the problem, with colours for a terminal or without.
    pub fn excerpt(&self, coloured: bool) -> Option<String> {
        let (excerpt, (line, _)) = (self.excerpt.as_ref()?, self.position?);
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let mark = AnnotationKind::Primary.span(excerpt.mark.clone());
        let snippet = Snippet::source(&excerpt.text).line_start(line).annotation(mark);
        Some(renderer.render(&[Group::with_level(Level::ERROR).element(snippet)]))
    }

    fn text(&self, coloured: bool) -> String {
        let excerpt = self.excerpt(coloured).map(|excerpt| format!("\n{excerpt}"));
        self.headline() + &excerpt.unwrap_or_default()
    }

    /// Place, key and message in one line.
    pub fn headline(&self) -> String {
        let mut line = self.origin.clone();
        if let Some((row, column)) = self.position {
            line += &format!(":{row}:{column}");
        }
        if !self.key.is_empty() {
            line += &format!(": {}", self.key);
        }
        format!("{line}: {}", self.message)
    }
}

impl Excerpt {
    fn new(line: &str, mark: Range<usize>) -> Self {
        if line.len() <= LONGEST_LINE {
            return Self {
                text: line.to_owned(),
                mark: mark.start.min(line.len())..mark.end.min(line.len()),
            };
        }
        let from = floor(line, mark.start.saturating_sub(LONGEST_LINE / 4));
        let to = floor(line, line.len().min(from + LONGEST_LINE));
        let (start, end) = (mark.start.min(to) - from, mark.end.min(to) - from);
        Self { text: line[from..to].to_owned(), mark: start..end }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(false))
    }
}

/// Everything that is wrong with a policy. Its text tells all problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    problems: Vec<Problem>,
    /// Problems that are not told.
    more: usize,
}

impl PolicyError {
    /// What is wrong, in the order of the sources.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many more problems there are than [`Self::problems`] has; zero unless the file is no policy at all.
    pub fn more(&self) -> usize {
        self.more
    }
}

impl PolicyError {
    /// One text for each problem.
    pub(crate) fn messages(&self, coloured: bool) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more problems", self.more));
        self.problems.iter().map(|problem| problem.text(coloured)).chain(more).collect()
    }
}

impl From<Problem> for PolicyError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], more: 0 }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages(false).join("\n"))
    }
}

impl std::error::Error for PolicyError {}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// Notes a problem; it is made only when it will be told. What is read several times is told once.
    pub(crate) fn add(&mut self, problem: impl FnOnce() -> Problem) {
        if self.found.len() < MOST_PROBLEMS {
            let problem = problem();
            if !self.found.contains(&problem) {
                self.found.push(problem);
            }
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `value`, if nothing is wrong.
    pub(crate) fn or<T>(mut self, value: T) -> Result<T, PolicyError> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by_key(Problem::order);
        Err(PolicyError { problems: self.found, more: self.more })
    }
}

/// A text in backticks for a one-line message: control characters are escaped, and it isn't long.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut out = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            out.push_str("...");
            break;
        }
        // Also characters that turn the direction of writing around: they could make a message say something else.
        let unsafe_to_print = c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if unsafe_to_print { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.push('`');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_with_a_mark() {
        let text = "[limits]\nmemory = \"512 megs\"\n";
        let problem = Problem::in_text("web.toml", text, 18..28, "limits.memory", "wrong");
        assert_eq!(
            problem.to_string(),
            "web.toml:2:10: limits.memory: wrong\n  |\n2 | memory = \"512 megs\"\n  |          ^^^^^^^^^^"
        );
    }

    #[test]
    fn a_place_at_the_end_or_inside_a_character_is_no_panic() {
        for (text, span) in
            [("", 0..0), ("a", 5..9), ("\u{e4}", 1..1), ("a\n", 2..2), ("a\nb", 0..3)]
        {
            let problem = Problem::in_text("x", text, span, "", "wrong");
            assert!(problem.to_string().starts_with("x:"));
        }
        let long = "\u{e4}".repeat(1000);
        let problem = Problem::in_text("x", &long, 1800..1900, "", "wrong");
        assert!(problem.to_string().len() < 400);
    }

    #[test]
    fn quoted_text_stays_in_its_line() {
        assert_eq!(quoted("a\nb\u{1b}[0m\u{202e}"), "`a\\nb\\u{1b}[0m\\u{202e}`");
        assert_eq!(quoted(&"x".repeat(70)), format!("`{}...`", "x".repeat(60)));
    }
}
