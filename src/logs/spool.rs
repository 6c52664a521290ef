//! What a stream of one run wrote and isn't yet kept as lines: in files that are named after where in the stream they begin.
//!
//! Bytes come from the pipe by splice(2), which takes from it what it has written to the file and nothing else: whoever is killed
//! meanwhile leaves each byte in the file or in the pipe. How long the file is tells where to go on. A file is removed when all
//! of it is kept and it has grown large, or the stream has ended.
//!
//! Where a file system can't do that, or is full, the bytes are read into memory instead; those are lost if this process is
//! killed before it keeps them as lines.

use super::record::Stream;
use crate::platform::{Directory, OutputPipe, Positioned};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};

/// A file that is longer is followed by a new one.
const SEGMENT: u64 = 1 << 20;

/// The most that is taken from a pipe at once: what it holds, if nobody changed that.
const CHUNK: usize = 64 << 10;

const SUFFIX: &str = ".spool";

/// One stream of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) generation: u64,
    pub(super) stream: Stream,
}

/// What was in the pipe.
#[derive(Debug)]
pub(super) enum Taken {
    Bytes(Vec<u8>),
    /// Nothing now.
    Empty,
    End,
}

#[derive(Debug)]
pub(super) struct Spool {
    directory: Directory,
    run: Run,
    /// All but the last are there only for the beginning of a line that isn't kept yet.
    segments: VecDeque<Segment>,
    /// How much of the stream was taken.
    end: u64,
}

#[derive(Debug)]
struct Segment {
    file: File,
    start: u64,
    length: u64,
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.length
    }
}

impl Spool {
    /// Of a stream of which this much is kept already.
    pub(super) fn new(directory: Directory, run: Run, end: u64) -> Self {
        Self { directory, run, segments: VecDeque::new(), end }
    }

    /// The spools that a killed process left.
    pub(super) fn left(directory: &Directory) -> io::Result<Vec<Self>> {
        let mut found: Vec<(Run, u64, String)> = Vec::new();
        for name in directory.files()? {
            if let Some((run, start)) = parsed(&name) {
                found.push((run, start, name));
            }
        }
        found.sort_unstable();
        let mut spools: Vec<Self> = Vec::new();
        for (run, start, name) in found {
            let file = directory.open_or_create(&name)?;
            let length = file.metadata()?.len();
            let segment = Segment { file, start, length };
            match spools.last_mut().filter(|spool| spool.run == run) {
                Some(spool) => {
                    spool.end = segment.end();
                    spool.segments.push_back(segment);
                }
                None => spools.push(Self {
                    directory: directory.clone(),
                    run,
                    end: segment.end(),
                    segments: [segment].into(),
                }),
            }
        }
        Ok(spools)
    }

    /// Where the first byte that is still there stands in the stream.
    pub(super) fn start(&self) -> u64 {
        self.segments.front().map_or(self.end, |first| first.start)
    }

    pub(super) fn run(&self) -> Run {
        self.run
    }

    /// Gives what is there and lies behind `kept` in the stream, in order, and where that begins.
    pub(super) fn rest(&self, kept: u64, mut tell: impl FnMut(u64, &[u8])) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        for segment in &self.segments {
            let mut at = kept.max(segment.start);
            while at < segment.end() {
                let length = segment.file.read_at(&mut buffer, at - segment.start)?;
                let Some(bytes @ [_, ..]) = buffer.get(..length) else { break };
                tell(at, bytes);
                at += length as u64;
            }
        }
        Ok(())
    }

    /// What comes next stands behind this in the stream, at the least: it may be kept though it was only in memory. Tells where
    /// that is.
    pub(super) fn go_on_behind(&mut self, kept: u64) -> u64 {
        self.end = self.end.max(kept);
        self.end
    }

    /// Takes what is in the pipe, without waiting.
    pub(super) fn take(&mut self, pipe: &OutputPipe) -> io::Result<Taken> {
        match self.move_in(pipe) {
            Ok(0) => Ok(Taken::End),
            Ok(length) => self.read_back(length).map(Taken::Bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Taken::Empty),
            // Whatever keeps it from the disk mustn't keep the program from going on.
            Err(_) => self.take_to_memory(pipe),
        }
    }

    fn move_in(&mut self, pipe: &OutputPipe) -> io::Result<usize> {
        if self.segments.back().is_none_or(|last| last.length >= SEGMENT || last.end() != self.end)
        {
            let file = self.directory.create(&name(self.run, self.end))?;
            self.segments.push_back(Segment { file, start: self.end, length: 0 });
        }
        let Some(last) = self.segments.back_mut() else { return Err(ErrorKind::NotFound.into()) };
        let length = pipe.try_move(&last.file, last.length, CHUNK)?;
        last.length += length as u64;
        self.end += length as u64;
        Ok(length)
    }

    /// The last bytes that were moved.
    fn read_back(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        if let Some(last) = self.segments.back() {
            last.file.read_exact_at(&mut bytes, last.length - length as u64)?;
        }
        Ok(bytes)
    }

    fn take_to_memory(&mut self, pipe: &OutputPipe) -> io::Result<Taken> {
        let mut bytes = vec![0; CHUNK];
        match pipe.try_take(&mut bytes) {
            Ok(0) => Ok(Taken::End),
            Ok(length) => {
                bytes.truncate(length);
                self.end += length as u64;
                Ok(Taken::Bytes(bytes))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Taken::Empty),
            Err(error) => Err(error),
        }
    }

    /// The stream is kept up to here: files that end before aren't needed any more.
    pub(super) fn kept(&mut self, upto: u64) -> io::Result<()> {
        while let [first, _, ..] = self.segments.make_contiguous()
            && first.end() <= upto
        {
            self.directory.remove(&name(self.run, first.start))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// All of it is kept, and nothing more will come.
    pub(super) fn remove(self) -> io::Result<()> {
        self.segments
            .iter()
            .try_for_each(|segment| self.directory.remove(&name(self.run, segment.start)))
    }
}

fn name(run: Run, start: u64) -> String {
    format!("{}-{}-{start:020}{SUFFIX}", run.stream, run.generation)
}

fn parsed(name: &str) -> Option<(Run, u64)> {
    let (stream, rest) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let (generation, start) = rest.split_once('-')?;
    let stream = match stream {
        "stdout" => Stream::Output,
        "stderr" => Stream::Error,
        _ => return None,
    };
    Some((Run { generation: generation.parse().ok()?, stream }, start.parse().ok()?))
}
