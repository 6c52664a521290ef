//! One program that is kept running: the smallest supervisor there is.

use super::capture::{Capture, Captured};
use super::dialogue::Notify;
use super::gate::{Gate, Needed};
use super::health::{HealthCheck, Look};
use super::hook::Hooks;
use super::journal::Journal;
use super::lifecycle::{Event, Rules, Started};
use super::news::News;
use super::probe::{Probe, Purpose};
use super::restart::Restart;
use super::service::{Actor, Ask, Change, Launch, Request, Status};
use super::sockets::ServiceSocket;
use super::stack::Service;
use super::violation::Measures;
use crate::error::Error;
use crate::logs::InstanceLog;
use crate::platform::{Backend, Hits, Signal, Usage};
use crate::policy::Policy;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Keeps one program running, in a new sandbox each time.
///
/// ```
/// # fn main() -> Result<(), stockade::Error> {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use stockade::Policy;
/// use stockade::supervisor::Controller;
///
/// let controller = Controller::new(Policy::shipped("default")?, ["sleep", "1000"]).start();
/// controller.ready().await?;
/// controller.stop().await?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// It goes with its last handle: the program ends when nobody can ask for anything any more.
#[derive(Clone, Debug)]
pub struct Controller {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
    capture: Capture,
}

/// What is kept running, and how.
#[derive(Debug)]
pub struct ControllerBuilder {
    rules: Rules,
    launch: Launch,
    capture: usize,
    log: Option<InstanceLog>,
}

/// How much of a program's output is kept, in bytes.
pub(super) const KEPT: usize = 64 << 10;

impl ControllerBuilder {
    /// How it is started again.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// The same delay before each new start, for ever, after whatever end.
    #[must_use]
    pub fn retry_every(mut self, delay: Duration) -> Self {
        self.rules.restart = Restart::every(delay);
        self
    }

    /// How long it has to end when it is asked to; else 30 seconds.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.rules.grace = grace;
        self
    }

    /// How it is asked to end; else [`Signal::Terminate`].
    #[must_use]
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.launch.stop_signal = signal;
        self
    }

    /// How it is asked to read its settings anew; else [`Signal::Hangup`].
    #[must_use]
    pub fn reload_signal(mut self, signal: Signal) -> Self {
        self.launch.reload_signal = signal;
        self
    }

    /// What it says of itself, in the words of sd_notify(3): with [`Notify::heard`] it has started when it says so.
    #[must_use]
    pub fn notify(mut self, notify: Notify) -> Self {
        self.launch.notify = notify;
        if notify.heard {
            self.rules.started = Started::Ready;
        }
        self.rules.tells_reload = notify.tells_reload;
        self
    }

    /// Its program ends with success when it has started, and leaves its work to a process that it started: the one that this file
    /// names, as the program sees it, or that it names itself (`MAINPID`, sd_notify(3)), or the only one that is left.
    #[must_use]
    pub fn forking(mut self, pid_file: Option<PathBuf>) -> Self {
        (self.launch.forks, self.launch.pid_file) = (true, pid_file);
        self.launch.notify.probed = true;
        (self.rules.started, self.rules.forks) = (Started::Ready, true);
        self
    }

    /// One more socket that is bound for it, and stays so while it is started again (sd_listen_fds(3)).
    #[must_use]
    pub fn socket(mut self, socket: ServiceSocket) -> Self {
        self.launch.sockets.push(socket);
        self
    }

    /// It has started when this check says so; where it gives up, the program is ended and started again.
    #[must_use]
    pub fn startup(mut self, check: impl HealthCheck + 'static, probe: Probe) -> Self {
        self.rules.started = Started::Ready;
        self.look(Purpose::Startup, check, probe)
    }

    /// It is ready when and as long as this check says so; nothing else depends on it.
    #[must_use]
    pub fn readiness(mut self, check: impl HealthCheck + 'static, probe: Probe) -> Self {
        self.rules.probed = true;
        self.look(Purpose::Readiness, check, probe)
    }

    /// Where this check gives up, the program is ended and started again.
    #[must_use]
    pub fn liveness(self, check: impl HealthCheck + 'static, probe: Probe) -> Self {
        self.look(Purpose::Liveness, check, probe)
    }

    fn look(mut self, purpose: Purpose, check: impl HealthCheck + 'static, probe: Probe) -> Self {
        self.launch.looks.retain(|look| look.purpose != purpose);
        self.launch.looks.push(Look { purpose, check: Arc::new(check), probe });
        self
    }

    /// A name for its sandboxes; else the program's.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.launch.name = Some(name.into());
        self
    }

    /// How much of its output is kept, in bytes; else 64 KiB.
    #[must_use]
    pub fn capture(mut self, bytes: usize) -> Self {
        self.capture = bytes;
        self
    }

    /// Keeps the lines that it writes, over the end of this process too.
    #[must_use]
    pub fn log(mut self, log: InstanceLog) -> Self {
        self.log = Some(log);
        self
    }

    /// Launches through another backend than the platform's own.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.launch.backend = Some(backend);
        self
    }

    /// Begins to keep it running. Must be called inside a tokio runtime.
    pub fn start(self) -> Controller {
        let capture = Capture::new(self.capture).logged(self.log);
        let (actor, requests, status) =
            Actor::new(true, self.rules, self.launch, capture.clone(), None);
        tokio::spawn(actor.act());
        Controller { requests, status, capture }
    }
}

