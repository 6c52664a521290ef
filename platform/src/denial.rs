//! What a wall denied: as people are told, and as it is counted.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
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
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syscalls => "syscalls",
            Self::Network => "network",
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

/// The most kinds of denied calls that are kept apart: a program chooses the arguments, so there is no end to them. Above,
/// calls are counted by their names, of which there are some five hundred.
const MOST: usize = 128;

/// The denied system calls of one sandbox. Shared between what counts them and what tells of them.
#[derive(Debug, Default)]
pub struct Denials {
    table: Mutex<BTreeMap<DeniedCall, u64>>,
    changed: Notify,
}

impl Denials {
    /// Counts one.
    pub fn count(&self, call: DeniedCall) {
        let mut table = self.table();
        if let Some(times) = table.get_mut(&call) {
            *times += 1;
        } else {
            let full = table.len() >= MOST;
            let call = match call {
                call if !full => call,
                DeniedCall { name: "", .. } => DeniedCall { others: true, ..DeniedCall::default() },
                DeniedCall { name, number, arguments, .. } => DeniedCall {
                    name,
                    number,
                    others: !arguments.is_empty(),
                    arguments: Vec::new(),
                },
            };
            *table.entry(call).or_default() += 1;
        }
        drop(table);
        self.changed.notify_one();
    }

    /// Every kind with how often it was denied so far, in the order of names.
    pub fn all(&self) -> Vec<(DeniedCall, u64)> {
        self.table().iter().map(|(call, times)| (call.clone(), *times)).collect()
    }

    /// Waits for the next one; returns at once when there were some since it returned last. One may wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A poisoned lock only means that a thread panicked while it counted; the table is whole.
    fn table(&self) -> MutexGuard<'_, BTreeMap<DeniedCall, u64>> {
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
        assert_eq!(denials.all(), [(call("socket", 1), 2), (call("socket", 2), 1)]);
    }

    #[test]
    fn no_program_makes_the_table_grow_without_end_and_none_is_lost() {
        let denials = Denials::default();
        for argument in 0..10_000 {
            denials.count(call("socket", argument));
            denials.count(call("unshare", argument));
            denials.count(DeniedCall { number: 1000, ..DeniedCall::default() });
            denials.count(DeniedCall { name: "", ..call("", argument) });
        }
        let all = denials.all();
        assert!(all.len() <= MOST + 4, "{}", all.len());
        assert_eq!(all.iter().map(|(_, times)| times).sum::<u64>(), 40_000);
        assert!(
            all.iter().any(|(call, times)| call.name == "socket" && call.others && *times > 9000)
        );
    }
}
