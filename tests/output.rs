//! The limit on what a program writes to its standard streams.

#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use stockade::platform::{self, Bytes};
use stockade::report::Cause;
use stockade::{Policy, Sandbox};
use support::{Outcome, Scene, guarded};

#[track_caller]
fn is_over(run: Outcome, passed: u64) -> Outcome {
    let run = run.expect_code(137);
    assert_eq!(run.reported("/cause"), "limit_exceeded", "{}", run.told());
    assert_eq!(run.reported("/limit"), "limits.output");
    assert_eq!(run.reported("/output_bytes"), passed, "{}", run.told());
    run
}

#[test]
fn exactly_the_limit_is_passed_on_and_one_byte_more_ends_it() {
    let scene = Scene::new();
    let run = scene.bash(&["--output", "1000B"], "head -c 1000 /dev/zero").expect_code(0);
    assert_eq!((run.stdout.len(), run.reported("/output_bytes")), (1000, &1000.into()));
    assert_eq!(run.reported("/enforcement/limits.output/state"), "enforced");

    let run = is_over(scene.bash(&["--output", "1000B"], "head -c 1001 /dev/zero"), 1000);
    assert_eq!(run.stdout.len(), 1000);

    let free = scene.bash(&[], "head -c 1001 /dev/zero").expect_code(0);
    assert_eq!((free.stdout.len(), free.reported("/output_bytes")), (1001, &().into()));
}

#[test]
fn both_streams_count_and_nothing_is_mixed() {
    let scene = Scene::new();
    let line = "printf %0600d 0; printf %0600d 1 >&2; sleep 1000";
    let run = is_over(scene.bash(&["--output", "1000B"], line), 1000);
    let (stdout, stderr) = (run.stdout.len(), run.stderr.len());
    assert!(stdout <= 600 && stderr <= 600 && stdout + stderr == 1000, "{}", run.told());
    assert!(run.stdout.iter().all(|byte| *byte == b'0'));

    let free = scene.bash(&["--output", "1KiB"], "echo out; echo error >&2").expect_text("out\n");
    assert_eq!(free.stderr, "error\n");
}

#[test]
fn a_program_that_never_stops_writing_is_ended() {
    let scene = Scene::new();
    let run = is_over(scene.run(&["--output", "5MiB"], &["yes"]), 5 << 20);
    assert_eq!(run.stdout.len(), 5 << 20);
    // Nothing at all may be written.
    is_over(scene.bash(&["--output", "0B"], "echo"), 0);
    scene.bash(&["--output", "0B"], "true").expect_text("");
    // What is thrown away doesn't count.
    scene.bash(&["--output", "0B"], "head -c 1000 /dev/zero > /dev/null").expect_text("");
}

#[test]
fn a_reader_that_leaves_is_seen_by_the_program() {
    let scene = Scene::new();
    let mut command = scene.command(&["--output", "1GiB"], &["yes"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    guarded(child.id(), || screen.read_line(&mut line).unwrap());
    drop(screen);
    let run = scene.outcome(format!("{command:?}"), child).expect_code(141);
    assert_eq!(run.reported("/cause"), "signalled", "{}", run.told());
}

fn policy(most: u64) -> Policy {
    let mut policy = Policy::load("default", &[], Path::new("/")).unwrap();
    policy.limits.output = Some(Bytes(most));
    policy
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_caller_reads_itself_is_cut_there_too() {
    let over = Sandbox::builder(policy(1000)).command(["yes"]).piped().start();
    let (report, output) = over.unwrap().output().await.unwrap();
    assert_eq!((report.cause, output.stdout.len()), (Cause::LimitExceeded, 1000));
    let within = Sandbox::builder(policy(1000)).command(["echo", "hello"]).piped().start();
    let (report, output) = within.unwrap().output().await.unwrap();
    assert!(report.success());
    assert_eq!((report.output_bytes, &*output.stdout), (Some(6), &b"hello\n"[..]));
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_holds_all_that_may_be_written_when_the_end_is_told() {
    let scene = Scene::new();
    let path = scene.path().join("out");
    let file = platform::Stdio::File(File::create(&path).unwrap());
    let started = Sandbox::builder(policy(100_000)).command(["yes"]).stdout(file).start();
    let report = started.unwrap().wait().await.unwrap();
    let mut text = Vec::new();
    File::open(&path).unwrap().read_to_end(&mut text).unwrap();
    assert_eq!((report.cause, text.len()), (Cause::LimitExceeded, 100_000));
}
