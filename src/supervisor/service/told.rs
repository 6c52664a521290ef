//! What everybody is told of a service.

use super::Actor;
use crate::error::Error;
use crate::sandbox::Sandbox;
use crate::supervisor::lifecycle::State;
use tokio::time::Instant;

impl Actor {
    pub(super) fn tell_error(&self, error: String) {
        self.status.send_modify(|status| status.error = Some(error));
    }

    /// What the last look said that failed, where that is new.
    pub(super) fn tell_trouble(&self) {
        let Some(trouble) = self.looks.trouble() else { return };
        self.status.send_if_modified(|status| {
            let is_new = status.error.as_deref() != Some(trouble);
            status.error = Some(trouble.to_owned());
            is_new
        });
    }

    /// Counts the last look, which alone is no news.
    pub(super) fn count_look(&mut self) {
        let Some((purpose, success, time)) = self.looks.take_last() else { return };
        self.status.send_if_modified(|status| {
            status.counts.looked(purpose, success, time);
            false
        });
    }

    /// Why it is where it is, with what it says itself and what of that is others' doing.
    pub(super) fn why(&self, told: Option<&str>) -> String {
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
    pub(super) fn refresh(&self) {
        self.status.send_if_modified(|status| {
            let why = self.why(status.told.as_deref());
            let stale = status.why != why;
            status.why = why;
            stale
        });
    }

    pub(super) fn failed(&self, error: &Error) {
        self.status.send_modify(|status| status.error = Some(error.chain()));
    }

    /// Lets everybody know where it is.
    pub(super) fn tell(&self) {
        let (life, pid) = (&self.life, self.run.as_ref().map(Sandbox::pid));
        let escalates = self.escalates;
        // Nobody knows yet whether it is still so.
        let is_ready = life.is_ready() && self.found.is_none();
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
            status.ready = is_ready;
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
    pub(super) fn announce(&self) {
        if let Some(news) = &self.news {
            news.tell(self.status.borrow().clone());
        }
    }
}
