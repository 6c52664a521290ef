//! Giving a project to all that there is in a directory, by descriptors beneath it only: nobody who changes names meanwhile
//! can lead elsewhere.
//!
//! The directory itself comes last, so that its project tells that all below has it, and the next launch needn't look
//! again. What appears meanwhile has it too: directories get their project before they are listed, and the kernel gives it
//! to what is created in them, and refuses to move in, or link, what counts for another (`EXDEV`).

use super::project::{self, Attributes};
use super::{Trouble, shown};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, statat};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One directory, or file, that the sandbox may write.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) path: PathBuf,
    pub(super) file: OwnedFd,
    pub(super) inode: u64,
    pub(super) is_dir: bool,
}

/// Gives one project to what is in several directories.
pub(super) struct Marker<'a> {
    project: u32,
    /// Whether a project of Stockade's is some living sandbox's: that is the trouble then.
    is_free: &'a dyn Fn(u32, &Path) -> Result<(), Trouble>,
    /// Projects that were found to be free.
    free: BTreeSet<u32>,
    /// Files with several names that count for a directory which Stockade limited before: all names must be found here.
    linked: BTreeMap<u64, Linked>,
}

#[derive(Debug)]
struct Linked {
    names: u64,
    found: u64,
    path: PathBuf,
    /// Which of the tops it is in, and where.
    top: usize,
    below: PathBuf,
}

/// A directory above the one that is listed, and those in it that weren't yet.
struct Level {
    inode: u64,
    pending: Vec<CString>,
}

impl<'a> Marker<'a> {
    pub(super) fn new(
        project: u32,
        is_free: &'a dyn Fn(u32, &Path) -> Result<(), Trouble>,
    ) -> Self {
        Self { project, is_free, free: BTreeSet::new(), linked: BTreeMap::new() }
    }

    /// Gives it to all of them.
    ///
    /// # Errors
    /// When something counts for another's project, or can't be opened or changed. What was given stays given.
    pub(super) fn mark(mut self, tops: &[Top]) -> Result<(), Trouble> {
        for (place, top) in tops.iter().enumerate() {
            if top.is_dir {
                self.below(place, top, false)?;
            } else {
                self.give(place, top, top.file.as_fd(), false, &top.path)?;
            }
        }
        self.give_linked(tops)?;
        for (place, top) in tops.iter().enumerate().filter(|(_, top)| top.is_dir) {
            self.give(place, top, top.file.as_fd(), true, &top.path)?;
            // What came into it meanwhile.
            self.below(place, top, true)?;
        }
        Ok(())
    }

