//! One supervised program as an actor: it alone owns the program's lifecycle and its sandbox, so that nothing that is asked
//! of it and nothing that happens to it can overtake each other.

mod resumed;

use super::capture::Capture;
use super::dialogue::{Ear, Notify, Reload, Watchdog, heard};
use super::diary::Diary;
use super::fd_store::FdStore;
use super::gate::Gate;
use super::health::{Look, Looks, Vitals};
use super::lifecycle::{Action, Event, Generation, Happening, Lifecycle, Rules, State};
use super::news::{Counts, News};
use super::notice::Notice;
use super::outcome::Outcome;
use super::probe::Purpose;
use super::record::Run;
use super::restart::Moment;
use super::sockets::{ServiceSocket, Sockets};
use super::stack::{Condition, Service};
use crate::error::Error;
use crate::logs::Stream;
use crate::plan::new_id;
use crate::platform::{Backend, BoxFuture, ClockOffsets, Signal, Stdio, Usage, monotonic_clock};
use crate::policy::Policy;
use crate::report::ExitReport;
use crate::sandbox::{Adopted, Sandbox, SandboxBuilder};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// Where a supervised program is, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Where it is.
    pub state: State,
    /// Why it is there, for people.
    pub why: String,
    /// Whether it can be used.
    pub ready: bool,
    /// The number of its present or last run.
    pub generation: Generation,
    /// Starts since everything was well; 0 where nothing went wrong.
    pub attempts: u32,
    /// How its last run came out.
    pub last: Option<Outcome>,
    /// The report of its last run.
    pub report: Option<Arc<ExitReport>>,
    /// Process id of its sandbox's first process, as the host counts: for people, never for signalling.
    pub pid: Option<u32>,
    /// Since when it is in this state.
    pub since: Instant,
    /// What failed last of what was to be done with it, in one line.
    pub error: Option<String>,
    /// What its present or last run said of itself last (`STATUS`, sd_notify(3)).
    pub told: Option<String>,
    /// Whether it has failed, and is to take others with it.
    pub escalated: bool,
    /// How often it was started again, and how its runs came out, since it is supervised.
    pub counts: Counts,
}

impl Status {
    /// How long it has run, if it does.
    pub fn uptime(&self) -> Option<Duration> {
        (self.state == State::Running).then(|| self.since.elapsed())
    }

    /// Whether asking it to end brings nothing more: it is at rest, or can't be told from a stranger.
    pub(super) fn is_settled(&self) -> bool {
        self.is_at_rest() || self.state == State::Unknown
    }

    /// Whether nothing of it runs, and nothing will by itself.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Disabled | State::Inactive | State::Failed | State::Completed)
    }
}

/// What is launched, each time.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) policy: Policy,
    pub(super) command: Vec<OsString>,
    pub(super) name: Option<String>,
    pub(super) stop_signal: Signal,
    pub(super) reload_signal: Signal,
    pub(super) backend: Option<Arc<dyn Backend>>,
    pub(super) looks: Vec<Look>,
    pub(super) gate: Gate,
    pub(super) notify: Notify,
    pub(super) sockets: Vec<ServiceSocket>,
    pub(super) on_demand: bool,
}

impl Launch {
    /// Of a service of a stack.
    pub(super) fn of(
        name: &str,
        service: &Service,
        needs: Vec<(String, Condition, watch::Receiver<Status>)>,
        backend: Option<Arc<dyn Backend>>,
    ) -> Self {
        Self {
            policy: service.policy.clone(),
            command: service.command.clone(),
            name: Some(name.to_owned()),
            stop_signal: service.stop_signal,
            reload_signal: service.reload_signal,
            backend,
            looks: Vec::new(),
            gate: Gate(needs),
            notify: service.notify,
            sockets: service.sockets.clone(),
            on_demand: service.on_demand && !service.sockets.is_empty(),
        }
    }

