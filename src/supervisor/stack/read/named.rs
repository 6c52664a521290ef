//! What services name beside each other: groups, and targets of their logs.

use super::{Draft, Found, Reader, Spot};
use crate::logs::Target;
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;
use crate::policy::value;
use crate::supervisor::stack::{groups, targets};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

impl Reader<'_> {
    pub(super) fn group(
        &mut self,
        file: usize,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        groups: &mut BTreeMap<String, Found>,
    ) {
        let mut wrong = Vec::new();
        let (group, members) = groups::read(value, &mut wrong);
        let path = format!("groups.{name}");
        if groups.contains_key(name) {
            wrong.push((None, "it stands in another file too".into()));
        }
        for (span, message) in wrong {
            let span = span.unwrap_or_else(|| value.span());
            self.problem(&Spot { file, span }, &path, message);
        }
        let members = members.into_iter().map(|(name, span)| (name, Spot { file, span }));
        groups.insert(name.to_owned(), (group, members.collect()));
    }

    /// Whether the members of groups exist, and each is in one.
    pub(super) fn look_at_groups(
        &mut self,
        groups: &BTreeMap<String, Found>,
        drafts: &BTreeMap<String, Draft>,
    ) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (group, (_, members)) in groups {
            for (member, spot) in members {
                let path = format!("groups.{group}.members");
                if !drafts.contains_key(member) {
                    let near = did_you_mean(member, drafts.keys().map(String::as_str));
                    let message = format!("there is no service {}{near}", quoted(member));
                    self.problem(spot, &path, message);
                } else if let Some(other) = seen.insert(member, group).filter(|it| it != group) {
                    let message = format!("{} is in group `{other}` already", quoted(member));
                    self.problem(spot, &path, message);
                }
            }
        }
    }

    pub(super) fn log_targets(
        &mut self,
        file: usize,
        table: &DeTable<'_>,
        all: &mut BTreeMap<String, Target>,
    ) {
        for (name, value) in table {
            let word = name.get_ref().as_ref();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let path = format!("log_targets.{word}");
            let read = match value.get_ref() {
                _ if word.is_empty() || word.len() > 48 || !word.chars().all(plain) => {
                    let message = "it is no name (at most 48 letters, digits, `-` and `_`)";
                    Err((Some(name.span()), message.to_owned()))
                }
                _ if all.contains_key(word) => {
                    Err((Some(name.span()), "it stands in another file too".to_owned()))
                }
                DeValue::Table(entries) => targets::target(entries, name.span()),
                other => Err((None, value::wrong_shape("a table", other))),
            };
            match read {
                Ok(target) => drop(all.insert(word.to_owned(), target)),
                Err((span, message)) => {
                    let span = span.unwrap_or_else(|| value.span());
                    self.problem(&Spot { file, span }, &path, message);
                }
            }
        }
    }

    /// Puts in what the names of targets stand for.
    pub(super) fn look_for_targets(
        &mut self,
        drafts: &mut BTreeMap<String, Draft>,
        all: &BTreeMap<String, Target>,
    ) {
        for (name, draft) in drafts {
            let logging = &mut draft.service.logging;
            for word in &logging.targets {
                if let Some(target) = all.get(word) {
                    logging.sinks.insert(word.clone(), target.clone());
                    continue;
                }
                let near = did_you_mean(word, all.keys().map(String::as_str));
                let message = format!("there is no log target {}{near}", quoted(word));
                let path = format!("services.{name}.logging.targets");
                self.problem(&draft.at, &path, message);
            }
        }
    }
}
