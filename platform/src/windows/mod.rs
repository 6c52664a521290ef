//! Windows.

mod directory;
mod endpoint;
mod pipes;
mod sockets;
pub(crate) mod streams;

pub use directory::{Directory, hold, reserve_room};
pub use endpoint::{Door, Listed, RuntimeDir, receive_streams, send_own_streams};
pub use pipes::{
    DetachedPipe, InputPipe, MeteredReader, OutputPipe, leave_streams_to_program, own_stderr,
    own_stdout,
};
pub use sockets::{
    Datagram, LONGEST_NOTICE, Listening, NotifySocket, Shelf, SocketFile, SocketPlace, group_id,
    groups_of, is_abandoned, is_harmless, is_too_large, own_user, raise_descriptors,
    restore_descriptors, same_file, send_as_file, something_comes, user_id,
};
