//! Hooks, commands inside and probes by commands, of a stack file and real processes.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::path::Path;
use std::time::Duration;
use stockade::supervisor::{Lines, Stack, State, Status, Supervisor};
use support::Scene;
use support::service::wait;

/// The only service of a stack, with this shell program and these lines.
fn start(scene: &Scene, program: &str, lines: &str) -> (Supervisor, Lines) {
    let path = scene.file(
        "stockade.toml",
        &format!(
            "[services.it]\npolicy = \"default\"\ncommand = [\"bash\", \"-c\", {program:?}]\n{lines}\n"
        ),
    );
    let stack = Stack::load(Path::new(&path), scene.path()).unwrap();
    Supervisor::start(&stack)
}

async fn line(lines: &mut Lines) -> String {
    let next = tokio::time::timeout(Duration::from_secs(120), lines.next());
    next.await.unwrap().unwrap().text
}

/// A hook that says its name.
fn echo(hook: &str) -> String {
    format!("{hook} = [\"bash\", \"-c\", \"echo $STOCKADE_HOOK {hook}\"]\n")
}

#[tokio::test(flavor = "current_thread")]
async fn hooks_come_before_and_after_and_what_waits_for_them_waits() {
    let scene = Scene::new();
    let hooks: String = ["pre_start", "post_stop"].map(echo).concat();
    let inside =
        "pre_stop = [\"bash\", \"-c\", \"cat /tmp/note; sleep 0.2; echo pre_stop is done\"]\n";
    let program = "echo note > /tmp/note; trap 'echo heard; exit' TERM; echo runs; while :; do sleep 0.02; done";
    let (team, mut lines) =
        start(&scene, program, &format!("[services.it.hooks]\n{hooks}{inside}"));
    assert_eq!(line(&mut lines).await, "pre_start pre_start");
    assert_eq!(line(&mut lines).await, "runs");
    let stopping = team.stop();
    let reading = async {
        for expected in ["note", "pre_stop is done", "heard", "post_stop post_stop"] {
            assert_eq!(line(&mut lines).await, expected);
        }
    };
    let (stopped, ()) = tokio::join!(stopping, reading);
    stopped.unwrap();
    assert_eq!(team.service("it").unwrap().status().state, State::Inactive);
}

#[tokio::test(flavor = "current_thread")]
async fn a_launch_fails_with_what_comes_before_it_and_that_is_ended_when_it_takes_too_long() {
    let scene = Scene::new();
    let restart = "restart = { start_attempts = 1, delay = \"1ms\" }";
    for (hook, why) in [
        ("[\"bash\", \"-c\", \"exit 3\"]", "`hooks.pre_start` exited with 3"),
        ("[\"sleep\", \"1000\"]", "`hooks.pre_start` took longer than 200ms"),
        ("[\"/no/such\"]", "`hooks.pre_start` wasn't launched: "),
    ] {
        let lines = format!("{restart}\nhooks = {{ pre_start = {hook}, timeout = \"200ms\" }}");
        let (team, _lines) = start(&scene, "sleep 1000", &lines);
        let status = wait(&team, Status::is_at_rest).await;
        assert!(status.why.contains(why), "{}", status.why);
        assert_eq!((status.state, status.generation.0), (State::Failed, 2));
    }
    // A stop needn't wait for it.
    let (team, _lines) = start(&scene, "sleep 1000", "hooks.pre_start = \"sleep 1000\"");
    wait(&team, |status| status.state == State::Starting).await;
    tokio::time::timeout(Duration::from_secs(20), team.stop()).await.unwrap().unwrap();
    assert_eq!(team.service("it").unwrap().status().state, State::Inactive);
}

#[tokio::test(flavor = "current_thread")]
async fn trouble_has_its_hooks_and_a_hook_that_fails_is_told() {
    let scene = Scene::new();
    let hooks = format!("{}on_restart = [\"bash\", \"-c\", \"exit 4\"]", echo("on_failure"));
    let program = "if [ -e x ]; then sleep 1000; fi; echo first; exit 1";
    let lines = format!("restart.delay = \"1s\"\n[services.it.hooks]\n{hooks}");
    let (team, mut lines) = start(&scene, program, &lines);
    assert_eq!(line(&mut lines).await, "first");
    assert_eq!(line(&mut lines).await, "on_failure on_failure");
    let told = "`on_restart` exited with 4";
    wait(&team, |status| status.error.as_deref() == Some(told)).await;
    team.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_command_inside_tells_whether_it_is_ready_and_has_it_read_its_settings() {
    let scene = Scene::new();
    let program = "sleep 0.3; touch /tmp/ready; while ! [ -e /tmp/new ]; do sleep 0.02; done; echo reloaded; sleep 1000";
    let lines = "readiness_probe = { exec = [\"test\", \"-e\", \"/tmp/ready\"], period = \"50ms\", timeout = \"20s\" }\nreload.command = \"touch /tmp/new\"";
    let (team, mut lines) = start(&scene, program, lines);
    wait(&team, |status| status.error.as_deref() == Some("exited with 1")).await;
    wait(&team, |status| status.ready).await;
    team.service("it").unwrap().reload().await.unwrap();
    assert_eq!(line(&mut lines).await, "reloaded");
    team.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn what_enters_just_when_all_is_killed_holds_nothing_up() {
    let scene = Scene::new();
    let (team, _lines) = start(
        &scene,
        "sleep 1000",
        "hooks.post_start = [\"/bin/true\"]\nstop.grace_period = \"0s\"\nrestart.policy = \"no\"",
    );
    let it = team.service("it").unwrap();
    // At another moment of the hook's way in each time.
    for turn in 0..40 {
        wait(&team, |status| status.state == State::Running).await;
        tokio::time::sleep(Duration::from_micros(turn * 100)).await;
        let killing = tokio::time::timeout(Duration::from_secs(60), it.kill());
        killing.await.unwrap_or_else(|_| panic!("{turn}: {:?}", it.status())).unwrap();
        it.start().await.unwrap();
    }
    team.kill().await.unwrap();
}
