//! Paths of the host: followed here, once, and opened without following anything.

use super::Place;
use crate::plan::readable;
use crate::{Access, PlatformError, Stage};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// As many symlinks as the kernel follows in one path (path_resolution(7)).
const MOST_SYMLINKS: usize = 40;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Without symlinks.
    pub(super) path: PathBuf,
    /// Whether that is a directory; `None` when it doesn't exist.
    pub(super) is_dir: Option<bool>,
}

/// Follows a path on the host. Every symlink on the way becomes a place of its own, so that the path as written works
/// inside too. What was seen to be a directory for one path of a launch isn't looked at again for the next.
pub(super) fn resolve(
    path: &Path,
    places: &mut BTreeMap<PathBuf, Place>,
    directories: &mut BTreeSet<OsString>,
) -> rustix::io::Result<Resolved> {
    let mut links = 0;
    let mut rest: Vec<OsString> = components(path);
    let mut found = PathBuf::from("/");
    let mut is_dir = true;
    while let Some(next) = rest.pop() {
        if next == ".." {
            found.pop();
            continue;
        }
        let candidate = found.join(&next);
        if directories.contains(candidate.as_os_str()) {
            (found, is_dir) = (candidate, true);
            continue;
        }
        let stat = match rustix::fs::lstat(&candidate) {
            Ok(stat) => stat,
            // Where it would be, if somebody made it.
            Err(Errno::NOENT) if !rest.iter().any(|name| name == "..") => {
                rest.reverse();
                return Ok(Resolved {
                    path: rest.iter().fold(candidate, |p, name| p.join(name)),
                    is_dir: None,
                });
            }
            Err(error) => return Err(error),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MOST_SYMLINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlink(&candidate, Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    found = PathBuf::from("/");
                }
                rest.extend(components(&target));
                places.entry(candidate).or_insert(Place::Symlink(target));
            }
            kind => {
                is_dir = kind == FileType::Directory;
                if is_dir {
                    directories.insert(candidate.clone().into_os_string());
                }
                found = candidate;
            }
        }
    }
    Ok(Resolved { path: found, is_dir: Some(is_dir) })
}

/// A path without its symlinks.
///
/// # Errors
/// When it doesn't exist, or can't be looked at.
pub(in crate::linux) fn real(path: &Path) -> rustix::io::Result<PathBuf> {
    let found = resolve(path, &mut BTreeMap::new(), &mut BTreeSet::new())?;
    found.is_dir.map(|_| found.path).ok_or(Errno::NOENT)
}

/// The names of a path, last one first.
fn components(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = path
        .components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect();
    names.reverse();
    names
}

/// A path that a policy names to be shown, and that can't be looked at.
pub(super) fn missing(path: &Path, access: Access, error: Errno) -> PlatformError {
    let key = match access {
        Access::Read => "filesystem.read",
        Access::Write => "filesystem.write",
        Access::Copy => "filesystem.copy",
    };
    let shown = readable(path.as_os_str());
    let error = PlatformError::launch(
        Stage::Prepare,
        format!("failed to look at `{shown}`, which `{key}` names"),
        Some(error.into()),
    );
    match access {
        Access::Read => {
            error.with_hint("a path that may be missing belongs into `filesystem.read_optional`")
        }
        Access::Write | Access::Copy => {
            error.with_hint("make the directory first: the launcher makes nothing on the host")
        }
    }
}

/// Opens a path on the host without following any symlink.
pub(in crate::linux) fn open_host(path: &Path) -> Result<OwnedFd, PlatformError> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(|error| {
        let message = format!("failed to open `{}`", readable(path.as_os_str()));
        PlatformError::launch(Stage::Prepare, message, Some(error.into()))
    })
}
