//! What two stacks differ in. Pure.

use super::{Service, Stack};
use crate::supervisor::Rules;

/// How a service of one stack differs from the one of the same name in another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Its name.
    pub service: String,
    /// Whether only one of the two has it.
    pub kind: DifferenceKind,
    /// What it differs in, where both have it: the tables and keys of a stack file.
    pub changed: Vec<&'static str>,
    /// Whether it is wanted now, where it wasn't, or the other way round.
    pub enabled: Option<bool>,
}

/// Which of two stacks has a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The new one.
    Added,
    /// The old one.
    Removed,
    /// Both.
    Changed,
}

/// What a run in progress needn't be ended for: it counts from the next decision on.
const IN_PLACE: [&str; 10] = [
    "description",
    "depends_on",
    "enabled",
    "hooks",
    "labels",
    "logging",
    "reload.command",
    "restart",
    "stop.grace_period",
    "run_timeout",
];

impl Difference {
    pub(in crate::supervisor) fn is_removed(&self) -> bool {
        self.kind == DifferenceKind::Removed
    }

    /// Whether a run that is in progress is ended for it.
    pub fn needs_restart(&self) -> bool {
        self.changed.iter().any(|key| !IN_PLACE.contains(key))
    }

    fn of(service: &str, kind: DifferenceKind) -> Self {
        Self { service: service.to_owned(), kind, changed: Vec::new(), enabled: None }
    }
}

impl Stack {
    /// What another stack, that is to follow this one, differs in: by the services' names.
    pub fn differences(&self, next: &Self) -> Vec<Difference> {
        // What runs are instances.
        let (before, next) = (self.expanded(), next.expanded());
        let mut all = Vec::new();
        for (name, service) in &before.services {
            let Some(next) = next.services.get(name) else {
                all.push(Difference::of(name, DifferenceKind::Removed));
                continue;
            };
            let changed = service.changes(next);
            let enabled = (service.enabled != next.enabled).then_some(next.enabled);
            if !changed.is_empty() {
                let difference = Difference::of(name, DifferenceKind::Changed);
                all.push(Difference { changed, enabled, ..difference });
            }
        }
        let added = next.services.keys().filter(|name| !before.services.contains_key(*name));
        all.extend(added.map(|name| Difference::of(name, DifferenceKind::Added)));
        all.sort_by(|a, b| a.service.cmp(&b.service));
        all
    }
}

impl Service {
    /// The keys in which another one differs. Taken apart by name, so that a new part can't be forgotten here; a run in progress is
    /// ended for it unless [`IN_PLACE`] has it too.
    fn changes(&self, next: &Self) -> Vec<&'static str> {
        let Self {
            description,
            command,
            policy,
            enabled,
            rules,
            stop_signal,
            reload_signal,
            depends_on,
            probes,
            hooks,
            reload_command,
            on_violation,
            replicas,
            notify,
            pid_file,
            attach,
            sockets,
            on_demand,
            labels,
            logging,
        } = self;
        let Rules {
            started,
            probed,
            tells_reload,
            forks,
            attached,
            restart,
            start_timeout,
            run_timeout,
            grace,
        } = rules;
        let parts = [
            ("description", *description == next.description),
            ("command", *command == next.command),
            ("policy", policy.digest() == next.policy.digest()),
            ("enabled", *enabled == next.enabled),
            ("type", (*started, *forks) == (next.rules.started, next.rules.forks)),
            ("pid_file", *pid_file == next.pid_file),
            ("attach", (*attached, attach) == (next.rules.attached, &next.attach)),
            ("startup_probe", probes.startup == next.probes.startup),
            (
                "readiness_probe",
                (*probed, &probes.readiness) == (next.rules.probed, &next.probes.readiness),
            ),
            ("liveness_probe", probes.liveness == next.probes.liveness),
            ("reload", *tells_reload == next.rules.tells_reload),
            ("restart", *restart == next.rules.restart),
            ("start_timeout", *start_timeout == next.rules.start_timeout),
            ("run_timeout", *run_timeout == next.rules.run_timeout),
            ("stop.grace_period", *grace == next.rules.grace),
            ("stop.signal", *stop_signal == next.stop_signal),
            ("reload.signal", *reload_signal == next.reload_signal),
            ("depends_on", *depends_on == next.depends_on),
            ("hooks", *hooks == next.hooks),
            ("reload.command", *reload_command == next.reload_command),
            ("on_violation", *on_violation == next.on_violation),
            ("replicas", *replicas == next.replicas),
            ("notify", *notify == next.notify),
            ("sockets", *sockets == next.sockets),
            ("start", *on_demand == next.on_demand),
            ("labels", *labels == next.labels),
            ("logging", logging.is_same(&next.logging)),
        ];
        parts.iter().filter(|(_, same)| !same).map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn stack(text: &str) -> Stack {
        let scene = tempfile::tempdir().unwrap();
        let path = scene.path().join("stockade.toml");
        std::fs::write(&path, text).unwrap();
        Stack::load(&path, Path::new("/")).unwrap()
    }

    #[test]
    fn what_is_the_same_is_no_difference_and_restart_rules_need_no_restart() {
        let before = stack(
            "[services.a]\ncommand = \"a\"\n[services.b]\ncommand = \"b\"\n[services.c]\ncommand = \"c\"\n\
             [services.d]\ncommand = \"d\"\n",
        );
        assert_eq!(before.differences(&before), []);
        let after = stack(
            "[services.a]\ncommand = \"a\"\nlimits = { memory = \"900MiB\" }\n\
             [services.b]\ncommand = \"b\"\nenabled = false\nrestart = { delay = \"9s\" }\n\
             [services.d]\ncommand = \"d\"\n[services.e]\ncommand = \"e\"\n",
        );
        let told: Vec<_> = before
            .differences(&after)
            .into_iter()
            .map(|it| (it.needs_restart(), it.enabled, it.service, it.kind, it.changed.join(" ")))
            .collect();
        use DifferenceKind::{Added, Changed, Removed};
        assert_eq!(
            told,
            [
                (true, None, "a".to_owned(), Changed, "policy".to_owned()),
                (false, Some(false), "b".to_owned(), Changed, "enabled restart".to_owned()),
                (false, None, "c".to_owned(), Removed, String::new()),
                (false, None, "e".to_owned(), Added, String::new()),
            ]
        );
    }
}
