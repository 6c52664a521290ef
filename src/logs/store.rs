//! What is kept of one instance: files of records, one JSON object a line, each file named after its first record's number.
//!
//! Only whole lines count: what a killed process left of its last write is cut off when the files are opened again. A file that
//! is full or old is followed by a new one and then compressed, by somebody else, under a name that is given when all of it is
//! there; nothing is ever renamed that somebody may be reading. Nothing is forced to the disk: what is kept outlives this
//! process, not the machine.

use super::record::{End, Header, Record, VERSION};
use super::settings::Rotation;
use super::spool::Run;
use crate::platform::{Directory, Positioned};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};

const PLAIN: &str = ".jsonl";
const COMPRESSED: &str = ".jsonl.gz";
const UNFINISHED: &str = ".unfinished";

/// A file may grow to so many times its most where no new one can be begun.
const PATIENCE: u64 = 4;

#[derive(Debug)]
pub(super) struct Store {
    directory: Directory,
    service: String,
    instance: String,
    rotation: Rotation,
    file: File,
    first: u64,
    length: u64,
    /// The length of its first line.
    empty: u64,
    begun: Timestamp,
    /// The number of the next record.
    next: u64,
    ends: BTreeMap<Run, u64>,
    /// Files that are full and wait to be compressed.
    full: Vec<u64>,
}

/// Why records aren't kept, and how many before them are.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) kept: usize,
    pub(super) error: io::Error,
}

impl Store {
    /// Opens what there is, or begins.
    pub(super) fn open(
        directory: Directory,
        service: &str,
        instance: &str,
        rotation: Rotation,
        now: Timestamp,
    ) -> io::Result<Self> {
        let files = sweep(&directory)?;
        let begin = |first, ends: &BTreeMap<Run, u64>| {
            begin(&directory, header(service, instance, first, now, ends))
        };
        let (file, found) = match files.last() {
            Some(Segment { first, compressed: false }) => {
                let file = directory.open_or_create(&name(*first))?;
                let found = scan(&file, &name(*first))?;
                file.set_len(found.length)?;
                (file, found)
            }
            // The one that was being written is gone, by whatever way; numbers go on behind all that are known.
            Some(Segment { first, .. }) => {
                let next = last_of(&directory, *first)?;
                let (file, length) = begin(next, &BTreeMap::new())?;
                (
                    file,
                    Found {
                        first: next,
                        next,
                        length,
                        empty: length,
                        begun: now,
                        ends: BTreeMap::new(),
                    },
                )
            }
            None => {
                let (file, length) = begin(0, &BTreeMap::new())?;
                (
                    file,
                    Found {
                        first: 0,
                        next: 0,
                        length,
                        empty: length,
                        begun: now,
                        ends: BTreeMap::new(),
                    },
                )
            }
        };
        let unfinished = files.iter().filter(|segment| !segment.compressed);
        let full = unfinished.map(|segment| segment.first).filter(|first| *first != found.first);
        Ok(Self {
            service: service.to_owned(),
            instance: instance.to_owned(),
            file,
            first: found.first,
            length: found.length,
            empty: found.empty,
            begun: found.begun,
            next: found.next,
            ends: found.ends,
            full: if rotation.compress { full.collect() } else { Vec::new() },
            rotation,
            directory,
        })
    }

    /// The number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How much of a run's stream is kept, where that is known.
    pub(super) fn end(&self, run: Run) -> Option<u64> {
        self.ends.get(&run).copied()
    }

    /// Nothing more will come of this run.
    pub(super) fn forget(&mut self, run: Run) {
        self.ends.remove(&run);
    }

    /// Forgets the runs of which nothing more can come: all older ones but these.
    pub(super) fn forget_all_but(&mut self, runs: &[Run]) {
        let newest = self.ends.keys().map(|run| run.generation).max();
        self.ends.retain(|run, _| Some(run.generation) == newest || runs.contains(run));
    }

    pub(super) fn rotate_by(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    /// The files that wait to be compressed.
    pub(super) fn take_full(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.full)
    }

