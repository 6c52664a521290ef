//! The cgroup subtree that the unprivileged user gets, as a service manager would delegate it.

use crate::failure::{Attempt, Result};
use crate::job::USER;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

/// Where cgroup v2 is mounted.
const TREE: &str = "/sys/fs/cgroup";
/// The delegated subtree: the directory and the files that may be delegated belong to the user.
const SUBTREE: &str = "/sys/fs/cgroup/user-1000";
/// Where the user's processes begin: below the subtree, so that the subtree itself may hand
/// controllers on (a cgroup with processes can't).
pub const SESSION: &str = "/sys/fs/cgroup/user-1000/session";

/// The files that a delegatee may write; every other belongs to who delegates
/// (the kernel's cgroup-v2.rst, "Delegation").
const DELEGATED: [&str; 3] = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];

/// Groups that the product keeps on purpose, for the next start. They go as well, so that every test
/// begins without them, but they aren't litter.
const LASTING: [&str; 2] = ["stockade", "supervisor"];

/// Enables every controller below the root and makes the user's subtree. Says what didn't work.
pub(super) fn prepare() -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for controller in words(&Path::new(TREE).join("cgroup.controllers"))? {
        // One write each: the kernel refuses a whole list for one name.
        let control = Path::new(TREE).join("cgroup.subtree_control");
        if let Err(error) = fs::write(&control, format!("+{controller}")) {
            notes.push(format!("controller `{controller}` can't be enabled: {error}"));
        }
    }
    for directory in [SUBTREE, SESSION] {
        fs::create_dir_all(directory).attempt(|| format!("failed to make `{directory}`"))?;
        let files = DELEGATED.iter().map(|file| Path::new(directory).join(file));
        for path in std::iter::once(PathBuf::from(directory)).chain(files) {
            chown(&path, Some(USER), Some(USER))
                .attempt(|| format!("failed to give `{}` to the user", path.display()))?;
        }
    }
    Ok(notes)
}

/// Removes what a test left and takes the controllers back that it enabled, so that every test
/// finds the same tree. Says what was left.
pub(super) fn sweep() -> Vec<String> {
    let mut notes = Vec::new();
    remove_below(Path::new(TREE), &mut notes);
    let control = Path::new(SUBTREE).join("cgroup.subtree_control");
    for controller in words(&control).unwrap_or_default() {
        if let Err(error) = fs::write(&control, format!("-{controller}")) {
            notes.push(format!("controller `{controller}` can't be taken back: {error}"));
        }
    }
    notes
}

fn remove_below(directory: &Path, notes: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        remove_below(&path, notes);
        if path != Path::new(SUBTREE) && path != Path::new(SESSION) {
            match fs::remove_dir(&path) {
                Ok(()) if LASTING.iter().any(|name| path.ends_with(name)) => {}
                Ok(()) => notes.push(format!("left the cgroup `{}` behind", path.display())),
                Err(error) => {
                    let path = path.display();
                    notes
                        .push(format!("left the cgroup `{path}`, which can't be removed: {error}"));
                }
            }
        }
    }
}

fn words(file: &Path) -> Result<Vec<String>> {
    let text =
        fs::read_to_string(file).attempt(|| format!("failed to read `{}`", file.display()))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}
