//! The OpenAPI document, made from the table of routes.

use super::route::{Answer, Body, Form, Query, ROUTES, Route, WAIT};
use crate::platform::Signal;
use serde_json::{Map, Value, json};

/// What is as long as this at most is a time that clocks can add.
const TIME: &str = r"^([0-9]{1,9}(\.[0-9]{1,3})?(us|ms|s)|[0-9]{1,5}(\.[0-9]{1,3})?(m|h)|[0-9]{1,4}(\.[0-9]{1,3})?d){1,4}$";
const NAME: &str = "^[A-Za-z0-9_.-]{1,64}$";

/// The document: OpenAPI 3.1.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.word().to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Stockade",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The services of a stack, on this host",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://localhost", "description": "on the daemon's unix socket" }],
        // On the socket the kernel says who asks.
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "on the network" },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let words = route.path.trim_start_matches("/v1").replace(['/', '{', '}', '.'], " ");
    let words: Vec<&str> = words.split_whitespace().collect();
    let id = format!("{}-{}", route.method.word().to_lowercase(), words.join("-"));
    let mut parameters: Vec<Value> = Vec::new();
    if route.path.contains("{name}") {
        let schema = json!({ "type": "string", "pattern": NAME });
        parameters
            .push(json!({ "name": "name", "in": "path", "required": true, "schema": schema }));
    }
    if route.path.contains("{id}") {
        let schema = json!({ "type": "integer", "minimum": 1 });
        parameters.push(json!({ "name": "id", "in": "path", "required": true, "schema": schema }));
    }
    parameters.extend(route.queries.iter().map(parameter));
    let mut operation = json!({
        "operationId": id,
        "summary": route.doc,
        "description": format!("Takes the role `{}`.", route.role),
        "parameters": parameters,
        "responses": responses(route),
    });
    if let Some(body) = body(route.body) {
        operation["requestBody"] = body;
    }
    operation
}

fn parameter(query: &Query) -> Value {
    let schema = match query.form {
        Form::Time => json!({ "type": "string", "pattern": TIME }),
        Form::Name => json!({ "type": "string", "pattern": NAME }),
        Form::Word(words) => json!({ "enum": words }),
        Form::Number(most) => json!({ "type": "integer", "minimum": 0, "maximum": most }),
    };
    json!({ "name": query.name, "in": "query", "description": query.doc, "schema": schema })
}

