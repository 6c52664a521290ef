//! Paths as policies write them.
//!
//! A path in a policy decides what a program can reach, so it is taken as written or not at all: nothing is tidied up in
//! silence. Nothing here looks at the file system.

use crate::platform::LaunchPlan;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// Where relative paths of one source start, and whether they may lead above that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base<'a> {
    pub(super) directory: &'a Path,
    /// Only for the command line: whoever types `../data` sees where it leads, whoever uses a file may not.
    pub(super) may_climb: bool,
}

/// The longest path that systems take, in bytes.
const LONGEST: usize = 4095;

/// The absolute path that `text` means; a message when it isn't one that a policy may have.
pub(super) fn resolve(text: &OsStr, base: Base<'_>) -> Result<PathBuf, String> {
    let bytes = text.as_encoded_bytes();
    let shown = shown(text);
    if bytes.is_empty() {
        return Err("an empty text is not a path".into());
    }
    if bytes.contains(&0) {
        return Err(format!("{shown} has a NUL character, which no path can have"));
    }
    if bytes.len() > LONGEST {
        return Err(format!("a path of {} bytes is too long (at most {LONGEST})", bytes.len()));
    }
    if bytes == b"~" || bytes.starts_with(b"~/") {
        return Err(format!(
            "{shown} starts with `~`, which means nothing here (write the whole path)"
        ));
    }
    let (normal, up) = normal_form(Path::new(text));
    let absolute = normal.has_root();
    if !absolute && matches!(normal.components().next(), Some(Component::Prefix(_))) {
        return Err(format!("{shown} depends on where its drive stands (write the whole path)"));
    }
    if up > 0 && !absolute && !base.may_climb {
        return Err(format!(
            "{shown} leads out of the policy's directory (write an absolute path)"
        ));
    }
    let bytes = slashed(bytes);
    let written = strip(&bytes);
    let mut plain: PathBuf = std::iter::repeat_n("..", up).collect();
    plain.push(&normal);
    if slashed(plain.as_os_str().as_encoded_bytes()) != written {
        let plain = if plain.as_os_str().is_empty() { Path::new(".") } else { &plain };
        return Err(format!(
            "{shown} is not in its plain form (write {})",
            self::shown(plain.as_os_str())
        ));
    }
    if absolute {
        return Ok(normal);
    }
    let mut directory = base.directory;
    for _ in 0..up {
        directory = directory.parent().unwrap_or(directory);
    }
    Ok(if normal.as_os_str().is_empty() { directory.to_owned() } else { directory.join(normal) })
}

/// A path in backticks, for messages.
pub(super) fn shown(path: &OsStr) -> String {
    super::problem::quoted(&LaunchPlan::readable(path))
}

/// Why the sandbox can't have the host's directory at this place: it makes one of its own there.
pub(super) fn reserved(path: &Path) -> Option<&'static str> {
    let own = |place: &str| path == Path::new(place);
    match path {
        _ if own("/") => {
            Some("`/` can't be shown as a whole (name what the program needs below it)")
        }
        _ if own("/dev") => Some("`/dev` is the sandbox's own (name single devices)"),
        _ if path.starts_with("/proc") => {
            Some("`/proc` is the sandbox's own (choose what it shows with `filesystem.proc`)")
        }
        _ => None,
    }
}

/// The path without `.`, `..` and empty parts, and by how many `..` it leads above its start.
fn normal_form(path: &Path) -> (PathBuf, usize) {
    let mut normal = PathBuf::new();
    let (mut depth, mut up) = (0usize, 0);
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => normal.push(component),
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => {
                depth -= 1;
                normal.pop();
            }
            Component::ParentDir if normal.has_root() => {}
            Component::ParentDir => up += 1,
            Component::Normal(name) => {
                depth += 1;
                normal.push(name);
            }
        }
    }
    (normal, up)
}

/// The bytes of a path with one kind of separator, where a system has several.
fn slashed(bytes: &[u8]) -> Vec<u8> {
    let is_separator = |byte: u8| std::path::is_separator(char::from(byte));
    bytes.iter().map(|byte| if is_separator(*byte) { b'/' } else { *byte }).collect()
}

/// The bytes of a path without the `./` before and the `/` after it that people and shells write.
fn strip(bytes: &[u8]) -> &[u8] {
    let bytes = match bytes {
        b"." | b"./" => b"",
        bytes => bytes.strip_prefix(b"./").unwrap_or(bytes),
    };
    match bytes {
        b"/" => bytes,
        _ => bytes.strip_suffix(b"/").unwrap_or(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str) -> Result<PathBuf, String> {
        resolve(OsStr::new(text), Base { directory: Path::new("/srv/app"), may_climb: false })
    }

    fn typed(text: &str) -> Result<PathBuf, String> {
        resolve(OsStr::new(text), Base { directory: Path::new("/srv/app"), may_climb: true })
    }

    #[test]
    fn plain_paths_are_taken_as_they_are() {
        for (text, path) in [
            ("/usr", "/usr"),
            ("/", "/"),
            ("/usr/", "/usr"),
            (".", "/srv/app"),
            ("./", "/srv/app"),
            ("./out", "/srv/app/out"),
            ("out/log/", "/srv/app/out/log"),
            ("..data", "/srv/app/..data"),
        ] {
            assert_eq!(from_file(text), Ok(path.into()), "{text}");
        }
        assert_eq!(typed("../data"), Ok("/srv/data".into()));
        assert_eq!(typed("../../../../x"), Ok("/x".into()));
    }

    #[test]
    fn a_file_can_not_lead_out_of_its_directory() {
        for text in ["..", "../x", "a/../../x", "./../x"] {
            assert!(from_file(text).unwrap_err().contains("leads out of"), "{text}");
        }
    }

    #[test]
    fn other_spellings_are_refused_with_the_plain_one() {
        for (text, plain) in [
            ("/usr/../etc", "`/etc`"),
            ("//usr", "`/usr`"),
            ("/usr/./lib", "`/usr/lib`"),
            ("/..", "`/`"),
            ("/usr//", "`/usr`"),
            ("a/../b", "`b`"),
            ("a/..", "`.`"),
            (".//a", "`a`"),
        ] {
            let message = from_file(text).unwrap_err();
            assert!(message.ends_with(&format!("(write {plain})")), "{text}: {message}");
        }
        assert!(typed("../a/../b").unwrap_err().ends_with("(write `../b`)"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "a\0b", "~", "~/x", &"a/".repeat(3000)] {
            assert!(from_file(text).is_err(), "{text}");
        }
    }
}
