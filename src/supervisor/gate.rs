//! Waiting for what a service depends on.

use super::lifecycle::{Event, State};
use super::service::Status;
use super::stack::Condition;
use tokio::sync::watch;

/// What a service needs, and where that can be seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(pub(super) Vec<(String, Condition, watch::Receiver<Status>)>);

/// What a status says of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Met,
    NotYet,
    /// It won't be met by itself.
    Never,
}

impl Condition {
    fn of(self, status: &Status) -> Answer {
        let met = match (self, status.state) {
            (Self::Started, State::Running | State::Reloading | State::Paused) => true,
            (Self::Started | Self::Completed, State::Completed) => true,
            (Self::Ready, _) => status.ready,
            (Self::Started | Self::Completed, _) => false,
        };
        match status.state {
            _ if met => Answer::Met,
            // What was stopped, or never started, may still be started.
            State::Failed | State::Completed => Answer::Never,
            _ => Answer::NotYet,
        }
    }
}

impl Gate {
    /// What it waits for, in words; empty where it needs nothing.
    pub(super) fn told(&self) -> String {
        let waits = |(name, condition, status): &(String, Condition, watch::Receiver<Status>)| {
            let answer = condition.of(&status.borrow());
            let word = match condition {
                Condition::Started => "be started",
                Condition::Ready => "be ready",
                Condition::Completed => "complete",
            };
            (answer != Answer::Met).then(|| format!("`{name}` to {word}"))
        };
        let all: Vec<String> = self.0.iter().filter_map(waits).collect();
        if all.is_empty() { String::new() } else { format!("waits for {}", all.join(", ")) }
    }

    /// Returns when all of it is there at once, or something of it never will be.
    pub(super) async fn pass(mut self) -> Event {
        loop {
            let mut missing = None;
            for (at, (name, condition, status)) in self.0.iter_mut().enumerate() {
                match condition.of(&status.borrow_and_update()) {
                    Answer::Met => {}
                    Answer::NotYet => missing = missing.or(Some(at)),
                    Answer::Never => return Event::DependencyFailed(name.clone()),
                }
            }
            let Some((name, _, status)) = missing.and_then(|at| self.0.get_mut(at)) else {
                return Event::DependenciesMet;
            };
            // Of the others nothing needs to be heard until this one is there.
            if status.changed().await.is_err() {
                return Event::DependencyFailed(name.clone());
            }
        }
    }
}
