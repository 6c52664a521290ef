//! Boots real kernels and runs Stockade's tests inside them.
//!
//! Three programs stand on this library: `vm` (the host's side: prepares a guest, boots it, reads its
//! frames, shows every test), `guest` (pid 1 inside, and the program that runs one test) and `verify`
//! (everything a change must pass, in order). How the parts follow each other:
//!
//! ```text
//! kernels.toml -> Kernel (fetched) -> Guest (job + files) -> boot -> frames -> results -> one verdict
//! ```
#![forbid(unsafe_code)]

pub mod archive;
pub mod boot;
pub mod campaign;
pub mod catalogue;
pub mod checkout;
pub mod failure;
pub mod frame;
pub mod guest;
pub mod host;
pub mod identity;
pub mod initramfs;
pub mod job;
pub mod keeper;
pub mod kernel;
pub mod module_tree;
pub mod options;
pub mod process;
pub mod programs;
pub mod session;
pub mod store;
pub mod suites;
pub mod tally;
pub mod terminal;
pub mod verdict;
pub mod verify;
