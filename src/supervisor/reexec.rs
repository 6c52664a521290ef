//! Another build of the supervisor in the place of this one.

use crate::error::Error;
use crate::platform::{execute_in_place, restore_descriptors};
use std::ffi::OsString;
use std::path::Path;

/// Executes a program, usually a newer build of this one, in the place of this process, with the same pid, environment and
/// standard streams. Every other descriptor is closed with it, so that services with a [`Journal`](super::Journal) go on
/// without a supervisor for the moment that it takes the new one to take them over; others end.
///
/// Returns only if that fails; everything is as before then.
///
/// # Errors
/// When the program can't be executed, or the platform can't replace a process.
pub fn reexec(program: &Path, arguments: impl IntoIterator<Item = OsString>) -> Error {
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    // It raises the limit itself, if it wants to. Where it can't be set, the one that is in force stays so.
    restore_descriptors().unwrap_or(());
    let error = execute_in_place(&mut command);
    Error::io(format!("failed to execute `{}` in place", program.display()), error)
}
