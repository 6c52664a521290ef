//! What a supervised program goes through, as a pure function: [`Lifecycle::step`] takes what happened and when, and says what
//! to do. Nothing here waits, reads a clock or draws a random number.
//!
//! Each run has a number, its generation. What is told of an older one changes nothing, however late it comes: so an end that
//! was on its way while the next run began can't be taken for that one's.
//!
//! A run has ended when nothing of it is left, never when its first process has: only then is there a next one.

mod requests;
mod resumed;
#[cfg(test)]
mod tests;
mod words;

pub(super) use words::Left;
pub use words::{Action, Event, Generation, Happening, Reaction, Rules, Started, State};

use super::outcome::{Outcome, Trouble};
use super::restart::{Attempts, Moment, Next, OnExhausted};
use crate::platform::Control;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use words::Phase;

/// What comes when nothing of a run is left that is ended on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum After {
    /// Nothing.
    Rest,
    /// Nothing, and it has failed.
    Fail(Outcome),
    /// The next run.
    Again,
    /// What its restart rules say, for this trouble or for how it ends.
    Judge(Option<Outcome>),
}

/// One supervised program. Its JSON form is what a supervisor writes down for the next one; moments are of the monotonic clock
/// then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lifecycle {
    state: State,
    generation: Generation,
    /// Whether its launch is over, so that there is something to ask.
    launched: bool,
    ready: bool,
    /// When this run had started.
    started_at: Option<Moment>,
    /// When it was ready for the first time.
    ready_at: Option<Moment>,
    deadline: Option<Moment>,
    /// What was left of the time that it may run when it was paused.
    left: Option<Duration>,
    after: After,
    /// Whether it was killed because it took too long to end.
    late: bool,
    attempts: Attempts,
    /// After which trouble the present run was started, or the next one will be; none where somebody asked.
    trouble: Option<Trouble>,
    last: Option<Outcome>,
    why: String,
    /// Where it was, and why, before it couldn't be told from a stranger: there it goes on when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<(State, String)>,
}

