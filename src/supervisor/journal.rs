//! What a supervisor must not forget, on disk: one file that only grows, and is written anew when most of it is old.
//!
//! Each line is the beginning of a SHA-256 in hex, a blank, and an entry as JSON; the newest of a service is the one that
//! counts. A last line that doesn't agree with its sum was cut off by a crash, and goes; one in the middle is damage that
//! nobody should pass over. Entries survive the supervisor's death as soon as they are written; what must also survive a power
//! cut is synced: what people asked for. What ran then doesn't run any more after it.
//!
//! A second supervisor on the same directory is refused. When the disk is full, nothing new is started, since nobody could say
//! of it later that it was; room is set aside for what happens to that which runs.

use super::record::Record;
use crate::error::Error;
use crate::platform::{Directory, boot_id, reserve_room};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const JOURNAL: &str = "journal";
const NEW: &str = "journal.new";
const LOCK: &str = "lock";
/// The first line: the form's version, which a later one tells from its own.
const HEADER: &str = "stockade state 1";
/// How much may be written before what is old is left out.
const MOST: u64 = 1 << 20;
/// What is set aside for the ends of what runs, and for stopping it.
const ROOM: u64 = 256 << 10;

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    /// What follows is of this boot of the system.
    Boot(String),
    /// The supervisor ends, and with it what it stops from here on.
    Closing,
    /// A service as it is now.
    Service(String, Box<Record>),
    /// There is no such service any more.
    Gone(String),
}

/// What was found of a service.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) record: Record,
    /// Whether the supervisor ended on purpose since, or the system was booted anew.
    pub(super) afresh: bool,
    /// Whether the system was booted anew since.
    pub(super) other_boot: bool,
}

/// The state of a supervisor on disk. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    directory: Directory,
    path: PathBuf,
    file: File,
    /// Where the next line goes.
    end: u64,
    /// Where the file ended when nothing in it was old.
    compact: u64,
    boot: String,
    closing: bool,
    latest: BTreeMap<String, Record>,
    /// What the supervisor before left, until the service takes it.
    found: BTreeMap<String, Found>,
    /// Keeps others away.
    _lock: File,
}

