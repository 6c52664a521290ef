//! The JSON Schema of policy files, for editors: made from the table of keys.

use super::key::{ALL, Key, Kind, Names, UNLIMITED};
use super::keys::{self, SECTIONS};
use super::layer::LEAST_IOPS;
use super::syscalls::{ACTIONS, TESTS};
use crate::platform::{Control, capability_names};
use serde_json::{Map, Value, json};

const SIZE: &str = r"^[0-9]+(\.[0-9]+)? *(B|KiB|MiB|GiB|TiB)$";
const RATE: &str = r"^[0-9]+(\.[0-9]+)? *(B|KiB|MiB|GiB|TiB)/s$";
const IDS: &str = r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$";
const PORTS: &str = r"^(all|none|[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)$";
const RANGE: &str = r"^[0-9]+-[0-9]+$";
const TIME: &str = r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$";
/// Names, addresses and networks, and a port; the program itself looks closer.
const DESTINATION: &str =
    r"^(\*\.)?([A-Za-z0-9_.-]+(/[0-9]+)?|\[[0-9A-Fa-f:.]+(/[0-9]+)?\])(:([0-9]+|\*))?$";
const PUBLISHED: &str = r"^(([0-9.]+|\[[0-9A-Fa-f:.]+\]):)?[0-9]+:[0-9]+$";
const OFFSET: &str = r"^[+-]?([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$";

