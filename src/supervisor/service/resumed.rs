//! Going on where the supervisor before was.

use super::{Actor, chance};
use crate::platform::monotonic_clock;
use crate::sandbox::Adopted;
use crate::supervisor::dialogue::{Ear, Watchdog};
use crate::supervisor::diary::Diary;
use crate::supervisor::journal::{Found, Journal};
use crate::supervisor::lifecycle::{Action, Event, Left, State};
use crate::supervisor::record::{Ledger, Run, left_of};
use crate::supervisor::restart::{Moment, RestartPolicy};
use std::fs::File;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long after a look at what couldn't be told from a stranger the next one comes: what stood in the way may have been want
/// of descriptors, or of time.
const PAUSE: Duration = Duration::from_secs(10);

/// So many are looked for at once: each takes a thread, and most answer within a moment.
static LOOKING: Semaphore = Semaphore::const_new(16);

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
        let Some(found) = found else {
            self.first = self.write_down(Vec::new());
            return self.tell();
        };
        self.waiting = None;
        self.life = found.record.life.clone();
        if found.record.run.is_some() && !found.other_boot {
            self.found = Some((found, enabled));
        } else {
            let left = if found.other_boot { Left::OtherBoot } else { left_of(None) };
            let first = self.go_on_with(&found, left, enabled);
            self.first = self.write_down(first);
        }
        self.tell();
        self.tell_since();
    }

    /// Takes over what is there of its run, if anything may be.
    pub(super) async fn take_over(&mut self) {
        let Some((found, enabled)) = self.found.clone() else { return };
        let Some(run) = &found.record.run else { return };
        let left = self.find(run).await;
        self.found = None;
        let first = self.go_on_with(&found, left, enabled);
        self.first = self.write_down(first);
        self.tell();
        self.tell_since();
    }

    /// A run began before this supervisor did.
    fn tell_since(&self) {
        let since = self.life.started_at().filter(|_| self.life.state() == State::Running);
        if let Some(since) = since {
            let since = self.origin + since.0;
            self.status.send_modify(|status| status.since = since);
        }
    }

    fn go_on_with(&mut self, found: &Found, left: Left, enabled: bool) -> Vec<Action> {
        let Found { record, afresh, .. } = found;
        self.life.enable(enabled);
        let is_there = left == Left::Run;
        let now = Moment(self.origin.elapsed());
        let mut actions = self.life.take_up(&self.rules, left, now, chance());
        let mut step = |actor: &mut Self, event| {
            actions.extend(actor.life.step(&actor.rules, event, now, chance()));
        };
        let stays = record.stopped && self.rules.restart.policy == RestartPolicy::UnlessStopped;
        // Nobody knows whose its number is by now.
        let is_known = !self.launch.is_by_number() || is_there;
        if *afresh && enabled && !stays && is_known {
            step(self, Event::Start);
        }
        let policy = self.launch.policy.digest();
        let run = record.run.as_ref();
        if is_there && self.life.is_wanted() && run.is_some_and(|run| run.policy != policy) {
            step(self, Event::Restart);
        }
        actions
    }

    /// Looks once more for a run that couldn't be told from a stranger.
    pub(super) async fn look_again(&mut self) {
        self.look_again = None;
        let run = self.diary.as_ref().and_then(|diary| diary.run.clone());
        let Some(run) = run.filter(|_| self.life.state() == State::Unknown) else { return };
        let left = self.find(&run).await;
        let now = Moment(self.origin.elapsed());
        let actions = self.life.take_up(&self.rules, left, now, chance());
        self.begin(actions).await;
        self.tell();
    }

    /// Looks for a run, and takes it over if it is there. It may take its time, which is nobody else's.
    async fn find(&mut self, run: &Run) -> Left {
        if let Some(diary) = &mut self.diary {
            diary.run = Some(run.clone());
        }
        // It is never closed.
        let place = LOOKING.acquire().await;
        let looked = tokio::task::spawn_blocking(self.launch.adopt(run)).await;
        drop(place);
        let why = match looked {
            Ok(Ok(Adopted::Taken(sandbox, kept))) => {
                self.supervise(*sandbox);
                self.hear_again(run, kept);
                if let Some(news) = &self.news {
                    news.adopted();
                }
                return Left::Run;
            }
            Ok(Ok(Adopted::Gone)) => return left_of(Some(run)),
            Ok(Ok(Adopted::Unknown(why))) => why,
            Ok(Err(error)) => error.chain(),
            Err(_) => "the thread that looked for it panicked".to_owned(),
        };
        self.look_again = Some(Instant::now() + PAUSE);
        Left::Doubt(why)
    }

    /// Goes on hearing what happens to a run and what it says of itself, and has what it stored. Its watchdog waits anew: what
    /// it said while nobody was there is still to be heard.
    fn hear_again(&mut self, run: &Run, kept: Vec<Option<File>>) {
        if let Some(sandbox) = self.run.as_mut().filter(|_| !self.launch.on_violation.is_empty()) {
            match sandbox.events() {
                Ok(events) => self.events = Some(events),
                Err(error) => self.failed(&error),
            }
        }
        self.watchdog = Watchdog::new(run.watchdog.or(self.launch.notify.watchdog));
        let mut kept = kept.into_iter();
        match kept.next().flatten().map(Ear::again).transpose() {
            Ok(ear) => self.ear = ear,
            Err(error) => self.failed(&error),
        }
        if let (Some(Some(sender)), Some(Some(receiver))) = (kept.next(), kept.next()) {
            let most = self.launch.notify.fdstore_max;
            match self.store.restore([sender, receiver], most) {
                Ok(sockets) => self.sockets.again(&self.launch.sockets, sockets),
                Err(error) => {
                    self.tell_error(format!("failed to take over what it stored: {error}"));
                }
            }
        }
    }
}
