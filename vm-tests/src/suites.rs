//! The tests that there are: every outsider's test, and the unit tests that need a kernel, listed by
//! their binaries.

use crate::catalogue::UnitTests;
use crate::checkout::{Artifact, Checkout};
use crate::failure::{Attempt, Failure, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// One test, wherever it will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The binary's name, as in `tests/<suite>.rs`.
    pub suite: String,
    /// The test's path inside the binary.
    pub name: String,
    /// The binary.
    pub binary: PathBuf,
    /// Where cargo would start it.
    pub directory: PathBuf,
}

/// Builds every test binary of the product and asks each for its tests.
///
/// # Errors
///
/// When something doesn't build, or a binary doesn't answer.
pub fn collect(checkout: &Checkout, units: &UnitTests) -> Result<Vec<Test>> {
    let built = checkout.build(&["test", "--no-run", "--workspace", "--exclude", "vm-tests"])?;
    let mut tests = Vec::new();
    for artifact in built.into_iter().filter(|artifact| artifact.is_test) {
        // The product's own outsider; what stands below it is tested by `cargo test`.
        let whole = artifact.kind == "test" && artifact.directory == checkout.root;
        for name in names(&artifact)? {
            if whole || units.need_a_kernel(&name) {
                tests.push(Test {
                    suite: artifact.name.clone(),
                    name,
                    binary: artifact.executable.clone(),
                    directory: artifact.directory.clone(),
                });
            }
        }
    }
    Ok(tests)
}

fn names(artifact: &Artifact) -> Result<Vec<String>> {
    let attempt = || format!("failed to list the tests of `{}`", artifact.executable.display());
    let output = Command::new(&artifact.executable)
        .args(["--list", "--format", "terse"])
        .current_dir(&artifact.directory)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .attempt(attempt)?;
    if !output.status.success() {
        return Err(Failure::new(attempt()));
    }
    Ok(listed(&String::from_utf8_lossy(&output.stdout)))
}

fn listed(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_are_listed() {
        let text = "a::b: test\nc::d: benchmark\n\n1 test, 1 benchmark\n";
        assert_eq!(listed(text), ["a::b"]);
    }
}
