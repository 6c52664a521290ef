//! What sandboxes changed of a copy, as the directory tells in which the changes are kept.

use crate::plan::path;
use serde::Serialize;
use std::path::PathBuf;

/// All that is kept in one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Changes {
    /// The directory.
    #[serde(serialize_with = "path")]
    pub directory: PathBuf,
    /// Each change, by its path.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// What it happened to; of what was deleted, what it was.
    #[serde(rename = "type")]
    pub what: ChangedKind,
    /// Where that is inside.
    #[serde(serialize_with = "path")]
    pub path: PathBuf,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It wasn't there before.
    Added,
    /// Its content, its kind, or something about it is another; or it was opened to be written.
    Changed,
    /// It isn't there any more, with all that was below it.
    Deleted,
}

/// What sort of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangedKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A socket, a FIFO or a device.
    Special,
}

impl Changes {
    #[cfg(target_os = "linux")]
    pub(crate) fn new(directory: PathBuf, mut changes: Vec<Change>) -> Self {
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        Self { directory, changes }
    }
}
