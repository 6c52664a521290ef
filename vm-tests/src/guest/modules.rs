//! Loading kernel modules, in the order that the host worked out.

use crate::failure::{Attempt, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Loads one module; one that is there already is fine.
pub(super) fn load(path: &Path) -> Result<()> {
    let file = File::open(path).attempt(|| format!("failed to open `{}`", path.display()))?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => {
            Err(error).attempt(|| format!("failed to load the module `{}`", path.display()))
        }
    }
}

/// Loads every module of a directory, by name: the host numbers them.
pub(super) fn load_all(directory: &Path) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // A kernel that has everything built in brings none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).attempt(|| format!("failed to list `{}`", directory.display()));
        }
    };
    let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    modules.iter().try_for_each(|module| load(module))
}