    fn start(
        &self,
        run: Option<&Run>,
        ear: Option<&Ear>,
        passed: Vec<(String, File)>,
    ) -> Result<Sandbox, Error> {
        let mut builder = self.sandbox(run).pass(passed);
        if let Some(socket) = ear.map(Ear::socket) {
            builder = builder.show(socket.shown()).variable("NOTIFY_SOCKET", socket.inside());
        }
        if let Some(period) = self.notify.watchdog {
            let period = period.as_micros().to_string();
            builder = builder.variable("WATCHDOG_USEC", period).pid_variable("WATCHDOG_PID");
        }
        builder.start()
    }

    /// Takes over a run of the supervisor before.
    fn adopt(&self, run: &Run) -> Result<Adopted, Error> {
        self.sandbox(Some(run)).adopt(run.process.as_ref())
    }

    /// A run that is about to begin, and may outlive this supervisor.
    fn run(&self) -> Result<Run, Error> {
        let program = self.command.first().map(OsString::as_os_str);
        let id = new_id(self.name.as_deref(), program);
        let failed = |error| Error::io("failed to draw a token", error);
        Run::new(id, self.policy.digest()).map_err(failed)
    }

    fn sandbox(&self, run: Option<&Run>) -> SandboxBuilder {
        let mut builder = Sandbox::builder(self.policy.clone()).command(self.command.clone());
        if let Some(name) = &self.name {
            builder = builder.name(name);
        }
        if let Some(backend) = &self.backend {
            builder = builder.backend(backend.clone());
        }
        if let Some(run) = run {
            builder = builder.id(run.id.clone()).lasting(run.token);
        }
        builder.stdin(Stdio::Null).stdout(Stdio::Piped).stderr(Stdio::Piped)
    }
}

/// The actor. It ends, and its sandbox with it unless that is written down, when nobody can ask it for anything any more.
pub(super) struct Actor {
    life: Lifecycle,
    rules: Rules,
    launch: Launch,
    /// What is to be in force from the next run on.
    next: Option<(Rules, Launch)>,
    capture: Capture,
    news: Option<News>,
    run: Option<Sandbox>,
    /// Where it is written down, if it is, and outlives this supervisor.
    diary: Option<Diary>,
    /// What is to be done first.
    first: Vec<Action>,
    looks: Looks,
    ear: Option<Ear>,
    watchdog: Watchdog,
    reload: Reload,
    store: FdStore,
    sockets: Sockets,
    /// The wait for what it depends on.
    waiting: Option<BoxFuture<'static, Event>>,
    /// Whether its last failure is to take others with it.
    escalates: bool,
    /// The moment from which the lifecycle counts.
    origin: Instant,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<Status>,
}

/// What somebody asks of it, and whom to tell when that is taken in.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) taken: oneshot::Sender<Result<(), Error>>,
}

/// What can be asked of it.
#[derive(Debug)]
pub(super) enum Ask {
    Event(Event),
    /// Send this to its program, and to nothing where none runs.
    Signal(Signal),
    Change(Box<Change>),
    /// Tell what its present run uses; nothing where none runs.
    Usage(oneshot::Sender<Option<Usage>>),
}

/// How it is kept running from now on.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) rules: Rules,
    pub(super) launch: Launch,
    /// Whether a run that was begun with what was in force before is ended for it.
    pub(super) anew: bool,
    /// Whether it is wanted though it wasn't, or the other way round.
    pub(super) enabled: Option<bool>,
}

/// Requests that may wait; more of them make who asks wait.
const WAITING: usize = 16;

