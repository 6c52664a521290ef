//! Values of a policy as people read them.

use super::draft::Draft;
use crate::platform::{Access, LaunchPlan, MaskKind, Overlay, SecretSource};
use serde::Serialize;
use std::fmt::Display;
use std::time::Duration;

/// A value that may be missing.
pub(super) fn one(value: Option<impl Display>) -> Vec<String> {
    value.iter().map(ToString::to_string).collect()
}

/// A time that may be missing.
pub(super) fn times(value: Option<Duration>) -> Vec<String> {
    value.map(time).into_iter().collect()
}

/// A time, as it is written in a policy: `90s`, `1.5s`, `500ms`.
pub(super) fn time(value: Duration) -> String {
    format!("{value:?}").replace('\u{b5}', "u")
}

/// The word for one of several choices: its name in reports.
pub(super) fn mode_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// The host paths of one kind.
pub(super) fn paths_of(draft: &Draft, access: Access, optional: bool) -> Vec<String> {
    let binds = draft.policy.filesystem.binds.iter();
    let matching = binds.filter(|bind| bind.access == access && bind.optional == optional);
    matching.map(|bind| LaunchPlan::readable(&bind.target)).collect()
}

/// Where changes go.
pub(super) fn overlay_of(overlay: &Overlay) -> String {
    match overlay {
        Overlay::Discard => "discard".into(),
        Overlay::Keep(path) => LaunchPlan::readable(path),
    }
}

/// The masked paths of one kind.
pub(super) fn masks_of(draft: &Draft, kind: MaskKind) -> Vec<String> {
    let masks = draft.policy.filesystem.masks.iter().filter(|mask| mask.kind == kind);
    masks.map(|mask| LaunchPlan::readable(&mask.path)).collect()
}

/// The secrets of one kind, with where each comes from.
pub(super) fn secrets_of(
    draft: &Draft,
    source: impl Fn(&SecretSource) -> Option<String>,
) -> Vec<String> {
    let all = draft.policy.secrets.iter();
    all.filter_map(|secret| Some(format!("{}={}", secret.name, source(&secret.source)?))).collect()
}
