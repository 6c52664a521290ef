//! Alerts: real services, a daemon that is asked and killed, and a webhook of the test's own that holds what comes against the form.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

#[path = "alerts/files.rs"]
mod files;
#[path = "alerts/receivers.rs"]
mod receivers;
#[path = "alerts/webhook.rs"]
mod webhook;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Output, Stdio};
use support::daemon::{self, Answering, answering, daemon_in, stockade};
use support::desk::eventually;
use support::{PYTHON, Scene, lacks, signal, skip};
use webhook::Webhook;

/// A daemon of this test; its services and it are gone when it is dropped.
struct Daemon {
    scene: Scene,
    child: Child,
    stderr: BufReader<ChildStderr>,
}

/// A service that has failed at once, and stays so.
fn bad(name: &str) -> String {
    format!(
        "[services.{name}]\npolicy = \"default\"\ncommand = [\"bash\", \"-c\", \"exit 3\"]\nrestart.policy = \"no\"\n"
    )
}

/// One that runs until it is asked to end.
fn steady(name: &str, rest: &str) -> String {
    let line = "trap 'exit 0' TERM; while :; do sleep 0.02; done";
    format!(
        "[services.{name}]\npolicy = \"default\"\ncommand = [\"bash\", \"-c\", {line:?}]\n{rest}\n"
    )
}

/// A receiver by HTTP.
fn hook(webhook: &Webhook) -> String {
    format!("[alert_receivers.hook]\ntype = \"webhook\"\nurl = \"{}\"\n", webhook.url())
}

fn started(scene: &Scene) -> (Child, BufReader<ChildStderr>) {
    let mut command = daemon_in(scene);
    command.args(["--audit", "audit.jsonl"]);
    let Answering { child, stderr, .. } = answering(command);
    (child, stderr)
}

impl Daemon {
    fn new(stack: &str) -> Self {
        Self::of(Scene::new(), stack)
    }

    fn of(scene: Scene, stack: &str) -> Self {
        scene.file("stockade.toml", stack);
        let (child, stderr) = started(&scene);
        Self { scene, child, stderr }
    }

    /// Kills it, and starts the next one with its state.
    fn killed_and_started(&mut self) {
        signal(self.child.id(), nix::sys::signal::Signal::SIGKILL);
        self.child.wait().unwrap();
        (self.child, self.stderr) = started(&self.scene);
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        daemon::ask(&self.scene, arguments)
    }

