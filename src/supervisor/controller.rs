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
mod tests {
    use super::super::health::Vitals;
    use super::super::lifecycle::State;
    use super::super::outcome::Outcome;
    use super::super::restart::Budget;
    use super::*;
    use crate::platform::BoxFuture;
    use crate::platform::fake::{FakeBackend, FakeHandle, Scripted};
    use crate::platform::{Ended, HowEnded};
    use std::sync::Mutex;
    use tokio::time::{Instant, sleep};

    /// A program on a backend that does what it is told, with a clock that moves when nothing else does.
    fn controller(backend: &Arc<FakeBackend>, restart: Restart) -> Controller {
        let policy = Policy::shipped("default").unwrap();
        Controller::new(policy, ["true"]).restart(restart).backend(backend.clone()).start()
    }

    fn plain() -> Restart {
        Restart { jitter: 0.0, ..Restart::default() }
    }

    fn newest(backend: &FakeBackend) -> FakeHandle {
        backend.launched().pop().unwrap()
    }

    async fn runs_again(controller: &Controller, generation: u64) {
        let is = |status: &Status| status.ready && status.generation.0 == generation;
        controller.wait_for(is).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_started_again_after_growing_delays_until_it_is_given_up() {
        let backend = Arc::new(FakeBackend::new());
        let restart = Restart { run: Budget::new(3, Duration::from_secs(300)), ..plain() };
        let controller = controller(&backend, restart);
        let mut delays = Vec::new();
        for generation in 1.. {
            runs_again(&controller, generation).await;
            let end = Instant::now();
            newest(&backend).end(Ended::new(HowEnded::Exited(1)));
            let next = |status: &Status| status.generation.0 > generation || status.is_at_rest();
            if controller.wait_for(next).await.unwrap().is_at_rest() {
                break;
            }
            delays.push(end.elapsed().as_millis());
        }
        assert_eq!(delays, [500, 1000, 2000]);
        let status = controller.status();
        assert_eq!((status.state, status.last), (State::Failed, Some(Outcome::Exited(1))));
        assert_eq!(status.why, "exited with 1; no more than 3 attempts are made");
        assert_eq!(status.report.unwrap().exit_code, Some(1));
        assert!(controller.ready().await.is_err());
        assert_eq!(backend.launched().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_is_a_polite_request_then_a_kill_and_it_stays_so() {
        let backend = Arc::new(FakeBackend::new());
        let controller = controller(&backend, Restart::every(Duration::from_secs(1)));
        controller.ready().await.unwrap();
        let before = Instant::now();
        let status = controller.stop().await.unwrap();
        assert_eq!(before.elapsed().as_secs(), 30);
        assert_eq!((status.state, status.last), (State::Inactive, Some(Outcome::StopTimedOut)));
        let signals = newest(&backend).signals();
        assert_eq!(signals, [Signal::Terminate, Signal::Continue, Signal::Kill]);
        sleep(Duration::from_secs(1000)).await;
        assert_eq!(backend.launched().len(), 1);
        controller.start().await.unwrap();
        runs_again(&controller, 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_launch_that_fails_is_an_attempt_and_its_reason_is_told() {
        let backend = Arc::new(FakeBackend::new());
        let failure = || crate::platform::PlatformError::invalid("no more processes");
        for _ in 0..2 {
            backend.script(Scripted::Fails(failure()));
        }
        let controller = controller(&backend, plain());
        let waits = |status: &Status| status.state == State::Backoff;
        let status = controller.wait_for(waits).await.unwrap();
        assert!(status.why.contains("no more processes"), "{}", status.why);
        assert_eq!(controller.ready().await.unwrap().attempts, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_and_goes_on_and_reads_its_settings() {
        let backend = Arc::new(FakeBackend::new());
        let controller = controller(&backend, plain());
        controller.ready().await.unwrap();
        controller.pause().await.unwrap();
        assert_eq!(controller.status().state, State::Paused);
        controller.resume().await.unwrap();
        controller.reload().await.unwrap();
        assert_eq!(controller.status().state, State::Running);
        let signals = newest(&backend).signals();
        assert_eq!(signals, [Signal::Stop, Signal::Continue, Signal::Hangup]);
        assert_eq!(controller.kill().await.unwrap().last, Some(Outcome::Signalled(9)));
    }

    /// Says what it is told to say, and counts how often it was asked.
    #[derive(Clone, Debug, Default)]
    struct Told(Arc<Mutex<Said>>);

    #[derive(Debug, Default)]
    struct Said {
        trouble: Option<String>,
        asked: usize,
        last_error: Option<String>,
    }

    impl Told {
        fn say(&self, trouble: Option<&str>) {
            self.0.lock().unwrap().trouble = trouble.map(str::to_owned);
        }

        fn asked(&self) -> usize {
            self.0.lock().unwrap().asked
        }

        /// What it was told of the look before the last one.
        fn last_error(&self) -> Option<String> {
            self.0.lock().unwrap().last_error.clone()
        }
    }

    impl HealthCheck for Told {
        fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
            let mut told = self.0.lock().unwrap();
            told.asked += 1;
            let answer = told.trouble.clone().map_or(Ok(()), Err);
            let silent = answer == Err("silence".to_owned());
            told.last_error.clone_from(&vitals.last_error);
            Box::pin(async move {
                if silent {
                    std::future::pending::<()>().await;
                }
                answer
            })
        }
    }

    fn looked_at(backend: &Arc<FakeBackend>) -> ControllerBuilder {
        let policy = Policy::shipped("default").unwrap();
        Controller::new(policy, ["true"]).restart(plain()).backend(backend.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn it_has_started_when_the_probe_says_so_and_is_tried_again_where_it_gives_up() {
        let (backend, told) = (Arc::new(FakeBackend::new()), Told::default());
        told.say(Some("not yet"));
        let begin = Instant::now();
        let controller = looked_at(&backend).startup(told.clone(), Probe::default()).start();
        let stops = |status: &Status| status.state == State::Stopping;
        let status = controller.wait_for(stops).await.unwrap();
        // At once, after ten seconds, and after ten more.
        assert_eq!((told.asked(), begin.elapsed().as_secs()), (3, 20));
        assert_eq!(told.last_error().as_deref(), Some("not yet"));
        assert_eq!(status.error.as_deref(), Some("not yet"));
        newest(&backend).end(Ended::new(HowEnded::Exited(0)));
        told.say(None);
        let status = controller.ready().await.unwrap();
        assert_eq!((status.generation.0, status.last), (2, Some(Outcome::StartupProbe)));
        sleep(Duration::from_secs(1000)).await;
        assert_eq!(told.asked(), 4, "it has started");
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_comes_and_goes_and_liveness_ends_it() {
        let backend = Arc::new(FakeBackend::new());
        let (ready, alive) = (Told::default(), Told::default());
        ready.say(Some("warming up"));
        let controller = looked_at(&backend)
            .readiness(ready.clone(), Probe::every(Duration::from_secs(1)))
            .liveness(alive.clone(), Probe::default())
            .start();
        sleep(Duration::from_millis(3500)).await;
        let status = controller.status();
        assert_eq!((status.state, status.ready), (State::Running, false));
        ready.say(None);
        controller.ready().await.unwrap();
        // A look that never comes back is a failure when its time is over.
        ready.say(Some("silence"));
        let status = controller.wait_for(|status| !status.ready).await.unwrap();
        assert_eq!(
            (status.state, status.error),
            (State::Running, Some("no answer within 1s".into()))
        );
        // What stands still isn't looked at.
        controller.pause().await.unwrap();
        let asked = alive.asked();
        sleep(Duration::from_secs(500)).await;
        assert_eq!(alive.asked(), asked);
        alive.say(Some("stuck"));
        controller.resume().await.unwrap();
        let stops = |status: &Status| status.state == State::Stopping;
        let status = controller.wait_for(stops).await.unwrap();
        assert_eq!(status.why, "its liveness probe failed");
        newest(&backend).end(Ended::new(HowEnded::Exited(0)));
        let status = controller.wait_for(|status| status.generation.0 == 2).await.unwrap();
        assert_eq!(status.last, Some(Outcome::Liveness));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_is_another_run_and_no_attempt() {
        let backend = Arc::new(FakeBackend::new());
        let controller = controller(&backend, plain());
        controller.ready().await.unwrap();
        controller.restart().await.unwrap();
        assert_eq!(controller.status().state, State::Stopping);
        newest(&backend).end(Ended::new(HowEnded::Exited(0)));
        runs_again(&controller, 2).await;
        assert_eq!(controller.status().attempts, 0);
    }
}
