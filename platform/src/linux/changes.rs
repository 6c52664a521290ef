//! Reading what the kernel's overlay file system keeps of changes (its overlayfs.rst, "whiteouts and opaque directories").
//!
//! A file or directory among the changes stands in front of the one in the copied directory. A character device with the
//! number 0 says that the name was deleted, and an attribute of a directory that nothing of the one below shows through.
//!
//! All of it was made by a program that isn't trusted: it is opened beneath its top, without following anything, and a tree
//! of any depth is walked with one directory open.

use super::kept::{self, Layer, open_in};
use crate::plan::readable;
use crate::{Change, ChangeKind, ChangedKind, Changes, PlatformError};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fgetxattr, openat, statat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where a user namespace may note that a directory is opaque.
const OPAQUE: &str = "user.overlay.opaque";

/// What is kept for a word: the id of a sandbox, its beginning, or a directory.
///
/// # Errors
/// When there is nothing of this name, or it can't be read.
pub(crate) fn find(word: &OsStr) -> Result<Changes, PlatformError> {
    let shown = readable(word);
    let path = match place(word) {
        Ok(path) => path,
        Err(error) => {
            let message = format!("failed to look for the changes of `{shown}`");
            return Err(PlatformError::system(message, error));
        }
    };
    let Some(path) = path else {
        return Err(PlatformError::invalid(format!("no changes are kept of a sandbox called `{shown}`"))
            .with_hint("`stockade run --overlay DIRECTORY` keeps them; ids are known until the host restarts, the directory always works"));
    };
    let failed = |path: &Path, error: io::Error| {
        let message = format!("failed to read the changes in `{}`", readable(path.as_os_str()));
        PlatformError::system(message, error)
    };
    let directory = kept::open(&path).map_err(|error| failed(&path, error))?;
    let Some(directory) = directory else {
        let message = format!("`{}` keeps no changes: no run made it", readable(path.as_os_str()));
        return Err(PlatformError::invalid(message));
    };
    let mut changes = Vec::new();
    for layer in kept::layers(&directory).map_err(|error| failed(&path, error))? {
        let walk = Walk::new(&directory, &layer).map_err(|error| failed(&path, error))?;
        changes.extend(walk.run().map_err(|(within, error)| {
            failed(&path.join(&layer.name).join("changes").join(within), error.into())
        })?);
    }
    Ok(Changes::new(path, changes))
}

/// The directory that a word means; nothing when there is none.
fn place(word: &OsStr) -> io::Result<Option<PathBuf>> {
    if word.as_bytes().contains(&b'/') || word == "." || word == ".." {
        return std::path::absolute(word).map(Some);
    }
    let all = kept::by_id()?;
    let word_text = word.to_string_lossy();
    if let Some((_, path)) = all.iter().find(|(id, _)| *id == word_text) {
        return Ok(Some(path.clone()));
    }
    let begun: BTreeSet<&PathBuf> =
        all.iter().filter(|(id, _)| id.starts_with(&*word_text)).map(|(_, path)| path).collect();
    match begun.len() {
        1 if !word.is_empty() => return Ok(begun.into_iter().next().cloned()),
        0 | 1 => {}
        several => {
            let what = format!("it is the beginning of sandboxes with {several} directories");
            return Err(io::Error::other(what));
        }
    }
    let path = std::path::absolute(word)?;
    Ok(path.is_dir().then_some(path))
}

/// One walk through the changes of a copied directory.
struct Walk {
    inside: PathBuf,
    upper: OwnedFd,
    lower: OwnedFd,
    found: Vec<Change>,
    /// Directories to look at, relative to the top, and whether the copied directory shows through.
    todo: Vec<(PathBuf, Below)>,
}

/// What of the copied directory belongs to one among the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    /// It shows through.
    Through,
    /// It was there, and nothing shows through.
    Covered,
    /// It wasn't there.
    Nothing,
}

