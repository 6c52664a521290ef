//! The services of a stack, kept running together.

use super::capture::Capture;
use super::controller::{Controller, KEPT};
use super::gate::Needed;
use super::group;
use super::journal::Journal;
use super::lines::{Line, Lines, Teller, lines};
use super::lookout::{self, Sampler};
use super::news::{Board, Notices};
use super::orphans;
use super::service::{Change, Launch, Status};
use super::stack::{Difference, Service, Stack};
use crate::alerts::Alerts;
use crate::error::Error;
use crate::logs::{Driver, InstanceLog, Logs};
use crate::platform::Backend;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Keeps the services of a stack running: each in its own sandbox, after what it depends on.
///
/// They go with it: every service ends when it is dropped.
#[derive(Debug)]
pub struct Supervisor {
    backend: Option<Arc<dyn Backend>>,
    logs: Option<Logs>,
    /// Where it writes down what the next one needs.
    journal: Option<Journal>,
    lines: mpsc::Sender<Line>,
    board: Board,
    team: Arc<Mutex<Team>>,
    /// What follows from groups.
    watch: Mutex<JoinSet<()>>,
    /// Where alerts are decided, and who looks for that.
    alerts: Mutex<Option<(Alerts, JoinSet<()>)>>,
    /// Held by whoever puts another stack into force: one after the other.
    applying: tokio::sync::Mutex<()>,
}

/// How many of a service there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replicas {
    /// So many there shall be.
    pub desired: usize,
    /// Of so many something runs.
    pub running: usize,
    /// So many can be used.
    pub ready: usize,
}

/// What is in force.
#[derive(Clone, Debug)]
pub(super) struct Team {
    /// As it was given.
    written: Arc<Stack>,
    /// With the instances of each service in its place.
    pub(super) stack: Arc<Stack>,
    pub(super) services: BTreeMap<String, Controller>,
}

/// What a service needs, and where that can be seen.
type Needs = Vec<Needed>;

impl Team {
    fn needs(&self, service: &Service) -> Needs {
        let needs = service.depends_on.iter().filter_map(|(name, need)| {
            let status = self.services.get(name)?.watch();
            Some(Needed { name: name.clone(), need: *need, status })
        });
        needs.collect()
    }

    /// Those among these that depend on a service, directly.
    fn dependents(&self, of: &str, among: &[String]) -> Vec<Controller> {
        let all = self.stack.services.iter().filter(|(name, _)| among.contains(name));
        let dependents = all.filter(|(_, service)| service.depends_on.contains_key(of));
        dependents.filter_map(|(name, _)| self.services.get(name).cloned()).collect()
    }
}

impl Supervisor {
    /// Begins to keep the services of a stack running that are enabled, and gives what all of them write. Must be called inside
    /// a tokio runtime.
    pub fn start(stack: &Stack) -> (Self, Lines) {
        Self::start_with(stack, None)
    }

    /// The same, through another backend than the platform's own.
    pub fn start_with(stack: &Stack, backend: Option<&Arc<dyn Backend>>) -> (Self, Lines) {
        Self::begin(stack, backend, None, None, BTreeMap::new())
    }

    /// The same with services that outlive it: when it is dropped, or this process dies, they go on, and the next one that is
    /// started with the same journal takes them over. What runs of services that the stack hasn't any more is ended.
    pub fn resume(
        stack: &Stack,
        journal: Journal,
        backend: Option<&Arc<dyn Backend>>,
    ) -> (Self, Lines) {
        let started = Self::begin(stack, backend, Some(journal.clone()), None, BTreeMap::new());
        orphans::end(&journal, backend);
        started
    }

    /// As [`Self::resume`] with a journal, else as [`Self::start`], with what services write kept in these logs: where this process is
    /// killed, no line of a service that outlives it is lost.
    ///
    /// # Errors
    /// When the log of a service can't be opened: nothing is started then.
    pub fn start_logged(
        stack: &Stack,
        logs: Logs,
        journal: Option<Journal>,
        backend: Option<&Arc<dyn Backend>>,
    ) -> Result<(Self, Lines), Error> {
        let opened = open_logs(Some(&logs), &stack.expanded(), |_| true)?;
        let started = Self::begin(stack, backend, journal.clone(), Some(logs), opened);
        if let Some(journal) = journal {
            orphans::end(&journal, backend);
        }
        Ok(started)
    }

    fn begin(
        stack: &Stack,
        backend: Option<&Arc<dyn Backend>>,
        journal: Option<Journal>,
        logs: Option<Logs>,
        mut opened: BTreeMap<String, InstanceLog>,
    ) -> (Self, Lines) {
        let (sender, lines) = lines();
        let written = Arc::new(stack.clone());
        let stack = Arc::new(stack.expanded());
        let team = Team { written, stack: stack.clone(), services: BTreeMap::new() };
        let supervisor = Self {
            backend: backend.cloned(),
            journal,
            logs,
            lines: sender,
            board: Board::default(),
            team: Arc::new(Mutex::new(team)),
            watch: Mutex::default(),
            alerts: Mutex::default(),
            applying: tokio::sync::Mutex::default(),
        };
        for name in stack.order() {
            if let Some(service) = stack.services.get(name) {
                supervisor.add(name, service, opened.remove(name));
            }
        }
        supervisor.watch_groups();
        (supervisor, lines)
    }

