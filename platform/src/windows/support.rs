//! What this backend can do for each control. Pure: which of its settings a job keeps is found out elsewhere.

use super::limits::{Priority, Setting};
use crate::{Availability, Control, Fact, Support};

/// A setting for each control that a job holds, to be tried on a job that nothing runs in.
pub(super) const TRIALS: [(Control, Setting); 10] = [
    (Control::Lifetime, Setting::KillOnClose),
    (Control::Memory, Setting::JobMemory(1 << 30)),
    (Control::Pids, Setting::ActiveProcesses(100)),
    (Control::Cpu, Setting::CpuRate(5_000)),
    (Control::CpuWeight, Setting::CpuWeight(4)),
    (Control::Cpus, Setting::Affinity(1)),
    (Control::CpuTime, Setting::UserTime(36_000_000_000)),
    (Control::CpuIdle, Setting::Priority(Priority::Idle)),
    (Control::Nice, Setting::Priority(Priority::BelowNormal)),
    (Control::NetworkSend, Setting::NetworkRate(1 << 20)),
];

/// What can be done where a job keeps these controls, and loses the others for a reason each.
pub(super) fn support(lost: &[(Control, String)], facts: Vec<Fact>) -> Support {
    let reason = |control| lost.iter().find(|(known, _)| *known == control).map(|(_, why)| &**why);
    let controls =
        Control::all().map(|control| (control, availability(control, reason(control)))).collect();
    Support { backend: "windows".into(), controls, facts, ..Support::default() }
}

/// What a control has where a job keeps everything that it is told.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn at_best(control: Control) -> Availability {
    availability(control, None)
}

fn availability(control: Control, lost: Option<&str>) -> Availability {
    match (control, lost) {
        (Control::Memory, Some(reason)) => Availability::instead(WATCHED_MEMORY, reason),
        (Control::Pids, Some(reason)) => Availability::instead(WATCHED_PIDS, reason),
        (_, Some(reason)) => Availability::none(reason),
        (Control::Pids, None) => Availability::instead(JOB_PIDS, "Windows has no limit of threads"),
        (Control::Memory | Control::Cpu | Control::CpuWeight | Control::Cpus, None)
        | (Control::CpuTime | Control::CpuIdle | Control::Nice | Control::Lifetime, None)
        | (Control::NetworkSend, None)
        | (Control::Output | Control::WallTime | Control::Descriptors, None) => {
            Availability::Enforced
        }
        (Control::Swap, None) => Availability::none(
            "a job counts what is committed, in memory or in the page file: limits.memory is for both",
        ),
        (Control::Io | Control::IoWeight, None) => {
            Availability::none("Windows has taken the rates of disks out of jobs")
        }
        (limit, None) if limit.is_limit() => Availability::none("a job has no such limit"),
        (Control::User | Control::Groups, None) => {
            Availability::none("the program is the user who starts it")
        }
        (Control::Capabilities, None) => Availability::Enforced,
        (Control::Filesystem, None) => Availability::instead(LOW, NO_VIEW),
        (Control::NoNewPrivileges, None) => {
            Availability::none("the program has the rights of the user who starts it")
        }
        (Control::Network, None) => Availability::none(
            "only an AppContainer has no network, and it reads no file of the user's without new rights at it",
        ),
        (_, None) => {
            Availability::none("the windows backend has no such wall, only jobs and tokens")
        }
    }
}

/// How a control is held that isn't a setting of the job.
pub(super) fn how(control: Control) -> &'static str {
    match control {
        Control::Output => "counted and cut on its way",
        Control::WallTime => "a clock of Stockade's",
        Control::Capabilities => "a token without privileges",
        Control::Descriptors => "only the three handles are inherited",
        _ => "the job",
    }
}

const WATCHED_MEMORY: &str = "watched: Stockade adds up what the processes of the job have committed and ends the sandbox when it is over";
const WATCHED_PIDS: &str =
    "watched: Stockade counts the processes of the job and ends the sandbox when they are over";
/// What is done instead of a view of files.
pub(super) const LOW: &str = "a token of low integrity, where the policy lets nothing be written: what the user owns can't be written, and can be read";
const NO_VIEW: &str =
    "Windows has no view of files for a process, and rights at files are the host's to give";
const JOB_PIDS: &str = "the job's limit of processes; their threads aren't counted";

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Vec<(Control, String)> {
        TRIALS.iter().map(|(control, _)| (*control, "not kept".to_owned())).collect()
    }

    #[test]
    fn what_a_job_loses_is_never_promised() {
        let support = support(&lost(), Vec::new());
        for (control, _) in TRIALS {
            match support.of(control) {
                Availability::Enforced => panic!("{control}"),
                Availability::Degraded { how, .. } => {
                    assert!(how.starts_with("watched"), "{control}")
                }
                Availability::Unavailable { reason, .. } => assert_eq!(reason, "not kept"),
            }
        }
    }

    #[test]
    fn no_wall_is_promised_and_every_answer_but_yes_has_its_reason() {
        let support = support(&[], Vec::new());
        for control in Control::all() {
            match support.of(control) {
                Availability::Enforced => {
                    let own = [Control::Descriptors, Control::Lifetime, Control::Capabilities];
                    assert!(control.is_limit() || own.contains(&control), "{control}");
                }
                Availability::Degraded { how, reason, .. } => {
                    assert!(!how.is_empty() && !reason.is_empty(), "{control}");
                }
                Availability::Unavailable { reason, .. } => assert!(!reason.is_empty()),
            }
        }
    }
}
