//! Secrets: what the program may read, and nobody is shown.

use crate::plan::path;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// A secret: a file that the program alone can read, in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// The file's name in `/run/secrets`.
    pub name: String,
    /// Where its content comes from.
    pub source: SecretSource,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// A file of the host, read at the launch.
    File(#[serde(serialize_with = "path")] PathBuf),
    /// A variable of the caller, by its name.
    Variable(String),
    /// The content itself.
    Content(Hidden),
}

/// Bytes that are shown to nobody: their `Debug` and JSON forms say only how many there are.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hidden({} bytes)", self.0.len())
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{} bytes", self.0.len()))
    }
}
