//! The directory in which the changes to copies are kept: `filesystem.overlay`.
//!
//! It holds a file that says so and that is locked for as long as a sandbox uses it, and for each copied directory one with
//! a number: `of` says what was copied, and where it is inside; the kernel keeps what was changed in `changes`, in the form
//! of its overlay file system, and works in `work`. Nothing of it is visible inside but through the copy.

use super::view::{open_host, real};
use crate::plan::readable;
use crate::{PlatformError, RuntimeDir, Stage};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FlockOperation, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, fchmod, fchown,
    flock, fstat, mkdirat, openat2, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Says that the directory is one of these, and is locked by who uses it.
const MARK: &str = ".stockade";
/// Where the directories of ended sandboxes are found by id, below the user's runtime directory.
const BY_ID: &str = "kept";
/// More copied directories than a policy can name.
const MOST: usize = 1000;
/// The longest text that says what was copied: two paths.
const LONGEST: u64 = 3 * 4096;

/// One copied directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Its directory's name.
    pub(crate) name: String,
    /// Where the copy is inside.
    pub(crate) inside: PathBuf,
    /// What was copied.
    pub(crate) lower: PathBuf,
}

/// The directory, held for one sandbox. Dropping it before the sandbox has run removes what was made for it.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    directory: OwnedFd,
    /// Locked.
    mark: OwnedFd,
    layers: Vec<Layer>,
    /// Made by this launch, and not used yet.
    new_layers: Vec<String>,
    is_new: bool,
}

