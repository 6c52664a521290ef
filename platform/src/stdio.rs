//! The program's three standard streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where one standard stream goes.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// The caller's own stream.
    #[default]
    Inherit,
    /// Nothing: end of file on reading, swallowed on writing.
    Null,
    /// A pipe to the caller.
    Piped,
    /// An open file of the caller's.
    File(std::fs::File),
}

/// Where all three go.
#[derive(Debug, Default)]
pub struct StdioSet {
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

impl StdioSet {
    /// All three are pipes.
    pub fn piped() -> Self {
        Self { stdin: Stdio::Piped, stdout: Stdio::Piped, stderr: Stdio::Piped }
    }
}

#[cfg(unix)]
mod system {
    pub(super) type Sender = tokio::net::unix::pipe::Sender;
    pub(super) type Receiver = tokio::net::unix::pipe::Receiver;
}

#[cfg(windows)]
mod system {
    pub(super) type Sender = tokio::fs::File;
    pub(super) type Receiver = tokio::fs::File;
}

/// Writes to the program's standard input; dropping it closes the stream.
#[derive(Debug)]
pub struct InputPipe(system::Sender);

/// Reads the program's standard output or error until every writer of the tree is gone.
#[derive(Debug)]
pub struct OutputPipe(system::Receiver);

#[cfg(unix)]
impl InputPipe {
    /// Takes the writing end of a pipe.
    ///
    /// # Errors
    /// When it can't be registered with the running tokio runtime.
    pub(crate) fn new(end: std::io::PipeWriter) -> io::Result<Self> {
        system::Sender::from_owned_fd(end.into()).map(Self)
    }
}

#[cfg(unix)]
impl OutputPipe {
    /// Takes the reading end of a pipe.
    ///
    /// # Errors
    /// When it can't be registered with the running tokio runtime.
    pub(crate) fn new(end: std::io::PipeReader) -> io::Result<Self> {
        system::Receiver::from_owned_fd(end.into()).map(Self)
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
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

/// The caller's side of a program's terminal: what is written arrives as typed, what the program prints can be read.
#[derive(Debug)]
pub struct Terminal(std::fs::File);

impl Terminal {
    /// Takes the controlling side of a terminal pair.
    #[cfg(unix)]
    pub(crate) fn new(side: std::os::fd::OwnedFd) -> Self {
        Self(side.into())
    }

    /// The side as a file, for reading and writing.
    pub fn file(&self) -> &std::fs::File {
        &self.0
    }

    /// Tells the program's terminal its size.
    ///
    /// # Errors
    /// When the terminal is gone.
    #[cfg(unix)]
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size =
            rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.0, size)?)
    }
}

/// Lets go of this process's own standard input and output, which a started program has inherited: so that whoever
/// stands at the other end sees the program close them, also while the program goes on. Both are `/dev/null` from then
/// on; where the platform passes no descriptors on, nothing happens.
///
/// # Errors
/// When `/dev/null` can't be opened.
pub fn leave_streams_to_program() -> io::Result<()> {
    #[cfg(unix)]
    {
        let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        rustix::stdio::dup2_stdout(&nothing)?;
    }
    Ok(())
}
