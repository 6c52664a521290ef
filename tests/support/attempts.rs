//! The program that tries forbidden things (`tests/programs/attempts.c`), and how it is run outside and inside.

use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The compiled program in a directory of its own, which is writable inside.
pub(crate) struct Attempts {
    /// Where it is.
    pub(crate) directory: TempDir,
}

impl Attempts {
    /// Compiles it; `None` when there is no compiler.
    pub(crate) fn compiled() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/attempts.c");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-o"]).arg(directory.path().join("attempts")).arg(source);
        let output = gcc.output().ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self { directory })
    }

    /// What comes back in a sandbox of the default policy with `flags`.
    pub(crate) fn inside(&self, flags: &[&str], names: &[&str]) -> Vec<String> {
        let mut command = stockade(self.directory.path());
        self.run(command.args(flags).args(["--", "./attempts"]), names)
    }

    /// The second word of each line that `command` prints for these names; the first is the name.
    pub(crate) fn run(&self, command: &mut Command, names: &[&str]) -> Vec<String> {
        let output = command.args(names).current_dir(self.directory.path()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{names:?}: {:?}\n{error}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<_> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        assert!(answers.iter().map(|(name, _)| name).eq(names), "{text}\n{error}");
        answers.into_iter().map(|(_, answer)| answer.to_owned()).collect()
    }
}

/// `stockade run` in a directory that is writable inside; flags, `--` and the program are to follow.
pub(crate) fn stockade(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.args(["run", "--write", "."]).current_dir(directory);
    command
}
