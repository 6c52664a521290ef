//! `cargo verify`: everything that a change must pass, in order, on a machine that may be fresh.
//!
//! A step that fails doesn't stop the others: whoever reads the log wants to see all that is wrong.

mod api;
mod cargo;
mod elsewhere;
mod fuzz;
mod packages;
mod windows;

use crate::checkout::Checkout;
use crate::failure::{Failure, Result};
use crate::options::Options;
use crate::session;
use crate::tally::{Counts, Failed};
use crate::terminal;
use std::time::{Duration, Instant};

/// One step: its name, and what it does. Its result is what it counted.
struct Step {
    name: &'static str,
    why: &'static str,
    run: fn(&Checkout) -> Result<Counts>,
}

const STEPS: [Step; 12] = [
    Step { name: "packages", why: "what the others need", run: packages::install_missing },
    Step { name: "format", why: "cargo fmt --check", run: cargo::format },
    Step { name: "lint", why: "cargo clippy, no warnings", run: cargo::lint },
    Step { name: "macos", why: "cargo clippy for macOS, no warnings", run: elsewhere::macos },
    Step {
        name: "windows",
        why: "clippy for Windows, and its tests by Wine",
        run: windows::windows,
    },
    Step { name: "documentation", why: "cargo doc, no warnings", run: cargo::documentation },
    Step { name: "unit", why: "unit tests, here", run: cargo::unit_tests },
    Step { name: "examples", why: "examples in the documentation", run: cargo::doc_tests },
    Step { name: "fuzz", why: "parsers, a minute each", run: fuzz::fuzz },
    Step { name: "api", why: "the daemon's API, by programs of others", run: api::api },
    Step { name: "host", why: "outsider's tests here, as root and as a user", run: host },
    Step { name: "guests", why: "the same on real kernels: see kernels.toml", run: guests },
];

/// How one step came out.
struct Done {
    name: &'static str,
    counts: Counts,
    took: Duration,
    failure: Option<String>,
}

/// Runs the steps that are named, or all, and closes with the result. Returns how many failed.
///
/// # Errors
///
/// When a name is unknown, or this isn't a checkout.
pub fn run(names: &[String]) -> Result<usize> {
    let checkout = Checkout::find()?;
    if let Some(unknown) = names.iter().find(|name| !STEPS.iter().any(|s| s.name == **name)) {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        let known = known.join(", ");
        return Err(Failure::new(format!("no step `{unknown}`: there are {known}")));
    }
    let chosen =
        STEPS.iter().filter(|step| names.is_empty() || names.iter().any(|n| n == step.name));
    let done: Vec<Done> = chosen.map(|step| step.done(&checkout)).collect();
    Ok(close(&done))
}

impl Step {
    fn done(&self, checkout: &Checkout) -> Done {
        terminal::line(format!("\n==> {}: {}", self.name, self.why));
        let start = Instant::now();
        let result = (self.run)(checkout);
        let took = start.elapsed();
        let (counts, failure) = match result {
            Ok(counts) if counts.failed.is_empty() => (counts, None),
            Ok(counts) => {
                let reason = format!("{} failed", counts.failed.len());
                (counts, Some(reason))
            }
            Err(failure) => {
                let reason = failure.chain();
                let name = self.name.to_owned();
                let failed = Failed { name, reason: reason.clone(), output: String::new() };
                (Counts { failed: vec![failed], ..Counts::default() }, Some(reason))
            }
        };
        let word = failure.as_ref().map_or("ok".to_owned(), |reason| format!("FAILED: {reason}"));
        terminal::line(format!("<== {}: {word} ({:.1} s)", self.name, took.as_secs_f64()));
        Done { name: self.name, counts, took, failure }
    }
}

/// The steps with their times, then what failed, then the one line with the numbers.
fn close(done: &[Done]) -> usize {
    terminal::line("");
    for step in done {
        let word = if step.failure.is_none() { "ok" } else { "FAILED" };
        let seconds = step.took.as_secs_f64();
        terminal::line(format!("{:<14}{word:<8}{seconds:>7.1} s   {}", step.name, step.counts));
    }
    let failed: Vec<&Done> = done.iter().filter(|step| step.failure.is_some()).collect();
    if !failed.is_empty() {
        terminal::line("\nfailed steps:");
        for step in &failed {
            let reason = step.failure.as_deref().unwrap_or_default();
            terminal::line(format!("{}: {reason}", step.name));
            step.counts.show_failed();
        }
    }
    let all = done.iter().map(|step| step.counts.clone());
    let total = all.fold(Counts::default(), Counts::and);
    terminal::line(format!("\n{total}"));
    failed.len()
}

fn host(_: &Checkout) -> Result<Counts> {
    session::tests(&Options { guests: vec!["host".to_owned()], ..Options::default() })
}

fn guests(_: &Checkout) -> Result<Counts> {
    session::tests(&Options::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_step_is_answered_with_the_known_ones() {
        let message = run(&["lnit".to_owned()]).unwrap_err().chain();
        assert!(message.contains("`lnit`") && message.contains("lint"), "{message}");
    }

    #[test]
    fn the_failed_steps_are_counted() {
        let done = |failure: Option<&str>| Done {
            name: "lint",
            counts: Counts::default(),
            took: Duration::ZERO,
            failure: failure.map(str::to_owned),
        };
        assert_eq!(close(&[done(None), done(Some("a warning")), done(None)]), 1);
    }
}
