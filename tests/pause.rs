//! A whole tree that stands still, through the library.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::time::Duration;
use stockade::report::Cause;
use stockade::{Policy, Sandbox};
use support::{cgroup_of, skip};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::time::timeout;

/// Counts for ever, a line each, in a child of the program: what a signal to the program alone doesn't reach.
const COUNTER: &str = "(i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done) & wait";

/// Longer than anything takes but a sandbox that stands still.
const HUNG: Duration = Duration::from_secs(30);

type Output = Lines<BufReader<stockade::platform::OutputPipe>>;

/// A counter that has begun to count; none where it has no cgroup of its own, without which no tree is stopped.
async fn counter() -> Option<(Sandbox, Output)> {
    let policy = Policy::shipped("default").unwrap();
    let builder = Sandbox::builder(policy).command(["sh", "-c", COUNTER]).piped();
    let mut sandbox = builder.start().unwrap();
    let mut lines = BufReader::new(sandbox.stdout.take().unwrap()).lines();
    next(&mut lines).await.unwrap();
    (cgroup_of(sandbox.pid()) != cgroup_of(std::process::id())).then_some((sandbox, lines))
}

/// The next number, if one comes within two seconds: forty times as long as it takes.
async fn next(lines: &mut Output) -> Option<u64> {
    let line = timeout(Duration::from_secs(2), lines.next_line()).await.ok()?;
    line.unwrap()?.parse().ok()
}

#[tokio::test(flavor = "current_thread")]
async fn a_paused_tree_stands_still_and_goes_on_where_it_was() {
    let Some((mut sandbox, mut lines)) = counter().await else {
        skip!("delegation: sandboxes have no cgroup of their own here");
    };
    sandbox.pause().await.unwrap();
    // What was written before it stood still.
    let mut last = 1;
    while let Some(number) = next(&mut lines).await {
        last = number;
    }
    sandbox.resume().await.unwrap();
    assert_eq!(next(&mut lines).await, Some(last + 1));
    sandbox.kill().unwrap();
    let report = timeout(HUNG, sandbox.wait()).await.unwrap().unwrap();
    assert_eq!(report.cause, Cause::Stopped);
}

#[tokio::test(flavor = "current_thread")]
async fn a_paused_tree_can_be_killed() {
    let Some((mut sandbox, _lines)) = counter().await else {
        skip!("delegation: sandboxes have no cgroup of their own here");
    };
    sandbox.pause().await.unwrap();
    sandbox.kill().unwrap();
    let report = timeout(HUNG, sandbox.wait()).await.unwrap().unwrap();
    assert_eq!((report.cause, report.signal), (Cause::Stopped, Some(9)));
}

#[tokio::test(flavor = "current_thread")]
async fn a_paused_tree_hears_the_polite_signal_of_a_stop() {
    let Some((mut sandbox, _lines)) = counter().await else {
        skip!("delegation: sandboxes have no cgroup of their own here");
    };
    sandbox.pause().await.unwrap();
    let stopped = timeout(HUNG, sandbox.stop(Duration::from_secs(20)));
    let report = stopped.await.unwrap().unwrap();
    assert_eq!(report.signal, Some(15), "{report:?}");
}
