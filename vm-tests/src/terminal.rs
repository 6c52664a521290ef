//! The only place of the host's programs that prints.

use std::fmt::Display;
use std::io::Write;

/// A line on stdout. When nobody reads it any more there is nobody to tell.
pub fn line(text: impl Display) {
    writeln!(std::io::stdout().lock(), "{text}").ok();
}

/// Text on stdout as it comes, seen at once.
pub fn piece(text: impl Display) {
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{text}").and_then(|()| stdout.flush()).ok();
}

/// A line on stderr: about the run, not its result.
pub fn note(text: impl Display) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}
