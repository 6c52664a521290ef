//! The audit log: what happened to sandboxes, one JSON object a line, each with the SHA-256 of what is before it.
//!
//! Lines are only ever added. Whoever changes or takes away a line in the middle must write anew every line behind it; who
//! keeps the digest of the last line elsewhere sees that, and a cut end, too. Writers take turns with a lock on the file,
//! so several sandboxes may share one.
//!
//! A write that was interrupted (a full disk, a lost machine) leaves a piece of a line. It stays, as everything does: the
//! next writer ends it, and the digest in its own line is that of the last whole line and of all pieces behind it.

mod verify;

pub use verify::{Unfit, Verified, verify};

use crate::error::Error;
use crate::platform::{Event, LaunchPlan};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What stands for the digest in the first line.
const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// No line is longer, so a file that isn't a log can't be taken for one that must be read into memory.
const LONGEST: u64 = 1 << 20;

/// An open log.
#[derive(Debug)]
pub struct AuditLog {
    file: File,
    name: String,
}

/// Who a line is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The sandbox.
    pub id: &'a str,
    /// The digest of its policy.
    pub policy: &'a str,
}

/// One line, as far as it is the same for all events.
#[derive(Serialize)]
struct Line<'a> {
    before: &'a str,
    time: String,
    id: &'a str,
    policy: &'a str,
    #[serde(flatten)]
    event: &'a Map<String, Value>,
}

impl AuditLog {
    /// Opens a log, or begins one.
    ///
    /// # Errors
    /// When it can't be opened for adding to it, or is no regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = LaunchPlan::readable(path);
        let failed = |error| Error::io(format!("failed to open `{name}` for the audit log"), error);
        let file =
            File::options().read(true).append(true).create(true).open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            let message = format!("`{name}` can't be an audit log: it is no regular file");
            return Err(Error::asked(message, ""));
        }
        Ok(Self { file, name })
    }

    /// Whether an event belongs into the log: what was denied or ended, not what was merely slow.
    pub fn wants(event: &Event) -> bool {
        matches!(
            event,
            Event::Denied(_)
                | Event::OomKill { .. }
                | Event::PidsDenied { .. }
                | Event::MemoryStalled
                | Event::Exited { .. }
                | Event::Missed { .. }
        )
    }

    /// Adds a line for an event.
    ///
    /// # Errors
    /// When it can't be written, or what is there can't be read.
    pub fn add(&mut self, subject: Subject<'_>, event: &impl Serialize) -> Result<(), Error> {
        let written = serde_json::to_value(event).map_err(std::io::Error::from).and_then(|event| {
            // While it is locked, nobody else adds, and the end is where it was found.
            self.file.lock()?;
            let added = self.add_locked(subject, event);
            let unlocked = self.file.unlock();
            added.and(unlocked)
        });
        written.map_err(|error| Error::io(format!("failed to add to `{}`", self.name), error))
    }

    fn add_locked(&mut self, subject: Subject<'_>, event: Value) -> std::io::Result<()> {
        let (before, ended) = self.end()?;
        let Value::Object(event) = event else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        let line = Line {
            before: &before,
            time: jiff::Timestamp::now().to_string(),
            id: subject.id,
            policy: subject.policy,
            event: &event,
        };
        let mut text = if ended { Vec::new() } else { b"\n".to_vec() };
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }

    /// The digest for the next line, and whether the last one ended.
    fn end(&mut self) -> std::io::Result<(String, bool)> {
        let length = self.file.seek(SeekFrom::End(0))?;
        let mut wanted = 4096;
        loop {
            let start = length.saturating_sub(wanted);
            self.file.seek(SeekFrom::Start(start))?;
            let mut tail = Vec::new();
            (&self.file).take(length - start).read_to_end(&mut tail)?;
            if let Some(end) = digest_of_end(&tail, start == 0) {
                return Ok(end);
            }
            if wanted >= LONGEST {
                let message = "it has no whole line at its end: it is no audit log";
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
            }
            wanted *= 4;
        }
    }
}