    /// Has alerts decided of its services, by the rules of the stack that is in force. Must be called inside a tokio runtime.
    pub fn alert(&self, alerts: &Alerts) {
        alerts.follow(&self.written().alerts);
        // What is counted is counted from here on.
        let team = Arc::downgrade(&self.team);
        lookout::look(&team, alerts, &Sampler::default());
        let mut looking = JoinSet::new();
        looking.spawn(lookout::look_out(team, alerts.clone()));
        *self.alerts() = Some((alerts.clone(), looking));
    }

    /// Decides alerts now, and not only with the next second.
    pub fn look_for_alerts(&self) {
        let alerts = self.alerts().as_ref().map(|(alerts, _)| alerts.clone());
        if let Some(alerts) = alerts {
            lookout::look(&Arc::downgrade(&self.team), &alerts, &Sampler::default());
        }
    }

    fn alerts(&self) -> MutexGuard<'_, Option<(Alerts, JoinSet<()>)>> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many notices there were so far, and how many runs were taken over from the supervisor before.
    pub fn totals(&self) -> (u64, u64) {
        (self.board.notices(), self.board.adopted())
    }

    fn watch_groups(&self) {
        let team = self.team().clone();
        let watch = group::watch(&team.stack.groups, &team.services);
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = watch;
    }

    /// Begins to keep one running; what it needs is there already.
    fn add(&self, name: &str, service: &Service, log: Option<InstanceLog>) {
        let mut team = self.team();
        let (needs, backend) = (team.needs(service), self.backend.clone());
        let (teller, news) = (Teller::new(name, self.lines.clone()), self.board.of(name));
        let journal = self.journal.as_ref();
        let capture = Capture::new(KEPT).telling(teller).logged(log);
        let controller = Controller::of(name, service, needs, capture, news, backend, journal);
        team.services.insert(name.to_owned(), controller);
    }

    /// The names of its services.
    pub fn names(&self) -> Vec<String> {
        self.team().services.keys().cloned().collect()
    }

    /// One of its services.
    pub fn service(&self, name: &str) -> Option<Controller> {
        self.team().services.get(name).cloned()
    }

    /// The stack that is in force, as it was given: a service that runs several times stands in it once.
    pub fn written(&self) -> Arc<Stack> {
        self.team().written.clone()
    }

    /// Where a service is as a whole.
    ///
    /// # Errors
    /// When the stack has no service of this name.
    pub fn replicas(&self, name: &str) -> Result<Replicas, Error> {
        let team = self.team();
        if !team.written.services.contains_key(name) {
            return Err(Error::asked(format!("there is no service `{name}`"), ""));
        }
        let names = team.written.instances(name);
        let mut replicas = Replicas { desired: names.len(), running: 0, ready: 0 };
        for controller in names.iter().filter_map(|name| team.services.get(name)) {
            let status = controller.status();
            replicas.running += usize::from(status.pid.is_some());
            replicas.ready += usize::from(status.ready);
        }
        Ok(replicas)
    }

    /// Has a service run so many times. Instances that are too many are stopped, the highest numbers first; it returns when
    /// nothing of them is left.
    ///
    /// # Errors
    /// When the stack has no such service or says nothing of its `replicas`, or as [`Self::apply`].
    pub async fn scale(&self, name: &str, replicas: u32) -> Result<Vec<Difference>, Error> {
        // Read under the lock: of two who scale at once, neither undoes what the other did.
        let _one_after_the_other = self.applying.lock().await;
        let mut stack = Stack::clone(&self.written());
        let service = stack.services.get_mut(name);
        let Some(service) = service else {
            return Err(Error::asked(format!("there is no service `{name}`"), ""));
        };
        if service.replicas.is_none() {
            let hint = format!("write `replicas = 1` for `{name}` into the stack file");
            return Err(Error::asked(format!("`{name}` isn't one that runs several times"), hint));
        }
        service.replicas = Some(replicas);
        if let Some(why) = service.cannot_be(replicas) {
            return Err(Error::asked(format!("`{name}` can't run {replicas} times: {why}"), ""));
        }
        self.put_into_force(stack).await
    }

    /// The stack that is in force, with the instances of services that run several times in their place.
    pub fn stack(&self) -> Arc<Stack> {
        self.team().stack.clone()
    }

    /// Every change of every service from now on.
    pub fn notices(&self) -> Notices {
        self.board.listen()
    }

    /// What putting another stack into force would change.
    pub fn differences(&self, written: &Stack) -> Vec<Difference> {
        self.stack().differences(&written.expanded())
    }