impl Walk {
    fn new(directory: &OwnedFd, layer: &Layer) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let upper = open_in(directory, &Path::new(&layer.name).join("changes"), flags)?;
        let lower =
            openat(CWD, &layer.lower, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
                io::Error::new(
                    io::Error::from(error).kind(),
                    format!(
                        "the copied directory `{}` can't be opened: {error}",
                        layer.lower.display()
                    ),
                )
            })?;
        Ok(Self {
            inside: layer.inside.clone(),
            upper,
            lower,
            found: Vec::new(),
            todo: vec![(PathBuf::new(), Below::Through)],
        })
    }

    /// All changes. The error names where it happened.
    fn run(mut self) -> Result<Vec<Change>, (PathBuf, Errno)> {
        while let Some((path, below)) = self.todo.pop() {
            self.directory(&path, below).map_err(|error| (path, error))?;
        }
        Ok(self.found)
    }

    fn directory(&mut self, path: &Path, below: Below) -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let here = open_at(&self.upper, path, flags)?;
        let old = match below {
            Below::Nothing => None,
            Below::Through | Below::Covered => Some(open_at(&self.lower, path, flags)?),
        };
        let opaque = below == Below::Covered || (!path.as_os_str().is_empty() && is_opaque(&here)?);
        let names = names(&here)?;
        for name in &names {
            let new = statat(&here, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let before = match &old {
                Some(old) => there(old, name)?,
                None => None,
            };
            self.entry(&path.join(name), &new, before.as_ref(), opaque);
        }
        if let Some(old) = old.filter(|_| opaque) {
            for name in self::names(&old)?.difference(&names) {
                if let Some(before) = there(&old, name)? {
                    self.tell(ChangeKind::Deleted, kind(&before), &path.join(name));
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, new: &Stat, before: Option<&Stat>, opaque: bool) {
        let is_whiteout =
            FileType::from_raw_mode(new.st_mode) == FileType::CharacterDevice && new.st_rdev == 0;
        let (what, was) = (kind(new), before.map(kind));
        match before {
            _ if is_whiteout => {
                if let Some(was) = was {
                    self.tell(ChangeKind::Deleted, was, path);
                }
                return;
            }
            None => self.tell(ChangeKind::Added, what, path),
            // Something below it was changed, and perhaps not it.
            Some(before) if what == ChangedKind::Directory && was == Some(what) => {
                let about = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
                if about(before) != about(new) {
                    self.tell(ChangeKind::Changed, what, path);
                }
            }
            Some(_) => self.tell(ChangeKind::Changed, what, path),
        }
        if what == ChangedKind::Directory {
            let below = match was {
                Some(ChangedKind::Directory) if opaque => Below::Covered,
                Some(ChangedKind::Directory) => Below::Through,
                _ => Below::Nothing,
            };
            self.todo.push((path.to_owned(), below));
        }
    }

    fn tell(&mut self, kind: ChangeKind, what: ChangedKind, path: &Path) {
        self.found.push(Change { kind, what, path: self.inside.join(path) });
    }
}

fn open_at(top: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_in(top, if path.as_os_str().is_empty() { Path::new(".") } else { path }, flags)
}

fn names(directory: &OwnedFd) -> rustix::io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.insert(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// What is at a name; nothing when there is nothing, or what the kernel's overlay takes for nothing.
fn there(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let is_whiteout = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                && stat.st_rdev == 0;
            Ok((!is_whiteout).then_some(stat))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_opaque(directory: &OwnedFd) -> rustix::io::Result<bool> {
    let mut value = [0u8; 8];
    match fgetxattr(directory, OPAQUE, &mut value[..]) {
        Ok(length) => Ok(value.get(..length) == Some(b"y")),
        // The attribute isn't there, or none can be: then nothing was marked.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

fn kind(stat: &Stat) -> ChangedKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => ChangedKind::File,
        FileType::Directory => ChangedKind::Directory,
        FileType::Symlink => ChangedKind::Link,
        _ => ChangedKind::Special,
    }
}
