//! What people and programs are told: how a sandbox ended, what it used, and what was in force.

pub use crate::network::Connections;

use crate::error::Error;
use crate::platform::{
    Control, CpuUsage, Decision, Denial, DiskUsage, Ended, Enforcement, HowEnded, IoUsage,
    LaunchPlan, MemoryUsage, NetworkUsage, Overlay, PidsUsage, PressureUsage, State, Victim,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::ffi::OsString;
use std::time::Duration;

/// The one cause of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The program exited by itself.
    Exited,
    /// A signal ended it that none of the causes below explains.
    Signalled,
    /// The memory limit was reached and the tree was killed for it.
    OutOfMemory,
    /// The wall or CPU time was over.
    TimedOut,
    /// A forbidden system call ended it.
    Denied,
    /// The program never ran.
    LaunchFailed,
    /// A watched limit was exceeded and Stockade ended the sandbox for it.
    LimitExceeded,
    /// Somebody asked Stockade to end it.
    Stopped,
    /// Nobody saw how it ended: it had outlived its supervisor, and what kept its exit status was killed.
    Unobserved,
}

/// Why Stockade itself set out to end a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// The time limit behind this control was over.
    Time(Control),
    /// A watched limit was exceeded.
    Watched(Control),
    /// Somebody asked for it.
    Asked,
}

/// The report of one sandbox, as `--report` writes it. Its JSON form has a version; figures carry their unit in the name.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExitReport {
    /// Version of this form: 1. Fields may be added to a version, not changed.
    pub version: u32,
    /// Name of the sandbox.
    pub id: String,
    /// What launched it, such as `linux`; none where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Why that wasn't the platform's own backend, where that came first and couldn't hold the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// The program and its arguments; bytes that aren't UTF-8 are written `\xNN`.
    pub command: Vec<String>,
    /// Which policy.
    pub policy: PolicyName,
    /// The one cause.
    pub cause: Cause,
    /// The program's own exit code, when it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, when one did.
    pub signal: Option<i32>,
    /// The limit that ended it.
    #[serde(serialize_with = "control_name")]
    pub limit: Option<Control>,
    /// Why it never ran, when it didn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was started, in UTC (RFC 3339).
    pub started_at: String,
    /// From just before the launch to the end of the program.
    #[serde(rename = "wall_time_s", serialize_with = "seconds")]
    pub wall_time: Duration,
    /// CPU time of the tree.
    pub cpu: CpuUsage,
    /// Memory of the tree.
    pub memory: MemoryUsage,
    /// What it read from and wrote to devices.
    pub io: Option<IoUsage>,
    /// What the directories hold that it could write, where that was limited.
    pub disk: Option<DiskUsage>,
    /// The directory that keeps what it changed of copies, where they are kept; `stockade diff` lists it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<String>,
    /// What went over its own interfaces.
    pub network: Option<NetworkUsage>,
    /// Connections through its filtered network; `None` where it has none.
    pub connections: Option<Connections>,
    /// What was denied, how often, and what would allow it; of system calls none where `enforcement` says that nobody was told,
    /// of paths only where they were traced ([`SandboxBuilder::trace_denials`](crate::SandboxBuilder::trace_denials)).
    pub denials: Vec<Denial>,
    /// Time that it waited for what others had.
    pub pressure: PressureUsage,
    /// Bytes of its standard output and error that were passed on, where they are limited.
    pub output_bytes: Option<u64>,
    /// Processes of the tree.
    pub pids: Pids,
    /// Limits that were reached, whether they ended it or not, by control.
    #[serde(serialize_with = "by_pressed_control")]
    pub pressed: Vec<Pressed>,
    /// Kills for want of memory, where there were any.
    pub memory_kills: Option<MemoryKills>,
    /// What was in force, by control.
    #[serde(serialize_with = "by_control")]
    pub enforcement: Vec<Enforcement>,
}

/// Name and digest of the policy that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyName {
    /// Its name.
    pub name: String,
    /// SHA-256 of its meaning, in hex.
    pub digest: String,
}

/// Processes of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pids {
    /// Counts.
    #[serde(flatten)]
    pub used: PidsUsage,
    /// Times that the limit refused a new one.
    pub denied: u64,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pressed {
    /// Which.
    #[serde(skip)]
    pub limit: Control,
    /// How often: new processes refused, memory at its limit, periods in which the CPU limit held it back.
    pub times: u64,
    /// For the CPU limit, `times` as a share of the periods in which it wanted to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// What the kernel killed for want of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryKills {
    /// Processes.
    pub processes: u64,
    /// Whether the whole tree was to go; else the kernel picked.
    pub tree: bool,
    /// The last process that the kernel picked; unknown to callers who may not read the kernel's log.
    pub victim: Option<Victim>,
}

