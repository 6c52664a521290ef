//! What a stack file says of alerts: the tables `alerts` and `alert_receivers`.

use super::values::{self, Wrong};
use super::{Service, Stack};
use crate::alerts::{Figure, Receiver, Rule, Settings, Way, When};
use crate::logs::Url;
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;
use crate::policy::value::{self, Scalar};
use crate::supervisor::{Measure, Trigger};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// More rules than this are a mistake, and would make each look slow.
const MOST_RULES: usize = 500;

/// In which time is counted, where nothing is said.
const WINDOW: Duration = Duration::from_secs(300);

/// The severity of an alert of which nothing is said.
const SEVERITY: &str = "warning";

/// Labels that an alert has by itself.
const OWN: [&str; 3] = ["alertname", "service", "instance"];

/// What can be the case, in the words of `when`.
const WHEN: [&str; 9] = [
    "failed",
    "not_ready",
    "unhealthy",
    "restarts",
    "limit",
    "memory",
    "memory_pressure",
    "cpu_pressure",
    "io_pressure",
];

const TYPES: [&str; 3] = ["webhook", "command", "file"];

/// What each key of a rule is.
const RULE: [(&str, &str); 11] = [
    (
        "when",
        "what must be the case: it has `failed`, is wanted and `not_ready`, `unhealthy` by its probes, was started again after trouble \
         too often (`restarts`), came to a `limit` for which `on_violation` says `alert`, uses too much of `limits.memory` (`memory`), or \
         waits too much (`memory_pressure`, `cpu_pressure`, `io_pressure`)",
    ),
    ("over", "for `restarts` and `limit`: more often than this; for figures: a share such as 0.9"),
    ("window", "for `restarts` and `limit`: the time in which they are counted, else 5m"),
    ("limits", "for `limit`: which of them, in the words of `on_violation`; else any"),
    ("for", "for how long it must be the case without a break, else at once"),
    ("services", "the services that it is about, else all"),
    ("match", "labels that a service must have"),
    ("severity", "how grave it is: the label `severity`, else `warning`"),
    ("labels", "more labels of the alert"),
    ("annotations", "what is said of it for people; `summary` is made where it isn't there"),
    ("receivers", "who is told: names of `alert_receivers`, else all of them"),
];

/// What each key of a receiver is.
const RECEIVER: [(&str, &str); 7] = [
    (
        "type",
        "how: a `webhook` in Alertmanager's form, a `command` that is run, or a line in a `file`",
    ),
    ("url", "for `webhook`: where alerts are posted to, over plain HTTP"),
    (
        "command",
        "for `command`: the program and its arguments; the alert comes as JSON on its standard input",
    ),
    ("policy", "for `command`: the policy under which it runs, else `service`"),
    ("timeout", "for `command`: how long it may take, else 30s"),
    ("path", "for `file`: the file to which a line of JSON is added"),
    ("send_resolved", "whether it is told of alerts that are over, else true"),
];

/// A rule as far as it is read, with where the names in it stand.
#[derive(Debug)]
pub(super) struct RuleDraft {
    pub(super) rule: Rule,
    pub(super) services: Vec<(String, Range<usize>)>,
    pub(super) receivers: Vec<(String, Range<usize>)>,
    /// Whether what must be the case is known; else something stands in for it, so that the rest is looked at too.
    pub(super) is_whole: bool,
}

/// A receiver as far as it is read.
#[derive(Debug)]
pub(super) struct ReceiverDraft {
    pub(super) way: WayDraft,
    pub(super) send_resolved: bool,
}

/// How it tells; a policy is still a name.
#[derive(Debug)]
pub(super) enum WayDraft {
    Whole(Way),
    Command {
        command: Vec<std::ffi::OsString>,
        policy: Option<(String, Range<usize>)>,
        timeout: Duration,
    },
}

/// A name of a rule or a receiver; what is wrong with it otherwise.
pub(super) fn name(word: &str, number: usize) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if word.is_empty() || word.len() > 48 || !word.chars().all(plain) {
        return Err("it is no name (at most 48 letters, digits, `-` and `_`)".to_owned());
    }
    if number >= MOST_RULES {
        return Err(format!("there are more than {MOST_RULES} of them"));
    }
    Ok(())
}

/// One table of keys, of which problems are collected.
struct Table<'t, 'w> {
    table: &'t DeTable<'t>,
    wrong: &'w mut Vec<Wrong>,
}

