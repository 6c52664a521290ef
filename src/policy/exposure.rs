//! How much a policy exposes: what a hostile program could reach or use up under it, as one number with its reasons. Pure.
//!
//! The number says nothing of the program, nor of this host: it compares policies, and says what to look at first.

use super::Policy;
use crate::platform::{Access, Control, LaunchPlan, Network, OnViolation, ProcView};
use serde::Serialize;
use std::path::Path;

/// What a policy exposes in all.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Exposure {
    /// From 0, nothing that could be held back is left open, to 10, nothing is held back.
    pub score: f64,
    /// `tight`, `low`, `medium`, `high` or `unsafe`.
    pub level: &'static str,
    /// Everything that was looked at, what exposes most first.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The key of the policy that decides it.
    pub key: &'static str,
    /// What is exposed, or that nothing is; a few words without a full stop.
    pub what: String,
    /// What it adds to the score.
    pub points: f64,
    /// The most that it could add.
    pub most: f64,
}

/// A part of the whole that is exposed, from 0 to 1, and in which way.
struct Part(f64, String);

/// One question, and how much its answer weighs against the others.
struct Question {
    key: &'static str,
    weight: f64,
    ask: fn(&Policy) -> Part,
}

const QUESTIONS: &[Question] = &[
    Question { key: "network.mode", weight: 10.0, ask: network },
    Question { key: "capabilities.keep", weight: 10.0, ask: capabilities },
    Question { key: "filesystem.read", weight: 10.0, ask: files },
    Question { key: "syscalls.allow", weight: 8.0, ask: calls },
    Question { key: "filesystem.write", weight: 6.0, ask: writing },
    Question { key: "degrade.allow", weight: 5.0, ask: degrade },
    Question { key: "filesystem.devices", weight: 4.0, ask: devices },
    Question { key: "environment.keep", weight: 4.0, ask: environment },
    Question { key: "limits.memory", weight: 4.0, ask: |it| limit(it, Control::Memory, "memory") },
    Question { key: "limits.pids", weight: 4.0, ask: |it| limit(it, Control::Pids, "processes") },
    Question { key: "limits.cpu", weight: 2.0, ask: |it| limit(it, Control::Cpu, "CPUs") },
    Question { key: "limits.wall_time", weight: 2.0, ask: time },
    Question { key: "filesystem.proc", weight: 2.0, ask: processes },
    Question { key: "limits.output", weight: 1.0, ask: |it| limit(it, Control::Output, "output") },
    Question { key: "filesystem.tmp", weight: 1.0, ask: temporary },
    Question { key: "syscalls.on_violation", weight: 1.0, ask: violation },
    Question { key: "identity.user", weight: 1.0, ask: user },
];

/// Calls that reach parts of the kernel which ordinary programs have no use for, or other programs.
const DANGEROUS_CALLS: &[&str] = &[
    "add_key",
    "bpf",
    "clone3",
    "finit_module",
    "init_module",
    "io_uring_setup",
    "kexec_load",
    "keyctl",
    "mount",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "request_key",
    "setns",
    "unshare",
    "userfaultfd",
];

/// Abilities that are as good as all of them, or see everything.
const DANGEROUS_CAPABILITIES: &[&str] = &[
    "CAP_BPF",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_PERFMON",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_TIME",
];

/// Sockets whose other end does anything for whoever connects.
const SERVANTS: &[&str] = &[
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/systemd/private",
    "/run/dbus/system_bus_socket",
];

/// Places that hold what is somebody's own.
const PRIVATE: &[&str] = &[
    "/root",
    "/home",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/ssl/private",
    "/var/lib",
    "/var/log",
    "/var/spool",
];

/// Places from which programs of the whole system are started, or told what to do.
const SYSTEM: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/boot", "/opt", "/var", "/root", "/home",
    "/run",
];

/// Looks at a policy.
///
/// ```
/// use stockade::Policy;
/// use stockade::platform::Network;
/// use stockade::policy::exposure;
///
/// let worker = Policy::shipped("worker")?;
/// assert!(exposure(&worker).score < exposure(&worker.network(Network::Host)).score);
/// # Ok::<(), stockade::policy::PolicyError>(())
/// ```
pub fn exposure(policy: &Policy) -> Exposure {
    let whole: f64 = QUESTIONS.iter().map(|question| question.weight).sum();
    let share = |points: f64| (points / whole * 1000.0).round() / 100.0;
    let finding = |question: &Question| {
        let Part(part, what) = (question.ask)(policy);
        let (points, most) = (share(part * question.weight), share(question.weight));
        Finding { key: question.key, what, points, most }
    };
    let mut findings: Vec<Finding> = QUESTIONS.iter().map(finding).collect();
    findings.sort_by(|one, other| other.points.total_cmp(&one.points));
    let score = findings.iter().map(|finding| finding.points).sum::<f64>();
    let score = (score * 10.0).round() / 10.0;
    let level = match score {
        ..1.5 => "tight",
        1.5..3.0 => "low",
        3.0..5.0 => "medium",
        5.0..7.0 => "high",
        _ => "unsafe",
    };
    Exposure { score, level, findings }
}

