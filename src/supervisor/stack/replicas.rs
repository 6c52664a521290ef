//! A service that runs several times: each of its instances is a service of its own, `web.1`, `web.2` and so on. Pure.

use super::{Need, Service, Stack};
use std::collections::BTreeMap;

/// The variable that tells an instance which one it is.
const INSTANCE: &str = "STOCKADE_INSTANCE";

/// More of one service is a mistake.
const MOST: u32 = 1000;

impl Stack {
    /// The same stack with the instances of each replicated service in its place. Who needs the service needs all of them.
    #[must_use]
    pub(in crate::supervisor) fn expanded(&self) -> Self {
        let mut services = BTreeMap::new();
        for (name, service) in &self.services {
            let mut service = service.clone();
            service.depends_on = self.needs(&service.depends_on);
            match service.replicas.take() {
                None => _ = services.insert(name.clone(), service),
                Some(replicas) => {
                    for number in 1..=replicas {
                        let mut instance = service.clone();
                        instance.policy.set_variable(INSTANCE, &number.to_string());
                        services.insert(instance_name(name, number), instance);
                    }
                }
            }
        }
        let mut groups = self.groups.clone();
        for group in groups.values_mut() {
            group.members = group.members.iter().flat_map(|name| self.instances(name)).collect();
        }
        Self { name: self.name.clone(), services, groups, alerts: self.alerts.clone() }
    }

    fn needs(&self, needs: &BTreeMap<String, Need>) -> BTreeMap<String, Need> {
        let of = |(name, need): (&String, &Need)| {
            let need = *need;
            self.instances(name).into_iter().map(move |name| (name, need))
        };
        needs.iter().flat_map(of).collect()
    }

    /// The names under which a service runs: its own, or those of its instances.
    pub fn instances(&self, name: &str) -> Vec<String> {
        match self.services.get(name).and_then(|service| service.replicas) {
            None => vec![name.to_owned()],
            Some(replicas) => (1..=replicas).map(|number| instance_name(name, number)).collect(),
        }
    }
}

fn instance_name(name: &str, number: u32) -> String {
    format!("{name}.{number}")
}

impl Service {
    /// Why there can't be so many of it; `None` where there can.
    pub(in crate::supervisor) fn cannot_be(&self, replicas: u32) -> Option<String> {
        match replicas {
            0 | 1 => None,
            _ if replicas > MOST => Some(format!("{replicas} are too many (at most {MOST})")),
            _ if !self.policy.publish.is_empty() => {
                Some("each of its instances would publish the same port".to_owned())
            }
            _ if !self.sockets.is_empty() => {
                Some("each of its instances would bind the same sockets".to_owned())
            }
            _ => None,
        }
    }
}
