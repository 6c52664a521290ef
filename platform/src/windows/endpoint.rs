//! Where sandboxes that run are found by their user: a directory with a file for each, and a named pipe of its name.
//!
//! A pipe goes with whoever listens: a file without one is the leftover of a killed process. The directory is in the user's profile;
//! a pipe that the user makes can be written to by that user and the system's administrators.

use super::directory::Directory;
use super::streams::{BlockingStream, LocalReader, LocalStream, unsupported};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use tokio::sync::Mutex;

/// The directory of this user's sandboxes.
#[derive(Clone, Debug)]
pub struct RuntimeDir {
    directory: Directory,
}

/// A sandbox's name in the directory; dropping it removes the name.
#[derive(Debug)]
pub struct Listed {
    directory: RuntimeDir,
    id: String,
    _file: File,
}

/// Waits for those who connect to a sandbox.
#[derive(Debug)]
pub struct Door {
    name: PathBuf,
    /// The one that the next visitor finds.
    next: Mutex<NamedPipeServer>,
}

impl RuntimeDir {
    /// Where it is: `stockade\run` in `%LOCALAPPDATA%`, or in the directory for what is temporary.
    pub fn place() -> PathBuf {
        let state = Directory::usual_state();
        state.unwrap_or_else(|| std::env::temp_dir().join("stockade")).join("run")
    }

    /// Opens it, and makes it where it is missing.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make() -> io::Result<Self> {
        Ok(Self { directory: Directory::make(&Self::place())? })
    }

    /// Opens it; `None` where nobody has made it yet.
    ///
    /// # Errors
    /// When it isn't a directory.
    pub fn open() -> io::Result<Option<Self>> {
        match Directory::open(&Self::place()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(|directory| Some(Self { directory })),
        }
    }

    /// Makes a directory below it, where it is missing.
    ///
    /// # Errors
    /// When it can't be made, or isn't a directory.
    pub fn make_below(&self, name: &str) -> io::Result<()> {
        self.directory.make_below(name).map(drop)
    }

    /// Its path, for people.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The ids of the sandboxes that are listed, sorted. One of them may have died since.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn ids(&self) -> io::Result<Vec<String>> {
        self.directory.files()
    }

    /// Lists a sandbox, and opens its door. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses, or the id is listed already.
    pub fn list(&self, id: &str) -> io::Result<(Listed, Door)> {
        let name = pipe(id);
        // Nobody else may have made it before, to answer in its place.
        let first = ServerOptions::new().first_pipe_instance(true).create(&name)?;
        let file = self.directory.create(id)?;
        let listed = Listed { directory: self.clone(), id: id.to_owned(), _file: file };
        Ok((listed, Door { name, next: Mutex::new(first) }))
    }

    /// Connects to a sandbox.
    ///
    /// # Errors
    /// `NotFound` when none of this id is listed, or it died without a word.
    pub fn connect(&self, id: &str) -> io::Result<BlockingStream> {
        BlockingStream::open(&pipe(id))
    }

    /// Removes the names of sandboxes that died without a word, and returns how many there were.
    ///
    /// # Errors
    /// When the directory can't be read or changed.
    pub fn sweep(&self) -> io::Result<usize> {
        let mut swept = 0;
        for id in self.ids()? {
            let Err(error) = self.connect(&id) else { continue };
            if error.kind() == io::ErrorKind::NotFound {
                self.directory.remove(&id)?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// The pipe of the sandbox with this id.
fn pipe(id: &str) -> PathBuf {
    format!(r"\\.\pipe\stockade-{id}").into()
}

impl Door {
    /// The next one who connects. Dropping the future loses nobody.
    ///
    /// # Errors
    /// When the system refuses another pipe.
    pub async fn enter(&self) -> io::Result<LocalStream> {
        let mut next = self.next.lock().await;
        next.connect().await?;
        let another = ServerOptions::new().create(&self.name)?;
        Ok(LocalStream::served(std::mem::replace(&mut next, another)))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // Nobody is left to tell; whoever lists next sweeps it.
        self.directory.directory.remove(&self.id).unwrap_or(());
    }
}

/// Lends the standard streams of this process to another.
///
/// # Errors
/// Always.
pub fn send_own_streams(_: &BlockingStream) -> io::Result<()> {
    unsupported("standard streams can't be lent to another process")
}

/// Takes what [`send_own_streams`] sends.
///
/// # Errors
/// Always.
pub async fn receive_streams(_: &LocalReader) -> io::Result<[File; 3]> {
    unsupported("standard streams can't be lent to another process")
}
