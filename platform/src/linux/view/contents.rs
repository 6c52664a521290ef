//! What a view shows that isn't simply the host's: masks, files with content of their own, single devices, secrets.

use super::host_path::{Resolved, resolve};
use super::{Original, Place, View};
use crate::plan::readable;
use crate::{Access, Hidden, Mask, PlatformError, Secret, SecretSource, Stage};
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where secrets are inside.
const SECRETS: &str = "/run/secrets";

/// The most bytes of a secret: it is a key or a password, and lies in memory.
const MOST_SECRET: u64 = 1 << 20;

impl View {
    /// Puts something in front of a path of the host, where the program could see it.
    ///
    /// # Errors
    /// When it can't be looked at, when something below it is shown, or when it doesn't exist and the program could make it.
    pub(super) fn mask(
        &mut self,
        mask: &Mask,
        directories: &mut BTreeSet<OsString>,
    ) -> Result<(), PlatformError> {
        let shown = readable(mask.path.as_os_str());
        let found = if self.has_own_root() {
            resolve(&mask.path, &mut self.places, directories)
        } else {
            self.find(&mask.path)
        };
        let (path, is_dir) = match found {
            Ok(Resolved { path, is_dir: Some(is_dir) }) => (path, is_dir),
            Ok(Resolved { path, is_dir: None }) => return self.absent(path, mask),
            Err(Errno::NOENT | Errno::NOTDIR) => return self.absent(mask.path.clone(), mask),
            Err(error) => {
                let message = format!("failed to look at `{shown}`, which a mask names");
                return Err(PlatformError::launch(Stage::Prepare, message, Some(error.into())));
            }
        };
        if let Some((below, _)) = self.places.range(path.clone()..).find(|(place, what)| {
            place.starts_with(&path) && matches!(what, Place::Bind { .. }) && **place != path
        }) {
            let below = readable(below.as_os_str());
            return Err(PlatformError::invalid(format!(
                "`{shown}` is masked, and `{below}` in it is shown"
            ))
            .with_hint("mask what is in it instead, or show it elsewhere"));
        }
        // Nothing of what isn't shown needs to be hidden.
        let is_shown = matches!(self.places.get(&path), Some(Place::Bind { .. }))
            || matches!(self.above(&path), Some((_, Place::Bind { .. })));
        if is_shown {
            self.places.insert(path, Place::Mask { kind: mask.kind, is_dir });
        }
        Ok(())
    }

