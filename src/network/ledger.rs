//! What a filtered network refused, let out and let in, and what is open now.

use super::rules::{Destination, Refusal};
use crate::platform::{Denial, Wall};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most destinations that are told apart: a program could ask for ever new ones.
const MOST: usize = 256;

/// Connections of a filtered network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// Made for the program.
    pub allowed: u64,
    /// Refused to it, or closed because the rules changed.
    pub denied: u64,
    /// Let in through published ports.
    pub published: u64,
}

/// The books of one sandbox.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    books: Mutex<Books>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Books {
    connections: Connections,
    denied: BTreeMap<String, Line>,
    open: BTreeMap<u64, Destination>,
    next: u64,
}

#[derive(Debug)]
struct Line {
    denial: Denial,
    told: u64,
}

/// A connection that is open; dropping it closes its line.
#[derive(Debug)]
pub(super) struct Open<'l> {
    ledger: &'l Ledger,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.ledger.books().open.remove(&self.number);
    }
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing that is done while it is held can leave it half done.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn deny(&self, refusal: &Refusal) {
        let mut books = self.books();
        books.connections.denied += 1;
        let known = books.denied.len() < MOST || books.denied.contains_key(refusal.what());
        let denial = if known { refusal.denial() } else { others() };
        let line = books.denied.entry(denial.what.clone());
        let line =
            line.or_insert_with(|| Line { denial: Denial { times: 0, ..denial.clone() }, told: 0 });
        line.denial = Denial { times: line.denial.times + 1, ..denial };
        drop(books);
        self.news.notify_one();
    }

    pub(super) fn open(&self, to: Destination) -> Open<'_> {
        let mut books = self.books();
        books.connections.allowed += 1;
        let number = books.next;
        books.next += 1;
        books.open.insert(number, to);
        Open { ledger: self, number }
    }

    pub(super) fn let_in(&self) {
        self.books().connections.published += 1;
    }

    /// How many open connections aren't as `fits` says, by what they lead to.
    pub(super) fn open_unless(&self, fits: impl Fn(&Destination) -> bool) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        for to in self.books().open.values().filter(|to| !fits(to)) {
            *found.entry(format!("{}:{}", to.host, to.port)).or_default() += 1;
        }
        found
    }

    /// What was refused since the last time, when there is something. Dropping the future loses nothing.
    pub(super) async fn news(&self) -> Vec<Denial> {
        loop {
            let news = self.untold();
            if !news.is_empty() {
                return news;
            }
            self.news.notified().await;
        }
    }

    /// What was refused and not told yet.
    pub(super) fn untold(&self) -> Vec<Denial> {
        let mut books = self.books();
        let untold = |line: &mut Line| {
            let times = line.denial.times - line.told;
            line.told = line.denial.times;
            (times > 0).then(|| Denial { times, ..line.denial.clone() })
        };
        books.denied.values_mut().filter_map(untold).collect()
    }

    /// All that was refused.
    pub(super) fn denials(&self) -> Vec<Denial> {
        self.books().denied.values().map(|line| line.denial.clone()).collect()
    }

    pub(super) fn connections(&self) -> Connections {
        self.books().connections
    }
}

fn others() -> Denial {
    let what = format!("others, after {MOST}");
    Denial { wall: Wall::Network, what, why: None, times: 1, allow: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::rules::Rules;

    fn refused(host: &str) -> Refusal {
        Rules::default().allows(&host.parse().unwrap(), 443).unwrap_err()
    }

    #[test]
    fn refusals_are_told_once_and_counted_for_ever() {
        let ledger = Ledger::default();
        ledger.deny(&refused("a.example"));
        ledger.deny(&refused("a.example"));
        let times = |denials: Vec<Denial>| denials.iter().map(|one| one.times).collect::<Vec<_>>();
        assert_eq!(times(ledger.untold()), [2]);
        assert_eq!(times(ledger.untold()), [0; 0]);
        ledger.deny(&refused("a.example"));
        ledger.deny(&refused("b.example"));
        assert_eq!((times(ledger.untold()), times(ledger.denials())), (vec![1, 1], vec![3, 1]));
        assert_eq!(ledger.connections().denied, 4);
    }

    #[test]
    fn ever_new_destinations_take_no_more_room() {
        let ledger = Ledger::default();
        for number in 0..1000 {
            ledger.deny(&refused(&format!("h{number}.example")));
        }
        let denials = ledger.denials();
        assert_eq!(denials.len(), MOST + 1);
        assert_eq!(denials.iter().map(|one| one.times).sum::<u64>(), 1000);
    }
}
