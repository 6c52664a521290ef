//! From a policy and what the host can do to a launch plan. Pure: it reads nothing and changes nothing.

use crate::platform::{Availability, Control, Decision, LaunchPlan, Network, Support};
use crate::policy::Policy;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

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
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    control: Control,
    reason: String,
    remedy: String,
}

impl Unsupported {
    /// The controls that can't be enforced.
    pub fn controls(&self) -> impl Iterator<Item = Control> {
        self.missing.iter().map(|missing| missing.control)
    }

    /// What mends it, and what would accept it.
    pub fn hint(&self) -> Option<String> {
        let mut hints: Vec<&str> = Vec::new();
        for missing in &self.missing {
            if !missing.remedy.is_empty() && !hints.contains(&missing.remedy.as_str()) {
                hints.push(&missing.remedy);
            }
        }
        let names: Vec<String> = self.controls().map(|control| format!("\"{control}\"")).collect();
        let accept = format!("accept it in the policy: `[degrade] allow = [{}]`", names.join(", "));
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
        for (place, missing) in self.missing.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "{} can't be enforced here: {}", missing.control, missing.reason)?;
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
    let mut missing = Vec::new();
    for control in Control::all().filter(|control| asks_for(policy, *control)) {
        let accepted = policy.degrade.contains(&control);
        let decision = match support.of(control) {
            Availability::Enforced => Decision::Enforce,
            Availability::Degraded { how, reason, .. } if accepted => {
                Decision::Degrade { how, reason }
            }
            Availability::Unavailable { reason, .. } if accepted => Decision::Skip { reason },
            Availability::Degraded { reason, remedy, .. }
            | Availability::Unavailable { reason, remedy } => {
                missing.push(Missing { control, reason, remedy });
                continue;
            }
        };
        plan.controls.insert(control, decision);
    }
    if !missing.is_empty() {
        return Err(Unsupported { missing });
    }
    plan.environment = policy.environment.resolve(request.environment);
    plan.limits = policy.limits.clone();
    plan.filesystem = policy.filesystem.clone();
    if plan.filesystem.workdir.is_none() {
        plan.filesystem.workdir = request.working_directory.filter(|path| is_visible(policy, path));
    }
    plan.network = policy.network;
    plan.identity = policy.identity.clone();
    plan.capabilities = policy.capabilities.clone();
    plan.syscalls = policy.syscalls.clone();
    plan.clock = policy.clock;
    plan.init = policy.init;
    plan.terminal = request.terminal;
    Ok(plan)
}

/// Whether a policy asks for a control: limits that it sets, and every wall.
fn asks_for(policy: &Policy, control: Control) -> bool {
    let limits = &policy.limits;
    match control {
        Control::Memory => limits.memory.is_some(),
        Control::MemoryHigh => limits.memory_high.is_some(),
        Control::Swap => limits.swap.is_some(),
        Control::Cpu => limits.cpu.is_some(),
        Control::CpuWeight => limits.cpu_weight.is_some(),
        Control::Pids => limits.pids.is_some(),
        Control::OpenFiles => limits.open_files.is_some(),
        Control::FileSize => limits.file_size.is_some(),
        Control::CoreSize => limits.core_size.is_some(),
        Control::WallTime => limits.wall_time.is_some(),
        Control::CpuTime => limits.cpu_time.is_some(),
        Control::Clock => policy.clock.monotonic != 0 || policy.clock.boottime != 0,
        Control::Network => policy.network != Network::Host,
        _ => true,
    }
}

/// Whether a path is at or below one that the policy shows.
fn is_visible(policy: &Policy, path: &Path) -> bool {
    policy.filesystem.binds.iter().any(|bind| path.starts_with(&bind.target))
}

/// A new id: the given name or the program's, and four hex digits.
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
    let random = RandomState::new().hash_one(std::process::id()) & 0xffff;
    format!("{name}-{random:04x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_safe_as_a_directory_name() {
        for (name, program, start) in [
            (None, Some("/usr/bin/python3"), "python3-"),
            (Some("my job/../x"), None, "myjob..x-"),
            (Some("../.."), None, "sandbox-"),
            (None, None, "sandbox-"),
        ] {
            let id = new_id(name, program.map(OsStr::new));
            assert!(id.starts_with(start) && id.len() == start.len() + 4, "{id}");
        }
    }
}
