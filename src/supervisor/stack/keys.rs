//! What a service can say, once: the reader, its suggestions and `config show` follow from this table.

use super::Service;
use crate::platform::Signal;
use crate::supervisor::{
    ExitStatus, Hook, OnExhausted, Purpose, Restart, RestartPolicy, Started, Trigger,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// One key of a service.
#[derive(Debug)]
pub(super) struct Key {
    /// Such as `restart.delay`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// One line of meaning, without a full stop.
    pub(super) doc: &'static str,
    /// A value as it is written.
    pub(super) example: &'static str,
}

/// What kind of value a key has, and where it goes.
#[derive(Debug)]
pub(super) enum Kind {
    Line(fn(&mut Service, &str)),
    /// An absolute path inside.
    PathInside(fn(&mut Service, PathBuf)),
    /// A program and its arguments.
    Command,
    /// The policy under which it runs.
    Policy,
    /// Short for this key of the policy: its section and its name there.
    OfPolicy(&'static str, &'static str),
    /// Other services that it needs, and what of them.
    Services,
    /// Files of variables.
    EnvFiles,
    /// Names and texts.
    Labels,
    /// What it is looked at with.
    Probe(Purpose),
    /// What is run then.
    Hook(Hook),
    /// What has it read its settings anew.
    ReloadCommand,
    /// What is done about it.
    Measure(Trigger),
    /// What is bound for it.
    Sockets,
    /// The process of somebody else's that it is.
    Attach,
    /// How its lines are kept; `logging` has its keys.
    Logging,
    Switch(fn(&mut Service, bool)),
    Duration(fn(&mut Service, Duration)),
    /// With `None` for `unlimited`.
    Time(fn(&mut Service, Option<Duration>)),
    /// With 0 for no end.
    Count(fn(&mut Service, u32)),
    /// From, to.
    Factor(f64, f64, fn(&mut Service, f64)),
    Choice(&'static [Choice]),
    Signal(fn(&mut Service, Signal)),
    /// Exit codes, and names of signals.
    Statuses(fn(&mut Service, BTreeSet<ExitStatus>)),
}

/// A word and what it does.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) word: &'static str,
    pub(super) set: fn(&mut Service),
}

/// The most descriptors that are kept for a service, whatever it says.
const MOST_STORED: u32 = 512;

/// Tables of a service that hold keys of its own; those of its policy are the policy's.
pub(super) const SECTIONS: [&str; 5] = ["restart", "stop", "reload", "hooks", "on_violation"];

/// The keys that a service has which is attached to: all others are about starting a program, or about its walls.
pub(super) const OF_ATTACHED: [&str; 6] =
    ["attach", "description", "labels", "enabled", "depends_on", "stop"];

impl Key {
    /// The table that it is in; empty for the service itself.
    pub(super) fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name there.
    pub(super) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// The key `name` of a table of a service.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section() == section && key.name() == name)
}

/// Shorthand for a word that sets the restart policy.
macro_rules! policy {
    ($word:literal, $policy:ident) => {
        Choice { word: $word, set: |service| service.rules.restart.policy = RestartPolicy::$policy }
    };
}

fn restart(service: &mut Service) -> &mut Restart {
    &mut service.rules.restart
}

fn starts(service: &mut Service, started: Started, forks: bool) {
    (service.rules.started, service.rules.forks) = (started, forks);
}

fn says_when_ready(service: &mut Service, also_of_reloads: bool) {
    starts(service, Started::Ready, false);
    service.rules.tells_reload = also_of_reloads;
    (service.notify.heard, service.notify.tells_reload) = (true, also_of_reloads);
}

/// In the order of the documentation.
pub(super) static KEYS: &[Key] = &[
    Key {
        path: "description",
        kind: Kind::Line(|service, text| service.description = text.to_owned()),
        doc: "what it is, for people",
        example: "\"the web server\"",
    },
    Key {
        path: "command",
        kind: Kind::Command,
        doc: "the program and its arguments: a list, or a text that is split at spaces; no shell reads it",
        example: "[\"nginx\", \"-g\", \"daemon off;\"]",
    },
    Key {
        path: "policy",
        kind: Kind::Policy,
        doc: "the policy under which it runs: a shipped name or a file; tables such as `limits` are put over it",
        example: "\"service\"",
    },
    Key {
        path: "working_dir",
        kind: Kind::OfPolicy("filesystem", "workdir"),
        doc: "the directory in which it starts; short for `filesystem.workdir`",
        example: "\"/srv/app\"",
    },
    Key {
        path: "user",
        kind: Kind::OfPolicy("identity", "user"),
        doc: "its user number inside; short for `identity.user`",
        example: "1000",
    },
    Key {
        path: "group",
        kind: Kind::OfPolicy("identity", "group"),
        doc: "its group number inside; short for `identity.group`",
        example: "1000",
    },
    Key {
        path: "umask",
        kind: Kind::OfPolicy("filesystem", "umask"),
        doc: "permissions that files don't get which it makes (umask(2)); short for `filesystem.umask`",
        example: "\"027\"",
    },
    Key {
        path: "env_file",
        kind: Kind::EnvFiles,
        doc: "files of variables, `NAME=value` on each line; what `environment.set` says in the stack counts more",
        example: "[\"web.env\", { path = \"local.env\", required = false }]",
    },
    Key {
        path: "labels",
        kind: Kind::Labels,
        doc: "what people note of it",
        example: "{ team = \"shop\" }",
    },
    Key {
        path: "logging",
        kind: Kind::Logging,
        doc: "how the lines that it writes are kept",
        example: "{ format = \"json\", rotation = { max_files = 3 } }",
    },
    Key {
        path: "enabled",
        kind: Kind::Switch(|service, enabled| service.enabled = enabled),
        doc: "whether it is started with the others",
        example: "true",
    },
    Key {
        path: "replicas",
        kind: Kind::Count(|service, replicas| service.replicas = Some(replicas)),
        doc: "how many of it there are: instances `web.1`, `web.2` and so on, each of which finds its number in `STOCKADE_INSTANCE`",
        example: "3",
    },
    Key {
        path: "type",
        kind: Kind::Choice(&[
            Choice { word: "simple", set: |service| starts(service, Started::Executed, false) },
            Choice { word: "exec", set: |service| starts(service, Started::Executed, false) },
            Choice { word: "notify", set: |service| says_when_ready(service, false) },
            Choice { word: "notify-reload", set: |service| says_when_ready(service, true) },
            Choice { word: "forking", set: |service| starts(service, Started::Ready, true) },
            Choice { word: "oneshot", set: |service| starts(service, Started::Ended, false) },
        ]),
        doc: "what counts as started: that its program is executed (`simple`, `exec`), that it says so (`notify`, sd_notify(3); \
              `notify-reload` also of reloads), that its program has ended and left its main process (`forking`), or for a job that it has ended (`oneshot`)",
        example: "\"simple\"",
    },
    Key {
        path: "pid_file",
        kind: Kind::PathInside(|service, path| service.pid_file = Some(path)),
        doc: "the file that names the main process of a `forking` one, as it sees it; without it that is the one it names itself \
              (`MAINPID`, sd_notify(3)), or the only one that is left",
        example: "\"/tmp/server.pid\"",
    },
    Key {
        path: "attach",
        kind: Kind::Attach,
        doc: "a process that somebody else started, instead of a `command`: the one with this `pid`, whose number stands in this \
              `pid_file`, or the only one with this `name`; it is watched, and sent nothing unless `stop` is true",
        example: "{ pid_file = \"/run/db.pid\", stop = false }",
    },
    Key {
        path: "depends_on",
        kind: Kind::Services,
        doc: "services that must be there first: names, or names with `started`, `ready`, `healthy` or `completed`, or with a table of `condition`, `required` (else they are waited for only as long as they may come) and `restart` (start anew when they come back)",
        example: "{ db = \"ready\", cache = { condition = \"healthy\", required = false, restart = true } }",
    },
    Key {
        path: "startup_probe",
        kind: Kind::Probe(Purpose::Startup),
        doc: "what tells that it has started; where that gives up, it is ended and started again",
        example: "{ http_get = { port = 8080, path = \"/\" }, period = \"1s\", failure_threshold = 30 }",
    },
    Key {
        path: "readiness_probe",
        kind: Kind::Probe(Purpose::Readiness),
        doc: "what tells when, and as long as, it can be used",
        example: "{ tcp_socket = 8080 }",
    },
    Key {
        path: "liveness_probe",
        kind: Kind::Probe(Purpose::Liveness),
        doc: "what tells that it lives; where that gives up, it is ended and started again",
        example: "{ http_get = { port = 8080, path = \"/live\" }, period = \"10s\", timeout = \"1s\" }",
    },
    Key {
        path: "success_exit_status",
        kind: Kind::Statuses(|service, all| restart(service).statuses.success = all),
        doc: "exit codes and signals that are success too, beside 0, SIGHUP, SIGINT, SIGPIPE and SIGTERM",
        example: "[3, \"SIGUSR1\"]",
    },
    Key {
        path: "restart_prevent_exit_status",
        kind: Kind::Statuses(|service, all| restart(service).statuses.prevent = all),
        doc: "exit codes and signals after which it isn't started again, whatever `restart.policy` says",
        example: "[2]",
    },
    Key {
        path: "restart_force_exit_status",
        kind: Kind::Statuses(|service, all| restart(service).statuses.force = all),
        doc: "exit codes and signals after which it is started again, whatever `restart.policy` says",
        example: "[75]",
    },
    Key {
        path: "start_timeout",
        kind: Kind::Time(|service, time| service.rules.start_timeout = time),
        doc: "how long it may take to start",
        example: "\"60s\"",
    },
    Key {
        path: "run_timeout",
        kind: Kind::Time(|service, time| service.rules.run_timeout = time),
        doc: "how long it may run",
        example: "\"1d\"",
    },
    Key {
        path: "watchdog_timeout",
        kind: Kind::Time(|service, time| service.notify.watchdog = time),
        doc: "how often it has to say that it lives, at least (`WATCHDOG=1`, sd_notify(3)); else it is started again",
        example: "\"10s\"",
    },
    Key {
        path: "sockets",
        kind: Kind::Sockets,
        doc: "sockets that are bound for it and stay so while it is started again: it has them from descriptor 3 on \
              (sd_listen_fds(3)); with `name`, `type` (`stream`, `dgram`, `seqpacket`), `mode` of a path and `backlog`",
        example: "[{ listen = \"127.0.0.1:8080\", name = \"http\" }]",
    },
    Key {
        path: "start",
        kind: Kind::Choice(&[
            Choice { word: "at-once", set: |service| service.on_demand = false },
            Choice { word: "on-demand", set: |service| service.on_demand = true },
        ]),
        doc: "whether it is started with the stack, or when somebody connects to one of its `sockets`",
        example: "\"on-demand\"",
    },
    Key {
        path: "fdstore_max",
        kind: Kind::Count(|service, count| service.notify.fdstore_max = count.min(MOST_STORED)),
        doc: "how many descriptors it may leave for its next run (`FDSTORE=1`, sd_pid_notify_with_fds(3)), at most 512",
        example: "16",
    },
    Key {
        path: "restart.policy",
        kind: Kind::Choice(&[
            policy!("no", No),
            policy!("on-success", OnSuccess),
            policy!("on-failure", OnFailure),
            policy!("on-abnormal", OnAbnormal),
            policy!("on-watchdog", OnWatchdog),
            policy!("on-abort", OnAbort),
            policy!("always", Always),
            policy!("unless-stopped", UnlessStopped),
        ]),
        doc: "after which ends it is started again",
        example: "\"on-failure\"",
    },
    Key {
        path: "restart.delay",
        kind: Kind::Duration(|service, delay| restart(service).delay = delay),
        doc: "the first delay before it is started again",
        example: "\"500ms\"",
    },
    Key {
        path: "restart.max_delay",
        kind: Kind::Duration(|service, delay| restart(service).max_delay = delay),
        doc: "the longest delay",
        example: "\"60s\"",
    },
    Key {
        path: "restart.factor",
        kind: Kind::Factor(1.0, 100.0, |service, factor| restart(service).factor = factor),
        doc: "how much longer each delay is than the one before",
        example: "2.0",
    },
    Key {
        path: "restart.jitter",
        kind: Kind::Factor(0.0, 10.0, |service, jitter| restart(service).jitter = jitter),
        doc: "by which part of itself each delay may be longer, by chance",
        example: "0.25",
    },
    Key {
        path: "restart.reset_after",
        kind: Kind::Duration(|service, time| restart(service).reset_after = time),
        doc: "how long it must be ready for earlier attempts to be forgotten",
        example: "\"2m\"",
    },
    Key {
        path: "restart.max_attempts",
        kind: Kind::Count(|service, attempts| {
            let restart = restart(service);
            for budget in [&mut restart.run, &mut restart.health, &mut restart.limit] {
                budget.attempts = attempts;
            }
        }),
        doc: "how often it is started again within `window`, for each kind of trouble; 0 for no end",
        example: "10",
    },
    Key {
        path: "restart.start_attempts",
        kind: Kind::Count(|service, attempts| restart(service).start.attempts = attempts),
        doc: "the same for ends before it was ready",
        example: "5",
    },
    Key {
        path: "restart.window",
        kind: Kind::Duration(|service, window| {
            let restart = restart(service);
            for budget in
                [&mut restart.start, &mut restart.run, &mut restart.health, &mut restart.limit]
            {
                budget.window = window;
            }
        }),
        doc: "the time in which attempts are counted",
        example: "\"5m\"",
    },
    Key {
        path: "restart.on_exhausted",
        kind: Kind::Choice(&[
            Choice {
                word: "fail",
                set: |service| restart(service).on_exhausted = OnExhausted::Fail,
            },
            Choice {
                word: "delay",
                set: |service| restart(service).on_exhausted = OnExhausted::Delay,
            },
            Choice {
                word: "escalate",
                set: |service| restart(service).on_exhausted = OnExhausted::Escalate,
            },
        ]),
        doc: "what becomes of it when no attempts are left: it has failed, goes on with the longest delay, or takes the others with it",
        example: "\"fail\"",
    },
    Key {
        path: "stop.signal",
        kind: Kind::Signal(|service, signal| service.stop_signal = signal),
        doc: "how it is asked to end",
        example: "\"SIGTERM\"",
    },
    Key {
        path: "stop.grace_period",
        kind: Kind::Duration(|service, grace| service.rules.grace = grace),
        doc: "how long it has until it is killed",
        example: "\"30s\"",
    },
    Key {
        path: "reload.signal",
        kind: Kind::Signal(|service, signal| service.reload_signal = signal),
        doc: "how it is asked to read its settings anew",
        example: "\"SIGHUP\"",
    },
    Key {
        path: "reload.command",
        kind: Kind::ReloadCommand,
        doc: "what has it read its settings anew instead of a signal: a program that is run inside of its sandbox",
        example: "[\"nginx\", \"-s\", \"reload\"]",
    },
    Key {
        path: "hooks.pre_start",
        kind: Kind::Hook(Hook::PreStart),
        doc: "run before each launch, which fails with it; under the same policy, in a sandbox of its own",
        example: "[\"/usr/bin/logger\", \"pre_start\"]",
    },
    Key {
        path: "hooks.post_start",
        kind: Kind::Hook(Hook::PostStart),
        doc: "run when its program is executed; inside of its sandbox",
        example: "[\"/usr/bin/logger\", \"post_start\"]",
    },
    Key {
        path: "hooks.pre_stop",
        kind: Kind::Hook(Hook::PreStop),
        doc: "run before it is asked to end, within its grace; inside of its sandbox",
        example: "[\"/usr/bin/logger\", \"pre_stop\"]",
    },
    Key {
        path: "hooks.post_stop",
        kind: Kind::Hook(Hook::PostStop),
        doc: "run when nothing of a run is left; in a sandbox of its own",
        example: "[\"/usr/bin/logger\", \"post_stop\"]",
    },
    Key {
        path: "hooks.on_ready",
        kind: Kind::Hook(Hook::OnReady),
        doc: "run when it can be used; in a sandbox of its own",
        example: "[\"/usr/bin/logger\", \"on_ready\"]",
    },
    Key {
        path: "hooks.on_unhealthy",
        kind: Kind::Hook(Hook::OnUnhealthy),
        doc: "run when its probes say that it isn't well; in a sandbox of its own",
        example: "[\"/usr/bin/logger\", \"on_unhealthy\"]",
    },
    Key {
        path: "hooks.on_failure",
        kind: Kind::Hook(Hook::OnFailure),
        doc: "run when a run has failed; in a sandbox of its own",
        example: "[\"/usr/bin/logger\", \"on_failure\"]",
    },
    Key {
        path: "hooks.on_restart",
        kind: Kind::Hook(Hook::OnRestart),
        doc: "run when it is launched after trouble; in a sandbox of its own",
        example: "[\"/usr/bin/logger\", \"on_restart\"]",
    },
    Key {
        path: "hooks.timeout",
        kind: Kind::Duration(|service, time| service.hooks.timeout = time),
        doc: "how long each of them may take",
        example: "\"30s\"",
    },
    Key {
        path: "on_violation.memory",
        kind: Kind::Measure(Trigger::Memory),
        doc: "what is done when it comes to `limits.memory`, and memory must be taken back from it",
        example: "\"restart\"",
    },
    Key {
        path: "on_violation.memory_high",
        kind: Kind::Measure(Trigger::MemoryHigh),
        doc: "what is done when it comes to `limits.memory_high`",
        example: "\"alert\"",
    },
    Key {
        path: "on_violation.pids",
        kind: Kind::Measure(Trigger::Pids),
        doc: "what is done when it is refused a process or thread",
        example: "\"log\"",
    },
    Key {
        path: "on_violation.cpu",
        kind: Kind::Measure(Trigger::Cpu),
        doc: "what is done when `limits.cpu` holds it back for a tenth of two seconds",
        example: "\"log\"",
    },
    Key {
        path: "on_violation.memory_pressure",
        kind: Kind::Measure(Trigger::MemoryPressure),
        doc: "what is done when it waits for memory for a tenth of two seconds",
        example: "\"alert\"",
    },
    Key {
        path: "on_violation.cpu_pressure",
        kind: Kind::Measure(Trigger::CpuPressure),
        doc: "what is done when it waits for a CPU for a tenth of two seconds",
        example: "\"log\"",
    },
    Key {
        path: "on_violation.io_pressure",
        kind: Kind::Measure(Trigger::IoPressure),
        doc: "what is done when it waits for a disk for a tenth of two seconds",
        example: "\"throttle\"",
    },
];
