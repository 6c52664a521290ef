//! Where alerts and silences are written down, so that another process goes on with them: a small file that is always whole.

use super::book::Book;
use crate::error::Error;
use crate::platform::{Directory, boot_id};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FILE: &str = "alerts.json";
const NEW: &str = "alerts.new";

/// The form that is written.
const VERSION: u64 = 1;

/// A larger file is none of ours.
const LARGEST: u64 = 64 << 20;

/// A file below a state directory.
#[derive(Debug)]
pub(super) struct Store {
    directory: Directory,
    path: PathBuf,
    boot: String,
    /// What stands in it.
    last: Mutex<Vec<u8>>,
}

#[derive(Serialize)]
struct Writing<'b> {
    version: u64,
    boot: &'b str,
    book: &'b Book,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Deserialize)]
struct Reading {
    boot: String,
    book: Book,
}

impl Store {
    /// Opens the file, and gives what was left in it.
    ///
    /// # Errors
    /// When it can't be read, or isn't one of this version.
    pub(super) fn open(state: &Path) -> Result<(Self, Book), Error> {
        let path = state.join(FILE);
        let failed = |error| Error::io(format!("failed to open `{}`", path.display()), error);
        let directory = Directory::make_readable(state).map_err(failed)?;
        let (file, boot) =
            (directory.open_or_create(FILE).map_err(failed)?, boot_id().map_err(failed)?);
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text).map_err(failed)?;
        let book = read(&text, &boot).map_err(|what| {
            let hint = "use the version of Stockade that wrote it, or move it away: then alerts that fire are told again, and silences are gone";
            Error::asked(format!("`{}` {what}", path.display()), hint)
        })?;
        Ok((Self { directory, path, boot, last: Mutex::new(text) }, book))
    }

    /// Its text for this book.
    pub(super) fn text(&self, book: &Book) -> Result<Vec<u8>, Error> {
        let writing = Writing { version: VERSION, boot: &self.boot, book };
        serde_json::to_vec(&writing).map_err(|error| self.failed(error.into()))
    }

    /// Writes it anew, and puts it in the place of the one before. Waits for the disk.
    ///
    /// # Errors
    /// When the system refuses; what stood there does so still.
    pub(super) fn write(&self, text: Vec<u8>) -> Result<(), Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == text {
            return Ok(());
        }
        let write = || {
            let mut file = self.directory.open_or_create(NEW)?;
            file.set_len(0)?;
            file.write_all(&text)?;
            file.sync_data()?;
            self.directory.replace(NEW, FILE)
        };
        write().map_err(|error| self.failed(error))?;
        *last = text;
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(format!("failed to write `{}`", self.path.display()), error)
    }
}

/// What a file says; what is wrong with it otherwise. Pure.
fn read(text: &[u8], boot: &str) -> Result<Book, String> {
    if text.is_empty() {
        return Ok(Book::default());
    }
    let damaged = |error: serde_json::Error| format!("is damaged at line {}", error.line());
    let Version { version } = serde_json::from_slice(text).map_err(damaged)?;
    if version != VERSION {
        return Err(format!("is of a form that this version doesn't know: {version}"));
    }
    let reading: Reading = serde_json::from_slice(text).map_err(damaged)?;
    Ok(reading.book.taken_over(reading.boot == boot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_and_what_is_not_ours_is_refused() {
        let scene = tempfile::tempdir().unwrap();
        let (store, book) = Store::open(scene.path()).unwrap();
        store.write(store.text(&book).unwrap()).unwrap();
        assert!(Store::open(scene.path()).is_ok());
        let refused = |text: &str| {
            std::fs::write(scene.path().join(FILE), text).unwrap();
            let error = Store::open(scene.path()).unwrap_err();
            assert!(error.hint().is_some());
            error.to_string().replace(&scene.path().display().to_string(), "")
        };
        insta::assert_snapshot!(refused("{\"version\":2}"), @"`/alerts.json` is of a form that this version doesn't know: 2");
        insta::assert_snapshot!(refused("{\"version\":1,\n"), @"`/alerts.json` is damaged at line 2");
        insta::assert_snapshot!(refused("{\"version\":1,\"boot\":\"x\",\"book\":{\"alerts\":[]}}"), @"`/alerts.json` is damaged at line 1");
    }

    #[test]
    fn a_write_that_is_cut_off_leaves_what_was_there() {
        let scene = tempfile::tempdir().unwrap();
        let (store, book) = Store::open(scene.path()).unwrap();
        store.write(store.text(&book).unwrap()).unwrap();
        std::fs::write(scene.path().join(NEW), "{\"versi").unwrap();
        let (store, book) = Store::open(scene.path()).unwrap();
        store.write(store.text(&book).unwrap()).unwrap();
        assert!(Store::open(scene.path()).is_ok());
    }
}
