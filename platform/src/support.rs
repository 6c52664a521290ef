//! What this host can do for each control, and what would mend what it can't.

use crate::Control;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Read what can be read in a fraction of a millisecond: what every launch does.
    Quick,
    /// Also try things for real in throw-away processes: what `doctor` does.
    Thorough,
}

/// What a host can do.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Support {
    /// The backend that answers, such as `linux`.
    pub backend: String,
    /// One entry for each control; a control without an entry is unavailable.
    pub controls: BTreeMap<Control, Availability>,
    /// Controls without which this backend launches nothing: accepting that they are missing doesn't help.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub needed: BTreeSet<Control>,
    /// What was found, for people: kernel, quota tree, security modules.
    pub facts: Vec<Fact>,
}

/// What a host can do for one control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Availability {
    /// The kernel can hold it.
    Enforced,
    /// Something weaker can be done.
    Degraded {
        /// What would be done instead.
        how: String,
        /// Why not the real thing.
        reason: String,
        /// The command or change that would mend it; empty when there is none.
        remedy: String,
    },
    /// Nothing can be done.
    Unavailable {
        /// Why.
        reason: String,
        /// The command or change that would mend it; empty when there is none.
        remedy: String,
    },
}

impl Availability {
    /// Nothing can be done for this reason, and nothing mends it.
    pub(crate) fn none(reason: &str) -> Self {
        Self::Unavailable { reason: reason.into(), remedy: String::new() }
    }

    /// This is done instead for that reason, and nothing mends it.
    pub(crate) fn instead(how: &str, reason: &str) -> Self {
        Self::Degraded { how: how.into(), reason: reason.into(), remedy: String::new() }
    }
}

/// One thing found out about the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What was looked at, such as `kernel`.
    pub name: String,
    /// What was found, such as `6.12.3`.
    pub found: String,
    /// Whether it is as Stockade needs it.
    pub good: bool,
    /// What follows from it when it isn't good; else empty.
    pub consequence: String,
    /// The exact command that mends it; else empty.
    pub remedy: String,
}

impl Fact {
    /// Something that is as it should be.
    pub fn good(name: &str, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            found: found.into(),
            good: true,
            consequence: String::new(),
            remedy: String::new(),
        }
    }

    /// Something that takes a control away.
    pub fn bad(
        name: &str,
        found: impl Into<String>,
        consequence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            found: found.into(),
            good: false,
            consequence: consequence.into(),
            remedy: remedy.into(),
        }
    }
}

impl Support {
    /// What can be done for `control`.
    pub fn of(&self, control: Control) -> Availability {
        self.controls.get(&control).cloned().unwrap_or_else(|| Availability::Unavailable {
            reason: format!("the {} backend doesn't have it", self.backend),
            remedy: String::new(),
        })
    }
}