impl Journal {
    /// Opens the state in this directory, which is made where it is missing. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When another supervisor has it, others may write there, it is damaged, or the disk doesn't answer.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let place = || format!("failed to open the supervisor's state in `{}`", path.display());
        let failed = |error| Error::io(place(), error);
        let directory = Directory::make_readable(path).map_err(failed)?;
        let waiting = directory.clone();
        // Whoever has it may need this runtime to be done.
        let lock = tokio::task::spawn_blocking(move || waiting.lock(LOCK)).await;
        let Some(lock) = lock.map_err(io::Error::from).and_then(|lock| lock).map_err(failed)?
        else {
            let message = format!("another supervisor has the state in `{}`", path.display());
            let hint = "stop that one, or give this one another directory";
            return Err(Error::asked(message, hint));
        };
        let mut file = directory.open_or_create(JOURNAL).map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let boot = boot_id().map_err(failed)?;
        let read = Reading::of(&text).map_err(|trouble| trouble.error(&path.join(JOURNAL)))?;
        let whole = if read.boot == boot { read.whole } else { 0 };
        let closed = read.closing;
        let found = read.found(&boot);
        let latest =
            found.iter().map(|(name, found)| (name.clone(), found.record.clone())).collect();
        let mut inner = Inner {
            directory,
            path: path.to_owned(),
            file,
            end: 0,
            compact: 0,
            boot,
            closing: false,
            latest,
            found,
            _lock: lock,
        };
        match inner.write_anew() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && whole > 0 => {
                // What is there will do, with what room is left in it.
                inner.go_on_behind(whole, closed).map_err(failed)?;
            }
            written => written.map_err(failed)?,
        }
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// What the supervisor before left of a service, once.
    pub(super) fn take(&self, service: &str) -> Option<Found> {
        self.inner().found.remove(service)
    }

    /// What the supervisor before left of all services that nobody took.
    pub(super) fn take_rest(&self) -> BTreeMap<String, Found> {
        std::mem::take(&mut self.inner().found)
    }

    /// Notes how a service is now. Before a launch, there must be `room` for what comes after it.
    ///
    /// # Errors
    /// When the disk is full or doesn't answer; everything is as before then.
    pub(super) fn note(&self, service: &str, record: &Record, how: Note) -> Result<(), Error> {
        let mut inner = self.inner();
        let failed = |inner: &Inner, error| {
            let path = inner.path.join(JOURNAL);
            Error::io(format!("failed to write `{}`", path.display()), error)
        };
        if how == Note::BeforeLaunch {
            reserve_room(&inner.file, ROOM).map_err(|error| failed(&inner, error))?;
        }
        let entry = Entry::Service(service.to_owned(), Box::new(record.clone()));
        inner.add(&entry).map_err(|error| failed(&inner, error))?;
        inner.latest.insert(service.to_owned(), record.clone());
        if how == Note::Asked {
            inner.file.sync_data().map_err(|error| failed(&inner, error))?;
        }
        inner.shorten().map_err(|error| failed(&inner, error))
    }

    /// Forgets a service that there isn't any more.
    ///
    /// # Errors
    /// As [`Self::note`].
    pub(super) fn forget(&self, service: &str) -> Result<(), Error> {
        let mut inner = self.inner();
        inner.latest.remove(service);
        inner.add(&Entry::Gone(service.to_owned())).map_err(|error| {
            Error::io(format!("failed to write `{}`", inner.path.join(JOURNAL).display()), error)
        })
    }

    /// What is stopped from now on is stopped because the supervisor ends, not because somebody asked for it.
    pub(super) fn close(&self) {
        let mut inner = self.inner();
        inner.closing = true;
        // Where it can't be written, the next supervisor takes what was stopped for stopped by hand.
        inner.add(&Entry::Closing).unwrap_or(());
    }

    /// Whether the supervisor ends.
    pub(super) fn is_closing(&self) -> bool {
        self.inner().closing
    }

    /// A poisoned lock only means that a thread panicked while it wrote; the next line begins where it would have.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a note is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A launch follows.
    BeforeLaunch,
    /// Somebody asked for it, which is to survive a power cut too.
    Asked,
    /// Something happened.
    Happened,
}

impl Inner {
    fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let line = line(entry)?;
        // Where that fails, half a line is left behind the end, as after a kill: it has no end of its own, and the next line is
        // written over it. Cut off, it would give away the room that was set aside.
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&line)?;
        self.end += u64::try_from(line.len()).unwrap_or(0);
        Ok(())
    }

    /// Leaves out what is old, where that is most of it.
    fn shorten(&mut self) -> io::Result<()> {
        if self.end < self.compact.saturating_mul(2).saturating_add(MOST) {
            return Ok(());
        }
        match self.write_anew() {
            // What is there is whole, only long.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            other => other,
        }
    }

    /// Goes on in the file that is there, behind its last whole line.
    fn go_on_behind(&mut self, whole: u64, closed: bool) -> io::Result<()> {
        (self.end, self.compact) = (whole, whole);
        match closed {
            // The supervisor before ended on purpose, and this one hasn't.
            true => self.add(&Entry::Boot(self.boot.clone())),
            false => Ok(()),
        }
    }

    /// Writes a file of what counts, and puts it in the place of the one before.
    fn write_anew(&mut self) -> io::Result<()> {
        let mut text = format!("{HEADER}\n").into_bytes();
        text.extend(line(&Entry::Boot(self.boot.clone()))?);
        if self.closing {
            text.extend(line(&Entry::Closing)?);
        }
        for (name, record) in &self.latest {
            text.extend(line(&Entry::Service(name.clone(), Box::new(record.clone())))?);
        }
        let mut file = self.directory.open_or_create(NEW)?;
        file.set_len(0)?;
        let written = file.write_all(&text).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Nobody else is to lack the room.
            file.set_len(0)?;
            return Err(error);
        }
        self.directory.replace(NEW, JOURNAL)?;
        self.end = u64::try_from(text.len()).unwrap_or(0);
        (self.file, self.compact) = (file, self.end);
        Ok(())
    }
}