/// The JSON Schema (draft 2020-12) of a policy file.
///
/// ```
/// let schema = stockade::policy::schema();
/// assert_eq!(schema["properties"]["limits"]["properties"]["pids"]["examples"][0], 64);
/// ```
pub fn schema() -> Value {
    let mut properties = keys_of("");
    for (section, doc) in SECTIONS {
        properties.insert(
            (*section).into(),
            json!({
                "description": doc,
                "type": "object",
                "additionalProperties": false,
                "properties": keys_of(section),
            }),
        );
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stockade policy",
        "description": "What a program may do and use",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

fn keys_of(section: &str) -> Map<String, Value> {
    let keys = keys::all().filter(|key| key.section() == section);
    keys.map(|key| (key.name().to_owned(), schema_of(key))).collect()
}

fn schema_of(key: &Key) -> Value {
    let mut schema = match &key.kind {
        Kind::Extends | Kind::Text(_) | Kind::Path(_) | Kind::PathOr(..) => {
            json!({ "type": "string" })
        }
        Kind::HostName(_) => {
            json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$" })
        }
        Kind::Size(size) => or_word(json!({ "type": "string", "pattern": SIZE }), size.off),
        Kind::Cores(_) => {
            or_word(json!({ "type": "number", "minimum": 0.01, "maximum": 1000 }), UNLIMITED)
        }
        Kind::Count(count) => {
            let number =
                json!({ "type": "integer", "minimum": count.least, "maximum": count.most });
            if count.off.is_empty() { number } else { or_word(number, count.off) }
        }
        Kind::Rate(..) => or_word(json!({ "type": "string", "pattern": RATE }), UNLIMITED),
        Kind::Ports(_) => {
            let list = json!({ "type": "string", "pattern": PORTS });
            let one = json!({ "type": "integer", "minimum": 0, "maximum": 65535 });
            json!({ "anyOf": [list, one] })
        }
        Kind::Ids(_) => or_word(json!({ "type": "string", "pattern": IDS }), ALL),
        Kind::Time(_) => or_word(json!({ "type": "string", "pattern": TIME }), UNLIMITED),
        Kind::Grace(_) => json!({ "type": "string", "pattern": TIME }),
        Kind::Mode(_) => json!({ "type": "string", "pattern": "^0?[0-7]{1,3}$" }),
        Kind::Range(_) => json!({ "type": "string", "pattern": RANGE }),
        Kind::Offset(_) => json!({ "type": "string", "pattern": OFFSET }),
        Kind::Switch(_) => json!({ "type": "boolean" }),
        Kind::Choice(choices) => {
            let words = choices
                .iter()
                .map(|choice| json!({ "const": choice.word, "description": choice.doc }));
            json!({ "oneOf": words.collect::<Vec<_>>() })
        }
        Kind::Paths(_) => list(json!({ "type": "string", "minLength": 1 })),
        Kind::Names(names, _) => list(entry(*names)),
        Kind::Io(_) => {
            let rate = || or_word(json!({ "type": "string", "pattern": RATE }), UNLIMITED);
            let number = || or_word(json!({ "type": "integer", "minimum": LEAST_IOPS }), UNLIMITED);
            json!({ "type": "array", "items": {
                "type": "object",
                "required": ["path"],
                "minProperties": 2,
                "additionalProperties": false,
                "properties": {
                    "path": { "type": "string", "minLength": 1 },
                    "read": rate(),
                    "write": rate(),
                    "read_iops": number(),
                    "write_iops": number(),
                },
            } })
        }
        Kind::Rules(_) => {
            let value = json!({ "type": ["string", "integer"] });
            let values =
                json!({ "anyOf": [value, { "type": "array", "items": value, "minItems": 1 }] });
            let words = ACTIONS.map(|(word, doc)| json!({ "const": word, "description": doc }));
            let error = json!({
                "type": "string",
                "pattern": "^errno E[A-Z0-9]+$",
                "description": "the call fails with this error",
            });
            let actions: Vec<Value> = words.into_iter().chain([error]).collect();
            let mut properties = Map::new();
            properties.insert("name".into(), entry(Names::SystemCalls));
            properties.insert("action".into(), json!({ "anyOf": actions }));
            properties.insert("wide".into(), json!({ "type": "boolean", "description": "whether all 64 bits of the arguments count" }));
            for index in 0..6 {
                for (test, doc) in TESTS {
                    let mut values = values.clone();
                    values["description"] = doc.into();
                    properties.insert(format!("arg{index}{test}"), values);
                }
            }
            json!({ "type": "array", "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": false,
                "properties": properties,
            } })
        }
        Kind::Pairs(names, ..) => json!({
            "type": "object",
            "propertyNames": entry(*names),
            "additionalProperties": { "type": "string" },
        }),
    };
    schema["description"] = key.doc.into();
    if let Some(example) = example(key) {
        schema["examples"] = json!([example]);
    }
    schema
}

fn or_word(schema: Value, word: &str) -> Value {
    json!({ "anyOf": [schema, { "const": word }] })
}

fn list(entry: Value) -> Value {
    json!({ "type": "array", "items": entry, "uniqueItems": true })
}

fn entry(names: Names) -> Value {
    match names {
        Names::Controls => json!({ "enum": Control::all().map(Control::name).collect::<Vec<_>>() }),
        Names::Capabilities => {
            let names = capability_names()
                .flat_map(|name| [Some(name), name.strip_prefix("CAP_")])
                .flatten();
            json!({ "enum": names.collect::<Vec<_>>() })
        }
        // Their names differ from one version of the kernel to the next; the program itself knows them all.
        Names::SystemCalls => {
            json!({ "type": "string", "pattern": "^(@[a-z_0-9-]+|[a-z_0-9]+(:any)?)$" })
        }
        Names::Variables => json!({ "type": "string", "pattern": "^[^=\\u0000]+$" }),
        Names::Files => json!({ "type": "string", "pattern": "^/" }),
        Names::Secrets => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*$" }),
        Names::Destinations => json!({ "type": "string", "pattern": DESTINATION }),
        Names::Published => json!({ "type": "string", "pattern": PUBLISHED }),
    }
}

/// The example of a key, which is TOML, as JSON.
fn example(key: &Key) -> Option<Value> {
    let text = format!("value = {}", key.example);
    let table: Map<String, Value> = toml::from_str(&text).ok()?;
    table.get("value").cloned()
}
