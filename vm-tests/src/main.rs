//! Placeholder entry until the guests exist.
fn main() {}
