//! The only place that prints.

use super::FAILED;
use crate::error::Error;
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Prints a result to standard output. A reader that went away is no error: it has seen enough.
///
/// # Errors
/// When writing fails otherwise.
pub(crate) fn result(text: impl Display) -> Result<(), Error> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("failed to write to standard output", error))
        }
        _ => Ok(()),
    }
}

/// Prints one of many lines to standard output; `false` when its reader went away, so that no more are wanted.
///
/// # Errors
/// When writing fails otherwise.
pub(crate) fn line(text: impl Display) -> Result<bool, Error> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::io("failed to write to standard output", error)),
    }
}

/// A text that a program chose, safe for a terminal: control characters are shown as `?`.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A line that a program wrote, for standard output: a file gets it as it is, a terminal nothing that it would obey.
pub(crate) fn written(text: &str) -> Cow<'_, str> {
    match std::io::stdout().is_terminal() {
        true => Cow::Owned(tamed(text, has_colours())),
        false => Cow::Borrowed(text),
    }
}

/// Whether standard output is to have colours.
pub(crate) fn has_colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !unwanted
}

/// Control characters become `?`, but for tabs and colours: these end with the line.
fn tamed(text: &str, colours: bool) -> String {
    let (mut shown, mut rest, mut coloured) = (String::with_capacity(text.len()), text, false);
    while let Some(c) = rest.chars().next() {
        let length = if let Some(length) = colour(rest) {
            if colours {
                shown.extend(rest.get(..length));
                coloured = true;
            }
            length
        } else {
            shown.push(if c.is_control() && c != '\t' { '?' } else { c });
            c.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    if coloured {
        shown.push_str("\x1b[0m");
    }
    shown
}

/// How long the colour is that a text begins with (ECMA-48, `SGR`), in bytes.
fn colour(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix("\x1b[")?;
    let end = numbers.find(|c: char| !c.is_ascii_digit() && !matches!(c, ';' | ':'))?;
    numbers.get(end..)?.starts_with('m').then_some("\x1b[".len() + end + "m".len())
}

/// Prints a remark to standard error.
pub(crate) fn note(text: impl Display) {
    // There is nowhere else to tell that standard error is gone.
    writeln!(std::io::stderr().lock(), "{text}").unwrap_or(());
}

/// Whether somebody can be asked: who reads what is asked, and types an answer.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && is_watched()
}

/// Asks, and tells whether the answer was yes. Everything else is no.
///
/// # Errors
/// When the answer can't be read.
pub(crate) fn ask(question: impl Display) -> Result<bool, Error> {
    let mut line = String::new();
    let mut screen = std::io::stderr().lock();
    // There is nowhere else to tell that standard error is gone; the answer is no then.
    write!(screen, "{question} [y/N] ").and_then(|()| screen.flush()).unwrap_or(());
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| Error::io("failed to read the answer", error))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// The directory in which the command was started.
///
/// # Errors
/// When it is gone.
pub(crate) fn current_directory() -> Result<PathBuf, Error> {
    std::env::current_dir()
        .map_err(|error| Error::io("failed to find the working directory", error))
}

/// Whether remarks are wanted by somebody who looks.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Prints an error with its causes and its remedy, and gives the exit code for it.
pub(crate) fn failure(error: &Error) -> u8 {
    for message in error.messages(is_watched()) {
        note(format_args!("error: {message}"));
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        note(format_args!("caused by: {cause}"));
        source = cause.source();
    }
    if let Some(hint) = error.hint() {
        note("");
        for line in hint.lines() {
            note(format_args!("hint: {line}"));
        }
    }
    error.exit_status()
}

/// Prints what is wrong with a command line, or the help that was asked for.
pub(crate) fn usage(error: &clap::Error) -> u8 {
    error.print().unwrap_or(());
    if error.use_stderr() { FAILED } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_colours_and_nothing_else_that_it_would_obey() {
        let told = "\x1b[1;31mred\x1b[0m\tplain \x1b]0;title\x07 \x1b[2J\r\u{9b}5n \x1b[31";
        let shown = "\x1b[1;31mred\x1b[0m\tplain ?]0;title? ?[2J??5n ?[31\x1b[0m";
        assert_eq!(tamed(told, true), shown);
        assert_eq!(tamed(told, false), "red\tplain ?]0;title? ?[2J??5n ?[31");
        assert_eq!(tamed("só\u{1f980}", true), "só\u{1f980}");
        assert_eq!(tamed("\x1b[", true), "?[");
    }
}
