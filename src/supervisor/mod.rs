//! Programs that are kept running, each in its own sandbox.
//!
//! `lifecycle` decides, and is pure: from what happened and when to what to do. `restart` is its part that says whether and
//! when a program that ended is started again, `outcome` how a run came out. `service` is the actor that owns one program, its
//! lifecycle and its sandbox, and does what that says; `health` looks at it for the actor, as often as `probe` says, and `said`
//! has what the program has said that a look may be for; `gate` waits for what it depends on; `dialogue` hears what the program
//! says of itself in the words of `notice`, `sockets` and `fd_store` have what is passed to it; `capture` and `lines` have its
//! output. `controller` is the way in for programs that supervise one other, `team` for the services of a stack; `news` tells
//! others what becomes of them, `lookout` looks at them for alerts. What the next supervisor needs to go on with all of it is
//! written down: `journal` is the file, `record` what stands in it of a service,
//! `diary` when; `orphans` are runs that no service has any more, and `reexec` puts another build in place.

mod capture;
pub mod checks;
mod controller;
mod dialogue;
mod diary;
mod fd_store;
mod gate;
mod group;
mod health;
mod hook;
mod journal;
mod lifecycle;
mod lines;
mod lookout;
mod news;
mod notice;
mod orphans;
mod outcome;
mod probe;
mod record;
mod reexec;
mod restart;
mod said;
mod service;
mod sockets;
mod stack;
mod team;
mod violation;

pub use capture::Captured;
pub use controller::{Controller, ControllerBuilder};
pub use dialogue::Notify;

pub use hook::{Hook, Hooks};

pub use crate::logs::Stream;
pub use health::{Health, HealthCheck, MemoryCheck, TcpCheck, Vitals};
pub use journal::Journal;

pub use lifecycle::{
    Action, Event, Generation, Happening, Lifecycle, Reaction, Rules, Started, State,
};
pub use lines::{Line, Lines};
pub use news::{Counts, LOOK_BOUNDS, LookCounts, News, Notice, Notices};
pub use outcome::{ExitStatus, ExitStatuses, Outcome, Trouble};
pub use probe::{Probe, Purpose};
pub use reexec::reexec;
pub use said::Said;

pub use restart::{Budget, Moment, OnExhausted, Restart, RestartPolicy};
pub use service::Status;
pub use stack::{
    Check, Condition, Difference, DifferenceKind, Group, Need, Probes, Service, ServiceProbe,
    Stack, Strategy, stack_schema,
};
pub use violation::{Measure, Measures, Trigger};

pub use sockets::ServiceSocket;
pub use team::{Replicas, Supervisor};
