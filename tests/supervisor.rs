//! One program that is kept running, by real processes.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::process::Command;
use std::time::Duration;
use stockade::Policy;
use stockade::platform::Network;
use stockade::supervisor::{
    Controller, ControllerBuilder, Outcome, Probe, Restart, State, Status, TcpCheck,
};
use support::{PYTHON, processes_with, signal};

fn keep(line: &str) -> ControllerBuilder {
    let policy = Policy::shipped("default").unwrap();
    let controller = Controller::new(policy, ["bash", "-c", line]);
    controller.retry_every(Duration::from_millis(20)).grace(Duration::from_millis(300))
}

async fn reaches(controller: &Controller, generation: u64) -> Status {
    let is = |status: &Status| status.ready && status.generation.0 >= generation;
    let reached = tokio::time::timeout(Duration::from_secs(60), controller.wait_for(is));
    reached.await.expect("it is started again").unwrap()
}

/// What it wrote, when all of it is there.
async fn written(controller: &Controller, least: usize) -> String {
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..6000 {
        let captured = controller.output();
        if captured.bytes.len() >= least {
            return String::from_utf8(captured.bytes).unwrap();
        }
        pause.tick().await;
    }
    panic!("{:?}", controller.output());
}

#[tokio::test(flavor = "current_thread")]
async fn what_ends_is_started_again_and_what_it_wrote_is_kept() {
    let controller = keep("echo again; exit 3").start();
    let status = reaches(&controller, 4).await;
    assert_eq!(status.last, Some(Outcome::Exited(3)));
    let status = controller.stop().await.unwrap();
    assert!(status.is_at_rest() && status.pid.is_none());
    assert!(written(&controller, 18).await.starts_with("again\nagain\nagain\n"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_killed_program_is_started_again_and_there_are_never_two() {
    let marker = format!("1000.{}", std::process::id());
    let controller = keep(&format!("exec sleep {marker}")).start();
    for generation in 1..4 {
        let status = reaches(&controller, generation).await;
        assert_eq!(status.generation.0, generation);
        let pid = sleeper(&marker).await;
        signal(pid, nix::sys::signal::Signal::SIGKILL);
        controller.wait_for(|status| status.generation.0 > generation).await.unwrap();
    }
    assert_eq!(controller.status().last, Some(Outcome::Signalled(9)));
    controller.kill().await.unwrap();
    assert_eq!(processes_with(&marker), Vec::<u32>::new());
}

/// The one `sleep` with this marker, when there is one: the shell becomes it a moment after its own start.
async fn sleeper(marker: &str) -> u32 {
    let is_sleep = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    };
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..6000 {
        let found: Vec<u32> = processes_with(marker).into_iter().filter(is_sleep).collect();
        assert!(found.len() <= 1, "{found:?}");
        if let [pid] = found[..] {
            return pid;
        }
        pause.tick().await;
    }
    panic!("no sleep {marker}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_stop_leaves_nothing_of_a_tree_that_does_not_listen() {
    let marker = format!("1001.{}", std::process::id());
    let line = format!("trap '' TERM; (setsid sleep {marker} &); echo up; sleep {marker}");
    let controller = keep(&line).start();
    written(&controller, 3).await;
    let status = controller.stop().await.unwrap();
    assert_eq!((status.state, status.last), (State::Inactive, Some(Outcome::StopTimedOut)));
    assert_eq!(processes_with(&marker), Vec::<u32>::new());
    // One that listens ends by itself.
    let controller = keep("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done")
        .grace(Duration::from_secs(60))
        .start();
    written(&controller, 3).await;
    assert_eq!(controller.stop().await.unwrap().last, Some(Outcome::Exited(7)));
}

#[tokio::test(flavor = "current_thread")]
async fn what_can_not_be_launched_is_given_up_with_the_reason() {
    let policy = Policy::shipped("default").unwrap();
    let mut restart = Restart::default();
    (restart.delay, restart.start.attempts) = (Duration::from_millis(1), 2);
    let controller = Controller::new(policy, ["/no/such/program"]).restart(restart).start();
    let error = controller.ready().await.unwrap_err().to_string();
    assert!(error.contains("/no/such/program") && error.contains("no more than 2"), "{error}");
    assert_eq!(controller.status().generation.0, 3);
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_is_ready_when_it_takes_connections_and_started_again_when_it_no_longer_does() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let code = format!(
        "import socket, time
time.sleep(0.3)
server = socket.create_server(('127.0.0.1', {port}), reuse_port=True)
for _ in range(20): server.accept()
server.close(); time.sleep(1000)"
    );
    let policy = Policy::shipped("default").unwrap().network(Network::Host);
    let check = TcpCheck(([127, 0, 0, 1], port).into());
    let mut probe = Probe::every(Duration::from_millis(50));
    (probe.failure_threshold, probe.timeout) = (2, Duration::from_secs(20));
    let mut startup = probe.clone();
    startup.failure_threshold = 10_000;
    let controller = Controller::new(policy, [PYTHON, "-c", &code])
        .retry_every(Duration::from_millis(20))
        .startup(check, startup)
        .readiness(check, probe.clone())
        .liveness(check, probe)
        .start();
    reaches(&controller, 1).await;
    let status = reaches(&controller, 2).await;
    assert_eq!(status.last, Some(Outcome::Liveness));
    assert!(status.error.is_some_and(|error| error.contains("no connection to 127.0.0.1")));
    controller.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn it_goes_with_its_last_handle() {
    let marker = format!("1002.{}", std::process::id());
    let controller = keep(&format!("sleep {marker}; true")).start();
    sleeper(&marker).await;
    drop(controller);
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..6000 {
        if processes_with(&marker).is_empty() {
            // Nothing of it stands in the list of sandboxes, either.
            let list = Command::new(env!("CARGO_BIN_EXE_stockade")).arg("stats").output().unwrap();
            assert!(!String::from_utf8_lossy(&list.stdout).contains(&marker));
            return;
        }
        pause.tick().await;
    }
    panic!("{:?}", processes_with(&marker));
}
