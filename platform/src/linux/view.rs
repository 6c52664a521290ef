//! The view of files: from the binds of a plan to the operations that build a root of only them.
//!
//! The host is looked at once, here: a path's symlinks are followed and made again inside, and what is mounted is the
//! path without symlinks, which the child opens with `RESOLVE_NO_SYMLINKS`. A symlink put into the path between the two
//! moves nothing: it fails the launch.

mod contents;

use super::identity::Caller;
use super::landlock::{Purpose, ResolvedPath};
use super::ownership::Ownership;
use super::script::OwnedScript;
use crate::plan::readable;
use crate::{Access, Filesystem, Hidden, MaskKind, PlatformError, ProcView, Stage};
use rustix::fs::{FileType, Mode, OFlags, makedev};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use stockade_child::{Op, Source, Text};

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;

/// As many symlinks as the kernel follows in one path (path_resolution(7)).
const MOST_SYMLINKS: usize = 40;

/// The new root holds directories and symlinks, and the content of files.
const ROOT_SIZE: usize = 4 << 20;

/// Devices that every program may expect, with their numbers (Documentation/admin-guide/devices.txt).
const DEVICES: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const DEVICE_LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// What stands at one place of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A host path.
    Bind { access: Access, is_dir: bool },
    /// A device of the host.
    Device(u64),
    /// A file with content of its own.
    Content { bytes: Hidden, mode: u32 },
    /// Something that hides what stands there.
    Mask { kind: MaskKind, is_dir: bool },
    /// A private file system in memory.
    Tmpfs { size: u64, files: u64 },
    /// Process information.
    Proc(ProcView),
    /// Terminals.
    Terminals,
    /// A plain directory.
    Directory,
    /// A symlink.
    Symlink(PathBuf),
}

impl Place {
    /// Whether something mounted here brings its own contents, so that nothing can be made below.
    fn is_foreign(&self) -> bool {
        matches!(self, Self::Bind { .. } | Self::Device(_) | Self::Proc(_) | Self::Terminals)
    }
}

/// The places of a view, by path: parents come before what is below them.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    places: BTreeMap<PathBuf, Place>,
}

impl View {
    /// Looks at the host and decides every place.
    ///
    /// # Errors
    /// When a path doesn't exist or can't be looked at.
    pub(crate) fn resolve(filesystem: &Filesystem) -> Result<Self, PlatformError> {
        let mut view = Self::default();
        for (name, major, minor) in DEVICES {
            view.places.insert(PathBuf::from(name), Place::Device(makedev(*major, *minor)));
        }
        for (link, target) in DEVICE_LINKS {
            view.places.insert(PathBuf::from(link), Place::Symlink(PathBuf::from(target)));
        }
        view.places.insert(PathBuf::from("/dev/pts"), Place::Terminals);
        if filesystem.proc != ProcView::None {
            view.places.insert(PathBuf::from("/proc"), Place::Proc(filesystem.proc));
        }
        match filesystem.tmp {
            Some(tmp) => {
                // A file that holds anything has a page, so that this stands in nobody's way.
                let files = filesystem.tmp_files.map_or(tmp.size.0 / 4096, u64::from);
                let place = Place::Tmpfs { size: tmp.size.0, files: files.max(16) };
                for path in ["/tmp", "/dev/shm"] {
                    view.places.insert(PathBuf::from(path), place.clone());
                }
            }
            None => {
                view.places.insert(PathBuf::from("/tmp"), Place::Directory);
            }
        }
        for device in &filesystem.devices {
            let number = contents::device(device)?;
            view.places.insert(device.clone(), Place::Device(number));
        }
        let mut directories = BTreeSet::new();
        for bind in &filesystem.binds {
            let resolved = resolve(&bind.source, &mut view.places, &mut directories);
            let (path, is_dir) = match resolved {
                Ok(found) => found,
                Err(error) if bind.optional && is_missing(&error) => continue,
                Err(error) => return Err(missing(&bind.source, bind.access, error)),
            };
            let target = if bind.target == bind.source { path } else { bind.target.clone() };
            view.add_bind(target, bind.access, is_dir)?;
        }
        for mask in &filesystem.masks {
            view.mask(mask, &mut directories)?;
        }
        for (path, text) in &filesystem.files {
            view.add_content(path, Hidden(text.clone().into_bytes()), 0o444)?;
        }
        Ok(view)
    }

    fn add_bind(
        &mut self,
        path: PathBuf,
        access: Access,
        is_dir: bool,
    ) -> Result<(), PlatformError> {
        if path == Path::new("/") {
            let message =
                "the whole root `/` can't be bound: name the directories that the program needs";
            return Err(PlatformError::invalid(message));
        }
        match self.places.get_mut(&path) {
            // The wider access wins: a policy that allows writing means it.
            Some(Place::Bind { access: before, .. }) => *before = access.max(*before),
            _ => {
                self.places.insert(path, Place::Bind { access, is_dir });
            }
        }
        Ok(())
    }

