//! What people ask of a program, state by state.

use super::super::restart::Moment;
use super::words::{Phase, State};
use super::{Action, After, Lifecycle, Outcome, Rules};

impl Lifecycle {
    pub(super) fn start(&mut self) -> Vec<Action> {
        match self.state.phase() {
            Phase::Resting => {
                self.attempts.reset();
                self.wait(None, "asked to start")
            }
            Phase::Waiting if self.state == State::Backoff => {
                self.attempts.reset();
                self.wait(None, "asked to start, sooner than it would have by itself")
            }
            // What was to come after the end is forgotten.
            Phase::Ending | Phase::Unknown if self.is_to_end() => {
                self.attempts.reset();
                self.after = After::Again;
                Vec::new()
            }
            Phase::Waiting | Phase::Live | Phase::Ending | Phase::Unknown => Vec::new(),
        }
    }

    /// Whether it ends, or will as soon as it can be told from a stranger.
    fn is_to_end(&self) -> bool {
        let state = self.before.as_ref().map_or(self.state, |(state, _)| *state);
        state.phase() == Phase::Ending
    }

    /// Ends it when it can be told from a stranger.
    fn end_when_known(&mut self, how: State, after: After, why: &str) -> Vec<Action> {
        let is_killed = self.before.as_ref().is_some_and(|(state, _)| *state == State::Killing);
        let how = if is_killed { State::Killing } else { how };
        (self.before, self.after) = (Some((how, why.to_owned())), after);
        Vec::new()
    }

    pub(super) fn stop(&mut self, rules: &Rules, now: Moment) -> Vec<Action> {
        match self.state.phase() {
            Phase::Waiting => self.rest("asked to stop while it waited"),
            Phase::Live => self.end(rules, now, After::Rest, "asked to stop"),
            Phase::Ending => {
                self.after = After::Rest;
                Vec::new()
            }
            // Else it would start when that is there again.
            Phase::Resting if self.failed_for_another() => self.rest("asked to stop"),
            Phase::Resting => Vec::new(),
            Phase::Unknown => self.end_when_known(State::Stopping, After::Rest, "asked to stop"),
        }
    }

    /// Whether it has failed for what it depends on, with which it may come back.
    fn failed_for_another(&self) -> bool {
        self.state == State::Failed && matches!(self.last, Some(Outcome::Dependency(_)))
    }

    pub(super) fn kill(&mut self) -> Vec<Action> {
        match self.state.phase() {
            Phase::Waiting => self.rest("asked to stop while it waited"),
            Phase::Live | Phase::Ending => self.end_at_once(After::Rest, "asked to be killed"),
            Phase::Resting if self.failed_for_another() => self.rest("asked to stop"),
            Phase::Resting => Vec::new(),
            Phase::Unknown => {
                self.end_when_known(State::Killing, After::Rest, "asked to be killed")
            }
        }
    }

    pub(super) fn restart(&mut self, rules: &Rules, now: Moment) -> Vec<Action> {
        match self.state.phase() {
            Phase::Live => {
                self.attempts.reset();
                self.end(rules, now, After::Again, "asked to restart")
            }
            Phase::Unknown if !self.is_to_end() => {
                self.attempts.reset();
                self.end_when_known(State::Stopping, After::Again, "asked to restart")
            }
            Phase::Resting | Phase::Waiting | Phase::Ending | Phase::Unknown => self.start(),
        }
    }

    /// What it depends on is another one by now.
    pub(super) fn dependency_back(
        &mut self,
        rules: &Rules,
        name: &str,
        now: Moment,
    ) -> Vec<Action> {
        let why = format!("`{name}`, which it needs, came back");
        match self.state.phase() {
            Phase::Live => self.end(rules, now, After::Again, &why),
            Phase::Resting if self.failed_for_another() => self.wait(None, &why),
            Phase::Resting | Phase::Waiting | Phase::Ending | Phase::Unknown => Vec::new(),
        }
    }

    pub(super) fn reload(&mut self, rules: &Rules, now: Moment) -> Vec<Action> {
        if self.state != State::Running {
            return Vec::new();
        }
        if rules.tells_reload {
            self.begin_reload(rules, now, "asked to reload");
        }
        vec![Action::Reload]
    }

    pub(super) fn pause(&mut self, now: Moment, why: &str) -> Vec<Action> {
        if self.state != State::Running {
            return Vec::new();
        }
        // Its time to run stands still too.
        self.left = self.deadline.map(|deadline| deadline.since(now));
        self.enter(State::Paused, None, why);
        vec![Action::Freeze]
    }

    pub(super) fn resume(&mut self, now: Moment) -> Vec<Action> {
        if self.state != State::Paused {
            return Vec::new();
        }
        let deadline = self.left.take().map(|left| now.after(left));
        self.enter(State::Running, deadline, "asked to go on");
        vec![Action::Thaw]
    }

    pub(super) fn reset(&mut self) -> Vec<Action> {
        self.attempts.reset();
        match self.state.phase() {
            // Whoever says so of an unknown one has looked.
            Phase::Unknown => {
                self.before = None;
                self.rest("found to be gone")
            }
            Phase::Resting if self.state != State::Disabled => self.rest("asked to forget"),
            Phase::Resting | Phase::Waiting | Phase::Live | Phase::Ending => Vec::new(),
        }
    }
}