impl Lifecycle {
    /// One that hasn't run.
    pub fn new(enabled: bool) -> Self {
        Self {
            state: if enabled { State::Inactive } else { State::Disabled },
            generation: Generation::default(),
            launched: false,
            ready: false,
            started_at: None,
            ready_at: None,
            deadline: None,
            left: None,
            after: After::Rest,
            late: false,
            attempts: Attempts::default(),
            trouble: None,
            last: None,
            why: "never started".to_owned(),
            before: None,
        }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its present run, or the last one.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether it can be used: it runs, and its readiness probe doesn't say no.
    pub fn is_ready(&self) -> bool {
        self.ready && matches!(self.state, State::Running | State::Reloading)
    }

    /// Whether its present run could be used once.
    pub(super) fn was_ready(&self) -> bool {
        self.ready_at.is_some()
    }

    /// How the last run came out that has ended.
    pub fn last(&self) -> Option<&Outcome> {
        self.last.as_ref()
    }

    /// Why it is where it is, for people.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Starts since everything was well.
    pub fn attempts(&self) -> u32 {
        self.attempts.count()
    }

    /// After which trouble its present run was started; none where somebody asked for it.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// When its present run had started.
    pub(super) fn started_at(&self) -> Option<Moment> {
        self.started_at
    }

    /// When it wants to be told the time.
    pub fn deadline(&self) -> Option<Moment> {
        self.deadline
    }

    /// Whether there is a run of which something may be left.
    pub fn is_live(&self) -> bool {
        match self.state.phase() {
            Phase::Live | Phase::Ending | Phase::Unknown => true,
            Phase::Resting | Phase::Waiting => false,
        }
    }

    /// Whether it is to run: now, or when what is ended for that is gone.
    pub fn is_wanted(&self) -> bool {
        match self.state.phase() {
            Phase::Live | Phase::Waiting => true,
            Phase::Ending => matches!(self.after, After::Again | After::Judge(_)),
            // It would, if it could.
            Phase::Resting => matches!(self.state, State::Failed | State::Completed),
            Phase::Unknown => false,
        }
    }

    /// Whether nothing of it is there, and nothing will come by itself.
    pub(super) fn is_at_rest(&self) -> bool {
        self.state.phase() == Phase::Resting
    }

    /// Takes in what happened, and says what to do. `chance`, from 0 to 1, decides about the jitter of a delay.
    pub fn step(&mut self, rules: &Rules, event: Event, now: Moment, chance: f64) -> Vec<Action> {
        match event {
            Event::Start => self.start(),
            Event::Stop => self.stop(rules, now),
            Event::Kill => self.kill(),
            Event::Restart => self.restart(rules, now),
            Event::Reload => self.reload(rules, now),
            Event::Pause => self.pause(now, "asked to pause"),
            Event::Resume => self.resume(now),
            Event::Reset => self.reset(),
            Event::DependenciesMet => self.launch(rules, now),
            Event::DependencyFailed(name) if self.state == State::Pending => {
                self.fail(Outcome::Dependency(name))
            }
            Event::DependencyFailed(_) => Vec::new(),
            Event::PeerRestarted(why) if self.state.phase() == Phase::Live => {
                self.end(rules, now, After::Again, &why)
            }
            Event::PeerRestarted(_) => Vec::new(),
            Event::DependencyBack(name) => self.dependency_back(rules, &name, now),
            Event::Time => self.time(rules, now),
            Event::Of(generation, _) if generation != self.generation => Vec::new(),
            Event::Of(_, happening) => self.happen(rules, happening, now, chance),
        }
    }

    fn launch(&mut self, rules: &Rules, now: Moment) -> Vec<Action> {
        if self.state != State::Pending {
            return Vec::new();
        }
        self.generation.0 += 1;
        (self.launched, self.ready) = (false, false);
        (self.started_at, self.ready_at) = (None, None);
        self.enter(State::Starting, to_start(rules, now), "what it depends on is there");
        vec![Action::Launch(self.generation)]
    }

    fn time(&mut self, rules: &Rules, now: Moment) -> Vec<Action> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        self.deadline = None;
        match self.state {
            State::Starting => {
                let late = match rules.started {
                    Started::Ended => Outcome::RunTimedOut,
                    Started::Executed | Started::Ready => Outcome::StartTimedOut,
                };
                self.end(rules, now, After::Judge(Some(late)), "its time to start is over")
            }
            State::Running => {
                let late = After::Judge(Some(Outcome::RunTimedOut));
                self.end(rules, now, late, "its time to run is over")
            }
            State::Reloading => self.go_on(rules, now, "it never said that it has reloaded"),
            State::Stopping => {
                let after = match self.after.clone() {
                    After::Judge(None) => After::Judge(Some(Outcome::StopTimedOut)),
                    after => after,
                };
                self.late = true;
                self.end_at_once(after, "its grace is over")
            }
            State::Backoff => self.wait(self.trouble, "tried again"),
            // None of them has a deadline.
            State::Disabled
            | State::Inactive
            | State::Pending
            | State::Killing
            | State::Failed
            | State::Completed
            | State::Paused
            | State::Unknown => Vec::new(),
        }
    }

