//! Keeps the lines of one instance: from its spools, through the sieve, into its store.

use super::cutter::{Cutter, Piece};
use super::format::Fields;
use super::record::{Lost, Record};
use super::settings::Logging;
use super::sieve::{Sieve, Verdict};
use super::spool::{Run, Spool, Taken};
use super::store::{Failed, Store};
use crate::platform::{Directory, OutputPipe};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often it is told that lines aren't kept.
pub(super) const TELLING: Duration = Duration::from_secs(1);

/// Somebody who wants to know of everything that is read, kept or not.
pub(crate) trait Listener: Send {
    /// Bytes, as they came.
    fn bytes(&mut self, bytes: &[u8]);
    /// A line, or a long line's piece, without its line break.
    fn line(&mut self, line: &[u8]);
}

/// Lines that were kept, and that weren't, since this process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Kept.
    pub kept: u64,
    /// Not kept, though they were wanted: over a rate limit, or for want of room.
    pub dropped: u64,
}

#[derive(Debug)]
pub(super) struct Keeper {
    directory: Directory,
    store: Store,
    sieve: Sieve,
    runs: BTreeMap<Run, Reading>,
    untold: Vec<Untold>,
    told: Option<Instant>,
    began: Instant,
    counts: Counts,
    /// The number of the next record.
    grown: watch::Sender<u64>,
    /// What failed last, for people.
    trouble: Option<String>,
}

/// A stream of a run that hasn't ended, as far as is known.
#[derive(Debug)]
struct Reading {
    spool: Spool,
    cutter: Cutter,
    /// Where its last whole line ends.
    end: u64,
    /// Whether somebody reads its pipe.
    live: bool,
}

/// Lines that weren't kept, of which nothing is kept yet either.
#[derive(Debug)]
struct Untold {
    run: Run,
    why: Why,
    lost: Lost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    TooMuch,
    NoRoom(String),
}

impl Keeper {
    /// Goes on where a process before this one stopped.
    pub(super) fn open(
        directory: Directory,
        service: &str,
        instance: &str,
        logging: Logging,
    ) -> io::Result<Self> {
        let now = Timestamp::now();
        let store = Store::open(directory.clone(), service, instance, logging.rotation, now)?;
        let (grown, _) = watch::channel(store.next());
        let mut keeper = Self {
            store,
            sieve: Sieve::new(logging),
            runs: BTreeMap::new(),
            untold: Vec::new(),
            told: None,
            began: Instant::now(),
            counts: Counts::default(),
            grown,
            trouble: None,
            directory,
        };
        for spool in Spool::left(&keeper.directory)? {
            keeper.go_on(spool)?;
        }
        let runs: Vec<Run> = keeper.runs.keys().copied().collect();
        keeper.store.forget_all_but(&runs);
        Ok(keeper)
    }

    /// Keeps what a spool holds that isn't kept yet.
    fn go_on(&mut self, mut spool: Spool) -> io::Result<()> {
        let run = spool.run();
        let kept = self.store.end(run).unwrap_or(0).max(spool.start());
        let mut rest = Vec::new();
        // As much as a pipe gives at once.
        spool.rest(kept, |at, bytes| rest.push((at, bytes.to_owned())))?;
        let end = spool.go_on_behind(kept);
        self.runs.insert(run, Reading { spool, cutter: Cutter::default(), end: kept, live: false });
        let mut place = kept;
        for (at, bytes) in rest {
            self.skip(run, place, at);
            place = at + bytes.len() as u64;
            self.add(run, &bytes, None);
        }
        self.skip(run, place, end);
        Ok(())
    }

    /// What lies between two places of a stream went with the process that had it in memory.
    fn skip(&mut self, run: Run, from: u64, to: u64) {
        if to > from
            && let Some(reading) = self.runs.get_mut(&run)
        {
            (reading.cutter, reading.end) = (Cutter::default(), to);
        }
    }