/// The digest of the last whole line and the pieces behind it, and whether the last line ended; `None` when no whole line is
/// in what was read. Only when that is the `whole` file may there be none.
fn digest_of_end(tail: &[u8], whole: bool) -> Option<(String, bool)> {
    let ended = tail.is_empty() || tail.ends_with(b"\n");
    let text = tail.strip_suffix(b"\n").unwrap_or(tail);
    let mut start = text.len();
    loop {
        let before = text[..start].iter().rposition(|byte| *byte == b'\n');
        let first = before.map_or(0, |at| at + 1);
        let is_first = before.is_none();
        if is_first && !whole {
            return None;
        }
        let end = text[first..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(text.len(), |at| first + at);
        if before_of(&text[first..end]).is_some() {
            return Some((digest(&text[first..]), ended));
        }
        match before {
            Some(at) => start = at,
            None if text.is_empty() => return Some((FIRST.into(), ended)),
            None => return Some((digest(text), ended)),
        }
    }
}

/// What a whole line says of those before it; `None` for a piece.
fn before_of(line: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Value>(line).ok()?.get("before")? {
        Value::String(before) => Some(before.clone()),
        _ => None,
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;

    const SUBJECT: Subject<'_> = Subject { id: "job-1", policy: "d1" };

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        (directory, path)
    }

    fn add(path: &Path, times: u64) {
        let mut log = AuditLog::open(path).unwrap();
        for _ in 0..times {
            log.add(SUBJECT, &Event::PidsDenied { times }).unwrap();
        }
    }

    fn verified(path: &Path) -> Verified {
        verify(File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn each_line_has_the_digest_of_the_one_before() {
        let (_directory, path) = place();
        add(&path, 3);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let before = |line: &str| before_of(line.as_bytes()).unwrap();
        assert_eq!(before(lines[0]), FIRST);
        assert_eq!(before(lines[2]), digest(lines[1].as_bytes()));
        let line: Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(
            (&line["id"], &line["policy"], &line["event"]),
            (&"job-1".into(), &"d1".into(), &"pids_denied".into())
        );
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        let verified = verified(&path);
        assert_eq!((verified.lines, verified.unfit, verified.interrupted), (3, None, vec![]));
        assert_eq!(verified.last, Some(digest(lines[2].as_bytes())));
    }

    #[test]
    fn every_change_of_a_line_before_the_last_is_found() {
        let (_directory, path) = place();
        add(&path, 5);
        let whole = std::fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        for at in (0..last).step_by(3) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(verified(&path).unfit.is_some(), "byte {at}");
        }
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        for (without, told) in [(0, 1), (1, 2), (3, 4)] {
            let rest: Vec<&[u8]> = lines
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != without)
                .map(|(_, line)| *line)
                .collect();
            std::fs::write(&path, rest.concat()).unwrap();
            assert_eq!(verified(&path).unfit.map(|unfit| unfit.line), Some(told));
        }
    }

    #[test]
    fn an_interrupted_line_stays_and_the_log_goes_on() {
        let (_directory, path) = place();
        add(&path, 3);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        let cut = verified(&path);
        assert_eq!((cut.lines, cut.interrupted, cut.unfit), (2, vec![3], None));
        add(&path, 2);
        let on = verified(&path);
        assert_eq!((on.lines, on.interrupted, on.unfit), (4, vec![3], None));
        // What was there before the piece is still held.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("job-1", "job-2", 2)).unwrap();
        assert!(verified(&path).unfit.is_some());
    }

    #[test]
    fn many_writers_take_turns() {
        let (_directory, path) = place();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| add(&path, 25));
            }
        });
        let verified = verified(&path);
        assert_eq!((verified.lines, verified.unfit, verified.interrupted), (100, None, vec![]));
    }

    #[test]
    fn only_a_regular_file_is_a_log() {
        let (directory, path) = place();
        assert!(AuditLog::open(directory.path()).is_err());
        assert!(AuditLog::open(Path::new("/dev/null")).is_err());
        std::fs::write(&path, "x".repeat(3 << 20)).unwrap();
        let mut log = AuditLog::open(&path).unwrap();
        assert!(log.add(SUBJECT, &Event::Throttled).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_log_that_is_cut_anywhere_goes_on_and_fits(cuts in proptest::collection::vec(any::<u16>(), 1..4)) {
            let (_directory, path) = place();
            for cut in cuts {
                add(&path, 2);
                let mut whole = std::fs::read(&path).unwrap();
                // Of the last write only a part arrives.
                let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let kept = last + usize::from(cut) % (whole.len() - last);
                whole.truncate(kept);
                std::fs::write(&path, &whole).unwrap();
                prop_assert_eq!(verified(&path).unfit, None);
            }
            add(&path, 1);
            prop_assert_eq!(verified(&path).unfit, None);
        }
    }
}
