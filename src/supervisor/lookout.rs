//! Looks at all services for alerts, once a second where there is something to look for.
//!
//! What it looks at stays (states) or only grows (counts), so that nothing is missed between two looks; and nobody waits for it.

use super::controller::Controller;
use super::health::Health;
use super::lifecycle::State;
use super::service::Status;
use super::stack::Service;
use super::team::Team;
use crate::alerts::{Alerts, Facts, Figure};
use crate::platform::{Pressure, PressureUsage, Usage};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// From one look to the next.
const TICK: Duration = Duration::from_secs(1);

/// From one sample of figures to the next.
const SAMPLE: Duration = Duration::from_secs(5);

/// Those that run, by their names.
type Running = Vec<(String, Controller)>;

/// Looks until there is no team any more.
pub(super) async fn look_out(team: Weak<Mutex<Team>>, alerts: Alerts) {
    let mut changed = alerts.changed();
    let mut sampler = Sampler::default();
    loop {
        while alerts.is_idle() {
            if changed.changed().await.is_err() {
                return;
            }
        }
        let Some(running) = look(&team, &alerts, &sampler) else { return };
        if alerts.wants_figures() {
            sampler.step(running);
        }
        sleep(TICK).await;
    }
}

/// Looks once, and gives those that run; `None` where there is no team.
pub(super) fn look(
    team: &Weak<Mutex<Team>>,
    alerts: &Alerts,
    sampler: &Sampler,
) -> Option<Running> {
    let team = team.upgrade()?;
    let (facts, running) = {
        let team = team.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut all, mut running) = (Vec::new(), Vec::new());
        for (name, service) in &team.stack.services {
            let Some(controller) = team.services.get(name) else { continue };
            let status = controller.watch();
            let status = status.borrow();
            if status.pid.is_some() {
                running.push((name.clone(), controller.clone()));
            }
            all.push(facts(name, service, &status, sampler.of(name, service, &status)));
        }
        (all, running)
    };
    alerts.look(&facts);
    Some(running)
}

/// What is known of an instance. Pure.
fn facts(name: &str, service: &Service, status: &Status, figures: BTreeMap<Figure, f64>) -> Facts {
    let (of, instance) = match name.split_once('.') {
        Some((of, _)) => (of, Some(name.to_owned())),
        None => (name, None),
    };
    let state = status.state;
    let is_unwanted = matches!(state, State::Disabled | State::Inactive | State::Completed);
    // Those are as they should be though nobody can use them yet.
    let is_patient = service.on_demand && state == State::Pending;
    let works = service.is_job() && state != State::Failed;
    let hits = status.counts.hits.iter();
    Facts {
        service: of.to_owned(),
        instance,
        labels: service.labels.clone(),
        failed: state == State::Failed,
        not_ready: !status.ready && !is_unwanted && !is_patient && !works,
        unhealthy: match status.health {
            Health::Unhealthy => Some(true),
            Health::Healthy => Some(false),
            // What doesn't run and needn't isn't ill.
            Health::Unknown | Health::Starting => is_unwanted.then_some(false),
        },
        restarts: status.counts.restarts.values().sum(),
        hits: hits.map(|(trigger, count)| (trigger.word(), *count)).collect(),
        figures,
        why: status.why.clone(),
    }
}

/// Figures of what runs, from one sample and the one before.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// By the names of services.
    known: BTreeMap<String, Sample>,
    working: JoinSet<Vec<(String, Sample)>>,
    /// When the last one was begun.
    last: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Sample {
    /// Of this run.
    generation: u64,
    at: Instant,
    usage: Usage,
    /// Shares of time since the sample before.
    shares: BTreeMap<Figure, f64>,
}

impl Sampler {
    /// Takes in a sample that is there, and begins another one where it is time to.
    fn step(&mut self, running: Running) {
        if let Some(taken) = self.working.try_join_next() {
            // One that panicked has printed itself.
            let mut before = std::mem::take(&mut self.known);
            for (name, mut sample) in taken.unwrap_or_default() {
                if let Some(before) = before.remove(&name) {
                    sample.shares = shares(&before, &sample);
                }
                self.known.insert(name, sample);
            }
        }
        let is_due = self.last.is_none_or(|last| last.elapsed() >= SAMPLE);
        if is_due && self.working.is_empty() {
            self.last = Some(Instant::now());
            self.working.spawn(take(running));
        }
    }

    /// What is known of one.
    fn of(&self, name: &str, service: &Service, status: &Status) -> BTreeMap<Figure, f64> {
        if status.pid.is_none() {
            // What doesn't run uses nothing.
            return Figure::ALL.iter().map(|(_, figure)| (*figure, 0.0)).collect();
        }
        let sample = self.known.get(name).filter(|it| it.generation == status.generation.0);
        let Some(sample) = sample else { return BTreeMap::new() };
        let mut figures = sample.shares.clone();
        if let (Some(current), Some(limit)) = (sample.usage.memory.current, service.memory_limit())
        {
            figures.insert(Figure::Memory, share(current.0, limit.0));
        }
        figures
    }
}

/// Asks each of them.
async fn take(running: Running) -> Vec<(String, Sample)> {
    let mut taken = Vec::new();
    for (name, controller) in running {
        let generation = controller.status().generation.0;
        // What can't be found out has no figure.
        if let Ok(Some(usage)) = controller.usage().await {
            let (at, shares) = (Instant::now(), BTreeMap::new());
            taken.push((name, Sample { generation, at, usage, shares }));
        }
    }
    taken
}

/// Which part of the time between two samples of a run was spent waiting. Pure.
fn shares(before: &Sample, now: &Sample) -> BTreeMap<Figure, f64> {
    let time = now.at.saturating_duration_since(before.at);
    if before.generation != now.generation || time.is_zero() {
        return BTreeMap::new();
    }
    let of = |usage: fn(&PressureUsage) -> Option<Pressure>| {
        let (before, now) = (usage(&before.usage.pressure)?, usage(&now.usage.pressure)?);
        let waited = now.some.saturating_sub(before.some);
        Some((waited.as_secs_f64() / time.as_secs_f64()).min(1.0))
    };
    [
        (Figure::MemoryPressure, of(|it| it.memory)),
        (Figure::CpuPressure, of(|it| it.cpu)),
        (Figure::IoPressure, of(|it| it.io)),
    ]
    .into_iter()
    .filter_map(|(figure, share)| Some((figure, share?)))
    .collect()
}

/// Of this so much; of nothing, all.
#[expect(clippy::cast_precision_loss, reason = "a share needn't be exact")]
fn share(of: u64, all: u64) -> f64 {
    if all == 0 { 1.0 } else { of as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(generation: u64, at: Instant, waited: u64) -> Sample {
        let mut usage = Usage::default();
        let some = Duration::from_secs(waited);
        let mut pressure = Pressure::default();
        pressure.some = some;
        usage.pressure.memory = Some(pressure);
        Sample { generation, at, usage, shares: BTreeMap::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn pressure_is_a_share_of_the_time_between_two_samples_of_one_run() {
        let began = Instant::now();
        let later = began + Duration::from_secs(10);
        let figure = |before: &Sample, now: &Sample| {
            shares(before, now).get(&Figure::MemoryPressure).copied()
        };
        assert_eq!(figure(&sample(1, began, 2), &sample(1, later, 7)), Some(0.5));
        assert_eq!(figure(&sample(1, began, 2), &sample(1, later, 700)), Some(1.0));
        assert_eq!(figure(&sample(1, began, 2), &sample(2, later, 7)), None);
        assert_eq!(figure(&sample(1, began, 2), &sample(1, began, 7)), None);
    }
}
