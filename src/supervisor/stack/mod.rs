//! A stack: services, and what they need of each other. `read` has what a stack file says, `keys` what it can say, `values` what
//! that means, `logging` and `targets` what it says of lines; `files` has the files of a stack, with `variables` put in, and
//! `env_file` those of variables for a service; `difference` has what another stack changes.

mod difference;
mod env_file;
mod files;
mod keys;
mod logging;
mod read;
mod schema;
mod sockets;
mod targets;
#[cfg(test)]
mod tests;
mod values;
mod variables;

pub use difference::{Difference, DifferenceKind};
pub use schema::stack_schema;

use super::lifecycle::Rules;
use super::{Notify, ServiceSocket};
use crate::logs::Logging;
use crate::platform::Signal;
use crate::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

/// What must be true of a service before another one is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It runs, or has run.
    Started,
    /// It can be used.
    #[default]
    Ready,
    /// It has ended, as it should.
    Completed,
}

/// One service: a program that is kept running, or a job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Service {
    /// What it is, for people.
    pub description: String,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Under which it runs.
    pub policy: Policy,
    /// Whether it is started with the others.
    pub enabled: bool,
    /// How it is started, stopped and started again.
    pub rules: Rules,
    /// How it is asked to end.
    pub stop_signal: Signal,
    /// How it is asked to read its settings anew.
    pub reload_signal: Signal,
    /// What it needs of other services.
    pub depends_on: BTreeMap<String, Condition>,
    /// What it says of itself.
    pub notify: Notify,
    /// What is bound for it.
    pub sockets: Vec<ServiceSocket>,
    /// Whether it is started only when somebody wants something of its sockets.
    pub on_demand: bool,
    /// What people note of it; nothing depends on that.
    pub labels: BTreeMap<String, String>,
    /// How its lines are kept.
    pub logging: Logging,
}

impl Service {
    /// One of which nothing is said but its policy.
    fn under(policy: Policy) -> Self {
        Self {
            description: String::new(),
            command: Vec::new(),
            policy,
            enabled: true,
            rules: Rules::default(),
            stop_signal: Signal::Terminate,
            reload_signal: Signal::Hangup,
            depends_on: BTreeMap::new(),
            notify: Notify::default(),
            sockets: Vec::new(),
            on_demand: false,
            labels: BTreeMap::new(),
            logging: Logging::default(),
        }
    }
}

/// Services by their names. What they depend on exists, and none depends on itself, however indirectly.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stack {
    /// Its name, for people.
    pub name: String,
    /// Its services.
    pub services: BTreeMap<String, Service>,
}

impl Stack {
    /// The names in an order in which each comes after all that it depends on; else the names of a circle.
    fn ordered(services: &BTreeMap<String, Service>) -> Result<Vec<&str>, Vec<&str>> {
        let (mut ordered, mut done) = (Vec::new(), BTreeSet::new());
        for name in services.keys() {
            visit(services, name, &mut Vec::new(), &mut done, &mut ordered)?;
        }
        Ok(ordered)
    }

    /// The names in an order in which each comes after all that it depends on.
    pub fn order(&self) -> Vec<&str> {
        // A stack with a circle is never made.
        Self::ordered(&self.services).unwrap_or_default()
    }
}

/// Puts a service after all that it depends on. `path` are those that led here.
fn visit<'s>(
    services: &'s BTreeMap<String, Service>,
    name: &'s str,
    path: &mut Vec<&'s str>,
    done: &mut BTreeSet<&'s str>,
    ordered: &mut Vec<&'s str>,
) -> Result<(), Vec<&'s str>> {
    if let Some(start) = path.iter().position(|known| *known == name) {
        return Err(path[start..].to_vec());
    }
    if !done.contains(name) {
        path.push(name);
        for needed in services.get(name).into_iter().flat_map(|service| service.depends_on.keys()) {
            visit(services, needed, path, done, ordered)?;
        }
        path.pop();
        done.insert(name);
        ordered.push(name);
    }
    Ok(())
}
