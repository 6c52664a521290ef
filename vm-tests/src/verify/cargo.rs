//! The steps that are cargo's own.

use crate::checkout::Checkout;
use crate::failure::{Attempt, Failure, Result};
use crate::tally::Counts;
use crate::terminal;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// A step without tests is one thing that passes.
const ONE: Counts = Counts { passed: 1, failed: 0, skipped: 0 };

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
    count_tests(checkout.cargo().args([
        "test",
        "--quiet",
        "--workspace",
        "--doc",
        "--no-fail-fast",
    ]))
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
    if status.success() { Ok(ONE) } else { Err(Failure::new(format!("`{words}` failed"))) }
}

/// Runs `cargo test`, shows its output as it comes, and adds up its results.
pub(super) fn count_tests(command: &mut Command) -> Result<Counts> {
    let words = words(command);
    let attempt = || format!("failed to run `{words}`");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().attempt(attempt)?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.attempt(attempt)?;
            if let Some(more) = result_line(&line) {
                counts = counts.and(more);
            }
            if !line.is_empty() {
                terminal::line(line);
            }
        }
    }
    let status = child.wait().attempt(attempt)?;
    // A test binary that doesn't compile or dies of a signal counts nothing.
    if !status.success() && counts.failed == 0 {
        return Err(Failure::new(format!("`{words}` failed")));
    }
    Ok(counts)
}

fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = std::iter::once("cargo".to_owned()).chain(arguments).collect();
    words.join(" ")
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`
fn result_line(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = numbers.split(';').find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Counts {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_harness_is_understood() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered \
                    out; finished in 0.02s";
        let expected = Counts { passed: 12, failed: 3, skipped: 1 };
        assert_eq!(result_line(line), Some(expected));
        assert_eq!(result_line("test a::b ... ok"), None);
    }
}
