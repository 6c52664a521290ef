//! Whether a program that ended is started again, and when. Pure.

use super::outcome::{ExitStatuses, Outcome, Trouble};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A moment of the monotonic clock, counted from when the supervisor began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(pub Duration);

impl Moment {
    /// The moment so much later; the last one there is, if that is too far.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long ago `earlier` was; nothing if it is still to come.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// After which ends a program is started again: the words and their meaning are systemd.service(5)'s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartPolicy {
    /// Never.
    No,
    /// After success.
    OnSuccess,
    /// After everything but success.
    #[default]
    OnFailure,
    /// After a signal, a time that was over, or bad health; not after an exit code.
    OnAbnormal,
    /// When it didn't say in time that it lives.
    OnWatchdog,
    /// After a signal that isn't a polite one.
    OnAbort,
    /// Always.
    Always,
    /// Always, but not at the start of the supervisor where somebody had stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    fn wants(self, outcome: &Outcome, success: bool) -> bool {
        let by_signal = matches!(outcome, Outcome::Signalled(_) | Outcome::Denied);
        match self {
            Self::No => false,
            Self::OnSuccess => success,
            Self::OnFailure => !success,
            Self::OnAbnormal => !success && !matches!(outcome, Outcome::Exited(_)),
            Self::OnWatchdog => *outcome == Outcome::Watchdog,
            Self::OnAbort => !success && by_signal,
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

/// How many restarts there may be within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// So many; 0 is without end.
    pub attempts: u32,
    /// Within this time.
    pub window: Duration,
}

impl Budget {
    /// So many restarts within a time; none of them counts when `attempts` is 0.
    pub const fn new(attempts: u32, window: Duration) -> Self {
        Self { attempts, window }
    }
}

/// What becomes of a program whose budget is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnExhausted {
    /// It has failed, until somebody starts it.
    #[default]
    Fail,
    /// It is tried again and again, with the longest delay.
    Delay,
    /// It has failed, and whoever supervises it is told.
    Escalate,
}

/// How a program is started again.
///
/// The n-th attempt since the last reset waits `min(max_delay, delay * factor^(n-1)) * (1 + U(0, jitter))`, from the end of
/// the program to its next start.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Restart {
    /// After which ends.
    pub policy: RestartPolicy,
    /// Which exit codes and signals say more than the policy.
    pub statuses: ExitStatuses,
    /// The first delay.
    pub delay: Duration,
    /// The longest one.
    pub max_delay: Duration,
    /// How much longer each is than the one before.
    pub factor: f64,
    /// The part by which each may be longer still, so that what failed together doesn't come back together.
    pub jitter: f64,
    /// Ready for so long, everything before is forgotten.
    pub reset_after: Duration,
    /// For a program that ends before it is ready.
    pub start: Budget,
    /// For one that ends later.
    pub run: Budget,
    /// For one that isn't well.
    pub health: Budget,
    /// For one that exceeds limits.
    pub limit: Budget,
    /// When there are no more attempts.
    pub on_exhausted: OnExhausted,
}

impl Default for Restart {
    fn default() -> Self {
        let five_minutes = Duration::from_secs(300);
        Self {
            policy: RestartPolicy::default(),
            statuses: ExitStatuses::default(),
            delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(60),
            factor: 2.0,
            jitter: 0.25,
            reset_after: Duration::from_secs(120),
            start: Budget::new(5, five_minutes),
            run: Budget::new(10, five_minutes),
            health: Budget::new(10, five_minutes),
            limit: Budget::new(10, five_minutes),
            on_exhausted: OnExhausted::default(),
        }
    }
}

impl Restart {
    /// The same delay before each start, whatever end there was, and for ever.
    pub fn every(delay: Duration) -> Self {
        let endless = Budget::new(0, Duration::ZERO);
        Self {
            policy: RestartPolicy::Always,
            delay,
            max_delay: delay,
            factor: 1.0,
            jitter: 0.0,
            start: endless,
            run: endless,
            health: endless,
            limit: endless,
            ..Self::default()
        }
    }

    /// The budget for one kind of trouble.
    pub fn budget(&self, trouble: Trouble) -> Budget {
        match trouble {
            Trouble::Start => self.start,
            Trouble::Run => self.run,
            Trouble::Health => self.health,
            Trouble::Limit => self.limit,
        }
    }

