//! Output as lines, for people who look on.

use crate::logs::Stream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Lines that nobody has read yet; above, they are counted and thrown away.
const WAITING: usize = 4096;

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

#[cfg(test)]
mod tests {
    use super::*;

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
