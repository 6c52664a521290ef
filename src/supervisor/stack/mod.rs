//! A stack: services, and what they need of each other. `read` has what a stack file says, `keys` what it can say, `values` what
//! that means, `logging` and `targets` what it says of lines, `alerts` of alerts; `files` has the files of a stack, with `variables` put in, and
//! `env_file` those of variables for a service; `difference` has what another stack changes.

mod alerts;
mod difference;
mod env_file;
mod files;
mod groups;
mod keys;
mod logging;
mod probes;
mod read;
mod replicas;
mod schema;
mod sockets;
mod targets;
#[cfg(test)]
mod tests;
mod values;
mod variables;

pub use difference::{Difference, DifferenceKind};
pub use probes::{Check, Probes, ServiceProbe};
pub use schema::stack_schema;

use super::hook::Hooks;
use super::lifecycle::{Rules, Started};
use super::restart::RestartPolicy;
use super::violation::Measures;
use super::{Notify, ServiceSocket};
use crate::logs::Logging;
use crate::platform::{Attachment, Bytes, Signal};
use crate::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

/// What must be true of a service before another one is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It runs, or has run.
    Started,
    /// It can be used.
    #[default]
    Ready,
    /// Its probes say that it is well.
    Healthy,
    /// It has ended, as it should.
    Completed,
}

impl Condition {
    /// All of them, with the words of a stack file.
    pub const ALL: [(&str, Self); 4] = [
        ("started", Self::Started),
        ("ready", Self::Ready),
        ("healthy", Self::Healthy),
        ("completed", Self::Completed),
    ];

    /// As it is written in a stack file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Healthy => "healthy",
            Self::Completed => "completed",
        }
    }
}

/// What a service needs of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Need {
    /// What must be true of it.
    pub condition: Condition,
    /// Whether there is no start without it; else it is waited for only as long as it may still come.
    pub required: bool,
    /// Whether the service that needs it is started anew when it comes back.
    pub restart: bool,
}

impl Need {
    /// What must be there, and isn't heard of later.
    pub fn of(condition: Condition) -> Self {
        Self { condition, required: true, restart: false }
    }
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
    pub depends_on: BTreeMap<String, Need>,
    /// What it is looked at with.
    pub probes: Probes,
    /// What is run when something happens to it.
    pub hooks: Hooks,
    /// What has it read its settings anew, where that isn't a signal; inside of its sandbox.
    pub reload_command: Vec<OsString>,
    /// What is done when it reaches a limit.
    pub on_violation: Measures,
    /// How many of it there are, each an instance of its own; `None` for a single one that has the service's name.
    pub replicas: Option<u32>,
    /// What it says of itself.
    pub notify: Notify,
    /// The file that names its main process, as it sees it, where its program leaves its work to that.
    pub pid_file: Option<PathBuf>,
    /// The process that it is, where somebody else started that.
    pub attach: Option<Attachment>,
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
    /// How much memory it may have, where it is launched under its policy.
    pub(crate) fn memory_limit(&self) -> Option<Bytes> {
        self.policy.limits.memory.filter(|_| self.attach.is_none())
    }

    /// Whether it is done when it has ended.
    pub fn is_job(&self) -> bool {
        self.rules.started == Started::Ended
    }

    /// What follows from all that is said of it.
    fn settle(&mut self) {
        self.rules.attached = self.attach.is_some();
        if self.rules.attached {
            // Nobody here could start it again.
            self.rules.restart.policy = RestartPolicy::No;
        }
        self.rules.probed = self.probes.readiness.is_some();
        let is_told = |probe: &ServiceProbe| matches!(probe.check, Check::Notify(_));
        let is_waited_for = self.probes.all().any(|(_, probe)| is_told(probe));
        // It may name its main process.
        self.notify.probed = is_waited_for || self.rules.forks;
        if self.probes.startup.is_some() && self.rules.started == Started::Executed {
            self.rules.started = Started::Ready;
        }
    }

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
            probes: Probes::default(),
            hooks: Hooks::default(),
            reload_command: Vec::new(),
            on_violation: Measures::new(),
            replicas: None,
            notify: Notify::default(),
            pid_file: None,
            attach: None,
            sockets: Vec::new(),
            on_demand: false,
            labels: BTreeMap::new(),
            logging: Logging::default(),
        }
    }
}

/// Services that are started again together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Which of them.
    pub strategy: Strategy,
    /// Its services, in their order.
    pub members: Vec<String>,
}

/// Which members of a group are started again when one was, after trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// That one.
    #[default]
    OneForOne,
    /// All of them.
    OneForAll,
    /// That one, and those after it.
    RestForOne,
}

impl Strategy {
    /// All of them, with the words of a stack file.
    pub const ALL: [(&str, Self); 3] = [
        ("one_for_one", Self::OneForOne),
        ("one_for_all", Self::OneForAll),
        ("rest_for_one", Self::RestForOne),
    ];
}

/// Services by their names. What they depend on exists, and none depends on itself, however indirectly.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stack {
    /// Its name, for people.
    pub name: String,
    /// Its services.
    pub services: BTreeMap<String, Service>,
    /// Groups of services, by their names.
    pub groups: BTreeMap<String, Group>,
    /// What of them fires alerts, and who is told.
    pub alerts: crate::alerts::Settings,
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
