//! Output as lines, for people who look on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// A longer line is told in pieces of this many bytes, so that a program without line breaks takes no memory.
const LONGEST: usize = 8192;

/// Lines that nobody has read yet; above, they are counted and thrown away.
const WAITING: usize = 4096;

/// Which stream of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A line of a service, or a long line's piece.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Of which service.
    pub service: Arc<str>,
    /// From which stream.
    pub stream: Stream,
    /// Without its line break; what isn't UTF-8 is shown as U+FFFD.
    pub text: String,
    /// Lines of this service before it that were lost, since nobody read fast enough.
    pub lost: u64,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Output => "stdout",
            Self::Error => "stderr",
        })
    }
}

/// Where the lines of all services arrive.
#[derive(Debug)]
pub struct Lines(mpsc::Receiver<Line>);

impl Lines {
    /// The next line; `None` when there is no service any more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Line> {
        self.0.recv().await
    }
}

/// A way for lines to somebody who reads them, or not: a program is never held up for that.
pub(super) fn lines() -> (mpsc::Sender<Line>, Lines) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (sender, Lines(receiver))
}

/// Where the lines of one service go.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    service: Arc<str>,
    sender: mpsc::Sender<Line>,
    lost: Arc<AtomicU64>,
}

impl Teller {
    pub(super) fn new(service: &str, sender: mpsc::Sender<Line>) -> Self {
        Self { service: service.into(), sender, lost: Arc::default() }
    }

    pub(super) fn tell(&self, stream: Stream, line: &[u8]) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let text = String::from_utf8_lossy(line).into_owned();
        let line = Line { service: self.service.clone(), stream, text, lost };
        if self.sender.try_send(line).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(super) struct Splitter(Vec<u8>);

impl Splitter {
    /// Takes in the next bytes, and gives each line that they complete.
    pub(super) fn add(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend(part);
            if let Some(whole) = self.0.strip_suffix(b"\n") {
                whole.chunks(LONGEST).for_each(&mut line);
                if whole.is_empty() {
                    line(b"");
                }
                self.0.clear();
            }
            while self.0.len() > LONGEST {
                line(&self.0[..LONGEST]);
                self.0.drain(..LONGEST);
            }
        }
    }

    /// Gives what is left at the end.
    pub(super) fn end(self, mut line: impl FnMut(&[u8])) {
        if !self.0.is_empty() {
            line(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for chunk in chunks {
            splitter.add(chunk, |line| lines.push(line.to_owned()));
            assert!(splitter.0.len() <= LONGEST);
        }
        splitter.end(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let expected: [&[u8]; 4] = [b"one", b"", b"two", b"end"];
        assert_eq!(split(&[b"one\n\ntwo\nend"]), expected);
        assert_eq!(split(&[b"on", b"e", b"\n", b"\ntw", b"o\ne", b"nd"]), expected);
        assert!(split(&[b""]).is_empty());
    }

    #[test]
    fn a_line_without_end_is_told_in_pieces() {
        let long = vec![b'x'; 2 * LONGEST + 5];
        let lengths =
            |chunks: &[&[u8]]| -> Vec<usize> { split(chunks).iter().map(Vec::len).collect() };
        assert_eq!(lengths(&[&long]), [LONGEST, LONGEST, 5]);
        let chunks: Vec<&[u8]> = long.chunks(1000).collect();
        assert_eq!(lengths(&chunks), [LONGEST, LONGEST, 5]);
    }

    #[tokio::test]
    async fn who_does_not_read_loses_lines_and_is_told_how_many() {
        let (sender, mut lines) = lines();
        let teller = Teller::new("web", sender);
        for number in 0..WAITING + 10 {
            teller.tell(Stream::Output, number.to_string().as_bytes());
        }
        for _ in 0..WAITING {
            assert_eq!(lines.next().await.unwrap().lost, 0);
        }
        teller.tell(Stream::Error, b"last");
        drop(teller);
        let last = lines.next().await.unwrap();
        assert_eq!((last.text.as_str(), last.lost, last.stream), ("last", 10, Stream::Error));
        assert_eq!(lines.next().await, None);
    }
}
