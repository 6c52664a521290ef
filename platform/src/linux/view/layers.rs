//! Copies on write: the layers of each, put together in a place of the sandbox's own that is gone when it runs.
//!
//! A copy has up to three layers: the directory of the host below, mounted read-only; below that, where the first lacks what
//! something is mounted on, a layer with just that, so that it is made neither on the host nor among the changes; and on top
//! the changes, in memory or in the directory where they are kept.

use super::{Access, NODEV, NOSUID, Original, Place, RDONLY, View, tree};
use crate::linux::identity::Caller;
use crate::linux::kept::Kept;
use crate::linux::mounts;
use crate::linux::ownership::{Ownership, Tree};
use crate::linux::script::OwnedScript;
use crate::plan::readable;
use crate::{Filesystem, Overlay, PlatformError, Stage};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stockade_child::{Op, Source, Text};

/// Directories and empty files only.
const WORKSHOP_SIZE: &str = "4m";
/// Of discarded changes, when nothing else is said.
const USUAL_SIZE: u64 = 64 << 20;
/// Where the memory for discarded changes is, in the workshop.
const DISCARD: &str = "discard";

/// All copies of a view.
#[derive(Debug, Default)]
pub(super) struct Layers {
    keep: Option<PathBuf>,
    size: u64,
    copies: BTreeMap<PathBuf, Copied>,
}

/// One copy.
#[derive(Debug, Default)]
struct Copied {
    /// Its directory in the workshop.
    number: usize,
    /// What only the lowest layer has, and whether that is a directory.
    lacking: BTreeMap<PathBuf, bool>,
    /// Where its changes are kept on the host.
    kept: Option<PathBuf>,
}

impl Layers {
    pub(super) fn new(filesystem: &Filesystem) -> Self {
        let keep = match &filesystem.overlay {
            Some(Overlay::Keep(path)) => Some(path.clone()),
            Some(Overlay::Discard) | None => None,
        };
        let size = filesystem.overlay_size.map_or(USUAL_SIZE, |size| size.0);
        Self { keep, size, copies: BTreeMap::new() }
    }

    /// One more copy, at this place inside.
    pub(super) fn add(&mut self, place: &Path) {
        let number = self.copies.len();
        self.copies.insert(place.to_owned(), Copied { number, ..Copied::default() });
    }

    /// A copy needs something to mount on that it lacks.
    pub(super) fn lacks(&mut self, place: &Path, path: PathBuf, is_dir: bool) {
        if let Some(copy) = self.copies.get_mut(place) {
            copy.lacking.insert(path, is_dir);
        }
    }

    /// Where changes are kept on the host, for each copy.
    pub(super) fn kept(&self) -> impl Iterator<Item = &PathBuf> {
        self.copies.values().filter_map(|copy| copy.kept.as_ref())
    }

    /// Where changes go, for the report; nothing where nothing is copied.
    fn told(&self) -> Option<String> {
        if self.copies.is_empty() {
            return None;
        }
        Some(match &self.keep {
            Some(path) => format!("changes are kept in `{}`", readable(path.as_os_str())),
            None => format!("changes are discarded; {} bytes of memory at most", self.size),
        })
    }

    /// The operation that mounts the copy of a place.
    pub(super) fn overlay(
        &self,
        place: &Path,
        target: Text,
        script: &mut OwnedScript,
    ) -> Result<Op, PlatformError> {
        let copy = self.copies.get(place).ok_or_else(|| {
            let shown = readable(place.as_os_str());
            PlatformError::invalid(format!("`{shown}` is no directory that can be copied"))
        })?;
        let number = copy.number;
        let lacking =
            if copy.lacking.is_empty() { String::new() } else { format!("{number}/lacking") };
        let changes = self.changes(number);
        Ok(Op::Overlay {
            lower: script.text(format!("{number}/lower"))?,
            lacking: script.text(lacking)?,
            upper: script.text(format!("{changes}/changes"))?,
            work: script.text(format!("{changes}/work"))?,
            target,
            attributes: NOSUID | NODEV,
        })
    }

    /// The directory in the workshop with the changes of a copy.
    fn changes(&self, number: usize) -> String {
        match self.keep {
            Some(_) => format!("{number}/kept"),
            None => format!("{DISCARD}/{number}"),
        }
    }
}

impl View {
    /// Opens every directory that is copied beside the root.
    pub(super) fn open_copies(&mut self) -> Result<(), PlatformError> {
        let copies: Vec<(PathBuf, PathBuf)> = self
            .places
            .iter()
            .filter(|(path, place)| !self.is_redundant(path, place) && *path != Path::new("/"))
            .filter_map(|(path, place)| match place {
                Place::Bind { source, access: Access::Copy, .. } => {
                    Some((path.clone(), source.clone()))
                }
                _ => None,
            })
            .collect();
        if copies.is_empty() {
            return Ok(());
        }
        let sources: Vec<PathBuf> = copies.iter().map(|(_, source)| source.clone()).collect();
        for (path, source) in copies {
            let original = Original::open(&source, "filesystem.copy")?;
            self.originals.insert(path.clone(), original);
            self.layers.add(&path);
        }
        nothing_mounted_below(&sources)
    }

    /// Where changes go, for the report; nothing where nothing is copied.
    pub(crate) fn copies_told(&self) -> Option<String> {
        self.layers.told()
    }

