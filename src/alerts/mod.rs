//! Alerts: what of the services of a stack somebody should look at, and telling them.
//!
//! `settings` is what a stack file says of it, `facts` what is known of services. `book` decides from both what fires, what is over and
//! who has to be told, and is pure, as `silence` is (who isn't told) and `message` (in which form). `delivery` tells receivers, and
//! `store` writes the book down. Who knows the services looks for this one, and nothing here ever waits for a receiver or a disk but
//! tasks of their own.

mod book;
mod delivery;
mod facts;
mod message;
mod settings;
mod silence;
mod store;
mod time;

pub use book::Turn;
pub use delivery::Tally;
pub(crate) use facts::Facts;
pub use settings::{Figure, Receiver, Rule, Settings, Way, When};
pub use silence::{Matcher, Silence};
pub use time::Time;

use crate::error::Error;
use crate::platform::monotonic_clock;
use book::{Batch, Book, Episode, Now, Sent};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

/// The label that names an alert's rule, as Prometheus has it.
pub(crate) const NAME: &str = "alertname";

/// How far those who are told of turns may fall behind.
const KEPT: usize = 256;

/// The alerts of one supervisor. Receivers are told as long as one of its handles lives.
#[derive(Clone)]
pub struct Alerts {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<Tasks>>,
}

/// Who works for it.
#[derive(Debug, Default)]
struct Tasks {
    receivers: BTreeMap<String, (Receiver, JoinSet<()>)>,
    saving: JoinSet<()>,
}

/// What handles and tasks share.
#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Grows with each change.
    changed: watch::Sender<u64>,
    turns: broadcast::Sender<Turned>,
    store: Option<Arc<Store>>,
    /// Held by whoever writes, so that nobody writes what is older than what stands there.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    book: Book,
    settings: Arc<Settings>,
    tallies: BTreeMap<String, Tally>,
    /// Why it couldn't be written down last.
    trouble: Option<String>,
}

/// What has become of an alert.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Turned {
    /// What.
    pub turn: Turn,
    /// The name of its rule.
    pub rule: String,
    /// Of which service, or which of its instances.
    pub service: String,
    /// What is the case, in a line for people.
    pub summary: String,
}

/// An alert, as everybody sees it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Shown {
    /// What it is, by its labels.
    pub fingerprint: String,
    /// `pending`, `firing` or `resolved`.
    pub state: &'static str,
    /// Its labels, the name of its rule among them.
    pub labels: BTreeMap<String, String>,
    /// What is said of it for people.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at: Option<Time>,
    /// When it was over.
    pub ends_at: Option<Time>,
    /// The silence because of which nobody is told.
    pub silenced_by: Option<u64>,
}

/// A receiver, as everybody sees it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShownReceiver {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub way: &'static str,
    /// What came of telling it.
    #[serde(flatten)]
    pub tally: Tally,
}

