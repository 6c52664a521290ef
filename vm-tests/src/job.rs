//! What a guest is told to do, and how one test ended: plain data that both sides share.

use crate::failure::{Attempt, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The user that tests run as when they don't run as root: nobody's own id on most machines, and the
/// one a desktop's first user has, so that what is checked is what people use.
pub const USER: u32 = 1000;

/// Everything one boot does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Stands in front of every frame of this boot.
    pub token: String,
    /// What to run.
    pub task: Task,
    /// Directories of the host that must stay visible at their own paths, whatever is mounted over
    /// their parents inside (the workspace, the target directory).
    pub keep: Vec<PathBuf>,
    /// Set for every test, beside `HOME` and `PATH`.
    pub environment: Vec<(String, String)>,
    /// Directories that tests expect to be able to write to.
    pub writable: Vec<PathBuf>,
    /// Kernel modules to load once the host's root is there, in order.
    pub modules: Vec<PathBuf>,
    /// The block device that becomes a real file system on `/tmp`.
    pub scratch: Option<PathBuf>,
}

/// What to run in a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A command for `sh -c`; its output is shown as it comes.
    Shell {
        /// The command.
        command: String,
        /// Run it as the unprivileged user in its delegated cgroup.
        as_user: bool,
    },
    /// Tests, one after the other.
    Tests(Vec<TestCase>),
}

/// One test of one test binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCase {
    /// The test binary's name, as in `tests/<suite>.rs`.
    pub suite: String,
    /// The test's own path inside the binary.
    pub name: String,
    /// The test binary.
    pub binary: PathBuf,
    /// Where cargo would start it: the directory of its package.
    pub directory: PathBuf,
    /// Run it as the unprivileged user.
    pub as_user: bool,
    /// After so many seconds it is killed and has failed.
    pub timeout_s: u64,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How its process ended.
    pub ending: Ending,
    /// How long it took.
    pub seconds: f64,
    /// What it printed, stdout and stderr as they came.
    pub output: String,
    /// What it left behind: processes, cgroups.
    pub notes: Vec<String>,
}

/// How a test's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Killed: its time was over.
    TimedOut,
    /// It never ran.
    NotStarted(String),
}

impl Job {
    /// Writes the job where the guest will read it.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text =
            serde_json::to_string_pretty(self).attempt(|| "failed to write a job as JSON")?;
        fs::write(path, text).attempt(|| format!("failed to write `{}`", path.display()))
    }

    /// Reads the job that the host left.
    ///
    /// # Errors
    ///
    /// When the file can't be read or isn't a job.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read(path).attempt(|| format!("failed to read the job `{}`", path.display()))?;
        serde_json::from_slice(&text)
            .attempt(|| format!("failed to understand the job `{}`", path.display()))
    }
}
