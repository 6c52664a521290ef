//! Windows: a job object for each sandbox. Its first process is born inside, nothing of it leaves, and all of it ends with the job.
//! There are no walls, but for what a user's own token can do without: privileges, and where nothing is to be written the integrity that
//! writing needs.
//!
//! A job takes some limits without an error and doesn't hold them, on systems that only look like Windows; so each is asked for after it
//! was told, and what isn't there isn't called enforced. `limits`, `command_line`, `search` and `support` are pure, and compiled for the
//! tests of other systems too; `birth` starts a program, `token` is who it is, `job` is the system's job, `running` what lives, `trial` finds out what jobs keep.
//! The other files have on Windows what the rest of this crate has on Unix.

#![cfg_attr(
    not(windows),
    allow(dead_code, unused_imports, reason = "here only their tests use them")
)]

#[cfg(windows)]
mod birth;
mod command_line;
#[cfg(windows)]
mod console;
#[cfg(windows)]
mod directory;
#[cfg(windows)]
mod endpoint;
#[cfg(windows)]
mod job;
mod limits;
#[cfg(windows)]
mod pipes;
#[cfg(windows)]
mod rows;
#[cfg(windows)]
mod running;
mod search;
#[cfg(windows)]
mod sockets;
#[cfg(windows)]
pub(crate) mod streams;
mod support;
#[cfg(windows)]
mod suspended;
#[cfg(all(test, windows))]
mod tests;
#[cfg(windows)]
mod token;
#[cfg(windows)]
mod trial;

#[cfg(windows)]
mod backend;
#[cfg(windows)]
pub use backend::WindowsBackend;
#[cfg(windows)]
pub(crate) use console::console_size;
#[cfg(windows)]
pub use directory::{Directory, reserve_room};
#[cfg(windows)]
pub use endpoint::{Door, Listed, RuntimeDir, receive_streams, send_own_streams};
#[cfg(windows)]
pub use pipes::{
    DetachedPipe, InputPipe, MeteredReader, OutputPipe, leave_streams_to_program, own_stderr,
    own_stdout,
};
#[cfg(windows)]
pub use sockets::{
    Datagram, LONGEST_NOTICE, Listening, NotifySocket, Shelf, SocketFile, SocketPlace, group_id,
    groups_of, is_abandoned, is_harmless, is_too_large, own_user, raise_descriptors,
    restore_descriptors, same_file, send_as_file, something_comes, user_id,
};
#[cfg(all(test, target_os = "linux"))]
pub(crate) use support::at_best;
