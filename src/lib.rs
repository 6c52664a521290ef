//! Stockade runs programs inside walls.
#![forbid(unsafe_code)]
