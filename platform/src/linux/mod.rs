//! The Linux backend: control groups, namespaces, Landlock, seccomp.
//!
//! A launch flows through [`prepare`] (decide and allocate), [`cgroup`] (quotas, before a process exists), [`spawn`]
//! (clone and wait for exec) into [`running`]. What the child does is in the package `stockade-child`.

mod capabilities;
#[allow(dead_code, reason = "detection and watching use the rest")]
mod cgroup;
mod detect;
mod identity;
mod landlock;
mod ownership;
mod prepare;
mod processes;
mod reaped;
mod running;
mod script;
mod seccomp;
mod spawn;
mod streams;
mod text;
mod view;

use crate::{Backend, LaunchPlan, Launched, PlatformError, Probe, StdioSet, Support};
use crate::{Decision, Enforcement};
use cgroup::{Cgroup, LIMITS, NoTree, Tree};
use prepare::Prepared;
use running::LinuxRunning;
use std::sync::OnceLock;
use streams::Streams;

/// Launches into control groups and namespaces.
#[derive(Debug, Default)]
pub struct LinuxBackend {
    /// Found once: it is asked for its limits before each launch, and makes the group of each.
    tree: OnceLock<Result<Tree, NoTree>>,
}

impl LinuxBackend {
    /// The backend; looks at nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn tree(&self) -> &Result<Tree, NoTree> {
        self.tree.get_or_init(Tree::find)
    }
}

impl Backend for LinuxBackend {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn support(&self, probe: Probe) -> Support {
        detect::support(probe, self.tree())
    }

    fn explain(&self, plan: &LaunchPlan) -> Result<Vec<String>, PlatformError> {
        Ok(Prepared::new(plan)?.script.describe())
    }

    fn launch(&self, plan: &LaunchPlan, stdio: StdioSet) -> Result<Launched, PlatformError> {
        let mut prepared = Prepared::new(plan)?;
        let mut streams = Streams::open(stdio)?;
        streams.add_to(&mut prepared.script, plan.terminal);
        let (cgroup, quotas) = group_for(self.tree(), plan)?;
        let spawned = spawn::spawn(&prepared, cgroup.as_ref())?;
        streams.close_theirs();
        let mut enforcement = prepared.enforcement;
        enforcement.extend(quotas);
        enforcement.sort_by_key(|entry| entry.control);
        let mut spawned = spawned;
        let terminal = spawned.terminal.take();
        let running = Box::new(LinuxRunning::new(spawned, plan, cgroup, enforcement)?);
        let (stdin, stdout, stderr) = streams.into_pipes()?;
        Ok(Launched { running, stdin, stdout, stderr, terminal })
    }
}

/// The cgroup of a launch, with its limits in force; none where the host has no tree that this caller may use and the
/// plan needs none.
fn group_for(
    tree: &Result<Tree, NoTree>,
    plan: &LaunchPlan,
) -> Result<(Option<Cgroup>, Vec<Enforcement>), PlatformError> {
    match tree {
        Ok(tree) => tree.create(plan).map(|(cgroup, quotas)| (Some(cgroup), quotas)),
        Err(none) => match LIMITS
            .iter()
            .map(|(control, _)| control)
            .find(|control| plan.controls.get(control) == Some(&Decision::Enforce))
        {
            Some(control) => {
                Err(PlatformError::unsupported(*control, &none.reason).with_hint(&none.remedy))
            }
            None => Ok((None, Vec::new())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Bind, Control, HowEnded};
    use tokio::io::AsyncReadExt;

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_runs_behind_every_wall_and_its_end_is_told() {
        let command = ["/bin/sh", "-c", "id; cat /proc/self/status; ls -la / /dev; exit 7"];
        let mut plan = LaunchPlan::new("test-0001", command.map(Into::into).to_vec());
        let read = ["/usr", "/bin", "/lib", "/lib64"].map(|path| Bind::same(path, Access::Read));
        plan.filesystem.binds = read.to_vec();
        plan.filesystem.tmp = Some(crate::Tmp { size: crate::Bytes::mib(16) });
        plan.identity.hostname = Some("inside".into());
        let walls = Control::all().filter(|control| {
            !control.name().starts_with("limits.")
                && !matches!(control, Control::Clock | Control::Syscalls)
        });
        plan.controls = walls.map(|control| (control, Decision::Enforce)).collect();
        let mut launched = LinuxBackend::new().launch(&plan, StdioSet::piped()).unwrap();
        let mut text = String::new();
        launched.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
        let mut errors = String::new();
        launched.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
        let ended = launched.running.wait().await.unwrap();
        println!("{text}{errors}{ended:#?}{:#?}", launched.running.enforcement());
        assert_eq!(ended.how, HowEnded::Exited(7), "{text}{errors}");
    }
}