    /// The nearest place above a path.
    fn above(&self, path: &Path) -> Option<(&Path, &Place)> {
        path.ancestors().skip(1).find_map(|above| {
            let (path, place) = self.places.get_key_value(above)?;
            (!matches!(place, Place::Directory | Place::Symlink(_)))
                .then_some((path.as_path(), place))
        })
    }

    /// Whether a place only repeats what stands above it.
    fn is_redundant(&self, path: &Path, place: &Place) -> bool {
        match (place, self.above(path).map(|(_, above)| above)) {
            (Place::Bind { access, .. }, Some(Place::Bind { access: above, .. })) => {
                access == above
            }
            // The host's own symlink is there already.
            (Place::Symlink(_), Some(above)) => above.is_foreign(),
            _ => false,
        }
    }

    /// Adds the operations that build the view to the setup list.
    ///
    /// # Errors
    /// When a path can't be expressed or a tree can't be opened.
    pub(crate) fn build(
        &self,
        script: &mut OwnedScript,
        caller: &Caller,
        ownership: &mut Ownership,
    ) -> Result<(), PlatformError> {
        let contents = self.places.values().map(|place| match place {
            Place::Content { bytes, .. } => bytes.0.len(),
            _ => 0,
        });
        let size = script.text((ROOT_SIZE + contents.sum::<usize>()).to_string())?;
        script.setup.push(Op::NewRoot { size });
        let mut made = BTreeSet::new();
        for (path, place) in &self.places {
            if self.is_redundant(path, place) {
                continue;
            }
            let own = !self.above(path).is_some_and(|(_, above)| above.is_foreign());
            if own {
                self.make_mount_point(path, place, &mut made, script)?;
            }
            self.put(path, place, script, caller, ownership)?;
        }
        script.setup.push(Op::RootReadOnly);
        script.setup.push(Op::PivotRoot);
        Ok(())
    }

    /// Directories above a place, and the place itself as something to mount on, in a part of the view that is ours.
    fn make_mount_point(
        &self,
        path: &Path,
        place: &Place,
        made: &mut BTreeSet<PathBuf>,
        script: &mut OwnedScript,
    ) -> Result<(), PlatformError> {
        let is_directory = match place {
            Place::Bind { is_dir, .. } => *is_dir,
            Place::Mask { is_dir, .. } => *is_dir,
            Place::Device(_) | Place::Content { .. } => false,
            Place::Tmpfs { .. } | Place::Proc(_) | Place::Terminals | Place::Directory => true,
            Place::Symlink(_) => false,
        };
        let mut above: Vec<&Path> =
            path.ancestors().skip(1).filter(|path| path.parent().is_some()).collect();
        above.reverse();
        let own = is_directory.then_some(path);
        for directory in above.into_iter().chain(own) {
            if !made.contains(directory) && !self.is_inside(directory, path) {
                let path = inside(script, directory)?;
                script.setup.push(Op::Directory { path, mode: 0o755 });
                made.insert(directory.to_owned());
            }
        }
        if !is_directory && !matches!(place, Place::Symlink(_)) {
            let path = inside(script, path)?;
            script.setup.push(Op::EmptyFile(path));
        }
        Ok(())
    }

    /// Whether `directory`, on the way to `path`, exists since it is a mount of its own.
    fn is_inside(&self, directory: &Path, path: &Path) -> bool {
        directory != path
            && self.places.get(directory).is_some_and(|place| matches!(place, Place::Tmpfs { .. }))
    }

    fn put(
        &self,
        path: &Path,
        place: &Place,
        script: &mut OwnedScript,
        caller: &Caller,
        ownership: &mut Ownership,
    ) -> Result<(), PlatformError> {
        let target = inside(script, path)?;
        let op = match place {
            Place::Directory => return Ok(()),
            Place::Symlink(to) => Op::Symlink { target: script.text(to)?, path: target },
            Place::Bind { access, .. } => {
                let attributes = NOSUID | NODEV | if *access == Access::Read { RDONLY } else { 0 };
                let source = if caller.privileged {
                    // The child is no longer privileged when it mounts, so the path is opened here.
                    let tree = ownership.open_tree(path, *access)?;
                    let source = Source::Tree(tree.as_raw_fd());
                    script.descriptors.push(tree);
                    source
                } else {
                    Source::Path(script.text(path)?)
                };
                Op::Bind { source, target, attributes, device: 0 }
            }
            Place::Device(number) => {
                let source = Source::Path(script.text(path)?);
                Op::Bind { source, target, attributes: NOSUID | NOEXEC, device: *number }
            }
            Place::Content { bytes, mode } => {
                let (content, len) = script.content(&bytes.0)?;
                Op::Content { target, content, len, mode: *mode }
            }
            Place::Mask { kind, is_dir: false } => {
                let (content, len) = script.content(&[])?;
                let mode = if *kind == MaskKind::Hide { 0o444 } else { 0 };
                Op::Content { target, content, len, mode }
            }
            Place::Mask { kind, is_dir: true } => {
                let mode = if *kind == MaskKind::Hide { "0555" } else { "0" };
                let options = [("mode", mode.to_owned()), ("size", "4k".to_owned())];
                mount(script, "tmpfs", &options, target, RDONLY | NOSUID | NODEV | NOEXEC)?
            }
            Place::Tmpfs { size, files } => {
                let options = [
                    ("size", size.to_string()),
                    ("nr_inodes", files.to_string()),
                    ("mode", "1777".into()),
                ];
                mount(script, "tmpfs", &options, target, NOSUID | NODEV)?
            }
            Place::Proc(view) => {
                let only_pids = [("subset", "pid".to_owned())];
                let options: &[(&str, String)] =
                    if *view == ProcView::Pids { &only_pids } else { &[] };
                mount(script, "proc", options, target, NOSUID | NODEV | NOEXEC)?
            }
            Place::Terminals => {
                let options = [("ptmxmode", "0666".into()), ("mode", "0620".into())];
                mount(script, "devpts", &options, target, NOSUID | NOEXEC)?
            }
        };
        script.setup.push(op);
        Ok(())
    }

