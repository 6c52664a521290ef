//! What this host can enforce.

use super::cgroup::Tree;
use crate::{Availability, Control, Probe, Support};

/// Answers for every control. Thin for now: it knows the quota tree and trusts the launch itself to refuse the rest.
pub(crate) fn support(_probe: Probe) -> Support {
    let missing = |control: &Control| {
        let controller = match control {
            Control::Memory | Control::MemoryHigh | Control::Swap => {
                super::cgroup::Controllers::MEMORY
            }
            Control::Cpu | Control::CpuWeight => super::cgroup::Controllers::CPU,
            Control::Pids => super::cgroup::Controllers::PIDS,
            _ => return None,
        };
        match Tree::find() {
            Ok(tree) => tree.lacks(controller),
            Err(none) => Some(none),
        }
    };
    let answer = |control| match missing(&control) {
        None => Availability::Enforced,
        Some(none) => Availability::Degraded {
            how: "watched".into(),
            reason: none.reason,
            remedy: none.remedy,
        },
    };
    let controls = Control::all().map(|control| (control, answer(control))).collect();
    Support { backend: "linux".into(), controls, facts: Vec::new() }
}