impl<'t> Table<'t, '_> {
    /// A value, read in this way; nothing where it isn't there, or is wrong.
    fn take<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let value = self.table.get(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err((span, message)) => {
                self.wrong.push((Some(span.unwrap_or_else(|| value.span())), message));
                None
            }
        }
    }

    fn line(&mut self, key: &str) -> Option<String> {
        let read = |value| value::line(Scalar::Toml(value)).map_err(|message| (None, message));
        self.take(key, read).map(std::borrow::Cow::into_owned)
    }

    fn duration(&mut self, key: &str) -> Option<Duration> {
        self.take(key, |value| {
            value::duration(Scalar::Toml(value)).map_err(|message| (None, message))
        })
    }

    /// A time that isn't none.
    fn some_time(&mut self, key: &str) -> Option<Duration> {
        self.take(key, |value| match value::duration(Scalar::Toml(value)) {
            Ok(Duration::ZERO) => Err((None, "no time is too little".to_owned())),
            other => other.map_err(|message| (None, message)),
        })
    }

    fn names(&mut self, key: &str) -> Option<Vec<(String, Range<usize>)>> {
        self.take(key, |value| {
            let mut names: Vec<(String, Range<usize>)> = Vec::new();
            for entry in values::list("[\"web\"]", value)? {
                let wrong = |message| (Some(entry.span()), message);
                let text = Scalar::Toml(entry.get_ref()).text().map_err(wrong)?.into_owned();
                if names.iter().any(|(known, _)| *known == text) {
                    return Err(wrong(format!("{} is named twice", quoted(&text))));
                }
                names.push((text, entry.span()));
            }
            if names.is_empty() {
                return Err((None, "it names none (leave it out for all)".to_owned()));
            }
            Ok(names)
        })
    }

    /// Names and texts; names are those of labels of alerts where that is `strict`.
    fn texts(&mut self, key: &str, strict: bool) -> Option<BTreeMap<String, String>> {
        self.take(key, |value| {
            values::texts(value, "{ team = \"shop\" }", |word| {
                (strict && !values::is_label(word))
                    .then_some("is no name for a label of an alert (letters, digits and `_`)")
            })
        })
    }

    /// What is no key here.
    fn strays(&mut self, known: &[(&str, &str)], of: &str) {
        for (name, _) in self.table {
            let word = name.get_ref().as_ref();
            if !known.iter().any(|(key, _)| *key == word) && !word.starts_with("x-") {
                let near = did_you_mean(word, known.iter().map(|(key, _)| *key));
                let message = format!("{} is not a key of {of}{near}", quoted(word));
                self.wrong.push((Some(name.span()), message));
            }
        }
    }

    /// Keys that mean nothing with what is said elsewhere.
    fn not_for(&mut self, keys: &[&str], what: &str) {
        for (name, _) in self.table {
            if keys.contains(&name.get_ref().as_ref()) {
                let message = format!("{} isn't for {what}", quoted(name.get_ref()));
                self.wrong.push((Some(name.span()), message));
            }
        }
    }
}

/// Reads a rule, and collects what is wrong.
pub(super) fn rule(table: &DeTable<'_>, at: Range<usize>, wrong: &mut Vec<Wrong>) -> RuleDraft {
    let mut table = Table { table, wrong };
    table.strays(&RULE, "an alert");
    let when = when(&mut table, at);
    let is_whole = when.is_some();
    let hold = table.duration("for").unwrap_or_default();
    let services = table.names("services").unwrap_or_default();
    let receivers = table.names("receivers").unwrap_or_default();
    let matching = table.texts("match", false).unwrap_or_default();
    let mut labels = table.texts("labels", true).unwrap_or_default();
    if let Some(own) = OWN.iter().chain(["severity"].iter()).find(|own| labels.contains_key(**own))
    {
        let hint = if *own == "severity" { " (write `severity = ...`)" } else { "" };
        let message = format!("`{own}` is a label that it has by itself{hint}");
        table.take("labels", |_| Err::<(), Wrong>((None, message)));
    }
    let severity = table.line("severity").unwrap_or_else(|| SEVERITY.to_owned());
    labels.insert("severity".to_owned(), severity);
    let annotations = table.texts("annotations", true).unwrap_or_default();
    let names = |all: &[(String, Range<usize>)]| all.iter().map(|(name, _)| name.clone()).collect();
    let rule = Rule {
        when: when.unwrap_or(When::Failed),
        hold,
        services: names(&services),
        matching,
        labels,
        annotations,
        receivers: names(&receivers),
    };
    RuleDraft { rule, services, receivers, is_whole }
}