    /// Adds records, and gives them their numbers.
    pub(super) fn append(&mut self, records: &mut [Record], now: Timestamp) -> Result<(), Failed> {
        let (mut text, mut kept) = (Vec::new(), 0);
        let most = self.rotation.max_size.0;
        for at in 0..records.len() {
            let Some(record) = records.get_mut(at) else { break };
            record.seq = self.next + (at - kept) as u64;
            let before = text.len();
            let written = serde_json::to_writer(&mut text, record);
            written.map_err(|error| Failed { kept, error: error.into() })?;
            text.push(b'\n');
            let is_full = self.length + text.len() as u64 > most;
            let has_any = self.length > self.empty || before > 0;
            if has_any && (is_full || self.is_old(now)) {
                let behind = text.split_off(before);
                self.write(&text, records.get(kept..at).unwrap_or_default())
                    .map_err(|error| Failed { kept, error })?;
                (text, kept) = (behind, at);
                self.rotate(now).map_err(|error| Failed { kept, error })?;
            }
        }
        self.write(&text, records.get(kept..).unwrap_or_default())
            .map_err(|error| Failed { kept, error })
    }

    fn is_old(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.begun);
        let most = self.rotation.max_age;
        most.is_some_and(|most| !age.is_negative() && age.unsigned_abs() > most)
    }

    /// Writes whole lines, or nothing.
    fn write(&mut self, text: &[u8], records: &[Record]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(text, self.length) {
            // Shortening needs no room. Where it fails too, the next write goes over what is there.
            return self.file.set_len(self.length).and(Err(error));
        }
        self.length += text.len() as u64;
        self.next += records.len() as u64;
        for record in records {
            let run = Run { generation: record.generation, stream: record.stream };
            let end = self.ends.entry(run).or_default();
            *end = record.end.max(*end);
        }
        Ok(())
    }

    /// Begins a new file, and removes those that are too many.
    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let header = header(&self.service, &self.instance, self.next, now, &self.ends);
        match begin(&self.directory, header) {
            Ok((file, length)) => {
                if self.rotation.compress {
                    self.full.push(self.first);
                }
                (self.file, self.length, self.empty) = (file, length, length);
                (self.first, self.begun) = (self.next, now);
                self.remove_old()
            }
            // Rather a larger file than lost lines.
            Err(_) if self.length < PATIENCE * self.rotation.max_size.0 => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn remove_old(&mut self) -> io::Result<()> {
        let most = usize::try_from(self.rotation.max_files.max(1)).unwrap_or(usize::MAX);
        let files = segments(&self.directory)?;
        for segment in files.iter().take(files.len().saturating_sub(most)) {
            self.full.retain(|first| *first != segment.first);
            self.directory.remove(&name(segment.first))?;
            self.directory.remove(&compressed_name(segment.first))?;
        }
        Ok(())
    }
}

fn header(
    service: &str,
    instance: &str,
    first: u64,
    time: Timestamp,
    ends: &BTreeMap<Run, u64>,
) -> Header {
    let ends = ends.iter().map(|(run, end)| End {
        generation: run.generation,
        stream: run.stream,
        end: *end,
    });
    let (service, instance) = (service.to_owned(), instance.to_owned());
    Header { version: VERSION, service, instance, first, time, ends: ends.collect() }
}

/// Begins a file. It has its name only with its first line.
fn begin(directory: &Directory, header: Header) -> io::Result<(File, u64)> {
    let unfinished = format!("{}{UNFINISHED}", name(header.first));
    directory.remove(&unfinished)?;
    let file = directory.create(&unfinished)?;
    let mut text = serde_json::to_vec(&header)?;
    text.push(b'\n');
    let written = file.write_all_at(&text, 0);
    written.and_then(|()| directory.rename(&unfinished, &name(header.first))).or_else(|error| {
        directory.remove(&unfinished)?;
        Err(error)
    })?;
    Ok((file, text.len() as u64))
}

/// What a file holds.
struct Found {
    first: u64,
    next: u64,
    length: u64,
    empty: u64,
    begun: Timestamp,
    ends: BTreeMap<Run, u64>,
}

