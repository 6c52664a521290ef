//! How many descriptors this process may have, and what its programs get of that.
//!
//! The soft limit is low for the sake of programs that use select(2); who keeps many sandboxes needs more. What such a process
//! starts gets what was usual before.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::sync::OnceLock;

/// What was usual before it was raised.
static USUAL: OnceLock<Rlimit> = OnceLock::new();

/// Lets this process have as many descriptors as it may at most (getrlimit(2), `RLIMIT_NOFILE`).
///
/// # Errors
/// When the system refuses; everything is as before then.
pub fn raise_descriptors() -> io::Result<()> {
    let usual = getrlimit(Resource::Nofile);
    USUAL.get_or_init(|| usual);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: usual.maximum, ..usual })?)
}

/// Lets it have as many as was usual, for another program in its place.
///
/// # Errors
/// When the system refuses.
pub fn restore_descriptors() -> io::Result<()> {
    match USUAL.get() {
        Some(usual) => Ok(setrlimit(Resource::Nofile, *usual)?),
        None => Ok(()),
    }
}

/// What its programs are to have, where that isn't what it has itself.
pub(crate) fn usual_descriptors() -> Option<Rlimit> {
    USUAL.get().filter(|usual| usual.current != usual.maximum).copied()
}
