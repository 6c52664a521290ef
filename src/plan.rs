//! From a policy and what the host can do to a launch plan. Pure: it reads nothing and changes nothing.

use crate::network::{self, PROXY_PORT};
use crate::platform::{
    Availability, Control, Decision, Hidden, LaunchPlan, Network, Secret, SecretSource, Support,
};
use crate::policy::Policy;
use crate::ports;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is to be launched, as far as the policy doesn't say it.
#[derive(Clone, Debug, Default)]
pub struct LaunchRequest {
    /// Name of the sandbox; see [`new_id`].
    pub id: String,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// The caller's environment, of which the policy keeps what it names.
    pub environment: Vec<(OsString, OsString)>,
    /// The caller's working directory, in which the program starts when it is visible inside.
    pub working_directory: Option<PathBuf>,
    /// Whether the program gets a terminal of its own.
    pub terminal: bool,
}

/// A policy that asks for more than the host can do: every such control, not just the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    missing: Vec<Missing>,
    /// The backend that would launch it, if the policy accepted all that is missing there.
    fallback: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    control: Control,
    reason: String,
    remedy: String,
    /// Whether nothing is launched without it, whatever the policy accepts.
    needed: bool,
}

impl Unsupported {
    /// The controls that can't be enforced.
    pub fn controls(&self) -> impl Iterator<Item = Control> {
        self.missing.iter().map(|missing| missing.control)
    }

