//! A file that one process has for itself.

use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, Instant};

/// How long whoever died may still seem to hold a lock: what it was about to launch
/// has it too, until it becomes another program, and a system may take its time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes an open file for this process until it is closed (on Unix flock(2)). Waits for one that has it a few seconds, by the system's
/// clock; `false` where it keeps it.
///
/// # Errors
/// When the file system knows no locks.
pub fn hold(file: &File) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(false),
            #[expect(
                clippy::disallowed_methods,
                reason = "nothing tells that a lock is free without taking it"
            )]
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