    /// Something happened to the present run.
    fn happen(
        &mut self,
        rules: &Rules,
        happening: Happening,
        now: Moment,
        chance: f64,
    ) -> Vec<Action> {
        match happening {
            Happening::Launched => self.is_launched(rules, now),
            Happening::NotLaunched(reason) => {
                self.is_over(rules, Outcome::NotLaunched(reason), now, chance)
            }
            Happening::Ended(outcome) => self.is_over(rules, outcome, now, chance),
            Happening::Ready => match self.state {
                State::Starting if rules.started == Started::Ready => {
                    self.run(rules, now, "it is ready")
                }
                State::Reloading => self.go_on(rules, now, "it has reloaded"),
                _ => Vec::new(),
            },
            Happening::Reloading => {
                if self.state == State::Running {
                    self.begin_reload(rules, now, "it reloads by itself");
                }
                Vec::new()
            }
            Happening::Stopping => {
                if self.state.phase() == Phase::Live {
                    self.after = After::Judge(None);
                    let deadline = Some(now.after(rules.grace));
                    self.enter(State::Stopping, deadline, "it ends by itself");
                }
                Vec::new()
            }
            Happening::Extended(time) => {
                // Nobody gets less time by asking for more; what waits isn't its own doing.
                if self.state.phase() == Phase::Live || self.state == State::Stopping {
                    let later = now.after(time);
                    self.deadline = self.deadline.map(|deadline| deadline.max(later));
                }
                Vec::new()
            }
            Happening::Readiness(ready) => {
                self.ready = ready;
                if ready && self.started_at.is_some() {
                    self.ready_at.get_or_insert(now);
                }
                Vec::new()
            }
            Happening::StartupFailed if self.state == State::Starting => {
                let trouble = After::Judge(Some(Outcome::StartupProbe));
                self.end(rules, now, trouble, "its startup probe failed")
            }
            Happening::LivenessFailed if self.can_be_judged() => {
                let trouble = After::Judge(Some(Outcome::Liveness));
                self.end(rules, now, trouble, "its liveness probe failed")
            }
            Happening::WatchdogMissed if self.can_be_judged() => {
                let trouble = After::Judge(Some(Outcome::Watchdog));
                self.end(rules, now, trouble, "it didn't say in time that it lives")
            }
            Happening::Exceeded(control, reaction) if self.state.phase() == Phase::Live => {
                self.exceeded(rules, control, reaction, now)
            }
            // What was found out of it no longer matters.
            Happening::StartupFailed
            | Happening::LivenessFailed
            | Happening::WatchdogMissed
            | Happening::Exceeded(..) => Vec::new(),
        }
    }

    /// Whether it is its own doing that it doesn't answer: what stands still can't.
    fn can_be_judged(&self) -> bool {
        matches!(self.state, State::Running | State::Reloading)
    }

    fn exceeded(
        &mut self,
        rules: &Rules,
        control: Control,
        reaction: Reaction,
        now: Moment,
    ) -> Vec<Action> {
        let (why, outcome) = (format!("it exceeded `{control}`"), Outcome::Limit(control));
        match reaction {
            Reaction::Restart => self.end(rules, now, After::Judge(Some(outcome)), &why),
            Reaction::Stop => self.end(rules, now, After::Fail(outcome), &why),
            Reaction::Kill => self.end_at_once(After::Judge(Some(outcome)), &why),
            Reaction::Freeze => self.pause(now, &why),
        }
    }

    fn is_launched(&mut self, rules: &Rules, now: Moment) -> Vec<Action> {
        self.launched = true;
        match self.state {
            State::Starting if rules.started == Started::Executed => {
                let why = if rules.attached { "attached" } else { "its program is executed" };
                self.run(rules, now, why)
            }
            // What was decided while it was launched is done now.
            State::Stopping => {
                self.deadline = Some(now.after(rules.grace));
                vec![Action::Ask]
            }
            State::Killing => vec![Action::Kill],
            _ => Vec::new(),
        }
    }

    /// Nothing of the run is left.
    fn is_over(
        &mut self,
        rules: &Rules,
        outcome: Outcome,
        now: Moment,
        chance: f64,
    ) -> Vec<Action> {
        match self.state.phase() {
            Phase::Live => {
                // Its program may end before it has started; it itself may not.
                let ends = rules.forks && self.state == State::Starting;
                let outcome = match ends && rules.restart.statuses.is_success(&outcome) {
                    true => Outcome::NoMainProcess,
                    false => outcome,
                };
                self.judge(rules, outcome, now, chance)
            }
            Phase::Ending => {
                let outcome = if self.late { Outcome::StopTimedOut } else { outcome };
                match std::mem::replace(&mut self.after, After::Rest) {
                    After::Rest => {
                        self.last = Some(outcome);
                        let why = self.why.clone();
                        self.rest(&why)
                    }
                    After::Again => {
                        self.last = Some(outcome);
                        self.wait(None, "started again, as asked")
                    }
                    After::Fail(trouble) => self.fail(trouble),
                    After::Judge(trouble) => {
                        self.judge(rules, trouble.unwrap_or(outcome), now, chance)
                    }
                }
            }
            Phase::Resting | Phase::Waiting | Phase::Unknown => Vec::new(),
        }
    }

