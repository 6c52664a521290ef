//! A directory where this user's state is. Windows keeps others out of a user's profile by access lists that what is made there
//! inherits; a place elsewhere isn't looked at for who else may go there.

use crate::hold;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_OPEN_REPARSE_POINT,
};

/// A directory by its path. What is in it is opened by plain names, and no link is followed.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Where what lasts is, where nobody says otherwise: `stockade` in `%LOCALAPPDATA%`. `None` where nothing tells.
    pub fn usual_state() -> Option<PathBuf> {
        let local = std::env::var_os("LOCALAPPDATA").map(PathBuf::from);
        Some(local.filter(|path| path.is_absolute())?.join("stockade"))
    }

    /// Opens a directory, made with all that is missing above it.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// The same: who may look into it is what its parent says.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_readable(path: &Path) -> io::Result<Self> {
        Self::make(path)
    }

    /// Opens a directory that is there.
    ///
    /// # Errors
    /// When it isn't one, or a link to one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        if !metadata.is_dir() || is_link(&metadata) {
            let message = format!("`{}` is no directory", path.display());
            return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// A directory in this one, made where it is missing.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_below(&self, name: &str) -> io::Result<Self> {
        Self::make(&self.at(name)?)
    }

    /// A directory in this one that is there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_below(&self, name: &str) -> io::Result<Self> {
        Self::open(&self.at(name)?)
    }

    /// Its path when it was opened, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a file in it, made where it is missing, as [`hold`] does; `None` where another process has it.
    ///
    /// # Errors
    /// When it can't be opened, or the file system knows no locks.
    pub fn lock(&self, name: &str) -> io::Result<Option<File>> {
        let file = self.open_or_create(name)?;
        Ok(hold(&file)?.then_some(file))
    }

    /// The names of the regular files in it, sorted.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn files(&self) -> io::Result<Vec<String>> {
        self.names(std::fs::FileType::is_file)
    }

    /// The names of the directories in it, sorted.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn directories(&self) -> io::Result<Vec<String>> {
        self.names(std::fs::FileType::is_dir)
    }

    fn names(&self, wanted: fn(&std::fs::FileType) -> bool) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if wanted(&entry.file_type()?) {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes a new file, to be read and written.
    ///
    /// # Errors
    /// When it can't be made, or is there already.
    pub fn create(&self, name: &str) -> io::Result<File> {
        self.file(name, OpenOptions::new().read(true).write(true).create_new(true))
    }

    /// Opens a file to be read and written, made where it is missing.
    ///
    /// # Errors
    /// When it can't be opened or made.
    pub fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.file(name, OpenOptions::new().read(true).write(true).create(true).truncate(false))
    }

    /// Opens a file to be read.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn read(&self, name: &str) -> io::Result<File> {
        self.file(name, OpenOptions::new().read(true))
    }

    fn file(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        let path = self.at(name)?;
        let file = options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || is_link(&metadata) {
            let message = format!("`{}` is no regular file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(file)
    }

    /// Gives a file another name, in place of whatever has that.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.at(from)?, self.at(to)?)
    }

    /// As [`Self::rename`]. Whether it lasts when the power fails is the file system's to say: NTFS keeps its names in a log.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename(from, to)
    }

    /// Removes a file; one that is gone already is as good.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.at(name)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn at(&self, name: &str) -> io::Result<PathBuf> {
        Ok(self.path.join(plain(name)?))
    }
}

fn is_link(metadata: &std::fs::Metadata) -> bool {
    metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0
}

/// Makes sure that so many bytes can be added to a file, where its file system can: nothing is promised here.
///
/// # Errors
/// Never.
pub fn reserve_room(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

/// A name that leads nowhere else: no path, no stream of a file, no device.
fn plain(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', ':', '\0']) {
        let message = format!("`{}` is no plain file name", name.escape_debug());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(name)
}