/// The sockets in a policy's view that do anything for whoever connects.
pub(super) fn servants(policy: &Policy) -> impl Iterator<Item = &'static str> {
    SERVANTS.iter().copied().filter(|socket| shows(policy, Path::new(socket)).is_some())
}

/// Whether a path is such a socket.
pub(super) fn is_servant(path: &Path) -> bool {
    SERVANTS.iter().any(|socket| path == Path::new(socket))
}

/// What a policy lets the program do with a path, if anything.
pub(super) fn shows(policy: &Policy, path: &Path) -> Option<Access> {
    let filesystem = &policy.filesystem;
    if filesystem.masks.iter().any(|mask| path.starts_with(&mask.path)) {
        return None;
    }
    let above = filesystem.binds.iter().filter(|bind| path.starts_with(&bind.target));
    above.max_by_key(|bind| bind.target.as_os_str().len()).map(|bind| bind.access)
}

fn none(what: &str) -> Part {
    Part(0.0, what.to_owned())
}

fn network(policy: &Policy) -> Part {
    match policy.network {
        Network::None => none("no network"),
        Network::Host => match (&policy.tcp.connect, &policy.tcp.bind) {
            // UDP and what else there is stays open.
            (Some(_), Some(_)) => {
                Part(0.7, "some TCP ports of the host's network, and all but TCP".into())
            }
            _ => Part(1.0, "all of the host's network, and what listens only there".into()),
        },
        _ => match policy.allow.len() {
            0 => none("a network that lets out to nobody"),
            rules => Part(0.3, format!("what {rules} rules name of the network")),
        },
    }
}

fn capabilities(policy: &Policy) -> Part {
    let keep = &policy.capabilities.keep;
    let dangerous = keep.iter().find(|name| DANGEROUS_CAPABILITIES.contains(&name.as_str()));
    match (dangerous, keep.first()) {
        (Some(name), _) => Part(1.0, format!("{name}, within its own namespaces")),
        (None, Some(name)) => Part(0.3, format!("{name} and no dangerous one")),
        (None, None) => none("no capability"),
    }
}

fn files(policy: &Policy) -> Part {
    if let Some(socket) = servants(policy).next() {
        return Part(1.0, format!("`{socket}`, which does anything for whoever connects"));
    }
    let binds = policy.filesystem.binds.iter();
    let private = PRIVATE.iter().map(Path::new).find(|path| {
        shows(policy, path).is_some() || binds.clone().any(|bind| bind.target == **path)
    });
    match private {
        Some(path) => Part(0.6, format!("`{}`, which is somebody's own", path.display())),
        None if policy.filesystem.binds.is_empty() => none("no file of the host"),
        None => Part(0.1, "the system's programs, and what the policy names".into()),
    }
}

fn writing(policy: &Policy) -> Part {
    let writes = || policy.filesystem.binds.iter().filter(|bind| bind.access == Access::Write);
    let system = writes().find(|bind| SYSTEM.iter().any(|place| bind.target == Path::new(place)));
    match (system, writes().count()) {
        (Some(bind), _) => {
            Part(1.0, format!("it can change `{}`", LaunchPlan::readable(&bind.target)))
        }
        (None, 0) => none("nothing of the host can be changed"),
        (None, 1) => Part(0.3, "it can change one place".into()),
        (None, places) => Part(0.4, format!("it can change {places} places")),
    }
}

fn calls(policy: &Policy) -> Part {
    let allowed = &policy.syscalls.allow;
    let dangerous: Vec<&str> = DANGEROUS_CALLS
        .iter()
        .copied()
        .filter(|name| allowed.iter().any(|allowed| allowed == name))
        .filter(|name| !policy.syscalls.rules.iter().any(|rule| rule.name == *name))
        .collect();
    match (dangerous.first(), allowed.len()) {
        (Some(first), _) if dangerous.len() > 2 => {
            Part(1.0, format!("`{first}` and {} more that reach far", dangerous.len() - 1))
        }
        (Some(first), _) => Part(0.6, format!("`{first}`, which reaches far")),
        (None, ..64) => none("a short list of system calls"),
        (None, count) => Part(0.1, format!("{count} system calls, which ordinary programs need")),
    }
}

fn violation(policy: &Policy) -> Part {
    match policy.syscalls.on_violation {
        OnViolation::Kill => none("the first forbidden system call ends it"),
        OnViolation::Error => Part(0.5, "it may try forbidden system calls again and again".into()),
    }
}