fn body(body: Body) -> Option<Value> {
    let (required, schema) = match body {
        Body::Nothing => return None,
        Body::Signal => (true, "SignalRequest"),
        Body::Scale => (true, "ScaleRequest"),
        Body::Apply => (false, "ApplyRequest"),
        Body::Silence => (true, "SilenceRequest"),
        Body::TestAlerts => (false, "TestAlertsRequest"),
    };
    let content = json!({ "application/json": { "schema": reference(schema) } });
    Some(json!({ "required": required, "content": content }))
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn answered(kind: &str, schema: &Value, doc: &str) -> Value {
    json!({ "description": doc, "content": { kind: { "schema": schema } } })
}

fn responses(route: &Route) -> Value {
    let mut all = Map::new();
    match route.answer {
        Answer::One(schema) => {
            all.insert("200".into(), answered("application/json", &reference(schema), schema));
        }
        Answer::List(name, schema) => {
            let list = json!({ "type": "array", "items": reference(schema) });
            let object =
                json!({ "type": "object", "properties": { name: list }, "required": [name] });
            all.insert("200".into(), answered("application/json", &object, name));
        }
        Answer::Operation => {
            let schema = reference("Operation");
            all.insert("200".into(), answered("application/json", &schema, "it is over"));
            all.insert("202".into(), answered("application/json", &schema, "it is under way"));
        }
        Answer::Text(kind) => {
            all.insert("200".into(), answered(kind, &json!({ "type": "string" }), "text"));
        }
        Answer::Health => {
            all.insert("204".into(), json!({ "description": "so it is" }));
        }
        Answer::OpenApi => {
            let schema = json!({ "type": "object" });
            all.insert("200".into(), answered("application/json", &schema, "the document"));
        }
    }
    let problem = answered("application/problem+json", &reference("Problem"), "why not (RFC 9457)");
    all.insert("4XX".into(), problem.clone());
    all.insert("5XX".into(), problem);
    if let (Answer::One(schema), true) = (route.answer, route.queries.contains(&WAIT)) {
        let schema = reference(schema);
        all.insert("202".into(), answered("application/json", &schema, "it is under way"));
    }
    Value::Object(all)
}

/// An object all of whose fields are there.
fn object(properties: &Value) -> Value {
    let names: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({ "type": "object", "properties": properties, "required": names })
}

/// How a signal is written.
fn signals() -> String {
    let names: Vec<&str> = Signal::names().collect();
    format!("^(SIG)?({})$", names.join("|"))
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    let count = || json!({ "type": "integer", "minimum": 0 });
    let moment = || json!({ "type": "string", "format": "date-time" });
    let each = |of: Value| json!({ "type": "object", "additionalProperties": of });
    let many = |of: Value| json!({ "type": "array", "items": of });
    let last = object(&json!({
        "result": text(), "exit_code": maybe("integer"), "signal": maybe("integer"), "text": text(),
    }));
    let service = object(&json!({
        "name": text(), "description": text(), "labels": each(text()), "command": many(text()),
        "policy": text(), "enabled": { "type": "boolean" }, "depends_on": each(text()),
        "state": text(), "health": { "enum": ["unknown", "starting", "healthy", "unhealthy"] },
        "ready": { "type": "boolean" }, "why": text(), "pid": maybe("integer"),
        "generation": count(), "attempts": count(), "since": moment(),
        "uptime_s": maybe("number"), "restarts": each(count()), "exits": each(count()),
        "last": { "anyOf": [last, { "type": "null" }] }, "error": maybe("string"),
    }));
    let replicas = object(&json!({ "desired": count(), "running": count(), "ready": count() }));
    let change = object(&json!({
        "service": text(), "change": { "enum": ["added", "removed", "changed"] },
        "keys": many(text()), "restart": { "type": "boolean" },
    }));
    let alert = object(&json!({
        "fingerprint": text(), "state": { "enum": ["pending", "firing", "resolved"] },
        "labels": each(text()), "annotations": each(text()),
        "starts_at": maybe("string"), "ends_at": maybe("string"), "silenced_by": maybe("integer"),
    }));
    let receiver = object(&json!({
        "name": text(), "type": { "enum": ["webhook", "command", "file"] },
        "sent": count(), "failed": count(), "dropped": count(), "error": maybe("string"),
    }));
    let matcher = object(&json!({
        "name": text(), "value": text(), "is_regex": { "type": "boolean" },
    }));
    json!({
        "Alerts": object(&json!({
            "alerts": many(alert), "receivers": many(receiver), "trouble": maybe("string"),
        })),
        "AlertTest": object(&json!({ "name": text(), "error": maybe("string") })),
        "Silence": object(&json!({
            "id": count(), "matchers": many(matcher), "from": moment(), "until": moment(),
            "reason": text(), "by": text(),
        })),
        "SilenceRequest": {
            "type": "object",
            "properties": {
                "matchers": {
                    "type": "array",
                    "items": { "type": "string", "examples": ["alertname=down", "service=~web|db"] },
                },
                "for": { "type": "string", "pattern": TIME, "description": "for how long; or `until`" },
                "until": moment(),
                "reason": text(),
            },
            "required": ["matchers", "reason"],
            "oneOf": [{ "required": ["for"] }, { "required": ["until"] }],
            "additionalProperties": false,
        },
        "TestAlertsRequest": {
            "type": "object",
            "properties": { "receiver": text() },
            "additionalProperties": false,
        },
        "Service": service,
        "Awaited": object(&json!({ "met": { "type": "boolean" }, "service": reference("Service") })),
        "Operation": object(&json!({
            "id": count(), "verb": text(), "service": maybe("string"),
            "state": { "enum": ["running", "done", "failed"] }, "error": maybe("string"),
            "started_at": moment(), "ended_at": maybe("string"),
        })),
        "Needs": object(&json!({ "name": text(), "depends_on": each(text()) })),
        "Stack": object(&json!({
            "name": text(), "file": text(), "services": many(text()), "replicas": each(replicas),
        })),
        "Applied": object(&json!({
            "applied": { "type": "boolean" }, "changes": many(change), "alerts": many(text()),
            "operation": { "anyOf": [reference("Operation"), { "type": "null" }] },
        })),
        "Daemon": object(&json!({
            "version": text(), "pid": count(), "uptime_s": { "type": "number" },
            "services": count(), "ending": { "type": "boolean" },
        })),
        "Problem": {
            "type": "object",
            "properties": {
                "type": text(), "title": text(), "status": count(), "detail": text(), "hint": text(),
            },
            "required": ["type", "title", "status", "detail"],
        },
        "SignalRequest": {
            "type": "object",
            "properties": { "signal": { "type": "string", "pattern": signals() } },
            "required": ["signal"],
            "additionalProperties": false,
        },
        "ScaleRequest": {
            "type": "object",
            "properties": {
                "replicas": { "type": "integer", "minimum": 0, "maximum": u32::MAX, "examples": [3] },
            },
            "required": ["replicas"],
            "additionalProperties": false,
        },
        "ApplyRequest": {
            "type": "object",
            "properties": { "dry_run": { "type": "boolean" } },
            "additionalProperties": false,
        },
    })
}
