//! Stockade runs programs inside walls.
#![forbid(unsafe_code)]

pub mod policy;

pub use stockade_platform as platform;
