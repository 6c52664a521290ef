//! The caller's ends of a program's streams, and this process's own.

use crate::Meter;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

/// Writes to the program's standard input; dropping it closes the stream.
#[derive(Debug)]
pub struct InputPipe(Sender);

/// Reads the program's standard output or error until every writer of the tree is gone, or more was written than may be.
#[derive(Debug)]
pub struct OutputPipe {
    end: Receiver,
    meter: Option<Arc<Meter>>,
}

impl OutputPipe {
    /// The same stream, counted, and at its end where the count is over.
    #[must_use]
    pub fn metered(mut self, meter: Arc<Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The same stream for a thread that may wait, counted as before.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn into_reader(self) -> io::Result<MeteredReader> {
        let file = self.end.into_blocking_fd()?.into();
        Ok(MeteredReader { file, meter: self.meter })
    }
}

/// A stream that no runtime watches, on its way to the thread of another one.
#[derive(Debug)]
pub struct DetachedPipe {
    end: std::os::fd::OwnedFd,
    meter: Option<Arc<Meter>>,
}

impl DetachedPipe {
    /// The same stream, watched by the runtime in which this is called.
    ///
    /// # Errors
    /// When it can't be registered there.
    pub fn watch(self) -> io::Result<OutputPipe> {
        Ok(OutputPipe { end: Receiver::from_owned_fd(self.end)?, meter: self.meter })
    }
}

impl OutputPipe {
    /// The same stream for another runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn detach(self) -> io::Result<DetachedPipe> {
        Ok(DetachedPipe { end: self.end.into_nonblocking_fd()?, meter: self.meter })
    }

    /// Waits until something is there, or the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn readable(&self) -> io::Result<()> {
        self.end.readable().await
    }

    /// Takes what is there, without waiting; 0 is the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there, else as read(2).
    pub fn try_take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.pass(self.end.try_read(buffer)?))
    }

    /// Moves what is there, at most `most` bytes, to the end of a file, which is at `offset`; 0 is the end of the stream. It is one
    /// system call (splice(2)) that takes from the pipe what it has written and nothing else: whoever is killed meanwhile finds each
    /// byte either in the file, as far as that reaches now, or still in the pipe.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there; [`io::ErrorKind::InvalidInput`] where the file's file system can't do this;
    /// else as write(2), with nothing lost.
    #[cfg(target_os = "linux")]
    pub fn try_move(&self, file: &std::fs::File, offset: u64, most: usize) -> io::Result<usize> {
        use rustix::pipe::{SpliceFlags, splice};
        let moved = self.end.try_io(|| {
            let mut at = offset;
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(splice(&self.end, None, file, Some(&mut at), most, flags)?)
        })?;
        let passed = self.pass(moved);
        if passed < moved {
            // What was written beyond the limit isn't passed on.
            file.set_len(offset + u64::try_from(passed).unwrap_or(0))?;
        }
        Ok(passed)
    }

    /// Where there is no such system call, everything is read.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn try_move(&self, _: &std::fs::File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::InvalidInput.into())
    }

    fn pass(&self, bytes: usize) -> usize {
        self.meter.as_ref().map_or(bytes, |meter| meter.take(bytes))
    }
}

/// Reads what a program writes, as far as it may.
#[derive(Debug)]
pub struct MeteredReader {
    pub(crate) file: std::fs::File,
    pub(crate) meter: Option<Arc<Meter>>,
}

impl Read for MeteredReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        Ok(self.meter.as_ref().map_or(count, |meter| meter.take(count)))
    }
}

impl InputPipe {
    /// Takes the writing end of a pipe.
    ///
    /// # Errors
    /// When it can't be registered with the running tokio runtime.
    pub(crate) fn new(end: std::io::PipeWriter) -> io::Result<Self> {
        Sender::from_owned_fd(end.into()).map(Self)
    }
}

impl OutputPipe {
    /// Takes the reading end of a pipe.
    ///
    /// # Errors
    /// When it can't be registered with the running tokio runtime.
    pub fn new(end: std::io::PipeReader) -> io::Result<Self> {
        Ok(Self { end: Receiver::from_owned_fd(end.into())?, meter: None })
    }
}

impl AsyncWrite for InputPipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncRead for OutputPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.end).poll_read(cx, buf))?;
        if let Some(meter) = &self.meter {
            let passed = meter.take(buf.filled().len() - before);
            buf.set_filled(before + passed);
        }
        Poll::Ready(Ok(()))
    }
}

/// This process's own standard output, as a file that outlives [`leave_streams_to_program`].
///
/// # Errors
/// When it is closed, or the system has no descriptors left.
pub fn own_stdout() -> io::Result<std::fs::File> {
    Ok(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?.into())
}

/// The same of its standard error.
///
/// # Errors
/// As [`own_stdout`].
pub fn own_stderr() -> io::Result<std::fs::File> {
    Ok(rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3)?.into())
}

/// Lets go of this process's own standard input and output, which a started program has inherited: so that whoever
/// stands at the other end sees the program close them, also while the program goes on. Both are `/dev/null` from then
/// on; where the platform passes no descriptors on, nothing happens.
///
/// # Errors
/// When `/dev/null` can't be opened.
pub fn leave_streams_to_program() -> io::Result<()> {
    let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(())
}