    /// The same, where another backend could be accepted instead.
    pub(crate) fn or_by(self, fallback: &'static str) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// What mends it, and what would accept it.
    pub fn hint(&self) -> Option<String> {
        let mut hints: Vec<&str> = Vec::new();
        for missing in &self.missing {
            if !missing.remedy.is_empty() && !hints.contains(&missing.remedy.as_str()) {
                hints.push(&missing.remedy);
            }
        }
        // Accepting it wouldn't help.
        if self.missing.iter().any(|missing| missing.needed) {
            let instead = self.fallback.map(|name| {
                format!(
                    "or accept by name, in the policy's `[degrade] allow`, all that the {name} backend lacks: `stockade doctor --backend \
                     {name}` lists it"
                )
            });
            hints.extend(instead.as_deref());
            hints.push("`stockade doctor` tells more");
            return Some(hints.join("\n"));
        }
        let names: Vec<String> = self.controls().map(|control| format!("\"{control}\"")).collect();
        let flags: Vec<String> =
            self.controls().map(|control| format!("--degrade {control}")).collect();
        let accept = format!(
            "accept it by name: `{}`, or in the policy `[degrade] allow = [{}]`",
            flags.join(" "),
            names.join(", ")
        );
        Some(
            hints
                .into_iter()
                .chain([accept.as_str(), "`stockade doctor` tells more"])
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One cause takes all walls of namespaces away, and is told once; each limit is a key of its own.
        let mut rest: Vec<&Missing> = self.missing.iter().collect();
        while let Some(first) = rest.first().copied() {
            let together = |other: &&Missing| {
                let walls = !(first.control.is_limit() || other.control.is_limit());
                other.control == first.control || (walls && other.reason == first.reason)
            };
            let names: Vec<&str> =
                rest.iter().filter(|it| together(it)).map(|it| it.control.name()).collect();
            if rest.len() < self.missing.len() {
                writeln!(f)?;
            }
            write!(f, "{} can't be enforced here: {}", names.join(", "), first.reason)?;
            rest.retain(|it| !together(it));
        }
        Ok(())
    }
}

impl std::error::Error for Unsupported {}

/// Decides every control that the policy asks for, and puts the plan together.
///
/// # Errors
/// When the host can't enforce a control and the policy doesn't accept that by name.
pub fn compile(
    policy: &Policy,
    support: &Support,
    request: LaunchRequest,
) -> Result<LaunchPlan, Unsupported> {
    let mut plan = LaunchPlan::new(request.id, request.command);
    plan.backend.clone_from(&support.backend);
    let mut missing = Vec::new();
    for control in Control::all().filter(|control| asks_for(policy, *control)) {
        let needed = support.needed.contains(&control);
        let accepted = policy.degrade.contains(&control) && !needed;
        let availability = match control {
            // Whoever may map several ids may also drop the caller's groups in the same step.
            Control::Groups if has_several_ids(policy, support) => Availability::Enforced,
            // Where there is a wall before the network, the rate is held at it.
            Control::NetworkSend
                if policy.network == Network::Host
                    && support.of(Control::Network) == Availability::Enforced =>
            {
                Availability::Unavailable {
                    reason: "the program sends by the host's network itself, where nobody counts"
                        .into(),
                    remedy: "set `network.mode` to `filtered`".into(),
                }
            }
            _ => support.of(control),
        };
        let decision = match availability {
            Availability::Enforced => Decision::Enforce,
            Availability::Degraded { how, reason, .. } if accepted => {
                Decision::Degrade { how, reason }
            }
            Availability::Unavailable { reason, .. } if accepted => Decision::Skip { reason },
            Availability::Degraded { reason, remedy, .. }
            | Availability::Unavailable { reason, remedy } => {
                missing.push(Missing { control, reason, remedy, needed });
                continue;
            }
        };
        plan.controls.insert(control, decision);
    }
    if !missing.is_empty() {
        return Err(Unsupported { missing, fallback: None });
    }
    plan.secrets =
        policy.secrets.iter().map(|secret| resolved(secret, &request.environment)).collect();
    let enforced = |control: &Control| plan.controls.get(control) == Some(&Decision::Enforce);
    plan.accepted = policy.degrade.iter().copied().filter(enforced).collect();
    plan.environment = policy.environment.resolve(request.environment);
    plan.limits = policy.limits.clone();
    plan.filesystem = policy.filesystem.clone();
    if plan.filesystem.workdir.is_none() {
        plan.filesystem.workdir = request.working_directory.filter(|path| is_visible(policy, path));
    }
    plan.network = policy.network;
    plan.tcp = policy.tcp.clone();
    if policy.network == Network::Filtered
        && plan.controls.get(&Control::Network) == Some(&Decision::Enforce)
    {
        plan.allow = policy.allow.clone();
        plan.publish = policy.publish.clone();
        plan.proxy = Some(PROXY_PORT);
        plan.environment = network::with_proxies(plan.environment, &policy.environment);
    }
    plan.identity = policy.identity.clone();
    plan.capabilities = policy.capabilities.clone();
    plan.syscalls = policy.syscalls.clone();
    if policy.tcp.is_limited() {
        Arc::make_mut(&mut plan.syscalls).rules.splice(..0, ports::rules());
    }
    plan.clock = policy.clock;
    plan.init = policy.init;
    plan.terminal = request.terminal;
    Ok(plan)
}

/// A secret with its content, where that is a variable of the caller's that is set.
fn resolved(secret: &Secret, environment: &[(OsString, OsString)]) -> Secret {
    let value = match &secret.source {
        SecretSource::Variable(name) => {
            environment.iter().find(|(known, _)| known == name.as_str())
        }
        _ => None,
    };
    match value {
        Some((_, value)) => {
            let content = Hidden(value.as_encoded_bytes().to_vec());
            Secret { name: secret.name.clone(), source: SecretSource::Content(content) }
        }
        None => secret.clone(),
    }
}

/// Whether a policy asks for a control: limits that it sets, and every wall.
fn asks_for(policy: &Policy, control: Control) -> bool {
    match control {
        Control::Clock => policy.clock.monotonic != 0 || policy.clock.boottime != 0,
        Control::Network => policy.network != Network::Host,
        Control::TcpPorts => policy.tcp.is_limited(),
        Control::Overlay => policy.filesystem.copies(),
        Control::AccessRules => policy.access_rules,
        Control::Ids => policy.identity.several().is_some(),
        limit if limit.is_limit() => policy.limits.sets(limit),
        _ => true,
    }
}

/// Whether the sandbox will have more users and groups than the program's own.
fn has_several_ids(policy: &Policy, support: &Support) -> bool {
    policy.identity.several().is_some() && support.of(Control::Ids) == Availability::Enforced
}

/// Whether a path is at or below one that the policy shows.
fn is_visible(policy: &Policy, path: &Path) -> bool {
    policy.filesystem.binds.iter().any(|bind| path.starts_with(&bind.target))
}

/// A new id: the given name or the program's, and eight hex digits.
///
/// Only letters, digits, `-`, `_` and `.` of the name stay, and at most 48 of them, since it names directories.
pub fn new_id(name: Option<&str>, program: Option<&OsStr>) -> String {
    use std::hash::{BuildHasher, RandomState};
    let program =
        program.and_then(|program| Path::new(program).file_name()).map(OsStr::to_string_lossy);
    let name = name.or(program.as_deref()).unwrap_or("sandbox");
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name.chars().filter(plain).take(48).collect();
    let name = name.trim_start_matches('.');
    let name = if name.is_empty() { "sandbox" } else { name };
    // The standard library's hasher is keyed with random numbers of the system.
    let random = RandomState::new().hash_one(std::process::id()) & 0xffff_ffff;
    format!("{name}-{random:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that can do everything but what is named, of which it can do `Some` less or `None` at all.
    fn host(less: &[(Control, Option<&str>)]) -> Support {
        let mut support = Support::default();
        support.backend = "test".into();
        support.controls =
            Control::all().map(|control| (control, Availability::Enforced)).collect();
        for (control, how) in less {
            let reason = format!("no {control} here");
            let remedy = "boot another kernel".to_owned();
            let availability = match how {
                Some(how) => Availability::Degraded { how: (*how).into(), reason, remedy },
                None => Availability::Unavailable { reason, remedy },
            };
            support.controls.insert(*control, availability);
        }
        support
    }

    fn request() -> LaunchRequest {
        LaunchRequest {
            id: "job-0001".into(),
            command: vec!["echo".into(), "hello".into()],
            environment: vec![("TERM".into(), "xterm".into()), ("SECRET".into(), "x".into())],
            working_directory: Some("/srv/app/sub".into()),
            terminal: false,
        }
    }

    fn policy(name: &str) -> Policy {
        Policy::load(name, &[], Path::new("/srv/app")).unwrap()
    }

    #[test]
    fn a_host_that_can_do_all_enforces_all_that_is_asked_for() {
        let plan = compile(&policy("worker"), &host(&[]), request()).unwrap();
        assert!(plan.controls.values().all(|decision| *decision == Decision::Enforce));
        let asked: Vec<&str> = plan.controls.keys().map(|control| control.name()).collect();
        insta::assert_snapshot!(asked.join("\n"), @"
        limits.memory
        limits.swap
        limits.cpu
        limits.cpu_weight
        limits.pids
        limits.open_files
        limits.file_size
        limits.core_size
        limits.wall_time
        lifetime
        isolation.processes
        isolation.ipc
        isolation.hostname
        isolation.quota_view
        filesystem.view
        filesystem.access_rules
        network.mode
        identity.user
        identity.groups
        capabilities
        no_new_privileges
        descriptors
        syscalls
        ");
        // What the plan has of the policy and the request.
        assert_eq!(plan.filesystem.workdir, Some("/srv/app/sub".into()));
        assert_eq!(plan.limits, policy("worker").limits);
        assert!(plan.environment.contains(&("TERM".into(), "xterm".into())));
        assert!(!plan.environment.iter().any(|(name, _)| name == "SECRET"));
    }

    #[test]
    fn what_is_not_asked_for_is_no_control() {
        let open = policy("worker").network(Network::Host);
        let plan =
            compile(&open, &host(&[(Control::Clock, None), (Control::Network, None)]), request());
        let controls = plan.unwrap().controls;
        for control in [Control::Network, Control::Clock, Control::MemoryHigh] {
            assert!(!controls.contains_key(&control), "{control}");
        }
        let mut late = policy("worker");
        late.clock.boottime = 60;
        let error = compile(&late, &host(&[(Control::Clock, None)]), request()).unwrap_err();
        assert_eq!(error.controls().collect::<Vec<_>>(), [Control::Clock]);
    }

    #[test]
    fn a_rate_is_held_before_a_network_of_its_own_or_by_a_host_without_one() {
        let mut slow = policy("worker").network(Network::Filtered);
        slow.limits.network_send = Some("1MiB/s".parse().unwrap());
        let plan = compile(&slow, &host(&[]), request()).unwrap();
        assert_eq!(plan.controls[&Control::NetworkSend], Decision::Enforce);
        let open = slow.network(Network::Host);
        let error = compile(&open, &host(&[]), request()).unwrap_err();
        assert_eq!(error.controls().collect::<Vec<_>>(), [Control::NetworkSend]);
        assert!(error.hint().unwrap().starts_with("set `network.mode` to `filtered`"));
        // Windows has no such wall, and its jobs have a rate.
        let plan = compile(&open, &host(&[(Control::Network, None)]), request()).unwrap();
        assert_eq!(plan.controls[&Control::NetworkSend], Decision::Enforce);
    }

    #[test]
    fn several_ids_bring_the_right_to_drop_groups_where_they_can_be_had() {
        let mut several = policy("worker");
        several.degrade.clear();
        several.identity.ids = Some(65_536);
        let stay = (Control::Groups, Some("they stay"));
        let plan = compile(&several, &host(&[stay]), request()).unwrap();
        assert_eq!(plan.controls[&Control::Groups], Decision::Enforce);
        assert_eq!(plan.controls[&Control::Ids], Decision::Enforce);
        let none = host(&[stay, (Control::Ids, None)]);
        let error = compile(&several, &none, request()).unwrap_err();
        assert_eq!(error.controls().collect::<Vec<_>>(), [Control::Ids, Control::Groups]);
        several.identity.ids = Some(1);
        let error = compile(&several, &none, request()).unwrap_err();
        assert_eq!(error.controls().collect::<Vec<_>>(), [Control::Groups]);
    }

    #[test]
    fn every_control_that_can_not_be_enforced_is_told_at_once_with_its_remedy() {
        let less =
            [(Control::Memory, Some("watched")), (Control::Pids, None), (Control::Syscalls, None)];
        let error = compile(&policy("worker"), &host(&less), request()).unwrap_err();
        insta::assert_snapshot!(error, @"
        limits.memory can't be enforced here: no limits.memory here
        limits.pids can't be enforced here: no limits.pids here
        syscalls can't be enforced here: no syscalls here
        ");
        insta::assert_snapshot!(error.hint().unwrap(), @r#"
        boot another kernel
        accept it by name: `--degrade limits.memory --degrade limits.pids --degrade syscalls`, or in the policy `[degrade] allow = ["limits.memory", "limits.pids", "syscalls"]`
        `stockade doctor` tells more
        "#);
    }

    #[test]
    fn one_cause_is_told_once_and_what_cant_be_accepted_isnt_offered() {
        let mut support = host(&[]);
        for control in [Control::Processes, Control::Network, Control::User] {
            let (reason, remedy) = ("they are off".to_owned(), "turn them on".to_owned());
            support.controls.insert(control, Availability::Unavailable { reason, remedy });
        }
        support.needed = [Control::User].into();
        // And it isn't accepted.
        let lenient = policy("worker").degrade(Control::User);
        let error = compile(&lenient, &support, request()).unwrap_err();
        assert!(error.controls().any(|control| control == Control::User), "{error}");
        let error = compile(&policy("worker"), &support, request()).unwrap_err();
        insta::assert_snapshot!(error, @"isolation.processes, network.mode, identity.user can't be enforced here: they are off");
        insta::assert_snapshot!(error.hint().unwrap(), @"
        turn them on
        `stockade doctor` tells more
        ");
    }

    #[test]
    fn what_the_policy_accepts_by_name_is_degraded_or_skipped_with_the_reason() {
        let less = [(Control::Memory, Some("watched")), (Control::Pids, None)];
        let lenient = policy("worker").degrade(Control::Memory).degrade(Control::Pids);
        let plan = compile(&lenient, &host(&less), request()).unwrap();
        let degraded =
            Decision::Degrade { how: "watched".into(), reason: "no limits.memory here".into() };
        assert_eq!(plan.controls[&Control::Memory], degraded);
        assert_eq!(
            plan.controls[&Control::Pids],
            Decision::Skip { reason: "no limits.pids here".into() }
        );
        assert_eq!(plan.controls[&Control::Syscalls], Decision::Enforce);
    }

    #[test]
    fn a_control_that_a_host_does_not_speak_of_is_refused() {
        let mut support = host(&[]);
        support.controls.remove(&Control::Descriptors);
        let error = compile(&policy("default"), &support, request()).unwrap_err();
        let expected = "descriptors can't be enforced here: the test backend doesn't have it";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn every_wall_is_asked_for_by_every_shipped_policy() {
        let limits = |control: &Control| control.name().starts_with("limits.");
        let asked = |control: &Control| {
            let wishes = [Control::Clock, Control::Overlay, Control::Ids, Control::TcpPorts];
            !wishes.contains(control)
        };
        let walls = Control::all().filter(|control| !limits(control) && asked(control));
        let walls: Vec<Control> = walls.collect();
        for (name, _) in crate::policy::shipped() {
            let plan = compile(&policy(name), &host(&[]), request()).unwrap();
            for wall in &walls {
                let open = name == "service" && *wall == Control::Network;
                assert!(open || plan.controls.contains_key(wall), "{name} doesn't ask for {wall}");
            }
        }
    }

    #[test]
    fn a_program_starts_where_its_caller_is_only_if_that_is_visible() {
        let start = |policy: &Policy, place: &str| {
            let request = LaunchRequest { working_directory: Some(place.into()), ..request() };
            compile(policy, &host(&[]), request).unwrap().filesystem.workdir
        };
        let mut own = policy("worker");
        assert_eq!(start(&own, "/srv/app"), Some("/srv/app".into()));
        assert_eq!(start(&own, "/srv/apple"), None);
        own.filesystem.workdir = Some("/usr".into());
        assert_eq!(start(&own, "/srv/app"), Some("/usr".into()));
    }

    #[test]
    fn an_id_is_safe_as_a_directory_name() {
        for (name, program, start) in [
            (None, Some("/usr/bin/python3"), "python3-"),
            (Some("my job/../x"), None, "myjob..x-"),
            (Some("../.."), None, "sandbox-"),
            (None, None, "sandbox-"),
        ] {
            let id = new_id(name, program.map(OsStr::new));
            assert!(id.starts_with(start) && id.len() == start.len() + 8, "{id}");
        }
    }
}
