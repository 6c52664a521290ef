//! What is heard of a run: what it says itself, what its probes find, and what it comes to at its limits.

use super::Actor;
use crate::platform::OwnedFile;
use crate::supervisor::health::{Looks, Vitals};
use crate::supervisor::lifecycle::{Event, Happening, State};
use crate::supervisor::notice::Notice;
use crate::supervisor::probe::Purpose;
use crate::supervisor::violation::{self, Measure, Trigger};
use tokio::time::Instant;

impl Actor {
    /// It says something of itself.
    pub(super) async fn take_notice(&mut self, notice: Notice, files: Vec<OwnedFile>) {
        // Whoever waits until all that was said is taken in sees descriptors closed with this (`BARRIER`).
        match notice.store {
            Some(store) => {
                let stored = self.store.take(store, files, self.launch.notify.fdstore_max);
                if let Err(error) = stored {
                    self.tell_error(format!(
                        "the next supervisor won't have what it stores: {error}"
                    ));
                }
            }
            None => drop(files),
        }
        let errno = notice.errno.map(|errno| std::io::Error::from_raw_os_error(errno).to_string());
        if let Some(told) = notice.status.or(errno) {
            self.status.send_modify(|status| status.told = Some(told));
        }
        if let (Some(pid), Some(run)) = (notice.main_pid, &self.run)
            && let Err(error) = run.name_main(pid)
        {
            self.failed(&error);
        }
        let now = Instant::now();
        if let Some(period) = notice.watchdog {
            self.watchdog.change(period, now);
            // The next supervisor is to wait as long.
            if let Some(run) = self.diary.as_mut().and_then(|diary| diary.run.as_mut()) {
                run.watchdog = Some(period);
                self.write_down(Vec::new());
            }
        } else if notice.alive && self.watchdog.due().is_some() {
            self.watchdog.fed(now);
        }
        if notice.reloading {
            self.reload.begun(notice.monotonic);
        }
        if notice.ready {
            self.looks.said().ready();
        }
        // One that reloads and was asked to is ready only with what it was asked to read.
        let ready = notice.ready && !notice.reloading && self.reload.has_begun();
        // Where a probe tells whether it has started, its own word alone doesn't.
        let ready = ready && (self.launch.notify.heard || self.life.state() != State::Starting);
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

    pub(super) async fn miss_watchdog(&mut self) {
        self.watchdog.direct(false, Instant::now());
        let missed = Happening::WatchdogMissed;
        self.take_in(Event::Of(self.life.generation(), missed)).await;
    }

    /// It came to a limit.
    pub(super) async fn violated(&mut self, event: &crate::Event) {
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
            self.status.send_modify(|status| *status.counts.hits.entry(trigger).or_default() += 1);
            self.announce();
        }
    }

    /// Looks at the program where it is time to.
    pub(super) fn look(&mut self) {
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

    /// A probe has changed its mind.
    pub(super) async fn hear(&mut self, purpose: Purpose, well: bool) {
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
    pub(super) fn direct_looks(&mut self) {
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
}
