//! What a wall denied: as people are told, and as it is counted.

use crate::Access;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Something that a wall refused, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// Which wall.
    pub wall: Wall,
    /// What was refused, such as `socket(AF_VSOCK)` or `example.org:443`.
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
    /// The filter of system calls.
    Syscalls,
    /// The filtered network.
    Network,
    /// The view of files: what isn't shown, or only for reading, or has something in front of it.
    View,
    /// The rules behind the view.
    AccessRules,
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syscalls => "syscalls",
            Self::Network => "network",
            Self::View => "view",
            Self::AccessRules => "access_rules",
        })
    }
}

/// A system call that was denied, as far as its kind goes: by its name, and those of its arguments that tell something.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeniedCall {
    /// Its name; empty for a call of another processor mode, where numbers mean other things.
    pub name: &'static str,
    /// Its number; 0 where many are counted as one.
    pub number: u32,
    /// Arguments by their places; empty where none tells anything, or where many are counted as one.
    pub arguments: Vec<(u8, u64)>,
    /// Whether calls of many kinds are counted as this one, since there were too many to keep apart.
    pub others: bool,
}

/// A path that a wall keeps from the program, as far as its kind goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeniedPath {
    /// Absolute, as it is inside; empty where many are counted as one.
    pub path: PathBuf,
    /// What for.
    pub access: Access,
    /// Why not.
    pub reason: PathReason,
    /// The path that a policy would have to name for this access; `None` where naming one doesn't help.
    pub grant: Option<PathBuf>,
    /// Whether many paths are counted as this one, since there were too many to keep apart.
    pub others: bool,
}

/// Why a program doesn't get a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathReason {
    /// The host has it, and it isn't shown.
    NotShown,
    /// It is shown for reading.
    ReadOnly,
    /// Something empty stands in front of it.
    Hidden,
    /// Something that can't be opened stands in front of it.
    Denied,
    /// The rules behind the view don't allow it.
    Rules,
}

/// Something that was denied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denied {
    /// A system call.
    Call(DeniedCall),
    /// A path; only where they are traced ([`crate::LaunchPlan::trace`]).
    Path(DeniedPath),
}

impl From<DeniedCall> for Denied {
    fn from(call: DeniedCall) -> Self {
        Self::Call(call)
    }
}

impl From<DeniedPath> for Denied {
    fn from(path: DeniedPath) -> Self {
        Self::Path(path)
    }
}

impl Denied {
    fn is_path(&self) -> bool {
        matches!(self, Self::Path(_))
    }

    /// The kind that it is counted as where kinds of its sort aren't kept apart any more.
    fn or_others(self) -> Self {
        match self {
            Self::Call(DeniedCall { name: "", .. }) => {
                Self::Call(DeniedCall { others: true, ..DeniedCall::default() })
            }
            Self::Call(DeniedCall { name, number, arguments, .. }) => Self::Call(DeniedCall {
                name,
                number,
                others: !arguments.is_empty(),
                arguments: Vec::new(),
            }),
            Self::Path(DeniedPath { access, reason, .. }) => Self::Path(DeniedPath {
                path: PathBuf::new(),
                access,
                reason,
                grant: None,
                others: true,
            }),
        }
    }
}

/// The most kinds of denied calls, and as many of denied paths, that are kept apart: a program chooses arguments and
/// paths, so there is no end to them. Above, calls are counted by their names, of which there are some five hundred, and paths by
/// why they are denied.
const MOST: usize = 128;

/// What was denied to one sandbox. Shared between what counts them and what tells of them.
#[derive(Debug, Default)]
pub struct Denials {
    table: Mutex<BTreeMap<Denied, u64>>,
    changed: Notify,
}

impl Denials {
    /// Counts one.
    pub fn count(&self, denied: impl Into<Denied>) {
        let (denied, mut table) = (denied.into(), self.table());
        if let Some(times) = table.get_mut(&denied) {
            *times += 1;
        } else {
            // So that neither sort takes the other's room.
            let known = table.keys().filter(|one| one.is_path() == denied.is_path()).count();
            let kind = if known >= MOST { denied.or_others() } else { denied };
            *table.entry(kind).or_default() += 1;
        }
        drop(table);
        self.changed.notify_one();
    }

    /// Every kind with how often it was denied so far, in the order of names.
    pub fn all(&self) -> Vec<(Denied, u64)> {
        self.table().iter().map(|(denied, times)| (denied.clone(), *times)).collect()
    }

    /// Waits for the next one; returns at once when there were some since it returned last. One may wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A poisoned lock only means that a thread panicked while it counted; the table is whole.
    fn table(&self) -> MutexGuard<'_, BTreeMap<Denied, u64>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &'static str, argument: u64) -> DeniedCall {
        DeniedCall { name, number: 7, arguments: vec![(0, argument)], others: false }
    }

    #[test]
    fn the_same_call_is_counted_and_others_are_kept_apart() {
        let denials = Denials::default();
        for argument in [1, 2, 1] {
            denials.count(call("socket", argument));
        }
        let expected = [(call("socket", 1).into(), 2), (call("socket", 2).into(), 1)];
        assert_eq!(denials.all(), expected);
    }

    #[test]
    fn no_program_makes_the_table_grow_without_end_and_none_is_lost() {
        let denials = Denials::default();
        for argument in 0..10_000 {
            denials.count(call("socket", argument));
            denials.count(call("unshare", argument));
            denials.count(DeniedCall { number: 1000, ..DeniedCall::default() });
            denials.count(DeniedCall { name: "", ..call("", argument) });
            let (access, reason) = (Access::Read, PathReason::NotShown);
            let path = PathBuf::from(format!("/srv/{argument}"));
            denials.count(DeniedPath { path, access, reason, grant: None, others: false });
        }
        let all = denials.all();
        assert!(all.len() <= 2 * MOST + 5, "{}", all.len());
        assert_eq!(all.iter().map(|(_, times)| times).sum::<u64>(), 50_000);
        let many = |wanted: fn(&Denied) -> bool| {
            all.iter().any(|(denied, times)| wanted(denied) && *times > 9000)
        };
        assert!(many(|one| matches!(one, Denied::Call(it) if it.name == "socket" && it.others)));
        assert!(many(|one| matches!(one, Denied::Path(it) if it.others)));
    }
}