fn memory_kills(ended: &Ended) -> Option<MemoryKills> {
    let (processes, tree) = (ended.hits.memory_kills, ended.hits.tree_kills > 0);
    (processes > 0).then(|| MemoryKills { processes, tree, victim: ended.victim.clone() })
}

/// The directory that keeps changes.
fn kept(plan: &LaunchPlan) -> Option<String> {
    let copies = plan.controls.get(&Control::Overlay) == Some(&Decision::Enforce);
    match &plan.filesystem.overlay {
        Some(Overlay::Keep(path)) if copies => Some(LaunchPlan::readable(path)),
        _ => None,
    }
}

/// The limits that were reached.
fn pressed(ended: &Ended) -> Vec<Pressed> {
    let cpu = &ended.usage.cpu;
    let times = |limit, times| Pressed { limit, times, share: None };
    let mut all = vec![
        times(Control::Memory, ended.hits.memory),
        times(Control::MemoryHigh, ended.hits.memory_high),
        times(Control::Pids, ended.hits.pids),
        times(Control::Cpu, cpu.throttled_periods.unwrap_or(0)),
    ];
    all.retain(|one| one.times > 0);
    if let (Some(one), Some(periods)) = (all.last_mut(), cpu.periods)
        && one.limit == Control::Cpu
    {
        // Both are far below 2^52.
        one.share = Some(one.times as f64 / periods.max(1) as f64);
    }
    all
}

/// Whether a program that was killed was killed for want of memory. Where the kernel takes single processes, another may
/// have been its victim, and this kill somebody else's; who can't read the kernel's log takes it for the kernel's.
fn is_killed_for_memory(ended: &Ended) -> bool {
    let others = match (&ended.victim, ended.program) {
        (Some(victim), Some(program)) => ended.hits.tree_kills == 0 && victim.pid != program,
        _ => false,
    };
    ended.hits.memory_kills > 0 && !others
}

/// How it ended: the cause, and the limit behind it.
pub fn verdict(ended: &Ended, intent: Option<Intent>) -> (Cause, Option<Control>) {
    match (intent, ended.how) {
        (Some(Intent::Time(control)), _) => (Cause::TimedOut, Some(control)),
        (Some(Intent::Watched(Control::Memory)), _) => (Cause::OutOfMemory, Some(Control::Memory)),
        (Some(Intent::Asked), _) => (Cause::Stopped, None),
        (Some(Intent::Watched(control)), _) => (Cause::LimitExceeded, Some(control)),
        // A kill that the kernel counted as one for memory; a program that exits by itself has survived it.
        (None, HowEnded::Signaled(9)) if is_killed_for_memory(ended) => {
            (Cause::OutOfMemory, Some(Control::Memory))
        }
        (None, HowEnded::Denied(_)) => (Cause::Denied, Some(Control::Syscalls)),
        (None, HowEnded::Signaled(_)) => (Cause::Signalled, None),
        (None, HowEnded::Unobserved) => (Cause::Unobserved, None),
        (None, _) => (Cause::Exited, None),
    }
}

impl ExitReport {
    /// Puts a report together.
    pub(crate) fn new(
        plan: &LaunchPlan,
        policy: PolicyName,
        started_at: String,
        ended: &Ended,
        intent: Option<Intent>,
        enforcement: Vec<Enforcement>,
    ) -> Self {
        let (cause, limit) = verdict(ended, intent);
        let (exit_code, signal) = match ended.how {
            HowEnded::Exited(code) => (Some(code), None),
            HowEnded::Signaled(signal) => (None, Some(signal)),
            HowEnded::Denied(signal) => (None, Some(signal)),
            _ => (None, None),
        };
        Self {
            version: 1,
            id: plan.id.clone(),
            backend: Some(plan.backend.clone()),
            fallback: plan.fallback.clone(),
            command: plan.command.iter().map(LaunchPlan::readable).collect(),
            policy,
            cause,
            exit_code,
            signal,
            limit,
            error: None,
            started_at,
            wall_time: ended.wall_time,
            cpu: ended.usage.cpu,
            memory: ended.usage.memory,
            io: ended.usage.io.clone(),
            disk: ended.usage.disk,
            changes: kept(plan),
            network: ended.usage.network,
            connections: None,
            denials: Vec::new(),
            pressure: ended.usage.pressure,
            output_bytes: None,
            pids: Pids { used: ended.usage.pids, denied: ended.hits.pids },
            pressed: pressed(ended),
            memory_kills: memory_kills(ended),
            enforcement,
        }
    }

