//! From limits of a plan to what a job object is told (`SetInformationJobObject`). Pure.

use crate::{Control, Cores, Decision, IdSet, LaunchPlan};
use std::fmt;
use std::time::Duration;

/// One thing that a job is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// Every process of it ends when nobody holds it any more.
    KillOnClose,
    /// Bytes that its processes may commit together.
    JobMemory(u64),
    /// Bytes that each may commit.
    ProcessMemory(u64),
    /// Processes that may live at once.
    ActiveProcesses(u32),
    /// Ten-thousandths of all processors' time, at most.
    CpuRate(u32),
    /// Share of contended processors, 1 to 9; 5 is the usual one.
    CpuWeight(u32),
    /// The processors that it may run on, a bit each.
    Affinity(u64),
    /// Time in the programs' own code, in tenths of microseconds.
    UserTime(u64),
    /// How it is scheduled, for all of its processes.
    Priority(Priority),
    /// Bytes that its processes may send to the network in a second, together.
    NetworkRate(u64),
}

/// Which programs go before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    Normal,
    BelowNormal,
    Idle,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillOnClose => f.write_str("end every process of the job with its last handle"),
            Self::JobMemory(bytes) => write!(f, "limit the job's committed memory to {bytes}"),
            Self::ProcessMemory(bytes) => {
                write!(f, "limit each process's committed memory to {bytes}")
            }
            Self::ActiveProcesses(most) => write!(f, "limit the job to {most} processes"),
            Self::CpuRate(rate) => {
                write!(f, "cap the job at {}.{:02} % of all processors", rate / 100, rate % 100)
            }
            Self::CpuWeight(weight) => write!(f, "give the job the weight {weight} of 9"),
            Self::Affinity(mask) => write!(f, "keep the job on the processors of {mask:#x}"),
            Self::UserTime(time) => write!(f, "end the job after {time} tenths of a microsecond"),
            Self::Priority(Priority::Normal) => f.write_str("hold the normal priority"),
            Self::Priority(Priority::BelowNormal) => f.write_str("hold a priority below normal"),
            Self::Priority(Priority::Idle) => f.write_str("hold the idle priority"),
            Self::NetworkRate(bytes) => write!(f, "let the job send {bytes} bytes a second"),
        }
    }
}

/// A setting and the control that it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) control: Control,
    pub(super) setting: Setting,
}

/// A control whose value in this plan a job can't hold, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Impossible {
    pub(super) control: Control,
    pub(super) reason: String,
}

/// What a job is told for a plan on a machine with so many processors, and what it can't be told.
pub(super) fn of(plan: &LaunchPlan, processors: u32) -> (Vec<Wanted>, Vec<Impossible>) {
    let limits = &plan.limits;
    let mut wanted = vec![Wanted { control: Control::Lifetime, setting: Setting::KillOnClose }];
    let mut impossible = Vec::new();
    let is_held = |control| {
        matches!(plan.controls.get(&control), Some(Decision::Enforce | Decision::Degrade { .. }))
    };
    let mut want = |control, setting: Option<Setting>| {
        wanted.extend(
            setting.filter(|_| is_held(control)).map(|setting| Wanted { control, setting }),
        );
    };
    let memory = limits.memory.map(|bytes| bytes.0);
    want(Control::Memory, memory.map(Setting::JobMemory));
    want(Control::Memory, memory.map(Setting::ProcessMemory));
    want(Control::Pids, limits.pids.map(|most| Setting::ActiveProcesses(most.max(1))));
    want(Control::CpuTime, limits.cpu_time.map(|time| last_resort(time, limits.grace)));
    want(Control::Cpu, limits.cpu.map(|cores| Setting::CpuRate(rate(cores, processors))));
    let sent = limits.network_send.map(|most| Setting::NetworkRate(most.0.0));
    want(Control::NetworkSend, sent);
    let weight = limits.cpu_weight.filter(|_| limits.sets(Control::CpuWeight));
    let capped = limits.cpu.is_some() && is_held(Control::Cpu);
    match weight {
        Some(_) if capped && is_held(Control::CpuWeight) => impossible.push(Impossible {
            control: Control::CpuWeight,
            reason: "a job has a cap (limits.cpu) or a weight, not both".into(),
        }),
        weight => want(Control::CpuWeight, weight.map(|of| Setting::CpuWeight(ninths(of)))),
    }
    let mask = limits.cpus.as_ref().filter(|_| is_held(Control::Cpus)).map(mask);
    match mask {
        Some(Some(mask)) => want(Control::Cpus, Some(Setting::Affinity(mask))),
        Some(None) => impossible.push(Impossible {
            control: Control::Cpus,
            reason: "a job is kept on processors 0 to 63 only".into(),
        }),
        None => {}
    }
    let idle = limits.cpu_idle.then_some(Setting::Priority(Priority::Idle));
    want(Control::CpuIdle, idle);
    if idle.is_none() {
        want(Control::Nice, limits.nice.map(|nice| Setting::Priority(priority(nice))));
    }
    (wanted, impossible)
}

