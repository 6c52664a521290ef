//! Alerts of a stack: their rules, and who is told.

use super::{Alerting, Reader, Spot, USUAL_POLICY, spot};
use crate::alerts::{Receiver, Settings, Way};
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;
use crate::policy::value;
use crate::supervisor::stack::Service;
use crate::supervisor::stack::alerts::{self, ReceiverDraft, RuleDraft, WayDraft};
use crate::supervisor::stack::values::Wrong;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

impl Reader<'_> {
    pub(super) fn rules(
        &mut self,
        file: usize,
        table: &DeTable<'_>,
        all: &mut Alerting<RuleDraft>,
    ) {
        for (name, value) in table {
            let read = |entries: &DeTable<'_>, wrong: &mut Vec<Wrong>| {
                Some(alerts::rule(entries, name.span(), wrong))
            };
            self.named(file, "alerts", (name, value), all, read);
        }
    }

    pub(super) fn receivers(
        &mut self,
        file: usize,
        table: &DeTable<'_>,
        all: &mut Alerting<ReceiverDraft>,
    ) {
        let directory = self.files.get(file).map(|file| file.source.directory.clone());
        let directory = directory.unwrap_or_default();
        for (name, value) in table {
            let read = |entries: &DeTable<'_>, wrong: &mut Vec<Wrong>| {
                alerts::receiver(entries, name.span(), &directory, wrong)
            };
            self.named(file, "alert_receivers", (name, value), all, read);
        }
    }

    /// An entry of a table of alerts.
    fn named<T>(
        &mut self,
        file: usize,
        section: &str,
        (name, value): (&Spanned<impl AsRef<str>>, &Spanned<DeValue<'_>>),
        all: &mut Alerting<T>,
        read: impl FnOnce(&DeTable<'_>, &mut Vec<Wrong>) -> Option<T>,
    ) {
        let word = name.get_ref().as_ref();
        let (path, at) = (format!("{section}.{word}"), Spot { file, span: name.span() });
        if let Err(message) = alerts::name(word, all.len()) {
            return self.problem(&at, section, message);
        }
        if all.contains_key(word) {
            return self.problem(&at, &path, "it stands in another file too".to_owned());
        }
        let DeValue::Table(entries) = value.get_ref() else {
            let message = value::wrong_shape("a table", value.get_ref());
            return self.problem(&spot(file, value), &path, message);
        };
        let mut wrong = Vec::new();
        let draft = read(entries, &mut wrong);
        for (span, message) in wrong {
            let span = span.unwrap_or_else(|| value.span());
            self.problem(&Spot { file, span }, &path, message);
        }
        // What is wrong is there all the same, for those that name it.
        all.insert(word.to_owned(), (draft, at));
    }

    /// What alerts come to, once everything that they name is known.
    pub(super) fn alerts(
        &mut self,
        rules: Alerting<RuleDraft>,
        receivers: Alerting<ReceiverDraft>,
        services: &BTreeMap<String, Service>,
    ) -> Settings {
        let mut all = BTreeMap::new();
        for (name, (draft, at)) in rules {
            let Some(RuleDraft { rule, services: named, receivers: told, is_whole }) = draft else {
                continue;
            };
            let path = format!("alerts.{name}");
            let mut exist = true;
            for (service, span) in named.iter().filter(|(name, _)| !services.contains_key(name)) {
                exist = false;
                let near = did_you_mean(service, services.keys().map(String::as_str));
                let message = format!("there is no service {}{near}", quoted(service));
                let spot = Spot { file: at.file, span: span.clone() };
                self.problem(&spot, &format!("{path}.services"), message);
            }
            for (receiver, span) in told.iter().filter(|(name, _)| !receivers.contains_key(name)) {
                let near = did_you_mean(receiver, receivers.keys().map(String::as_str));
                let message = format!("there is no receiver of alerts {}{near}", quoted(receiver));
                let spot = Spot { file: at.file, span: span.clone() };
                self.problem(&spot, &format!("{path}.receivers"), message);
            }
            if let Some(why) = alerts::never(&rule, services).filter(|_| exist && is_whole) {
                self.problem(&at, &path, why);
            }
            all.insert(name, rule);
        }
        let mut told = BTreeMap::new();
        for (name, (draft, at)) in receivers {
            let Some(ReceiverDraft { way, send_resolved }) = draft else { continue };
            let way = match way {
                WayDraft::Whole(way) => Some(way),
                WayDraft::Command { command, policy, timeout } => {
                    let named = policy.as_ref().map_or(USUAL_POLICY, |(word, _)| word);
                    let span = policy.as_ref().map(|(_, span)| span.clone());
                    let spot = Spot { file: at.file, span: span.unwrap_or(at.span) };
                    let path = format!("alert_receivers.{name}.policy");
                    self.policy_of(named, &spot, &path).map(|policy| Way::Command {
                        command,
                        policy: Box::new(policy),
                        timeout,
                    })
                }
            };
            if let Some(way) = way {
                told.insert(name, Receiver { way, send_resolved });
            }
        }
        alerts::settled(all, told)
    }
}
