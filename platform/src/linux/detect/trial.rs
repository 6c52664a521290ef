//! Trying the walls for real: throw-away launches, by the same code as every other, of a program that doesn't exist. When
//! it is "not found", every step before it has succeeded; else the failed step says what this host refuses.

use super::host::Host;
use super::unavailable;
use crate::linux::cgroup::{LIMITS, NoTree, Tree};
use crate::linux::identity::{Caller, Ids};
use crate::linux::prepare::Prepared;
use crate::linux::{seccomp, spawn};
use crate::{
    Availability, Bytes, Control, Cores, Decision, ErrorKind, LaunchPlan, PlatformError, ProcView,
    Stage, Syscalls, Tmp,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A path at which no view has a file.
const NOTHING: &str = "/.stockade-trial";

/// Controls that a launch makes in steps which can fail.
const WALLS: [Control; 13] = [
    Control::Processes,
    Control::Lifetime,
    Control::Ipc,
    Control::Hostname,
    Control::Network,
    Control::QuotaView,
    Control::Ids,
    Control::Clock,
    Control::AccessRules,
    Control::Capabilities,
    Control::NoNewPrivileges,
    Control::Descriptors,
    Control::Syscalls,
];

/// What every launch needs: without these nothing can be launched.
pub(super) const BASE: [Control; 2] = [Control::User, Control::Filesystem];

/// Takes back what the cheap readings promised and a trial shows to be refused.
pub(super) fn correct(
    controls: &mut BTreeMap<Control, Availability>,
    host: &Host,
    tree: &Result<Tree, NoTree>,
) {
    let promised = |controls: &BTreeMap<Control, Availability>, control: &Control| {
        controls.get(control) == Some(&Availability::Enforced)
    };
    let walls: Vec<_> =
        WALLS.into_iter().chain(BASE).filter(|wall| promised(controls, wall)).collect();
    if BASE.iter().all(|base| promised(controls, base)) && launch(&walls).is_err() {
        match launch(&BASE) {
            Err(why) => {
                let needed = WALLS.into_iter().chain(BASE);
                controls.extend(needed.map(|wall| (wall, unavailable(why.clone()))));
            }
            Ok(()) => {
                for wall in walls {
                    let alone = match wall {
                        Control::Filesystem => vec![wall, Control::Processes],
                        _ => vec![wall],
                    };
                    if let Err(why) = launch(&alone) {
                        controls.insert(wall, unavailable(why));
                    }
                }
            }
        }
    }
    if let Ok(tree) = tree {
        for (control, controller) in LIMITS {
            if host.lacks(controller).is_none()
                && promised(controls, &control)
                && let Err(why) = limit(tree, control)
            {
                controls.insert(control, unavailable(why));
            }
        }
    }
}

/// Launches nothing behind these walls.
fn launch(walls: &[Control]) -> Result<(), NoTree> {
    let mut plan = LaunchPlan::new(id("trial"), vec![NOTHING.into()]);
    plan.controls = walls.iter().map(|wall| (*wall, Decision::Enforce)).collect();
    plan.filesystem.tmp = Some(Tmp { size: Bytes::mib(1) });
    // Only the first process of a pid namespace may show its own processes, which is part of the view of files.
    let shows = [Control::Processes, Control::Filesystem].iter().all(|wall| walls.contains(wall));
    plan.filesystem.proc = if shows { ProcView::Private } else { ProcView::None };
    plan.identity.hostname = Some("trial".into());
    // Two are enough to find out, and nearly always among those that a user has; any user is among them.
    if walls.contains(&Control::Ids) {
        plan.identity.ids = Some(2);
        plan.identity.user = Some(0);
        plan.identity.group = Some(0);
    }
    let allow = seccomp::LAUNCH.map(str::to_owned).to_vec();
    plan.syscalls = Arc::new(Syscalls { allow, ..Syscalls::default() });
    found_out(prepared(&plan).and_then(|prepared| spawn::spawn(&prepared, None).map(drop)))
}

/// Makes and removes a control group with one limit.
fn limit(tree: &Tree, control: Control) -> Result<(), NoTree> {
    let mut plan = LaunchPlan::new(id("trial"), vec![NOTHING.into()]);
    let limits = &mut plan.limits;
    match control {
        Control::Memory => limits.memory = Some(Bytes::mib(64)),
        Control::MemoryHigh => limits.memory_high = Some(Bytes::mib(64)),
        Control::MemoryStall => {
            limits.memory_stall = Some(Duration::from_secs(1));
            plan.controls.insert(control, Decision::Enforce);
        }
        Control::MemoryMin => limits.memory_min = Some(Bytes(0)),
        Control::MemoryLow => limits.memory_low = Some(Bytes(0)),
        Control::Swap => limits.swap = Some(Bytes(0)),
        Control::Zswap => limits.zswap = Some(Bytes(0)),
        Control::HugePages => limits.huge_pages = Some(Bytes(0)),
        Control::Cpu => limits.cpu = Cores::from_millis(1000),
        Control::CpuWeight => limits.cpu_weight = Some(100),
        Control::CpuBurst => {
            limits.cpu = Cores::from_millis(1000);
            limits.cpu_burst = Some(Duration::from_millis(1));
        }
        Control::CpuIdle => limits.cpu_idle = true,
        Control::Cpus => limits.cpus = "0".parse().ok(),
        Control::Mems => limits.mems = "0".parse().ok(),
        Control::Pids => limits.pids = Some(16),
        Control::IoWeight => limits.io_weight = Some(100),
        // Which disk, and whether it can be limited, is known of a path only.
        Control::Io => return Ok(()),
        _ => {}
    }
    let made = tree.create(&plan).and_then(|(mut group, _)| {
        // A clone straight into the group is one more thing that can be refused.
        plan.controls = BASE.iter().map(|base| (*base, Decision::Enforce)).collect();
        plan.filesystem.proc = ProcView::None;
        let prepared = prepared(&plan)?;
        let launched = spawn::spawn(&prepared, Some(&group)).map(drop);
        group.remove()?;
        launched
    });
    found_out(made)
}

/// A program that wasn't found is a launch that succeeded up to there.
fn found_out(outcome: Result<(), PlatformError>) -> Result<(), NoTree> {
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == &ErrorKind::Launch(Stage::NotFound) => Ok(()),
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            let reason = format!("{error}{cause}");
            let hint = error.hint().filter(|hint| !hint.contains("stockade doctor"));
            Err(NoTree { remedy: hint.unwrap_or_default().into(), reason })
        }
    }
}

fn prepared(plan: &LaunchPlan) -> Result<Prepared, PlatformError> {
    let caller = Caller::find();
    let ids = Ids::unclaimed(plan, &caller)?;
    Prepared::new(plan, &caller, ids, None)
}

fn id(name: &str) -> String {
    format!("{name}-{:08x}", std::process::id())
}
