//! What is allowed and still probably not meant: warnings about a policy. Pure.

use super::exposure::{servants, shows};
use super::{Policy, problem::quoted};
use crate::platform::{Access, LaunchPlan, Network};
use serde::Serialize;
use std::path::Path;

/// Something in a policy that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// The key that it is about.
    pub key: &'static str,
    /// What it is, and what would be better; one line without a full stop.
    pub what: String,
}

/// Looks at a policy, which stands in this file, if it is none of the shipped ones.
///
/// ```
/// use stockade::Policy;
/// use stockade::policy::lint;
///
/// let policy = Policy::shipped("worker")?.write("/usr/local/bin");
/// assert_eq!(lint(&policy, None)[0].key, "filesystem.write");
/// # Ok::<(), stockade::policy::PolicyError>(())
/// ```
pub fn lint(policy: &Policy, file: Option<&Path>) -> Vec<Warning> {
    let mut all = Vec::new();
    let mut warn = |key, what| all.push(Warning { key, what });
    programs(policy, &mut warn);
    if let Some(file) = file
        && shows(policy, file) == Some(Access::Write)
    {
        let file = shown(file);
        let what = format!(
            "{file} is this policy, and the program may change it for the next run: keep it elsewhere"
        );
        warn("filesystem.write", what);
    }
    for socket in servants(policy) {
        let what = format!(
            "{} does anything for whoever connects, as root: leave it out, or mask it",
            quoted(socket)
        );
        warn("filesystem.read", what);
    }
    repeated(policy, &mut warn);
    masks(policy, &mut warn);
    calls(policy, &mut warn);
    users(policy, &mut warn);
    nesting(policy, &mut warn);
    if policy.network == Network::Host && policy.limits.memory.is_none() {
        let what =
            "the network is open and memory isn't limited: whoever talks to it can fill the host"
                .into();
        warn("limits.memory", what);
    }
    let kept = |name: &&String| policy.environment.set.contains_key(*name);
    if let Some(name) = policy.environment.keep.iter().find(kept) {
        warn(
            "environment.keep",
            format!("{} is set too, so the caller's never counts", quoted(name)),
        );
    }
    all
}

fn shown(path: &Path) -> String {
    quoted(&LaunchPlan::readable(path))
}

/// Directories that programs are looked for in, and that the program may write.
fn programs(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    let path = policy.environment.set.get("PATH").map(String::as_str).unwrap_or_default();
    for directory in path.split(':').filter(|directory| !directory.is_empty()) {
        if shows(policy, Path::new(directory)) == Some(Access::Write) {
            let directory = quoted(directory);
            let what =
                format!("{directory} is on PATH: what the program leaves there, others start");
            warn("filesystem.write", what);
        }
    }
}

/// Paths that only repeat what stands above them.
fn repeated(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    for bind in &policy.filesystem.binds {
        let Some(above) = bind.target.parent() else { continue };
        if shows(policy, above) == Some(bind.access) && !bind.optional {
            let key = match bind.access {
                Access::Read => "filesystem.read",
                Access::Copy => "filesystem.copy",
                Access::Write => "filesystem.write",
            };
            let path = shown(&bind.target);
            warn(key, format!("{path} is shown by what stands above it already"));
        }
    }
}

/// Masks of what isn't shown anyway.
fn masks(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    for mask in &policy.filesystem.masks {
        let mut binds = policy.filesystem.binds.iter();
        if !binds.any(|bind| mask.path.starts_with(&bind.target)) {
            let path = shown(&mask.path);
            warn("filesystem.deny", format!("{path} isn't shown, so there is nothing to mask"));
        }
    }
}

/// Names of system calls that change nothing.
fn calls(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    for wide in ["ptrace", "process_vm_readv", "process_vm_writev"] {
        if policy.syscalls.allow.iter().any(|name| name == wide) && policy.init {
            let what = format!(
                "{} lets its processes look into each other, and an attacker with one has all: \
                 leave it to policies for debuggers",
                quoted(wide)
            );
            warn("syscalls.allow", what);
        }
    }
}

/// Sandboxes that can't be built inside, and a wall that is left out for nothing.
fn nesting(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    let allows = |name: &str| policy.syscalls.allow.iter().any(|allowed| allowed == name);
    match (policy.access_rules, allows("move_mount") || allows("mount")) {
        (true, true) => {
            let what = "nobody can mount anything under it, so the calls that mount are allowed for nothing: set it to \
                        false, or leave them out";
            warn("filesystem.access_rules", what.into());
        }
        (false, false) => {
            let what =
                "only a program that mounts needs it off, and no call that mounts is allowed";
            warn("filesystem.access_rules", what.into());
        }
        _ => {}
    }
}