    /// The report of a launch that failed: nothing ran, nothing was used.
    pub fn launch_failed(
        id: &str,
        command: &[OsString],
        policy: PolicyName,
        error: &Error,
    ) -> Self {
        Self {
            version: 1,
            id: id.into(),
            backend: None,
            fallback: None,
            command: command.iter().map(LaunchPlan::readable).collect(),
            policy,
            cause: Cause::LaunchFailed,
            exit_code: None,
            signal: None,
            limit: None,
            error: Some(error.chain()),
            started_at: jiff::Timestamp::now().to_string(),
            wall_time: Duration::ZERO,
            cpu: CpuUsage::default(),
            memory: MemoryUsage::default(),
            io: None,
            disk: None,
            changes: None,
            network: None,
            connections: None,
            denials: Vec::new(),
            pressure: PressureUsage::default(),
            output_bytes: None,
            pids: Pids { used: PidsUsage::default(), denied: 0 },
            pressed: Vec::new(),
            memory_kills: None,
            enforcement: Vec::new(),
        }
    }

    /// What `stockade run` exits with: the program's own code, 128 + n for signal n, 124 when a time limit ended it,
    /// 137 when another limit did, 159 when a forbidden system call did.
    pub fn exit_status(&self) -> u8 {
        let code = match (self.cause, self.exit_code, self.signal) {
            (Cause::TimedOut, ..) => 124,
            // Also where the program ended by itself before the kill: it went over its limit.
            (Cause::LimitExceeded, ..) => 137,
            // SIGSYS; a program that catches that is killed.
            (Cause::Denied, ..) => 159,
            (_, Some(code), _) => code,
            // Where there are no signals, a kill leaves none.
            (Cause::OutOfMemory | Cause::Stopped, None, None) => 137,
            (_, None, Some(signal)) => 128 + signal,
            (_, None, None) => 125,
        };
        u8::try_from(code & 0xff).unwrap_or(u8::MAX)
    }

    /// Whether the program exited by itself with code 0.
    pub fn success(&self) -> bool {
        self.cause == Cause::Exited && self.exit_code == Some(0)
    }

    /// Controls that were accepted as degraded or unavailable.
    pub fn weakened(&self) -> impl Iterator<Item = &Enforcement> {
        self.enforcement.iter().filter(|entry| entry.state != State::Enforced)
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn control_name<S: Serializer>(
    control: &Option<Control>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    control.map(Control::name).serialize(serializer)
}

fn by_control<S: Serializer>(entries: &[Enforcement], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(entries.len()))?;
    for entry in entries {
        map.serialize_entry(entry.control.name(), entry)?;
    }
    map.end()
}

fn by_pressed_control<S: Serializer>(all: &[Pressed], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(all.iter().map(|one| (one.limit.name(), one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(memory_kills: u64) -> Ended {
        let mut ended = Ended::new(HowEnded::Signaled(9));
        ended.hits.memory_kills = memory_kills;
        ended
    }

    #[test]
    fn a_kill_for_memory_is_told_from_any_other_kill() {
        assert_eq!(verdict(&killed(1), None), (Cause::OutOfMemory, Some(Control::Memory)));
        assert_eq!(verdict(&killed(0), None), (Cause::Signalled, None));
    }

    #[test]
    fn a_kill_after_that_of_another_for_memory_is_somebody_elses() {
        let mut ended = killed(1);
        ended.program = Some(42);
        assert_eq!(verdict(&ended, None).0, Cause::OutOfMemory);
        ended.victim = Some(Victim { pid: 43, command: "other".into() });
        assert_eq!(verdict(&ended, None), (Cause::Signalled, None));
        ended.victim = Some(Victim { pid: 42, command: "program".into() });
        assert_eq!(verdict(&ended, None).0, Cause::OutOfMemory);
    }

    #[test]
    fn an_end_by_time_stays_one_even_when_the_program_exits_politely() {
        let ended = Ended::new(HowEnded::Exited(0));
        let intent = Some(Intent::Time(Control::WallTime));
        assert_eq!(verdict(&ended, intent), (Cause::TimedOut, Some(Control::WallTime)));
    }

    #[test]
    fn a_program_that_outlives_a_kill_for_memory_exited() {
        let mut ended = Ended::new(HowEnded::Exited(3));
        ended.hits.memory_kills = 1;
        assert_eq!(verdict(&ended, None).0, Cause::Exited);
    }
}