/// What must be the case.
fn when(table: &mut Table<'_, '_>, at: Range<usize>) -> Option<When> {
    if !table.table.contains_key("when") {
        let message = format!("it has no `when` (one of `{}`)", WHEN.join("`, `"));
        table.wrong.push((Some(at), message));
        return None;
    }
    let choose =
        |value| value::choice(Scalar::Toml(value), &WHEN).map_err(|message| (None, message));
    let word = WHEN.get(table.take("when", choose)?).copied()?;
    let what = format!("`when = \"{word}\"`");
    let needs_over = |table: &mut Table<'_, '_>, example: &str| {
        if !table.table.contains_key("over") {
            let message = format!("{what} needs `over`, such as `{example}`");
            table.wrong.push((Some(at.clone()), message));
        }
    };
    let times = |table: &mut Table<'_, '_>| {
        table.take("over", |value| {
            value::whole(Scalar::Toml(value), 0, 1000).map_err(|message| (None, message))
        })
    };
    match word {
        "failed" | "not_ready" | "unhealthy" => {
            table.not_for(&["over", "window", "limits"], &what);
            Some(match word {
                "failed" => When::Failed,
                "not_ready" => When::NotReady,
                _ => When::Unhealthy,
            })
        }
        "restarts" => {
            table.not_for(&["limits"], &what);
            needs_over(table, "over = 3");
            let (over, window) = (times(table), table.some_time("window").unwrap_or(WINDOW));
            Some(When::Restarts(over?, window))
        }
        "limit" => {
            let limits = match table.names("limits") {
                Some(names) => limits(names, table.wrong),
                None if table.table.contains_key("limits") => None,
                None => Some(Trigger::ALL.map(|(word, _)| word).to_vec()),
            };
            let window = table.some_time("window").unwrap_or(WINDOW);
            let over = times(table).unwrap_or(0);
            Some(When::Limit(limits?, over, window))
        }
        _ => {
            table.not_for(&["window", "limits"], &what);
            needs_over(table, "over = 0.9");
            let figure = Figure::ALL.iter().find(|(known, _)| *known == word)?.1;
            let over = table.take("over", |value| {
                value::factor(Scalar::Toml(value), 0.0, 1.0).map_err(|message| (None, message))
            });
            Some(When::Figure(figure, over?))
        }
    }
}

fn limits(names: Vec<(String, Range<usize>)>, wrong: &mut Vec<Wrong>) -> Option<Vec<&'static str>> {
    let words = || Trigger::ALL.iter().map(|(word, _)| *word);
    let (mut found, before) = (Vec::new(), wrong.len());
    for (name, span) in names {
        match words().find(|word| *word == name) {
            Some(word) => found.push(word),
            None => {
                let all: Vec<String> = words().map(|word| format!("`{word}`")).collect();
                let near = did_you_mean(&name, words());
                let message = format!("{} is not one of {}{near}", quoted(&name), all.join(", "));
                wrong.push((Some(span), message));
            }
        }
    }
    (wrong.len() == before).then_some(found)
}

/// Reads a receiver, and collects what is wrong. Relative paths start at `directory`.
pub(super) fn receiver(
    table: &DeTable<'_>,
    at: Range<usize>,
    directory: &Path,
    wrong: &mut Vec<Wrong>,
) -> Option<ReceiverDraft> {
    let mut table = Table { table, wrong };
    table.strays(&RECEIVER, "a receiver of alerts");
    let switch = |value| value::switch(Scalar::Toml(value)).map_err(|message| (None, message));
    let send_resolved = table.take("send_resolved", switch).unwrap_or(true);
    let missing = |table: &mut Table<'_, '_>, key: &str| {
        if !table.table.contains_key(key) {
            table.wrong.push((Some(at.clone()), format!("it has no `{key}`")));
        }
    };
    if !table.table.contains_key("type") {
        let message = format!("it has no `type` ({})", TYPES.join(", "));
        table.wrong.push((Some(at), message));
        return None;
    }
    let choose =
        |value| value::choice(Scalar::Toml(value), &TYPES).map_err(|message| (None, message));
    let way = match TYPES.get(table.take("type", choose)?).copied()? {
        "webhook" => {
            table.not_for(&["command", "policy", "timeout", "path"], "a `webhook`");
            missing(&mut table, "url");
            let url = table.take("url", |value| {
                let text = value::line(Scalar::Toml(value)).map_err(|message| (None, message))?;
                Url::parse_like(&text, "http://127.0.0.1:9093/hook")
                    .map_err(|message| (None, message))
            });
            WayDraft::Whole(Way::Webhook(url?))
        }
        "command" => {
            table.not_for(&["url", "path"], "a `command`");
            missing(&mut table, "command");
            let example = "[\"/usr/bin/logger\", \"-t\", \"stockade\"]";
            let command = table.take("command", |value| values::words(value, example));
            let timeout = table.some_time("timeout").unwrap_or(Duration::from_secs(30));
            let span = table.table.get("policy").map(Spanned::span);
            let policy = table.line("policy").zip(span);
            WayDraft::Command { command: command?, policy, timeout }
        }
        _ => {
            table.not_for(&["url", "command", "policy", "timeout"], "a `file`");
            missing(&mut table, "path");
            let path = table.line("path").filter(|path| !path.is_empty());
            WayDraft::Whole(Way::File(directory.join(PathBuf::from(path?))))
        }
    };
    Some(ReceiverDraft { way, send_resolved })
}

