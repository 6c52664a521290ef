//! Where the text of a policy comes from: the policies in this program, and files.

use super::paths::shown;
use super::problem::Problem;
use super::suggest::nearest;
use crate::platform::{kind_of_file, open_without_waiting, other_writers};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A policy that comes with Stockade.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// The policies that come with Stockade.
pub(crate) static SHIPPED: &[Shipped] = &[
    Shipped { name: "base", text: include_str!("../../policies/base.toml") },
    Shipped { name: "default", text: include_str!("../../policies/default.toml") },
    Shipped { name: "worker", text: include_str!("../../policies/worker.toml") },
    Shipped { name: "build", text: include_str!("../../policies/build.toml") },
    Shipped { name: "service", text: include_str!("../../policies/service.toml") },
    Shipped { name: "agent", text: include_str!("../../policies/agent.toml") },
];

/// A larger file is no policy.
pub(crate) const LARGEST: u64 = 1 << 20;

/// The text of one policy file, or of another file that is read in the same way.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As messages name it.
    pub(crate) name: String,
    pub(crate) text: Cow<'static, str>,
    /// Where its relative paths start.
    pub(crate) directory: PathBuf,
    pub(crate) shipped: bool,
    /// The same for the same file, however it is named.
    pub(crate) identity: PathBuf,
}

/// A source that can't be had: what is said of it, and where in its text if it has one.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) message: String,
    /// The text up to the place that is wrong.
    pub(crate) text: Option<String>,
}

impl Unreadable {
    fn because(message: impl Into<String>) -> Self {
        Self { message: message.into(), text: None }
    }

    /// As a problem of the file that was asked for under this name.
    pub(crate) fn problem(self, name: &str) -> Problem {
        match self.text {
            Some(text) => Problem::in_text(name, &text, text.len()..text.len(), "", self.message),
            None => Problem::whole(name, self.message),
        }
    }
}

impl Source {
    /// A policy that comes with Stockade. Its relative paths start where the command was started.
    pub(crate) fn shipped(shipped: &Shipped, directory: &Path) -> Self {
        Self {
            name: format!("shipped {}.toml", shipped.name),
            text: Cow::Borrowed(shipped.text),
            directory: directory.to_owned(),
            shipped: true,
            identity: PathBuf::from(shipped.name),
        }
    }

    /// A file. `directory` is where a relative `path` starts.
    pub(crate) fn file(path: &Path, directory: &Path) -> Result<Self, Unreadable> {
        Self::of_bytes(read(&directory.join(path), "policy", false)?, path, directory)
    }

    /// A file that decides what is started without anybody looking on: nobody else may be able to write it. `kind` is what it
    /// should be, for messages.
    pub(crate) fn guarded(path: &Path, directory: &Path, kind: &str) -> Result<Self, Unreadable> {
        Self::of_bytes(read(&directory.join(path), kind, true)?, path, directory)
    }

    /// A file whose content is known.
    pub(crate) fn of_bytes(
        bytes: Vec<u8>,
        path: &Path,
        directory: &Path,
    ) -> Result<Self, Unreadable> {
        let place = directory.join(path);
        let name = crate::platform::LaunchPlan::readable(path);
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let message = format!(
                "the byte 0x{:02x} is not UTF-8",
                bytes.get(good).copied().unwrap_or_default()
            );
            // What stands before the wrong byte is UTF-8, so nothing gets lost here.
            Unreadable { message, text: Some(String::from_utf8_lossy(&bytes[..good]).into_owned()) }
        })?;
        // Real paths, so that neither a link above the file nor another spelling changes what it means.
        let parent = place.parent().unwrap_or(directory);
        let directory = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
        let identity = fs::canonicalize(&place).unwrap_or(place);
        Ok(Self { name, text: Cow::Owned(text), directory, shipped: false, identity })
    }
}

/// Reads a regular file of bounded size. A FIFO must not make Stockade wait, nor a device that never ends fill its memory.
fn read(path: &Path, kind: &str, guarded: bool) -> Result<Vec<u8>, Unreadable> {
    let failed = |error: std::io::Error| Unreadable::because(format!("failed to read: {error}"));
    // Looked at before it is opened, since opening some devices does something; and after, since it may have changed.
    regular(&fs::metadata(path).map_err(failed)?, kind)?;
    let file = open_without_waiting(path).map_err(failed)?;
    regular(&file.metadata().map_err(failed)?, kind)?;
    if let Some(who) = other_writers(&file).map_err(failed)?.filter(|_| guarded) {
        let message =
            format!("{who} can write it, and with it what is started (chown, chmod go-w)");
        return Err(Unreadable::because(message));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    small_enough(bytes.len() as u64, kind)?;
    Ok(bytes)
}

fn regular(metadata: &fs::Metadata, of: &str) -> Result<(), Unreadable> {
    if !metadata.is_file() {
        let kind = kind_of_file(metadata.file_type());
        return Err(Unreadable::because(format!(
            "a {of} must be a regular file, and this is {kind}"
        )));
    }
    small_enough(metadata.len(), of)
}

fn small_enough(length: u64, of: &str) -> Result<(), Unreadable> {
    if length > LARGEST {
        return Err(Unreadable::because(format!(
            "the file is too large for a {of} (at most {LARGEST} bytes)"
        )));
    }
    Ok(())
}

/// What the word after `-p` or in `extends` means.
#[derive(Debug)]
pub(crate) enum Reference<'a> {
    Shipped(&'static Shipped),
    File(&'a Path),
}

/// Tells names from paths: a path has a `/` or ends in `.toml`. A message for what is neither.
pub(crate) fn reference(word: &OsStr) -> Result<Reference<'_>, String> {
    let bytes = word.as_encoded_bytes();
    if bytes.contains(&0) {
        return Err(format!("{} has a NUL character, which no path can have", shown(word)));
    }
    let separated = bytes.iter().any(|byte| std::path::is_separator(char::from(*byte)));
    if separated || bytes.ends_with(b".toml") {
        return Ok(Reference::File(Path::new(word)));
    }
    find(word).map(Reference::Shipped)
}

/// The shipped policy of this name, or the message that there is none.
pub(crate) fn find(name: &OsStr) -> Result<&'static Shipped, String> {
    SHIPPED.iter().find(|shipped| *shipped.name == *name).ok_or_else(|| {
        let names = SHIPPED.iter().map(|shipped| shipped.name);
        let hint = match nearest(&name.to_string_lossy(), names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`stockade policy list` shows them; a path has a `/` or ends in `.toml`".into(),
        };
        format!("{} is not a shipped policy ({hint})", shown(name))
    })
}
