//! The product for systems that no test runs on here: that it compiles for them, without warnings.

use super::cargo::must_succeed;
use crate::checkout::Checkout;
use crate::failure::Result;
use crate::tally::Counts;
use crate::terminal;
use std::process::{Command, Stdio};

const MACOS: &str = "aarch64-apple-darwin";

/// Types and lints for macOS. Nothing is linked, so what C compilers would make is never looked at, and none is needed.
pub(super) fn macos(checkout: &Checkout) -> Result<Counts> {
    let added = Command::new("rustup")
        .args(["target", "add", MACOS])
        .current_dir(&checkout.root)
        .stdin(Stdio::null())
        .status();
    if !added.is_ok_and(|status| status.success()) {
        terminal::line(format!("SKIP: rustup can't add {MACOS}: nothing is known of macOS"));
        return Ok(Counts { skipped: 1, ..Counts::default() });
    }
    let mut lint = checkout.cargo();
    lint.args(["clippy", "--quiet", "--package", "stockade", "--package", "stockade-platform"]);
    lint.args(["--lib", "--bins", "--test", "outsider", "--target", MACOS, "--", "-D", "warnings"]);
    for tool in ["CC", "AR"] {
        lint.env(format!("{tool}_{}", MACOS.replace('-', "_")), "true");
    }
    must_succeed(&mut lint)
}
