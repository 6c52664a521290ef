//! The view of files: from the binds of a plan to the operations that build a root of only them.
//!
//! The host is looked at once, here: a path's symlinks are followed and made again inside, and what is mounted is the
//! path without symlinks, which the child opens with `RESOLVE_NO_SYMLINKS`. A symlink put into the path between the two
//! moves nothing: it fails the launch.
//!
//! With a directory of the host as the root nothing is made in it. What the sandbox has of its own is mounted over what is
//! there, at the path as written, with no symlink on the way; what it lacks to mount on, a copy on write has from a layer
//! below (`layers`).

mod contents;
mod host_path;
mod kernel_files;
mod layers;
mod original;
mod root;
mod sight;

use super::identity::Caller;
use super::kept::Kept;
use super::landlock::{Purpose, ResolvedPath};
use super::ownership::{Ownership, Tree};
use super::script::OwnedScript;
use super::{classic, mounts};
use crate::{Access, Filesystem, Hidden, MaskKind, PlatformError, ProcView};
use host_path::{missing, resolve};
pub(super) use host_path::{open_host, real};
pub(super) use kernel_files::Standing;
use layers::Layers;
use original::Original;
use rustix::fs::makedev;
use rustix::io::Errno;
pub(crate) use sight::{Sight, Stand, plain};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use stockade_child::{Op, Source, Text};

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;

/// The new root holds directories and symlinks, and the content of files.
const ROOT_SIZE: usize = 4 << 20;

/// What is made where the root is a directory of the host, for the sandbox's own devices or secrets, holds no more.
const OWN_SIZE: &str = "1m";

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
    /// A host path, without symlinks. At `/` it is the root.
    Bind { source: PathBuf, access: Access, is_dir: bool },
    /// A device of the host.
    Device(u64),
    /// A file with content of its own.
    Content { bytes: Hidden, mode: u32 },
    /// Something that hides what stands there.
    Mask { kind: MaskKind, is_dir: bool },
    /// A private file system in memory.
    Tmpfs { size: u64, files: u64 },
    /// One that only the launch fills, where the root is a directory of the host.
    Own,
    /// Process information.
    Proc(ProcView),
    /// Device information.
    Sys,
    /// A part of process information that is made read-only.
    Frozen,
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
        matches!(
            self,
            Self::Bind { .. }
                | Self::Device(_)
                | Self::Proc(_)
                | Self::Sys
                | Self::Frozen
                | Self::Terminals
        )
    }

    /// Whether a directory is needed to mount it on; nothing where nothing is mounted.
    fn wants_directory(&self) -> Option<bool> {
        match self {
            Self::Bind { is_dir, .. } | Self::Mask { is_dir, .. } => Some(*is_dir),
            Self::Device(_) | Self::Content { .. } => Some(false),
            Self::Tmpfs { .. }
            | Self::Own
            | Self::Proc(_)
            | Self::Sys
            | Self::Frozen
            | Self::Terminals => Some(true),
            Self::Directory | Self::Symlink(_) => None,
        }
    }
}

/// The places of a view, by path: parents come before what is below them.
#[derive(Debug, Default)]
pub(crate) struct View {
    places: BTreeMap<PathBuf, Place>,
    /// Directories of the host that are the root or are copied on write, by their place.
    originals: BTreeMap<PathBuf, Original>,
    layers: Layers,
    /// How the files of a root that is the host's are shown, once it was opened.
    root_owner: Option<&'static str>,
}

