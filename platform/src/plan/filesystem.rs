//! What exists of the file system inside.

use super::{path, readable};
use crate::Bytes;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What exists of the file system inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Filesystem {
    /// Directory of the host that is the root inside; when `None`, a fresh root with nothing but what is named here.
    #[serde(serialize_with = "maybe_path")]
    pub root: Option<PathBuf>,
    /// Where changes go to what is copied on write. When `None`, the root can't be changed and other changes are discarded.
    pub overlay: Option<Overlay>,
    /// Most bytes of discarded changes.
    pub overlay_size: Option<Bytes>,
    /// Host paths that exist inside, at the same place unless told otherwise.
    pub binds: Vec<Bind>,
    /// Host paths below those that look as if nothing were there, or can't be opened.
    pub masks: Vec<Mask>,
    /// Devices of the host beside those that every program has.
    #[serde(serialize_with = "paths")]
    pub devices: Vec<PathBuf>,
    /// Files with content of their own, by their place inside.
    #[serde(serialize_with = "contents")]
    pub files: BTreeMap<PathBuf, String>,
    /// A private `/tmp` (and shared memory directory).
    pub tmp: Option<Tmp>,
    /// Most files, directories and links in each directory in memory; a file for each page of its size when `None`.
    pub tmp_files: Option<u32>,
    /// View of the process information file system.
    pub proc: ProcView,
    /// View of the device information file system.
    pub sys: SysView,
    /// Where the program starts; `/` when `None`.
    #[serde(serialize_with = "maybe_path")]
    pub workdir: Option<PathBuf>,
    /// Permissions that new files of the program don't get (umask(2)); `022` when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
}

impl Filesystem {
    /// Whether the root is a directory of the host that is copied on write.
    pub fn copies_root(&self) -> bool {
        self.root.is_some() && self.overlay.is_some()
    }

    /// Whether anything is copied on write.
    pub fn copies(&self) -> bool {
        self.copies_root() || self.binds.iter().any(|bind| bind.access == Access::Copy)
    }
}

/// Where changes go to what is copied on write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Into memory, and away with the sandbox.
    Discard,
    /// Into this directory, from which a later sandbox goes on.
    Keep(PathBuf),
}

impl Serialize for Overlay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Discard => serializer.serialize_str("discard"),
            Self::Keep(directory) => path(directory, serializer),
        }
    }
}

/// One host path made visible inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bind {
    /// Absolute path on the host.
    #[serde(serialize_with = "path")]
    pub source: PathBuf,
    /// Absolute path inside.
    #[serde(serialize_with = "path")]
    pub target: PathBuf,
    /// Read, write, or write to a copy.
    pub access: Access,
    /// Whether a missing source is passed over instead of refused.
    pub optional: bool,
}

/// A path that the program is to see nothing of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mask {
    /// Absolute path on the host.
    #[serde(serialize_with = "path")]
    pub path: PathBuf,
    /// What the program meets there instead.
    pub kind: MaskKind,
}

/// What stands in front of a masked path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskKind {
    /// An empty directory or an empty file.
    Hide,
    /// Something that can't be opened.
    Deny,
}

/// What may be done below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read and execute.
    Read,
    /// Read, execute, write, create, delete.
    Write,
    /// The same, to a copy: what the host has stays as it is.
    Copy,
}

/// A private temporary directory in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tmp {
    /// Most bytes of its files.
    pub size: Bytes,
}

/// What of process information is visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcView {
    /// The sandbox's own processes, and the system's information files.
    #[default]
    Private,
    /// The sandbox's own processes only.
    Pids,
    /// Nothing.
    None,
}

/// What of device information is visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SysView {
    /// Nothing.
    #[default]
    None,
    /// The system's devices and the sandbox's own network, to be read.
    Read,
}

impl Bind {
    /// A bind at the same path inside as outside.
    pub fn same(path: impl AsRef<Path>, access: Access) -> Self {
        let path = path.as_ref().to_owned();
        Self { source: path.clone(), target: path, access, optional: false }
    }
}

fn paths<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| readable(path.as_os_str())))
}

fn contents<S: Serializer>(
    files: &BTreeMap<PathBuf, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(files.iter().map(|(path, text)| (readable(path.as_os_str()), text)))
}

fn maybe_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| readable(path.as_os_str())).serialize(serializer)
}
