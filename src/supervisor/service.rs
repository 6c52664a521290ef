//! One supervised program as an actor: it alone owns the program's lifecycle and its sandbox, so that nothing that is asked
//! of it and nothing that happens to it can overtake each other.

mod resumed;

use super::capture::Capture;
use super::dialogue::{Ear, Notify, Reload, Watchdog, heard};
use super::diary::Diary;
use super::fd_store::FdStore;
use super::gate::{Gate, Needed};
use super::health::{Health, Look, Looks, Vitals};
use super::hook::{self, Hook, Hooks};
use super::lifecycle::{Action, Event, Generation, Happening, Lifecycle, Rules, State};
use super::news::{Counts, News};
use super::notice::Notice;
use super::outcome::Outcome;
use super::probe::Purpose;
use super::record::Run;
use super::restart::Moment;
use super::sockets::{ServiceSocket, Sockets};
use super::stack::Service;
use super::violation::{self, Measure, Measures, Trigger};
use crate::error::Error;
use crate::events::Events;
use crate::logs::Stream;
use crate::plan::new_id;
use crate::platform::{
    Backend, BoxFuture, ClockOffsets, Execution, Signal, Stdio, Usage, monotonic_clock,
};
use crate::policy::Policy;
use crate::report::ExitReport;
use crate::sandbox::{Adopted, Sandbox, SandboxBuilder};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
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
    /// What its probes say.
    pub health: Health,
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
    pub(super) hooks: Hooks,
    pub(super) reload_command: Vec<OsString>,
    pub(super) on_violation: Measures,
    pub(super) notify: Notify,
    pub(super) sockets: Vec<ServiceSocket>,
    pub(super) on_demand: bool,
}

