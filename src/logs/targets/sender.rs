//! Sends the records of one instance to one target, and remembers how far it came.

use super::http::Http;
use super::journald::Journald;
use super::syslog::Connection;
use super::{Failure, Origin, Target};
use crate::logs::keeper::Keeper;
use crate::logs::reader::{Next, Reader};
use crate::logs::record::{Lost, Record};
use crate::platform::{Directory, Positioned};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Records that are sent at once.
const BATCH: usize = 500;

/// Bytes of text in them.
const BATCH_BYTES: usize = 512 << 10;

/// How long a target may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One target of one instance.
#[derive(Debug)]
pub(in crate::logs) struct Sender {
    origin: Origin,
    target: Target,
    directory: Directory,
    cursor: File,
    next: u64,
    grown: watch::Receiver<u64>,
    /// Whom to tell of trouble; gone when nothing is added any more.
    keeper: Weak<Mutex<Keeper>>,
}

/// What speaks to a target.
enum Sink {
    Journald(Journald),
    Syslog(Connection),
    Http(Http),
}

impl Sink {
    async fn send(&mut self, records: &[Record]) -> Result<(), Failure> {
        match self {
            Self::Journald(sink) => sink.send(records).await,
            Self::Syslog(sink) => sink.send(records).await,
            Self::Http(sink) => sink.send(records).await,
        }
    }
}

impl Sender {
    /// Goes on behind what was sent before; a new target gets what is written from now on.
    pub(in crate::logs) fn open(
        name: &str,
        target: Target,
        (service, instance): (&str, &str),
        directory: Directory,
        keeper: &Arc<Mutex<Keeper>>,
    ) -> io::Result<Self> {
        let grown = crate::logs::lock(keeper).grown();
        let cursor = directory.open_or_create(&format!("{name}.sent"))?;
        let mut text = [0; 20];
        let next = match cursor.read_exact_at(&mut text, 0) {
            Ok(()) => str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        let next = next.unwrap_or(*grown.borrow());
        let origin = Origin { service: service.to_owned(), instance: instance.to_owned() };
        let keeper = Arc::downgrade(keeper);
        let sender = Self { origin, target, directory, cursor, next, grown, keeper };
        sender.remember()?;
        Ok(sender)
    }

    /// Writes down how far it came: always as many digits, so that it is the old number or the new one.
    fn remember(&self) -> io::Result<()> {
        self.cursor.write_all_at(format!("{:020}\n", self.next).as_bytes(), 0)
    }

    /// Until nothing is added any more and everything is sent, or can't be now: the next process goes on then.
    pub(in crate::logs) async fn send(mut self) {
        let origin = self.origin.clone();
        let mut sink = match self.target.clone() {
            Target::Journald(path) => Sink::Journald(Journald::new(origin, path)),
            Target::Syslog(to, facility) => Sink::Syslog(Connection::new(origin, to, facility)),
            Target::Http(form, url, labels) => Sink::Http(Http::new(origin, form, url, labels)),
        };
        let mut pause = FIRST_PAUSE;
        loop {
            self.grown.borrow_and_update();
            let is_last = self.keeper.strong_count() == 0;
            let sent = match self.batch() {
                Ok(batch) if batch.is_empty() => {
                    if is_last {
                        return;
                    }
                    // An error only says that nothing will be added any more.
                    self.grown.changed().await.unwrap_or(());
                    continue;
                }
                Ok(batch) => self.pass(&mut sink, &batch).await,
                Err(error) => Err(error.to_string()),
            };
            match sent {
                Ok(()) => pause = FIRST_PAUSE,
                Err(message) => {
                    self.tell(&message);
                    if is_last {
                        return;
                    }
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = closed(self.grown.clone()) => {}
                    }
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// What is to be sent next.
    fn batch(&self) -> io::Result<Vec<Record>> {
        let (mut batch, mut bytes, mut missed) = (Vec::new(), 0, 0);
        let Some(mut reader) = Reader::open(self.directory.clone(), self.next)? else {
            return Ok(batch);
        };
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            match reader.advance()? {
                Next::Record(record) => {
                    if missed > 0 {
                        let text = format!("{missed} lines were removed before they could be sent");
                        let lost = Some(Lost { lines: missed, bytes: 0 });
                        batch.push(Record { text, lost, ..record.clone() });
                        missed = 0;
                    }
                    bytes += record.text.len();
                    batch.push(record);
                }
                Next::Missed(number) => missed = number,
                Next::Nothing => break,
            }
        }
        Ok(batch)
    }

    async fn pass(&mut self, sink: &mut Sink, batch: &[Record]) -> Result<(), String> {
        let sent = timeout(PATIENCE, sink.send(batch)).await;
        let failure = match sent {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(Failure::passing(0, "it took too long")),
        };
        let taken = match &failure {
            None => batch.len(),
            Some(failure) if failure.lasting => batch.len(),
            Some(failure) => failure.taken,
        };
        if let Some(last) = taken.checked_sub(1).and_then(|last| batch.get(last)) {
            // What tells of missed lines has the number of the one behind it.
            self.next =
                if last.lost.is_some() && batch.get(taken).is_some_and(|it| it.seq == last.seq) {
                    last.seq
                } else {
                    last.seq + 1
                };
            self.remember().map_err(|error| error.to_string())?;
        }
        match failure {
            Some(failure) if failure.lasting => {
                self.tell(&format!("{} lines were refused: {}", batch.len(), failure.message));
                Ok(())
            }
            Some(failure) => Err(failure.message),
            None => Ok(()),
        }
    }

    fn tell(&self, message: &str) {
        if let Some(keeper) = self.keeper.upgrade() {
            crate::logs::lock(&keeper).not_sent(message);
        }
    }
}

/// Returns when nothing is added any more.
async fn closed(mut grown: watch::Receiver<u64>) {
    while grown.changed().await.is_ok() {}
}
