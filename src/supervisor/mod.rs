//! Programs that are kept running, each in its own sandbox.
//!
//! `lifecycle` decides, and is pure: from what happened and when to what to do. `restart` is its part that says whether and
//! when a program that ended is started again, `outcome` how a run came out.

mod lifecycle;
mod outcome;
mod restart;

pub use lifecycle::{
    Action, Event, Generation, Happening, Lifecycle, Reaction, Rules, Started, State,
};
pub use outcome::{Outcome, Status, Statuses, Trouble};
pub use restart::{Budget, Moment, OnExhausted, Restart, RestartPolicy};
