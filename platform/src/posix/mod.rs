//! What any Unix can do: limits that each process carries along (setrlimit(2)), a session of its own, and looks at what the tree
//! uses. A tree has no name: its processes are found one by one.
//!
//! It is the backend of macOS, and on Linux one to choose by name (`--backend posix`), where all but `darwin` is tried. `system` has
//! what either tells of its processes in its own way; `tree` knows which of them belong to a sandbox, `limits` what each carries,
//! `child` is its way from fork to exec. On macOS there is one wall, `seatbelt`, for files and the network.

mod child;
mod limits;
mod running;
mod seatbelt;
mod support;
#[cfg_attr(target_os = "linux", path = "procfs.rs")]
#[cfg_attr(target_os = "macos", path = "darwin.rs")]
mod system;
mod tree;

use crate::{
    Backend, Control, Decision, Enforcement, Gate, LaunchPlan, Launched, PlatformError, Probe,
    State, StdioSet, Support,
};
use running::PosixRunning;
#[cfg(all(test, target_os = "linux"))]
pub(crate) use support::at_best;

/// Launches programs under what any Unix can hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct PosixBackend(());

impl PosixBackend {
    /// The backend; nothing is looked at yet.
    pub fn new() -> Self {
        Self(())
    }
}

impl Backend for PosixBackend {
    fn name(&self) -> &'static str {
        "posix"
    }

    fn support(&self, _: Probe) -> Support {
        support::support(rustix::process::geteuid().is_root())
    }

    fn explain(&self, plan: &LaunchPlan) -> Result<Vec<String>, PlatformError> {
        check(plan)?;
        let mut lines = vec!["begin a session".to_owned()];
        lines.extend(limits::of(plan).iter().map(ToString::to_string));
        lines.extend(child::last_steps(plan)?);
        Ok(lines)
    }

    fn launch(&self, plan: &LaunchPlan, stdio: StdioSet) -> Result<Launched, PlatformError> {
        check(plan)?;
        if !stdio.passed.is_empty() {
            return Err(PlatformError::invalid("descriptors can't be passed by this backend"));
        }
        let limits = limits::of(plan);
        let (child, pipes) = child::start(plan, &limits, stdio)?;
        let enforcement = enforcement(plan, &limits);
        let running = PosixRunning::new(child, enforcement)?;
        Ok(Launched {
            running: Box::new(running),
            stdin: pipes.stdin,
            stdout: pipes.stdout,
            stderr: pipes.stderr,
            terminal: None,
            gate: Gate::default(),
        })
    }
}

/// Refuses what is no control of its own, and would be missing without a word.
fn check(plan: &LaunchPlan) -> Result<(), PlatformError> {
    let cannot = |what: &str| {
        let message = format!("the posix backend can't do this: {what}");
        Err(PlatformError::invalid(message)
            .with_hint("take it out of the policy, or use Linux' own"))
    };
    match plan {
        _ if plan.terminal => cannot("a terminal of the program's own"),
        _ if plan.watch || plan.trace => cannot("watching what the program wishes for"),
        _ if plan.lasting.is_some() => cannot("a sandbox that outlives its starter"),
        _ if !plan.secrets.is_empty() => cannot("secrets, which need a view of files"),
        _ => Ok(()),
    }
}

/// What is in force: what the child set and read back, or this process looks after.
fn enforcement(plan: &LaunchPlan, limits: &[limits::Carried]) -> Vec<Enforcement> {
    let of = |(control, decision): (&Control, &Decision)| match decision {
        Decision::Enforce => {
            let carried = limits.iter().find(|limit| limit.control == *control);
            let how = carried.map_or(support::how(*control), |limit| limit.name);
            let entry = Enforcement::new(*control, State::Enforced, how);
            match carried {
                Some(limit) => entry.with_value(limit.soft),
                None => entry,
            }
        }
        Decision::Degrade { how, reason } => {
            Enforcement::new(*control, State::Degraded, format!("{how} ({reason})"))
        }
        Decision::Skip { reason } => Enforcement::new(*control, State::Unavailable, reason),
    };
    plan.controls.iter().map(of).collect()
}
