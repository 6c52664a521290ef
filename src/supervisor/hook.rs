//! Commands that are run when something happens to a service: which, and how.
//!
//! A hook is not trusted more than its service: it runs under the service's own policy, in a sandbox of its own or, where the
//! service must be there for it, inside of the service's. What it writes comes with the service's lines. A hook that takes too
//! long is killed.

use super::lifecycle::{Lifecycle, State};
use crate::error::Error;
use crate::platform::{BoxFuture, Execution, HowEnded, Stdio, StdioSet};
use crate::sandbox::Sandbox;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;
use tokio::time::timeout;

/// When a hook is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// Before each launch, which waits for it, and fails with it.
    PreStart,
    /// When its program is executed; inside.
    PostStart,
    /// Before it is asked to end, which waits for it; inside. Its grace goes on meanwhile.
    PreStop,
    /// When nothing of a run is left; it has ended when this has.
    PostStop,
    /// When it can be used.
    OnReady,
    /// When a probe says that it isn't well.
    OnUnhealthy,
    /// When a run has failed.
    OnFailure,
    /// When it is launched after trouble.
    OnRestart,
}

impl Hook {
    /// All of them, with the words of a stack file.
    pub const ALL: [(&str, Self); 8] = [
        ("pre_start", Self::PreStart),
        ("post_start", Self::PostStart),
        ("pre_stop", Self::PreStop),
        ("post_stop", Self::PostStop),
        ("on_ready", Self::OnReady),
        ("on_unhealthy", Self::OnUnhealthy),
        ("on_failure", Self::OnFailure),
        ("on_restart", Self::OnRestart),
    ];

    /// As it is written in a stack file.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, hook)| *hook == self).map_or("", |(word, _)| word)
    }

    /// Whether it runs inside of the service's own sandbox.
    pub(super) fn is_inside(self) -> bool {
        matches!(self, Self::PostStart | Self::PreStop)
    }
}

/// The hooks of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hooks {
    /// What is run for each.
    pub commands: BTreeMap<Hook, Vec<OsString>>,
    /// How long each may take.
    pub timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { commands: BTreeMap::new(), timeout: Duration::from_secs(30) }
    }
}

/// What of a lifecycle decides about hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) state: State,
    pub(super) launched: bool,
    pub(super) live: bool,
    pub(super) ready: bool,
    /// Whether the present run is one after trouble.
    pub(super) again: bool,
}

impl Moment {
    pub(super) fn of(life: &Lifecycle, launched: bool) -> Self {
        Self {
            state: life.state(),
            launched,
            live: life.is_live(),
            ready: life.is_ready(),
            again: life.trouble().is_some(),
        }
    }
}

/// What is to be run for what happened between two moments; what a launch or an end waits for isn't among it. Pure.
pub(super) fn due(before: Moment, now: Moment) -> Vec<Hook> {
    let failed = |moment: Moment| matches!(moment.state, State::Backoff | State::Failed);
    [
        (Hook::OnRestart, now.again && now.launched && !before.launched),
        (Hook::PostStart, now.launched && now.live && !before.launched),
        (Hook::OnReady, now.ready && !before.ready),
        (Hook::OnFailure, failed(now) && !failed(before)),
    ]
    .into_iter()
    .filter_map(|(hook, is_due)| is_due.then_some(hook))
    .collect()
}

/// How the streams of a command inside are; what it writes is read as the service's, or by nobody.
pub(super) fn streams(read: bool) -> StdioSet {
    let out = || if read { Stdio::Piped } else { Stdio::Null };
    StdioSet { stdin: Stdio::Null, stdout: out(), stderr: out(), ..StdioSet::default() }
}

/// Runs a hook in a sandbox of its own to its end.
pub(super) async fn alone(mut sandbox: Sandbox, patience: Duration) -> Result<(), String> {
    match timeout(patience, sandbox.wait()).await {
        // Dropped, it is gone.
        Err(_) => Err(format!("took longer than {patience:?}")),
        Ok(Err(error)) => Err(error.chain()),
        Ok(Ok(report)) if report.success() => Ok(()),
        Ok(Ok(report)) => Err(super::outcome::Outcome::of(&report).to_string()),
    }
}

/// Runs a hook inside of the service's sandbox to its end; `tell` has its streams.
pub(super) async fn inside(
    entering: BoxFuture<'static, Result<Execution, Error>>,
    tell: impl FnOnce(&mut Execution),
    patience: Duration,
) -> Result<(), String> {
    let running = async {
        let mut execution = entering.await.map_err(|error| error.chain())?;
        tell(&mut execution);
        match execution.wait().await {
            Ok(HowEnded::Exited(0)) => Ok(()),
            Ok(HowEnded::Exited(code)) => Err(format!("exited with {code}")),
            Ok(HowEnded::Signaled(number) | HowEnded::Denied(number)) => {
                Err(format!("ended by signal {number}"))
            }
            Ok(_) => Err("ended in a way that nobody knows".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    timeout(patience, running)
        .await
        .unwrap_or_else(|_| Err(format!("took longer than {patience:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(state: State, launched: bool, ready: bool) -> Moment {
        let live = matches!(state, State::Starting | State::Running | State::Stopping);
        Moment { state, launched, live, ready, again: false }
    }

    #[test]
    fn each_hook_has_its_moment() {
        let pending = moment(State::Pending, false, false);
        let starting = moment(State::Starting, true, false);
        let running = moment(State::Running, true, true);
        let backoff = moment(State::Backoff, false, false);
        let table = [
            (pending, running, vec![Hook::PostStart, Hook::OnReady]),
            (pending, starting, vec![Hook::PostStart]),
            (starting, running, vec![Hook::OnReady]),
            (running, running, vec![]),
            (running, backoff, vec![Hook::OnFailure]),
            (running, moment(State::Inactive, false, false), vec![]),
            // A launch that failed was no run.
            (moment(State::Starting, false, false), backoff, vec![Hook::OnFailure]),
            (
                Moment { again: true, ..pending },
                Moment { again: true, ..starting },
                vec![Hook::OnRestart, Hook::PostStart],
            ),
        ];
        for (before, now, hooks) in table {
            assert_eq!(due(before, now), hooks, "{before:?} {now:?}");
        }
    }
}
