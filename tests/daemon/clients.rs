//! The command line as the daemon's client.

use super::{Daemon, service, steady, stockade};
use crate::support::{self, Scene, processes_with};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn services_are_listed_stopped_started_and_all_of_it_ends() {
    let marker = format!("daemon-{}", std::process::id());
    let stack = [
        steady("web", "depends_on = [\"db\"]"),
        service(
            "db",
            &format!("trap 'exit 0' TERM; while :; do sleep 0.02; done # {marker}"),
            "description = \"data\"",
        ),
        service("setup", "exit 0", "type = \"oneshot\""),
    ];
    let daemon = Daemon::new(&stack.concat());
    daemon.said(&["wait", "web", "db", "setup"]);
    let listed = daemon.said(&["ps"]);
    for line in listed.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(listed.contains("completed") && listed.contains("running"), "{listed}");
    let web = daemon.service("web");
    assert_eq!((&web["state"], &web["health"]), (&"running".into(), &"healthy".into()));
    assert_eq!(web["depends_on"]["db"], "ready");
    assert!(web["pid"].is_u64() && web["uptime_s"].is_f64(), "{web}");

    assert_eq!(daemon.said(&["stop", "web"]), "web: inactive: asked to stop\n");
    daemon.said(&["wait", "--for", "stopped", "web"]);
    let told = daemon.refused(&["wait", "web"], 1);
    assert!(told.contains("web isn't ready: inactive: asked to stop"), "{told}");
    assert!(daemon.said(&["start", "web"]).starts_with("web: running: "));
    let before = daemon.service("web");
    daemon.said(&["restart", "web"]);
    let after = daemon.service("web");
    assert_eq!(after["restarts"]["asked"], 2);
    assert_ne!(before["pid"], after["pid"]);

    daemon.said(&["down"]);
    assert_eq!(processes_with(&marker), Vec::<u32>::new());
    let left = daemon.finish();
    assert_eq!(left.code, Some(0), "{}", left.stderr);
    assert!(!left.scene.path().join("api.sock").exists());
    let late = stockade(&left.scene, &["ps"]).output().unwrap();
    let told = String::from_utf8(late.stderr).unwrap();
    assert_eq!(late.status.code(), Some(125));
    assert!(told.contains("error: no daemon listens at `") && told.contains("hint: "), "{told}");
}

#[test]
fn what_fails_is_told_with_its_reason_and_what_takes_too_long_goes_on() {
    let stack = [
        service("bad", "exit 3", "enabled = false\nrestart = { policy = \"no\" }"),
        service("never", "exec sleep 1000", "enabled = false\ndepends_on = [\"bad\"]"),
        service(
            "deaf",
            "trap '' TERM; while :; do sleep 0.02; done",
            "stop = { grace_period = \"1h\" }",
        ),
    ];
    let daemon = Daemon::new(&stack.concat());
    let told = daemon.refused(&["start", "nobody"], 125);
    assert!(told.contains("there is no service `nobody`"), "{told}");
    let told = daemon.refused(&["start", "--timeout", "50ms", "never"], 124);
    assert!(told.contains("the time is over"), "{told}");
    assert_eq!(daemon.service("never")["why"], "waits for `bad` to be ready");
    // A program that exits with failure may have been ready for a moment.
    daemon.ask(&["start", "bad"]);
    daemon.said(&["wait", "--for", "stopped", "bad"]);
    let bad = daemon.service("bad");
    assert_eq!((&bad["state"], &bad["last"]["exit_code"]), (&"failed".into(), &3.into()));
    assert_eq!(bad["exits"]["exit_code"], 1);
    daemon.said(&["reset", "bad"]);
    assert_eq!(daemon.service("bad")["state"], "inactive");
    let told = daemon.refused(&["reload", "bad"], 1);
    assert!(told.contains("it can't reload: it is inactive (asked to forget)"), "{told}");
    let asked = daemon.said(&["stop", "--no-wait", "deaf"]);
    assert!(asked.starts_with("deaf: asked for, as operation "), "{asked}");
    assert_eq!(daemon.service("deaf")["state"], "stopping");
    daemon.said(&["kill", "deaf"]);
    assert_eq!(daemon.service("deaf")["last"]["signal"], 9);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().code, Some(0));
}

