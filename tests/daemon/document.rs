//! What the daemon says of itself: the OpenAPI document, and figures.

use super::{Daemon, service, steady};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

/// Whether a value is as a schema says, and if not why: of JSON Schema what the document uses.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{place}: {what}: {value}"));
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(name.trim_start_matches('#'));
        return check(document, schema.ok_or(format!("{name} isn't there"))?, value, place);
    }
    if let Some(all) = schema["anyOf"].as_array() {
        return match all.iter().any(|one| check(document, one, value, place).is_ok()) {
            true => Ok(()),
            false => wrong("none of these"),
        };
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return wrong("no such word");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let is = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    if !types.iter().any(is) {
        return wrong("another type");
    }
    if let (Some(minimum), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < minimum
    {
        return wrong("too small");
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{place}/{at}"))?;
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            return wrong(&format!("{name} is missing"));
        }
    }
    for (name, item) in value.as_object().into_iter().flatten() {
        let (known, others) = (&schema["properties"][name], &schema["additionalProperties"]);
        match (known.is_null(), others.is_object()) {
            (false, _) => check(document, known, item, &format!("{place}/{name}"))?,
            (true, true) => check(document, others, item, &format!("{place}/{name}"))?,
            (true, false) if schema["properties"].is_object() => {
                return wrong(&format!("`{name}` isn't in the document"));
            }
            (true, false) => {}
        }
    }
    Ok(())
}

/// Whether an answer is one of those that an operation says it has.
fn conforms(document: &Value, operation: &Value, status: u16, body: &str) -> Result<(), String> {
    let range = format!("{}XX", status / 100);
    let answers = &operation["responses"];
    let answer = [&answers[status.to_string()], &answers[range]];
    let answer = answer.into_iter().find(|answer| !answer.is_null());
    let content = answer.ok_or(format!("{status} isn't in the document"))?["content"].clone();
    let Some((kind, content)) = content.as_object().and_then(|all| all.iter().next()) else {
        return if body.is_empty() { Ok(()) } else { Err(format!("{status} with a body")) };
    };
    if kind == "application/x-ndjson" {
        let wrong = |error| format!("{error}: {body}");
        return body
            .lines()
            .try_for_each(|line| serde_json::from_str::<Value>(line).map(drop).map_err(wrong));
    }
    if kind.contains("json") {
        let value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
        return check(document, &content["schema"], &value, "");
    }
    Ok(())
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(|(method, it)| (method.to_uppercase(), path.clone(), it.clone()))
    });
    each.collect()
}

/// What fires when something has failed, and somebody who is told.
const ALERTS: &str = "\
[alerts.down]
when = \"failed\"
[alert_receivers.file]
type = \"file\"
path = \"alerts.jsonl\"
";

#[test]
fn every_route_of_the_document_answers_as_it_says() {
    let stack = [
        steady("web", ""),
        service("job", "exit 3", "restart = { policy = \"no\" }"),
        ALERTS.to_owned(),
    ];
    let daemon = Daemon::new(&stack.concat());
    daemon.said(&["wait", "web"]);
    daemon.said(&["wait", "--for", "stopped", "job"]);
    // There is an operation to ask for.
    daemon.said(&["reset", "web"]);
    let document = daemon.get("/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].to_string()), "{path}");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
        let chosen = operation["parameters"].as_array().unwrap().iter();
        let chosen = chosen.filter(|it| it["in"] == "path").count();
        assert_eq!(chosen, path.matches('{').count(), "{path}");
        if ["/v1/shutdown", "/v1/reexec", "/v1/events"].contains(&path.as_str()) {
            continue;
        }
        let place = path.replace("{name}", "web").replace("{id}", "1");
        let body = match path.rsplit('/').next() {
            Some("signal") => "{\"signal\":\"CONT\"}",
            Some("scale") => "{\"replicas\":1}",
            Some("silences") => {
                "{\"matchers\":[\"alertname=down\"],\"for\":\"1h\",\"reason\":\"work\"}"
            }
            _ => "",
        };
        let (status, body) = daemon.request(&method, &place, body);
        assert!(status < 300 || path == "/ready", "{place}: {status} {body}");
        conforms(&document, &operation, status, &body)
            .unwrap_or_else(|why| panic!("{place}: {why}"));
    }
    // The schemas are met by what isn't there as well.
    assert!(
        check(&document, &json!({ "$ref": "#/components/schemas/Service" }), &json!({}), "")
            .is_err()
    );
    daemon.said(&["down"]);
}

/// Numbers that look like chance and are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(most).unwrap()).unwrap()
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    fn body(&mut self) -> String {
        let word = self.one(&["HUP", "CONT", "WINCH", "", "NONE", "\u{0}", "9999999999999999999"]);
        match self.below(9) {
            0 | 1 => json!({ "signal": word }).to_string(),
            2 => json!({ "dry_run": true }).to_string(),
            7 => json!({ "replicas": self.below(3) }).to_string(),
            3 => json!({ "dry_run": word, "signal": 7, "x": [[]] }).to_string(),
            4 => "{\"signal\":".to_owned(),
            5 => "\u{fffd}[]\"".repeat(self.below(3000)),
            6 => "null".to_owned(),
            _ => String::new(),
        }
    }
}

