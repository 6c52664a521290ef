//! A directory of the host as the root.

use super::{Access, NODEV, NOSUID, Original, Place, RDONLY, View, layers, real};
use crate::linux::identity::Caller;
use crate::linux::ownership::Ownership;
use crate::linux::script::OwnedScript;
use crate::plan::readable;
use crate::{Filesystem, PlatformError, Stage};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use stockade_child::{Op, Source};

const KEY: &str = "filesystem.root";

impl View {
    /// Whether the root is one of the sandbox's own, in which everything can be made.
    pub(super) fn has_own_root(&self) -> bool {
        !self.places.contains_key(Path::new("/"))
    }

    /// Makes a directory of the host the root. Its `/dev` is never used: devices there would be whatever somebody put there.
    pub(super) fn set_root(
        &mut self,
        root: &Path,
        filesystem: &Filesystem,
    ) -> Result<(), PlatformError> {
        let path = real(root).map_err(|error| {
            let shown = readable(root.as_os_str());
            let message = format!("failed to look at `{shown}`, which `{KEY}` names");
            PlatformError::launch(Stage::Prepare, message, Some(error.into()))
        })?;
        if path == Path::new("/") {
            let message = format!("`{KEY}` can't be the host's own root");
            return Err(PlatformError::invalid(message));
        }
        let original = Original::open(&path, KEY)?;
        let top = PathBuf::from("/");
        let access = if filesystem.copies_root() { Access::Copy } else { Access::Read };
        if access == Access::Copy {
            layers::nothing_mounted_below(std::slice::from_ref(&path))?;
            self.layers.add(&top);
        }
        self.originals.insert(top.clone(), original);
        self.places.insert(top, Place::Bind { source: path, access, is_dir: true });
        self.places.insert(PathBuf::from("/dev"), Place::Own);
        Ok(())
    }

    /// How the root came about, for the report; nothing where it is the sandbox's own.
    pub(crate) fn root_told(&self) -> Option<String> {
        let path = readable(self.originals.get(Path::new("/"))?.path.as_os_str());
        Some(match self.root_owner {
            Some(how) => format!("`{path}` as the root, {how}"),
            None => format!("a copy of `{path}` as the root"),
        })
    }

    /// Looks whether everything that is mounted on something in a directory of the host finds it there. What a copy lacks,
    /// it gets; nothing is made on the host.
    pub(super) fn check_mount_points(&mut self) -> Result<(), PlatformError> {
        let mut lacking = Vec::new();
        for (path, place) in &self.places {
            let Some(is_dir) = place.wants_directory() else { continue };
            let Some((top, Place::Bind { source: above, access, .. })) = self.above(path) else {
                continue;
            };
            let Some(original) = self.originals.get(top) else { continue };
            let rest = path.strip_prefix(top).unwrap_or(path);
            // What is shown at its own place is there.
            let is_there =
                matches!(place, Place::Bind { source, .. } if *source == above.join(rest));
            if is_there || original.has_mount_point(rest, is_dir)? {
                continue;
            }
            if *access != Access::Copy {
                let (shown, root) = (readable(path.as_os_str()), readable(above.as_os_str()));
                let kind = if is_dir { "directory" } else { "file" };
                return Err(PlatformError::invalid(format!(
                    "the root `{root}` has no `{shown}`, and a {kind} is needed there to mount on"
                ))
                .with_hint(
                    "make it there, or set `filesystem.overlay`, which leaves the root as it is",
                ));
            }
            lacking.push((top.to_owned(), rest.to_owned(), is_dir));
        }
        for (top, rest, is_dir) in lacking {
            self.layers.lacks(&top, rest, is_dir);
        }
        Ok(())
    }
}

/// The operation that makes a directory of the host the root, for reading, and how its files are shown.
pub(super) fn bind(
    path: &Path,
    script: &mut OwnedScript,
    caller: &Caller,
    ownership: &mut Ownership,
) -> Result<(Op, &'static str), PlatformError> {
    let (source, how) = if caller.privileged && !script.classic {
        let (tree, how) = ownership.open_root(path)?;
        let source = Source::Tree(tree.as_raw_fd());
        script.descriptors.push(tree);
        (source, how)
    } else {
        (Source::Path(script.text(path)?), "files with the owners that they have")
    };
    let target = script.text("")?;
    Ok((Op::Bind { source, target, attributes: RDONLY | NOSUID | NODEV, device: 0 }, how))
}
