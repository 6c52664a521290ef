//! Figures for Prometheus, in its text format 0.0.4.
//!
//! Made anew for each look, from what is known anyway; so there is nothing to register, nor to forget when a service goes.
//! prometheus-client writes OpenMetrics, of which `promtool check metrics` takes each counter for two figures.

use super::view::restarts;
use crate::alerts::{ShownReceiver, Tally};
use crate::logs::Counts as LogCounts;
use crate::platform::{Bytes, Hits, Pressure, Usage};
use crate::supervisor::{LOOK_BOUNDS, LookCounts, Replicas, State, Status};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// What kind of figure, as Prometheus counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
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
            Kind::Histogram => "histogram",
        };
        // Writing to a text can't fail.
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").unwrap_or(());
        Self { text, name }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.add_part("", labels, value);
    }

    /// One of the values that make up one, by the end of its name.
    fn add_part(&mut self, part: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.text, "{}{part}{labels} {value}", self.name).unwrap_or(());
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
    pub(super) usage: Option<(Usage, Hits)>,
    /// Of its policy.
    pub(super) memory_limit: Option<Bytes>,
    /// What was kept of what it writes, where something is.
    pub(super) lines: Option<LogCounts>,
}

/// What is known of the daemon, and of what isn't of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    /// By the services of the stack file.
    pub(super) replicas: BTreeMap<String, Replicas>,
    pub(super) events: u64,
    pub(super) adopted: u64,
    /// How long something that could be done waited for its turn.
    pub(super) lag: Duration,
    /// How many alerts of each rule are in each state.
    pub(super) alerts: BTreeMap<(String, &'static str), u64>,
    pub(super) silences: u64,
    pub(super) receivers: Vec<ShownReceiver>,
}

/// A value of each service; none where it has none.
type Value = fn(&Status) -> Option<f64>;

/// A value of what a run uses; none where it isn't known here.
type Used = fn(&Usage) -> Option<f64>;

/// A count of what was kept of lines.
type Kept = fn(LogCounts) -> u64;

/// A count of what a receiver was told.
type Told = fn(&Tally) -> u64;

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

const OF_A_SERVICE: [(&str, Kind, &str, Value); 7] = [
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
        "stockade_service_start_time_seconds",
        Kind::Gauge,
        "When the service began to run, in seconds since 1970.",
        |it| {
            let began = std::time::SystemTime::now().checked_sub(it.uptime()?)?;
            let since = began.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some(since.as_secs_f64())
        },
    ),
    (
        "stockade_service_state_seconds",
        Kind::Gauge,
        "How long the service has been in its state.",
        |it| Some(it.since.elapsed().as_secs_f64()),
    ),
];

/// All figures of these services, and of the whole.
pub(super) fn text(services: &[Seen], whole: &Whole) -> String {
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
    reached(&mut text, services);
    looked(&mut text, services);
    kept(&mut text, services);
    of_the_whole(&mut text, whole);
    alerts(&mut text, whole);
    text
}

/// How often limits were reached.
fn reached(text: &mut String, services: &[Seen]) {
    let help = "The limit of the memory of each run, by the service's policy.";
    let mut family = Family::new(text, "stockade_memory_limit_bytes", Kind::Gauge, help);
    for Seen { name, memory_limit, .. } in services {
        if let Some(limit) = memory_limit {
            family.add(&[("service", name)], number(limit.0));
        }
    }
    let help = "Events of the memory of the present run, by what the kernel calls them.";
    let mut family = Family::new(text, "stockade_memory_events_total", Kind::Counter, help);
    for Seen { name, usage, .. } in services {
        let Some((usage, hits)) = usage else { continue };
        // Nobody counts them where nobody knows the most either.
        if usage.memory.peak.is_none() {
            continue;
        }
        for (event, count) in [
            ("high", hits.memory_high),
            ("max", hits.memory),
            ("oom_kill", hits.memory_kills),
            ("oom_group_kill", hits.tree_kills),
        ] {
            family.add(&[("service", name), ("event", event)], number(count));
        }
    }
    let help = "Times that the service came to a limit for which `on_violation` says `alert`.";
    let mut family = Family::new(text, "stockade_service_limit_hits_total", Kind::Counter, help);
    for Seen { name, status, .. } in services {
        for (trigger, count) in &status.counts.hits {
            family.add(&[("service", name), ("limit", trigger.word())], number(*count));
        }
    }
    for (figure, help, of) in [
        (
            "stockade_pressure_some_seconds_total",
            "How long some of the present run waited for what others had.",
            (|it| it.some) as fn(Pressure) -> Duration,
        ),
        (
            "stockade_pressure_full_seconds_total",
            "How long all of the present run waited for what others had.",
            |it| it.full,
        ),
    ] {
        let mut family = Family::new(text, figure, Kind::Counter, help);
        for Seen { name, usage, .. } in services {
            let Some(pressure) = usage.as_ref().map(|(usage, _)| usage.pressure) else { continue };
            for (resource, pressure) in
                [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)]
            {
                if let Some(pressure) = pressure {
                    let labels = [("service", name.as_str()), ("resource", resource)];
                    family.add(&labels, of(pressure).as_secs_f64());
                }
            }
        }
    }
}