    #[track_caller]
    fn said(&self, arguments: &[&str]) -> String {
        daemon::said(&self.scene, arguments)
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32) -> String {
        daemon::refused(&self.scene, arguments, code)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.said(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap()
    }

    /// The state of the alert of a rule; none where there is none.
    fn state(&self, rule: &str) -> Option<String> {
        self.alert(rule).map(|alert| alert["state"].as_str().unwrap().to_owned())
    }

    fn alert(&self, rule: &str) -> Option<Value> {
        let all = self.json(&["alerts"]);
        let all = all["alerts"].as_array().unwrap();
        all.iter().find(|alert| alert["labels"]["alertname"] == rule).cloned()
    }

    /// A count of a receiver.
    fn count(&self, receiver: &str, what: &str) -> u64 {
        let all = self.json(&["alerts"]);
        let all = all["receivers"].as_array().unwrap();
        let it = all.iter().find(|it| it["name"] == receiver).unwrap();
        it[what].as_u64().unwrap()
    }

    #[track_caller]
    fn comes_to(&self, rule: &str, state: Option<&str>) {
        eventually(&format!("{rule} {state:?}"), || self.state(rule).as_deref() == state);
    }

    /// A line of its figures.
    fn figure(&self, line: &str) -> bool {
        use std::io::Write;
        use std::os::unix::net::UnixStream;
        let mut stream = UnixStream::connect(self.scene.at("api.sock")).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.lines().any(|told| told == line)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let down = stockade(&self.scene, &["down", "--timeout", "60s"]).output();
        if !std::thread::panicking() {
            down.unwrap();
        }
        self.child.kill().unwrap_or(());
        self.child.wait().map(drop).unwrap_or(());
    }
}

#[test]
fn what_fails_is_told_field_by_field_and_then_that_it_is_over() {
    let webhook = Webhook::new();
    let stack = [
        bad("bad"),
        bad("other"),
        steady("web", ""),
        hook(&webhook),
        "[alerts.down]\nwhen = \"failed\"\nservices = [\"bad\"]\nseverity = \"critical\"\n\
         labels = { team = \"shop\" }\nannotations = { runbook = \"read it\" }\n"
            .to_owned(),
    ];
    let daemon = Daemon::new(&stack.concat());
    let firing = webhook.next();
    let fingerprint = firing["alerts"][0]["fingerprint"].as_str().unwrap().to_owned();
    let summary = "`bad` has failed: exited with 3; its restart policy is `no`";
    let labels =
        json!({ "alertname": "down", "service": "bad", "severity": "critical", "team": "shop" });
    let mut alert = json!({
        "status": "firing",
        "labels": labels,
        "annotations": { "runbook": "read it", "summary": firing["alerts"][0]["annotations"]["summary"] },
        "startsAt": firing["alerts"][0]["startsAt"],
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": fingerprint,
    });
    let told = firing["alerts"][0]["annotations"]["summary"].as_str().unwrap();
    assert!(told.starts_with("`bad` has failed: exited with 3"), "{told} {summary}");
    let expected = json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"down\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "hook",
        "groupLabels": { "alertname": "down" },
        "commonLabels": labels,
        "commonAnnotations": alert["annotations"],
        "externalURL": "",
        "alerts": [alert],
    });
    assert_eq!(firing, expected);

    let listed = daemon.said(&["alerts"]);
    assert!(listed.starts_with("down [critical] bad: firing since 2"), "{listed}");
    for line in
        ["stockade_alerts{alertname=\"down\",state=\"firing\"} 1", "stockade_alert_silences 0"]
    {
        assert!(daemon.figure(line), "{line}");
    }
    let mut events = stockade(&daemon.scene, &["events", "--json"]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["event"], "snapshot");
    daemon.said(&["reset", "bad"]);
    let turned = support::guarded(events.id(), || {
        std::iter::repeat_with(next).find(|event| event["event"] == "alert").unwrap()
    });
    let told = (&turned["alert"], &turned["state"], &turned["service"]);
    assert_eq!(told, (&"down".into(), &"resolved".into(), &"bad".into()));
    events.kill().unwrap();
    events.wait().unwrap();
    let resolved = webhook.next();
    assert_eq!(
        (&resolved["status"], &resolved["groupKey"]),
        (&"resolved".into(), &firing["groupKey"])
    );
    let ended = resolved["alerts"][0]["endsAt"].clone();
    assert!(ended.as_str().unwrap() >= firing["alerts"][0]["startsAt"].as_str().unwrap());
    (alert["status"], alert["endsAt"]) = ("resolved".into(), ended);
    assert_eq!(resolved["alerts"], json!([alert]));
    daemon.comes_to("down", None);
    assert_eq!(daemon.said(&["alerts", "ls"]), "nothing fires\n");
    eventually("counted", || {
        daemon.figure("stockade_alert_notifications_total{receiver=\"hook\"} 2")
    });
}

