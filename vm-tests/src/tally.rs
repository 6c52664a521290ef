//! The results of a whole run, told as `cargo test` tells them.

use crate::terminal;
use crate::verdict::Verdict;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All results so far; several guests add to it at once.
#[derive(Debug)]
pub struct Tally {
    start: Instant,
    results: Mutex<Results>,
}

#[derive(Debug, Default)]
struct Results {
    passed: usize,
    skipped: usize,
    failures: Vec<Failed>,
    /// Time by guest, with the user, and by suite.
    times: BTreeMap<String, BTreeMap<String, Duration>>,
}

/// How many failures are told once more at the end, and how much of what each printed.
const SHOWN: usize = 5;
const SHOWN_LINES: usize = 15;

/// How many of each, and which failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ran and passed.
    pub passed: usize,
    /// Failed, or were lost with their guest.
    pub failed: Vec<Failed>,
    /// Couldn't run, and was allowed not to.
    pub skipped: usize,
}

/// One thing that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The test's name, or what else it was.
    pub name: String,
    /// Why, in a line.
    pub reason: String,
    /// What it printed.
    pub output: String,
}

impl Default for Tally {
    fn default() -> Self {
        Self { start: Instant::now(), results: Mutex::default() }
    }
}

impl Tally {
    /// Counts one result and shows its line at once.
    pub fn add(&self, name: &str, verdict: Verdict, took: Duration, output: &str) {
        terminal::line(Line { name, verdict: &verdict, took });
        let mut results = self.results();
        if let Some((guest, suite)) = place(name) {
            *results.times.entry(guest).or_default().entry(suite).or_default() += took;
        }
        match verdict {
            Verdict::Passed => results.passed += 1,
            Verdict::Skipped(_) => results.skipped += 1,
            Verdict::Failed(reason) => results.failures.push(Failed {
                name: name.to_owned(),
                reason,
                output: output.to_owned(),
            }),
        }
    }

    /// How many of each so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.results().counts()
    }

    fn results(&self) -> MutexGuard<'_, Results> {
        // A thread that panicked has added its result or hasn't; both leave whole numbers.
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows every failure with its output, and the result.
    pub fn close(&self) {
        let results = self.results();
        if !results.failures.is_empty() {
            terminal::line("\nfailures:");
            for failed in &results.failures {
                terminal::line(format!("\n---- {} ----\n{}", failed.name, failed.reason));
                terminal::line(failed.output.trim_end());
            }
            terminal::line("\nfailures:");
            for failed in &results.failures {
                terminal::line(format!("    {}", failed.name));
            }
        }
        terminal::line("");
        results.times.iter().for_each(|(guest, suites)| terminal::line(times(guest, suites)));
        let seconds = self.start.elapsed().as_secs_f64();
        let counts = results.counts();
        terminal::line(format!("\n{}; finished in {seconds:.2}s", counts.as_result()));
    }
}

/// The guest of a test, with the user, and its suite: `uml::user::limits::...` is of `uml user` and `limits`.
fn place(name: &str) -> Option<(String, String)> {
    let mut parts = name.split("::");
    let guest = parts.next()?;
    let next = parts.next()?;
    let (guest, suite) = match next {
        "user" => (format!("{guest} {next}"), parts.next()?),
        suite => (guest.to_owned(), suite),
    };
    Some((guest, suite.to_owned()))
}

/// Where the time of a guest went: the whole, and the suites that took most of it.
fn times(guest: &str, suites: &BTreeMap<String, Duration>) -> String {
    let all: Duration = suites.values().sum();
    let mut longest: Vec<_> = suites.iter().collect();
    longest.sort_by_key(|(_, took)| Reverse(**took));
    let told = longest.iter().take(8).map(|(suite, took)| format!("{suite} {}", took.as_secs()));
    format!("time of {guest}: {} s: {}", all.as_secs(), told.collect::<Vec<_>>().join(", "))
}

impl Results {
    fn counts(&self) -> Counts {
        let failed = self.failures.clone();
        Counts { passed: self.passed, failed, skipped: self.skipped }
    }
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn and(self, mut other: Self) -> Self {
        let mut failed = self.failed;
        failed.append(&mut other.failed);
        Self { passed: self.passed + other.passed, failed, skipped: self.skipped + other.skipped }
    }

