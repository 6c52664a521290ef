//! This checkout: its directories, and what cargo builds from it.

use crate::failure::{Attempt, Failure, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The workspace's directory.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
}

/// A program that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The package's own directory: where cargo starts its tests.
    pub directory: PathBuf,
    /// The target's name, as in `tests/<name>.rs`.
    pub name: String,
    /// `lib`, `bin` or `test`.
    pub kind: String,
    /// Whether it is a test program.
    pub is_test: bool,
    /// The program.
    pub executable: PathBuf,
}

impl Checkout {
    /// The checkout that this program was built from.
    ///
    /// # Errors
    ///
    /// When the program isn't where cargo puts it.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe().attempt(|| "failed to find this program")?;
        // target/<profile>/<program>
        let target = own.ancestors().nth(2).ok_or_else(|| {
            Failure::new(format!("`{}` isn't in a target directory", own.display()))
        })?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let root = root.ok_or_else(|| Failure::new("this package has no workspace"))?;
        Ok(Self { root: root.to_owned(), target: target.to_owned() })
    }

    /// Where kernels, logs and boots live.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.target.join("vm")
    }

    /// A cargo command in this workspace.
    #[must_use]
    pub fn cargo(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root);
        command
    }

    /// Builds the `guest` program.
    ///
    /// # Errors
    ///
    /// When it doesn't build.
    pub fn build_guest(&self) -> Result<PathBuf> {
        let built = self.build(&["build", "--package", "vm-tests", "--bin", "guest"])?;
        let guest = built.into_iter().find(|artifact| artifact.name == "guest");
        guest
            .map(|artifact| artifact.executable)
            .ok_or_else(|| Failure::new("cargo built no `guest`"))
    }

    /// Runs a building cargo command and returns the programs it names.
    ///
    /// # Errors
    ///
    /// When cargo fails; it has printed why.
    pub fn build(&self, arguments: &[&str]) -> Result<Vec<Artifact>> {
        let words = arguments.join(" ");
        let output = self
            .cargo()
            .args(arguments)
            .args(["--quiet", "--message-format", "json-render-diagnostics"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .attempt(|| format!("failed to run `cargo {words}`"))?;
        if !output.status.success() {
            return Err(Failure::new(format!("`cargo {words}` failed")));
        }
        Ok(artifacts(&String::from_utf8_lossy(&output.stdout)))
    }
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
    manifest_path: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

fn artifacts(messages: &str) -> Vec<Artifact> {
    let artifact = |line: &str| {
        let message: Message = serde_json::from_str(line).ok()?;
        let (target, manifest) = (message.target?, message.manifest_path?);
        (message.reason == "compiler-artifact").then_some(())?;
        Some(Artifact {
            directory: manifest.parent()?.to_owned(),
            name: target.name,
            kind: target.kind.first()?.clone(),
            is_test: message.profile?.test,
            executable: message.executable?,
        })
    };
    messages.lines().filter_map(artifact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_artifacts_with_a_program_count() {
        let test = r#"{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"name":"limits","kind":["test"]},"profile":{"test":true},"executable":"/t/limits-1"}"#;
        let library = r#"{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"name":"x","kind":["lib"]},"profile":{"test":false},"executable":null}"#;
        let end = r#"{"reason":"build-finished","success":true}"#;
        let found = artifacts(&[library, test, end, "not json"].join("\n"));
        let expected = Artifact {
            directory: "/w".into(),
            name: "limits".to_owned(),
            kind: "test".to_owned(),
            is_test: true,
            executable: "/t/limits-1".into(),
        };
        assert_eq!(found, [expected]);
    }
}
