//! What is fetched once and kept below `target/vm`.

use crate::failure::{Attempt, Result};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A directory of the cache that holds `wanted`, filled by `fill` where it isn't there yet or holds what was wanted before.
///
/// One run at a time: two would write into the same directory.
///
/// # Errors
///
/// When it can't be filled.
pub fn keep(
    cache: &Path,
    name: &str,
    wanted: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let directory = cache.join(name);
    let attempt = || format!("failed to fill `{}`", directory.display());
    let note = directory.join(".wanted");
    let _one_at_a_time = lock(cache)?;
    if fs::read_to_string(&note).is_ok_and(|held| held == wanted) {
        return Ok(directory);
    }
    // Renamed when complete, so that a run that was cut short leaves nothing half done.
    let partial = cache.join(format!("{name}.partial"));
    for old in [&directory, &partial] {
        if old.exists() {
            fs::remove_dir_all(old).attempt(attempt)?;
        }
    }
    fs::create_dir_all(&partial).attempt(attempt)?;
    // Nobody else's until it is complete: a package may hold setuid programs.
    fs::set_permissions(&partial, Permissions::from_mode(0o700)).attempt(attempt)?;
    fill(&partial).attempt(attempt)?;
    fs::write(partial.join(".wanted"), wanted).attempt(attempt)?;
    disarm(&partial)?;
    fs::set_permissions(&partial, Permissions::from_mode(0o755)).attempt(attempt)?;
    fs::rename(&partial, &directory).attempt(attempt)?;
    Ok(directory)
}

fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("store.lock");
    let attempt = || format!("failed to lock `{}`", path.display());
    fs::create_dir_all(cache).attempt(attempt)?;
    let file = File::create(&path).attempt(attempt)?;
    file.lock().attempt(attempt)?;
    Ok(file)
}

/// Takes setuid and setgid bits away: unpacked by root, such a program would be anybody's way to root, and nobody would know
/// that it is there.
fn disarm(directory: &Path) -> Result<()> {
    let attempt = || format!("failed to look through `{}`", directory.display());
    for entry in fs::read_dir(directory).attempt(attempt)? {
        let entry = entry.attempt(attempt)?;
        let metadata = entry.metadata().attempt(attempt)?;
        let mode = metadata.permissions().mode();
        if metadata.is_dir() {
            disarm(&entry.path())?;
        } else if metadata.is_file() && mode & 0o6000 != 0 {
            fs::set_permissions(entry.path(), Permissions::from_mode(mode & 0o1777))
                .attempt(|| format!("failed to disarm `{}`", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    fn write(directory: &Path, mode: u32) -> Result<()> {
        let path = directory.join("su");
        fs::write(&path, "").attempt(|| "failed to write")?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).attempt(|| "failed to change")
    }

    #[test]
    fn what_is_wanted_is_fetched_once() {
        let cache = tempfile::tempdir().unwrap();
        let never = |_: &Path| Err(Failure::new("it is there already"));
        let kept = keep(cache.path(), "a", "1", |partial| write(partial, 0o644)).unwrap();
        assert!(kept.join("su").exists());
        keep(cache.path(), "a", "1", never).unwrap();
        let message = keep(cache.path(), "a", "2", never).unwrap_err().chain();
        assert!(message.contains("already") && !kept.exists(), "{message}");
    }

    #[test]
    fn what_failed_to_come_is_not_there() {
        let cache = tempfile::tempdir().unwrap();
        let half = |partial: &Path| write(partial, 0o644).and(Err(Failure::new("no more")));
        keep(cache.path(), "a", "1", half).unwrap_err();
        assert!(!cache.path().join("a").exists());
        let whole = |partial: &Path| {
            assert!(!partial.join("su").exists());
            Ok(())
        };
        keep(cache.path(), "a", "1", whole).unwrap();
    }

    #[test]
    fn no_program_keeps_the_rights_of_its_owner() {
        let cache = tempfile::tempdir().unwrap();
        let fill = |partial: &Path| {
            fs::create_dir(partial.join("bin")).attempt(|| "failed to make")?;
            write(&partial.join("bin"), 0o6755)
        };
        let kept = keep(cache.path(), "a", "1", fill).unwrap();
        let mode = fs::metadata(kept.join("bin/su")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}