    /// What the rules say of a run that nobody stopped.
    fn judge(&mut self, rules: &Rules, outcome: Outcome, now: Moment, chance: f64) -> Vec<Action> {
        let restart = &rules.restart;
        if self.ready_at.is_some_and(|since| now.since(since) >= restart.reset_after) {
            self.attempts.reset();
        }
        if !restart.wants(&outcome) {
            let done = rules.attached && outcome == Outcome::Unobserved;
            return if done || restart.statuses.is_success(&outcome) {
                let why = outcome.to_string();
                self.last = Some(outcome);
                self.enter(State::Completed, None, &why);
                Vec::new()
            } else {
                self.fail(outcome)
            };
        }
        let trouble = if self.ready_at.is_some() { outcome.cause() } else { Trouble::Start };
        match self.attempts.next(restart, trouble, now, chance) {
            Next::Start(at, attempt) => {
                let why = format!("{outcome}; attempt {attempt} follows");
                (self.last, self.trouble) = (Some(outcome), Some(trouble));
                self.enter(State::Backoff, Some(at), &why);
                Vec::new()
            }
            Next::Exhausted(trouble) => {
                let attempts = restart.budget(trouble).attempts;
                let mut actions = self.fail(outcome);
                self.why = format!("{}; no more than {attempts} attempts are made", self.why);
                if restart.on_exhausted == OnExhausted::Escalate {
                    actions.push(Action::Escalate);
                }
                actions
            }
        }
    }

    fn run(&mut self, rules: &Rules, now: Moment, why: &str) -> Vec<Action> {
        self.started_at = Some(now);
        if !rules.probed {
            (self.ready, self.ready_at) = (true, Some(now));
        }
        self.go_on(rules, now, why)
    }

    /// It runs, as it did before.
    fn go_on(&mut self, rules: &Rules, now: Moment, why: &str) -> Vec<Action> {
        // Counted from when it had started: a reload gives no more time.
        let since = self.started_at.unwrap_or(now);
        let deadline = rules.run_timeout.map(|time| since.after(time));
        self.enter(State::Running, deadline, why);
        Vec::new()
    }

    fn begin_reload(&mut self, rules: &Rules, now: Moment, why: &str) {
        let deadline = rules.start_timeout.map(|time| now.after(time));
        self.enter(State::Reloading, deadline, why);
    }

    fn wait(&mut self, trouble: Option<Trouble>, why: &str) -> Vec<Action> {
        self.trouble = trouble;
        self.enter(State::Pending, None, why);
        vec![Action::CheckDependencies]
    }

    fn rest(&mut self, why: &str) -> Vec<Action> {
        self.enter(State::Inactive, None, why);
        Vec::new()
    }

    fn fail(&mut self, outcome: Outcome) -> Vec<Action> {
        let why = outcome.to_string();
        self.last = Some(outcome);
        self.enter(State::Failed, None, &why);
        Vec::new()
    }

    /// Asks it to end, and gives it the time to do so.
    fn end(&mut self, rules: &Rules, now: Moment, after: After, why: &str) -> Vec<Action> {
        if rules.grace.is_zero() {
            return self.end_at_once(after, why);
        }
        let was_paused = self.state == State::Paused;
        (self.after, self.late) = (after, false);
        // Before it is launched nobody hears; its grace begins then.
        let deadline = self.launched.then(|| now.after(rules.grace));
        self.enter(State::Stopping, deadline, why);
        match (self.launched, was_paused) {
            (false, _) => Vec::new(),
            // What stands still hears nothing.
            (true, true) => vec![Action::Thaw, Action::Ask],
            (true, false) => vec![Action::Ask],
        }
    }

    fn end_at_once(&mut self, after: After, why: &str) -> Vec<Action> {
        self.after = after;
        let again = self.state == State::Killing;
        self.enter(State::Killing, None, why);
        if self.launched && !again { vec![Action::Kill] } else { Vec::new() }
    }

    fn enter(&mut self, state: State, deadline: Option<Moment>, why: &str) {
        // What can't be told from a stranger goes on later where it was.
        if !matches!(state.phase(), Phase::Ending | Phase::Unknown) {
            self.late = false;
        }
        (self.state, self.deadline) = (state, deadline);
        self.why = why.to_owned();
    }
}

/// Until when it has to be started.
fn to_start(rules: &Rules, now: Moment) -> Option<Moment> {
    let time = match rules.started {
        Started::Ended => rules.run_timeout,
        Started::Executed | Started::Ready => rules.start_timeout,
    };
    time.map(|time| now.after(time))
}
