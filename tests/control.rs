//! Sandboxes as another process of the same user sees them and ends them.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use support::{Scene, Started, cgroup_of, guarded, skip};

/// Runs `stockade` with these words.
fn stockade(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stockade")).args(words).output().unwrap()
}

#[track_caller]
fn good(words: &[&str]) -> String {
    let output = stockade(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(words: &[&str]) -> String {
    let output = stockade(words);
    assert_eq!(output.status.code(), Some(125), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A line of bash that runs as a sandbox of this name, and said `up`; the sandbox's id.
fn started(scene: &Scene, name: &str, flags: &[&str], line: &str) -> (Started, String) {
    let line = format!("echo up; {line}");
    let flags = [&["--name", name], flags].concat();
    let started = Started::new(scene.command(&flags, &["bash", "-c", &line]));
    let id = eventually(|| ids(name).into_iter().next());
    (started, id)
}

/// The program's first word may come before the sandbox is listed.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a directory's change is waited for in one place only"
)]
fn eventually<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What `stats` says of the sandboxes of this name; tests run side by side.
fn statuses(name: &str, words: &[&str]) -> Vec<Value> {
    let text = good(&[&["stats", "--json"], words].concat());
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|status| status["id"].as_str().unwrap().starts_with(&format!("{name}-"))).collect()
}

fn ids(name: &str) -> Vec<String> {
    let all = statuses(name, &[]);
    all.iter().map(|status| status["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_runs_is_listed_with_its_limits_its_use_and_its_processes_until_it_ends() {
    let scene = Scene::new();
    let flags = ["--memory", "512MiB", "--cpu-time", "1h"];
    let (run, id) = started(&scene, "listed", &flags, "sleep 1000.25 & read");
    // The shell may have said its word before its child became `sleep`, and that fell asleep.
    let status = eventually(|| {
        let status = statuses("listed", &["--processes", &id]).remove(0);
        let asleep =
            |process: &&Value| process["command"] == "sleep 1000.25" && process["state"] == "S";
        status["processes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|process| asleep(&process))
            .then_some(status)
    });
    assert_eq!(status["version"], 1);
    assert_eq!((&status["policy"], &status["paused"]), (&"default".into(), &false.into()));
    assert_eq!(status["limits"]["memory"], 512 << 20);
    assert_eq!(status["command"][0], "bash");
    assert!(status["age_s"].as_f64() > Some(0.0), "{status}");
    let processes = status["processes"].as_array().unwrap();
    let sleep = processes.iter().find(|process| process["command"] == "sleep 1000.25").unwrap();
    assert_eq!((&sleep["state"], &sleep["threads"]), (&"S".into(), &1.into()));
    assert!(sleep["memory_bytes"].as_u64() > Some(4096), "{sleep}");
    let shell = processes.iter().find(|process| process["pid"] == sleep["parent"]).unwrap();
    assert!(shell["command"].as_str().unwrap().starts_with("bash -c"), "{shell}");
    assert_eq!(status["pid"], shell["parent"]);
    let table = good(&["stats", &id]);
    assert!(
        table.contains(&id) && table.contains("running") && table.contains("512MiB"),
        "{table}"
    );

    // The end of its input is the end of `read`.
    run.finish(&scene).expect_code(1);
    assert_eq!(ids("listed"), [""; 0]);
    assert!(refused(&["stats", &id]).contains("no sandbox of this user is called"));
}

#[test]
fn a_sandbox_is_paused_and_goes_on() {
    let scene = Scene::new();
    let line = "while read line; do echo got $line; done";
    let (mut run, id) = started(&scene, "paused", &[], line);
    let first = statuses("paused", &[]).remove(0)["pid"].as_u64().unwrap();
    if cgroup_of(u32::try_from(first).unwrap()) == cgroup_of(std::process::id()) {
        good(&["kill", &id]);
        run.finish(&scene).expect_code(137);
        skip!("delegation: sandboxes have no cgroup of their own here");
    }
    good(&["pause", &id]);
    assert_eq!(statuses("paused", &[])[0]["paused"], true);
    run.say("one\n");
    good(&["resume", &id]);
    assert_eq!(run.line(), "got one");
    assert_eq!(statuses("paused", &[])[0]["paused"], false);
    // What stands still can be stopped politely.
    good(&["pause", &id]);
    good(&["stop", &id]);
    let ended = run.finish(&scene).expect_code(143);
    assert_eq!(ended.reported("/cause"), "stopped", "{}", ended.told());
}

#[test]
fn stopping_asks_first_and_says_so_and_the_command_returns_when_it_is_over() {
    let scene = Scene::new();
    let line = "trap 'echo tidied; exit 5' TERM; while :; do read -t 1; done";
    let (run, id) = started(&scene, "polite", &["--grace", "60s"], line);
    good(&["stop", &id]);
    assert_eq!(ids("polite"), [""; 0]);
    let ended = run.finish(&scene).expect_code(5);
    assert_eq!((ended.reported("/cause"), &*ended.stdout), (&"stopped".into(), &b"tidied\n"[..]));

    let line = "trap '' TERM; while :; do read -t 1; done";
    let (run, id) = started(&scene, "deaf", &["--grace", "60s"], line);
    good(&["stop", "--grace", "100ms", &id]);
    let ended = run.finish(&scene).expect_code(137);
    assert_eq!(
        (ended.reported("/cause"), ended.reported("/signal")),
        (&"stopped".into(), &9.into())
    );

    let (run, id) = started(&scene, "killed", &[], "read");
    good(&["kill", &id]);
    let ended = run.finish(&scene).expect_code(137);
    assert_eq!(ended.reported("/cause"), "stopped", "{}", ended.told());
    // Without a request the same signal is just a signal.
    let ended = scene.bash(&[], "kill -KILL $$").expect_code(137);
    assert_eq!(ended.reported("/cause"), "signalled");
}

#[test]
fn a_name_may_be_cut_as_long_as_it_means_one() {
    let scene = Scene::new();
    let (one, first) = started(&scene, "cut-one", &[], "read");
    let (two, second) = started(&scene, "cut-two", &[], "read");
    let told = refused(&["kill", "cut-"]);
    assert!(told.contains("`cut-` is the beginning of 2 sandboxes"), "{told}");
    assert!(told.contains(&first) && told.contains(&second), "{told}");
    // Nothing is touched when one of several names is wrong.
    let told = refused(&["kill", &first, "nobody"]);
    assert!(told.contains("called `nobody`") && told.contains("`stockade stats` lists"), "{told}");
    assert_eq!(ids("cut-one"), [first]);
    good(&["kill", "cut-o"]);
    good(&["kill", "cut-t"]);
    one.finish(&scene).expect_code(137);
    two.finish(&scene).expect_code(137);
}

/// The directory of this user's sandboxes.
fn directory() -> PathBuf {
    stockade::platform::RuntimeDir::place()
}

#[test]
fn the_name_of_a_run_that_was_killed_is_removed_by_the_next_and_never_one_alive() {
    let scene = Scene::new();
    let (alive, living) = started(&scene, "alive", &[], "read");
    let (mut killed, dead) = started(&scene, "dead", &[], "read");
    let name = |id: &str| directory().join(format!("{id}.sock"));
    killed.signal(Signal::SIGKILL);
    guarded(killed.child.id(), || killed.child.wait().unwrap());
    assert_eq!(ids("dead"), [""; 0]);
    scene.bash(&[], "true").expect_code(0);
    assert!(!name(&dead).exists() && name(&living).exists());
    alive.finish(&scene).expect_code(1);
    assert!(!name(&living).exists());
}

#[test]
fn what_is_not_understood_is_answered_and_hurts_nobody() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    let scene = Scene::new();
    let (run, id) = started(&scene, "confused", &[], "read");
    let mut stream = UnixStream::connect(directory().join(format!("{id}.sock"))).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    for wrong in ["", "{", "{\"ask\":\"status\"}", "{\"ask\":\"nothing\"}", "[1, 2]"] {
        stream.write_all(format!("{wrong}\n").as_bytes()).unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["answer"], "failed", "{wrong}: {answer}");
    }
    stream.write_all(b"{\"ask\":\"status\",\"processes\":false}\n").unwrap();
    let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
    assert_eq!(answer["status"]["id"], id.as_str());
    // A line without an end is cut, and so is the visitor.
    stream.write_all(&[b'x'; 10_000]).unwrap();
    run.finish(&scene).expect_code(1);
}