/// Users that can't be become, and rights that outlive the change of user.
fn users(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    let keeps = |name: &str| {
        let mut kept = policy.capabilities.keep.iter();
        kept.any(|kept| kept.strip_prefix("CAP_").unwrap_or(kept) == name)
    };
    let (user, group) = (keeps("SETUID"), keeps("SETGID"));
    match (policy.identity.several(), user || group) {
        (Some(_), _) if !(user && group) => {
            let what = "the program can't become any of them: keep `CAP_SETUID` and `CAP_SETGID`";
            warn("identity.ids", what.into());
        }
        (None, true) => {
            let what = "there is no other user or group to become: set `identity.ids`";
            warn("capabilities.keep", what.into());
        }
        (Some(_), true) if policy.identity.user != Some(0) => {
            let what = "only user 0 loses what `capabilities.keep` names by becoming another user: set \
                        `identity.user` to 0";
            warn("identity.user", what.into());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> Policy {
        Policy::load("worker", &[], Path::new("/srv/app")).unwrap()
    }

    fn told(policy: &Policy, file: Option<&str>) -> Vec<String> {
        let all = lint(policy, file.map(Path::new));
        all.into_iter().map(|warning| format!("{}: {}", warning.key, warning.what)).collect()
    }

    #[test]
    fn shipped_policies_have_nothing_to_warn_of() {
        for (name, _) in crate::policy::shipped() {
            let policy = Policy::load(name, &[], Path::new("/srv/app")).unwrap();
            assert_eq!(told(&policy, None), [""; 0], "{name}");
        }
    }

    #[test]
    fn what_is_probably_not_meant_is_told() {
        let policy = worker().write("/usr/local/bin").write("/srv/app/policies").read("/run");
        let told = told(&policy, Some("/srv/app/policies/own.toml"));
        insta::assert_snapshot!(told.join("\n"), @"
        filesystem.write: `/usr/local/bin` is on PATH: what the program leaves there, others start
        filesystem.write: `/srv/app/policies/own.toml` is this policy, and the program may change it for the next run: keep it elsewhere
        filesystem.read: `/run/docker.sock` does anything for whoever connects, as root: leave it out, or mask it
        filesystem.read: `/run/podman/podman.sock` does anything for whoever connects, as root: leave it out, or mask it
        filesystem.read: `/run/containerd/containerd.sock` does anything for whoever connects, as root: leave it out, or mask it
        filesystem.read: `/run/crio/crio.sock` does anything for whoever connects, as root: leave it out, or mask it
        filesystem.read: `/run/systemd/private` does anything for whoever connects, as root: leave it out, or mask it
        filesystem.read: `/run/dbus/system_bus_socket` does anything for whoever connects, as root: leave it out, or mask it
        ");
    }

    #[test]
    fn users_that_cant_be_become_and_rights_that_stay_are_told() {
        let mut policy = worker();
        let mut all = Vec::new();
        policy.identity.ids = Some(65_536);
        all.extend(told(&policy, None));
        policy.capabilities.keep.extend(["CAP_SETUID".into(), "SETGID".into()]);
        all.extend(told(&policy, None));
        policy.identity.ids = None;
        all.extend(told(&policy, None));
        insta::assert_snapshot!(all.join("\n"), @"
        identity.ids: the program can't become any of them: keep `CAP_SETUID` and `CAP_SETGID`
        identity.user: only user 0 loses what `capabilities.keep` names by becoming another user: set `identity.user` to 0
        capabilities.keep: there is no other user or group to become: set `identity.ids`
        ");
        policy.identity.ids = Some(65_536);
        policy.identity.user = Some(0);
        assert_eq!(told(&policy, None), [""; 0]);
    }

    #[test]
    fn a_second_wall_that_stands_in_the_way_or_is_missing_for_nothing_is_told() {
        let mut policy = worker();
        policy.access_rules = false;
        let mut all = told(&policy, None);
        std::sync::Arc::make_mut(&mut policy.syscalls).allow.push("move_mount".into());
        assert_eq!(told(&policy, None), [""; 0]);
        policy.access_rules = true;
        all.extend(told(&policy, None));
        insta::assert_snapshot!(all.join("\n"), @"
        filesystem.access_rules: only a program that mounts needs it off, and no call that mounts is allowed
        filesystem.access_rules: nobody can mount anything under it, so the calls that mount are allowed for nothing: set it to false, or leave them out
        ");
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let mut policy = worker().read("/usr/share");
        let path = "/etc/nobody".into();
        policy
            .filesystem
            .masks
            .push(crate::platform::Mask { path, kind: crate::platform::MaskKind::Hide });
        policy.environment.keep.push("PATH".into());
        let told = told(&policy, None);
        insta::assert_snapshot!(told.join("\n"), @"
        filesystem.read: `/usr/share` is shown by what stands above it already
        filesystem.deny: `/etc/nobody` isn't shown, so there is nothing to mask
        environment.keep: `PATH` is set too, so the caller's never counts
        ");
    }
}