    /// Somebody begins to read this stream: from its beginning, or where a process before this one stopped.
    pub(super) fn attach(&mut self, run: Run) {
        let ended = self.runs.iter().filter(|(other, reading)| {
            other.stream == run.stream && **other != run && !reading.live
        });
        let ended: Vec<Run> = ended.map(|(run, _)| *run).collect();
        for run in ended {
            self.end(run, None);
        }
        let end = self.store.end(run).unwrap_or(0);
        let spool = || Spool::new(self.directory.clone(), run, end);
        let reading = self.runs.entry(run).or_insert_with(|| Reading {
            spool: spool(),
            cutter: Cutter::default(),
            end,
            live: false,
        });
        reading.live = true;
    }

    /// Takes what is in the pipe; `false` at the end of the stream.
    pub(super) fn take(
        &mut self,
        run: Run,
        pipe: &OutputPipe,
        mut listener: Option<&mut (dyn Listener + 'static)>,
    ) -> bool {
        let Some(reading) = self.runs.get_mut(&run) else { return false };
        match reading.spool.take(pipe) {
            Ok(Taken::Bytes(bytes)) => {
                if let Some(listener) = &mut listener {
                    listener.bytes(&bytes);
                }
                self.add(run, &bytes, listener);
                true
            }
            Ok(Taken::Empty) => true,
            Ok(Taken::End) => {
                self.end(run, listener);
                false
            }
            Err(error) => {
                self.failed(&error);
                self.end(run, listener);
                false
            }
        }
    }

    /// Keeps the lines that these bytes complete.
    fn add(&mut self, run: Run, bytes: &[u8], mut listener: Option<&mut (dyn Listener + 'static)>) {
        let Some(mut reading) = self.runs.remove(&run) else { return };
        let mut records = Vec::new();
        let now = Timestamp::now();
        reading.cutter.add(bytes, |piece| {
            reading.end += piece.length as u64;
            if let Some(listener) = &mut listener {
                listener.line(piece.text);
            }
            records.extend(self.record(run, reading.end, &piece, now));
        });
        self.keep(records, now);
        if let Err(error) = reading.spool.kept(reading.end) {
            self.failed(&error);
        }
        self.runs.insert(run, reading);
    }

    /// The stream has ended: what is left of it is a line.
    fn end(&mut self, run: Run, mut listener: Option<&mut (dyn Listener + 'static)>) {
        let Some(mut reading) = self.runs.remove(&run) else { return };
        let mut records = Vec::new();
        let now = Timestamp::now();
        reading.cutter.end(|piece| {
            reading.end += piece.length as u64;
            if let Some(listener) = &mut listener {
                listener.line(piece.text);
            }
            records.extend(self.record(run, reading.end, &piece, now));
        });
        self.told = None;
        self.keep(records, now);
        if let Err(error) = reading.spool.remove() {
            self.failed(&error);
        }
        self.store.forget(run);
    }

    fn record(&mut self, run: Run, end: u64, piece: &Piece<'_>, now: Timestamp) -> Option<Record> {
        match self.sieve.judge(piece, self.began.elapsed()) {
            Verdict::Keep(text, fields) => {
                let Fields { level, message, said } = fields;
                Some(Record {
                    partial: !piece.ends,
                    level,
                    message,
                    said,
                    ..plain(run, end, text, now)
                })
            }
            Verdict::Unwanted => None,
            Verdict::TooMuch => {
                let lost = Lost { lines: 1, bytes: piece.length as u64 };
                self.counts.dropped += 1;
                self.lose(run, Why::TooMuch, &lost);
                None
            }
        }
    }

    fn lose(&mut self, run: Run, why: Why, lost: &Lost) {
        let same = |untold: &&mut Untold| {
            // A disk that is full tells of it in more than one way; the last is as good.
            untold.run == run && matches!(untold.why, Why::TooMuch) == matches!(why, Why::TooMuch)
        };
        match self.untold.iter_mut().find(same) {
            Some(untold) => {
                untold.why = why;
                untold.lost.lines += lost.lines;
                untold.lost.bytes += lost.bytes;
            }
            None => self.untold.push(Untold { run, why, lost: lost.clone() }),
        }
    }

    /// Whether it is still to be told that lines weren't kept.
    pub(super) fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Tells it, if it is time to.
    pub(super) fn tell(&mut self) {
        self.keep(Vec::new(), Timestamp::now());
    }

    /// Keeps records. Of lines that went before them for want of room it is told before, of those that were too many after.
    fn keep(&mut self, lines: Vec<Record>, now: Timestamp) {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELLING);
        let untold = if due { std::mem::take(&mut self.untold) } else { Vec::new() };
        let (mut records, mut told) = (Vec::new(), Vec::new());
        let (before, after): (Vec<Untold>, Vec<Untold>) =
            untold.into_iter().partition(|untold| untold.why != Why::TooMuch);
        let mut add = |record: Record, of: Option<Untold>| {
            records.push(record);
            told.push(of);
        };
        before.into_iter().for_each(|untold| add(self.told_of(&untold, now), Some(untold)));
        lines.into_iter().for_each(|line| add(line, None));
        after.into_iter().for_each(|untold| add(self.told_of(&untold, now), Some(untold)));
        if records.is_empty() {
            return;
        }
        let (kept, error) = match self.store.append(&mut records, now) {
            Ok(()) => (records.len(), None),
            Err(Failed { kept, error }) => (kept, Some(error)),
        };
        self.grown.send_replace(self.store.next());
        if let Some(error) = &error {
            self.failed(error);
        }
        for (at, (record, of)) in records.into_iter().zip(told).enumerate() {
            match (of, &error) {
                (None, _) if at < kept => self.counts.kept += 1,
                (Some(_), _) if at < kept => self.told = Some(Instant::now()),
                (Some(untold), _) => self.lose(untold.run, untold.why, &untold.lost),
                (None, error) => {
                    let run = Run { generation: record.generation, stream: record.stream };
                    let lost = Lost { lines: 1, bytes: record.text.len() as u64 + 1 };
                    let why = error.as_ref().map(ToString::to_string).unwrap_or_default();
                    self.counts.dropped += 1;
                    self.lose(run, Why::NoRoom(why), &lost);
                }
            }
        }
    }

    fn told_of(&self, untold: &Untold, now: Timestamp) -> Record {
        let Untold { run, why, lost } = untold;
        let why = match why {
            Why::TooMuch => "over the rate limit".to_owned(),
            Why::NoRoom(error) => format!("they couldn't be written: {error}"),
        };
        let text = format!("{} lines ({} bytes) weren't kept: {why}", lost.lines, lost.bytes);
        // Nothing is said of how far the stream is kept but by lines: of those before this one some may not be written yet.
        let end = self.store.end(*run).unwrap_or(0);
        Record { lost: Some(lost.clone()), ..plain(*run, end, text, now) }
    }

    fn failed(&mut self, error: &io::Error) {
        self.trouble = Some(error.to_string());
    }

    /// Records can't be sent now.
    pub(super) fn not_sent(&mut self, message: &str) {
        self.trouble = Some(format!("lines can't be sent: {message}"));
    }

    /// What failed last.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Keeps lines in another way from here on.
    pub(super) fn change(&mut self, logging: Logging) {
        self.store.rotate_by(logging.rotation);
        self.sieve = Sieve::new(logging);
    }

    /// What tells of every new record.
    pub(super) fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The files that wait to be compressed.
    pub(super) fn take_full(&mut self) -> Vec<u64> {
        self.store.take_full()
    }
}

fn plain(run: Run, end: u64, text: String, time: Timestamp) -> Record {
    Record { end, ..Record::plain(run.generation, run.stream, text, time) }
}
