//! What is done when a service reaches a limit that the kernel holds.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::path::Path;
use stockade::platform::Control;
use stockade::supervisor::{Outcome, Stack, State, Status, Supervisor};
use support::service::wait;
use support::{PYTHON, Scene, lacks, skip};

/// Starts children until it may not, and goes on.
const FORKS: &str = "
import os, time
while True:
    try:
        if os.fork() == 0: time.sleep(1000)
    except OSError: time.sleep(0.05)";

/// The only service of a stack, with few processes, and this done about it.
fn start(scene: &Scene, measure: &str) -> Supervisor {
    let path = scene.file(
        "stockade.toml",
        &format!(
            "[services.it]\npolicy = \"default\"\ncommand = [\"{PYTHON}\", \"-c\", {FORKS:?}]\n\
             limits.pids = 12\non_violation.pids = \"{measure}\"\nstop.grace_period = \"200ms\"\nrestart.delay = \"1ms\"\n"
        ),
    );
    let stack = Stack::load(Path::new(&path), scene.path()).unwrap();
    Supervisor::start(&stack).0
}

#[tokio::test(flavor = "current_thread")]
async fn a_limit_that_is_reached_has_the_consequence_that_was_asked_for() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: {why}");
    }
    let scene = Scene::new();
    let told = "it was refused a process, by `limits.pids`";
    let team = start(&scene, "log");
    let status = wait(&team, |status| status.error.as_deref() == Some(told)).await;
    assert_eq!((status.state, status.generation.0), (State::Running, 1));
    team.kill().await.unwrap();
    for measure in ["restart", "kill"] {
        let team = start(&scene, measure);
        let status = wait(&team, |status| status.generation.0 >= 2).await;
        assert_eq!(status.last, Some(Outcome::Limit(Control::Pids)), "{measure}");
        team.kill().await.unwrap();
    }
    let team = start(&scene, "stop");
    let status = wait(&team, Status::is_at_rest).await;
    assert_eq!((status.state, status.generation.0), (State::Failed, 1));
    assert_eq!(status.why, "exceeded `limits.pids`");
    let team = start(&scene, "freeze");
    let status = wait(&team, |status| status.state == State::Paused).await;
    assert_eq!(status.why, "it exceeded `limits.pids`");
    team.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_throttle_takes_half_of_the_cpu() {
    for control in ["limits.pids", "limits.cpu"] {
        if let Some(why) = lacks(control) {
            skip!("pids and cpu: {why}");
        }
    }
    let scene = Scene::new();
    let team = start(&scene, "throttle");
    let told = "it was refused a process, by `limits.pids`; its CPU time is halved";
    wait(&team, |status| status.error.as_deref() == Some(told)).await;
    team.kill().await.unwrap();
}
