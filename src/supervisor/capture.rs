//! The last of what a program wrote, however much that was.

use super::lifecycle::Generation;
use super::lines::Teller;
use super::said::Said;
use crate::logs::{Cutter, InstanceLog, Listener, Piece, Stream};
use crate::platform::OutputPipe;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

/// The last of what a program wrote, over all its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Captured {
    /// To its standard output and its standard error, as it came.
    pub bytes: Vec<u8>,
    /// Bytes before those, which weren't kept.
    pub lost: u64,
}

/// A stream that is being read.
#[derive(Debug)]
pub(super) struct TakenIn(oneshot::Receiver<Infallible>);

impl TakenIn {
    /// Returns when it has been read to its end.
    pub(super) async fn wait(self) {
        // Nothing is ever sent: whoever reads drops the other end.
        let Err(_over) = self.0.await;
    }
}

/// Where both streams of all runs go. A program is never held up, and whatever it writes, no more than `most` is kept.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    most: usize,
    kept: Arc<Mutex<Kept>>,
    /// Who is told of lines.
    teller: Option<Teller>,
    /// Where they are kept.
    log: Option<InstanceLog>,
    /// Where it is noted what they say of a run.
    said: Option<Said>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    lost: u64,
}

impl Capture {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: Arc::default(), teller: None, log: None, said: None }
    }

    /// The same, with somebody to tell of lines.
    pub(super) fn telling(self, teller: Teller) -> Self {
        Self { teller: Some(teller), ..self }
    }

    /// The same, with lines kept where this process's end doesn't reach.
    pub(super) fn logged(self, log: Option<InstanceLog>) -> Self {
        Self { log, ..self }
    }

    /// The same, for streams whose lines are a run's own word.
    pub(super) fn heard_by(&self, said: &Said) -> Self {
        Self { said: Some(said.clone()), ..self.clone() }
    }

    pub(super) fn log(&self) -> Option<&InstanceLog> {
        self.log.as_ref()
    }

    /// Reads a stream of a run to its end, by itself: from its beginning, or where a process before this one stopped.
    /// What comes back does so when that is done, and at once where there is none.
    pub(super) fn attach(
        &self,
        stream: Stream,
        generation: Generation,
        pipe: Option<OutputPipe>,
    ) -> TakenIn {
        let (busy, taken_in) = oneshot::channel();
        let taken_in = TakenIn(taken_in);
        let Some(mut pipe) = pipe else { return taken_in };
        let mut listening = Listening { capture: self.clone(), stream };
        if let Some(log) = &self.log {
            // It fails only where the stream is at its end, or its reader: then the program hears of that.
            log.attach(stream, generation.0, pipe, Some(Box::new(listening)), busy).unwrap_or(());
            return taken_in;
        }
        tokio::spawn(async move {
            let _busy = busy;
            let (mut chunk, mut cutter) = ([0; 8192], Cutter::default());
            // A stream that can't be read any more is at its end: the other side is a pipe of our own.
            while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
                listening.bytes(&chunk[..length]);
                cutter.add(&chunk[..length], |piece: Piece<'_>| listening.line(piece.text));
            }
            cutter.end(|piece| listening.line(piece.text));
        });
        taken_in
    }

    fn add(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        kept.bytes.extend(bytes);
        let over = kept.bytes.len().saturating_sub(self.most);
        kept.bytes.drain(..over);
        kept.lost += u64::try_from(over).unwrap_or(u64::MAX);
    }

    pub(super) fn captured(&self) -> Captured {
        let kept = self.kept();
        Captured { bytes: kept.bytes.iter().copied().collect(), lost: kept.lost }
    }

    /// A poisoned lock only means that a thread panicked while it added; what is there is whole.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream, on its way to those who want to know of it at once.
struct Listening {
    capture: Capture,
    stream: Stream,
}

impl Listener for Listening {
    fn bytes(&mut self, bytes: &[u8]) {
        self.capture.add(bytes);
    }

    fn line(&mut self, line: &[u8]) {
        if let Some(teller) = &self.capture.teller {
            teller.tell(self.stream, line);
        }
        if let Some(said) = &self.capture.said {
            said.line(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_is_kept_and_the_rest_is_counted() {
        let capture = Capture::new(5);
        capture.add(b"abc");
        assert_eq!(capture.captured(), Captured { bytes: b"abc".to_vec(), lost: 0 });
        capture.add(b"defg");
        assert_eq!(capture.captured(), Captured { bytes: b"cdefg".to_vec(), lost: 2 });
        capture.add(b"0123456789");
        assert_eq!(capture.captured(), Captured { bytes: b"56789".to_vec(), lost: 12 });
    }
}
