//! The steps that are cargo's own.

use crate::checkout::Checkout;
use crate::failure::{Attempt, Failure, Result};
use crate::tally::{Counts, Failed};
use crate::terminal;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// A step without tests is one thing that passes.
fn one() -> Counts {
    Counts { passed: 1, ..Counts::default() }
}

pub(super) fn format(checkout: &Checkout) -> Result<Counts> {
    component("rustfmt", "fmt", checkout)?;
    must_succeed(checkout.cargo().args(["fmt", "--all", "--check"]))
}

pub(super) fn lint(checkout: &Checkout) -> Result<Counts> {
    component("clippy", "clippy", checkout)?;
    let arguments = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    must_succeed(checkout.cargo().args(arguments))
}

pub(super) fn documentation(checkout: &Checkout) -> Result<Counts> {
    let mut command = checkout.cargo();
    command.args(["doc", "--quiet", "--workspace", "--no-deps"]);
    must_succeed(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// All but the outsider's tests: those have steps of their own, where skips are counted.
pub(super) fn unit_tests(checkout: &Checkout) -> Result<Counts> {
    let product = ["test", "--package", "stockade", "--lib", "--bins", "--no-fail-fast"];
    let below = ["test", "--workspace", "--exclude", "stockade", "--tests", "--no-fail-fast"];
    let product = count_tests(checkout.cargo().args(product));
    let below = count_tests(checkout.cargo().args(below));
    Ok(product?.and(below?))
}

pub(super) fn doc_tests(checkout: &Checkout) -> Result<Counts> {
    count_tests(checkout.cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]))
}

/// Parts of the toolchain that a minimal installation leaves out.
fn component(component: &str, subcommand: &str, checkout: &Checkout) -> Result<()> {
    let there = checkout
        .cargo()
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if there.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let added = Command::new("rustup").args(["component", "add", component]).status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(Failure::new(format!("`cargo {subcommand}` is missing, and rustup can't add {component}")))
}

pub(super) fn must_succeed(command: &mut Command) -> Result<Counts> {
    let words = words(command);
    let status = command.stdin(Stdio::null()).status();
    let status = status.attempt(|| format!("failed to run `{words}`"))?;
    if status.success() { Ok(one()) } else { Err(Failure::new(format!("`{words}` failed"))) }
}

/// Runs `cargo test`, shows its output as it comes, and adds up its results.
pub(super) fn count_tests(command: &mut Command) -> Result<Counts> {
    let words = words(command);
    let attempt = || format!("failed to run `{words}`");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().attempt(attempt)?;
    let mut seen = Seen::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.attempt(attempt)?;
            seen.line(&line);
            if !line.is_empty() {
                terminal::line(line);
            }
        }
    }
    let status = child.wait().attempt(attempt)?;
    // A test binary that doesn't compile or dies of a signal counts nothing.
    if !status.success() && seen.counts.failed.is_empty() {
        return Err(Failure::new(format!("`{words}` failed")));
    }
    Ok(seen.counts)
}

/// What the lines of test harnesses told so far.
#[derive(Default)]
struct Seen {
    counts: Counts,
    /// The failed test whose output is being told.
    telling: Option<usize>,
}

impl Seen {
    fn line(&mut self, line: &str) {
        if let Some((passed, skipped)) = result_line(line) {
            self.counts.passed += passed;
            self.counts.skipped += skipped;
            self.telling = None;
        } else if let Some(name) = between(line, "test ", " ... FAILED") {
            let reason = "failed".to_owned();
            self.counts.failed.push(Failed { name, reason, output: String::new() });
        } else if let Some(name) = between(line, "---- ", " stdout ----") {
            self.telling = self.counts.failed.iter().rposition(|failed| failed.name == name);
        } else if line == "failures:" {
            self.telling = None;
        } else if let Some(failed) = self.telling.and_then(|at| self.counts.failed.get_mut(at)) {
            failed.output += line;
            failed.output.push('\n');
        }
    }
}

fn between(line: &str, before: &str, after: &str) -> Option<String> {
    line.strip_prefix(before)?.strip_suffix(after).map(str::to_owned)
}

fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = std::iter::once("cargo".to_owned()).chain(arguments).collect();
    words.join(" ")
}

/// How many passed and were ignored: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`. Those that failed have lines of their own.
fn result_line(line: &str) -> Option<(usize, usize)> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = numbers.split(';').find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some((number("passed")?, number("ignored")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_harness_are_understood() {
        let text = "test a::b ... ok\ntest a::c ... FAILED\n\nfailures:\n\n---- a::c stdout ----\n\
                    thread panicked\nno such thing\n\nfailures:\n    a::c\n\n\
                    test result: FAILED. 12 passed; 1 failed; 3 ignored; 0 measured; 7 filtered \
                    out; finished in 0.02s";
        let mut seen = Seen::default();
        text.lines().for_each(|line| seen.line(line));
        assert_eq!((seen.counts.passed, seen.counts.skipped), (12, 3));
        let output = "thread panicked\nno such thing\n\n".to_owned();
        let failed = Failed { name: "a::c".to_owned(), reason: "failed".to_owned(), output };
        assert_eq!(seen.counts.failed, [failed]);
    }
}
