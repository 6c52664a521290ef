//! Going on where the supervisor before was.

use super::{Actor, chance};
use crate::platform::monotonic_clock;
use crate::sandbox::Adopted;
use crate::supervisor::diary::Diary;
use crate::supervisor::journal::{Found, Journal};
use crate::supervisor::lifecycle::{Action, Event, Left, State};
use crate::supervisor::record::{Ledger, Run, left_of};
use crate::supervisor::restart::{Moment, RestartPolicy};
use tokio::time::Instant;

impl Actor {
    /// Has its program outlive this supervisor, and goes on with what the one before left of it. Must be called before the
    /// actor acts.
    pub(in crate::supervisor) fn remember_in(
        &mut self,
        journal: &Journal,
        service: &str,
        enabled: bool,
    ) {
        let (ledger, found) = Ledger::of(journal, service);
        // Moments that are written down must mean the same to the next supervisor.
        self.origin = Instant::now().checked_sub(monotonic_clock()).unwrap_or(self.origin);
        let stopped = found.as_ref().is_some_and(|found| found.record.stopped);
        self.diary = Some(Diary::new(ledger, stopped));
        let first = match found {
            Some(found) => self.go_on_with(found, enabled),
            None => Vec::new(),
        };
        self.first = self.write_down(first);
        self.tell();
        let since = self.life.started_at().filter(|_| self.life.state() == State::Running);
        if let Some(since) = since {
            let since = self.origin + since.0;
            self.status.send_modify(|status| status.since = since);
        }
    }

    fn go_on_with(&mut self, found: Found, enabled: bool) -> Vec<Action> {
        let Found { record, afresh, other_boot } = found;
        self.waiting = None;
        self.life = record.life;
        self.life.enable(enabled);
        let left = match &record.run {
            _ if other_boot => Left::OtherBoot,
            Some(run) => self.find(run),
            None => left_of(None),
        };
        let is_there = left == Left::Run;
        let now = Moment(self.origin.elapsed());
        let mut actions = self.life.take_up(&self.rules, left, now, chance());
        let mut step = |actor: &mut Self, event| {
            actions.extend(actor.life.step(&actor.rules, event, now, chance()));
        };
        let stays = record.stopped && self.rules.restart.policy == RestartPolicy::UnlessStopped;
        // Nobody knows whose its number is by now.
        let is_known = !self.launch.is_by_number() || is_there;
        if afresh && enabled && !stays && is_known {
            step(self, Event::Start);
        }
        let policy = self.launch.policy.digest();
        if is_there && self.life.is_wanted() && record.run.is_some_and(|run| run.policy != policy) {
            step(self, Event::Restart);
        }
        actions
    }

    /// Looks once more for a run that couldn't be told from a stranger.
    pub(super) async fn look_again(&mut self) {
        let run = self.diary.as_ref().and_then(|diary| diary.run.clone());
        let Some(run) = run else { return };
        let left = self.find(&run);
        let now = Moment(self.origin.elapsed());
        let actions = self.life.take_up(&self.rules, left, now, chance());
        self.begin(actions).await;
        self.tell();
    }

    /// Looks for a run, and takes it over if it is there.
    fn find(&mut self, run: &Run) -> Left {
        if let Some(diary) = &mut self.diary {
            diary.run = Some(run.clone());
        }
        match self.launch.adopt(run) {
            Ok(Adopted::Taken(sandbox)) => {
                self.supervise(*sandbox);
                if let Some(news) = &self.news {
                    news.adopted();
                }
                Left::Run
            }
            Ok(Adopted::Gone) => left_of(Some(run)),
            Ok(Adopted::Unknown(why)) => Left::Doubt(why),
            Err(error) => Left::Doubt(error.chain()),
        }
    }
}