impl Alerts {
    /// Alerts that are written down below a state directory, or nowhere. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When what was written down there can't be read.
    pub fn open(state: Option<&Path>) -> Result<Self, Error> {
        let (store, book) = match state.map(Store::open).transpose()? {
            Some((store, book)) => (Some(Arc::new(store)), book),
            None => (None, Book::default()),
        };
        let inner = Inner { book, ..Inner::default() };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            changed: watch::Sender::new(0),
            turns: broadcast::Sender::new(KEPT),
            store,
            writing: tokio::sync::Mutex::default(),
        });
        let mut tasks = Tasks::default();
        if shared.store.is_some() {
            tasks.saving.spawn(keep_saved(shared.clone()));
        }
        Ok(Self { shared, tasks: Arc::new(Mutex::new(tasks)) })
    }

    /// From now on these rules and receivers are in force. What is the same goes on undisturbed.
    pub(crate) fn follow(&self, settings: &Settings) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.receivers.retain(|name, (receiver, _)| {
            settings.receivers.get(name).is_some_and(|next| receiver.is_same(next))
        });
        {
            let mut inner = self.shared.inner();
            inner.settings = Arc::new(settings.clone());
            inner.tallies.retain(|name, _| settings.receivers.contains_key(name));
        }
        for (name, receiver) in &settings.receivers {
            if !tasks.receivers.contains_key(name) {
                let telling = delivery::tell(self.shared.clone(), name.clone(), receiver.clone());
                let mut working = JoinSet::new();
                working.spawn(telling);
                tasks.receivers.insert(name.clone(), (receiver.clone(), working));
            }
        }
        self.shared.change();
    }

    /// Takes in what is known of all services.
    pub(crate) fn look(&self, facts: &[Facts]) {
        let now = now();
        let turns = {
            let mut inner = self.shared.inner();
            let Inner { book, settings, .. } = &mut *inner;
            let expired = book.expire(now.time);
            let turns = book.look(settings, facts, now);
            if turns.is_empty() && !expired {
                return;
            }
            turns
        };
        self.shared.change();
        for (turn, alert) in turns {
            let text = |of: &BTreeMap<String, String>, name: &str| of.get(name).cloned();
            let labels = &alert.labels;
            let service = text(labels, "instance").or_else(|| text(labels, "service"));
            let turned = Turned {
                turn,
                rule: text(labels, NAME).unwrap_or_default(),
                service: service.unwrap_or_default(),
                summary: text(&alert.annotations, "summary").unwrap_or_default(),
            };
            // Without anybody who wants to know it is said to nobody.
            self.shared.turns.send(turned).map(drop).unwrap_or(());
        }
    }

    /// Whether there is nothing to look at, and nothing becomes of anything by the mere passing of time.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.shared.inner();
        inner.settings.rules.is_empty() && inner.book.is_idle()
    }

    /// Which figures its rules ask for.
    pub(crate) fn wants_figures(&self) -> bool {
        let inner = self.shared.inner();
        inner.settings.rules.values().any(|rule| matches!(rule.when, When::Figure(..)))
    }

    /// What tells of each change.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// What becomes of alerts from now on.
    pub fn turns(&self) -> broadcast::Receiver<Turned> {
        self.shared.turns.subscribe()
    }

    /// All alerts that are pending or fire, and those that are over and not told yet.
    pub fn list(&self) -> Vec<Shown> {
        let (inner, now) = (self.shared.inner(), Time::now());
        let shown = inner.book.alerts().filter_map(|(fingerprint, alert)| {
            let turn = alert.turn()?;
            let episode = alert.episode.filter(|_| turn != Turn::Pending);
            Some(Shown {
                fingerprint: fingerprint.clone(),
                state: turn.word(),
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                starts_at: episode.map(|episode| episode.started),
                ends_at: episode.and_then(|episode| episode.ended),
                silenced_by: inner.book.silenced_by(alert, now).map(|silence| silence.id),
            })
        });
        shown.collect()
    }

    /// Who is told, and what came of it.
    pub fn receivers(&self) -> Vec<ShownReceiver> {
        let inner = self.shared.inner();
        let all = inner.settings.receivers.iter();
        all.map(|(name, receiver)| ShownReceiver {
            name: name.clone(),
            way: receiver.way.word(),
            tally: inner.tallies.get(name).cloned().unwrap_or_default(),
        })
        .collect()
    }

    /// Why alerts couldn't be written down last, where that is so.
    pub fn trouble(&self) -> Option<String> {
        self.shared.inner().trouble.clone()
    }

    /// Silences that last, the oldest first.
    pub fn silences(&self) -> Vec<Silence> {
        let now = Time::now();
        let mut silences = self.shared.inner().book.silences().to_vec();
        silences.retain(|silence| now < silence.until);
        silences
    }

    /// Has nobody told of alerts that all these matchers fit, for a while. Returns when that is written down.
    ///
    /// # Errors
    /// When it makes no sense, or can't be written down: then there is no such silence.
    pub async fn silence(
        &self,
        matchers: Vec<Matcher>,
        until: Time,
        reason: String,
        by: String,
    ) -> Result<Silence, Error> {
        let silence = self.shared.inner().book.silence(matchers, until, reason, by, Time::now());
        let silence = silence.map_err(|message| Error::asked(message, ""))?;
        if let Err(error) = self.shared.save().await {
            self.shared.inner().book.unsilence(silence.id);
            return Err(error);
        }
        self.shared.change();
        Ok(silence)
    }

    /// Ends a silence, and tells whether there was one. Returns when that is written down.
    ///
    /// # Errors
    /// When it can't be written down: it may last again after a restart then.
    pub async fn unsilence(&self, id: u64) -> Result<bool, Error> {
        let is_gone = self.shared.inner().book.unsilence(id);
        if is_gone {
            self.shared.change();
            self.shared.save().await?;
        }
        Ok(is_gone)
    }

    /// Tells a receiver, or all, of an alert that is none, and that it is over; gives what came of it.
    pub async fn test(&self, only: Option<&str>) -> Vec<(String, Result<(), String>)> {
        let settings = self.shared.inner().settings.clone();
        let mut results = Vec::new();
        for (name, receiver) in &settings.receivers {
            if only.is_none_or(|only| only == name) {
                results.push((name.clone(), test(name, receiver).await));
            }
        }
        results
    }

    /// Returns when receivers were told the last, or this time is over, and everything is written down.
    pub async fn close(&self, patience: Duration) {
        let mut changed = self.shared.changed.subscribe();
        let told = async {
            while self.shared.is_untold() {
                changed.changed().await.unwrap_or(());
            }
        };
        timeout(patience, told).await.unwrap_or(());
        // Whoever comes next tells it again.
        self.shared.save().await.unwrap_or(());
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts").finish_non_exhaustive()
    }
}