/// Why a rule can never fire, where that is so.
pub(super) fn never(rule: &Rule, services: &BTreeMap<String, Service>) -> Option<String> {
    let named = |name: &String| rule.services.is_empty() || rule.services.contains(name);
    let about = || {
        let all = services.iter().filter(|(name, _)| named(name));
        all.map(|(_, service)| service).filter(|service| rule.fits(&service.labels))
    };
    if about().next().is_none() {
        return Some("it is about no service: none has these labels".to_owned());
    }
    let told = |service: &Service, words: &[&str]| {
        let mut all = service.on_violation.iter().filter(|(_, it)| **it == Measure::Alert);
        all.any(|(trigger, _)| words.contains(&trigger.word()))
    };
    match &rule.when {
        When::Unhealthy if !about().any(|it| it.probes.all().next().is_some()) => {
            Some("it can't fire: none of its services has a probe".to_owned())
        }
        When::Limit(words, ..) if !about().any(|it| told(it, words)) => {
            let word = words.first().copied().unwrap_or("memory");
            Some(format!(
                "it can't fire: none of its services has `on_violation.{word} = \"alert\"` or the like"
            ))
        }
        When::Figure(Figure::Memory, _) if !about().any(|it| it.memory_limit().is_some()) => {
            Some("it can't fire: none of its services has `limits.memory`".to_owned())
        }
        _ => None,
    }
}

impl Stack {
    /// The tables of alerts in which another one differs, such as `alerts.down`.
    pub fn alert_differences(&self, next: &Self) -> Vec<String> {
        self.alerts.differences(&next.alerts)
    }
}

/// Puts what is read together; who names no receivers tells all.
pub(super) fn settled(
    rules: BTreeMap<String, Rule>,
    receivers: BTreeMap<String, Receiver>,
) -> Settings {
    let mut settings = Settings { rules, receivers };
    for rule in settings.rules.values_mut().filter(|rule| rule.receivers.is_empty()) {
        rule.receivers = settings.receivers.keys().cloned().collect();
    }
    settings
}

/// The JSON Schema of the rules and of the receivers.
pub(super) fn schemas(time: &str) -> (Value, Value) {
    let text = || json!({ "type": "string" });
    let time = || json!({ "type": "string", "pattern": time });
    let names = || json!({ "type": "array", "minItems": 1, "items": { "type": "string" } });
    let texts = || json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let of = |key: &str| match key {
        "when" => json!({ "enum": WHEN }),
        "over" => json!({ "type": "number", "minimum": 0, "maximum": 1000 }),
        "window" | "for" | "timeout" => time(),
        "limits" => {
            json!({ "type": "array", "minItems": 1, "items": { "enum": Trigger::ALL.map(|(word, _)| word) } })
        }
        "services" | "receivers" => names(),
        "match" | "labels" | "annotations" => texts(),
        "type" => json!({ "enum": TYPES }),
        "command" => json!({ "anyOf": [{ "type": "string" }, names()] }),
        "send_resolved" => json!({ "type": "boolean" }),
        _ => text(),
    };
    let table = |keys: &[(&str, &str)], needs: &str, doc: &str| {
        let mut properties = Map::new();
        for (key, doc) in keys {
            let mut schema = of(key);
            schema["description"] = (*doc).into();
            properties.insert((*key).to_owned(), schema);
        }
        json!({
            "type": "object",
            "description": doc,
            "additionalProperties": {
                "type": "object",
                "required": [needs],
                "additionalProperties": false,
                "patternProperties": { "^x-": {} },
                "properties": properties,
            },
        })
    };
    (
        table(&RULE, "when", "what fires an alert, by names"),
        table(&RECEIVER, "type", "who is told of alerts, by names"),
    )
}