    /// Paths of the host that can be written.
    pub(crate) fn writable(&self) -> Vec<PathBuf> {
        let is_writable =
            |place: &Place| matches!(place, Place::Bind { access: Access::Write, .. });
        let paths = self.places.iter().filter(|(_, place)| is_writable(place));
        paths.map(|(path, _)| path.clone()).collect()
    }

    /// The places as the second wall needs them.
    pub(crate) fn paths(&self) -> Vec<ResolvedPath> {
        let entry =
            |path: &Path, is_dir, purpose| ResolvedPath { path: path.to_owned(), is_dir, purpose };
        let mut paths = vec![entry(Path::new("/dev"), true, Purpose::Devices)];
        for (path, place) in &self.places {
            if self.is_redundant(path, place) {
                continue;
            }
            match place {
                Place::Bind { access, is_dir } => {
                    paths.push(entry(path, *is_dir, Purpose::Files(*access)))
                }
                Place::Tmpfs { .. } => paths.push(entry(path, true, Purpose::Files(Access::Write))),
                Place::Proc(_) => paths.push(entry(path, true, Purpose::Processes)),
                Place::Content { .. } => {
                    paths.push(entry(path, false, Purpose::Files(Access::Read)));
                }
                // A mask has the rights of what it stands in, and nothing to use them on.
                Place::Mask { .. } => {}
                // Below `/dev`, which has a rule; plain directories and links have no files.
                Place::Device(_) | Place::Terminals | Place::Directory | Place::Symlink(_) => {}
            }
        }
        paths
    }
}

fn mount(
    script: &mut OwnedScript,
    kind: &str,
    options: &[(&str, String)],
    target: Text,
    attributes: u64,
) -> Result<Op, PlatformError> {
    let none = script.text("")?;
    let mut all = [(none, none); 3];
    for (slot, (key, value)) in all.iter_mut().zip(options) {
        *slot = (script.text(key)?, script.text(value)?);
    }
    Ok(Op::Mount { kind: script.text(kind)?, options: all, target, attributes })
}

/// An absolute path as the child takes it: relative to the new root.
fn inside(script: &mut OwnedScript, path: &Path) -> Result<Text, PlatformError> {
    script.text(path.strip_prefix("/").unwrap_or(path))
}

/// Follows a path on the host. Every symlink on the way becomes a place of its own, so that the path as written works
/// inside too. What was seen to be a directory for one path of a launch isn't looked at again for the next.
fn resolve(
    path: &Path,
    places: &mut BTreeMap<PathBuf, Place>,
    directories: &mut BTreeSet<OsString>,
) -> rustix::io::Result<(PathBuf, bool)> {
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
        let stat = rustix::fs::lstat(&candidate)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MOST_SYMLINKS {
                    return Err(rustix::io::Errno::LOOP);
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
    Ok((found, is_dir))
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

fn is_missing(error: &rustix::io::Errno) -> bool {
    matches!(*error, rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR)
}

fn missing(path: &Path, access: Access, error: rustix::io::Errno) -> PlatformError {
    let key = match access {
        Access::Read => "filesystem.read",
        Access::Write => "filesystem.write",
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
        Access::Write => {
            error.with_hint("make the directory first: the launcher makes nothing on the host")
        }
    }
}

/// Opens a path on the host without following any symlink.
pub(super) fn open_host(path: &Path) -> Result<rustix::fd::OwnedFd, PlatformError> {
    use rustix::fs::{CWD, ResolveFlags, openat2};
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(|error| {
        let message = format!("failed to open `{}`", readable(path.as_os_str()));
        PlatformError::launch(Stage::Prepare, message, Some(error.into()))
    })
}