#[test]
fn whatever_is_asked_by_the_document_is_answered_as_it_says_and_the_daemon_lives() {
    let stack = [
        steady("web", "restart = { delay = \"1ms\", max_attempts = 0, start_attempts = 0 }"),
        service("bad", "exit 3", "restart = { delay = \"1ms\" }"),
    ];
    let daemon = Daemon::new(&stack.concat());
    let document = daemon.get("/openapi.json");
    let operations = operations(&document);
    let mut dice = Dice(0x5eed_5eed_5eed);
    let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
    for round in 0..1500 {
        let (method, path, operation) = &operations[dice.below(operations.len())];
        if ["/v1/shutdown", "/v1/reexec"].contains(&path.as_str()) {
            continue;
        }
        let name =
            dice.one(&["web", "web", "bad", "nobody", "..", "%2e%2e", "a%00b", "-", "web;x"]);
        let id = dice.one(&["1", "2", "0", "-1", "99999999999999999999", "x"]);
        let mut place = path.replace("{name}", name).replace("{id}", id);
        let mut separator = '?';
        for query in operation["parameters"].as_array().unwrap() {
            if query["in"] != "query" || dice.below(2) == 0 {
                continue;
            }
            let value =
                dice.one(&["1ms", "5ms", "0s", "", "-1s", "1e9", "ready", "stopped", "web", "%"]);
            place += &format!("{separator}{}={value}", query["name"].as_str().unwrap());
            separator = '&';
        }
        // Nobody waits here for as long as they could.
        if place.contains("/await") && !place.contains("timeout=") {
            place += &format!("{separator}timeout=1ms");
        }
        // Those may go on for ever.
        let (status, body) = if ["/v1/events", "/v1/logs"].contains(&path.as_str()) {
            beginning(&daemon, &place)
        } else {
            daemon.request(method, &place, &dice.body())
        };
        let told = format!("round {round}: {method} {place}: {status} {body}");
        assert!(status < 500 || path == "/ready", "{told}");
        conforms(&document, operation, status, &body).unwrap_or_else(|why| panic!("{why}\n{told}"));
        *seen.entry(status).or_default() += 1;
    }
    for status in [200, 204, 400, 404] {
        assert!(seen.contains_key(&status), "{seen:?}");
    }
    daemon.said(&["down"]);
    assert_eq!(daemon.finish().code, Some(0));
}

/// The status of a stream that needn't end, and what comes first of it where that is a problem.
fn beginning(daemon: &Daemon, place: &str) -> (u16, String) {
    let mut stream = daemon.connect();
    let head = format!("GET {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = [0; 8192];
    let length = stream.read(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    (status, if status == 200 { String::new() } else { body.to_owned() })
}

#[test]
fn figures_are_as_prometheus_wants_them() {
    let stack = [
        steady("web", "depends_on = [\"job\"]\nenabled = false"),
        steady("runs", "readiness_probe = { exec = \"true\", period = \"20ms\" }"),
        ALERTS.to_owned(),
        service(
            "job",
            "exit 3",
            "restart = { delay = \"1ms\", max_attempts = 2, start_attempts = 2 }",
        ),
    ];
    let daemon = Daemon::new(&stack.concat());
    daemon.said(&["wait", "--for", "stopped", "job"]);
    daemon.said(&["wait", "runs"]);
    let (status, text) = daemon.request("GET", "/metrics", "");
    assert_eq!(status, 200);
    for line in [
        "stockade_service_state{service=\"job\",state=\"failed\"} 1",
        "stockade_service_state{service=\"web\",state=\"disabled\"} 1",
        "stockade_service_up{service=\"job\"} 0",
        "stockade_service_exits_total{service=\"job\",result=\"exit_code\"} 3",
        "stockade_service_replicas{service=\"runs\",kind=\"desired\"} 1",
        "stockade_probe_success{service=\"runs\",probe=\"readiness\"} 1",
        "stockade_log_dropped_total{service=\"runs\"} 0",
        "stockade_alert_notifications_dropped_total{receiver=\"file\"} 0",
        "stockade_supervisor_adopted_total 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    // What it uses is known wherever processes can be counted.
    assert!(
        text.contains("stockade_cpu_usage_seconds_total{service=\"runs\",mode=\"user\"} "),
        "{text}"
    );
    histogram(&text);
    lint(&text);
    daemon.said(&["down"]);
}

/// Times of looks: each span holds all that is shorter, and the last one all.
fn histogram(text: &str) {
    let of = |part: &str| {
        let start = format!("stockade_probe_duration_seconds_{part}{{service=\"runs\"");
        let lines = text.lines().filter(move |line| line.starts_with(&start));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
    };
    let spans: Vec<f64> = of("bucket").collect();
    assert!(spans.len() > 5 && spans.is_sorted(), "{spans:?}");
    let looks: Vec<f64> = of("count").collect();
    assert_eq!((looks.len(), spans.last()), (1, looks.last()));
    assert!(looks[0] >= 1.0 && of("sum").all(|time| time > 0.0));
}

/// The rules of Prometheus' own linter (promlint) that text can be held against.
fn lint(text: &str) {
    let (mut helped, mut kinds, mut seen) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if line.starts_with("# HELP ") {
            assert!(words.len() > 3 && helped.insert(words[2]), "{line}");
            continue;
        }
        if line.starts_with("# TYPE ") {
            assert!(["counter", "gauge", "histogram"].contains(&words[3]), "{line}");
            assert_eq!(kinds.insert(words[2], words[3]), None, "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap();
        assert!(seen.insert(series), "twice: {series}");
        let name = series.split('{').next().unwrap();
        let parts = ["_bucket", "_sum", "_count"].iter();
        let mut whole = parts.filter_map(|part| name.strip_suffix(part));
        let name = whole.find(|whole| kinds.get(whole) == Some(&"histogram")).unwrap_or(name);
        let is_counter = kinds[name] == "counter";
        assert!(helped.contains(name), "{line}");
        assert_eq!(name.ends_with("_total"), is_counter, "{line}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        for part in name.split('_') {
            let wrong = [
                "count",
                "sum",
                "bucket",
                "gauge",
                "counter",
                "ms",
                "milliseconds",
                "kilobytes",
                "minutes",
            ];
            assert!(!wrong.contains(&part), "{line}");
        }
    }
}