impl Controller {
    /// Describes a program to be kept running under this policy: after trouble it is started again, by [`Restart`]'s defaults.
    #[expect(clippy::new_ret_no_self, reason = "what is described isn't running yet")]
    pub fn new(
        policy: Policy,
        command: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> ControllerBuilder {
        let launch = Launch {
            policy,
            command: command.into_iter().map(Into::into).collect(),
            name: None,
            stop_signal: Signal::Terminate,
            reload_signal: Signal::Hangup,
            backend: None,
            looks: Vec::new(),
            gate: Gate::default(),
            hooks: Hooks::default(),
            reload_command: Vec::new(),
            on_violation: Measures::new(),
            notify: Notify::default(),
            sockets: Vec::new(),
            forks: false,
            pid_file: None,
            attach: None,
            on_demand: false,
        };
        ControllerBuilder { rules: Rules::default(), launch, capture: KEPT, log: None }
    }

    /// One service of a stack.
    pub(super) fn of(
        name: &str,
        service: &Service,
        needs: Vec<Needed>,
        capture: Capture,
        news: News,
        backend: Option<Arc<dyn Backend>>,
        journal: Option<&Journal>,
    ) -> Self {
        let launch = Launch::of(name, service, needs, backend);
        let rules = service.rules.clone();
        let (mut actor, requests, status) =
            Actor::new(service.enabled, rules, launch, capture.clone(), Some(news));
        if let Some(journal) = journal {
            actor.remember_in(journal, name, service.enabled);
        }
        tokio::spawn(actor.act());
        Self { requests, status, capture }
    }

    /// Keeps it running as another one.
    pub(super) async fn change(&self, change: Change) -> Result<(), Error> {
        self.request(Ask::Change(Box::new(change))).await
    }

    /// The log of what it writes, where that is kept.
    pub fn log(&self) -> Option<&InstanceLog> {
        self.capture.log()
    }

    /// What tells of every change.
    pub(super) fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Where it is, and why.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The last of what it wrote, over all its runs.
    pub fn output(&self) -> Captured {
        self.capture.captured()
    }

    /// Waits until its status is such; at once if it is already.
    ///
    /// # Errors
    /// When there is no supervisor any more: its runtime was shut down.
    pub async fn wait_for(&self, is: impl Fn(&Status) -> bool) -> Result<Status, Error> {
        let mut status = self.status.clone();
        let found = status.wait_for(is).await.map(|status| status.clone());
        found.map_err(|_| gone())
    }

    /// Waits until it can be used.
    ///
    /// # Errors
    /// When it is at rest instead, with the reason.
    pub async fn ready(&self) -> Result<Status, Error> {
        let status = self.wait_for(|status| status.ready || status.is_at_rest()).await?;
        if status.ready {
            return Ok(status);
        }
        Err(Error::asked(format!("it isn't ready: {}", status.why), ""))
    }

    /// Starts it, or does so sooner than it would by itself; forgets what went wrong before.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn start(&self) -> Result<(), Error> {
        self.ask(Event::Start).await
    }

    /// Asks it to end, and returns when nothing of it is left. It isn't started again by itself.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn stop(&self) -> Result<Status, Error> {
        self.ask(Event::Stop).await?;
        self.wait_for(Status::is_settled).await
    }

    /// Ends it at once, and returns when nothing of it is left. It isn't started again by itself.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn kill(&self) -> Result<Status, Error> {
        self.ask(Event::Kill).await?;
        self.wait_for(Status::is_settled).await
    }

    /// Asks it to end, and starts it anew when nothing of it is left.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn restart(&self) -> Result<(), Error> {
        self.ask(Event::Restart).await
    }

    /// Starts it anew if it runs, for what happened to another one of its group.
    pub(super) async fn peer_restarted(&self, why: String) -> Result<(), Error> {
        self.ask(Event::PeerRestarted(why)).await
    }

    /// Has it read its settings anew.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn reload(&self) -> Result<(), Error> {
        self.ask(Event::Reload).await
    }

    /// Lets all of it stand still.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn pause(&self) -> Result<(), Error> {
        self.ask(Event::Pause).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn resume(&self) -> Result<(), Error> {
        self.ask(Event::Resume).await
    }

    /// Forgets what went wrong, and that it failed.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn reset(&self) -> Result<(), Error> {
        self.ask(Event::Reset).await
    }

    /// Sends its program a signal; whatever that does, it isn't taken for a stop.
    ///
    /// # Errors
    /// When nothing of it runs, or as [`Self::wait_for`].
    pub async fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.request(Ask::Signal(signal)).await
    }

    /// What its present run uses; nothing where none runs.
    ///
    /// # Errors
    /// When a source that the platform has can't be read, or as [`Self::wait_for`].
    pub async fn usage(&self) -> Result<Option<Usage>, Error> {
        Ok(self.figures().await?.map(|(usage, _)| usage))
    }

    /// The same, with how often it came to its limits.
    pub(crate) async fn figures(&self) -> Result<Option<(Usage, Hits)>, Error> {
        let (reply, answer) = oneshot::channel();
        self.request(Ask::Usage(reply)).await?;
        answer.await.map_err(|_| gone())
    }

    /// Returns when it is taken in: what was true before needn't be any more.
    async fn ask(&self, event: Event) -> Result<(), Error> {
        self.request(Ask::Event(event)).await
    }

    async fn request(&self, ask: Ask) -> Result<(), Error> {
        let (taken, done) = oneshot::channel();
        self.requests.send(Request { ask, taken }).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::asked("nobody supervises it any more: the runtime was shut down", "")
}

#[cfg(test)]
mod tests;
