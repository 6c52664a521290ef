//! The caller's terminal joined to the program's.

use crate::error::Error;
use crate::output::pass_on;
use crate::platform::Terminal;
use crate::platform::console::{self, RawConsole};
use std::io::{Read, Write};
use std::thread::{Builder, JoinHandle};

/// Keys go in, the screen comes out, until the program's side is gone.
pub(super) struct Session {
    terminal: Terminal,
    console: Option<RawConsole>,
    screen: JoinHandle<()>,
}

impl Session {
    /// Joins the two.
    ///
    /// # Errors
    /// When the caller's terminal refuses raw mode.
    pub(super) fn start(terminal: Terminal) -> Result<Self, Error> {
        let failed = |error| Error::io("failed to set up the terminal", error);
        let (reader, writer) = (terminal.reader(), terminal.writer());
        let (reader, writer) = (reader.map_err(failed)?, writer.map_err(failed)?);
        let console = RawConsole::enter().map_err(failed)?;
        // Never joined: it may wait for a key when everything else is over.
        Builder::new()
            .name("keys".into())
            .spawn(|| copy(std::io::stdin(), writer))
            .map_err(failed)?;
        let screen = Builder::new().name("screen".into()).spawn(|| copy(reader, std::io::stdout()));
        let session = Self { terminal, console, screen: screen.map_err(failed)? };
        session.resize();
        Ok(session)
    }

    /// Passes the size of the caller's terminal on.
    pub(super) fn resize(&self) {
        if let Some((rows, columns)) = console::size() {
            // The program may just have ended and taken its terminal along.
            self.terminal.resize(rows, columns).unwrap_or(());
        }
    }

    /// Gives the caller's terminal back for a while.
    pub(super) fn suspend(&mut self) {
        self.console = None;
    }

    /// Takes it again.
    ///
    /// # Errors
    /// When the caller's terminal refuses raw mode.
    pub(super) fn resume(&mut self) -> Result<(), Error> {
        let console = RawConsole::enter();
        self.console =
            console.map_err(|error| Error::io("failed to set up the terminal", error))?;
        self.resize();
        Ok(())
    }

    /// Prints what is left, and gives the terminal back for good.
    pub(super) fn finish(self) {
        // It ends when nobody holds the program's side any more; a panic there has printed itself.
        self.screen.join().unwrap_or(());
    }
}

/// Copies until either side ends.
fn copy(from: impl Read, mut to: impl Write) {
    pass_on(from, |bytes| to.write_all(bytes).and_then(|()| to.flush()));
}
