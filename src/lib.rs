//! Stockade runs programs inside walls.
//!
//! A [`Policy`] says what a program may do and use; a [`Sandbox`] runs it so, and an [`ExitReport`] tells the truth about
//! it: how it ended, what it used, and what was really in force.
#![forbid(unsafe_code)]

pub mod alerts;
pub mod audit;
#[doc(hidden)]
pub mod cli;
pub mod control;
pub mod daemon;
mod denials;
mod error;
mod events;
mod fallback;
pub mod logs;
mod network;
mod output;
pub mod plan;
pub mod policy;
mod ports;
pub mod report;
mod sandbox;
pub mod supervisor;
mod tls;

#[cfg(fuzzing)]
pub use network::fuzz::proxy_requests;

pub use error::Error;
pub use events::Events;
pub use platform::{Denial, Event, Resource};
pub use policy::Policy;
pub use report::ExitReport;
pub use sandbox::{Consequence, Inside, Output, Sandbox, SandboxBuilder};
pub use stockade_platform as platform;