/// Reads a file to its last whole line.
fn scan(file: &File, name: &str) -> io::Result<Found> {
    let wrong = |message: String| io::Error::new(ErrorKind::InvalidData, message);
    let mut lines = Lines::new(BufReader::new(file));
    let first = lines.next()?.ok_or_else(|| wrong(format!("`{name}` is no log")))?;
    let header: Header = serde_json::from_slice(first)
        .map_err(|error| wrong(format!("`{name}` is no log: {error}")))?;
    if header.version > VERSION {
        let version = header.version;
        return Err(wrong(format!("`{name}` is of version {version}, made by a newer Stockade")));
    }
    let mut found = Found {
        first: header.first,
        next: header.first,
        length: lines.passed,
        empty: lines.passed,
        begun: header.time,
        ends: BTreeMap::new(),
    };
    for end in header.ends {
        found.ends.insert(Run { generation: end.generation, stream: end.stream }, end.end);
    }
    while let Some(line) = lines.next()? {
        let record = serde_json::from_slice::<Record>(line);
        // What isn't a record was left by a machine that stopped; nothing behind it can be trusted to be in order.
        let Ok(record) = record else { break };
        found.next = record.seq + 1;
        let run = Run { generation: record.generation, stream: record.stream };
        let end = found.ends.entry(run).or_default();
        *end = record.end.max(*end);
        found.length = lines.passed;
    }
    Ok(found)
}

/// The number behind the last record of a compressed file.
fn last_of(directory: &Directory, first: u64) -> io::Result<u64> {
    let mut lines = Lines::new(open_compressed(directory, first)?);
    let mut next = first;
    while let Some(line) = lines.next()? {
        if let Ok(record) = serde_json::from_slice::<Record>(line) {
            next = record.seq + 1;
        }
    }
    Ok(next)
}

/// Whole lines, one at a time.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    /// Bytes up to the end of the last whole line.
    pub(super) passed: u64,
}

/// No record is longer: a line's longest piece with everything escaped, twice.
const LONGEST: u64 = 1 << 20;

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), passed: 0 }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        use std::io::Read;
        self.line.clear();
        let length = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut self.line)?;
        if self.line.pop_if(|byte| *byte == b'\n').is_none() {
            return Ok(None);
        }
        self.passed += length as u64;
        Ok(Some(&self.line))
    }
}

/// One file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// The number of its first record.
    pub(super) first: u64,
    pub(super) compressed: bool,
}

pub(super) fn name(first: u64) -> String {
    format!("{first:020}{PLAIN}")
}

fn compressed_name(first: u64) -> String {
    format!("{first:020}{COMPRESSED}")
}

/// The files of a store, oldest first; of one that was just compressed, the compressed one.
pub(super) fn segments(directory: &Directory) -> io::Result<Vec<Segment>> {
    let mut segments = BTreeMap::new();
    for name in directory.files()? {
        let number = |name: &str| name.parse::<u64>().ok();
        if let Some(first) = name.strip_suffix(PLAIN).and_then(number) {
            segments.entry(first).or_insert(false);
        } else if let Some(first) = name.strip_suffix(COMPRESSED).and_then(number) {
            segments.insert(first, true);
        }
    }
    Ok(segments.into_iter().map(|(first, compressed)| Segment { first, compressed }).collect())
}

/// Removes what a killed process left behind.
fn sweep(directory: &Directory) -> io::Result<Vec<Segment>> {
    for name in directory.files()?.iter().filter(|name| name.ends_with(UNFINISHED)) {
        directory.remove(name)?;
    }
    let segments = segments(directory)?;
    for segment in segments.iter().filter(|segment| segment.compressed) {
        directory.remove(&name(segment.first))?;
    }
    Ok(segments)
}

/// Compresses a file that is full.
pub(super) fn compress(directory: &Directory, first: u64) -> io::Result<()> {
    let unfinished = format!("{}{UNFINISHED}", compressed_name(first));
    let mut from = match directory.read(&name(first)) {
        // It was removed meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    directory.remove(&unfinished)?;
    let to = BufWriter::new(directory.create(&unfinished)?);
    let mut encoder = GzEncoder::new(to, Compression::default());
    let done = io::copy(&mut from, &mut encoder)
        .and_then(|_| encoder.finish())
        .and_then(|mut to| to.flush())
        .and_then(|()| directory.rename(&unfinished, &compressed_name(first)));
    match done {
        Ok(()) => directory.remove(&name(first)),
        Err(error) => directory.remove(&unfinished).and(Err(error)),
    }
}

/// Opens a compressed file to be read.
pub(super) fn open_compressed(
    directory: &Directory,
    first: u64,
) -> io::Result<impl BufRead + use<>> {
    let file = directory.read(&compressed_name(first))?;
    Ok(BufReader::new(flate2::read::MultiGzDecoder::new(file)))
}
