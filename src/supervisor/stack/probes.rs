//! What a service is looked at with: `startup_probe`, `readiness_probe` and `liveness_probe`, in Kubernetes' words.

use super::logging;
use super::values::{self, Wrong};
use crate::platform::BoxFuture;
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;
use crate::policy::value::{self, Scalar};
use crate::supervisor::checks::{
    ExecCheck, FileCheck, GrpcCheck, HttpCheck, LineCheck, NotifyCheck, PortCheck, SocketCheck,
};
use crate::supervisor::health::Vitals;
use crate::supervisor::{HealthCheck, Probe, Purpose};
use hyper::header::{HeaderName, HeaderValue};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a service is looked at with for one purpose, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceProbe {
    /// What is looked at.
    pub check: Check,
    /// How often and how patiently.
    pub probe: Probe,
}

/// What is looked at. Ports are those of the loopback interface that the program sees, paths those that it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// An HTTP request.
    HttpGet(HttpCheck),
    /// A connection.
    TcpSocket(PortCheck),
    /// A gRPC health check.
    Grpc(GrpcCheck),
    /// A connection to a socket's path.
    UnixSocket(SocketCheck),
    /// A command that is run inside.
    Exec(ExecCheck),
    /// Something at a path.
    File(FileCheck),
    /// A line that the program writes.
    LogLine(LineCheck),
    /// That the program says it.
    Notify(NotifyCheck),
}

/// The probes of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probes {
    /// Whether it has started.
    pub startup: Option<ServiceProbe>,
    /// Whether it can be used.
    pub readiness: Option<ServiceProbe>,
    /// Whether it lives.
    pub liveness: Option<ServiceProbe>,
}

impl Probes {
    pub(super) fn of(&mut self, purpose: Purpose) -> &mut Option<ServiceProbe> {
        match purpose {
            Purpose::Startup => &mut self.startup,
            Purpose::Readiness => &mut self.readiness,
            Purpose::Liveness => &mut self.liveness,
        }
    }

    /// Those that there are.
    pub fn all(&self) -> impl Iterator<Item = (Purpose, &ServiceProbe)> {
        let all = [
            (Purpose::Startup, &self.startup),
            (Purpose::Readiness, &self.readiness),
            (Purpose::Liveness, &self.liveness),
        ];
        all.into_iter().filter_map(|(purpose, probe)| Some((purpose, probe.as_ref()?)))
    }
}

impl HealthCheck for Check {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        self.inner().check(vitals)
    }

    fn command(&self) -> Option<&[OsString]> {
        self.inner().command()
    }

    fn dials(&self) -> bool {
        self.inner().dials()
    }

    fn line(&self) -> Option<&Regex> {
        self.inner().line()
    }

    fn listens(&self) -> bool {
        self.inner().listens()
    }
}

impl Check {
    fn inner(&self) -> &dyn HealthCheck {
        match self {
            Self::HttpGet(check) => check,
            Self::TcpSocket(check) => check,
            Self::Grpc(check) => check,
            Self::UnixSocket(check) => check,
            Self::Exec(check) => check,
            Self::File(check) => check,
            Self::LogLine(check) => check,
            Self::Notify(check) => check,
        }
    }

    /// As people read it.
    pub fn told(&self) -> String {
        let path = |path: &Path| crate::platform::LaunchPlan::readable(path);
        match self {
            Self::HttpGet(check) => {
                let secure = if check.secure { "with TLS " } else { "" };
                format!("http_get {} {secure}at port {}", check.path, check.port)
            }
            Self::TcpSocket(check) => format!("tcp_socket {}", check.0),
            Self::Grpc(check) => format!("grpc {:?} at port {}", check.service, check.port),
            Self::UnixSocket(check) => format!("unix_socket {}", path(&check.0)),
            Self::Exec(check) => {
                let words: Vec<String> =
                    check.0.iter().map(crate::platform::LaunchPlan::readable).collect();
                format!("exec {}", words.join(" "))
            }
            Self::File(check) => format!("file {}", path(&check.0)),
            Self::LogLine(check) => format!("log_line {:?}", check.0.as_str()),
            Self::Notify(_) => "notify".to_owned(),
        }
    }
}

