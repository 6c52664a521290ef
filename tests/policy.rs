//! Policies from outside: every message about a wrong one, and what `stockade policy` prints.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "what fails here is a failure of the test")]

#[path = "policy/files.rs"]
mod files;
#[path = "policy/printed.rs"]
mod printed;
#[path = "policy/wrong.rs"]
mod wrong;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of its own for one test, and the real command started in it.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        fs::canonicalize(self.directory.path()).unwrap()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn stockade(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_stockade"))
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap();
        Ended::new(output)
    }

    /// What `policy check` says of a file.
    fn check(&self, name: impl AsRef<OsStr>) -> Ended {
        self.stockade([OsStr::new("policy"), OsStr::new("check"), name.as_ref()])
    }
}

/// How the command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("what Stockade prints is UTF-8");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The first line of every problem, when it was refused as it should be.
    #[track_caller]
    fn problems(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(125), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        self.stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect()
    }

    #[track_caller]
    fn good(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        &self.stdout
    }
}

/// The one problem of a policy with this text, as `policy check` tells it.
fn only_problem(text: &str) -> String {
    let place = Place::new();
    let ended = place.write("p.toml", text).check("p.toml");
    let problems = ended.problems();
    assert_eq!(problems.len(), 1, "{text}\n{}", ended.stderr);
    problems[0].to_owned()
}

/// A path that a test may use and that is surely not there.
fn nowhere() -> &'static Path {
    Path::new("/nonexistent/p.toml")
}
