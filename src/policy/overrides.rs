//! Single values put over a policy: the flags of `stockade run`, and the like.

use super::keys::{self, Key};
use std::ffi::{OsStr, OsString};
use std::fmt;

/// One value of a policy, said again outside of its file. It has the last word.
///
/// ```
/// use stockade::policy::Override;
///
/// let memory = Override::new("limits.memory", "512MiB")?;
/// assert!(Override::new("limits.memroy", "512MiB").is_err());
/// # Ok::<(), stockade::policy::UnknownKey>(())
/// ```
#[derive(Clone, Debug)]
pub struct Override {
    pub(super) key: &'static Key,
    pub(super) value: OsString,
}

/// No key has this path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    message: String,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UnknownKey {}

impl Override {
    /// A value for the key with this path, written as on the command line: without quotes, and for a list one entry.
    /// Whether it is right is told when a policy is loaded with it.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn new(path: &str, value: impl Into<OsString>) -> Result<Self, UnknownKey> {
        let paths = || keys::all().filter(|key| !key.flag.is_empty()).map(|key| key.path);
        match keys::find(path).filter(|key| !key.flag.is_empty()) {
            Some(key) => Ok(Self::of(key, value.into())),
            None => {
                let near = super::suggest::did_you_mean(path, paths());
                Err(UnknownKey {
                    message: format!("{} is not a key{near}", super::problem::quoted(path)),
                })
            }
        }
    }

    /// The path of its key.
    pub(crate) fn path(&self) -> &'static str {
        self.key.path
    }

    /// The value as it is typed.
    pub(crate) fn value(&self) -> &OsStr {
        &self.value
    }

    pub(crate) fn of(key: &'static Key, value: OsString) -> Self {
        Self { key, value }
    }
}