/// The words of a probe that say what is looked at: each with its keys, the ones that it must have first.
const CHECKS: [(&str, usize, &[&str]); 8] = [
    ("exec", 1, &["command"]),
    ("http_get", 1, &["port", "path", "scheme", "headers", "status"]),
    ("tcp_socket", 1, &["port"]),
    ("grpc", 1, &["port", "service"]),
    ("unix_socket", 1, &["path"]),
    ("file", 1, &["path"]),
    ("log_line", 1, &["pattern"]),
    ("notify", 0, &[]),
];

/// Its words that say how often and how patiently.
const NUMBERS: [&str; 5] =
    ["initial_delay", "period", "timeout", "success_threshold", "failure_threshold"];

/// Reads a probe. `purpose` decides what makes sense: only readiness comes back after so many successes.
pub(super) fn read(
    value: &DeValue<'_>,
    purpose: Purpose,
    wrong: &mut Vec<Wrong>,
) -> Option<ServiceProbe> {
    let DeValue::Table(table) = value else {
        let what = "a table such as { http_get = { port = 80 } }";
        wrong.push((None, value::wrong_shape(what, value)));
        return None;
    };
    let (mut check, mut probe, before) = (None, Probe::default(), wrong.len());
    for (name, value) in table {
        let word = name.get_ref().as_ref();
        if CHECKS.iter().any(|(known, ..)| *known == word) {
            if check.is_some() {
                wrong.push((Some(name.span()), "it has two checks (write one of them)".into()));
            }
            if purpose == Purpose::Liveness && matches!(word, "log_line" | "notify") {
                let why = format!(
                    "`{word}` doesn't tell whether it lives: what was said once stays said (write `http_get`, `exec` or `watchdog_timeout`)"
                );
                wrong.push((Some(name.span()), why));
            }
            check = Some(read_check(word, value, wrong));
        } else if let Err(message) = number(word, value, purpose, &mut probe) {
            let span = if NUMBERS.contains(&word) { value.span() } else { name.span() };
            wrong.push((Some(span), message));
        }
    }
    if check.is_none() && wrong.len() == before {
        let words: Vec<String> = CHECKS.iter().map(|(word, ..)| format!("`{word}`")).collect();
        wrong.push((None, format!("it has no check (write one of {})", words.join(", "))));
    }
    check.flatten().map(|check| ServiceProbe { check, probe })
}

fn number(
    word: &str,
    value: &Spanned<DeValue<'_>>,
    purpose: Purpose,
    probe: &mut Probe,
) -> Result<(), String> {
    let scalar = Scalar::Toml(value.get_ref());
    let some = |scalar| match value::duration(scalar)? {
        Duration::ZERO => Err("no time is too little".to_owned()),
        time => Ok(time),
    };
    match word {
        "initial_delay" => probe.initial_delay = value::duration(scalar)?,
        "period" => probe.period = some(scalar)?,
        "timeout" => probe.timeout = some(scalar)?,
        "success_threshold" => {
            probe.success_threshold = value::whole(scalar, 1, 1_000_000)?;
            if purpose != Purpose::Readiness && probe.success_threshold != 1 {
                return Err("one success is enough for all but readiness (write `1`)".into());
            }
        }
        "failure_threshold" => probe.failure_threshold = value::whole(scalar, 1, 1_000_000)?,
        _ if word.starts_with("x-") => {}
        _ => {
            let words = NUMBERS.into_iter().chain(CHECKS.map(|(word, ..)| word));
            let near = did_you_mean(word, words);
            return Err(format!("{} is not a key of a probe{near}", quoted(word)));
        }
    }
    Ok(())
}

