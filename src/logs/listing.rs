//! The logs of several services as one, in the order of time.

use super::query::Query;
use super::reader::{Next, Reader};
use super::record::Record;
use crate::platform::Directory;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// A record, and whose it is. As JSON, one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The service.
    #[serde(serialize_with = "text", deserialize_with = "shared")]
    pub service: Arc<str>,
    /// Its instance.
    #[serde(serialize_with = "text", deserialize_with = "shared")]
    pub instance: Arc<str>,
    /// What it wrote.
    #[serde(flatten)]
    pub record: Record,
}

fn shared<'d, D: serde::Deserializer<'d>>(from: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(from).map(Arc::from)
}

fn text<S: serde::Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

/// Reads all logs of a directory that a query asks for.
#[derive(Debug)]
pub struct Listing {
    directory: Directory,
    query: Query,
    known: BTreeSet<String>,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    reader: Reader,
    service: Arc<str>,
    instance: Arc<str>,
    /// What comes next of it.
    head: Option<Record>,
}

impl Source {
    fn fill(&mut self, query: &Query) -> io::Result<()> {
        while self.head.is_none() {
            match self.reader.advance()? {
                Next::Record(record) if query.wants(&record) => self.head = Some(record),
                Next::Record(_) | Next::Missed(_) => {}
                Next::Nothing => break,
            }
        }
        Ok(())
    }

    fn entry(&self, record: Record) -> Entry {
        Entry { service: self.service.clone(), instance: self.instance.clone(), record }
    }
}

impl Listing {
    /// Of the logs that lie in a directory, from the first record on that is asked for.
    ///
    /// # Errors
    /// When they can't be read, or a newer Stockade made one.
    pub fn open(directory: Directory, query: Query) -> io::Result<Self> {
        let mut listing = Self { directory, query, known: BTreeSet::new(), sources: Vec::new() };
        listing.look()?;
        Ok(listing)
    }

    /// Looks for logs that came since.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look(&mut self) -> io::Result<()> {
        for name in self.directory.directories()? {
            if self.known.contains(&name) {
                continue;
            }
            let Some(mut reader) = Reader::open(self.directory.open_below(&name)?, 0)? else {
                continue;
            };
            if self.query.wants_instance(reader.service(), reader.instance()) {
                if let Some(since) = self.query.since {
                    reader.skip_to(since)?;
                }
                let (service, instance) = (reader.service().into(), reader.instance().into());
                self.sources.push(Source { reader, service, instance, head: None });
            }
            self.known.insert(name);
        }
        Ok(())
    }

    /// The instances that are read.
    pub fn instances(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| &*source.instance)
    }

    /// All instances of which there are logs.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(String::as_str)
    }

    /// Those that a query names, and of which there is no log.
    pub fn missing(&self) -> Vec<&str> {
        let found = |name: &&String| {
            self.sources
                .iter()
                .any(|source| **name == *source.service || **name == *source.instance)
        };
        self.query.services.iter().filter(|name| !found(name)).map(String::as_str).collect()
    }

    /// What comes next of all that is there, without waiting. What is added later to one log may be older than what another one
    /// gave already.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn advance(&mut self) -> io::Result<Option<Entry>> {
        let mut earliest: Option<&mut Source> = None;
        for source in &mut self.sources {
            source.fill(&self.query)?;
            let time = |source: &Source| source.head.as_ref().map(|record| record.time);
            let Some(mine) = time(source) else { continue };
            if earliest.as_ref().and_then(|it| time(it)).is_none_or(|other| mine < other) {
                earliest = Some(source);
            }
        }
        let Some(source) = earliest else { return Ok(None) };
        Ok(source.head.take().map(|record| source.entry(record)))
    }

    /// The last of all that is there, at most so many; what comes next is what comes behind them.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn last(&mut self, most: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for source in &mut self.sources {
            let records = source.reader.last(most, |record| self.query.wants(record))?;
            entries.extend(records.into_iter().map(|record| source.entry(record)));
            // Of each log no more than is asked for, of all together neither.
            entries.sort_by_key(|entry| entry.record.time);
            let over = entries.len().saturating_sub(most);
            entries.drain(..over);
        }
        Ok(entries)
    }
}
