//! What a starter leaves for the next one in a sandbox that outlives it.

use super::Sandbox;
use crate::error::Error;
use crate::platform::{Control, Enforcement, State};
use serde::{Deserialize, Serialize};

/// The form of the note, as JSON. It stays in memory that the sandbox's first process holds, and only starters read or write.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Memo {
    /// When it was started, in UTC.
    pub(super) started_at: String,
    enforcement: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    control: String,
    state: State,
    value: Option<String>,
    how: String,
}

impl Memo {
    /// Of one of which nothing more is known.
    pub(super) fn begun(at: jiff::Timestamp) -> Self {
        Self { started_at: at.to_string(), enforcement: Vec::new() }
    }

    pub(super) fn of(sandbox: &Sandbox) -> Self {
        let entry = |found: &Enforcement| Entry {
            control: found.control.name().to_owned(),
            state: found.state,
            value: found.value.clone(),
            how: found.how.clone(),
        };
        let enforcement = sandbox.enforcement().iter().map(entry).collect();
        Self { started_at: sandbox.started_at.clone(), enforcement }
    }

    /// What was in force. A control that this version doesn't know any more can't be told of.
    pub(super) fn enforcement(&self) -> Vec<Enforcement> {
        let entry = |entry: &Entry| {
            let control: Control = entry.control.parse().ok()?;
            let mut found = Enforcement::new(control, entry.state, &entry.how);
            found.value.clone_from(&entry.value);
            Some(found)
        };
        self.enforcement.iter().filter_map(entry).collect()
    }

    pub(super) fn written(&self) -> Result<Vec<u8>, Error> {
        let failed =
            |error: serde_json::Error| Error::io("failed to note what is in force", error.into());
        serde_json::to_vec(self).map_err(failed)
    }

    /// Back from how it was written. A starter that died before it wrote left nothing.
    pub(super) fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}