#[test]
fn in_a_silence_nobody_is_told_and_afterwards_they_are() {
    let webhook = Webhook::new();
    let rule = "[alerts.down]\nwhen = \"failed\"\n";
    let stack = [bad("bad") + "enabled = false\n", hook(&webhook), rule.to_owned()];
    let daemon = Daemon::new(&stack.concat());
    let silence =
        daemon.json(&["alerts", "silence", "service=~ba.", "--for", "1h", "--reason", "work"]);
    let user = nix::unistd::geteuid();
    assert_eq!((&silence["id"], &silence["by"]), (&1.into(), &format!("user {user}").into()));
    let listed = daemon.said(&["alerts", "silences"]);
    assert!(
        listed.starts_with("1: service=~ba. until 2") && listed.ends_with(": work\n"),
        "{listed}"
    );
    // It may be ready before it fails.
    daemon.ask(&["start", "bad"]);
    daemon.comes_to("down", Some("firing"));
    assert_eq!(daemon.alert("down").unwrap()["silenced_by"], 1);
    assert_eq!(daemon.count("hook", "sent"), 0);
    // What comes next is the test, and not what is silenced.
    assert_eq!(daemon.said(&["alerts", "test"]), "hook: told\n");
    for status in ["firing", "resolved"] {
        let body = webhook.next();
        assert_eq!(
            (&body["status"], &body["groupLabels"]["alertname"]),
            (&status.into(), &"StockadeTest".into())
        );
        assert_eq!(body["alerts"][0]["status"], status);
    }
    daemon.said(&["alerts", "unsilence", "1"]);
    let body = webhook.next();
    assert_eq!(
        (&body["status"], &body["groupLabels"]["alertname"]),
        (&"firing".into(), &"down".into())
    );
    let told = daemon.refused(&["alerts", "unsilence", "1"], 125);
    assert!(told.contains("there is no silence `1`, or no longer"), "{told}");
    let audit = std::fs::read_to_string(daemon.scene.at("audit.jsonl")).unwrap();
    for verb in ["silence", "test-alerts", "unsilence"] {
        assert!(audit.contains(&format!("\"verb\":\"{verb}\"")), "{verb}: {audit}");
    }
    for (arguments, why) in [
        (
            ["service", "1h", "x"],
            "the matcher `service`: it is no matcher (write `alertname=web-down`)",
        ),
        (["service=~.*", "1h", "x"], "it would silence every alert"),
        (["service=~(", "1h", "x"], "is no regular expression"),
        (["service=a", "0s", "x"], "it would be over already"),
        (["service=a", "1h", " "], "it needs a reason"),
    ] {
        let [matcher, time, reason] = arguments;
        let told =
            daemon.refused(&["alerts", "silence", matcher, "--for", time, "--reason", reason], 125);
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_daemon_that_is_killed_tells_nothing_twice_and_the_next_one_keeps_silences() {
    let (scene, webhook) = (Scene::new(), Webhook::new());
    let probe =
        format!("readiness_probe = {{ file = {:?}, period = \"20ms\" }}\n", scene.at("ready"));
    let rules = "[alerts.down]\nwhen = \"failed\"\n[alerts.ill]\nwhen = \"unhealthy\"\n";
    let stack = [bad("bad"), steady("web", &probe), hook(&webhook), rules.to_owned()];
    let mut daemon = Daemon::of(scene, &stack.concat());
    let mut firing = [webhook.next(), webhook.next()];
    firing.sort_by_key(|body| body["groupLabels"]["alertname"].to_string());
    eventually("counted", || daemon.count("hook", "sent") == 2);
    let since = daemon.alert("down").unwrap()["starts_at"].clone();
    // Whoever is told of the silence knows that all before it is written down.
    daemon.said(&["alerts", "silence", "service=other", "--for", "1h", "--reason", "work"]);
    let silences = daemon.json(&["alerts", "silences"]);
    daemon.killed_and_started();
    let alert = daemon.alert("down").unwrap();
    assert_eq!((&alert["state"], &alert["starts_at"]), (&"firing".into(), &since));
    // Nobody has looked at it again yet, or not often enough; so it is as it was.
    assert_eq!(daemon.state("ill").as_deref(), Some("firing"));
    assert_eq!(daemon.json(&["alerts", "silences"]), silences);
    assert!(daemon.figure("stockade_supervisor_adopted_total 1"));
    // The next thing that is told is that they are over, and of the same alerts.
    daemon.said(&["reset", "bad"]);
    let down = webhook.next();
    daemon.scene.file("ready", "");
    let ill = webhook.next();
    for (resolved, firing) in [down, ill].iter().zip(&firing) {
        assert_eq!(resolved["status"], "resolved");
        for field in ["fingerprint", "startsAt"] {
            assert_eq!(resolved["alerts"][0][field], firing["alerts"][0][field]);
        }
    }
    eventually("counted", || daemon.count("hook", "sent") == 2);
}

#[test]
fn what_is_not_ready_for_a_while_or_started_again_too_often_fires_until_that_is_over() {
    let scene = Scene::new();
    let probe =
        format!("readiness_probe = {{ file = {:?}, period = \"20ms\" }}\n", scene.at("ready"));
    let line = format!(
        "[ -e {} ] && trap 'exit 0' TERM && while :; do sleep 0.02; done; exit 1",
        scene.at("well")
    );
    let ill = format!(
        "[services.ill]\npolicy = \"default\"\ncommand = [\"bash\", \"-c\", {line:?}]\n\
         restart = {{ delay = \"1ms\", factor = 1.0, start_attempts = 0, max_attempts = 0 }}\n"
    );
    let rules = "\
[alerts.unready]
when = \"not_ready\"
for = \"1s\"
match = { team = \"shop\" }
[alerts.unhealthy]
when = \"unhealthy\"
services = [\"web\"]
[alerts.restarts]
when = \"restarts\"
over = 3
window = \"3s\"
[alerts.later]
when = \"not_ready\"
for = \"1h\"
services = [\"web\"]
";
    let stack =
        [steady("web", &format!("labels = {{ team = \"shop\" }}\n{probe}")), ill, rules.to_owned()];
    let daemon = Daemon::of(scene, &stack.concat());
    for (rule, state) in [
        ("unready", "firing"),
        ("unhealthy", "firing"),
        ("restarts", "firing"),
        ("later", "pending"),
    ] {
        daemon.comes_to(rule, Some(state));
    }
    assert_eq!(daemon.alert("unready").unwrap()["labels"]["service"], "web");
    assert_eq!(daemon.alert("restarts").unwrap()["labels"]["service"], "ill");
    daemon.scene.file("ready", "");
    daemon.scene.file("well", "");
    for rule in ["unready", "unhealthy", "restarts", "later"] {
        daemon.comes_to(rule, None);
    }
    for line in [
        "stockade_probe_success{service=\"web\",probe=\"readiness\"} 1",
        "stockade_service_replicas{service=\"web\",kind=\"ready\"} 1",
    ] {
        assert!(daemon.figure(line), "{line}");
    }
}

/// Starts children until it may not, and goes on.
const FORKS: &str = "
import os, time
while True:
    try:
        if os.fork() == 0: time.sleep(1000)
    except OSError: time.sleep(0.05)";

#[test]
fn a_limit_that_is_reached_fires_where_on_violation_says_alert() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: {why}");
    }
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let hungry = "x = bytearray(24 << 20); import time; time.sleep(1000)";
    let stack = format!(
        "[services.forks]\npolicy = \"default\"\ncommand = [\"{PYTHON}\", \"-c\", {FORKS:?}]\n\
         limits.pids = 12\non_violation.pids = \"alert\"\n\
         [services.hungry]\npolicy = \"default\"\ncommand = [\"{PYTHON}\", \"-c\", {hungry:?}]\n\
         limits.memory = \"48MiB\"\n\
         [alerts.limit]\nwhen = \"limit\"\nlimits = [\"pids\"]\n\
         [alerts.memory]\nwhen = \"memory\"\nover = 0.5\n\
         [alerts.more]\nwhen = \"memory\"\nover = 0.99\nservices = [\"hungry\"]\n"
    );
    let daemon = Daemon::new(&stack);
    daemon.comes_to("limit", Some("firing"));
    daemon.comes_to("memory", Some("firing"));
    let alert = daemon.alert("limit").unwrap();
    assert_eq!(alert["labels"]["service"], "forks");
    assert_eq!(alert["annotations"]["summary"], "`forks` came to a limit (pids)");
    let alert = daemon.alert("memory").unwrap();
    assert_eq!(alert["labels"]["service"], "hungry");
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    assert!(summary.ends_with(" % of its `limits.memory` is in use"), "{summary}");
    assert_eq!(daemon.state("more"), None);
    daemon.said(&["stop", "hungry"]);
    daemon.comes_to("memory", None);
    assert!(daemon.figure("stockade_memory_limit_bytes{service=\"hungry\"} 50331648"));
}
