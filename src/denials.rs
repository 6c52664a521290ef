//! Telling what was denied: at the end as a table, on the way as events of what is new.

use crate::platform::{Denial, Denials, Denied, Event, Syscalls};
use crate::policy;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The least time between two events of the same kind: a program can be denied something a hundred thousand times a second.
const APART: Duration = Duration::from_millis(100);

/// What is told of the denied system calls and paths of one sandbox.
#[derive(Debug)]
pub(crate) struct Told {
    denials: Arc<Denials>,
    /// How often each was denied when that was told last.
    before: BTreeMap<Denied, u64>,
    last: Option<Instant>,
}

impl Told {
    pub(crate) fn new(denials: Arc<Denials>) -> Self {
        Self { denials, before: BTreeMap::new(), last: None }
    }

    /// Waits until there is something new to tell. Dropping the future loses nothing.
    pub(crate) async fn due(&self) {
        if let Some(last) = self.last {
            tokio::time::sleep_until(last + APART).await;
        }
        while !self.has_news() {
            self.denials.changed().await;
        }
    }

    fn has_news(&self) -> bool {
        let new = |(denied, times): &(Denied, u64)| self.before.get(denied) != Some(times);
        self.denials.all().iter().any(new)
    }

    /// What is new since this was asked last.
    pub(crate) fn news(&mut self, syscalls: &Syscalls) -> Vec<Event> {
        self.last = Some(Instant::now());
        let mut events = Vec::new();
        for (denied, times) in self.denials.all() {
            let before = self.before.get(&denied).copied().unwrap_or(0);
            if times > before {
                let denial = policy::denial(&denied, times - before, syscalls);
                events.push(Event::Denied(denial));
                self.before.insert(denied, times);
            }
        }
        events
    }

    /// Everything, for the report: what was denied most often first.
    pub(crate) fn all(&self, syscalls: &Syscalls) -> Vec<Denial> {
        let told = |(denied, times): &(Denied, u64)| policy::denial(denied, *times, syscalls);
        let mut all: Vec<Denial> = self.denials.all().iter().map(told).collect();
        all.sort_by_key(|denial| std::cmp::Reverse(denial.times));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::DeniedCall;

    fn call(name: &'static str) -> DeniedCall {
        DeniedCall { name, number: 1, ..DeniedCall::default() }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_what_is_new_is_an_event_and_events_are_some_time_apart() {
        let denials = Arc::<Denials>::default();
        let (mut told, syscalls) = (Told::new(denials.clone()), Syscalls::default());
        let times = |events: Vec<Event>| -> Vec<u64> {
            events
                .iter()
                .map(|event| match event {
                    Event::Denied(denial) => denial.times,
                    _ => 0,
                })
                .collect()
        };
        denials.count(call("mount"));
        told.due().await;
        assert_eq!(times(told.news(&syscalls)), [1]);
        assert_eq!(told.news(&syscalls), []);
        let from = Instant::now();
        denials.count(call("mount"));
        denials.count(call("mount"));
        denials.count(call("unshare"));
        told.due().await;
        assert!(from.elapsed() >= APART);
        assert_eq!(times(told.news(&syscalls)), [2, 1]);
        let all: Vec<_> = told.all(&syscalls).into_iter().map(|it| (it.what, it.times)).collect();
        assert_eq!(all, [("mount".to_owned(), 3), ("unshare".to_owned(), 1)]);
    }
}
