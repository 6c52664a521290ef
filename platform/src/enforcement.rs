//! What is really in force, told after the fact.

use crate::Control;
use serde::{Deserialize, Serialize};

/// How one control ended up, from what was read back or from the step that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Enforcement {
    /// Which control.
    #[serde(skip)]
    pub control: Control,
    /// Enforced, degraded or unavailable.
    pub state: State,
    /// The value read back from the system, where the control has one (bytes, microseconds, a count or a word).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How it is enforced, how it is degraded, or why it is unavailable.
    pub how: String,
}

/// The three ends of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The kernel holds it.
    Enforced,
    /// Something weaker holds; the policy accepted that by name.
    Degraded,
    /// Nothing holds; the policy accepted that by name.
    Unavailable,
}

impl Enforcement {
    /// An entry without a value.
    pub fn new(control: Control, state: State, how: impl Into<String>) -> Self {
        Self { control, state, value: None, how: how.into() }
    }

    /// The same entry with the value that was read back.
    #[must_use]
    pub fn with_value(mut self, value: impl ToString) -> Self {
        self.value = Some(value.to_string());
        self
    }
}
