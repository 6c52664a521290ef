//! What happens to a sandbox while it runs, as the platform is told of it.

use crate::{BoxFuture, Control, Denial, PlatformError};
use serde::Serialize;
use std::fmt::Debug;

/// One thing that happened. Counts are those since the event before of the same kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Memory came to this limit, and some was taken back from the tree.
    NearMemoryLimit {
        /// `limits.memory`, or `limits.memory_high`, which slows the tree down.
        #[serde(serialize_with = "control_name")]
        limit: Control,
        /// Times.
        times: u64,
    },
    /// The kernel killed for want of memory.
    OomKill {
        /// Processes killed.
        processes: u64,
        /// Whether the whole tree was to go.
        tree: bool,
    },
    /// A new process or thread was refused.
    PidsDenied {
        /// Times.
        times: u64,
    },
    /// For a tenth of the last two seconds at least one thread waited for what others had.
    Pressure {
        /// For what.
        resource: Resource,
    },
    /// The CPU limit held everything back for a tenth of the last two seconds.
    Throttled,
    /// The whole tree waited for memory as long as `limits.memory_stall` allows.
    MemoryStalled,
    /// A wall denied something; `times` are those since this was told last.
    Denied(Denial),
    /// The program ended.
    Exited {
        /// Its own code.
        exit_code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// The listener was too slow, and this many events are lost to it.
    Missed {
        /// Events.
        events: u64,
    },
}

/// What a tree can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A CPU.
    Cpu,
    /// Memory: reclaim, refaults, swap.
    Memory,
    /// A device.
    Io,
}

/// Times that limits were reached so far; 0 also where the platform doesn't count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hits {
    /// Memory came to `limits.memory_high`.
    pub memory_high: u64,
    /// Memory came to `limits.memory`.
    pub memory: u64,
    /// Processes killed for want of memory.
    pub memory_kills: u64,
    /// Times that the whole tree was killed for it.
    pub tree_kills: u64,
    /// New processes or threads refused.
    pub pids: u64,
}

impl Hits {
    /// The events that lead from `self` to `now`, in the order in which things get worse.
    pub fn until(&self, now: &Self) -> Vec<Event> {
        let since = |before: u64, now: u64| Some(now.saturating_sub(before)).filter(|new| *new > 0);
        let near = |limit, times| Event::NearMemoryLimit { limit, times };
        let tree = now.tree_kills > self.tree_kills;
        [
            since(self.pids, now.pids).map(|times| Event::PidsDenied { times }),
            since(self.memory_high, now.memory_high).map(|times| near(Control::MemoryHigh, times)),
            since(self.memory, now.memory).map(|times| near(Control::Memory, times)),
            since(self.memory_kills, now.memory_kills)
                .map(|processes| Event::OomKill { processes, tree }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Tells what happens to one sandbox, when it happens.
pub trait Watcher: Send + Debug {
    /// The next events, at least one. Never finishes where nothing can be told any more. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// When a source can't be read.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Event>, PlatformError>>;
}

fn control_name<S: serde::Serializer>(control: &Control, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(control.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grew_is_an_event() {
        let before = Hits { memory: 3, pids: 1, ..Hits::default() };
        assert_eq!(before.until(&before), []);
        let now = Hits { memory: 5, memory_kills: 2, tree_kills: 1, ..before };
        assert_eq!(
            before.until(&now),
            [
                Event::NearMemoryLimit { limit: Control::Memory, times: 2 },
                Event::OomKill { processes: 2, tree: true },
            ]
        );
    }
}
