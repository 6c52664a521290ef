//! Commands, files, and receivers that can't be told.

use super::webhook::{Webhook, free_port};
use super::{Daemon, bad, hook, steady, stockade};
use crate::support::desk::eventually;
use crate::support::{self, Scene};
use serde_json::{Value, json};
use std::fs;
use std::process::Stdio;

const RULE: &str = "[alerts.down]\nwhen = \"failed\"\n";

fn lines(scene: &Scene, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(scene.at(name)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_command_gets_the_alert_behind_walls_and_a_file_a_line() {
    let scene = Scene::new();
    let out = scene.directory("out");
    scene.file("narrow.toml", "extends = \"default\"\n[filesystem]\nwrite = [\"out\"]\n");
    let line = format!(
        "cat > {out}/$STOCKADE_ALERT.$STOCKADE_ALERT_STATUS.$STOCKADE_SERVICE; \
         grep NoNewPrivs /proc/self/status > {out}/walls"
    );
    let stack = format!(
        "{}{RULE}\
         [alert_receivers.script]\ntype = \"command\"\ncommand = [\"bash\", \"-c\", {line:?}]\npolicy = \"./narrow.toml\"\n\
         [alert_receivers.file]\ntype = \"file\"\npath = \"alerts.jsonl\"\n",
        bad("bad"),
    );
    let daemon = Daemon::of(scene, &stack);
    let scene = &daemon.scene;
    eventually("walls", || {
        fs::read_to_string(scene.at("out/walls")).is_ok_and(|it| !it.is_empty())
    });
    assert_eq!(fs::read_to_string(scene.at("out/walls")).unwrap(), "NoNewPrivs:\t1\n");
    eventually("a line", || lines(scene, "alerts.jsonl").len() == 1);
    daemon.said(&["reset", "bad"]);
    eventually("two lines", || lines(scene, "alerts.jsonl").len() == 2);
    eventually("told", || daemon.count("script", "sent") == 2);
    let of_file = lines(scene, "alerts.jsonl");
    for (told, status) in of_file.iter().zip(["firing", "resolved"]) {
        assert_eq!(told["status"], status);
        let by_command = lines(scene, &format!("out/down.{status}.bad"));
        assert_eq!((by_command.len(), &by_command[0]), (1, told));
        assert_eq!(
            told["labels"],
            json!({ "alertname": "down", "service": "bad", "severity": "warning" })
        );
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(scene.at("alerts.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn who_cannot_be_reached_is_told_later_and_who_refuses_is_not_asked_again() {
    let port = free_port();
    let refusing = Webhook::new();
    refusing.answers(400);
    let stack = format!(
        "{}{RULE}{}\
         [alert_receivers.late]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{port}/alerts?x=1\"\n\
         [alert_receivers.fails]\ntype = \"command\"\ncommand = \"false\"\npolicy = \"default\"\n",
        bad("bad"),
        hook(&refusing),
    );
    let daemon = Daemon::new(&stack);
    refusing.next();
    eventually("dropped", || daemon.count("hook", "dropped") == 1);
    assert_eq!((daemon.count("hook", "failed"), daemon.count("hook", "sent")), (1, 0));
    eventually("tried again", || daemon.count("late", "failed") >= 2);
    eventually("tried again", || daemon.count("fails", "failed") >= 2);
    let output = daemon.ask(&["alerts"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("`hook` can't be told: http://127.0.0.1:"), "{told}");
    assert!(told.contains(": it answered 400\n"), "{told}");
    assert!(told.contains("`fails` can't be told: it exited with 1\n"), "{told}");
    let late = Webhook::at(port);
    late.answers(503);
    assert_eq!(late.next()["status"], "firing");
    late.answers(200);
    assert_eq!(late.next()["status"], "firing");
    eventually("told", || daemon.count("late", "sent") == 1);
    let told = daemon.refused(&["alerts", "test"], 1);
    assert!(told.contains("error: fails: it exited with 1\n"), "{told}");
    let told = daemon.refused(&["alerts", "test", "nobody"], 125);
    assert!(told.contains("there is no receiver of alerts `nobody`"), "{told}");
}

#[test]
fn rules_are_changed_while_services_go_on() {
    let webhook = Webhook::new();
    let services = [bad("bad"), steady("web", "")].concat();
    let daemon = Daemon::new(&services);
    daemon.said(&["wait", "web"]);
    let pid = |daemon: &Daemon| {
        let web: Value = serde_json::from_str(&daemon.said(&["inspect", "web"])).unwrap();
        web["pid"].clone()
    };
    let before = pid(&daemon);
    let apply = |text: &str| {
        daemon.scene.file("stockade.toml", &format!("{services}{text}"));
        daemon.said(&["config", "apply"])
    };
    let told = apply(&format!("{RULE}{}", hook(&webhook)));
    assert_eq!(
        told,
        "[alerts.down]: changed as it runs (alerts)\n[alert_receivers.hook]: changed as it runs (alerts)\n"
    );
    assert_eq!(webhook.next()["status"], "firing");
    eventually("told", || daemon.count("hook", "sent") == 1);
    assert_eq!(apply(&format!("{RULE}{}", hook(&webhook))), "nothing has changed\n");
    // An alert of which no rule is any more is over.
    apply(&hook(&webhook));
    assert_eq!(webhook.next()["status"], "resolved");
    assert_eq!(pid(&daemon), before);
}

#[test]
fn without_a_daemon_alerts_are_told_too() {
    let scene = Scene::new();
    let stack = format!(
        "{}{RULE}[alert_receivers.file]\ntype = \"file\"\npath = \"alerts.jsonl\"\n",
        bad("bad")
    );
    scene.file("stockade.toml", &stack);
    let mut command = stockade(&scene, &["up"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = support::guarded(child.id(), || child.wait_with_output().unwrap());
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("stockade: alert down: firing: `bad` has failed: exited with 3"),
        "{told}"
    );
    let told = lines(&scene, "alerts.jsonl");
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["status"], &told[0]["labels"]["service"]),
        (&"firing".into(), &"bad".into())
    );
}
