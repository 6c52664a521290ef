//! A policy while it is put together, layer upon layer.

use super::Policy;
use super::syscalls::Calls;
use crate::platform::{
    Access, Bind, Capabilities, ClockOffsets, Control, Environment, Filesystem, Identity, IoLimit,
    Limits, Mask, MaskKind, Network, OnViolation, Publish, Secret, SecretSource, Syscalls,
    TcpPorts,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The policy so far, and what is worked out only when all layers are known.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) policy: Policy,
    pub(super) calls: Calls,
    /// Host paths that the layer which is being read shows.
    shown: Vec<PathBuf>,
}

impl Draft {
    /// What a policy that says nothing means: no files, no network, no variables, no limits.
    pub(super) fn new(name: &str) -> Self {
        Self {
            policy: Policy {
                name: name.to_owned(),
                description: String::new(),
                limits: Limits::default(),
                filesystem: Filesystem::default(),
                access_rules: true,
                secrets: Vec::new(),
                network: Network::None,
                allow: Vec::new(),
                publish: Vec::new(),
                tcp: TcpPorts::default(),
                identity: Identity::default(),
                capabilities: Capabilities::default(),
                syscalls: Arc::default(),
                clock: ClockOffsets::default(),
                environment: Environment::default(),
                init: true,
                degrade: BTreeSet::new(),
                warnings: Vec::new(),
            },
            calls: Calls::default(),
            shown: Vec::new(),
        }
    }

    /// The next layer begins.
    pub(super) fn begin_layer(&mut self) {
        self.calls.begin_layer();
        self.shown.clear();
    }

    /// Makes a directory the root. The host paths that earlier layers show were meant for a root without anything: `/usr` of
    /// the host over that of the directory would be a mixture that nobody asked for. What this layer and later ones show is.
    pub(super) fn set_root(&mut self, path: PathBuf) {
        let shown = &self.shown;
        self.policy.filesystem.binds.retain(|bind| shown.contains(&bind.target));
        self.policy.filesystem.root = Some(path);
    }

    /// Shows a host path at the same place inside. What an earlier layer said of that place no longer counts.
    pub(super) fn bind(&mut self, path: PathBuf, access: Access, optional: bool) {
        self.shown.push(path.clone());
        self.policy.filesystem.masks.retain(|known| known.path != path);
        self.policy.bind(Bind { source: path.clone(), target: path, access, optional });
    }

    /// Puts something in front of a host path. What an earlier layer said of that place no longer counts.
    pub(super) fn mask(&mut self, path: PathBuf, kind: MaskKind) {
        let filesystem = &mut self.policy.filesystem;
        filesystem.masks.retain(|known| known.path != path);
        filesystem.binds.retain(|known| known.target != path);
        filesystem.masks.push(Mask { path, kind });
    }

    /// Shows a device.
    pub(super) fn show_device(&mut self, path: PathBuf) {
        let devices = &mut self.policy.filesystem.devices;
        if !devices.contains(&path) {
            devices.push(path);
        }
    }

    /// Gives the program a secret. What an earlier layer said of that name no longer counts.
    pub(super) fn add_secret(&mut self, name: &str, source: SecretSource) {
        let secrets = &mut self.policy.secrets;
        secrets.retain(|known| known.name != name);
        secrets.push(Secret { name: name.to_owned(), source });
    }

    /// Limits the disk of a path. What an earlier layer said of the path no longer counts.
    pub(super) fn limit_io(&mut self, limit: IoLimit) {
        let io = &mut self.policy.limits.io;
        io.retain(|known| known.path != limit.path);
        if !limit.is_unlimited() {
            io.push(limit);
        }
    }

    /// Passes a variable on; an earlier layer's value for it no longer counts.
    pub(super) fn keep_variable(&mut self, name: &str) {
        let environment = &mut self.policy.environment;
        environment.set.remove(name);
        if !environment.keep.iter().any(|known| known == name) {
            environment.keep.push(name.to_owned());
        }
    }

    /// Lets a filtered network out to somebody. The text is known to be a rule.
    pub(super) fn allow_destination(&mut self, text: &str) {
        if let Ok(rule) = text.parse()
            && !self.policy.allow.contains(&rule)
        {
            self.policy.allow.push(rule);
        }
    }

    /// Lets in. The text is known to be right; what an earlier layer said of the same port of the host no longer counts.
    pub(super) fn publish(&mut self, text: &str) {
        if let Ok(new) = text.parse::<Publish>() {
            self.policy.publish.retain(|known| known.outside != new.outside);
            self.policy.publish.push(new);
        }
    }

    /// Keeps a privileged ability.
    pub(super) fn keep_capability(&mut self, name: &str) {
        let full = if name.starts_with("CAP_") { name.to_owned() } else { format!("CAP_{name}") };
        let keep = &mut self.policy.capabilities.keep;
        if !keep.contains(&full) {
            keep.push(full);
        }
    }

    /// Accepts that a control is degraded or missing. The name is known to be one.
    pub(super) fn degrade(&mut self, name: &str) {
        self.policy.degrade.extend(name.parse::<Control>());
    }

    /// The whole list of calls that the layers add up to.
    pub(super) fn expanded_calls(&self, on_violation: OnViolation) -> Syscalls {
        // `None` is for an unknown base, and the key has only the known ones; an empty list allows nothing.
        self.calls.expand(on_violation).unwrap_or_default()
    }
}
