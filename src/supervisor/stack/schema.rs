//! The JSON Schema of stack files, for editors: made from the table of keys.

use super::keys::{KEYS, Key, Kind, SECTIONS};
use super::{Condition, Strategy, probes};
use crate::policy;
use crate::supervisor::Measure;
use serde_json::{Map, Value, json};

const TIME: &str = r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$";

/// The JSON Schema (draft 2020-12) of a stack file.
///
/// ```
/// let schema = stockade::supervisor::stack_schema();
/// let service = &schema["properties"]["services"]["additionalProperties"]["properties"];
/// assert_eq!(service["restart"]["properties"]["delay"]["examples"][0], "500ms");
/// assert!(service["limits"]["properties"]["memory"].is_object());
/// ```
pub fn stack_schema() -> Value {
    let mut service = keys_of("");
    for section in SECTIONS {
        service.insert(section.to_owned(), table(keys_of(section)));
    }
    // What is put over the policy is said in the same words as there.
    let policy = policy::schema();
    for section in policy::sections() {
        service.insert(section.to_owned(), policy["properties"][section].clone());
    }
    let defaults = table(service);
    let (alerts, alert_receivers) = super::alerts::schemas(TIME);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stockade stack",
        "description": "Services, and what they need of each other",
        "type": "object",
        "additionalProperties": false,
        "patternProperties": { "^x-": {} },
        "properties": {
            "name": { "type": "string", "description": "its name, for people" },
            "include": {
                "type": "array",
                "items": { "type": "string" },
                "description": "more stack files, whose services are this one's too",
                "examples": [["more.toml"]],
            },
            "defaults": described(defaults.clone(), "what counts for each service that doesn't say otherwise"),
            "log_targets": super::targets::schema(),
            "alerts": alerts,
            "alert_receivers": alert_receivers,
            "groups": {
                "type": "object",
                "description": "services that are started again together",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["members"],
                    "properties": {
                        "strategy": { "enum": Strategy::ALL.map(|(word, _)| word) },
                        "members": { "type": "array", "items": { "type": "string" } },
                    },
                },
            },
            "services": { "type": "object", "additionalProperties": defaults },
        },
    })
}

/// The keys of a stack.
pub(super) const WORDS: [&str; 8] = [
    "name",
    "include",
    "defaults",
    "services",
    "groups",
    "log_targets",
    "alerts",
    "alert_receivers",
];

fn described(mut schema: Value, text: &str) -> Value {
    schema["description"] = text.into();
    schema
}

fn table(properties: Map<String, Value>) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "patternProperties": { "^x-": {} },
        "properties": properties,
    })
}

fn keys_of(section: &str) -> Map<String, Value> {
    let keys = KEYS.iter().filter(|key| key.section() == section);
    keys.map(|key| (key.name().to_owned(), schema_of(key))).collect()
}

fn schema_of(key: &Key) -> Value {
    let mut schema = match &key.kind {
        Kind::PathInside(_) => json!({ "type": "string", "pattern": "^/" }),
        Kind::Line(_) | Kind::Policy | Kind::Signal(_) => json!({ "type": "string" }),
        Kind::Measure(_) => json!({ "enum": Measure::ALL.map(|(word, _)| word) }),
        Kind::Command | Kind::Hook(_) | Kind::ReloadCommand => {
            let list = json!({ "type": "array", "minItems": 1, "items": { "type": "string" } });
            json!({ "anyOf": [{ "type": "string" }, list] })
        }
        Kind::Services => {
            let conditions = json!({ "enum": Condition::ALL.map(|(word, _)| word) });
            let list = json!({ "type": "array", "items": { "type": "string" } });
            let needs = json!({ "anyOf": [conditions, {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "condition": conditions,
                    "required": { "type": "boolean" },
                    "restart": { "type": "boolean" },
                },
            }] });
            json!({ "anyOf": [list, { "type": "object", "additionalProperties": needs }] })
        }
        // As the policy has it.
        Kind::OfPolicy(section, name) => {
            policy::schema()["properties"][section]["properties"][name].clone()
        }
        Kind::EnvFiles => {
            let table = json!({
                "type": "object",
                "required": ["path"],
                "additionalProperties": false,
                "properties": { "path": { "type": "string" }, "required": { "type": "boolean" } },
            });
            json!({ "type": "array", "items": { "anyOf": [{ "type": "string" }, table] } })
        }
        Kind::Probe(_) => probes::schema(TIME),
        Kind::Logging => super::logging::schema(),
        Kind::Labels => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Attach => json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "pid": { "type": "integer", "minimum": 2 },
                "pid_file": { "type": "string" },
                "name": { "type": "string", "minLength": 1, "maxLength": 15 },
                "stop": { "type": "boolean" },
            },
            "oneOf": [
                { "required": ["pid"] }, { "required": ["pid_file"] }, { "required": ["name"] },
            ],
        }),
        Kind::Sockets => json!({
            "type": "array",
            "items": {
                "type": "object",
                "required": ["listen"],
                "additionalProperties": false,
                "properties": {
                    "listen": { "type": "string" },
                    "name": { "type": "string", "minLength": 1, "maxLength": 255 },
                    "type": { "enum": ["stream", "dgram", "seqpacket"] },
                    "mode": { "type": "string", "pattern": "^[0-7]+$" },
                    "backlog": { "type": "integer", "minimum": 1 },
                },
            },
        }),
        Kind::Switch(_) => json!({ "type": "boolean" }),
        Kind::Duration(_) => json!({ "type": "string", "pattern": TIME }),
        Kind::Time(_) => {
            json!({ "anyOf": [{ "type": "string", "pattern": TIME }, { "const": "unlimited" }] })
        }
        Kind::Count(_) => json!({ "type": "integer", "minimum": 0 }),
        Kind::Factor(least, most, _) => {
            json!({ "type": "number", "minimum": least, "maximum": most })
        }
        Kind::Choice(choices) => {
            json!({ "enum": choices.iter().map(|choice| choice.word).collect::<Vec<_>>() })
        }
        Kind::Statuses(_) => {
            let code = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
            json!({ "type": "array", "items": { "anyOf": [code, { "type": "string" }] } })
        }
    };
    schema["description"] = key.doc.into();
    // As it is written in TOML; what is the same in JSON can stand here as it is.
    if let Ok(example) = serde_json::from_str::<Value>(key.example) {
        schema["examples"] = json!([example]);
    }
    schema
}
