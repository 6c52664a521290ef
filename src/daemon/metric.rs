//! Figures for Prometheus, in its text format 0.0.4.
//!
//! Made anew for each look, from what is known anyway; so there is nothing to register, nor to forget when a service goes.
//! prometheus-client writes OpenMetrics, of which `promtool check metrics` takes each counter for two figures.

use super::view::restarts;
use crate::platform::Usage;
use crate::supervisor::{State, Status};
use std::fmt::Write;

/// What kind of figure, as Prometheus counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// A figure with all its values.
struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl<'t> Family<'t> {
    fn new(text: &'t mut String, name: &'static str, kind: Kind, help: &str) -> Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a text can't fail.
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").unwrap_or(());
        Self { text, name }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.text, "{}{labels} {value}", self.name).unwrap_or(());
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What is known of a service.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) status: Status,
    /// Of its present run.
    pub(super) usage: Option<Usage>,
}

/// A value of each service; none where it has none.
type Value = fn(&Status) -> Option<f64>;

/// A value of what a run uses; none where it isn't known here.
type Used = fn(&Usage) -> Option<f64>;

const OF_A_RUN: [(&str, Kind, &str, Used); 6] = [
    (
        "stockade_cpu_throttled_seconds_total",
        Kind::Counter,
        "How long the CPU limit held the present run back.",
        |it| it.cpu.throttled.map(|time| time.as_secs_f64()),
    ),
    ("stockade_memory_current_bytes", Kind::Gauge, "Memory of the present run.", |it| {
        it.memory.current.map(|size| number(size.0))
    }),
    (
        "stockade_memory_peak_bytes",
        Kind::Gauge,
        "The most memory that the present run had.",
        |it| it.memory.peak.map(|size| number(size.0)),
    ),
    ("stockade_memory_swap_bytes", Kind::Gauge, "Swapped out of the present run.", |it| {
        it.memory.swap.map(|size| number(size.0))
    }),
    ("stockade_pids_current", Kind::Gauge, "Processes and threads of the present run.", |it| {
        it.pids.current.map(number)
    }),
    ("stockade_open_fds", Kind::Gauge, "Open files of the present run.", |it| {
        it.open_files.map(number)
    }),
];

const OF_A_SERVICE: [(&str, Kind, &str, Value); 6] = [
    ("stockade_service_up", Kind::Gauge, "Whether the service runs.", |it| {
        Some(flag(matches!(it.state, State::Running | State::Reloading | State::Paused)))
    }),
    ("stockade_service_ready", Kind::Gauge, "Whether the service can be used.", |it| {
        Some(flag(it.ready))
    }),
    ("stockade_service_runs_total", Kind::Counter, "Runs of the service that were begun.", |it| {
        Some(number(it.generation.0))
    }),
    (
        "stockade_service_attempts",
        Kind::Gauge,
        "Restarts of the service since everything was well.",
        |it| Some(f64::from(it.attempts)),
    ),
    ("stockade_service_uptime_seconds", Kind::Gauge, "How long the service has run.", |it| {
        it.uptime().map(|time| time.as_secs_f64())
    }),
    (
        "stockade_service_state_seconds",
        Kind::Gauge,
        "How long the service has been in its state.",
        |it| Some(it.since.elapsed().as_secs_f64()),
    ),
];

/// All figures of these services.
pub(super) fn text(services: &[Seen]) -> String {
    let mut text = String::new();
    let help = "The daemon, by its version.";
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    Family::new(&mut text, "stockade_build_info", Kind::Gauge, help).add(&version, 1.0);
    let help = "In which state the service is.";
    let mut states = Family::new(&mut text, "stockade_service_state", Kind::Gauge, help);
    for Seen { name, status, .. } in services {
        for state in State::ALL {
            let labels = [("service", name.as_str()), ("state", state.word())];
            states.add(&labels, flag(status.state == state));
        }
    }
    for (figure, kind, help, value) in OF_A_SERVICE {
        let mut family = Family::new(&mut text, figure, kind, help);
        for Seen { name, status, .. } in services {
            if let Some(value) = value(status) {
                family.add(&[("service", name)], value);
            }
        }
    }
    let help =
        "Further starts of the service, by what was the matter; `asked` where somebody wanted it.";
    let mut family = Family::new(&mut text, "stockade_service_restarts_total", Kind::Counter, help);
    for Seen { name, status, .. } in services {
        for cause in ["start", "run", "health", "limit", "asked"] {
            let count = restarts(&status.counts).get(cause).copied().unwrap_or(0);
            family.add(&[("service", name), ("cause", cause)], number(count));
        }
    }
    let help = "Ends of the service, by how they came.";
    let mut family = Family::new(&mut text, "stockade_service_exits_total", Kind::Counter, help);
    for Seen { name, status, .. } in services {
        for (result, count) in &status.counts.exits {
            family.add(&[("service", name), ("result", result)], number(*count));
        }
    }
    used(&mut text, services);
    text
}

/// What the present runs use.
fn used(text: &mut String, services: &[Seen]) {
    let help = "CPU time of the present run.";
    let mut family = Family::new(text, "stockade_cpu_usage_seconds_total", Kind::Counter, help);
    for Seen { name, usage, .. } in services {
        let Some(cpu) = usage.as_ref().map(|usage| usage.cpu) else { continue };
        for (mode, time) in [("user", cpu.user), ("system", cpu.system)] {
            if let Some(time) = time {
                family.add(&[("service", name), ("mode", mode)], time.as_secs_f64());
            }
        }
    }
    for (figure, kind, help, value) in OF_A_RUN {
        let mut family = Family::new(text, figure, kind, help);
        for Seen { name, usage, .. } in services {
            if let Some(value) = usage.as_ref().and_then(value) {
                family.add(&[("service", name)], value);
            }
        }
    }
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

/// A count; beyond 2^53 not to the last digit, which is what the format has.
#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
fn number(count: u64) -> f64 {
    count as f64
}