/// Ten-thousandths of the whole machine, at least one: so many cores of so many processors.
fn rate(cores: Cores, processors: u32) -> u32 {
    let of_all = u64::from(cores.millis()) * 10 / u64::from(processors.max(1));
    u32::try_from(of_all.clamp(1, 10_000)).unwrap_or(10_000)
}

/// The nine steps of a job for shares from 1 to 10,000 of which 100 is the usual one: each step is some threefold, as the ends ask for.
fn ninths(share: u32) -> u32 {
    const LEAST: [u32; 8] = [3, 9, 30, 80, 180, 500, 1_500, 4_500];
    let steps = LEAST.iter().filter(|least| share >= **least).count();
    u32::try_from(steps).unwrap_or(8) + 1
}

/// A bit for each processor.
fn mask(cpus: &IdSet) -> Option<u64> {
    cpus.iter().try_fold(0, |mask, cpu| (cpu < 64).then(|| mask | 1 << cpu))
}

/// Stockade looks at the time itself, and ends the sandbox with its grace; the job ends it where nobody looks any more.
fn last_resort(time: Duration, grace: Duration) -> Setting {
    let whole = time.saturating_add(grace).saturating_add(Duration::from_secs(1));
    Setting::UserTime(u64::try_from(whole.as_nanos() / 100).unwrap_or(u64::MAX))
}

fn priority(nice: u32) -> Priority {
    match nice {
        0 => Priority::Normal,
        1..=9 => Priority::BelowNormal,
        _ => Priority::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bytes;

    fn plan(controls: &[Control]) -> LaunchPlan {
        let mut plan = LaunchPlan::new("test-0001", vec!["x".into()]);
        plan.controls = controls.iter().map(|control| (*control, Decision::Enforce)).collect();
        plan.limits.memory = Some(Bytes::mib(64));
        plan.limits.pids = Some(10);
        plan.limits.cpu = Some("1.5".parse().unwrap());
        plan.limits.cpu_weight = Some(100);
        plan.limits.cpus = Some("0,2-3".parse().unwrap());
        plan.limits.cpu_time = Some(Duration::from_secs(2));
        plan.limits.grace = Duration::from_secs(3);
        plan.limits.nice = Some(5);
        plan.limits.network_send = Some("2MiB/s".parse().unwrap());
        plan
    }

    fn settings(plan: &LaunchPlan) -> Vec<Setting> {
        of(plan, 4).0.into_iter().map(|wanted| wanted.setting).collect()
    }

    #[test]
    fn only_what_is_to_be_held_is_told_and_what_keeps_nothing_behind_always() {
        assert_eq!(settings(&plan(&[])), [Setting::KillOnClose]);
        let some = plan(&[
            Control::Memory,
            Control::Cpus,
            Control::Nice,
            Control::CpuTime,
            Control::NetworkSend,
        ]);
        let expected = [
            Setting::KillOnClose,
            Setting::JobMemory(64 << 20),
            Setting::ProcessMemory(64 << 20),
            Setting::UserTime(60_000_000),
            Setting::NetworkRate(2 << 20),
            Setting::Affinity(0b1101),
            Setting::Priority(Priority::BelowNormal),
        ];
        assert_eq!(settings(&some), expected);
    }

    #[test]
    fn a_cap_and_a_weight_exclude_each_other() {
        let (wanted, impossible) = of(&plan(&[Control::Cpu, Control::CpuWeight]), 4);
        assert_eq!(wanted[1].setting, Setting::CpuRate(3_750));
        assert_eq!(wanted.len(), 2);
        assert_eq!(impossible[0].control, Control::CpuWeight);
        assert_eq!(settings(&plan(&[Control::CpuWeight]))[1], Setting::CpuWeight(5));
    }

    #[test]
    fn a_processor_beyond_the_first_group_is_told() {
        let mut far = plan(&[Control::Cpus]);
        far.limits.cpus = Some("64".parse().unwrap());
        assert_eq!(of(&far, 128).1[0].control, Control::Cpus);
    }

    #[test]
    fn rates_and_weights_stay_within_what_a_job_takes() {
        let rate = |text: &str, processors| rate(text.parse().unwrap(), processors);
        assert_eq!((rate("0.01", 64), rate("1", 3), rate("8", 4)), (1, 3_333, 10_000));
        assert_eq!((rate("2", 2), rate("0.5", 1)), (10_000, 5_000));
        assert_eq!([1, 2, 50, 100, 10_000].map(ninths), [1, 1, 4, 5, 9]);
    }

    #[test]
    fn who_runs_when_nobody_else_does_is_of_the_lowest_priority() {
        let mut idle = plan(&[Control::CpuIdle, Control::Nice]);
        idle.limits.cpu_idle = true;
        assert_eq!(settings(&idle)[1..], [Setting::Priority(Priority::Idle)]);
    }
}
