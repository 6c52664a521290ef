//! What a next supervisor makes of a lifecycle that it finds.

use super::super::outcome::Outcome;
use super::super::restart::Moment;
use super::words::{Left, Phase, State};
use super::{Action, Lifecycle, Rules, to_start};

impl Lifecycle {
    /// Goes on where the supervisor before was, with what is left of its run.
    pub(in super::super) fn take_up(
        &mut self,
        rules: &Rules,
        left: Left,
        now: Moment,
        chance: f64,
    ) -> Vec<Action> {
        if self.state == State::Unknown && !matches!(left, Left::Doubt(_)) {
            self.know_again(rules, now);
        }
        match (left, self.state.phase()) {
            (Left::OtherBoot, _) => self.boot(),
            (_, Phase::Resting) => Vec::new(),
            (_, Phase::Waiting) if self.state == State::Backoff => Vec::new(),
            (_, Phase::Waiting) => vec![Action::CheckDependencies],
            (Left::Doubt(why), phase) => {
                if phase != Phase::Unknown {
                    self.before = Some((self.state, self.why.clone()));
                }
                self.enter(State::Unknown, None, &why);
                Vec::new()
            }
            (Left::Run, _) => self.take_over(rules, now),
            (Left::Nothing(outcome), Phase::Live | Phase::Unknown) if self.launched => {
                self.judge(rules, outcome.unwrap_or(Outcome::Unobserved), now, chance)
            }
            // Nothing of it was ever there, which is no trouble of its own.
            (Left::Nothing(_), Phase::Live | Phase::Unknown) => {
                self.wait(self.trouble, "its launch was broken off with the supervisor")
            }
            (Left::Nothing(outcome), Phase::Ending) => {
                let never = || Outcome::NotLaunched("the supervisor ended first".to_owned());
                let unseen = if self.launched { Outcome::Unobserved } else { never() };
                self.is_over(rules, outcome.unwrap_or(unseen), now, chance)
            }
        }
    }

    /// It is where it was before nobody knew. The time that it had to start begins anew.
    fn know_again(&mut self, rules: &Rules, now: Moment) {
        let (state, why) = self.before.take().unwrap_or_else(|| {
            self.launched = true;
            (State::Running, "found again".to_owned())
        });
        match state {
            State::Starting => self.enter(state, to_start(rules, now), &why),
            State::Reloading => self.begin_reload(rules, now, &why),
            State::Running if self.started_at.is_none() => drop(self.run(rules, now, &why)),
            State::Running => drop(self.go_on(rules, now, &why)),
            _ => self.enter(state, None, &why),
        }
    }

    /// Its run is there, and what was under way goes on: what was to be done may have been done, and is done again.
    fn take_over(&mut self, rules: &Rules, now: Moment) -> Vec<Action> {
        if !self.launched {
            return self.is_launched(rules, now);
        }
        match self.state {
            State::Paused => vec![Action::Freeze],
            State::Stopping => {
                self.deadline = self.deadline.or_else(|| Some(now.after(rules.grace)));
                vec![Action::Ask]
            }
            State::Killing => vec![Action::Kill],
            _ => Vec::new(),
        }
    }

    /// Nothing of before the boot is left, and its clock has begun anew.
    fn boot(&mut self) -> Vec<Action> {
        self.attempts.reset();
        (self.started_at, self.ready_at, self.left, self.before) = (None, None, None, None);
        match self.state.phase() {
            Phase::Resting => Vec::new(),
            Phase::Waiting | Phase::Live | Phase::Ending | Phase::Unknown => {
                self.launched = false;
                self.rest("the system was booted anew")
            }
        }
    }

    /// Whether it belongs to those that are started with the supervisor, as the stack says now.
    pub(in super::super) fn enable(&mut self, enabled: bool) {
        match (self.state, enabled) {
            (State::Disabled, true) => self.state = State::Inactive,
            (State::Inactive, false) => self.state = State::Disabled,
            _ => {}
        }
    }
}
