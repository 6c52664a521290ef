//! The caller's own terminal.

use std::io::{self, IsTerminal};

/// This process's terminal in raw mode: every key goes to the program. The old mode comes back when this is dropped.
#[derive(Debug)]
pub struct RawConsole {
    #[cfg(unix)]
    before: rustix::termios::Termios,
}

/// Rows and columns of the terminal at standard input, output or error; `None` when none of them is one.
pub fn size() -> Option<(u16, u16)> {
    #[cfg(unix)]
    {
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        [rustix::termios::tcgetwinsize(&input), rustix::termios::tcgetwinsize(&output)]
            .into_iter()
            .chain([rustix::termios::tcgetwinsize(&error)])
            .flatten()
            .map(|size| (size.ws_row, size.ws_col))
            .next()
    }
    #[cfg(windows)]
    {
        crate::windows::console_size()
    }
    #[cfg(not(any(unix, windows)))]
    {
        None
    }
}

/// Whether programs are sent signals here; else they can only be asked to end, or be ended.
pub const HAS_SIGNALS: bool = cfg!(unix);

/// Whether standard input is a terminal.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

impl RawConsole {
    /// Switches standard input to raw mode; `None` when it is no terminal.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn enter() -> io::Result<Option<Self>> {
        if !is_interactive() {
            return Ok(None);
        }
        #[cfg(unix)]
        {
            use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
            let before = tcgetattr(io::stdin())?;
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
            Ok(Some(Self { before }))
        }
        #[cfg(not(unix))]
        {
            Ok(None)
        }
    }
}

#[cfg(unix)]
impl Drop for RawConsole {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        // A terminal that went away needs no mode.
        tcsetattr(io::stdin(), OptionalActions::Drain, &self.before).unwrap_or(());
    }
}
