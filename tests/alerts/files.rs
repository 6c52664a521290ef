//! What stack files say of alerts, and what is told of wrong ones.

use super::stockade;
use crate::support::Scene;
use serde_json::Value;

fn said(scene: &Scene, arguments: &[&str], code: i32) -> String {
    let output = stockade(scene, arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{told}");
    if code == 0 { String::from_utf8(output.stdout).unwrap() } else { told }
}

const SERVICES: &str = "\
[services.web]
command = \"true\"
labels = { team = \"shop\" }
";

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place() {
    let scene = Scene::new();
    let rules = "
[alerts.a]
when = \"faild\"
[alerts.b]
when = \"failed\"
over = 3
servces = [\"web\"]
[alerts.c]
when = \"restarts\"
services = [\"wb\"]
receivers = [\"nobody\"]
[alerts.d]
when = \"memory\"
over = 90
[alerts.e]
when = \"limit\"
limits = [\"pid\"]
[alerts.f]
when = \"unhealthy\"
[alerts.g]
when = \"failed\"
match = { team = \"none\" }
labels = { \"a-b\" = \"x\" }
[alerts.h]
[alerts.i]
when = \"failed\"
labels = { service = \"x\" }
for = \"soon\"
[alerts.\"a b\"]
when = \"failed\"
[alert_receivers.a]
type = \"webhook\"
url = \"https://x/\"
[alert_receivers.b]
type = \"file\"
url = \"http://x/\"
[alert_receivers.c]
type = \"command\"
command = \"a | b\"
[alert_receivers.d]
type = \"command\"
command = \"true\"
policy = \"nothing\"
[alert_receivers.e]
type = \"mail\"
";
    scene.file("stockade.toml", &format!("{SERVICES}{rules}"));
    let told = said(&scene, &["config", "check"], 125);
    let headlines: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    insta::assert_snapshot!(headlines.join("\n"), @r#"
    stockade.toml:6:8: alerts.a: `faild` is not one of `failed`, `not_ready`, `unhealthy`, `restarts`, `limit`, `memory`, `memory_pressure`, `cpu_pressure`, `io_pressure` (did you mean `failed`?)
    stockade.toml:9:1: alerts.b: `over` isn't for `when = "failed"`
    stockade.toml:10:1: alerts.b: `servces` is not a key of an alert (did you mean `services`?)
    stockade.toml:11:9: alerts.c: `when = "restarts"` needs `over`, such as `over = 3`
    stockade.toml:13:13: alerts.c.services: there is no service `wb` (did you mean `web`?)
    stockade.toml:14:14: alerts.c.receivers: there is no receiver of alerts `nobody`
    stockade.toml:17:8: alerts.d: `90` is not a number from 0 to 1
    stockade.toml:20:11: alerts.e: `pid` is not one of `memory`, `memory_high`, `pids`, `cpu`, `memory_pressure`, `cpu_pressure`, `io_pressure` (did you mean `pids`?)
    stockade.toml:21:9: alerts.f: it can't fire: none of its services has a probe
    stockade.toml:23:9: alerts.g: it is about no service: none has these labels
    stockade.toml:26:12: alerts.g: `a-b` is no name for a label of an alert (letters, digits and `_`)
    stockade.toml:27:9: alerts.h: it has no `when` (one of `failed`, `not_ready`, `unhealthy`, `restarts`, `limit`, `memory`, `memory_pressure`, `cpu_pressure`, `io_pressure`)
    stockade.toml:30:10: alerts.i: `service` is a label that it has by itself
    stockade.toml:31:7: alerts.i: `soon` is not a duration (write `30s`)
    stockade.toml:32:9: alerts: it is no name (at most 48 letters, digits, `-` and `_`)
    stockade.toml:36:7: alert_receivers.a: HTTPS isn't spoken here; let an agent on this host do that (write `http://127.0.0.1:9093/hook`)
    stockade.toml:37:18: alert_receivers.b: it has no `path`
    stockade.toml:39:1: alert_receivers.b: `url` isn't for a `file`
    stockade.toml:42:11: alert_receivers.c: no shell reads this (write a list, each word in quotes)
    stockade.toml:46:10: alert_receivers.d.policy: `nothing` is not a shipped policy (`stockade policy list` shows them; a path has a `/` or ends in `.toml`)
    stockade.toml:48:8: alert_receivers.e: `mail` is not one of `webhook`, `command`, `file`
    "#);
}

#[test]
fn what_is_said_of_alerts_is_shown_and_in_the_schema() {
    let scene = Scene::new();
    let rules = "
[alerts.down]
when = \"not_ready\"
for = \"30s\"
match = { team = \"shop\" }
[alerts.often]
when = \"restarts\"
over = 3
services = [\"web\"]
receivers = [\"file\"]
[alert_receivers.file]
type = \"file\"
path = \"alerts.jsonl\"
send_resolved = false
[alert_receivers.hook]
type = \"webhook\"
url = \"http://127.0.0.1:9/\"
";
    scene.file("stockade.toml", &format!("{SERVICES}{rules}"));
    insta::assert_snapshot!(said(&scene, &["config", "show"], 0), @"
    web: true [service]
    alert down: not_ready for 30s, of all services with team=shop; tells file, hook
    alert often: restarts, of web; tells file
    receiver of alerts file: file
    receiver of alerts hook: webhook
    ");
    let schema: Value = serde_json::from_str(&said(&scene, &["config", "schema"], 0)).unwrap();
    let rule = &schema["properties"]["alerts"]["additionalProperties"];
    assert_eq!(rule["required"][0], "when");
    assert_eq!(rule["additionalProperties"], false);
    let receiver = &schema["properties"]["alert_receivers"]["additionalProperties"]["properties"];
    assert_eq!(receiver["type"]["enum"][0], "webhook");
}