    /// Whether an end is followed by a start, if there are attempts left.
    pub(super) fn wants(&self, outcome: &Outcome) -> bool {
        let decided = self.statuses.decided(outcome);
        decided.unwrap_or_else(|| self.policy.wants(outcome, self.statuses.is_success(outcome)))
    }

    /// The delay before the attempt with this number, counted from 1. `chance` is from 0 to 1.
    pub(super) fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let longest = self.max_delay.as_secs_f64();
        let power = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.delay.as_secs_f64() * self.factor.powi(power);
        // What grows beyond all numbers is the longest delay too.
        let plain = if grown < longest { grown } else { longest };
        let delay = plain * (1.0 + self.jitter * chance.clamp(0.0, 1.0));
        Duration::try_from_secs_f64(delay).unwrap_or(self.max_delay)
    }
}

/// The attempts so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempts {
    /// Since everything was forgotten last.
    since_reset: u32,
    /// When those were that count towards a budget.
    spent: BTreeMap<Trouble, VecDeque<Moment>>,
}

/// What comes after an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A start, then, and which attempt that is.
    Start(Moment, u32),
    /// No start: this budget is used up.
    Exhausted(Trouble),
}

impl Attempts {
    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// How many there were since everything was forgotten.
    pub(super) fn count(&self) -> u32 {
        self.since_reset
    }