    /// Gives the project to all below a directory; `again`, to what is new in it. It takes two descriptors however deep
    /// the directory is, since programs can make deeper ones than there are descriptors.
    fn below(&mut self, place: usize, top: &Top, again: bool) -> Result<(), Trouble> {
        let mut path = top.path.clone();
        let mut here = open(top.file.as_fd(), c".", true).map_err(|error| failed(&path, error))?;
        let mut inode = top.inode;
        let mut pending = self.list(place, top, here.as_fd(), &path)?;
        let mut above: Vec<Level> = Vec::new();
        loop {
            let Some(name) = pending.pop() else {
                let Some(level) = above.pop() else { return Ok(()) };
                // The same directory as before, or somebody moved this one away.
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                here = rustix::fs::openat(&here, c"..", flags, Mode::empty())
                    .map_err(|error| failed(&path, error))?;
                if fstat(&here).map_err(|error| failed(&path, error))?.st_ino != level.inode {
                    return Err(failed(&path, Errno::STALE));
                }
                Level { inode, pending } = level;
                path.pop();
                continue;
            };
            path.push(OsStr::from_bytes(name.to_bytes()));
            let child = match open(here.as_fd(), &name, true) {
                Ok(child) => child,
                // Gone meanwhile; or a mount that can't be written, which hides what is below it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                    path.pop();
                    continue;
                }
                Err(error) => return Err(failed(&path, error)),
            };
            let had = self.give(place, top, child.as_fd(), true, &path)?;
            if had && again && above.is_empty() {
                path.pop();
                continue;
            }
            let below = self.list(place, top, child.as_fd(), &path)?;
            let of_child = fstat(&child).map_err(|error| failed(&path, error))?.st_ino;
            above.push(Level { inode, pending: std::mem::replace(&mut pending, below) });
            (here, inode) = (child, of_child);
        }
    }

    /// Gives the project to the files in a directory, and tells the directories in it. Symlinks, devices, pipes and sockets
    /// stay without: they can't be opened for it, and hold no more than a name.
    fn list(
        &mut self,
        place: usize,
        top: &Top,
        here: BorrowedFd<'_>,
        path: &Path,
    ) -> Result<Vec<CString>, Trouble> {
        let mut directories = Vec::new();
        for entry in Dir::read_from(here).map_err(|error| failed(path, error))? {
            let entry = entry.map_err(|error| failed(path, error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(failed(path, error)),
                },
                kind => kind,
            };
            match kind {
                FileType::Directory => directories.push(name.to_owned()),
                FileType::RegularFile => {
                    let path = path.join(OsStr::from_bytes(name.to_bytes()));
                    match open(here, name, false) {
                        Ok(file) => _ = self.give(place, top, file.as_fd(), false, &path)?,
                        Err(Errno::NOENT | Errno::LOOP | Errno::XDEV) => {}
                        Err(error) => return Err(failed(&path, error)),
                    }
                }
                _ => {}
            }
        }
        Ok(directories)
    }

    /// Gives the project to one file or directory; `true` when it had it.
    fn give(
        &mut self,
        place: usize,
        top: &Top,
        file: BorrowedFd<'_>,
        is_dir: bool,
        path: &Path,
    ) -> Result<bool, Trouble> {
        let attributes = Attributes::of(file).map_err(|error| failed(path, error))?;
        if attributes.count_for(self.project, is_dir) {
            return Ok(true);
        }
        // Whoever can't write it can't make it larger.
        if attributes.is_immutable() && !is_dir {
            return Ok(true);
        }
        let before = attributes.project();
        if before != 0 && before != self.project {
            self.may_take(before, path)?;
            if !is_dir && self.has_other_names(place, top, file, path)? {
                return Ok(false);
            }
        }
        attributes.join(file, self.project, is_dir).map_err(|error| failed(path, error))?;
        Ok(false)
    }

    /// Whether what counts for a project may count for this one instead.
    fn may_take(&mut self, project: u32, path: &Path) -> Result<(), Trouble> {
        if !project::is_ours(project) {
            return Err(Trouble::refused(
                format!("{} has the project id {project}, which is another's", shown(path)),
                "whoever gave it limits it already; `lsattr -p` shows it, `chattr -p 0` takes it away",
            ));
        }
        if !self.free.contains(&project) {
            (self.is_free)(project, path)?;
            self.free.insert(project);
        }
        Ok(())
    }

    /// Puts a file with several names aside, until it is known whether all of them are here.
    fn has_other_names(
        &mut self,
        top_place: usize,
        top: &Top,
        file: BorrowedFd<'_>,
        path: &Path,
    ) -> Result<bool, Trouble> {
        let stat = fstat(file).map_err(|error| failed(path, error))?;
        #[allow(clippy::useless_conversion, reason = "another width on other machines")]
        let names = u64::from(stat.st_nlink);
        if names <= 1 {
            return Ok(false);
        }
        let linked = self.linked.entry(stat.st_ino).or_insert_with(|| Linked {
            names,
            found: 0,
            path: path.to_owned(),
            top: top_place,
            below: path.strip_prefix(&top.path).unwrap_or(path).to_owned(),
        });
        linked.found += 1;
        Ok(true)
    }

    /// Gives the project to the files with several names. A name elsewhere may be in a directory that was limited before,
    /// and would be taken for limited still: such a file can't count for both.
    fn give_linked(&mut self, tops: &[Top]) -> Result<(), Trouble> {
        for (inode, linked) in std::mem::take(&mut self.linked) {
            let path = &linked.path;
            if linked.found < linked.names {
                return Err(Trouble::refused(
                    format!(
                        "{} has another name outside, and may count for a directory that was limited before",
                        shown(path)
                    ),
                    "put a copy of it in its place",
                ));
            }
            let Some(top) = tops.get(linked.top) else { continue };
            let below = if linked.below.as_os_str().is_empty() { None } else { Some(linked.below) };
            let file = match &below {
                None => top.file.try_clone().map_err(|error| Trouble::io(path, error))?,
                Some(below) => {
                    open_path(top.file.as_fd(), below).map_err(|error| failed(path, error))?
                }
            };
            let attributes = Attributes::of(file.as_fd()).map_err(|error| failed(path, error))?;
            if fstat(&file).map_err(|error| failed(path, error))?.st_ino != inode {
                return Err(failed(path, Errno::STALE));
            }
            attributes
                .join(file.as_fd(), self.project, false)
                .map_err(|error| failed(path, error))?;
        }
        Ok(())
    }
}

/// Opens what has this name in a directory, and is on the same mount. Neither a pipe nor a device put in its place makes
/// this wait.
fn open(
    directory: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    is_dir: bool,
) -> rustix::io::Result<OwnedFd> {
    let kind = if is_dir { OFlags::DIRECTORY } else { OFlags::empty() };
    beneath(directory, name, kind)
}

fn open_path(directory: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    beneath(directory, path, OFlags::empty())
}

fn beneath(
    directory: BorrowedFd<'_>,
    path: impl rustix::path::Arg,
    kind: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let flags = flags | OFlags::NOATIME | OFlags::CLOEXEC | kind;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(directory, path, flags, Mode::empty(), resolve)
}

fn failed(path: &Path, error: Errno) -> Trouble {
    Trouble::io(path, error)
}
