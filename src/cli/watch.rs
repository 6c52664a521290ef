//! `run --watch`: one line of bars at the bottom of the terminal, below what the program writes.
//!
//! Where the program's streams are that terminal too, they come through one pipe, so that their order stays, the line is
//! taken away before a byte of the program's is shown, and put back after a whole line of it; else they are its own.

use super::top::figures::Figures;
use super::top::model::Model;
use super::top::screen::brief;
use crate::error::Error;
use crate::output::pass_on;
use crate::platform::{OwnedFile, Stdio, console, own_stderr};
use crate::sandbox::{Sandbox, SandboxBuilder};
use std::fs::File;
use std::io::{IsTerminal, PipeReader, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Time between two looks.
pub(super) const PERIOD: Duration = Duration::from_millis(500);

/// Takes the line away: to its start, and clear to its end (ECMA-48, `EL`).
const CLEAR: &[u8] = b"\r\x1b[2K";

/// The terminal at standard error, which the bars and the program share.
struct Bottom {
    terminal: File,
    line: String,
    /// Whether the cursor stands behind something of the program's, where no line of ours may begin.
    amid: bool,
}

/// The bars of one run.
pub(super) struct Watch {
    bottom: Arc<Mutex<Bottom>>,
    model: Model,
    copying: JoinHandle<()>,
}

impl Watch {
    /// Takes the terminal in, and has the streams of a sandbox that would go there come through here.
    ///
    /// # Errors
    /// When standard error is no terminal, or the system refuses.
    pub(super) fn new(builder: SandboxBuilder) -> Result<(Self, SandboxBuilder), Error> {
        if !std::io::stderr().is_terminal() {
            let hint = "`stockade top`, in another terminal, shows the same";
            return Err(Error::asked("`--watch` needs a terminal at standard error", hint));
        }
        let failed = |error| Error::io("failed to take in the terminal", error);
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let writer = File::from(OwnedFile::from(writer));
        let mut builder = builder;
        if std::io::stdout().is_terminal() {
            builder = builder.stdout(Stdio::File(writer.try_clone().map_err(failed)?));
        }
        builder = builder.stderr(Stdio::File(writer));
        let bottom =
            Bottom { terminal: own_stderr().map_err(failed)?, line: String::new(), amid: false };
        let bottom = Arc::new(Mutex::new(bottom));
        let shared = bottom.clone();
        let copying = Builder::new().name("output".into()).spawn(move || copy(reader, &shared));
        let copying = copying.map_err(failed)?;
        Ok((Self { bottom, model: Model::default(), copying }, builder))
    }

    /// Looks at the sandbox, and shows what it uses.
    ///
    /// # Errors
    /// When a source that the platform has can't be read.
    pub(super) fn look(&mut self, sandbox: &mut Sandbox) -> Result<(), Error> {
        let status = sandbox.status(false)?;
        let failed = |error: serde_json::Error| Error::io("failed to show its use", error.into());
        let status = serde_json::to_value(&status).map_err(failed)?;
        self.model.take(vec![Figures::new(&status)]);
        let line = self.model.rows().first().map(brief).unwrap_or_default();
        let width = console::size().map_or(80, |(_, columns)| usize::from(columns));
        // A line as wide as the terminal would go on in the next one.
        let line = line.chars().take(width.saturating_sub(1)).collect();
        let mut bottom = self.bottom.lock().unwrap_or_else(PoisonError::into_inner);
        bottom.line = line;
        // A terminal that went away needs no bars.
        bottom.show().unwrap_or(());
        Ok(())
    }

    /// Takes the line away, when all that was written is shown.
    pub(super) fn finish(self) {
        // A panic there has printed itself.
        self.copying.join().unwrap_or(());
        let mut bottom = self.bottom.lock().unwrap_or_else(PoisonError::into_inner);
        bottom.line.clear();
        bottom.show().unwrap_or(());
    }
}

impl Bottom {
    /// Puts the line where it belongs, unless something of the program's stands there.
    fn show(&mut self) -> std::io::Result<()> {
        if self.amid {
            return Ok(());
        }
        self.terminal.write_all(&[CLEAR, self.line.as_bytes()].concat())
    }

    /// Shows bytes of the program, with the line taken away before and put back behind whole lines.
    fn pass(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if !self.amid {
            self.terminal.write_all(CLEAR)?;
        }
        self.terminal.write_all(bytes)?;
        self.amid = bytes.last() != Some(&b'\n');
        self.show()
    }
}

/// Passes on what the program writes, to its end. When the terminal has gone away, the program is to see its pipe closed.
fn copy(from: PipeReader, bottom: &Mutex<Bottom>) {
    pass_on(from, |bytes| bottom.lock().unwrap_or_else(PoisonError::into_inner).pass(bytes));
}
