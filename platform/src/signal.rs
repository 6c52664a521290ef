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

impl Signal {
    /// Its name as it can be parsed; none for those that have only a number.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(_, signal)| *signal == self).map(|(name, _)| *name)
    }
}

#[cfg(unix)]
impl Signal {
    /// Its number here (signal(7)).
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Hangup => libc::SIGHUP,
            Self::Interrupt => libc::SIGINT,
            Self::Quit => libc::SIGQUIT,
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
            Self::User1 => libc::SIGUSR1,
            Self::User2 => libc::SIGUSR2,
            Self::WindowChange => libc::SIGWINCH,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
            Self::Other(number) => number,
        }
    }
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

/// Names that people use, with or without `SIG` before them.
const NAMES: [(&str, Signal); 10] = [
    ("HUP", Signal::Hangup),
    ("INT", Signal::Interrupt),
    ("QUIT", Signal::Quit),
    ("TERM", Signal::Terminate),
    ("KILL", Signal::Kill),
    ("USR1", Signal::User1),
    ("USR2", Signal::User2),
    ("WINCH", Signal::WindowChange),
    ("STOP", Signal::Stop),
    ("CONT", Signal::Continue),
];

impl Signal {
    /// The names that people use, without `SIG`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

/// The text is no signal's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSignal;

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Signal::names().collect();
        write!(f, "is no signal (there are {})", names.join(", "))
    }
}

impl std::error::Error for UnknownSignal {}

impl std::str::FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, signal)| *signal).ok_or(UnknownSignal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names() {
        assert_eq!("SIGTERM".parse(), Ok(Signal::Terminate));
        assert_eq!("USR1".parse(), Ok(Signal::User1));
        assert_eq!("term".parse::<Signal>(), Err(UnknownSignal));
        assert!(UnknownSignal.to_string().starts_with("is no signal (there are HUP, "));
    }
}
