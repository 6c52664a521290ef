//! What the starter holds itself: limits that no process and no cgroup carries. Pure.

use crate::{Bytes, Control, Decision, Enforcement, LaunchPlan, State};
use std::time::Duration;

/// How a control is held, where the plan wants that and it is one of these.
pub(super) fn holds(control: Control, plan: &LaunchPlan) -> Option<Enforcement> {
    let limits = &plan.limits;
    let time = |time: Option<Duration>| time.map(|time| format!("{time:?}"));
    let bytes = |bytes: Option<Bytes>| bytes.map(|bytes| bytes.0.to_string());
    let (how, value) = match control {
        Control::WallTime => ("timer of the starter", time(limits.wall_time)),
        Control::CpuTime => ("CPU time of the tree, polled", time(limits.cpu_time)),
        Control::Output => ("counted on its way by the starter", bytes(limits.output)),
        Control::NetworkSend => {
            ("slowed down on its way by the starter", bytes(limits.network_send.map(|it| it.0)))
        }
        _ => return None,
    };
    // What was given up is told as that.
    let value = value.filter(|_| plan.controls.get(&control) == Some(&Decision::Enforce));
    value.map(|value| Enforcement::new(control, State::Enforced, how).with_value(value))
}
