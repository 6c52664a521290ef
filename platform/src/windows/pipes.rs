//! The caller's ends of a program's streams, and this process's own.
//!
//! An anonymous pipe can't be watched here: whoever reads it waits. So a stream that a runtime is to watch has a thread that reads it
//! ahead, a few pieces at most, and ends when nobody takes them or nobody writes any more.

use crate::Meter;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// How many pieces are read ahead, of how many bytes.
const AHEAD: usize = 4;
const PIECE: usize = 16 << 10;

/// Writes to the program's standard input; dropping it closes the stream.
#[derive(Debug)]
pub struct InputPipe(tokio::fs::File);

/// Reads the program's standard output or error until every writer of the tree is gone, or more was written than may be.
#[derive(Debug)]
pub struct OutputPipe {
    end: PipeReader,
    meter: Option<Arc<Meter>>,
    /// Who reads ahead, from when somebody first wants it watched.
    ahead: OnceLock<Mutex<Ahead>>,
}

/// What was read and isn't taken yet.
#[derive(Debug)]
struct Ahead {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    /// Bytes of it that are taken.
    taken: usize,
}

impl Ahead {
    fn start(mut end: PipeReader) -> io::Result<Self> {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let read = move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = end.read(&mut piece).map(|count| piece.truncate(count));
                let is_last = read.is_err() || piece.is_empty();
                if sender.blocking_send(read.map(|()| piece)).is_err() || is_last {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("stockade-read".into()).spawn(read)?;
        Ok(Self { pieces, piece: Vec::new(), taken: 0 })
    }

    /// Ready when something is there, or the end.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken >= self.piece.len() {
            match std::task::ready!(self.pieces.poll_recv(cx)) {
                Some(Ok(piece)) if !piece.is_empty() => (self.piece, self.taken) = (piece, 0),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(_)) | None => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what is there.
    fn take(&mut self, most: usize) -> &[u8] {
        let rest = self.piece.get(self.taken..).unwrap_or_default();
        let taken = rest.get(..most.min(rest.len())).unwrap_or_default();
        self.taken += taken.len();
        taken
    }
}

impl OutputPipe {
    /// Takes the reading end of a pipe.
    ///
    /// # Errors
    /// Never, here.
    pub fn new(end: PipeReader) -> io::Result<Self> {
        Ok(Self { end, meter: None, ahead: OnceLock::new() })
    }

    /// The same stream, counted, and at its end where the count is over.
    #[must_use]
    pub fn metered(mut self, meter: Arc<Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The same stream for a thread that may wait, counted as before.
    ///
    /// # Errors
    /// When it was watched before: what was read ahead would be lost.
    pub fn into_reader(self) -> io::Result<MeteredReader> {
        match self.ahead.get() {
            Some(_) => Err(io::ErrorKind::InvalidInput.into()),
            None => {
                Ok(MeteredReader { file: OwnedHandle::from(self.end).into(), meter: self.meter })
            }
        }
    }

    /// The same stream for another runtime.
    ///
    /// # Errors
    /// Never, here.
    pub fn detach(self) -> io::Result<DetachedPipe> {
        Ok(DetachedPipe(self))
    }

    /// Waits until something is there, or the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the stream can't be read.
    pub async fn readable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.ahead()?.poll_ready(cx)).await
    }

    /// Takes what is there, without waiting; 0 is the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there, else when the stream can't be read.
    pub fn try_take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ahead = self.ahead()?;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match ahead.poll_ready(&mut cx) {
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            Poll::Ready(ready) => ready?,
        }
        let taken = ahead.take(buffer.len());
        buffer.get_mut(..taken.len()).unwrap_or_default().copy_from_slice(taken);
        Ok(self.pass(taken.len()))
    }

    /// Where there is no such system call, everything is read.
    ///
    /// # Errors
    /// Always.
    pub fn try_move(&self, _: &File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::InvalidInput.into())
    }

    /// Who reads ahead. A poisoned lock only means that a thread panicked; what is there is whole.
    fn ahead(&self) -> io::Result<MutexGuard<'_, Ahead>> {
        let ahead = match self.ahead.get() {
            Some(ahead) => ahead,
            None => {
                // Whoever comes second drops an end of its own, and reads nothing of it.
                let started = Mutex::new(Ahead::start(self.end.try_clone()?)?);
                self.ahead.get_or_init(|| started)
            }
        };
        Ok(ahead.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pass(&self, bytes: usize) -> usize {
        self.meter.as_ref().map_or(bytes, |meter| meter.take(bytes))
    }
}

impl AsyncRead for OutputPipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = {
            let mut ahead = self.ahead()?;
            std::task::ready!(ahead.poll_ready(cx))?;
            let taken = ahead.take(buffer.remaining());
            buffer.put_slice(taken);
            taken.len()
        };
        let before = buffer.filled().len() - count;
        buffer.set_filled(before + self.pass(count));
        Poll::Ready(Ok(()))
    }
}

/// A stream on its way to the thread of another runtime.
#[derive(Debug)]
pub struct DetachedPipe(OutputPipe);

impl DetachedPipe {
    /// The same stream, watched by the runtime in which this is called.
    ///
    /// # Errors
    /// Never, here.
    pub fn watch(self) -> io::Result<OutputPipe> {
        Ok(self.0)
    }
}

/// Reads what a program writes, as far as it may.
#[derive(Debug)]
pub struct MeteredReader {
    pub(crate) file: File,
    pub(crate) meter: Option<Arc<Meter>>,
}

impl Read for MeteredReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.file.read(buffer) {
            // Where the last writer is gone, Windows says so by an error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            other => other?,
        };
        Ok(self.meter.as_ref().map_or(count, |meter| meter.take(count)))
    }
}

impl InputPipe {
    /// Takes the writing end of a pipe.
    pub fn new(end: std::io::PipeWriter) -> Self {
        Self(tokio::fs::File::from_std(OwnedHandle::from(end).into()))
    }
}

impl AsyncWrite for InputPipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// This process's own standard output, as a file.
///
/// # Errors
/// When it is closed, or the system refuses another handle.
pub fn own_stdout() -> io::Result<File> {
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}

/// The same of its standard error.
///
/// # Errors
/// As [`own_stdout`].
pub fn own_stderr() -> io::Result<File> {
    Ok(io::stderr().as_handle().try_clone_to_owned()?.into())
}

/// Lets go of this process's own standard input and output: a program has handles of its own here, and nothing is done.
///
/// # Errors
/// Never.
pub fn leave_streams_to_program() -> io::Result<()> {
    Ok(())
}