impl Actor {
    /// One that has been asked to start, if it is enabled.
    pub(super) fn new(
        enabled: bool,
        rules: Rules,
        launch: Launch,
        capture: Capture,
        news: Option<News>,
    ) -> (Self, mpsc::Sender<Request>, watch::Receiver<Status>) {
        let (mut life, origin) = (Lifecycle::new(enabled), Instant::now());
        let waits = enabled && !life.step(&rules, Event::Start, Moment::default(), 0.0).is_empty();
        let (sender, requests) = mpsc::channel(WAITING);
        let (status, told) = watch::channel(Status {
            state: life.state(),
            why: life.why().to_owned(),
            ready: false,
            generation: life.generation(),
            attempts: 0,
            last: None,
            report: None,
            pid: None,
            since: origin,
            error: None,
            told: None,
            escalated: false,
            counts: Counts::default(),
        });
        let looks = Looks::new(&[]);
        let run = None;
        let mut actor = Self {
            life,
            rules,
            launch,
            next: None,
            capture,
            news,
            run,
            diary: None,
            first: Vec::new(),
            looks,
            ear: None,
            watchdog: Watchdog::default(),
            reload: Reload::default(),
            store: FdStore::default(),
            sockets: Sockets::default(),
            waiting: None,
            escalates: false,
            origin,
            requests,
            status,
        };
        if waits {
            actor.waiting = Some(actor.wait_to_start());
        }
        (actor, sender, told)
    }