    /// Adds the operations that put the layers of every copy together.
    pub(super) fn add_layers(
        &mut self,
        script: &mut OwnedScript,
        caller: &Caller,
        ownership: &mut Ownership,
        mut kept: Option<&mut Kept>,
    ) -> Result<(), PlatformError> {
        if self.layers.copies.is_empty() {
            return Ok(());
        }
        if let Some(kept) = &kept {
            self.is_out_of_reach(kept.path())?;
        }
        let size = script.text(WORKSHOP_SIZE)?;
        script.setup.push(Op::NewRoot { size });
        let (keep, size) = (self.layers.keep.clone(), self.layers.size);
        if keep.is_none() {
            directory(script, DISCARD, 0o755)?;
            let target = script.text(DISCARD)?;
            let files = (size / 4096).max(64);
            let options = [("size", size.to_string()), ("nr_inodes", files.to_string())];
            let op = super::mount(script, "tmpfs", &options, target, NOSUID | NODEV)?;
            script.setup.push(op);
        }
        for (place, copy) in &mut self.layers.copies {
            let Some(original) = self.originals.get(place) else { continue };
            let number = copy.number;
            directory(script, number.to_string(), 0o755)?;
            let lower = format!("{number}/lower");
            directory(script, &lower, 0o755)?;
            let what = if place == Path::new("/") { Tree::System } else { Tree::Shown };
            let source = tree(&original.path, (Access::Copy, what), script, caller, ownership)?;
            let target = script.text(&lower)?;
            let attributes = RDONLY | NOSUID | NODEV;
            script.setup.push(Op::Bind { source, target, attributes, device: 0 });
            match (&keep, kept.as_deref_mut()) {
                (None, _) => {
                    let own = format!("{DISCARD}/{number}");
                    directory(script, &own, 0o700)?;
                    let mode = (original.stat.st_mode & 0o1777) | 0o700;
                    directory(script, format!("{own}/changes"), mode)?;
                    directory(script, format!("{own}/work"), 0o700)?;
                }
                (Some(path), kept) => {
                    // Without the directory itself this only explains: nothing is made then.
                    let source = match kept {
                        Some(kept) => {
                            let (path, of) = (&original.path, &original.stat);
                            let layer = kept.layer(place, path, of, caller.privileged)?;
                            let source =
                                tree(&layer, (Access::Write, what), script, caller, ownership)?;
                            copy.kept = Some(layer);
                            source
                        }
                        None => Source::Path(script.text(path.join(number.to_string()))?),
                    };
                    let target = format!("{number}/kept");
                    directory(script, &target, 0o755)?;
                    let target = script.text(target)?;
                    script.setup.push(Op::Bind {
                        source,
                        target,
                        attributes: NOSUID | NODEV,
                        device: 0,
                    });
                }
            }
            lay_out(script, &format!("{number}/lacking"), &copy.lacking)?;
        }
        Ok(())
    }

    /// Refuses a directory for changes that the program could reach otherwise.
    fn is_out_of_reach(&self, kept: &Path) -> Result<(), PlatformError> {
        for place in self.places.values() {
            if let Place::Bind { source, .. } = place
                && (kept.starts_with(source) || source.starts_with(kept))
            {
                let (kept, shown) = (readable(kept.as_os_str()), readable(source.as_os_str()));
                return Err(PlatformError::invalid(format!(
                    "changes can't be kept in `{kept}`: `{shown}`, which is shown inside, overlaps it"
                ))
                .with_hint("keep them in a directory that the policy doesn't show"));
            }
        }
        Ok(())
    }
}

/// What is mounted below a directory is no part of its file system: a copy would show what it covers.
pub(super) fn nothing_mounted_below(directories: &[PathBuf]) -> Result<(), PlatformError> {
    let table = mounts::table().map_err(|error| {
        PlatformError::launch(Stage::Prepare, "failed to read the table of mounts", Some(error))
    })?;
    for mount in mounts::all(&table) {
        let within =
            |directory: &&PathBuf| mount.point != **directory && mount.point.starts_with(directory);
        if let Some(directory) = directories.iter().find(within) {
            let (shown, point) =
                (readable(directory.as_os_str()), readable(mount.point.as_os_str()));
            return Err(PlatformError::invalid(format!(
                "`{shown}` can't be copied on write: something else is mounted in it, at `{point}`"
            ))
            .with_hint("unmount it, or copy what is beside it"));
        }
    }
    Ok(())
}

/// A layer with what another lacks; nothing where that is nothing.
fn lay_out(
    script: &mut OwnedScript,
    layer: &str,
    lacking: &BTreeMap<PathBuf, bool>,
) -> Result<(), PlatformError> {
    if lacking.is_empty() {
        return Ok(());
    }
    directory(script, layer, 0o755)?;
    let layer = Path::new(layer);
    let mut made = std::collections::BTreeSet::new();
    for (path, is_dir) in lacking {
        let mut above: Vec<&Path> = path
            .ancestors()
            .skip(usize::from(!is_dir))
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        above.reverse();
        for path in above {
            if made.insert(path) {
                directory(script, layer.join(path), 0o755)?;
            }
        }
        if !is_dir {
            let (within, path) = (script.text("")?, script.text(layer.join(path))?);
            script.setup.push(Op::EmptyFile { within, path });
        }
    }
    Ok(())
}

fn directory(
    script: &mut OwnedScript,
    path: impl AsRef<std::ffi::OsStr>,
    mode: u32,
) -> Result<(), PlatformError> {
    let (within, path) = (script.text("")?, script.text(path)?);
    script.setup.push(Op::Directory { within, path, mode });
    Ok(())
}
