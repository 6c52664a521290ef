//! What a sandbox was denied, by whichever wall.

use serde::Serialize;

/// Something that a wall refused, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// Which wall.
    pub wall: Wall,
    /// What was refused, such as `example.org:443`.
    pub what: String,
    /// Why, where the wall knows more than that nothing allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How often.
    pub times: u64,
    /// The line of a policy that would allow it, where one would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
}

/// A wall that tells what it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Wall {
    /// The filtered network.
    Network,
}
