//! What only a whole stack can tell: whether what services need exists, and can ever be there.

use super::{Draft, Reader};
use crate::platform::Syscalls;
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;
use crate::supervisor::stack::{Condition, Service, Stack};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Reader<'_> {
    /// What only the whole can tell: whether what services need exists, and can ever be there.
    pub(super) fn look_at_the_whole(&mut self, drafts: &BTreeMap<String, Draft>) {
        let mut all_exist = true;
        for (name, draft) in drafts {
            let replicas = draft.service.replicas.unwrap_or(0);
            if let Some(why) = draft.service.cannot_be(replicas) {
                self.problem(&draft.at, &format!("services.{name}.replicas"), why);
            }
            if draft.service.is_job() && draft.service.probes.all().next().is_some() {
                let message = "a job is done when it ends: a probe would tell nothing of it";
                self.problem(&draft.at, &format!("services.{name}"), message.into());
            }
            if draft.service.pid_file.is_some() && !draft.service.rules.forks {
                let message = "only a `forking` service leaves its work to another process";
                self.problem(&draft.at, &format!("services.{name}.pid_file"), message.into());
            }
            for (needed, spot) in &draft.needs {
                if let Some(other) = drafts.get(needed) {
                    let need = draft.service.depends_on.get(needed);
                    let healthy = need.is_some_and(|need| need.condition == Condition::Healthy);
                    if healthy && other.service.probes.all().next().is_none() {
                        let message = format!(
                            "nobody could tell that `{needed}` is healthy: it has no probe"
                        );
                        self.problem(spot, &format!("services.{name}.depends_on"), message);
                    }
                    continue;
                }
                all_exist = false;
                let near = did_you_mean(needed, drafts.keys().map(String::as_str));
                let message = format!("there is no service {}{near}", quoted(needed));
                self.problem(spot, &format!("services.{name}.depends_on"), message);
            }
        }
        let services: BTreeMap<String, Service> = match all_exist {
            true => drafts.iter().map(|(name, it)| (name.clone(), it.service.clone())).collect(),
            false => return,
        };
        if let Err(circle) = Stack::ordered(&services) {
            let first = circle.first().copied().unwrap_or_default();
            let shown = format!("{} -> {first}", circle.join(" -> "));
            let Some(draft) = drafts.get(first) else { return };
            let message = format!("services wait for each other: {shown}");
            self.problem(&draft.at, &format!("services.{first}.depends_on"), message);
        }
    }
}

/// Services that may make the same system calls share one list of them, which is most of what a policy takes in memory.
pub(super) fn share_calls(services: &mut BTreeMap<String, Service>) {
    let mut all: Vec<Arc<Syscalls>> = Vec::new();
    for Service { policy, .. } in services.values_mut() {
        match all.iter().find(|known| **known == policy.syscalls) {
            Some(known) => policy.syscalls = known.clone(),
            None => all.push(policy.syscalls.clone()),
        }
    }
}