impl View {
    /// Looks at the host and decides every place.
    ///
    /// # Errors
    /// When a path doesn't exist or can't be looked at.
    pub(crate) fn resolve(
        filesystem: &Filesystem,
        standing: Standing,
    ) -> Result<Self, PlatformError> {
        let mut view = Self { layers: Layers::new(filesystem), ..Self::default() };
        if let Some(root) = &filesystem.root {
            view.set_root(root, filesystem)?;
        }
        for (name, major, minor) in DEVICES {
            view.places.insert(PathBuf::from(name), Place::Device(makedev(*major, *minor)));
        }
        for (link, target) in DEVICE_LINKS {
            view.places.insert(PathBuf::from(link), Place::Symlink(PathBuf::from(target)));
        }
        view.places.insert(PathBuf::from("/dev/pts"), Place::Terminals);
        match filesystem.tmp {
            Some(tmp) => {
                // A file that holds anything has a page, so that this stands in nobody's way.
                let files = filesystem.tmp_files.map_or(tmp.size.0 / 4096, u64::from);
                let place = Place::Tmpfs { size: tmp.size.0, files: files.max(16) };
                for path in ["/tmp", "/dev/shm"] {
                    view.places.insert(PathBuf::from(path), place.clone());
                }
            }
            None if view.has_own_root() => {
                view.places.insert(PathBuf::from("/tmp"), Place::Directory);
            }
            None => {}
        }
        for device in &filesystem.devices {
            let number = contents::device(device)?;
            view.places.insert(device.clone(), Place::Device(number));
        }
        let mut directories = BTreeSet::new();
        for bind in &filesystem.binds {
            let mut links = BTreeMap::new();
            let resolved = resolve(&bind.source, &mut links, &mut directories);
            // What can't be made in the root needs not be: there the path is as it is written.
            if view.has_own_root() {
                links.into_iter().for_each(|(link, to)| _ = view.places.entry(link).or_insert(to));
            }
            let (source, is_dir) = match resolved.map(|found| (found.is_dir, found.path)) {
                Ok((Some(is_dir), path)) => (path, is_dir),
                Ok((None, _)) | Err(Errno::NOENT | Errno::NOTDIR) if bind.optional => continue,
                Ok((None, _)) => return Err(missing(&bind.source, bind.access, Errno::NOENT)),
                Err(error) => return Err(missing(&bind.source, bind.access, error)),
            };
            let as_found = bind.target == bind.source && view.has_own_root();
            let target = if as_found { source.clone() } else { bind.target.clone() };
            view.add_bind(target, source, bind.access, is_dir)?;
        }
        view.open_copies()?;
        view.show_kernel_files(filesystem, standing);
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
        source: PathBuf,
        access: Access,
        is_dir: bool,
    ) -> Result<(), PlatformError> {
        if path == Path::new("/") {
            let message =
                "the whole root `/` can't be bound: name the directories that the program needs";
            return Err(PlatformError::invalid(message));
        }
        match self.places.get_mut(&path) {
            // The wider access wins: a policy that allows writing means it. But what is copied stays as it is on the host.
            Some(Place::Bind { access: before, .. }) => *before = access.max(*before),
            _ => {
                self.places.insert(path, Place::Bind { source, access, is_dir });
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
        match (place, self.above(path)) {
            (
                Place::Bind { source, access, .. },
                Some((top, Place::Bind { source: above, access: same, .. })),
            ) => {
                access == same
                    && path.strip_prefix(top).is_ok_and(|rest| *source == above.join(rest))
            }
            // The host's own symlink is there already.
            (Place::Symlink(_), Some((_, above))) => above.is_foreign(),
            _ => false,
        }
    }

    /// Adds the operations that build the view to the setup list.
    ///
    /// # Errors
    /// When a path can't be expressed, a tree can't be opened, or there is nothing to mount on.
    pub(crate) fn build(
        &mut self,
        script: &mut OwnedScript,
        caller: &Caller,
        ownership: &mut Ownership,
        kept: Option<&mut Kept>,
    ) -> Result<(), PlatformError> {
        self.check_mount_points()?;
        self.add_layers(script, caller, ownership, kept)?;
        let contents = self.places.values().map(|place| match place {
            Place::Content { bytes, .. } => bytes.0.len(),
            _ => 0,
        });
        let size = script.text((ROOT_SIZE + contents.sum::<usize>()).to_string())?;
        script.setup.push(Op::NewRoot { size });
        let mut made = BTreeSet::new();
        let mut owner = None;
        let mounted =
            if script.classic { mounts::table().map_err(unreadable)? } else { Vec::new() };
        for (path, place) in &self.places {
            if self.is_redundant(path, place) {
                continue;
            }
            if !self.above(path).is_some_and(|(_, above)| above.is_foreign()) {
                self.make_mount_point(path, place, &mut made, script)?;
            }
            let op = match (path == Path::new("/"), place) {
                (true, Place::Bind { source, access: Access::Read, .. }) => {
                    let (op, how) = root::bind(source, script, caller, ownership)?;
                    owner = Some(how);
                    Some(op)
                }
                _ => self.put(path, place, script, caller, ownership)?,
            };
            script.setup.extend(op);
            self.restrict_below(path, place, &mounted, script)?;
        }
        for (path, _) in self.places.iter().filter(|(_, place)| **place == Place::Own) {
            let path = inside(script, path)?;
            script.setup.push(Op::ReadOnly(path));
        }
        if self.has_own_root() {
            let root = script.text("")?;
            script.setup.push(Op::ReadOnly(root));
        }
        script.setup.push(Op::PivotRoot);
        self.root_owner = owner;
        Ok(())
    }

    /// Restricts what the host has mounted below a tree that is shown, where that can't be done with the tree as a whole.
    fn restrict_below(
        &self,
        path: &Path,
        place: &Place,
        mounted: &[u8],
        script: &mut OwnedScript,
    ) -> Result<(), PlatformError> {
        let Place::Bind { source, access: access @ (Access::Read | Access::Write), .. } = place
        else {
            return Ok(());
        };
        for point in classic::below(mounted, source) {
            let rest = point.strip_prefix(source).unwrap_or(&point);
            let target = inside(script, &path.join(rest))?;
            script.setup.push(Op::Restrict { target, attributes: attributes_of(*access) });
        }
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
        if path == Path::new("/") {
            return Ok(());
        }
        let top = self.above(path).map_or(Path::new("/"), |(top, _)| top);
        let within = inside(script, top)?;
        let is_directory = place.wants_directory().unwrap_or(*place == Place::Directory);
        let mut above: Vec<&Path> =
            path.ancestors().skip(1).take_while(|above| *above != top).collect();
        above.reverse();
        for directory in above.into_iter().chain(is_directory.then_some(path)) {
            if made.insert(directory.to_owned()) {
                let path = below(script, top, directory)?;
                script.setup.push(Op::Directory { within, path, mode: 0o755 });
            }
        }
        if !is_directory && !matches!(place, Place::Symlink(_)) {
            let path = below(script, top, path)?;
            script.setup.push(Op::EmptyFile { within, path });
        }
        Ok(())
    }

    fn put(
        &self,
        path: &Path,
        place: &Place,
        script: &mut OwnedScript,
        caller: &Caller,
        ownership: &mut Ownership,
    ) -> Result<Option<Op>, PlatformError> {
        let target = inside(script, path)?;
        Ok(Some(match place {
            Place::Directory => return Ok(None),
            Place::Symlink(to) => {
                let top = self.above(path).map_or(Path::new("/"), |(top, _)| top);
                let (within, path) = (inside(script, top)?, below(script, top, path)?);
                Op::Symlink { target: script.text(to)?, within, path }
            }
            Place::Bind { access: Access::Copy, .. } => {
                self.layers.overlay(path, target, script)?
            }
            Place::Bind { source, access, .. } => {
                let attributes = attributes_of(*access);
                let source = tree(source, (*access, Tree::Shown), script, caller, ownership)?;
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
            Place::Own => {
                let options = [("size", OWN_SIZE.to_owned()), ("mode", "0755".to_owned())];
                mount(script, "tmpfs", &options, target, NOSUID | NODEV)?
            }
            Place::Proc(view) => {
                let only_pids = [("subset", "pid".to_owned())];
                let options: &[(&str, String)] =
                    if *view == ProcView::Pids { &only_pids } else { &[] };
                mount(script, "proc", options, target, NOSUID | NODEV | NOEXEC)?
            }
            Place::Sys => mount(script, "sysfs", &[], target, RDONLY | NOSUID | NODEV | NOEXEC)?,
            Place::Frozen => {
                let attributes = RDONLY | NOSUID | NODEV | NOEXEC;
                Op::Bind { source: Source::Inside(target), target, attributes, device: 0 }
            }
            Place::Terminals => {
                let options = [("ptmxmode", "0666".into()), ("mode", "0620".into())];
                mount(script, "devpts", &options, target, NOSUID | NOEXEC)?
            }
        }))
    }

    /// Paths of the host that can be written.
    pub(crate) fn writable(&self) -> Vec<PathBuf> {
        let own = self.places.values().filter_map(|place| match place {
            Place::Bind { source, access: Access::Write, .. } => Some(source),
            _ => None,
        });
        own.chain(self.layers.kept()).cloned().collect()
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
                Place::Bind { access, is_dir, .. } => {
                    paths.push(entry(path, *is_dir, Purpose::Files(*access)))
                }
                Place::Tmpfs { .. } => paths.push(entry(path, true, Purpose::Files(Access::Write))),
                Place::Proc(_) => paths.push(entry(path, true, Purpose::Processes)),
                Place::Sys => paths.push(entry(path, true, Purpose::Files(Access::Read))),
                Place::Content { .. } => {
                    paths.push(entry(path, false, Purpose::Files(Access::Read)));
                }
                // A mask has the rights of what it stands in, and nothing to use them on.
                Place::Mask { .. } | Place::Frozen => {}
                // Below `/dev`, which has a rule; plain directories and links have no files.
                Place::Device(_)
                | Place::Own
                | Place::Terminals
                | Place::Directory
                | Place::Symlink(_) => {}
            }
        }
        paths
    }
}

/// How a tree of the host is restricted.
fn attributes_of(access: Access) -> u64 {
    NOSUID | NODEV | if access == Access::Read { RDONLY } else { 0 }
}

fn unreadable(error: std::io::Error) -> PlatformError {
    PlatformError::system("failed to read the table of mounts", error)
}

/// The tree of a host path, as the child takes it: of a privileged starter a copy that is open already, since the child
/// is no longer privileged when it mounts.
fn tree(
    path: &Path,
    (access, what): (Access, Tree),
    script: &mut OwnedScript,
    caller: &Caller,
    ownership: &mut Ownership,
) -> Result<Source, PlatformError> {
    if !caller.privileged {
        return Ok(Source::Path(script.text(path)?));
    }
    if script.classic {
        Ownership::as_it_is(path, access)?;
        return Ok(Source::Path(script.text(path)?));
    }
    let tree = ownership.open_tree(path, access, what)?;
    let source = Source::Tree(tree.as_raw_fd());
    script.descriptors.push(tree);
    Ok(source)
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
    below(script, Path::new("/"), path)
}

/// An absolute path relative to one above it.
fn below(script: &mut OwnedScript, top: &Path, path: &Path) -> Result<Text, PlatformError> {
    script.text(path.strip_prefix(top).unwrap_or(path))
}
