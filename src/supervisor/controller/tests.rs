//! One program kept running, on a backend that does what it is told.

use super::super::health::Vitals;
use super::super::lifecycle::State;
use super::super::outcome::Outcome;
use super::super::restart::Budget;
use super::*;
use crate::platform::BoxFuture;
use crate::platform::fake::{FakeBackend, FakeHandle, Scripted};
use crate::platform::{Ended, HowEnded};
use std::sync::Mutex;
use tokio::time::{Instant, sleep};

/// A program on a backend that does what it is told, with a clock that moves when nothing else does.
fn controller(backend: &Arc<FakeBackend>, restart: Restart) -> Controller {
    let policy = Policy::shipped("default").unwrap();
    Controller::new(policy, ["true"]).restart(restart).backend(backend.clone()).start()
}

fn plain() -> Restart {
    Restart { jitter: 0.0, ..Restart::default() }
}

fn newest(backend: &FakeBackend) -> FakeHandle {
    backend.launched().pop().unwrap()
}

async fn runs_again(controller: &Controller, generation: u64) {
    let is = |status: &Status| status.ready && status.generation.0 == generation;
    controller.wait_for(is).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_started_again_after_growing_delays_until_it_is_given_up() {
    let backend = Arc::new(FakeBackend::new());
    let restart = Restart { run: Budget::new(3, Duration::from_secs(300)), ..plain() };
    let controller = controller(&backend, restart);
    let mut delays = Vec::new();
    for generation in 1.. {
        runs_again(&controller, generation).await;
        let end = Instant::now();
        newest(&backend).end(Ended::new(HowEnded::Exited(1)));
        let next = |status: &Status| status.generation.0 > generation || status.is_at_rest();
        if controller.wait_for(next).await.unwrap().is_at_rest() {
            break;
        }
        delays.push(end.elapsed().as_millis());
    }
    assert_eq!(delays, [500, 1000, 2000]);
    let status = controller.status();
    assert_eq!((status.state, status.last), (State::Failed, Some(Outcome::Exited(1))));
    assert_eq!(status.why, "exited with 1; no more than 3 attempts are made");
    assert_eq!(status.report.unwrap().exit_code, Some(1));
    assert!(controller.ready().await.is_err());
    assert_eq!(backend.launched().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_a_polite_request_then_a_kill_and_it_stays_so() {
    let backend = Arc::new(FakeBackend::new());
    let controller = controller(&backend, Restart::every(Duration::from_secs(1)));
    controller.ready().await.unwrap();
    let before = Instant::now();
    let status = controller.stop().await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 30);
    assert_eq!((status.state, status.last), (State::Inactive, Some(Outcome::StopTimedOut)));
    let signals = newest(&backend).signals();
    assert_eq!(signals, [Signal::Terminate, Signal::Continue, Signal::Kill]);
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(backend.launched().len(), 1);
    controller.start().await.unwrap();
    runs_again(&controller, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_fails_is_an_attempt_and_its_reason_is_told() {
    let backend = Arc::new(FakeBackend::new());
    let failure = || crate::platform::PlatformError::invalid("no more processes");
    for _ in 0..2 {
        backend.script(Scripted::Fails(failure()));
    }
    let controller = controller(&backend, plain());
    let waits = |status: &Status| status.state == State::Backoff;
    let status = controller.wait_for(waits).await.unwrap();
    assert!(status.why.contains("no more processes"), "{}", status.why);
    assert_eq!(controller.ready().await.unwrap().attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn it_stands_still_and_goes_on_and_reads_its_settings() {
    let backend = Arc::new(FakeBackend::new());
    let controller = controller(&backend, plain());
    controller.ready().await.unwrap();
    controller.pause().await.unwrap();
    assert_eq!(controller.status().state, State::Paused);
    controller.resume().await.unwrap();
    controller.reload().await.unwrap();
    assert_eq!(controller.status().state, State::Running);
    let signals = newest(&backend).signals();
    assert_eq!(signals, [Signal::Stop, Signal::Continue, Signal::Hangup]);
    assert_eq!(controller.kill().await.unwrap().last, Some(Outcome::Signalled(9)));
}

/// Says what it is told to say, and counts how often it was asked.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    trouble: Option<String>,
    asked: usize,
    last_error: Option<String>,
}

impl Told {
    fn say(&self, trouble: Option<&str>) {
        self.0.lock().unwrap().trouble = trouble.map(str::to_owned);
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    /// What it was told of the look before the last one.
    fn last_error(&self) -> Option<String> {
        self.0.lock().unwrap().last_error.clone()
    }
}

impl HealthCheck for Told {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        let mut told = self.0.lock().unwrap();
        told.asked += 1;
        let answer = told.trouble.clone().map_or(Ok(()), Err);
        let silent = answer == Err("silence".to_owned());
        told.last_error.clone_from(&vitals.last_error);
        Box::pin(async move {
            if silent {
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

fn looked_at(backend: &Arc<FakeBackend>) -> ControllerBuilder {
    let policy = Policy::shipped("default").unwrap();
    Controller::new(policy, ["true"]).restart(plain()).backend(backend.clone())
}

#[tokio::test(start_paused = true)]
async fn it_has_started_when_the_probe_says_so_and_is_tried_again_where_it_gives_up() {
    let (backend, told) = (Arc::new(FakeBackend::new()), Told::default());
    told.say(Some("not yet"));
    let begin = Instant::now();
    let controller = looked_at(&backend).startup(told.clone(), Probe::default()).start();
    let stops = |status: &Status| status.state == State::Stopping;
    let status = controller.wait_for(stops).await.unwrap();
    // At once, after ten seconds, and after ten more.
    assert_eq!((told.asked(), begin.elapsed().as_secs()), (3, 20));
    assert_eq!(told.last_error().as_deref(), Some("not yet"));
    assert_eq!(status.error.as_deref(), Some("not yet"));
    newest(&backend).end(Ended::new(HowEnded::Exited(0)));
    told.say(None);
    let status = controller.ready().await.unwrap();
    assert_eq!((status.generation.0, status.last), (2, Some(Outcome::StartupProbe)));
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(told.asked(), 4, "it has started");
}

#[tokio::test(start_paused = true)]
async fn readiness_comes_and_goes_and_liveness_ends_it() {
    let backend = Arc::new(FakeBackend::new());
    let (ready, alive) = (Told::default(), Told::default());
    ready.say(Some("warming up"));
    let controller = looked_at(&backend)
        .readiness(ready.clone(), Probe::every(Duration::from_secs(1)))
        .liveness(alive.clone(), Probe::default())
        .start();
    sleep(Duration::from_millis(3500)).await;
    let status = controller.status();
    assert_eq!((status.state, status.ready), (State::Running, false));
    ready.say(None);
    controller.ready().await.unwrap();
    // A look that never comes back is a failure when its time is over.
    ready.say(Some("silence"));
    let status = controller.wait_for(|status| !status.ready).await.unwrap();
    assert_eq!((status.state, status.error), (State::Running, Some("no answer within 1s".into())));
    // What stands still isn't looked at.
    controller.pause().await.unwrap();
    let asked = alive.asked();
    sleep(Duration::from_secs(500)).await;
    assert_eq!(alive.asked(), asked);
    alive.say(Some("stuck"));
    controller.resume().await.unwrap();
    let stops = |status: &Status| status.state == State::Stopping;
    let status = controller.wait_for(stops).await.unwrap();
    assert_eq!(status.why, "its liveness probe failed");
    newest(&backend).end(Ended::new(HowEnded::Exited(0)));
    let status = controller.wait_for(|status| status.generation.0 == 2).await.unwrap();
    assert_eq!(status.last, Some(Outcome::Liveness));
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_another_run_and_no_attempt() {
    let backend = Arc::new(FakeBackend::new());
    let controller = controller(&backend, plain());
    controller.ready().await.unwrap();
    controller.restart().await.unwrap();
    assert_eq!(controller.status().state, State::Stopping);
    newest(&backend).end(Ended::new(HowEnded::Exited(0)));
    runs_again(&controller, 2).await;
    assert_eq!(controller.status().attempts, 0);
}