#[test]
fn a_service_stands_still_goes_on_and_hears_signals() {
    let stack = service(
        "web",
        "trap 'exit 0' TERM; trap 'exit 7' USR1; while :; do sleep 0.02; done",
        "restart = { policy = \"no\" }",
    );
    let daemon = Daemon::new(&stack);
    daemon.said(&["wait", "web"]);
    daemon.said(&["pause", "web"]);
    assert_eq!(daemon.service("web")["state"], "paused");
    daemon.said(&["resume", "web"]);
    let told = daemon.refused(&["signal", "NONE", "web"], 125);
    assert!(told.contains("`NONE` is no signal"), "{told}");
    daemon.said(&["signal", "USR1", "web"]);
    daemon.said(&["wait", "--for", "stopped", "web"]);
    assert_eq!(daemon.service("web")["last"]["exit_code"], 7);
    let told = daemon.refused(&["signal", "USR1", "web"], 1);
    assert!(told.contains("nothing of it runs: exited with 7"), "{told}");
    daemon.said(&["down"]);
}

#[test]
fn a_second_daemon_is_refused_and_one_that_was_killed_is_followed() {
    let marker = format!("follow-{}", std::process::id());
    let line = format!("trap 'exit 0' TERM; while :; do sleep 0.02; done # {marker}");
    let mut daemon = Daemon::new(&service("web", &line, ""));
    let second = daemon.refused(&["daemon", "--socket", &daemon.scene.at("api.sock")], 125);
    assert!(second.contains("error: another daemon listens at `"), "{second}");
    daemon.said(&["wait", "web"]);
    daemon.signal(Signal::SIGKILL);
    daemon.child.wait().unwrap();
    assert!(daemon.scene.path().join("api.sock").exists());
    let mut command =
        stockade(&daemon.scene, &["daemon", "--socket", &daemon.scene.at("api.sock")]);
    let next = command.spawn().unwrap();
    let ready = || daemon.ask(&["wait", "web"]).status.success();
    support::guarded(next.id(), || while !ready() {});
    daemon.said(&["down"]);
    let code = support::guarded(next.id(), || next.wait_with_output().unwrap().status.code());
    assert_eq!(code, Some(0));
}

#[test]
fn applying_a_stack_changes_only_what_has_changed() {
    let before = [steady("same", ""), steady("goes", ""), steady("other", "")];
    let daemon = Daemon::new(&before.concat());
    daemon.said(&["wait", "same", "goes", "other"]);
    let pid = |name: &str| daemon.service(name)["pid"].clone();
    let (same, other) = (pid("same"), pid("other"));
    let after = [
        steady("same", "restart = { delay = \"9s\" }"),
        steady("comes", "depends_on = [\"other\"]"),
        steady("other", "limits = { open_files = 100 }"),
    ];
    daemon.scene.file("stockade.toml", &after.concat());
    let told = daemon.said(&["config", "apply", "--dry-run"]);
    assert_eq!(
        told,
        "comes: would be added\ngoes: would be stopped and removed\n\
         other: would be restarted (policy)\nsame: would be changed as it runs (restart)\n"
    );
    assert_eq!(pid("goes"), daemon.service("goes")["pid"]);
    daemon.said(&["config", "apply"]);
    daemon.said(&["wait", "comes", "other"]);
    let listed: Value = serde_json::from_str(&daemon.said(&["ps", "--json"])).unwrap();
    let names: Vec<&str> = listed["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["comes", "other", "same"]);
    assert_eq!(pid("same"), same);
    assert_ne!(pid("other"), other);
    assert_eq!(daemon.said(&["config", "apply"]), "nothing has changed\n");
    // What is wrong changes nothing.
    daemon.scene.file("stockade.toml", "[services.same]\nkomand = 1\n");
    let told = daemon.refused(&["config", "apply"], 125);
    assert!(told.contains("`komand` is not a key of a service"), "{told}");
    daemon.signal(Signal::SIGHUP);
    assert_eq!(pid("same"), same);
    daemon.said(&["down"]);
    let left = daemon.finish();
    assert!(left.stderr.contains("what was in force stays so"), "{}", left.stderr);
}

#[test]
fn sandboxes_are_asked_as_before_where_no_service_has_their_name() {
    let scene = Scene::new();
    let mut started = support::Started::new(scene.command(
        &["--name", "other"],
        &["bash", "-c", "trap 'echo heard; exit' TERM; echo runs; while :; do sleep 0.02; done"],
    ));
    support::listed("other");
    let daemon = Daemon::new(&steady("web", ""));
    daemon.said(&["wait", "web"]);
    daemon.said(&["stop", "other", "web"]);
    assert_eq!(started.line(), "heard");
    started.finish(&scene).expect_code(0);
    assert_eq!(daemon.service("web")["state"], "inactive");
    let told = daemon.refused(&["stop", "--grace", "1s", "web"], 125);
    assert!(told.contains("`--grace` is for sandboxes, and `web` is a service"), "{told}");
    daemon.said(&["down"]);
}