impl Kept {
    /// What holds the lock: as long as a copy of it is open, the directory is taken.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.mark.as_fd()
    }

    /// Opens a directory to keep changes in, or makes it, and takes it for this sandbox alone.
    ///
    /// # Errors
    /// When it can't be made, belongs to somebody else, holds anything else, or is in use.
    pub(crate) fn take(asked: &Path) -> Result<Self, PlatformError> {
        let failed = |verb: &str| {
            let message = format!(
                "failed to {verb} `{}`, where changes are to be kept",
                readable(asked.as_os_str())
            );
            move |error: Errno| PlatformError::launch(Stage::Prepare, message, Some(error.into()))
        };
        let (Some(parent), Some(name)) = (asked.parent(), asked.file_name()) else {
            return Err(refused(asked, "is the host's root"));
        };
        let parent = real(parent).map_err(failed("find"))?;
        let above = open_host(&parent)?;
        let is_new = match mkdirat(&above, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed("make")(error)),
        };
        let directory = open_in(&above, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(failed("open"))?;
        let stat = fstat(&directory).map_err(failed("look at"))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(refused(asked, "belongs to somebody else"));
        }
        let flags = OFlags::RDWR | OFlags::CREATE;
        let known = open_in(&directory, Path::new(MARK), OFlags::RDWR);
        let mark = match known {
            Ok(mark) => mark,
            Err(Errno::NOENT) if is_empty(&directory).map_err(failed("read"))? => {
                open_in(&directory, Path::new(MARK), flags).map_err(failed("write to"))?
            }
            Err(Errno::NOENT) => {
                return Err(refused(asked, "holds something else")
                    .with_hint("name a directory that is empty or doesn't exist yet"));
            }
            Err(error) => return Err(failed("open")(error)),
        };
        match flock(&mark, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(refused(asked, "is used by another sandbox, which runs")
                    .with_hint("wait for its end, or keep the changes elsewhere"));
            }
            Err(error) => return Err(failed("lock")(error)),
        }
        let path = parent.join(name);
        let layers = layers(&directory).map_err(|error| {
            PlatformError::launch(
                Stage::Prepare,
                format!("failed to read what is kept in `{}`", readable(asked.as_os_str())),
                Some(error),
            )
        })?;
        Ok(Self { path, directory, mark, layers, new_layers: Vec::new(), is_new })
    }

    /// Its path, without symlinks.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory for the changes to a copied one, made with its owner and permissions where there is none yet.
    ///
    /// # Errors
    /// When the copy at this place was one of something else, or a step fails.
    pub(crate) fn layer(
        &mut self,
        inside: &Path,
        lower: &Path,
        of: &Stat,
        privileged: bool,
    ) -> Result<PathBuf, PlatformError> {
        if let Some(known) = self.layers.iter().find(|layer| layer.inside == inside) {
            if known.lower == lower {
                return Ok(self.path.join(&known.name));
            }
            let (inside, was) = (readable(inside.as_os_str()), readable(known.lower.as_os_str()));
            let what = format!(
                "keeps the changes of `{inside}` as a copy of `{was}`, not of `{}`",
                readable(lower.as_os_str())
            );
            return Err(refused(&self.path, &what).with_hint("keep them elsewhere"));
        }
        let name = self.make_layer(inside, lower, of, privileged).map_err(|error| {
            let shown = readable(self.path.as_os_str());
            let message = format!("failed to make room for changes in `{shown}`");
            PlatformError::launch(Stage::Prepare, message, Some(error))
        })?;
        let path = self.path.join(&name);
        self.layers.push(Layer { name, inside: inside.to_owned(), lower: lower.to_owned() });
        Ok(path)
    }

    fn make_layer(
        &mut self,
        inside: &Path,
        lower: &Path,
        of: &Stat,
        privileged: bool,
    ) -> io::Result<String> {
        let names = (0..MOST).map(|number| number.to_string());
        let mut made = None;
        for name in names {
            match mkdirat(&self.directory, &*name, Mode::RWXU) {
                Ok(()) => {
                    made = Some(name);
                    break;
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let name = made.ok_or_else(|| io::Error::other("too many copies are kept there"))?;
        self.new_layers.push(name.clone());
        let top = open_in(&self.directory, Path::new(&name), OFlags::RDONLY | OFlags::DIRECTORY)?;
        // The file system shows a privileged starter's files as the owner's, who must be able to reach its own.
        let give = |file: &OwnedFd, mode: u32| -> io::Result<()> {
            if privileged {
                fchown(file, Some(Uid::from_raw(of.st_uid)), Some(Gid::from_raw(of.st_gid)))?;
            }
            Ok(fchmod(file, Mode::from_raw_mode(mode))?)
        };
        give(&top, 0o700)?;
        for (part, mode) in [("changes", (of.st_mode & 0o7777) | 0o700), ("work", 0o700)] {
            mkdirat(&top, part, Mode::RWXU)?;
            give(&open_in(&top, Path::new(part), OFlags::RDONLY | OFlags::DIRECTORY)?, mode)?;
        }
        // Last: a layer without it isn't one, and is passed over.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut text = inside.as_os_str().as_bytes().to_vec();
        text.push(0);
        text.extend_from_slice(lower.as_os_str().as_bytes());
        File::from(open_in(&top, Path::new("of"), flags)?).write_all(&text)?;
        Ok(name)
    }

    /// The sandbox runs: what was made stays, and is found by its id.
    ///
    /// # Errors
    /// When the runtime directory of this user can't be used.
    pub(crate) fn settle(&mut self, id: &str) -> Result<(), PlatformError> {
        self.new_layers.clear();
        self.is_new = false;
        remember(id, &self.path).map_err(|error| {
            PlatformError::system(
                "failed to note in Stockade's runtime directory where changes are kept",
                error,
            )
        })
    }

    /// Takes away what the kernel needed while the sandbox ran: directories without permissions, which stand in the way of
    /// whoever removes the whole.
    fn tidy(&self) {
        for layer in &self.layers {
            // What can't be taken away is in nobody's way but theirs.
            self.tidy_layer(&Path::new(&layer.name).join("work/work")).unwrap_or(());
        }
    }

    fn tidy_layer(&self, work: &Path) -> rustix::io::Result<()> {
        rustix::fs::chmodat(&self.directory, work, Mode::RWXU, AtFlags::empty())?;
        let open = open_in(&self.directory, work, OFlags::RDONLY | OFlags::DIRECTORY)?;
        for entry in Dir::read_from(&open)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                unlinkat(&open, entry.file_name(), AtFlags::empty())?;
            }
        }
        unlinkat(&self.directory, work, AtFlags::REMOVEDIR)
    }

    fn undo(&self) -> rustix::io::Result<()> {
        for name in &self.new_layers {
            for part in ["of", "changes", "work/work", "work", ""] {
                let flags = if part == "of" { AtFlags::empty() } else { AtFlags::REMOVEDIR };
                match unlinkat(&self.directory, Path::new(name).join(part), flags) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if self.is_new {
            unlinkat(&self.directory, MARK, AtFlags::empty())?;
            rustix::fs::rmdir(&self.path)?;
        }
        Ok(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.tidy();
        // Nobody is left to tell; what stays is empty, and the next launch goes on with it.
        self.undo().unwrap_or(());
        flock(&self.mark, FlockOperation::Unlock).unwrap_or(());
    }
}

/// The copied directories whose changes a directory keeps.
///
/// # Errors
/// When it can't be read.
pub(crate) fn layers(directory: &OwnedFd) -> io::Result<Vec<Layer>> {
    let mut layers = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_str().unwrap_or_default();
        if name.parse::<u32>().is_err() {
            continue;
        }
        let of = match open_in(directory, &Path::new(name).join("of"), OFlags::RDONLY) {
            Ok(of) => of,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut text = Vec::new();
        File::from(of).take(LONGEST).read_to_end(&mut text)?;
        let mut paths =
            text.splitn(2, |byte| *byte == 0).map(|path| PathBuf::from(OsStr::from_bytes(path)));
        if let (Some(inside), Some(lower)) = (paths.next(), paths.next()) {
            layers.push(Layer { name: name.to_owned(), inside, lower });
        }
    }
    layers.sort_by(|one, other| one.inside.cmp(&other.inside));
    Ok(layers)
}

/// Opens a directory in which changes are kept; nothing when it is none.
///
/// # Errors
/// When it can't be opened.
pub(crate) fn open(path: &Path) -> io::Result<Option<OwnedFd>> {
    let directory = rustix::fs::openat(
        rustix::fs::CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    match open_in(&directory, Path::new(MARK), OFlags::PATH) {
        Ok(_) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens something in a directory, following nothing.
pub(crate) fn open_in(
    directory: &OwnedFd,
    name: &Path,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
    openat2(directory, name, flags | OFlags::CLOEXEC, mode, resolve)
}

/// Takes note of where a sandbox's changes are, and forgets what is gone.
fn remember(id: &str, path: &Path) -> io::Result<()> {
    let directory = RuntimeDir::make()?.below(BY_ID, true)?;
    for (id, place) in noted(&directory)? {
        if !place.join(MARK).exists() {
            // Another launch may have forgotten it first.
            match unlinkat(&directory, &*id, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(symlinkat(path, &directory, id)?)
}

/// Ids of sandboxes of this user, and where the changes of each are kept.
///
/// # Errors
/// When Stockade's runtime directory can't be read.
pub(crate) fn by_id() -> io::Result<Vec<(String, PathBuf)>> {
    match RuntimeDir::open()?.map(|runtime| runtime.below(BY_ID, false)) {
        Some(Ok(directory)) => noted(&directory),
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(Vec::new()),
    }
}

fn noted(directory: &OwnedFd) -> io::Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let Ok(id) = entry.file_name().to_str() else { continue };
        match rustix::fs::readlinkat(directory, id, Vec::new()) {
            Ok(place) => all.push((id.to_owned(), OsStr::from_bytes(place.as_bytes()).into())),
            // `.` and `..`; or another launch has just removed it.
            Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    all.sort();
    Ok(all)
}

fn is_empty(directory: &OwnedFd) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn refused(path: &Path, why: &str) -> PlatformError {
    let shown = readable(path.as_os_str());
    PlatformError::invalid(format!("changes can't be kept in `{shown}`: it {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_sandboxs_and_an_unused_one_goes_again() {
        let scratch = tempfile::tempdir().unwrap();
        let place = real(scratch.path()).unwrap().join("kept");
        let stat = rustix::fs::stat(scratch.path()).unwrap();
        let mut first = Kept::take(&place).unwrap();
        let layer = first.layer(Path::new("/"), Path::new("/srv/x"), &stat, false).unwrap();
        assert_eq!(layer, place.join("0"));
        assert!(Kept::take(&place).unwrap_err().to_string().contains("another sandbox"));
        assert!(first.layer(Path::new("/"), Path::new("/srv/y"), &stat, false).is_err());
        let found = layers(&open(&place).unwrap().unwrap()).unwrap();
        assert_eq!(found, first.layers);
        drop(first);
        assert!(!place.exists(), "nothing is left of a launch that failed");
    }

    #[test]
    fn a_directory_with_other_things_is_not_taken() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("letter"), "dear").unwrap();
        let error = Kept::take(scratch.path()).unwrap_err();
        assert!(error.to_string().contains("holds something else"), "{error}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