fn read_check(word: &str, value: &Spanned<DeValue<'_>>, wrong: &mut Vec<Wrong>) -> Option<Check> {
    if word == "notify" {
        return match value::switch(Scalar::Toml(value.get_ref())) {
            Ok(true) => Some(Check::Notify(NotifyCheck)),
            Ok(false) => {
                let what = "without it there is no check (write `notify = true`)";
                wrong.push((Some(value.span()), what.to_owned()));
                None
            }
            Err(message) => {
                wrong.push((Some(value.span()), message));
                None
            }
        };
    }
    let (_, least, keys) = CHECKS.iter().find(|(known, ..)| *known == word)?;
    let nothing = DeTable::new();
    // What has a single word needs no table.
    let short = !matches!(value.get_ref(), DeValue::Table(_)) && keys.len() == 1;
    let table = match value.get_ref() {
        DeValue::Table(table) => table,
        _ if short => &nothing,
        other => {
            let what = format!("a table such as {{ {} = ... }}", keys.first().unwrap_or(&""));
            wrong.push((Some(value.span()), value::wrong_shape(&what, other)));
            return None;
        }
    };
    let before = wrong.len();
    for (name, _) in table.iter().filter(|(name, _)| !keys.contains(&name.get_ref().as_ref())) {
        let near = did_you_mean(name.get_ref(), keys.iter().copied());
        let message = format!("{} is not a key of `{word}`{near}", quoted(name.get_ref()));
        wrong.push((Some(name.span()), message));
    }
    let given = |key: &str| match short {
        true => keys.contains(&key).then_some(value),
        false => table.get(key),
    };
    if let Some(missing) = keys.iter().take(*least).find(|key| given(key).is_none()) {
        wrong.push((Some(value.span()), format!("`{word}` has no `{missing}`")));
    }
    let check = made(word, &given, wrong);
    check.filter(|_| wrong.len() == before)
}

/// The check of this word, from the values of its keys.
fn made<'v>(
    word: &str,
    given: &dyn Fn(&str) -> Option<&'v Spanned<DeValue<'v>>>,
    wrong: &mut Vec<Wrong>,
) -> Option<Check> {
    if word == "exec" {
        let value = given("command")?;
        return match values::words(value.get_ref(), "[\"/usr/bin/true\"]") {
            Ok(command) => Some(Check::Exec(ExecCheck(command))),
            Err((span, message)) => {
                wrong.push((Some(span.unwrap_or_else(|| value.span())), message));
                None
            }
        };
    }
    let mut take = |key: &str, read: &mut dyn FnMut(Scalar<'_>) -> Result<(), String>| {
        let Some(value) = given(key) else { return };
        if let Err(message) = read(Scalar::Toml(value.get_ref())) {
            wrong.push((Some(value.span()), message));
        }
    };
    let (mut port, mut path, mut service, mut line) = (0, None, String::new(), None);
    take("port", &mut |scalar| {
        port = value::whole(scalar, 1, u16::MAX.into()).map(|port| port.try_into().unwrap_or(0))?;
        Ok(())
    });
    if word == "http_get" {
        let mut check = HttpCheck::new(port, "/").ok()?;
        take("path", &mut |scalar| {
            check.path = HttpCheck::new(port, &scalar.text()?)?.path;
            Ok(())
        });
        take("scheme", &mut |scalar| {
            match &*scalar.text()? {
                "HTTP" => {}
                "HTTPS" => check.secure = true,
                other => {
                    return Err(format!(
                        "{} is no scheme (write `HTTP` or `HTTPS`)",
                        quoted(other)
                    ));
                }
            }
            Ok(())
        });
        http_lists(&mut check, given, wrong);
        return Some(Check::HttpGet(check));
    }
    take("service", &mut |scalar| {
        service = value::line(scalar)?.into_owned();
        Ok(())
    });
    take("pattern", &mut |scalar| {
        line = Some(logging::pattern(&scalar.text()?)?);
        Ok(())
    });
    take("path", &mut |scalar| {
        let text = scalar.text()?;
        if !text.starts_with('/') || text.contains('\0') {
            return Err(format!("{} is not an absolute path", quoted(&text)));
        }
        path = Some(PathBuf::from(text.into_owned()));
        Ok(())
    });
    Some(match word {
        "tcp_socket" => Check::TcpSocket(PortCheck(port)),
        "grpc" => Check::Grpc(GrpcCheck::new(port, service)),
        "log_line" => Check::LogLine(LineCheck(line?)),
        "unix_socket" => Check::UnixSocket(SocketCheck(path?)),
        _ => Check::File(FileCheck(path?)),
    })
}

