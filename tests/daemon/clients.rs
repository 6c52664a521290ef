//! The command line as the daemon's client.

use super::{Daemon, daemon_in, service, steady, stockade};
use crate::support::{self, Scene, processes_with};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

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
    assert_eq!((&web["state"], &web["health"]), (&"running".into(), &"unknown".into()));
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
    let first = u32::try_from(daemon.service("web")["pid"].as_u64().unwrap()).unwrap();
    if support::cgroup_of(first) == support::cgroup_of(std::process::id()) {
        daemon.said(&["down"]);
        support::skip!("delegation: sandboxes have no cgroup of their own here");
    }
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
    let (socket, other) = (daemon.scene.at("api.sock"), daemon.scene.at("other.sock"));
    let state = daemon.scene.at("state");
    let second = daemon.refused(&["daemon", "--socket", &socket, "--state", &state], 125);
    assert!(second.contains("error: another daemon listens at `"), "{second}");
    let second = daemon.refused(&["daemon", "--socket", &other, "--state", &state], 125);
    assert!(second.contains("error: another supervisor has the state in `"), "{second}");
    daemon.said(&["wait", "web"]);
    // What it is about to execute has its words for a moment, and comes after it.
    let program = || processes_with(&marker).first().copied();
    let (pid, before) = (daemon.service("web")["pid"].clone(), program());
    daemon.signal(Signal::SIGKILL);
    daemon.child.wait().unwrap();
    assert!(daemon.scene.path().join("api.sock").exists());
    let next = daemon_in(&daemon.scene).stderr(Stdio::null()).spawn().unwrap();
    let ready = || daemon.ask(&["wait", "web"]).status.success();
    support::guarded(next.id(), || while !ready() {});
    assert_eq!((&daemon.service("web")["pid"], program()), (&pid, before));
    // The same without any death: the program is executed anew as the same process.
    daemon.said(&["daemon", "reexec", "--socket", &socket]);
    daemon.said(&["wait", "web"]);
    assert_eq!((&daemon.service("web")["pid"], program()), (&pid, before));
    assert_eq!(daemon.get("/v1/status")["pid"], next.id());
    daemon.said(&["down"]);
    assert_eq!(processes_with(&marker), Vec::<u32>::new());
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
    // It is an operation like others, for whoever doesn't wait.
    let told = daemon.said(&["config", "apply", "--no-wait", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let id = &told["operation"]["id"];
    let operation = daemon.get(&format!("/v1/operations/{id}?wait=60s"));
    assert_eq!((&operation["verb"], &operation["state"]), (&"apply".into(), &"done".into()));
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
fn instances_of_a_service_are_services_of_their_own() {
    let daemon = Daemon::new(&steady("web", "replicas = 2"));
    daemon.said(&["wait", "web.1", "web.2"]);
    assert_eq!(daemon.said(&["stop", "web.2"]), "web.2: inactive: asked to stop\n");
    assert_eq!(daemon.said(&["config", "apply", "--dry-run"]), "nothing would change\n");
    daemon.said(&["down"]);
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

#[test]
fn a_service_manager_is_told_how_it_goes() {
    let scene = Scene::new();
    scene.file("stockade.toml", &steady("web", ""));
    let manager = UnixDatagram::bind(scene.at("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = daemon_in(&scene);
    command.env("NOTIFY_SOCKET", scene.at("notify")).env("WATCHDOG_USEC", "50000");
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let told = |wanted: &str| {
        let mut bytes = [0; 256];
        loop {
            let length = manager.recv(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            match text.lines().next() {
                Some(line) if line == wanted => return text,
                // It is said all the time.
                Some("WATCHDOG=1") => {}
                _ => panic!("{text} instead of {wanted}"),
            }
        }
    };
    told("READY=1");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    support::signal(child.id(), Signal::SIGHUP);
    assert!(told("RELOADING=1").contains("MONOTONIC_USEC="));
    told("READY=1");
    support::signal(child.id(), Signal::SIGTERM);
    told("STOPPING=1");
    assert_eq!(support::guarded(child.id(), || child.wait().unwrap()).code(), Some(0));
}

#[test]
fn the_command_line_has_completions_man_pages_and_a_unit_file() {
    let scene = Scene::new();
    let said = |arguments: &[&str]| {
        let output = stockade(&scene, arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(said(&["completions", shell]).contains("restart"), "{shell}");
    }
    assert!(said(&["man"]).contains(".TH stockade 1"));
    said(&["man", "--dir", scene.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(scene.at("stockade-daemon.1")).unwrap();
    assert!(page.contains("SIGHUP reads"), "{page}");
    let unit = said(&["daemon", "--systemd-unit", "--file", "web.toml"]);
    let start = format!(" daemon --file {}", scene.at("web.toml"));
    assert!(unit.contains(&start) && unit.contains("\nDelegate=yes\n"), "{unit}");
}

#[test]
fn a_service_runs_as_often_as_it_is_asked_to() {
    let stack = [
        steady("web", "replicas = 1"),
        steady("api", "replicas = 2"),
        steady("single", ""),
        steady("broken", "replicas = 0\nrestart.policy = \"no\"")
            .replace("[\"bash\"", "[\"/no/such/program\""),
    ];
    let scene = Scene::new();
    let log = scene.at("audit.jsonl");
    let daemon = Daemon::with(&stack.concat(), &["--audit", &log]);
    daemon.said(&["wait", "web.1", "api.1", "api.2", "single"]);
    let first = daemon.service("web.1")["pid"].clone();
    let told = daemon.said(&["scale", "web=3", "api=1"]);
    assert_eq!(told, "web: 3 of 3 ready\napi: 1 of 1 ready\n");
    assert_eq!(daemon.service("web.1")["pid"], first);
    let listed = daemon.said(&["ps", "web", "api"]);
    let names: Vec<&str> = listed.lines().skip(1).filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(names, ["web.1", "web.2", "web.3", "api.1"]);
    let replicas = &daemon.get("/v1/stack")["replicas"];
    assert_eq!(replicas["web"], serde_json::json!({ "desired": 3, "running": 3, "ready": 3 }));
    let told = daemon.said(&["scale", "--json", "web=0"]);
    let operation: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&operation["verb"], &operation["state"]), (&"scale".into(), &"done".into()));
    let told = daemon.refused(&["ps", "web.1"], 125);
    assert!(told.contains("there is no service `web.1`"), "{told}");

    let told = daemon.refused(&["scale", "web=1", "single=2"], 125);
    assert!(told.contains("`single` isn't one that runs several times"), "{told}");
    let told = daemon.refused(&["scale", "nobody=2"], 125);
    assert!(told.contains("there is no service `nobody`"), "{told}");
    assert_eq!(daemon.get("/v1/stack")["replicas"]["web"]["desired"], 0);
    let told = daemon.refused(&["scale", "api=2000"], 1);
    assert!(told.contains("2000 are too many"), "{told}");
    for wrong in ["web", "web=", "web=-1", "=1"] {
        daemon.refused(&["scale", wrong], 125);
    }
    let (status, body) = daemon.request("POST", "/v1/services/web/scale", "{\"replicas\":\"1\"}");
    assert!(status == 400 && body.contains("it names no `replicas`"), "{body}");
    let told = daemon.refused(&["scale", "broken=1"], 1);
    assert!(told.contains("/no/such/program"), "{told}");
    daemon.said(&["down"]);
    let audit = std::fs::read_to_string(&log).unwrap();
    let verbs: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked = verbs.iter().filter(|it| it["verb"] == "scale" && it["id"] == "web");
    assert_eq!(asked.count(), 4, "{audit}");
}
