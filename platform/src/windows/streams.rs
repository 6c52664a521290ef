//! Open files and local connections. A connection is a named pipe; what Windows has no like of can't be made.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::windows::named_pipe::{NamedPipeClient, NamedPipeServer};

/// An open file or pipe, whatever it is of.
pub type OwnedFile = std::os::windows::io::OwnedHandle;
/// The half of a connection from which is read.
pub type LocalReader = ReadHalf<LocalStream>;
/// The half of one to which is written.
pub type LocalWriter = WriteHalf<LocalStream>;

/// What can't be done on Windows, in words.
pub(crate) fn unsupported<T>(what: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, format!("{what} on Windows")))
}

/// Reading and writing a file at a place in it.
pub trait Positioned {
    /// Reads what is there; 0 is the end.
    ///
    /// # Errors
    /// When the system refuses.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills the whole buffer.
    ///
    /// # Errors
    /// When the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of it.
    ///
    /// # Errors
    /// When the system refuses.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

impl Positioned for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.seek_read(buffer, offset)
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let count = match self.seek_read(buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => count,
            };
            buffer = buffer.get_mut(count..).unwrap_or_default();
            offset += count as u64;
        }
        Ok(())
    }

    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = match self.seek_write(bytes, offset)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => count,
            };
            bytes = bytes.get(count..).unwrap_or_default();
            offset += count as u64;
        }
        Ok(())
    }
}

/// A connection to a process of this host that a runtime watches.
#[derive(Debug)]
pub struct LocalStream(Pipe);

#[derive(Debug)]
enum Pipe {
    Served(NamedPipeServer),
    Called(NamedPipeClient),
}

impl LocalStream {
    pub(crate) fn served(pipe: NamedPipeServer) -> Self {
        Self(Pipe::Served(pipe))
    }

    /// The same connection, watched by the runtime in which this is called.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn from_std(stream: BlockingStream) -> io::Result<Self> {
        use std::os::windows::io::{IntoRawHandle, OwnedHandle};
        let raw = OwnedHandle::from(stream.0).into_raw_handle();
        // SAFETY: the handle was owned here alone, and is the pipe's from now on.
        unsafe { NamedPipeClient::from_raw_handle(raw) }.map(|pipe| Self(Pipe::Called(pipe)))
    }

    /// Both halves, for two tasks.
    pub fn into_split(self) -> (LocalReader, LocalWriter) {
        tokio::io::split(self)
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// Always: a pipe lets in by its access list, and tells no user.
    pub fn peer_cred(&self) -> io::Result<Peer> {
        unsupported("the user at the other end of a connection can't be told")
    }
}

/// Who is at the other end of a connection. Nobody is known.
#[derive(Clone, Copy, Debug)]
pub struct Peer(Infallible);

impl Peer {
    /// The user's number.
    pub fn uid(&self) -> u32 {
        match self.0 {}
    }

    /// The group's number.
    pub fn gid(&self) -> u32 {
        match self.0 {}
    }

    /// The process's number.
    pub fn pid(&self) -> Option<i32> {
        match self.0 {}
    }
}

impl AsyncRead for LocalStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match &mut self.0 {
            Pipe::Served(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            Pipe::Called(pipe) => Pin::new(pipe).poll_read(cx, buffer),
        };
        // Where the other end was closed, Windows says so by an error.
        match read {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Pipe::Served(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            Pipe::Called(pipe) => Pin::new(pipe).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Pipe::Served(pipe) => Pin::new(pipe).poll_flush(cx),
            Pipe::Called(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Pipe::Served(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Pipe::Called(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}

/// A connection to a process of this host that its thread waits for. A pipe knows no time limit: what is set is without effect.
#[derive(Debug)]
pub struct BlockingStream(File);

impl BlockingStream {
    /// Connects to the pipe of this name.
    pub(crate) fn open(name: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).open(name).map(Self)
    }

    /// How long a read may take, where the system has such a limit.
    ///
    /// # Errors
    /// Never.
    pub fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    /// How long a write may take, where the system has such a limit.
    ///
    /// # Errors
    /// Never.
    pub fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    /// Whether it is to be watched by a runtime.
    ///
    /// # Errors
    /// When it is: a pipe is opened for the one or the other.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match nonblocking {
            true => unsupported("a connection can't be handed to a runtime"),
            false => Ok(()),
        }
    }
}

impl Read for BlockingStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            // Where the other end was closed, Windows says so by an error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            other => other,
        }
    }
}

impl Write for BlockingStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Waits for processes of this host that connect. There is none: the daemon listens on TCP with TLS.
#[derive(Debug)]
pub struct LocalListener(pub(crate) Infallible);

impl LocalListener {
    /// The next one.
    ///
    /// # Errors
    /// As accept(2), where there is one.
    pub async fn accept(&self) -> io::Result<(LocalStream, ())> {
        match self.0 {}
    }
}

/// A socket for single messages to a process of this host. There is none.
#[derive(Debug)]
pub struct LocalDatagram(pub(crate) Infallible);

impl LocalDatagram {
    /// One that isn't connected yet.
    ///
    /// # Errors
    /// Always.
    pub fn unbound() -> io::Result<Self> {
        unsupported("there are no local sockets for messages")
    }

    /// Connects it.
    ///
    /// # Errors
    /// As connect(2), where there is one.
    pub fn connect(&self, _: impl AsRef<Path>) -> io::Result<()> {
        match self.0 {}
    }

    /// Sends a message.
    ///
    /// # Errors
    /// As send(2), where there is one.
    pub async fn send(&self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }
}
