//! The `stockade` command.
#![forbid(unsafe_code)]
fn main() {}
