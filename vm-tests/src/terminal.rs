//! The only place of the host's programs that prints.

use std::fmt::Display;
use std::io::Write;

/// A line on stdout.
pub fn line(text: impl Display) {
    piece(format_args!("{text}\n"));
}

/// Text on stdout as it comes, seen at once. When nobody reads it any more there is nobody to tell.
pub fn piece(text: impl Display) {
    if cfg!(test) {
        // The harness catches only what `print!` prints, and a test's results aren't the run's.
        #[expect(clippy::print_stdout, reason = "not in the product")]
        {
            print!("{text}");
        }
        return;
    }
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{text}").and_then(|()| stdout.flush()).ok();
}

/// A line on stderr: about the run, not its result.
pub fn note(text: impl Display) {
    if cfg!(test) {
        #[expect(clippy::print_stderr, reason = "not in the product")]
        {
            eprintln!("{text}");
        }
        return;
    }
    writeln!(std::io::stderr().lock(), "{text}").ok();
}
