//! Signals by name, as a user means them.

use std::fmt;

/// What can be sent to a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// The terminal went away.
    Hangup,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-\.
    Quit,
    /// A polite request to end.
    Terminate,
    /// An unconditional end.
    Kill,
    /// First user-defined signal.
    User1,
    /// Second user-defined signal.
    User2,
    /// The terminal changed its size.
    WindowChange,
    /// Stop until continued.
    Stop,
    /// Go on after a stop.
    Continue,
    /// Any other, by the platform's number.
    Other(i32),
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hangup => f.write_str("hangup"),
            Self::Interrupt => f.write_str("interrupt"),
            Self::Quit => f.write_str("quit"),
            Self::Terminate => f.write_str("terminate"),
            Self::Kill => f.write_str("kill"),
            Self::User1 => f.write_str("user 1"),
            Self::User2 => f.write_str("user 2"),
            Self::WindowChange => f.write_str("window change"),
            Self::Stop => f.write_str("stop"),
            Self::Continue => f.write_str("continue"),
            Self::Other(number) => write!(f, "signal {number}"),
        }
    }
}