/// What probes found.
fn looked(text: &mut String, services: &[Seen]) {
    let all = || {
        services.iter().flat_map(|Seen { name, status, .. }| {
            status.counts.looks.iter().map(move |(purpose, it)| (name, purpose.to_string(), it))
        })
    };
    let help = "Whether the last look of a probe succeeded.";
    let mut family = Family::new(text, "stockade_probe_success", Kind::Gauge, help);
    for (name, probe, counts) in all() {
        family.add(&[("service", name), ("probe", &probe)], flag(counts.success));
    }
    let help = "Looks of a probe that failed.";
    let mut family = Family::new(text, "stockade_probe_failures_total", Kind::Counter, help);
    for (name, probe, counts) in all() {
        family.add(&[("service", name), ("probe", &probe)], number(counts.failures));
    }
    let help = "How long looks of a probe took.";
    let mut family = Family::new(text, "stockade_probe_duration_seconds", Kind::Histogram, help);
    for (name, probe, LookCounts { looks, time, spans, .. }) in all() {
        let labels = [("service", name.as_str()), ("probe", probe.as_str())];
        let mut below = 0;
        for (bound, span) in LOOK_BOUNDS.iter().zip(spans) {
            below += span;
            let bound = bound.to_string();
            let labels = [labels[0], labels[1], ("le", bound.as_str())];
            family.add_part("_bucket", &labels, number(below));
        }
        family.add_part("_bucket", &[labels[0], labels[1], ("le", "+Inf")], number(*looks));
        family.add_part("_sum", &labels, time.as_secs_f64());
        family.add_part("_count", &labels, number(*looks));
    }
}

/// What was kept of what services write.
fn kept(text: &mut String, services: &[Seen]) {
    let kinds: [(&str, &str, Kept); 2] = [
        ("stockade_log_lines_total", "Lines of the service that were kept.", |it| it.kept),
        (
            "stockade_log_dropped_total",
            "Lines of the service that were wanted and not kept: too many, or no room.",
            |it| it.dropped,
        ),
    ];
    for (figure, help, of) in kinds {
        let mut family = Family::new(text, figure, Kind::Counter, help);
        for Seen { name, lines, .. } in services {
            if let Some(lines) = lines {
                family.add(&[("service", name)], number(of(*lines)));
            }
        }
    }
}

/// What isn't of one instance.
fn of_the_whole(text: &mut String, whole: &Whole) {
    let help = "Instances of the service: how many there shall be, run, and can be used.";
    let mut family = Family::new(text, "stockade_service_replicas", Kind::Gauge, help);
    for (name, replicas) in &whole.replicas {
        for (kind, count) in [
            ("desired", replicas.desired),
            ("current", replicas.running),
            ("ready", replicas.ready),
        ] {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            family.add(&[("service", name), ("kind", kind)], number(count));
        }
    }
    let help = "Runs that were taken over from the daemon before.";
    Family::new(text, "stockade_supervisor_adopted_total", Kind::Counter, help)
        .add(&[], number(whole.adopted));
    let help = "Changes of services that were told.";
    Family::new(text, "stockade_supervisor_events_total", Kind::Counter, help)
        .add(&[], number(whole.events));
    let help = "How long something that could be done waited for its turn when this was asked.";
    Family::new(text, "stockade_supervisor_loop_lag_seconds", Kind::Gauge, help)
        .add(&[], whole.lag.as_secs_f64());
}

fn alerts(text: &mut String, whole: &Whole) {
    let help = "Alerts, by their rule and state.";
    let mut family = Family::new(text, "stockade_alerts", Kind::Gauge, help);
    for ((rule, state), count) in &whole.alerts {
        family.add(&[("alertname", rule), ("state", state)], number(*count));
    }
    let help = "Silences that last.";
    Family::new(text, "stockade_alert_silences", Kind::Gauge, help)
        .add(&[], number(whole.silences));
    let kinds: [(&str, &str, Told); 3] = [
        ("stockade_alert_notifications_total", "Alerts that a receiver was told of.", |it| it.sent),
        (
            "stockade_alert_notifications_failed_total",
            "Tries to tell a receiver that failed.",
            |it| it.failed,
        ),
        (
            "stockade_alert_notifications_dropped_total",
            "Alerts that a receiver won't be told of, after all tries.",
            |it| it.dropped,
        ),
    ];
    for (figure, help, of) in kinds {
        let mut family = Family::new(text, figure, Kind::Counter, help);
        for receiver in &whole.receivers {
            family.add(&[("receiver", &receiver.name)], number(of(&receiver.tally)));
        }
    }
}

/// What the present runs use.
fn used(text: &mut String, services: &[Seen]) {
    let help = "CPU time of the present run.";
    let mut family = Family::new(text, "stockade_cpu_usage_seconds_total", Kind::Counter, help);
    for Seen { name, usage, .. } in services {
        let Some(cpu) = usage.as_ref().map(|(usage, _)| usage.cpu) else { continue };
        for (mode, time) in [("user", cpu.user), ("system", cpu.system)] {
            if let Some(time) = time {
                family.add(&[("service", name), ("mode", mode)], time.as_secs_f64());
            }
        }
    }
    for (figure, kind, help, value) in OF_A_RUN {
        let mut family = Family::new(text, figure, kind, help);
        for Seen { name, usage, .. } in services {
            if let Some(value) = usage.as_ref().and_then(|(usage, _)| value(usage)) {
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