fn sum(json: &[u8]) -> String {
    let digest = Sha256::digest(json);
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn line(entry: &Entry) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(entry)?;
    let mut line = sum(&json).into_bytes();
    line.push(b' ');
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

/// The entry of a line; `None` where it doesn't agree with its sum.
fn entry(line: &[u8]) -> Option<&[u8]> {
    let (digits, json) = (line.get(..8)?, line.get(9..)?);
    (line.get(8) == Some(&b' ') && sum(json).as_bytes() == digits).then_some(json)
}

/// What is in a file.
#[derive(Debug, Default)]
struct Reading {
    boot: String,
    closing: bool,
    services: BTreeMap<String, (Record, String)>,
    /// How long the whole lines are, from the beginning on.
    whole: u64,
}

/// Why a file can't be read.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Version(String),
    /// In this line, counted from 1.
    Damaged(usize),
}

impl Trouble {
    fn error(&self, path: &Path) -> Error {
        let path = path.display();
        match self {
            Self::Version(found) => Error::asked(
                format!("`{path}` is of a form that this version doesn't know: `{found}`"),
                "use the version of Stockade that wrote it, or a later one",
            ),
            Self::Damaged(line) => Error::asked(
                format!("`{path}` is damaged at line {line}"),
                "move it away: then nothing is known of what runs, which must be ended by hand (`stockade stats` lists it)",
            ),
        }
    }
}

impl Reading {
    /// Reads a file. Pure.
    fn of(text: &[u8]) -> Result<Self, Trouble> {
        let mut reading = Self::default();
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
        reading.whole = u64::try_from(HEADER.len() + 1).unwrap_or(0);
        match lines.next() {
            // A new file, or one whose first line was cut off.
            None => return Ok(reading),
            Some((_, first)) if first == format!("{HEADER}\n").as_bytes() => {}
            Some((_, first)) if HEADER.as_bytes().starts_with(first) => return Ok(reading),
            Some((_, first)) => {
                let shown = first.iter().take(40).copied().filter(|byte| !byte.is_ascii_control());
                return Err(Trouble::Version(
                    String::from_utf8_lossy(&shown.collect::<Vec<_>>()).into(),
                ));
            }
        }
        while let Some((at, line)) = lines.next() {
            let is_last = lines.peek().is_none();
            let whole = line.strip_suffix(b"\n").and_then(entry);
            let parsed = whole.map(serde_json::from_slice::<Entry>);
            match parsed {
                Some(Ok(entry)) => {
                    reading.take_in(entry);
                    reading.whole += u64::try_from(line.len()).unwrap_or(0);
                }
                None if is_last => break,
                None => return Err(Trouble::Damaged(at + 1)),
                // Its sum is right, so it was meant so.
                Some(Err(_)) => {
                    let why = format!("an entry in line {}", at + 1);
                    return Err(Trouble::Version(why));
                }
            }
        }
        Ok(reading)
    }

    fn take_in(&mut self, entry: Entry) {
        match entry {
            Entry::Boot(boot) => (self.boot, self.closing) = (boot, false),
            Entry::Closing => self.closing = true,
            Entry::Service(name, record) => {
                self.services.insert(name, (*record, self.boot.clone()));
            }
            Entry::Gone(name) => {
                self.services.remove(&name);
            }
        }
    }