    /// Each failure with what it panicked with, or else the end of its output: a log may be kept by its last lines alone.
    pub fn show_failed(&self) {
        for failed in self.failed.iter().take(SHOWN) {
            terminal::line(format!("    {}: {}", failed.name, failed.reason));
            let lines: Vec<&str> = failed.output.trim_end().lines().collect();
            // What comes behind is the way there.
            let panicked = lines.iter().position(|line| line.contains("panicked at "));
            let first = panicked.unwrap_or_else(|| lines.len().saturating_sub(SHOWN_LINES));
            for line in lines.iter().skip(first).take(SHOWN_LINES) {
                terminal::line(format!("        {line}"));
            }
        }
        if self.failed.len() > SHOWN {
            terminal::line(format!("    and {} more", self.failed.len() - SHOWN));
        }
    }

    fn as_result(&self) -> String {
        let failed = self.failed.len();
        let word = if failed == 0 { "ok" } else { "FAILED" };
        format!(
            "test result: {word}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out",
            self.passed, failed, self.skipped
        )
    }
}

/// The one line that ends a run.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped)
    }
}

struct Line<'a> {
    name: &'a str,
    verdict: &'a Verdict,
    took: Duration,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "test {} ... ", self.name)?;
        match self.verdict {
            Verdict::Passed => f.write_str("ok")?,
            Verdict::Failed(_) => f.write_str("FAILED")?,
            Verdict::Skipped(reason) => write!(f, "ignored, {reason}")?,
        }
        // A test that takes long is worth a look; the rest would only be noise.
        if self.took >= Duration::from_secs(5) {
            write!(f, " <{:.1}s>", self.took.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verdict: &Verdict, seconds: u64) -> String {
        Line { name: "uml::a::b", verdict, took: Duration::from_secs(seconds) }.to_string()
    }

    #[test]
    fn a_line_reads_like_one_of_cargo_test() {
        assert_eq!(line(&Verdict::Passed, 0), "test uml::a::b ... ok");
        assert_eq!(line(&Verdict::Passed, 7), "test uml::a::b ... ok <7.0s>");
        assert_eq!(line(&Verdict::Failed("x".to_owned()), 0), "test uml::a::b ... FAILED");
        let skipped = Verdict::Skipped("psi: none".to_owned());
        assert_eq!(line(&skipped, 0), "test uml::a::b ... ignored, psi: none");
    }

    #[test]
    fn the_last_line_has_all_three_numbers() {
        let failed = Failed { name: "a".into(), reason: "b".into(), output: String::new() };
        let counts = Counts { passed: 3, failed: vec![failed], skipped: 2 };
        assert_eq!(counts.to_string(), "3 passed, 1 failed, 2 skipped");
        assert!(
            counts.as_result().starts_with("test result: FAILED. 3 passed; 1 failed; 2 ignored")
        );
    }

    #[test]
    fn the_time_of_a_guest_is_told_by_suite() {
        assert_eq!(place("uml::user::a::b"), Some(("uml user".to_owned(), "a".to_owned())));
        assert_eq!(place("host::a::b::c"), Some(("host".to_owned(), "a".to_owned())));
        let suites =
            [("a", 2), ("b", 70)].map(|(suite, s)| (suite.to_owned(), Duration::from_secs(s)));
        assert_eq!(times("uml", &suites.into()), "time of uml: 72 s: b 70, a 2");
    }

    #[test]
    fn every_verdict_is_counted_once() {
        let tally = Tally::default();
        tally.add("a", Verdict::Passed, Duration::ZERO, "");
        tally.add("b", Verdict::Failed("x".to_owned()), Duration::ZERO, "");
        tally.add("c", Verdict::Skipped("y".to_owned()), Duration::ZERO, "");
        let counts = tally.counts();
        assert_eq!((counts.passed, counts.failed.len(), counts.skipped), (1, 1, 1));
        assert_eq!((counts.failed[0].name.as_str(), counts.failed[0].reason.as_str()), ("b", "x"));
    }
}
