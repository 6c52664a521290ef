//! What runs between `clone3` and `exec`, and the sandbox's init: small enough to audit in one sitting.
//!
//! The same for a process that enters a sandbox which runs already: `entry`.
//!
//! The caller decides and allocates everything beforehand and hands over a [`Script`]: a list of [`Op`]s for the
//! sandbox's first process, a list for the program's process, and the tables that both point into. The code here
//! interprets the lists, stops at the first failure, and tells it as `(operation, errno)` over the control socket.
//!
//! Rules of this crate, which a test holds with `nm`: no standard library, no allocation, no panic, and only raw
//! system calls, so that it is safe in a child of a threaded process.

#![no_std]

mod classic;
mod entry;
mod init;
mod interpret;
mod lasting;
mod line;
mod listener;
mod main_process;
mod message;
mod script;
mod second;
mod sys;

pub use entry::enter;
pub use init::run;
pub use message::{Message, Phase};
pub use script::{AccessRule, Lasting, Op, PortRule, Script, Source, Text};
pub use sys::CLONE_NEWTIME;
