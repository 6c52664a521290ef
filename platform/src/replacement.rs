//! Replacing a file as a whole: who looks sees the old one or the new one, and what changed since it was read isn't lost.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A regular file as it was read. It is no symlink, so that writing to it changes what its name says.
#[derive(Debug)]
pub struct Original {
    path: PathBuf,
    /// Kept open, so that no other file gets its number.
    file: File,
    metadata: Metadata,
    content: Vec<u8>,
}

/// What became of a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is done.
    Yes,
    /// The file is another one by now, or has another content: it stays as it is.
    Changed,
}

impl Original {
    /// Reads it, and looks whether it could be replaced.
    ///
    /// # Errors
    /// When it is a symlink or otherwise no regular file ([`io::ErrorKind::InvalidInput`]), is larger than `most`, may not be
    /// written to, or nothing can be made in its directory.
    pub fn read(path: &Path, most: u64) -> io::Result<Self> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let kind = fs::symlink_metadata(path)?.file_type();
        if !kind.is_file() {
            return Err(wrong(format!("it is {}", crate::kind_of_file(kind))));
        }
        // For writing too, though nothing is written this way: a file that is protected is meant to stay.
        let file = open(path)?;
        let metadata = file.metadata()?;
        if metadata.len() > most {
            return Err(wrong(format!("it has more than {most} bytes")));
        }
        let mut content = Vec::new();
        (&file).take(most).read_to_end(&mut content)?;
        let original = Self { path: path.to_owned(), file, metadata, content };
        drop(Draft::new(&original.path)?);
        Ok(original)
    }

    /// What it holds.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Puts a file with this content, of the same mode and owner, into its place. Between the last look at the old one and
    /// the change of names somebody else can still write to it, for some microseconds: no system has a way to exclude that.
    ///
    /// # Errors
    /// When a step fails; the old file is there then.
    pub fn replace(&self, content: &[u8]) -> io::Result<Replaced> {
        let mut draft = Draft::new(&self.path)?;
        draft.file.write_all(content)?;
        own_like(&draft.file, &self.metadata)?;
        draft.file.set_permissions(self.metadata.permissions())?;
        draft.file.sync_all()?;
        if !self.is_unchanged()? {
            return Ok(Replaced::Changed);
        }
        draft.take_place_of(&self.path)?;
        Ok(Replaced::Yes)
    }

    fn is_unchanged(&self) -> io::Result<bool> {
        let now = match fs::symlink_metadata(&self.path) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if !is_same(&now, &self.file.metadata()?) {
            return Ok(false);
        }
        let mut content = Vec::new();
        open(&self.path)?.take(self.content.len() as u64 + 1).read_to_end(&mut content)?;
        Ok(content == self.content)
    }
}

/// A file that isn't in its place yet, and goes away unless it gets there.
struct Draft {
    path: PathBuf,
    file: File,
    is_placed: bool,
}

impl Draft {
    /// Beside the other one, since a file changes its name only within a file system.
    fn new(beside: &Path) -> io::Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(beside.file_name().unwrap_or_default());
        name.push(format!(".{}.new", std::process::id()));
        let path = beside.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        Ok(Self {
            file: crate::for_this_user_alone(&mut options).open(&path)?,
            path,
            is_placed: false,
        })
    }

    fn take_place_of(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.is_placed = true;
        let directory = path.parent().filter(|above| !above.as_os_str().is_empty());
        // The names last only when the directory is written, which some file systems don't let anybody ask for.
        File::open(directory.unwrap_or(Path::new("."))).and_then(|it| it.sync_all()).unwrap_or(());
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_placed {
            fs::remove_file(&self.path).unwrap_or(());
        }
    }
}

/// Opens what was seen to be a regular file; if it is something else by now, that is no reason to wait.
fn open(path: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
    }
    #[cfg(not(target_os = "linux"))]
    OpenOptions::new().read(true).write(true).open(path)
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    one.modified().ok() == other.modified().ok()
}

/// Gives a file the owner and the group of another.
#[cfg(unix)]
fn own_like(file: &File, like: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let now = file.metadata()?;
    let user = Some(like.uid()).filter(|user| now.uid() != *user);
    let group = Some(like.gid()).filter(|group| now.gid() != *group);
    if user.is_some() || group.is_some() { fchown(file, user, group) } else { Ok(()) }
}

#[cfg(not(unix))]
fn own_like(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn names(directory: &Path) -> Vec<std::ffi::OsString> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).collect()
    }

    #[test]
    fn the_new_file_has_the_mode_and_the_owner_of_the_old_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.toml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can give files away.
        let user = fs::metadata(&path).unwrap().uid();
        let user = if user == 0 { 4711 } else { user };
        std::os::unix::fs::chown(&path, Some(user), None).unwrap();
        let original = Original::read(&path, 100).unwrap();
        assert_eq!(original.content(), b"old");
        assert_eq!(original.replace(b"new").unwrap(), Replaced::Yes);
        let now = fs::metadata(&path).unwrap();
        assert_eq!((now.uid(), now.mode() & 0o7777), (user, 0o640));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(place.path()), ["a.toml"]);
        // What was read is another file now.
        assert_eq!(original.replace(b"newer").unwrap(), Replaced::Changed);
    }

    #[test]
    fn what_somebody_changed_meanwhile_stays() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.toml");
        let changes: [fn(&Path); 3] = [
            |path| fs::write(path, "theirs").unwrap(),
            |path| fs::remove_file(path).unwrap(),
            |path| {
                fs::rename(path, path.with_file_name("b")).unwrap();
                std::os::unix::fs::symlink("b", path).unwrap();
            },
        ];
        for change in changes {
            if fs::symlink_metadata(&path).is_ok() {
                fs::remove_file(&path).unwrap();
            }
            fs::write(&path, "old").unwrap();
            let original = Original::read(&path, 100).unwrap();
            change(&path);
            assert_eq!(original.replace(b"new").unwrap(), Replaced::Changed);
            assert!(fs::read(&path).is_ok_and(|text| text != b"new") || !path.exists());
            assert!(!names(place.path()).iter().any(|name| name.to_string_lossy().contains("new")));
        }
    }

    #[test]
    fn nothing_is_replaced_through_a_link_and_nothing_that_is_no_file() {
        let place = tempfile::tempdir().unwrap();
        let path = |name| place.path().join(name);
        fs::write(path("a"), "old").unwrap();
        std::os::unix::fs::symlink("a", path("link")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        for (name, told) in [("link", "a symbolic link"), ("fifo", "a FIFO"), (".", "a directory")]
        {
            let error = Original::read(&path(name), 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(told), "{error}");
        }
        assert!(Original::read(&path("a"), 2).unwrap_err().to_string().contains("more than 2"));
    }
}