    /// Puts another stack into force, and tells what that changed. What is the same in both goes on undisturbed; what isn't in
    /// the new one any more is stopped, each service after those that depend on it; returns when that is done. What has changed
    /// is started again where it must be.
    ///
    /// # Errors
    /// When the log of a new one can't be opened: nothing is changed then. Else as [`Controller::wait_for`], or when the journal can't
    /// be written.
    pub async fn apply(&self, written: Stack) -> Result<Vec<Difference>, Error> {
        let _one_after_the_other = self.applying.lock().await;
        self.put_into_force(written).await
    }

    async fn put_into_force(&self, written: Stack) -> Result<Vec<Difference>, Error> {
        let stack = written.expanded();
        let is_new = |name: &str| self.service(name).is_none();
        let mut opened = open_logs(self.logs.as_ref(), &stack, is_new)?;
        let differences = self.stack().differences(&stack);
        let leaving = differences.iter().filter(|it| it.is_removed());
        let leaving: Vec<String> = leaving.map(|it| it.service.clone()).collect();
        self.stop_those(leaving.clone()).await?;
        if let Some(journal) = &self.journal {
            leaving.iter().try_for_each(|name| journal.forget(name))?;
        }
        {
            let mut team = self.team();
            team.services.retain(|name, _| stack.services.contains_key(name));
            (team.written, team.stack) = (Arc::new(written), Arc::new(stack.clone()));
        }
        for name in stack.order() {
            let difference = differences.iter().find(|it| it.service == name);
            let (Some(service), Some(difference)) = (stack.services.get(name), difference) else {
                continue;
            };
            match self.service(name) {
                None => self.add(name, service, opened.remove(name)),
                Some(controller) => {
                    if let Some(log) = controller.log() {
                        log.change(&service.logging);
                    }
                    let needs = self.team().needs(service);
                    let change = Change {
                        rules: service.rules.clone(),
                        launch: Launch::of(name, service, needs, self.backend.clone()),
                        anew: difference.needs_restart(),
                        enabled: difference.enabled,
                    };
                    controller.change(change).await?;
                }
            }
        }
        self.watch_groups();
        if let Some((alerts, _)) = &*self.alerts() {
            alerts.follow(&self.written().alerts);
        }
        Ok(differences)
    }

    /// Waits until nothing of any service runs, and nothing will by itself; or until one has failed that is to take the others
    /// with it.
    ///
    /// # Errors
    /// As [`Controller::wait_for`].
    pub async fn wait(&self) -> Result<(), Error> {
        let mut working = JoinSet::new();
        for controller in self.controllers() {
            working.spawn(async move { controller.wait_for(Status::is_at_rest).await });
        }
        while let Some(ended) = working.join_next().await {
            let Ok(status) = ended else { continue };
            if status?.escalated {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Says that this supervisor ends: what is stopped from now on is started again with the next one.
    pub fn close(&self) {
        if let Some(journal) = &self.journal {
            journal.close();
        }
    }

    /// Stops all services, each after those that depend on it, and returns when nothing of them is left.
    ///
    /// # Errors
    /// As [`Controller::wait_for`].
    pub async fn stop(&self) -> Result<(), Error> {
        self.stop_those(self.names()).await
    }

    async fn stop_those(&self, names: Vec<String>) -> Result<(), Error> {
        let team = self.team().clone();
        let mut working = JoinSet::new();
        for name in &names {
            let Some(controller) = team.services.get(name).cloned() else { continue };
            let dependents = team.dependents(name, &names);
            working.spawn(async move {
                for dependent in dependents {
                    dependent.wait_for(Status::is_settled).await?;
                }
                controller.stop().await.map(|_| ())
            });
        }
        while let Some(stopped) = working.join_next().await {
            // It can't panic; if it did, the others are waited for all the same.
            stopped.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Kills all services at once, and returns when nothing of them is left.
    ///
    /// # Errors
    /// As [`Controller::wait_for`].
    pub async fn kill(&self) -> Result<(), Error> {
        let mut working = JoinSet::new();
        for controller in self.controllers() {
            working.spawn(async move { controller.kill().await.map(|_| ()) });
        }
        while let Some(killed) = working.join_next().await {
            killed.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    fn controllers(&self) -> Vec<Controller> {
        self.team().services.values().cloned().collect()
    }

    /// A poisoned lock only means that a thread panicked while it looked; what is there is whole.
    fn team(&self) -> MutexGuard<'_, Team> {
        self.team.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The logs of those services that are to be logged, by their names.
fn open_logs(
    logs: Option<&Logs>,
    stack: &Stack,
    wants: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, InstanceLog>, Error> {
    let mut opened = BTreeMap::new();
    let services = stack.services.iter().filter(|(name, _)| wants(name));
    for (name, service) in services.filter(|(_, it)| it.logging.driver != Driver::None) {
        if let Some(logs) = logs {
            // An instance is its service's, and a name without a dot is both.
            let of = name.split_once('.').map_or(name.as_str(), |(service, _)| service);
            opened.insert(name.clone(), logs.instance(of, name, &service.logging)?);
        }
    }
    Ok(opened)
}

#[cfg(test)]
mod tests;
