//! One supervised program as an actor: it alone owns the program's lifecycle and its sandbox, so that nothing that is asked
//! of it and nothing that happens to it can overtake each other.

mod beginning;
mod heard;
mod held;
mod launch;
mod main_process;
mod resumed;
mod status;
mod told;

use super::capture::Capture;
use super::dialogue::{Ear, Reload, Watchdog, heard};
use super::diary::Diary;
use super::fd_store::FdStore;
use super::health::{Health, Looks};
use super::hook::{self, Hook};
use super::journal::Found;
use super::lifecycle::{Action, Event, Happening, Lifecycle, Rules, State};
use super::news::{Counts, News};
use super::outcome::Outcome;
use super::restart::Moment;
use super::sockets::Sockets;
use super::violation::Trigger;
use crate::error::Error;
use crate::events::Events;
use crate::platform::{BoxFuture, ClockOffsets, Hits, Signal, Usage, monotonic_clock};
use crate::report::ExitReport;
use crate::sandbox::Sandbox;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use held::{Held, released};
pub(super) use launch::Launch;
use main_process::{Search, sought};
pub use status::Status;

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
    /// What the supervisor before left, while it isn't known yet what is there of it; and whether it belongs to those that are
    /// started with the supervisor.
    found: Option<(Found, bool)>,
    /// When to look again for what couldn't be told from a stranger.
    look_again: Option<Instant>,
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
    /// The search for its main process.
    search: Option<Search>,
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
    /// Tell what its present run uses and how often it came to limits; nothing where none runs.
    Usage(oneshot::Sender<Option<(Usage, Hits)>>),
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
            found: None,
            look_again: None,
            held: None,
            at_work: JoinSet::new(),
            seen,
            events: None,
            told: BTreeMap::new(),
            looks,
            search: None,
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
        self.take_over().await;
        // What was taken over isn't new.
        self.seen = hook::Moment::of(&self.life, self.run.is_some());
        let first = std::mem::take(&mut self.first);
        self.begin(first).await;
        self.tell();
        self.announce();
        loop {
            let deadline = self.life.deadline().map(|moment| self.origin + moment.0);
            let to_look = self.looks.due();
            let said = self.looks.said().clone();
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
                sought = sought(&mut self.search) => self.take_sought(sought).await,
                () = due(self.watchdog.due()) => self.miss_watchdog().await,
                () = due(self.look_again) => self.look_again().await,
                () = due(to_look) => self.look(),
                () = said.news() => self.looks.listen(),
                verdict = self.looks.looked() => {
                    self.count_look();
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
                let look = |run: &mut Sandbox| Ok::<_, Error>((run.usage()?, run.hits()?));
                let usage = self.run.as_mut().map(look).transpose()?;
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
        (self.run, self.search) = (None, None);
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
        if matches!(action, Action::Ask | Action::Kill)
            && self.run.is_some()
            && self.launch.lets_go()
        {
            (self.run, self.search, self.looks) = (None, None, Looks::new(&[]));
            let gone = Happening::Ended(Outcome::Unobserved);
            return Some(Event::Of(self.life.generation(), gone));
        }
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