    /// Waits for what it depends on, and where it is started on demand for somebody who wants something of it.
    fn wait_to_start(&mut self) -> BoxFuture<'static, Event> {
        let gate = self.launch.gate.clone();
        if !self.launch.on_demand {
            return Box::pin(gate.pass());
        }
        let bound = self.sockets.bind(&self.launch.sockets).and_then(|()| self.sockets.handed());
        // What can't be bound is told by the start, which tries it again.
        let files = bound.unwrap_or_default().into_iter().map(|(_, file)| file).collect();
        Box::pin(async move {
            let event = gate.pass().await;
            if event == Event::DependenciesMet {
                Sockets::wanted(files).await;
            }
            event
        })
    }

    pub(super) async fn act(mut self) {
        for action in std::mem::take(&mut self.first) {
            if let Some(event) = self.carry_out(action).await {
                self.take_in(event).await;
            }
        }
        self.direct_looks();
        self.tell();
        self.announce();
        loop {
            let deadline = self.life.deadline().map(|moment| self.origin + moment.0);
            let to_look = self.looks.due();
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request { ask, taken }) => {
                        let done = self.answer(ask).await;
                        // Who asked may no longer want to know.
                        taken.send(done).unwrap_or(());
                    }
                    None => return,
                },
                report = ended(&mut self.run) => self.is_over(report).await,
                () = due(deadline) => self.take_in(Event::Time).await,
                event = passed(&mut self.waiting) => {
                    self.waiting = None;
                    self.take_in(event).await;
                }
                (notice, files) = heard(&mut self.ear) => self.take_notice(notice, files).await,
                () = due(self.watchdog.due()) => self.miss_watchdog().await,
                () = due(to_look) => self.look(),
                verdict = self.looks.looked() => {
                    if let Some((purpose, well)) = verdict {
                        self.hear(purpose, well).await;
                    }
                }
            }
        }
    }

    async fn answer(&mut self, ask: Ask) -> Result<(), Error> {
        match ask {
            Ask::Event(event) => {
                if let Some(diary) = &mut self.diary {
                    diary.hear(&event);
                }
                self.take_in(event).await;
            }
            Ask::Signal(signal) => {
                let nothing =
                    || Error::asked(format!("nothing of it runs: {}", self.life.why()), "");
                return self.run.as_mut().ok_or_else(nothing)?.signal(signal);
            }
            Ask::Change(change) => self.change(*change).await,
            Ask::Usage(reply) => {
                let usage = self.run.as_mut().map(Sandbox::usage).transpose()?;
                // Who asked may no longer want to know.
                reply.send(usage).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// From now on, or from its next run on, it is another one.
    async fn change(&mut self, change: Change) {
        let Change { rules, launch, anew, enabled } = change;
        if self.life.is_live() && anew {
            // What runs is ended as was agreed when it began.
            self.next = Some((rules, launch));
        } else {
            (self.rules, self.launch, self.next) = (rules, launch, None);
        }
        match enabled {
            Some(true) => self.take_in(Event::Start).await,
            Some(false) => self.take_in(Event::Stop).await,
            None if anew && self.life.is_wanted() => self.take_in(Event::Restart).await,
            None => {}
        }
        if self.life.state() == State::Pending {
            self.waiting = Some(self.wait_to_start());
        }
    }

    /// It says something of itself.
    async fn take_notice(&mut self, notice: Notice, files: Vec<OwnedFd>) {
        // Whoever waits until all that was said is taken in sees descriptors closed with this (`BARRIER`).
        match notice.store {
            Some(store) => self.store.take(store, files, self.launch.notify.fdstore_max),
            None => drop(files),
        }
        let errno = notice.errno.map(|errno| std::io::Error::from_raw_os_error(errno).to_string());
        if let Some(told) = notice.status.or(errno) {
            self.status.send_modify(|status| status.told = Some(told));
        }
        let now = Instant::now();
        if let Some(period) = notice.watchdog {
            self.watchdog.change(period, now);
        } else if notice.alive && self.watchdog.due().is_some() {
            self.watchdog.fed(now);
        }
        if notice.reloading {
            self.reload.begun(notice.monotonic);
        }
        // One that reloads and was asked to is ready only with what it was asked to read.
        let ready = notice.ready && !notice.reloading && self.reload.has_begun();
        let happened = [
            notice.extend.map(Happening::Extended),
            notice.reloading.then_some(Happening::Reloading),
            ready.then_some(Happening::Ready),
            notice.stopping.then_some(Happening::Stopping),
            notice.dead.then_some(Happening::WatchdogMissed),
        ];
        for happening in happened.into_iter().flatten() {
            self.take_in(Event::Of(self.life.generation(), happening)).await;
        }
        self.tell();
    }

    async fn miss_watchdog(&mut self) {
        self.watchdog.direct(false, Instant::now());
        let missed = Happening::WatchdogMissed;
        self.take_in(Event::Of(self.life.generation(), missed)).await;
    }

    /// Nothing of the run is left.
    async fn is_over(&mut self, report: Result<ExitReport, Error>) {
        // What it said before counts before its end. Nobody is left to say more.
        if let Some(ear) = self.ear.take() {
            while let Some((notice, files)) = ear.last_words() {
                self.take_notice(notice, files).await;
            }
        }
        // Where nobody can say how it ended, what may be left of it goes with this.
        if let Some(run) = &mut self.run {
            run.detach(false);
        }
        self.run = None;
        self.looks = Looks::new(&[]);
        let outcome = match report {
            Ok(report) => {
                let outcome = Outcome::of(&report);
                self.status.send_modify(|status| status.report = Some(Arc::new(report)));
                outcome
            }
            Err(error) => {
                self.failed(&error);
                Outcome::Unobserved
            }
        };
        self.status.send_modify(|status| status.counts.ended(&outcome));
        self.take_in(Event::Of(self.life.generation(), Happening::Ended(outcome))).await;
    }

    /// Looks at the program where it is time to.
    fn look(&mut self) {
        let Some(run) = &mut self.run else { return };
        let usage = run.usage();
        let uptime = self.status.borrow().since.elapsed();
        match usage {
            Ok(usage) => self.looks.look(&Vitals::new(uptime, &usage)),
            Err(error) => {
                self.looks.look(&Vitals { uptime, ..Vitals::default() });
                self.failed(&error);
            }
        }
    }

    /// A probe has changed its mind.
    async fn hear(&mut self, purpose: Purpose, well: bool) {
        let happening = match (purpose, well) {
            (Purpose::Startup, true) => Happening::Ready,
            (Purpose::Startup, false) => Happening::StartupFailed,
            (Purpose::Readiness, ready) => Happening::Readiness(ready),
            (Purpose::Liveness, false) => Happening::LivenessFailed,
            // That it lives needs no saying.
            (Purpose::Liveness, true) => return,
        };
        if let Some(error) = self.looks.error(purpose).filter(|_| !well).map(str::to_owned) {
            self.status.send_modify(|status| status.error = Some(error));
        }
        self.take_in(Event::Of(self.life.generation(), happening)).await;
    }

    /// Looks for what is worth knowing of the state that it is in: of what stands still or ends, nothing.
    fn direct_looks(&mut self) {
        let (starts, runs) = match self.life.state() {
            State::Starting => (true, false),
            State::Running | State::Reloading => (false, true),
            _ => (false, false),
        };
        self.watchdog.direct(runs, Instant::now());
        for (purpose, wanted) in
            [(Purpose::Startup, starts), (Purpose::Readiness, runs), (Purpose::Liveness, runs)]
        {
            if wanted { self.looks.begin(purpose) } else { self.looks.end(purpose) }
        }
    }

    /// Takes in what happened, and all that follows from it.
    async fn take_in(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Moment(self.origin.elapsed());
            let actions = self.life.step(&self.rules, event, now, chance());
            let actions = self.write_down(actions);
            for action in actions {
                if let Some(event) = self.carry_out(action).await {
                    events.push_back(event);
                }
            }
            self.direct_looks();
            if self.life.state() != State::Pending {
                self.waiting = None;
            }
            // What it doesn't come back to is kept for nobody.
            if self.life.is_at_rest() {
                self.store.clear();
                self.sockets.close();
            }
            self.tell();
        }
    }

    /// Does what is to be done. What is known at once is what comes back.
    async fn carry_out(&mut self, action: Action) -> Option<Event> {
        let done = match (action, &mut self.run) {
            (Action::CheckDependencies, _) => {
                if let Some(next) = self.next.take() {
                    (self.rules, self.launch) = next;
                }
                self.waiting = Some(self.wait_to_start());
                return None;
            }
            (Action::Launch(generation), _) => {
                self.escalates = false;
                let life = &self.life;
                self.status.send_modify(|status| status.counts.launched(life));
                return Some(Event::Of(generation, self.start()));
            }
            (Action::Escalate, _) => {
                self.escalates = true;
                Ok(())
            }
            (_, None) => Ok(()),
            // What it stands still for, by itself or by somebody else, mustn't keep it from hearing.
            (Action::Ask, Some(run)) => {
                run.signal(self.launch.stop_signal).and_then(|()| run.signal(Signal::Continue))
            }
            (Action::Kill, Some(run)) => run.kill(),
            (Action::Reload, Some(run)) => {
                if self.launch.notify.tells_reload {
                    // With another clock inside it can't be compared, and any reload is taken for this one.
                    let same_clock = self.launch.policy.clock == ClockOffsets::default();
                    let now = if same_clock { monotonic_clock() } else { Duration::ZERO };
                    self.reload.ask(now);
                }
                run.signal(self.launch.reload_signal)
            }
            (Action::Freeze, Some(run)) => run.pause().await,
            (Action::Thaw, Some(run)) => run.resume().await,
        };
        let error = done.err()?;
        self.failed(&error);
        match action {
            // What can't be asked is killed when its time is over; what can't stand still goes on.
            Action::Freeze => Some(Event::Resume),
            _ => None,
        }
    }

    /// Writes down where it is, before what comes of that is done.
    fn write_down(&mut self, actions: Vec<Action>) -> Vec<Action> {
        let Some(diary) = &mut self.diary else { return actions };
        let launches = actions.iter().any(|action| matches!(action, Action::Launch(_)));
        let written = match launches.then(|| self.launch.run()).transpose() {
            Ok(run) => {
                diary.run = run.or(diary.run.take());
                diary.write(&self.life, launches)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            if launches {
                (diary.run, diary.refused) = (None, error.chain());
            }
            self.failed(&error);
        }
        actions
    }

    fn start(&mut self) -> Happening {
        let run = match &mut self.diary {
            Some(diary) => match diary.run.as_ref().ok_or(&mut diary.refused) {
                Ok(run) => Some(run),
                // What can't be written down would be nobody's if this supervisor died.
                Err(refused) => return Happening::NotLaunched(std::mem::take(refused)),
            },
            None => None,
        };
        let run = run.cloned();
        self.status.send_modify(|status| status.told = None);
        match self.launched(run.as_ref()) {
            Ok((sandbox, ear)) => {
                self.supervise(sandbox);
                self.ear = ear;
                self.watchdog = Watchdog::new(self.launch.notify.watchdog);
                self.reload = Reload::default();
                Happening::Launched
            }
            Err(error) => Happening::NotLaunched(error.chain()),
        }
    }

    fn launched(&mut self, run: Option<&Run>) -> Result<(Sandbox, Option<Ear>), Error> {
        let ear = match self.launch.notify.needs_socket() {
            true => Some(Ear::open(&new_id(self.launch.name.as_deref(), None))?),
            false => None,
        };
        self.sockets.bind(&self.launch.sockets)?;
        let mut passed = self.sockets.handed()?;
        let failed = |error| Error::io("failed to pass on what it stored", error);
        passed.extend(self.store.handed().map_err(failed)?);
        Ok((self.launch.start(run, ear.as_ref(), passed)?, ear))
    }

    /// From now on this is its run.
    fn supervise(&mut self, mut sandbox: Sandbox) {
        let generation = self.life.generation();
        self.capture.attach(Stream::Output, generation, sandbox.stdout.take());
        self.capture.attach(Stream::Error, generation, sandbox.stderr.take());
        if let Some(diary) = &mut self.diary {
            sandbox.witness(diary.ledger.witness());
            // Whatever becomes of this supervisor, its services go on.
            sandbox.detach(true);
            if let Some(run) = &mut diary.run {
                run.process = sandbox.identity();
            }
        }
        self.run = Some(sandbox);
        self.looks = Looks::new(&self.launch.looks);
    }

    fn failed(&self, error: &Error) {
        self.status.send_modify(|status| status.error = Some(error.chain()));
    }

    /// Lets everybody know where it is.
    fn tell(&self) {
        let (life, pid) = (&self.life, self.run.as_ref().map(Sandbox::pid));
        let escalates = self.escalates;
        let mut is_news = false;
        self.status.send_modify(|status| {
            let before = (status.state, status.generation, status.ready);
            if (status.state, status.generation) != (life.state(), life.generation()) {
                status.since = Instant::now();
            }
            status.state = life.state();
            status.escalated = escalates && life.state() == State::Failed;
            let waits = match life.state() {
                State::Pending => match self.launch.gate.told() {
                    told if told.is_empty() && self.launch.on_demand => {
                        "waits for somebody to connect".to_owned()
                    }
                    told => told,
                },
                _ => String::new(),
            };
            status.why = match &status.told {
                _ if !waits.is_empty() => waits,
                Some(told) if life.is_live() => format!("{}; it says: {told}", life.why()),
                _ => life.why().to_owned(),
            };
            status.ready = life.is_ready();
            status.generation = life.generation();
            status.attempts = life.attempts();
            status.last = life.last().cloned();
            status.pid = pid;
            is_news = before != (status.state, status.generation, status.ready);
        });
        if is_news {
            self.announce();
        }
    }

    /// Tells everybody who keeps account of changes.
    fn announce(&self) {
        if let Some(news) = &self.news {
            news.tell(self.status.borrow().clone());
        }
    }
}

/// The end of a run; never where there is none. Dropping the future loses nothing.
async fn ended(run: &mut Option<Sandbox>) -> Result<ExitReport, Error> {
    match run {
        Some(run) => run.wait().await,
        None => std::future::pending().await,
    }
}

/// What comes of waiting; never where nobody waits. Dropping the future loses nothing.
async fn passed(waiting: &mut Option<BoxFuture<'static, Event>>) -> Event {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}

async fn due(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A random number from 0 to 1. The standard library's hasher is keyed with random numbers of the system.
fn chance() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}