/// What of an HTTP request is more than one value.
fn http_lists<'v>(
    check: &mut HttpCheck,
    given: &dyn Fn(&str) -> Option<&'v Spanned<DeValue<'v>>>,
    wrong: &mut Vec<Wrong>,
) {
    match given("headers").map(|value| (value, value.get_ref())) {
        None => {}
        Some((_, DeValue::Table(headers))) => {
            for (name, value) in headers {
                let text = Scalar::Toml(value.get_ref()).text();
                let header = name.get_ref().parse::<HeaderName>().map_err(|_| {
                    (Some(name.span()), format!("{} is no header", quoted(name.get_ref())))
                });
                let content = text.and_then(|text| {
                    let content = HeaderValue::from_str(&text);
                    content.map_err(|_| format!("{} can't stand in a header", quoted(&text)))
                });
                match (header, content) {
                    (Ok(header), Ok(content)) => _ = check.headers.insert(header, content),
                    (Err(told), _) => wrong.push(told),
                    (_, Err(message)) => wrong.push((Some(value.span()), message)),
                }
            }
        }
        Some((value, other)) => {
            let what = "a table such as { Accept = \"text/plain\" }";
            wrong.push((Some(value.span()), value::wrong_shape(what, other)));
        }
    }
    match given("status").map(|value| (value, value.get_ref())) {
        None => {}
        Some((_, DeValue::Array(statuses))) => {
            for status in statuses.iter() {
                match value::whole(Scalar::Toml(status.get_ref()), 100, 599) {
                    Ok(code) => _ = check.statuses.insert(code.try_into().unwrap_or(0)),
                    Err(message) => wrong.push((Some(status.span()), message)),
                }
            }
        }
        Some((value, other)) => {
            wrong.push((Some(value.span()), value::wrong_shape("a list such as [204]", other)));
        }
    }
}

/// The JSON Schema of a probe.
pub(super) fn schema(time: &str) -> Value {
    let mut properties = Map::new();
    for word in NUMBERS {
        let schema = match word.ends_with("threshold") {
            true => json!({ "type": "integer", "minimum": 1 }),
            false => json!({ "type": "string", "pattern": time }),
        };
        properties.insert(word.to_owned(), schema);
    }
    for (word, least, keys) in CHECKS {
        if keys.is_empty() {
            properties.insert(word.to_owned(), json!({ "const": true }));
            continue;
        }
        let of = |key: &str| match key {
            "port" => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
            "scheme" => json!({ "enum": ["HTTP", "HTTPS"] }),
            "headers" => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            "command" => json!({ "type": ["string", "array"], "items": { "type": "string" } }),
            "status" => json!({
                "type": "array",
                "items": { "type": "integer", "minimum": 100, "maximum": 599 },
            }),
            _ => json!({ "type": "string" }),
        };
        let table: Map<String, Value> = keys.iter().map(|key| ((*key).into(), of(key))).collect();
        let table = json!({
            "type": "object",
            "additionalProperties": false,
            "required": keys[..least],
            "properties": table,
        });
        let schema = if keys.len() == 1 { json!({ "anyOf": [of(keys[0]), table] }) } else { table };
        properties.insert(word.to_owned(), schema);
    }
    let one: Vec<Value> = CHECKS.iter().map(|(word, ..)| json!({ "required": [word] })).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "patternProperties": { "^x-": {} },
        "oneOf": one,
        "properties": properties,
    })
}