impl Shared {
    /// What a receiver has to be told next.
    fn batch(&self, name: &str, receiver: &Receiver) -> Option<Batch> {
        let mut batch = self.inner().book.batch(name, receiver, Time::now())?;
        // A command that fails for one is run again for that one alone.
        if matches!(receiver.way, Way::Command { .. }) {
            batch.alerts.retain(|alert| alert.is_news);
            batch.alerts.truncate(1);
        }
        Some(batch)
    }

    fn is_untold(&self) -> bool {
        let (inner, now) = (self.inner(), Time::now());
        let mut receivers = inner.settings.receivers.iter();
        receivers.any(|(name, receiver)| inner.book.batch(name, receiver, now).is_some())
    }

    /// Notes what came of telling a receiver, and whether it won't be told that again.
    fn told(&self, name: &str, batch: &Batch, result: Result<(), String>, is_over: bool) {
        {
            let mut inner = self.inner();
            let Inner { book, settings, tallies, .. } = &mut *inner;
            let tally = tallies.entry(name.to_owned()).or_default();
            let news = batch.alerts.iter().filter(|alert| alert.is_news).count();
            let news = u64::try_from(news).unwrap_or(u64::MAX);
            match result {
                Ok(()) => (tally.sent, tally.error) = (tally.sent + news, None),
                Err(error) => {
                    (tally.failed, tally.error) = (tally.failed + 1, Some(error));
                    tally.dropped += if is_over { news } else { 0 };
                }
            }
            if !is_over {
                return;
            }
            book.mark(name, batch, settings);
        }
        self.change();
    }

    fn change(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Writes the book down as it is.
    async fn save(&self) -> Result<(), Error> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let _one_after_the_other = self.writing.lock().await;
        let text = store.text(&self.inner().book)?;
        let writing = spawn_blocking(move || store.write(text)).await;
        let broken =
            |error| Err(Error::io("failed to write alerts down", std::io::Error::other(error)));
        let result = writing.unwrap_or_else(broken);
        self.inner().trouble = result.as_ref().err().map(Error::chain);
        result
    }

    /// A poisoned lock only means that a thread panicked while it looked; what is there is whole.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes each change down.
async fn keep_saved(shared: Arc<Shared>) {
    let mut changed = shared.changed.subscribe();
    while changed.changed().await.is_ok() {
        // It is told by `trouble`, and tried with the next change.
        shared.save().await.unwrap_or(());
    }
}

/// Tells a receiver of an alert that is none, and that it is over.
async fn test(name: &str, receiver: &Receiver) -> Result<(), String> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels = [pair(NAME, "StockadeTest"), pair("severity", "info")].into();
    let summary = "a test: nothing is wrong";
    let started = Time::now();
    let mut sent = Sent {
        fingerprint: book::fingerprint(&labels),
        labels,
        annotations: [pair("summary", summary)].into(),
        episode: Episode { started, ended: None },
        is_news: true,
    };
    let ends = if receiver.send_resolved { vec![None, Some(started)] } else { vec![None] };
    for ended in ends {
        sent.episode.ended = ended;
        let batch = Batch { rule: "StockadeTest".to_owned(), alerts: vec![sent.clone()] };
        delivery::send(name, receiver, &batch).await.map_err(|failure| failure.message)?;
    }
    Ok(())
}

fn now() -> Now {
    Now { clock: monotonic_clock(), time: Time::now() }
}
