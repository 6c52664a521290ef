//! The book of alerts: what was the case and since when, what fires, and who was told. Pure: it is given what is known, and when.
//!
//! What has to be told isn't a list of messages that could grow, but what differs between how an alert is and what a receiver was told
//! of it last. So a receiver that can't be reached holds nothing up, and hears how things are when it can.

#[cfg(test)]
mod tests;

use super::silence::{self, Matcher, Silence};
use super::{Facts, Receiver, Rule, Settings, Time};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// When something is decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// What the monotonic clock shows.
    pub(super) clock: Duration,
    pub(super) time: Time,
}

/// All alerts that are pending, fire, or are over and not told yet; and all silences.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    /// By their fingerprints.
    alerts: BTreeMap<String, Alert>,
    /// Moments that rules count, by fingerprints.
    windows: BTreeMap<String, Window>,
    silences: Vec<Silence>,
    /// The number of the last silence.
    last: u64,
}

/// One alert. It has its labels and receivers by itself, since its rule may be gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Alert {
    rule: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    receivers: Vec<String>,
    /// Since when what it is about has been the case, by the monotonic clock.
    since: Option<Duration>,
    pub(super) episode: Option<Episode>,
    /// What each receiver was told last.
    told: BTreeMap<String, Episode>,
}

/// The time in which an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Episode {
    pub(super) started: Time,
    pub(super) ended: Option<Time>,
}

/// When something happened that a rule counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    /// The count that was seen last; a supervisor counts from 0.
    #[serde(skip)]
    total: Option<u64>,
    moments: VecDeque<Duration>,
}

/// What has become of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turn {
    /// What it is about is the case, though not for as long as its rule says.
    Pending,
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
}

impl Turn {
    /// As it is written everywhere.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// What a receiver has to be told: of all alerts of one rule together.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) rule: String,
    /// Those that fire, and those that are over and weren't told to be.
    pub(super) alerts: Vec<Sent>,
}

/// An alert as it is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) fingerprint: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) episode: Episode,
    /// Whether this is news to whom it is told.
    pub(super) is_news: bool,
}

impl Alert {
    fn is_firing(&self) -> bool {
        self.episode.is_some_and(|episode| episode.ended.is_none())
    }

    /// How it is; nothing where it is only remembered.
    pub(super) fn turn(&self) -> Option<Turn> {
        match (self.episode, self.since) {
            (Some(Episode { ended: None, .. }), _) => Some(Turn::Firing),
            (_, Some(_)) => Some(Turn::Pending),
            (Some(_), None) => Some(Turn::Resolved),
            (None, None) => None,
        }
    }

    /// Takes in whether what it is about is the case.
    fn take_in(&mut self, holds: Option<bool>, hold: Duration, now: Now) -> Option<Turn> {
        match holds {
            None => None,
            Some(true) => {
                let is_new = self.since.is_none();
                let since = *self.since.get_or_insert(now.clock);
                if self.is_firing() {
                    return None;
                }
                if now.clock.saturating_sub(since) >= hold {
                    self.episode = Some(Episode { started: now.time, ended: None });
                    return Some(Turn::Firing);
                }
                is_new.then_some(Turn::Pending)
            }
            Some(false) => {
                self.since = None;
                let episode = self.episode.as_mut().filter(|episode| episode.ended.is_none())?;
                // Not before it began, whatever the clock does.
                episode.ended = Some(now.time.max(episode.started));
                Some(Turn::Resolved)
            }
        }
    }

    /// What this receiver has to be told of it, where that is news.
    fn news(&self, name: &str, receiver: &Receiver, silenced: bool) -> Option<Episode> {
        if !self.receivers.iter().any(|known| known == name) {
            return None;
        }
        let (episode, told) = (self.episode?, self.told.get(name));
        let is_due = match episode.ended {
            None => !silenced && told != Some(&episode),
            // Of what it doesn't know to fire, it needn't hear that it is over.
            Some(_) => receiver.send_resolved && told == Some(&Episode { ended: None, ..episode }),
        };
        is_due.then_some(episode)
    }
}