impl Launch {
    /// Of a service of a stack.
    pub(super) fn of(
        name: &str,
        service: &Service,
        needs: Vec<Needed>,
        backend: Option<Arc<dyn Backend>>,
    ) -> Self {
        Self {
            policy: service.policy.clone(),
            command: service.command.clone(),
            name: Some(name.to_owned()),
            stop_signal: service.stop_signal,
            reload_signal: service.reload_signal,
            backend,
            looks: service.probes.all().map(|(purpose, probe)| Look::of(purpose, probe)).collect(),
            gate: Gate(needs),
            hooks: service.hooks.clone(),
            reload_command: service.reload_command.clone(),
            on_violation: service.on_violation.clone(),
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

    /// What a hook runs in: a sandbox under the same policy, but for the ports that are the service's.
    fn sandbox_of_hook(&self, hook: Hook, command: &[OsString]) -> Result<Sandbox, Error> {
        let mut policy = self.policy.clone().env("STOCKADE_HOOK", hook.word());
        if let Some(name) = &self.name {
            policy = policy.env("STOCKADE_SERVICE", name);
        }
        policy.publish.clear();
        let other = Self { policy, command: command.to_vec(), looks: Vec::new(), ..self.clone() };
        other.sandbox(None).start()
    }

    fn sandbox(&self, run: Option<&Run>) -> SandboxBuilder {
        let mut builder = Sandbox::builder(self.policy.clone()).command(self.command.clone());
        if let Some(name) = &self.name {
            builder = builder.name(name);
        }
        if let Some(backend) = &self.backend {
            builder = builder.backend(backend.clone());
        }
        if self.looks.iter().any(|look| look.check.dials()) {
            builder = builder.dialed();
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
    /// The hook that something waits for.
    held: Option<(Held, BoxFuture<'static, Result<(), String>>)>,
    /// The hooks that nothing waits for.
    at_work: JoinSet<(&'static str, Result<(), String>)>,
    /// What hooks were looked at for last.
    seen: hook::Moment,
    /// What happens to its sandbox, where something is done about that.
    events: Option<Events>,
    /// When each of that was told last.
    told: BTreeMap<Trigger, Instant>,
    looks: Looks,
    ear: Option<Ear>,
    watchdog: Watchdog,
    reload: Reload,
    store: FdStore,
    sockets: Sockets,
    /// The wait for what it depends on.
    waiting: Option<BoxFuture<'static, Event>>,
    /// The wait for something that it depends on to come back.
    back: Option<BoxFuture<'static, Event>>,
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

/// Hooks of one service that run at once, beside one that something waits for.
const MOST_HOOKS: usize = 8;

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
            health: Health::Unknown,
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
        let seen = hook::Moment::of(&life, false);
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
            held: None,
            at_work: JoinSet::new(),
            seen,
            events: None,
            told: BTreeMap::new(),
            looks,
            ear: None,
            watchdog: Watchdog::default(),
            reload: Reload::default(),
            store: FdStore::default(),
            sockets: Sockets::default(),
            waiting: None,
            back: None,
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
        // What was taken over isn't new.
        self.seen = hook::Moment::of(&self.life, self.run.is_some());
        if let Some(run) = self.run.as_mut().filter(|_| !self.launch.on_violation.is_empty()) {
            match run.events() {
                Ok(events) => self.events = Some(events),
                Err(error) => self.failed(&error),
            }
        }
        let first = std::mem::take(&mut self.first);
        self.begin(first).await;
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
                done = released(&mut self.held) => self.go_on(done).await,
                Some(done) = self.at_work.join_next(), if !self.at_work.is_empty() => {
                    if let Ok((what, Err(why))) = done {
                        self.tell_error(format!("`{what}` {why}"));
                    }
                }
                event = happened(&mut self.events) => match event {
                    Some(event) => self.violated(&event).await,
                    None => self.events = None,
                },
                event = passed(&mut self.back) => {
                    self.back = None;
                    self.take_in(event).await;
                }
                () = self.launch.gate.changed() => self.refresh(),
                (notice, files) = heard(&mut self.ear) => self.take_notice(notice, files).await,
                () = due(self.watchdog.due()) => self.miss_watchdog().await,
                () = due(to_look) => self.look(),
                verdict = self.looks.looked() => {
                    self.tell_trouble();
                    let before = self.status.borrow().health;
                    let now = self.looks.health();
                    if now == Health::Unhealthy
                        && before != now
                        && let Some(work) = self.hook(Hook::OnUnhealthy)
                    {
                        self.work(Hook::OnUnhealthy.word(), work);
                    }
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
                if self.life.state() == State::Unknown && event != Event::Reset {
                    self.look_again().await;
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

    /// Does what is to be done though nothing has happened.
    async fn begin(&mut self, actions: Vec<Action>) {
        for action in self.write_down(actions) {
            if let Some(event) = self.carry_out(action).await {
                self.take_in(event).await;
            }
        }
        self.direct_looks();
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
        let hook = self.alone(Hook::PostStop);
        self.hold(Held::End(outcome), hook).await;
    }

    /// Goes on with this when a hook is done; at once where there is none.
    async fn hold(&mut self, held: Held, hook: Option<BoxFuture<'static, Result<(), String>>>) {
        match hook {
            Some(hook) => self.held = Some((held, hook)),
            None => self.go_on((held, Ok(()))).await,
        }
    }

    /// What something waited for is done.
    async fn go_on(&mut self, (held, done): (Held, Result<(), String>)) {
        self.held = None;
        let generation = self.life.generation();
        if let (Held::Ask | Held::End(_), Err(why)) = (&held, &done) {
            self.tell_error(format!("`hooks.{}` {why}", held.hook().word()));
        }
        let happening = match (held, done) {
            (Held::Launch, Ok(())) => self.start(),
            (Held::Launch, Err(why)) => Happening::NotLaunched(format!("`hooks.pre_start` {why}")),
            (Held::End(outcome), _) => Happening::Ended(outcome),
            (Held::Ask, _) => return self.ask_to_end(),
        };
        self.take_in(Event::Of(generation, happening)).await;
    }

    fn ask_to_end(&mut self) {
        let Some(run) = &mut self.run else { return };
        // What it stands still for, by itself or by somebody else, mustn't keep it from hearing.
        let asked = run.signal(self.launch.stop_signal).and_then(|()| run.signal(Signal::Continue));
        if let Err(error) = asked {
            // It is killed when its time is over.
            self.failed(&error);
        }
    }

    /// A hook in a sandbox of its own; `None` where there is nothing to run.
    fn alone(&self, hook: Hook) -> Option<BoxFuture<'static, Result<(), String>>> {
        let command = self.launch.hooks.commands.get(&hook)?;
        let patience = self.launch.hooks.timeout;
        Some(match self.launch.sandbox_of_hook(hook, command) {
            Ok(mut sandbox) => {
                let generation = self.life.generation();
                self.capture.attach(Stream::Output, generation, sandbox.stdout.take());
                self.capture.attach(Stream::Error, generation, sandbox.stderr.take());
                Box::pin(hook::alone(sandbox, patience))
            }
            Err(error) => {
                Box::pin(async move { Err(format!("wasn't launched: {}", error.chain())) })
            }
        })
    }

    /// A command inside of what runs; what it writes goes there.
    fn inside(
        &mut self,
        command: &[OsString],
        capture: Option<Capture>,
    ) -> BoxFuture<'static, Result<(), String>> {
        let (patience, generation) = (self.launch.hooks.timeout, self.life.generation());
        let entering = match &mut self.run {
            Some(run) => run.exec(command, hook::streams(capture.is_some())),
            None => Err(Error::asked("nothing of it runs", "")),
        };
        let tell = move |execution: &mut Execution| {
            if let Some(capture) = capture {
                capture.attach(Stream::Output, generation, execution.stdout.take());
                capture.attach(Stream::Error, generation, execution.stderr.take());
            }
        };
        match entering {
            Ok(entering) => Box::pin(hook::inside(entering, tell, patience)),
            Err(error) => {
                Box::pin(async move { Err(format!("wasn't launched: {}", error.chain())) })
            }
        }
    }

    /// A hook of this kind, where it belongs.
    fn hook(&mut self, hook: Hook) -> Option<BoxFuture<'static, Result<(), String>>> {
        if !hook.is_inside() {
            return self.alone(hook);
        }
        let command = self.launch.hooks.commands.get(&hook)?.clone();
        Some(self.inside(&command, Some(self.capture.clone())))
    }

    /// Has something run that nothing waits for.
    fn work(&mut self, what: &'static str, work: BoxFuture<'static, Result<(), String>>) {
        if self.at_work.len() >= MOST_HOOKS {
            return self.tell_error(format!("`{what}` wasn't run: {MOST_HOOKS} hooks aren't done"));
        }
        self.at_work.spawn(async move { (what, work.await) });
    }

    /// Runs the hooks for what has happened.
    fn run_hooks(&mut self) {
        let now = hook::Moment::of(&self.life, self.run.is_some());
        for hook in hook::due(std::mem::replace(&mut self.seen, now), now) {
            if let Some(work) = self.hook(hook) {
                self.work(hook.word(), work);
            }
        }
    }

    /// It came to a limit.
    async fn violated(&mut self, event: &crate::Event) {
        let Some(trigger) = Trigger::of(event) else { return };
        let Some(measure) = self.launch.on_violation.get(&trigger).copied() else { return };
        let now = Instant::now();
        if let Measure::Act(reaction) = measure {
            self.tell_error(trigger.told().to_owned());
            let happening = Happening::Exceeded(trigger.control(), reaction);
            return self.take_in(Event::Of(self.life.generation(), happening)).await;
        }
        if self.told.get(&trigger).is_some_and(|told| now < *told + violation::PAUSE) {
            return;
        }
        self.told.insert(trigger, now);
        let mut told = trigger.told().to_owned();
        if measure == Measure::Throttle
            && let Some(run) = &mut self.run
        {
            let mut limits = run.limits().clone();
            limits.cpu = violation::throttled(limits.cpu);
            match run.update(&limits) {
                Ok(()) => told += "; its CPU time is halved",
                Err(error) => told += &format!("; its CPU time can't be halved: {}", error.chain()),
            }
        }
        self.tell_error(told);
        if measure == Measure::Alert {
            self.announce();
        }
    }

    fn tell_error(&self, error: String) {
        self.status.send_modify(|status| status.error = Some(error));
    }

    /// Looks at the program where it is time to.
    fn look(&mut self) {
        let Some(run) = &mut self.run else { return };
        let usage = run.usage();
        let uptime = self.status.borrow().since.elapsed();
        let inside = run.inside();
        let vitals = match usage {
            Ok(usage) => Vitals { inside, ..Vitals::new(uptime, &usage) },
            Err(error) => {
                self.failed(&error);
                Vitals { uptime, inside, ..Vitals::default() }
            }
        };
        let mut looks = std::mem::replace(&mut self.looks, Looks::new(&[]));
        // What a probe writes is nobody's.
        looks.look(&vitals, &mut |command| self.inside(command, None));
        self.looks = looks;
    }

    /// What the last look said that failed, where that is new.
    fn tell_trouble(&self) {
        let Some(trouble) = self.looks.trouble() else { return };
        self.status.send_if_modified(|status| {
            let is_new = status.error.as_deref() != Some(trouble);
            status.error = Some(trouble.to_owned());
            is_new
        });
    }

    /// A probe has changed its mind.
    async fn hear(&mut self, purpose: Purpose, well: bool) {
        let happening = match (purpose, well) {
            (Purpose::Startup, true) => Happening::Ready,
            (Purpose::Startup, false) => Happening::StartupFailed,
            (Purpose::Readiness, ready) => Happening::Readiness(ready),
            (Purpose::Liveness, false) => Happening::LivenessFailed,
            // That it lives needs no saying.
            (Purpose::Liveness, true) => return self.tell(),
        };
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
            let before = (self.life.state(), self.life.generation());
            let actions = self.life.step(&self.rules, event, now, chance());
            let actions = self.write_down(actions);
            for action in actions {
                if let Some(event) = self.carry_out(action).await {
                    events.push_back(event);
                }
            }
            if matches!(self.held, Some((Held::Launch, _))) && self.life.state() != State::Starting
            {
                self.held = None;
                let why = "it was asked to end before that".to_owned();
                let never = Happening::NotLaunched(why);
                events.push_back(Event::Of(self.life.generation(), never));
            }
            self.run_hooks();
            self.direct_looks();
            if self.life.state() != State::Pending {
                self.waiting = None;
            }
            let comes = matches!(self.life.state(), State::Starting | State::Failed);
            if comes && before != (self.life.state(), self.life.generation()) {
                self.back = self.launch.gate.clone().comes_back();
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
                let Some(hook) = self.alone(Hook::PreStart) else {
                    return Some(Event::Of(generation, self.start()));
                };
                self.held = Some((Held::Launch, hook));
                return None;
            }
            (Action::Escalate, _) => {
                self.escalates = true;
                Ok(())
            }
            (_, None) => Ok(()),
            (Action::Ask, Some(_)) => {
                match self.hook(Hook::PreStop) {
                    Some(hook) => self.held = Some((Held::Ask, hook)),
                    None => self.ask_to_end(),
                }
                return None;
            }
            (Action::Kill, Some(run)) => run.kill(),
            (Action::Reload, Some(run)) => {
                if self.launch.notify.tells_reload {
                    // With another clock inside it can't be compared, and any reload is taken for this one.
                    let same_clock = self.launch.policy.clock == ClockOffsets::default();
                    let now = if same_clock { monotonic_clock() } else { Duration::ZERO };
                    self.reload.ask(now);
                }
                if self.launch.reload_command.is_empty() {
                    run.signal(self.launch.reload_signal)
                } else {
                    let command = self.launch.reload_command.clone();
                    let work = self.inside(&command, Some(self.capture.clone()));
                    self.work("reload.command", work);
                    return None;
                }
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
        let started = self.launched(run.as_ref()).and_then(|(mut sandbox, ear)| {
            // What is to be done at its limits must be heard of, or it doesn't run.
            let events = (!self.launch.on_violation.is_empty()).then(|| sandbox.events());
            Ok((sandbox, ear, events.transpose()?))
        });
        match started {
            Ok((sandbox, ear, events)) => {
                self.supervise(sandbox);
                (self.events, self.told) = (events, BTreeMap::new());
                self.ear = ear;
                self.watchdog = Watchdog::new(self.launch.notify.watchdog);
                self.reload = Reload::default();
                Happening::Launched
            }
            Err(error) => Happening::NotLaunched(error.chain()),
        }
    }

    /// Why it is where it is, with what it says itself and what of that is others' doing.
    fn why(&self, told: Option<&str>) -> String {
        let why = self.life.why();
        match (self.life.state(), told) {
            (State::Pending, _) => match self.launch.gate.told() {
                waits if !waits.is_empty() => waits,
                _ if self.launch.on_demand => "waits for somebody to connect".to_owned(),
                _ => why.to_owned(),
            },
            (State::Running, told) => {
                let lost = Some(self.launch.gate.lost()).filter(|lost| !lost.is_empty());
                let lost = lost.map(|lost| format!("; {lost}")).unwrap_or_default();
                let says = told.map(|told| format!("; it says: {told}")).unwrap_or_default();
                format!("{why}{lost}{says}")
            }
            (_, Some(told)) if self.life.is_live() => format!("{why}; it says: {told}"),
            _ => why.to_owned(),
        }
    }

    /// Something that it depends on has changed, which may be why it is where it is.
    fn refresh(&self) {
        self.status.send_if_modified(|status| {
            let why = self.why(status.told.as_deref());
            let stale = status.why != why;
            status.why = why;
            stale
        });
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
            status.why = self.why(status.told.as_deref());
            status.health = self.looks.health();
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

/// What waits for a hook.
#[derive(Debug)]
enum Held {
    /// Its launch.
    Launch,
    /// That it is asked to end.
    Ask,
    /// That it has ended, so.
    End(Outcome),
}

impl Held {
    fn hook(&self) -> Hook {
        match self {
            Self::Launch => Hook::PreStart,
            Self::Ask => Hook::PreStop,
            Self::End(_) => Hook::PostStop,
        }
    }
}

/// What waits for a hook, and what that came to; never where nothing waits. Dropping the future loses nothing.
async fn released(
    held: &mut Option<(Held, BoxFuture<'static, Result<(), String>>)>,
) -> (Held, Result<(), String>) {
    let done = match held {
        Some((_, hook)) => hook.await,
        None => std::future::pending().await,
    };
    // It is there, or nothing would have come of it.
    match held.take() {
        Some((held, _)) => (held, done),
        None => std::future::pending().await,
    }
}

/// What happens to a sandbox; never where nobody listens. Dropping the future loses nothing.
async fn happened(events: &mut Option<Events>) -> Option<crate::Event> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
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
