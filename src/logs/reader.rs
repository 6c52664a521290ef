//! Reads what is kept of one instance, oldest first, and goes on with what is added meanwhile, over every change of files.
//!
//! Files are named in their order. Only whole lines are read, each file to its end before the next one: nothing is missed or read twice, unless files were removed before they were read,
//! which is told.

use super::record::{Header, Record, VERSION};
use super::store::{self, Lines, Segment};
use crate::platform::{Directory, Positioned};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, ErrorKind};

const CHUNK: usize = 64 << 10;

/// Reads the log of one instance.
#[derive(Debug)]
pub struct Reader {
    directory: Directory,
    service: String,
    instance: String,
    /// The number of the next record.
    next: u64,
    /// The number in the open file's name.
    file: u64,
    open: Option<Open>,
    /// A record that comes right after it was told what is missing before it.
    held: Option<Record>,
    /// Whether the open file's successor is there, so that its end is its end.
    succeeded: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Next {
    /// A record.
    Record(Record),
    /// So many records were removed before they were read.
    Missed(u64),
    /// Nothing is there yet.
    Nothing,
}

enum Open {
    Plain(Plain),
    Compressed(Lines<Box<dyn BufRead + Send>>),
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Compressed(_) => "Compressed",
        })
    }
}

/// A file that may still grow.
#[derive(Debug)]
struct Plain {
    file: File,
    /// Where what is in the buffer ends.
    offset: u64,
    buffer: VecDeque<u8>,
}

impl Plain {
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            let found = self.buffer.iter().skip(searched).position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                line.pop();
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            let mut chunk = vec![0; CHUNK];
            let length = self.file.read_at(&mut chunk, self.offset)?;
            if length == 0 {
                // A piece may be cut off and written anew by the next process.
                self.offset -= searched as u64;
                self.buffer.clear();
                return Ok(None);
            }
            self.buffer.extend(chunk.iter().take(length));
            self.offset += length as u64;
        }
    }
}

impl Reader {
    /// Begins with the record of this number, or the first one behind it that is still there; `None` where there is no log.
    ///
    /// # Errors
    /// When it can't be read, or a newer Stockade made it.
    pub fn open(directory: Directory, from: u64) -> io::Result<Option<Self>> {
        let segments = store::segments(&directory)?;
        let at = segments.iter().rposition(|segment| segment.first <= from).unwrap_or(0);
        let Some(segment) = segments.get(at) else { return Ok(None) };
        let mut reader = Self {
            directory,
            service: String::new(),
            instance: String::new(),
            next: from,
            file: segment.first,
            open: None,
            held: None,
            succeeded: false,
        };
        let header = reader.enter(segment.first)?;
        (reader.service, reader.instance) = (header.service, header.instance);
        Ok(Some(reader))
    }

    /// The service whose log it is.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The instance whose log it is.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The number of the next record.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Opens a file, whichever form it has by now.
    fn enter(&mut self, first: u64) -> io::Result<Header> {
        let mut open = match self.directory.read(&store::name(first)) {
            Ok(file) => Open::Plain(Plain { file, offset: 0, buffer: VecDeque::new() }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let reader = store::open_compressed(&self.directory, first)?;
                Open::Compressed(Lines::new(Box::new(reader)))
            }
            Err(error) => return Err(error),
        };
        let wrong = |message| io::Error::new(ErrorKind::InvalidData, message);
        let line = open.line()?.unwrap_or_default();
        let header: Header = serde_json::from_slice(&line)
            .map_err(|error| wrong(format!("`{}` is no log: {error}", store::name(first))))?;
        if header.version > VERSION {
            let message =
                format!("the log is of version {}, made by a newer Stockade", header.version);
            return Err(wrong(message));
        }
        (self.open, self.file, self.succeeded) = (Some(open), first, false);
        Ok(header)
    }

    /// What comes next, without waiting for it.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn advance(&mut self) -> io::Result<Next> {
        if let Some(record) = self.held.take() {
            self.next = record.seq + 1;
            return Ok(Next::Record(record));
        }
        loop {
            if let Some(line) = self.line()? {
                match serde_json::from_slice::<Record>(&line) {
                    Ok(record) if record.seq < self.next => {}
                    Ok(record) if record.seq > self.next => {
                        let missed = record.seq - self.next;
                        self.next = record.seq;
                        self.held = Some(record);
                        return Ok(Next::Missed(missed));
                    }
                    Ok(record) => {
                        self.next = record.seq + 1;
                        return Ok(Next::Record(record));
                    }
                    // A machine that stopped may leave anything; what is whole behind it still counts.
                    Err(_) => {}
                }
                continue;
            }
            match self.successor()? {
                None => return Ok(Next::Nothing),
                // What was added before the other file was begun.
                Some(_) if !self.succeeded => self.succeeded = true,
                Some(first) => match self.enter(first) {
                    Ok(_) => {}
                    // Removed since it was found.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.open.as_mut().map_or(Ok(None), Open::line)
    }

    /// The first record's number of the file that follows the open one.
    fn successor(&self) -> io::Result<Option<u64>> {
        let segments = store::segments(&self.directory)?;
        Ok(segments.iter().map(|segment| segment.first).find(|first| *first > self.file))
    }

    /// The last records, at most so many, of those that are wanted, oldest first; the reader stands behind them then.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn last(
        &mut self,
        most: usize,
        wants: impl Fn(&Record) -> bool,
    ) -> io::Result<Vec<Record>> {
        let mut last: Vec<Record> = Vec::new();
        let segments = store::segments(&self.directory)?;
        let mut end = None;
        for Segment { first, .. } in segments.iter().rev() {
            if last.len() >= most && end.is_some() {
                break;
            }
            let until = end.map_or(u64::MAX, |(first, _)| first);
            let Some(mut reader) = Self::open(self.directory.clone(), *first)? else { continue };
            let mut found = VecDeque::new();
            loop {
                match reader.advance()? {
                    Next::Record(record) if record.seq >= until => break,
                    Next::Record(record) if wants(&record) => {
                        found.push_back(record);
                        if found.len() + last.len() > most {
                            found.pop_front();
                        }
                    }
                    Next::Record(_) | Next::Missed(_) => {}
                    Next::Nothing => break,
                }
                if reader.next >= until {
                    break;
                }
            }
            found.extend(last);
            last = found.into();
            let position = end.map_or(reader.next, |(_, position)| position);
            end = Some((*first, position));
        }
        if let Some((_, position)) = end {
            self.seek(position)?;
        }
        Ok(last)
    }

    /// Goes on with the record of this number.
    fn seek(&mut self, next: u64) -> io::Result<()> {
        if let Some(reader) = Self::open(self.directory.clone(), next)? {
            *self = reader;
            self.next = next;
        }
        Ok(())
    }

    /// Leaves out the files in which everything is older.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn skip_to(&mut self, since: Timestamp) -> io::Result<()> {
        let mut begin = self.next;
        for Segment { first, .. } in store::segments(&self.directory)? {
            if first < self.next {
                continue;
            }
            match self.enter(first) {
                Ok(header) if header.time <= since => begin = first,
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => break,
            }
        }
        self.seek(begin)
    }
}

impl Open {
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Plain(plain) => plain.line(),
            Self::Compressed(lines) => Ok(lines.next()?.map(<[u8]>::to_vec)),
        }
    }
}