impl Window {
    /// Takes in a count, and gives how often it has grown within the time.
    fn count(&mut self, total: u64, over: u32, window: Duration, now: Duration) -> u32 {
        let grown = match self.total.replace(total) {
            // What was before somebody looked is another matter.
            None => 0,
            Some(before) if total < before => total,
            Some(before) => total - before,
        };
        // More than that needn't be known.
        let most = usize::try_from(over).unwrap_or(usize::MAX).saturating_add(1);
        for _ in 0..grown.min(u64::from(over) + 1) {
            self.moments.push_back(now);
        }
        let over = self.moments.len().saturating_sub(most);
        self.moments.drain(..over);
        while self.moments.front().is_some_and(|at| now.saturating_sub(*at) > window) {
            self.moments.pop_front();
        }
        u32::try_from(self.moments.len()).unwrap_or(u32::MAX)
    }
}

impl Book {
    /// What another process of this boot, or of another one, left.
    pub(super) fn taken_over(mut self, same_boot: bool) -> Self {
        if !same_boot {
            // The clock began anew.
            self.windows.clear();
            for alert in self.alerts.values_mut() {
                alert.since = None;
            }
        }
        self
    }

    /// Looks at everything that is known, and tells what has become of which alert.
    pub(super) fn look(
        &mut self,
        settings: &Settings,
        all: &[Facts],
        now: Now,
    ) -> Vec<(Turn, Alert)> {
        let (mut turns, mut seen) = (Vec::new(), BTreeSet::new());
        let known: BTreeSet<String> = self.alerts.values().map(|it| it.rule.clone()).collect();
        for (name, rule) in &settings.rules {
            for facts in all.iter().filter(|facts| rule.is_about(facts)) {
                // Most of the time there is nothing to remember.
                let counts = rule.when.window().is_some() || known.contains(name);
                if !counts && rule.when.holds(facts, 0) != Some(true) {
                    continue;
                }
                let labels = facts.labels_of(name, &rule.labels);
                let fingerprint = fingerprint(&labels);
                let counted = rule.when.window().map(|(over, window)| {
                    let moments = self.windows.entry(fingerprint.clone()).or_default();
                    moments.count(rule.when.total(facts), over, window, now.clock)
                });
                let holds = rule.when.holds(facts, counted.unwrap_or(0));
                if holds == Some(true) || self.alerts.contains_key(&fingerprint) {
                    let alert = self.alerts.entry(fingerprint.clone());
                    let alert = alert.or_insert_with(|| Alert::new(name, labels, rule));
                    alert.receivers.clone_from(&rule.receivers);
                    if let Some(turn) = alert.take_in(holds, rule.hold, now) {
                        if turn != Turn::Resolved {
                            alert.annotations = annotations(rule, facts);
                        }
                        turns.push((turn, alert.clone()));
                    }
                }
                seen.insert(fingerprint);
            }
        }
        // What no rule is about any more, or has no service any more, is over.
        for (_, alert) in self.alerts.iter_mut().filter(|(it, _)| !seen.contains(*it)) {
            if let Some(turn) = alert.take_in(Some(false), Duration::ZERO, now) {
                turns.push((turn, alert.clone()));
            }
        }
        self.windows.retain(|fingerprint, _| seen.contains(fingerprint));
        self.tidy(settings);
        turns
    }

    /// Forgets what is over, and whom nobody has to be told of any more.
    fn tidy(&mut self, settings: &Settings) {
        self.alerts.retain(|_, alert| {
            alert.told.retain(|name, _| settings.receivers.contains_key(name));
            let untold = settings
                .receivers
                .iter()
                .any(|(name, receiver)| alert.news(name, receiver, false).is_some());
            alert.since.is_some() || alert.is_firing() || untold
        });
    }

