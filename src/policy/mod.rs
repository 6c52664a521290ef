//! Policies: what a program may do and use.
//!
//! A policy has two forms. A `PolicyFile` is what somebody wrote: it may be wrong, and knows where each value stands.
//! A [`Policy`] is what was meant: it can't be wrong, and knows nothing of files. Turning the one into the other
//! reports every problem at once.

mod syscalls;

use crate::platform::{
    Capabilities, ClockOffsets, Control, Environment, Filesystem, Identity, Limits, Network,
    Syscalls,
};
use serde::Serialize;
use std::collections::BTreeSet;

/// What a program may do and use: checked, complete, and free of host facts other than paths.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Policy {
    /// Name for people and reports: a shipped name, a file's stem, or `custom`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Quotas.
    pub limits: Limits,
    /// What exists of the file system.
    pub filesystem: Filesystem,
    /// What of the network can be reached.
    pub network: Network,
    /// Who the program is.
    pub identity: Identity,
    /// Privileged abilities that stay.
    pub capabilities: Capabilities,
    /// System calls.
    pub syscalls: Syscalls,
    /// Clock offsets.
    pub clock: ClockOffsets,
    /// Environment variables.
    pub environment: Environment,
    /// Whether Stockade's init is the first process.
    pub init: bool,
    /// Controls that may be degraded or missing.
    pub degrade: BTreeSet<Control>,
}