    /// A masked path that doesn't exist: that is as wished, unless the program could make it, or what it leads to. In a
    /// copy there is a file to put the mask on, which neither the host nor the changes have.
    fn absent(&mut self, path: PathBuf, mask: &Mask) -> Result<(), PlatformError> {
        match self.above(&path) {
            // Something of the sandbox's own is mounted there.
            _ if self.places.contains_key(&path) => Ok(()),
            Some((above, Place::Bind { access: Access::Write, .. })) => {
                let (shown, above) = (readable(mask.path.as_os_str()), readable(above.as_os_str()));
                Err(PlatformError::invalid(format!(
                    "`{shown}` doesn't exist, so nothing can be put in front of it, and the program may write `{above}`"
                ))
                .with_hint(
                    "make it first, since the launcher makes nothing on the host; or copy the directory (`filesystem.copy`)",
                ))
            }
            Some((_, Place::Bind { access: Access::Copy, .. })) => {
                self.places.insert(path, Place::Mask { kind: mask.kind, is_dir: false });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A path inside, where the root is a directory of the host: no symlink is followed there.
    fn find(&self, path: &Path) -> rustix::io::Result<Resolved> {
        let found = |is_dir| Ok(Resolved { path: path.to_owned(), is_dir });
        let top = path.ancestors().find_map(|top| match self.places.get(top) {
            Some(Place::Bind { source, is_dir, .. }) => Some((top, Some(source), *is_dir)),
            Some(_) => Some((top, None, true)),
            None => None,
        });
        let kind = match top {
            Some((top, Some(_), is_dir)) if top == path => return found(Some(is_dir)),
            Some((top, Some(source), true)) => {
                let rest = path.strip_prefix(top).unwrap_or(path);
                match self.originals.get(top) {
                    Some(original) => original.kind(rest),
                    None => match Original::open(source, "filesystem") {
                        Ok(original) => original.kind(rest),
                        Err(_) => Err(Errno::NOENT),
                    },
                }
            }
            // Of what the sandbox has of its own nothing needs to be masked.
            _ => Ok(None),
        };
        found(kind?.map(|kind| kind == FileType::Directory))
    }

    /// Puts a file with content of its own at a path inside.
    ///
    /// # Errors
    /// When something else stands there, or it would have to be made in a directory of the host.
    pub(super) fn add_content(
        &mut self,
        path: &Path,
        bytes: Hidden,
        mode: u32,
    ) -> Result<(), PlatformError> {
        let shown = readable(path.as_os_str());
        // In the root or a copy it is looked at with all that is mounted there.
        if let Some((above, Place::Bind { source, .. })) = self.above(path)
            && !self.originals.contains_key(above)
        {
            let host = source.join(path.strip_prefix(above).unwrap_or(path));
            let is_file = rustix::fs::lstat(&host)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
            if !is_file {
                let above = readable(above.as_os_str());
                let message = format!(
                    "`{shown}` isn't a file of the host, and `{above}` is the host's: nothing can be made there"
                );
                return Err(PlatformError::invalid(message)
                    .with_hint("name another place, or one where the host has a file"));
            }
        }
        let in_the_way = self
            .places
            .get(path)
            .is_some_and(|place| !matches!(place, Place::Bind { is_dir: false, .. }));
        let in_tmpfs = matches!(self.above(path), Some((_, Place::Tmpfs { .. })));
        if in_the_way
            || in_tmpfs
            || self
                .places
                .range(path.to_owned()..)
                .any(|(place, _)| place.starts_with(path) && place != path)
        {
            return Err(PlatformError::invalid(format!(
                "`{shown}` can't be a file: the sandbox has something else there"
            )));
        }
        self.places.insert(path.to_owned(), Place::Content { bytes, mode });
        Ok(())
    }

    /// Reads the secrets, and puts each at its place.
    ///
    /// # Errors
    /// When one can't be read.
    pub(crate) fn add_secrets(&mut self, secrets: &[Secret]) -> Result<(), PlatformError> {
        if !secrets.is_empty() && !self.has_own_root() {
            self.places.insert(SECRETS.into(), Place::Own);
        }
        for secret in secrets {
            let bytes = match &secret.source {
                SecretSource::File(path) => read_secret(&secret.name, path)?,
                SecretSource::Content(bytes) => bytes.clone(),
                SecretSource::Variable(name) => {
                    let message = format!(
                        "the variable `{name}`, where the secret `{}` is to be, isn't set",
                        secret.name
                    );
                    return Err(PlatformError::launch(Stage::Prepare, message, None));
                }
            };
            self.add_content(&Path::new(SECRETS).join(&secret.name), bytes, 0o400)?;
        }
        Ok(())
    }
}

/// Reads a secret's file, which is named by whoever wrote the policy and read with the caller's rights.
fn read_secret(name: &str, path: &Path) -> Result<Hidden, PlatformError> {
    let failed = |error: std::io::Error| {
        let shown = readable(path.as_os_str());
        let message = format!("failed to read the secret `{name}` from `{shown}`");
        PlatformError::launch(Stage::Prepare, message, Some(error))
    };
    // What isn't a file mustn't be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let file = File::from(file);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("not a file")));
    }
    let mut bytes = Vec::new();
    file.take(MOST_SECRET + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_SECRET {
        return Err(failed(std::io::Error::other("more than 1MiB")));
    }
    Ok(Hidden(bytes))
}

/// The number of a character device of the host.
pub(super) fn device(path: &PathBuf) -> Result<u64, PlatformError> {
    let shown = || readable(path.as_os_str());
    let failed = |cause: std::io::Error| {
        let message = format!("failed to look at `{}`, which `filesystem.devices` names", shown());
        PlatformError::launch(Stage::Prepare, message, Some(cause))
    };
    let stat = rustix::fs::lstat(path).map_err(|error| failed(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Ok(stat.st_rdev),
        // A disk has every file of its file system in it.
        _ => Err(failed(std::io::Error::other("not a character device"))),
    }
}