    /// Uses up one attempt, if there is one.
    pub(super) fn next(
        &mut self,
        restart: &Restart,
        trouble: Trouble,
        now: Moment,
        chance: f64,
    ) -> Next {
        let Budget { attempts, window } = restart.budget(trouble);
        let spent = self.spent.entry(trouble).or_default();
        while spent.front().is_some_and(|first| now.since(*first) >= window) {
            spent.pop_front();
        }
        let is_bounded = attempts > 0;
        if is_bounded && spent.len() >= usize::try_from(attempts).unwrap_or(usize::MAX) {
            if restart.on_exhausted != OnExhausted::Delay {
                return Next::Exhausted(trouble);
            }
            // Its place is taken by this one, so that what is remembered has a bound.
            spent.pop_front();
            spent.push_back(now);
            self.since_reset = self.since_reset.saturating_add(1);
            let longest = restart.delay(u32::MAX, chance);
            return Next::Start(now.after(longest), self.since_reset);
        }
        if is_bounded {
            spent.push_back(now);
        }
        self.since_reset = self.since_reset.saturating_add(1);
        Next::Start(now.after(restart.delay(self.since_reset, chance)), self.since_reset)
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::ExitStatus;
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Moment {
        Moment(Duration::from_millis(milliseconds))
    }

    #[test]
    fn each_word_wants_what_systemd_says_of_it() {
        let outcomes = [
            Outcome::Exited(0),
            Outcome::Exited(1),
            Outcome::Signalled(15),
            Outcome::Signalled(11),
            Outcome::RunTimedOut,
            Outcome::Watchdog,
        ];
        let table = [
            (RestartPolicy::No, "......"),
            (RestartPolicy::OnSuccess, "x.x..."),
            (RestartPolicy::OnFailure, ".x.xxx"),
            (RestartPolicy::OnAbnormal, "...xxx"),
            (RestartPolicy::OnWatchdog, ".....x"),
            (RestartPolicy::OnAbort, "...x.."),
            (RestartPolicy::Always, "xxxxxx"),
            (RestartPolicy::UnlessStopped, "xxxxxx"),
        ];
        for (policy, expected) in table {
            let restart = Restart { policy, ..Restart::default() };
            let found: String =
                outcomes.iter().map(|one| if restart.wants(one) { 'x' } else { '.' }).collect();
            assert_eq!(found, expected, "{policy:?}");
        }
    }

    #[test]
    fn lists_of_statuses_say_more_than_the_policy() {
        let statuses = ExitStatuses {
            success: [ExitStatus::Code(3)].into(),
            prevent: [ExitStatus::Code(4), ExitStatus::Signal(6)].into(),
            force: [ExitStatus::Code(0), ExitStatus::Signal(6)].into(),
        };
        let restart = Restart { statuses, ..Restart::default() };
        let wants = |outcome| restart.wants(&outcome);
        assert!(!wants(Outcome::Exited(3)) && wants(Outcome::Exited(5)));
        assert!(!wants(Outcome::Exited(4)) && wants(Outcome::Exited(0)));
        // What is to be prevented has the last word.
        assert!(!wants(Outcome::Signalled(6)) && !wants(Outcome::Signalled(1)));
    }

    #[test]
    fn delays_grow_to_the_longest_and_by_no_more_than_the_jitter() {
        let restart = Restart::default();
        let delays = |chance: f64| -> Vec<u128> {
            [1, 2, 3, 7, 8, 9, 5000, u32::MAX]
                .map(|attempt| restart.delay(attempt, chance).as_millis())
                .to_vec()
        };
        assert_eq!(delays(0.0), [500, 1000, 2000, 32_000, 60_000, 60_000, 60_000, 60_000]);
        assert_eq!(delays(1.0), [625, 1250, 2500, 40_000, 75_000, 75_000, 75_000, 75_000]);
    }

    #[test]
    fn each_kind_of_trouble_has_its_own_budget_and_old_attempts_count_no_more() {
        let restart =
            Restart { start: Budget::new(2, Duration::from_secs(10)), ..Restart::default() };
        let mut attempts = Attempts::default();
        let mut next = |trouble, now| attempts.next(&restart, trouble, at(now), 0.0);
        assert_eq!(next(Trouble::Start, 0), Next::Start(at(500), 1));
        assert_eq!(next(Trouble::Start, 5_000), Next::Start(at(6_000), 2));
        assert_eq!(next(Trouble::Start, 9_999), Next::Exhausted(Trouble::Start));
        assert_eq!(next(Trouble::Run, 9_999), Next::Start(at(11_999), 3));
        // The first one is ten seconds ago.
        assert_eq!(next(Trouble::Start, 10_000), Next::Start(at(14_000), 4));
        assert_eq!(next(Trouble::Start, 10_001), Next::Exhausted(Trouble::Start));
    }

    #[test]
    fn where_it_shall_go_on_it_does_so_slowly_and_remembers_no_more() {
        let restart = Restart {
            run: Budget::new(3, Duration::from_secs(300)),
            on_exhausted: OnExhausted::Delay,
            ..Restart::default()
        };
        let mut attempts = Attempts::default();
        let starts: Vec<Next> =
            (0..100).map(|_| attempts.next(&restart, Trouble::Run, at(0), 0.0)).collect();
        assert_eq!(starts[2], Next::Start(at(2_000), 3));
        assert_eq!(starts[3], Next::Start(at(60_000), 4));
        assert_eq!(attempts.spent[&Trouble::Run].len(), 3);
    }

    proptest! {
        /// Of any ends at any times, no window of a budget has more restarts in it than the budget.
        #[test]
        fn no_window_has_more_restarts_than_its_budget(
            most in 1_u32..5,
            seconds in 1_u64..20,
            ends in proptest::collection::vec((0_u64..5_000, 0_usize..4), 1..200),
        ) {
            let window = Duration::from_secs(seconds);
            let budget = Budget::new(most, window);
            let restart = Restart {
                start: budget, run: budget, health: budget, limit: budget, ..Restart::default()
            };
            let kinds = [Trouble::Start, Trouble::Run, Trouble::Health, Trouble::Limit];
            let (mut attempts, mut now) = (Attempts::default(), 0);
            let mut granted: Vec<(Trouble, Moment)> = Vec::new();
            for (pause, kind) in ends {
                now += pause;
                let trouble = kinds[kind];
                let within = granted
                    .iter()
                    .filter(|(other, then)| *other == trouble && at(now).since(*then) < window)
                    .count();
                match attempts.next(&restart, trouble, at(now), 0.5) {
                    Next::Start(..) => {
                        prop_assert!(within < usize::try_from(most).unwrap());
                        granted.push((trouble, at(now)));
                    }
                    // Nor is one refused that there was room for.
                    Next::Exhausted(_) => prop_assert_eq!(within, usize::try_from(most).unwrap()),
                }
            }
        }
    }
}