fn degrade(policy: &Policy) -> Part {
    let walls = policy.degrade.iter().filter(|control| !control.is_limit());
    let limits = policy.degrade.iter().filter(|control| control.is_limit()).count();
    // Both only repeat, or concern, what another wall holds: see the policy `base`.
    let of_use = walls.filter(|it| !matches!(it, Control::AccessRules | Control::Groups)).count();
    match (of_use, limits) {
        (0, 0) if !policy.access_rules => Part(
            0.3,
            "`filesystem.access_rules` is off: the file rules are held once, not twice".into(),
        ),
        (0, 0) => none("a wall or a limit that can't be held stops the launch"),
        (0, _) => Part(0.3, format!("{limits} limits may be held less well, or not at all")),
        (walls, _) => Part(1.0, format!("{walls} walls may be missing")),
    }
}

fn devices(policy: &Policy) -> Part {
    match policy.filesystem.devices.as_slice() {
        [] => none("no device but those that every program has"),
        [one] => Part(0.5, format!("`{}`", LaunchPlan::readable(one))),
        more => Part(1.0, format!("{} devices", more.len())),
    }
}

fn environment(policy: &Policy) -> Part {
    const WORDS: [&str; 6] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY"];
    let telling = |name: &&String| WORDS.iter().any(|word| name.to_uppercase().contains(word));
    match policy.environment.keep.iter().find(telling) {
        Some(name) => Part(1.0, format!("the caller's `{name}`: better a secret")),
        None => none("no variable that sounds like a secret"),
    }
}

fn limit(policy: &Policy, control: Control, what: &str) -> Part {
    if policy.limits.sets(control) {
        none(&format!("{what}: limited"))
    } else {
        Part(1.0, format!("{what}: as much as the host has"))
    }
}

fn time(policy: &Policy) -> Part {
    match (policy.limits.wall_time, policy.limits.cpu_time) {
        (Some(_), _) => none("time: limited"),
        (None, Some(_)) => Part(0.3, "CPU time: limited; it may wait for ever".into()),
        (None, None) => Part(1.0, "time: without end".into()),
    }
}

fn processes(policy: &Policy) -> Part {
    match policy.filesystem.proc {
        ProcView::None => none("nothing of the system in `/proc`: there is none"),
        ProcView::Pids => none("its own processes in `/proc`"),
        ProcView::Private => Part(0.3, "what `/proc` tells of the machine".into()),
    }
}

fn temporary(policy: &Policy) -> Part {
    match policy.filesystem.tmp {
        Some(_) => none("a `/tmp` of its own, with a size"),
        None if shows(policy, Path::new("/tmp")).is_some() => {
            Part(1.0, "the host's `/tmp`, which is everybody's".into())
        }
        None => none("no `/tmp`"),
    }
}

fn user(policy: &Policy) -> Part {
    match policy.identity.user {
        _ if policy.identity.several().is_some() => {
            let users = policy.identity.several().unwrap_or(1);
            Part(1.0, format!("{users} users inside, each with a number of the host's"))
        }
        Some(0) => Part(0.5, "user 0 inside, though without its powers".into()),
        _ => none("an ordinary user inside"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> Policy {
        Policy::load(name, &[], Path::new("/srv/app")).unwrap()
    }

    #[test]
    fn the_points_of_all_questions_are_ten() {
        let all: f64 = exposure(&shipped("base")).findings.iter().map(|it| it.most).sum();
        assert!((9.9..10.1).contains(&all), "{all}");
    }

    #[test]
    fn shipped_policies_are_in_the_order_of_what_they_are_for() {
        let scores = ["worker", "default", "service"].map(|name| exposure(&shipped(name)).score);
        assert!(scores.is_sorted(), "{scores:?}");
        assert_eq!(exposure(&shipped("worker")).level, "tight");
    }

    #[test]
    fn each_step_that_opens_something_adds_to_it() {
        let mut policy = shipped("worker");
        let mut score = exposure(&policy).score;
        let steps: [fn(&mut Policy); 8] = [
            |policy| policy.access_rules = false,
            |policy| policy.identity.ids = Some(65_536),
            |policy| policy.network = Network::Host,
            |policy| policy.limits.memory = None,
            |policy| policy.capabilities.keep.push("CAP_SYS_ADMIN".into()),
            |policy| std::sync::Arc::make_mut(&mut policy.syscalls).allow.push("bpf".into()),
            |policy| *policy = policy.clone().write("/etc"),
            |policy| *policy = policy.clone().read("/run"),
        ];
        for (number, step) in steps.iter().enumerate() {
            step(&mut policy);
            let more = exposure(&policy).score;
            assert!(more > score, "step {number}: {score} and then {more}");
            score = more;
        }
        assert!(exposure(&policy).findings[0].points > 0.0);
    }

    #[test]
    fn what_is_masked_is_not_shown() {
        let mut policy = shipped("worker").read("/run");
        assert!(servants(&policy).next().is_some());
        let path = "/run".into();
        policy
            .filesystem
            .masks
            .push(crate::platform::Mask { path, kind: crate::platform::MaskKind::Deny });
        assert_eq!(servants(&policy).next(), None);
    }
}