    /// What a receiver has to be told next.
    pub(super) fn batch(&self, name: &str, receiver: &Receiver, now: Time) -> Option<Batch> {
        let news = |alert: &Alert| alert.news(name, receiver, self.is_silenced(alert, now));
        let rule = &self.alerts.values().find(|alert| news(alert).is_some())?.rule;
        let of = self.alerts.iter().filter(|(_, alert)| {
            alert.rule == *rule && alert.receivers.iter().any(|known| known == name)
        });
        let alerts = of.filter_map(|(fingerprint, alert)| {
            let is_news = news(alert).is_some();
            let goes_on = alert.is_firing() && !self.is_silenced(alert, now);
            (is_news || goes_on).then_some(())?;
            Some(Sent {
                fingerprint: fingerprint.clone(),
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                episode: alert.episode?,
                is_news,
            })
        });
        Some(Batch { rule: rule.clone(), alerts: alerts.collect() })
    }

    /// Notes what a receiver was told, or never will be.
    pub(super) fn mark(&mut self, name: &str, batch: &Batch, settings: &Settings) {
        for sent in &batch.alerts {
            if let Some(alert) = self.alerts.get_mut(&sent.fingerprint) {
                alert.told.insert(name.to_owned(), sent.episode);
            }
        }
        self.tidy(settings);
    }

    /// All alerts that are there, by their fingerprints.
    pub(super) fn alerts(&self) -> impl Iterator<Item = (&String, &Alert)> {
        self.alerts.iter()
    }

    /// The silence because of which nobody is told of an alert.
    pub(super) fn silenced_by(&self, alert: &Alert, now: Time) -> Option<&Silence> {
        self.silences.iter().find(|silence| silence.is_about(&alert.labels, now))
    }

    fn is_silenced(&self, alert: &Alert, now: Time) -> bool {
        self.silenced_by(alert, now).is_some()
    }

    /// Those that last.
    pub(super) fn silences(&self) -> &[Silence] {
        &self.silences
    }

    /// Adds a silence from now on.
    pub(super) fn silence(
        &mut self,
        matchers: Vec<Matcher>,
        until: Time,
        reason: String,
        by: String,
        now: Time,
    ) -> Result<Silence, String> {
        self.expire(now);
        silence::wrong(&matchers, &reason, until, now)?;
        if self.silences.len() >= silence::MOST {
            return Err(format!("there are {} silences already", silence::MOST));
        }
        self.last += 1;
        let silence = Silence { id: self.last, matchers, from: now, until, reason, by };
        self.silences.push(silence.clone());
        Ok(silence)
    }

    /// Ends a silence; tells whether there was one.
    pub(super) fn unsilence(&mut self, id: u64) -> bool {
        let before = self.silences.len();
        self.silences.retain(|silence| silence.id != id);
        before != self.silences.len()
    }

    /// Forgets silences whose time is over; tells whether there were any.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let before = self.silences.len();
        self.silences.retain(|silence| now < silence.until);
        before != self.silences.len()
    }

    /// Whether there is no alert.
    pub(super) fn is_idle(&self) -> bool {
        self.alerts.is_empty()
    }
}

impl Alert {
    fn new(rule: &str, labels: BTreeMap<String, String>, of: &Rule) -> Self {
        Self {
            rule: rule.to_owned(),
            labels,
            annotations: BTreeMap::new(),
            receivers: of.receivers.clone(),
            since: None,
            episode: None,
            told: BTreeMap::new(),
        }
    }
}

/// What is said of an alert for people: as its rule says, and what is the case.
fn annotations(rule: &Rule, facts: &Facts) -> BTreeMap<String, String> {
    let mut annotations = rule.annotations.clone();
    let summary = || rule.when.told(facts);
    annotations.entry("summary".to_owned()).or_insert_with(summary);
    annotations
}

/// The fingerprint of labels, the same as Prometheus and Alertmanager give them: FNV-1a of names and values in their order, each followed
/// by a byte that no UTF-8 has.
pub(super) fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    for byte in texts.flat_map(|text| text.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}