    fn found(self, boot: &str) -> BTreeMap<String, Found> {
        let closing = self.closing;
        let found = |(name, (record, of)): (String, (Record, String))| {
            let other_boot = of != boot;
            (name, Found { record, afresh: closing || other_boot, other_boot })
        };
        self.services.into_iter().map(found).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lifecycle::Lifecycle;
    use super::*;
    use proptest::prelude::*;

    fn record(stopped: bool) -> Record {
        Record { life: Lifecycle::new(true), stopped, run: None }
    }

    async fn journal(scene: &tempfile::TempDir) -> Journal {
        Journal::open(scene.path()).await.unwrap()
    }

    /// What is on disk.
    fn text(scene: &tempfile::TempDir) -> Vec<u8> {
        std::fs::read(scene.path().join(JOURNAL)).unwrap()
    }

    #[tokio::test]
    async fn what_is_noted_is_found_once_and_a_second_supervisor_is_refused() {
        let scene = tempfile::tempdir().unwrap();
        let first = journal(&scene).await;
        first.note("web", &record(false), Note::BeforeLaunch).unwrap();
        first.note("web", &record(true), Note::Asked).unwrap();
        first.note("gone", &record(true), Note::Happened).unwrap();
        first.forget("gone").unwrap();
        let error = Journal::open(scene.path()).await.unwrap_err();
        assert!(error.to_string().starts_with("another supervisor has the state in"), "{error}");
        drop(first);
        let second = journal(&scene).await;
        let found = second.take("web").unwrap();
        assert!(found.record.stopped && !found.afresh && !found.other_boot);
        assert!(second.take("web").is_none() && second.take_rest().is_empty());
        second.close();
        drop(second);
        let third = journal(&scene).await;
        let found = third.take("web").unwrap();
        assert!(found.afresh && !found.other_boot);
    }

    #[tokio::test]
    async fn what_was_of_another_boot_is_known_to_be() {
        let scene = tempfile::tempdir().unwrap();
        journal(&scene).await.note("web", &record(false), Note::Happened).unwrap();
        let boot = boot_id().unwrap();
        let read = Reading::of(&text(&scene)).unwrap();
        assert!(!read.found(&boot)["web"].other_boot);
        let read = Reading::of(&text(&scene)).unwrap();
        let found = &read.found("another")["web"];
        assert!(found.other_boot && found.afresh);
    }

    #[tokio::test]
    async fn a_file_stays_short_however_much_is_noted() {
        let scene = tempfile::tempdir().unwrap();
        let journal = journal(&scene).await;
        for count in 0..10_000 {
            journal.note("web", &record(count % 2 == 0), Note::Happened).unwrap();
        }
        let length = text(&scene).len();
        assert!(length < 2 << 20, "{length}");
        assert_eq!(Reading::of(&text(&scene)).unwrap().services.len(), 1);
    }

    #[tokio::test]
    async fn another_form_damage_and_a_directory_of_others_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scene = tempfile::tempdir().unwrap();
        drop(journal(&scene).await);
        let refused = async |text: &[u8]| {
            std::fs::write(scene.path().join(JOURNAL), text).unwrap();
            Journal::open(scene.path()).await.unwrap_err().to_string()
        };
        let told = refused(b"stockade state 2\n").await;
        assert!(
            told.ends_with("of a form that this version doesn't know: `stockade state 2`"),
            "{told}"
        );
        let mut damaged = format!("{HEADER}\n").into_bytes();
        for name in ["a", "b"] {
            damaged.extend(line(&Entry::Gone(name.to_owned())).unwrap());
        }
        damaged[HEADER.len() + 12] ^= 1;
        assert!(refused(&damaged).await.ends_with("is damaged at line 2"));
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(scene.path(), open).unwrap();
        let error = Journal::open(scene.path()).await.unwrap_err().chain();
        assert!(error.ends_with("isn't this user's alone"), "{error}");
    }

    proptest! {
        /// Wherever the last line is cut off, all before it is there.
        #[test]
        fn a_torn_end_takes_nothing_else_with_it(cut in 0_usize..2000) {
            let mut whole = format!("{HEADER}\n").into_bytes();
            let mut ends = vec![0, whole.len()];
            for count in 0..3 {
                let entry = Entry::Service(format!("web{count}"), Box::new(record(true)));
                whole.extend(line(&entry).unwrap());
                ends.push(whole.len());
            }
            let cut = cut.min(whole.len());
            let read = Reading::of(&whole[..cut]).unwrap();
            let complete = ends.iter().filter(|end| **end <= cut).count().saturating_sub(2);
            prop_assert_eq!(read.services.len(), complete);
        }

        /// Whatever is in the file, reading it ends.
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut text = format!("{HEADER}\n").into_bytes();
            text.extend(bytes);
            drop(Reading::of(&text));
        }
    }
}
