//! What receivers are told: the forms, as JSON. Pure.

use super::NAME;
use super::book::{Batch, Sent};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What Alertmanager gives as the end of an alert that fires: Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The body of Alertmanager's webhook, version 4 (its template.Data). The alerts of one rule are a group.
///
/// There is no page to link to: the daemon listens at a socket of this host. The URLs are there and empty.
pub(super) fn webhook(receiver: &str, batch: &Batch) -> Value {
    let fires = batch.alerts.iter().any(|alert| alert.episode.ended.is_none());
    let alerts: Vec<Value> = batch.alerts.iter().map(alert).collect();
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{{NAME}={:?}}}", batch.rule),
        "truncatedAlerts": 0,
        "status": if fires { "firing" } else { "resolved" },
        "receiver": receiver,
        "groupLabels": { NAME: batch.rule },
        "commonLabels": common(batch.alerts.iter().map(|alert| &alert.labels)),
        "commonAnnotations": common(batch.alerts.iter().map(|alert| &alert.annotations)),
        "externalURL": "",
        "alerts": alerts,
    })
}

/// One alert, as it stands there; commands and files get it alone.
pub(super) fn alert(alert: &Sent) -> Value {
    let ended = alert.episode.ended;
    json!({
        "status": status(alert),
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": alert.episode.started,
        "endsAt": ended.map_or_else(|| NEVER.to_owned(), |at| at.to_string()),
        "generatorURL": "",
        "fingerprint": alert.fingerprint,
    })
}

/// Whether it fires.
pub(super) fn status(alert: &Sent) -> &'static str {
    if alert.episode.ended.is_none() { "firing" } else { "resolved" }
}

/// What all of them have.
fn common<'t>(
    mut all: impl Iterator<Item = &'t BTreeMap<String, String>>,
) -> BTreeMap<&'t String, &'t String> {
    let mut common: BTreeMap<&String, &String> = all.next().into_iter().flatten().collect();
    for other in all {
        common.retain(|name, value| other.get(*name) == Some(*value));
    }
    common
}
