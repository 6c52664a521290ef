//! Reading an audit log again: whether every line fits those before it.

use super::{FIRST, LONGEST, before_of, digest};
use serde::Serialize;
use std::io::{BufRead, BufReader, Read, Result};

/// What was found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verified {
    /// Whole lines that fit.
    pub lines: u64,
    /// Numbers of lines whose writing was interrupted.
    pub interrupted: Vec<u64>,
    /// The digest of the last line: kept elsewhere, it shows later whether the log only grew.
    pub last: Option<String>,
    /// The first line that doesn't fit; nothing behind it was looked at.
    pub unfit: Option<Unfit>,
}

/// A line that doesn't fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unfit {
    /// Its number.
    pub line: u64,
    /// What is wrong.
    pub reason: &'static str,
}

/// Reads a log from its start.
///
/// # Errors
/// When it can't be read.
pub fn verify(log: impl Read) -> Result<Verified> {
    let mut log = BufReader::new(log);
    let mut found = Verified::default();
    // The last whole line and the pieces behind it.
    let mut before: Vec<u8> = Vec::new();
    let mut pieces: Vec<u64> = Vec::new();
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        if (&mut log).take(LONGEST + 1).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        number += 1;
        let ended = line.pop_if(|byte| *byte == b'\n').is_some();
        let unfit = |line, reason| Some(Unfit { line, reason });
        if line.len() as u64 > LONGEST {
            found.unfit = unfit(number, "is too long for one");
            return Ok(found);
        }
        // A line that lacks only its end is whole to the next writer too, who ends it.
        let Some(said) = before_of(&line) else {
            if number > 1 {
                before.push(b'\n');
            }
            before.extend_from_slice(&line);
            pieces.push(number);
            if !ended {
                break;
            }
            continue;
        };
        let wanted = if number == 1 { FIRST.to_owned() } else { digest(&before) };
        if said != wanted {
            // A piece may be a line that was changed.
            let line = pieces.first().copied().unwrap_or(number);
            let reason = match line {
                1 => "is not the first that was written, or was changed",
                _ => {
                    "doesn't fit the one before it: one of them was changed, or lines between them are gone"
                }
            };
            found.unfit = unfit(line, reason);
            return Ok(found);
        }
        found.interrupted.append(&mut pieces);
        found.lines += 1;
        before = line;
    }
    found.interrupted.append(&mut pieces);
    found.last = (number > 0).then(|| digest(&before));
    Ok(found)
}
