//! The program's three standard streams.

use crate::{Meter, MeteredReader};
use std::io;
use std::sync::Arc;

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

/// Where all three go, and what else a program is given.
#[derive(Debug, Default)]
pub struct StdioSet {
    /// Open files that it has as descriptors from 3 on. None of them may be a directory.
    pub passed: Vec<std::fs::File>,
    /// Open files that it doesn't have, but whoever takes it over next ([`crate::Adopted::kept`]): no more than
    /// [`crate::MOST_KEPT`], by their places. Nothing of them where it doesn't outlive its starter.
    pub kept: Vec<Option<std::fs::File>>,
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
        Self { stdin: Stdio::Piped, stdout: Stdio::Piped, stderr: Stdio::Piped, ..Self::default() }
    }
}

/// The caller's side of a program's terminal: what is written arrives as typed, what the program prints can be read.
#[derive(Debug)]
pub struct Terminal {
    side: std::fs::File,
    meter: Option<Arc<Meter>>,
}

impl Terminal {
    /// Takes the controlling side of a terminal pair.
    #[cfg(target_os = "linux")]
    pub(crate) fn new(side: std::os::fd::OwnedFd) -> Self {
        Self { side: side.into(), meter: None }
    }

    /// Counts what the program prints from here on.
    pub fn meter(&mut self, meter: Arc<Meter>) {
        self.meter = Some(meter);
    }

    /// What the program prints.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn reader(&self) -> io::Result<MeteredReader> {
        Ok(MeteredReader { file: self.side.try_clone()?, meter: self.meter.clone() })
    }

    /// Where what is typed goes.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn writer(&self) -> io::Result<std::fs::File> {
        self.side.try_clone()
    }

    /// Tells the program's terminal its size.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        #[cfg(unix)]
        {
            let size = rustix::termios::Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            Ok(rustix::termios::tcsetwinsize(&self.side, size)?)
        }
        #[cfg(not(unix))]
        {
            let _no_terminal = (rows, columns);
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
