//! Reading a stack file: everything that is wrong with it at once, each with its line and column.
//!
//! What `[defaults]` says counts for the services of its file, and of those that it includes; what is said nearer to a service
//! counts more. An included file is a stack file like any other.

use super::alerts::{self, ReceiverDraft, RuleDraft, WayDraft};
use super::files::{self, File};
use super::keys::{self, Key, Kind};
use super::values::{self, Wrong};
use super::{Condition, Group, Service, Stack, env_file, groups, probes, targets};
use crate::alerts::{Receiver, Settings, Way};
use crate::logs::Target;
use crate::platform::{LaunchPlan, Syscalls};
use crate::policy::problem::{PolicyError, Problem, Problems, quoted};
use crate::policy::source::Source;
use crate::policy::suggest::did_you_mean;
use crate::policy::value::{self, Scalar};
use crate::policy::{self, Over};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The policy of a service that names none.
const USUAL_POLICY: &str = "service";

/// More than this is a mistake, and would make every later step slow.
const MOST_SERVICES: usize = 10_000;

impl Stack {
    /// Reads a stack file. A relative `path` starts at `directory`; paths in the file start where it is.
    ///
    /// # Errors
    /// Everything that is wrong with it, and with the policies that it names.
    pub fn load(path: &Path, directory: &Path) -> Result<Self, PolicyError> {
        let mut problems = Problems::default();
        let files = files::all(path, directory, &mut problems)?;
        of_files(&files, &files::variable, directory, problems)
    }
}

/// What these files mean together.
pub(super) fn of_files(
    files: &[File],
    variable: &dyn Fn(&str) -> Option<String>,
    directory: &Path,
    mut problems: Problems,
) -> Result<Stack, PolicyError> {
    let tables = files::read(files, variable, &mut problems);
    Reader { files, tables: &tables, problems, directory }.read()
}

struct Reader<'a> {
    files: &'a [File],
    /// What stands in each of them.
    tables: &'a [DeTable<'a>],
    problems: Problems,
    directory: &'a Path,
}

/// A place in one of the files.
#[derive(Clone, Debug)]
struct Spot {
    file: usize,
    span: Range<usize>,
}

/// A table that says something of a service: its own, or one of `[defaults]`.
#[derive(Clone, Copy)]
struct Layer<'t> {
    file: usize,
    /// Such as `services.web` or `defaults`.
    path: &'t str,
    table: &'t DeTable<'t>,
}

/// A group, and where each of its members stands.
type Found = (Group, Vec<(String, Spot)>);

/// Rules or receivers of alerts as far as they are read, and where each stands.
type Alerting<T> = BTreeMap<String, (Option<T>, Spot)>;

/// A service as far as it is read, with where things stand.
struct Draft {
    service: Service,
    at: Spot,
    needs: Vec<(String, Spot)>,
    /// Its files of variables, and where they are named.
    env_files: Vec<(values::EnvFile, Spot)>,
}

impl<'a> Reader<'a> {
    fn read(mut self) -> Result<Stack, PolicyError> {
        let (mut name, mut drafts) = (None, BTreeMap::new());
        let mut log_targets = BTreeMap::new();
        let mut groups = BTreeMap::new();
        let (mut rules, mut receivers) = (BTreeMap::new(), BTreeMap::new());
        for (file, table) in self.tables.iter().enumerate() {
            for (key, value) in table {
                match (key.get_ref().as_ref(), value.get_ref()) {
                    ("name", given) => match value::line(Scalar::Toml(given)) {
                        // An included file may be a stack of its own; here it is a part of another.
                        Ok(text) => name = name.or(Some(text.into_owned())),
                        Err(message) => self.problem(&spot(file, value), "name", message),
                    },
                    ("services", DeValue::Table(services)) => {
                        self.services(file, services, &mut drafts);
                    }
                    ("log_targets", DeValue::Table(table)) => {
                        self.log_targets(file, table, &mut log_targets);
                    }
                    ("groups", DeValue::Table(table)) => {
                        for (name, value) in table {
                            self.group(file, name.get_ref(), value, &mut groups);
                        }
                    }
                    ("alerts", DeValue::Table(table)) => self.rules(file, table, &mut rules),
                    ("alert_receivers", DeValue::Table(table)) => {
                        self.receivers(file, table, &mut receivers);
                    }
                    (
                        word @ ("services" | "defaults" | "groups" | "log_targets" | "alerts"
                        | "alert_receivers"),
                        other,
                    ) if !matches!(other, DeValue::Table(_)) => {
                        let message = value::wrong_shape("a table", other);
                        self.problem(&spot(file, value), word, message);
                    }
                    // Looked at with each service, and before everything else.
                    ("defaults" | "include", _) => {}
                    // For other programs.
                    (word, _) if word.starts_with("x-") => {}
                    (word, _) => {
                        let near = did_you_mean(word, super::schema::WORDS);
                        let message = format!("{} is not a key of a stack{near}", quoted(word));
                        self.problem(&Spot { file, span: key.span() }, "", message);
                    }
                }
            }
            let layers = self.defaults(file);
            if drafts.is_empty() && !layers.is_empty() {
                // Nobody has them, and still they may be wrong.
                self.draft(&layers, Spot { file, span: 0..0 });
            }
        }
        self.look_for_targets(&mut drafts, &log_targets);
        self.look_at_the_whole(&drafts);
        self.look_at_groups(&groups, &drafts);
        let mut services: BTreeMap<String, Service> =
            drafts.into_iter().map(|(name, draft)| (name, draft.service)).collect();
        share_calls(&mut services);
        let alerts = self.alerts(rules, receivers, &services);
        let groups = groups.into_iter().map(|(name, (group, _))| (name, group)).collect();
        self.problems.or(Stack { name: name.unwrap_or_default(), services, groups, alerts })
    }

    fn group(
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
    fn look_at_groups(
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

    fn log_targets(
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
    fn look_for_targets(
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

    fn rules(&mut self, file: usize, table: &DeTable<'_>, all: &mut Alerting<RuleDraft>) {
        for (name, value) in table {
            let read = |entries: &DeTable<'_>, wrong: &mut Vec<Wrong>| {
                Some(alerts::rule(entries, name.span(), wrong))
            };
            self.named(file, "alerts", (name, value), all, read);
        }
    }

    fn receivers(&mut self, file: usize, table: &DeTable<'_>, all: &mut Alerting<ReceiverDraft>) {
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
    fn alerts(
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

    /// The policy of this name, where nothing is put over it.
    fn policy_of(&mut self, word: &str, spot: &Spot, path: &str) -> Option<policy::Policy> {
        let directory = self.directory;
        let beside = self.files.get(spot.file).map_or(directory, |file| &file.source.directory);
        match policy::load_under(OsStr::new(word), beside, &[], directory) {
            Ok(policy) => Some(policy),
            Err(error) => {
                for problem in error.problems() {
                    // A name that doesn't exist stands in this file.
                    if problem.position().is_none() && problem.origin() == "policy" {
                        self.problem(spot, path, problem.message().to_owned());
                    } else {
                        self.problems.add(|| problem.clone());
                    }
                }
                None
            }
        }
    }

    /// The defaults that count for the services of a file, the nearest last.
    fn defaults(&self, file: usize) -> Vec<Layer<'a>> {
        let (mut layers, mut at) = (Vec::new(), Some(file));
        while let Some(number) = at {
            let table = self.tables.get(number).and_then(|table| table.get("defaults"));
            if let Some(DeValue::Table(table)) = table.map(Spanned::get_ref) {
                layers.insert(0, Layer { file: number, path: "defaults", table });
            }
            at = self.files.get(number).and_then(|file| file.parent);
        }
        layers
    }

    fn services(&mut self, file: usize, table: &DeTable<'_>, drafts: &mut BTreeMap<String, Draft>) {
        for (name, value) in table.iter().take(MOST_SERVICES) {
            let (word, at) = (name.get_ref().as_ref(), Spot { file, span: name.span() });
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if word.is_empty() || word.len() > 48 || !word.chars().all(plain) {
                let message = format!(
                    "{} is no name for a service (at most 48 letters, digits, `-` and `_`)",
                    quoted(word)
                );
                self.problem(&at, "services", message);
                continue;
            }
            let path = format!("services.{word}");
            let DeValue::Table(entries) = value.get_ref() else {
                let message = value::wrong_shape("a table", value.get_ref());
                self.problem(&spot(file, value), &path, message);
                continue;
            };
            if let Some(known) = drafts.get(word) {
                let other = self.files.get(known.at.file).map(|file| quoted(&file.source.name));
                let message = format!("it stands in {} too", other.unwrap_or_default());
                self.problem(&at, &path, message);
                continue;
            }
            let mut layers = self.defaults(file);
            layers.push(Layer { file, path: &path, table: entries });
            let Some(draft) = self.draft(&layers, at.clone()) else { continue };
            let says = |layer: &Layer<'_>| {
                layer.table.contains_key("command") || layer.table.contains_key("attach")
            };
            if draft.service.command.is_empty() && !layers.iter().any(says) {
                let message = "it has no `command`, and doesn't `attach` to a process";
                self.problem(&at, &path, message.into());
            }
            drafts.insert(word.to_owned(), draft);
        }
    }

    /// What these tables come to, the later ones put over the earlier.
    fn draft(&mut self, layers: &[Layer<'_>], at: Spot) -> Option<Draft> {
        let own = layers.last()?;
        let attaches = own.table.contains_key("attach");
        let policy = if attaches { self.no_policy()? } else { self.policy(layers)? };
        let service = Service::under(policy);
        let mut draft = Draft { service, at, needs: Vec::new(), env_files: Vec::new() };
        for layer in layers {
            for (name, value) in layer.table {
                let word = name.get_ref().as_ref();
                if attaches && !keys::OF_ATTACHED.contains(&word) {
                    // What counts for the others needn't for this one.
                    if layer.path == own.path && !word.starts_with("x-") {
                        let spot = Spot { file: layer.file, span: name.span() };
                        let message =
                            "it isn't Stockade's to start, so this has no meaning beside `attach`";
                        self.problem(&spot, &format!("{}.{word}", layer.path), message.into());
                    }
                    continue;
                }
                match value.get_ref() {
                    DeValue::Table(entries) if keys::SECTIONS.contains(&word) => {
                        for (name, value) in entries {
                            self.entry(*layer, word, name, value, &mut draft);
                        }
                    }
                    _ if is_of_policy(word) => {}
                    _ => self.entry(*layer, "", name, value, &mut draft),
                }
            }
        }
        if !attaches {
            self.environment(layers, &mut draft);
        }
        let is_left_alone = draft.service.attach.as_ref().is_some_and(|attach| !attach.stop);
        if is_left_alone && let Some(value) = own.table.get("stop") {
            let message = "it is never asked to end (write `stop = true` in `attach`)";
            self.problem(&spot(own.file, value), &format!("{}.stop", own.path), message.into());
        }
        draft.service.settle();
        Some(draft)
    }

    /// What stands for the policy of a process around which there are no walls.
    fn no_policy(&self) -> Option<policy::Policy> {
        let directory = self.directory;
        let mut policy = policy::load_under(OsStr::new("base"), directory, &[], directory).ok()?;
        policy.name = "none".to_owned();
        Some(policy)
    }

    /// The policy of a service, with the tables that are put over it.
    fn policy(&mut self, layers: &[Layer<'_>]) -> Option<policy::Policy> {
        let mut over: Vec<Over<'_>> = Vec::new();
        let (mut word, mut named) = (USUAL_POLICY.to_owned(), None);
        for layer in layers {
            let Some(File { source, .. }) = self.files.get(layer.file) else { continue };
            over.push((source, self.sections(layer)));
            let Some(value) = layer.table.get("policy") else { continue };
            match value.get_ref() {
                DeValue::String(given) => {
                    word = given.to_string();
                    named = Some((spot(layer.file, value), format!("{}.policy", layer.path)));
                }
                other => {
                    let message = value::wrong_shape("the name of a policy in quotes", other);
                    let path = format!("{}.policy", layer.path);
                    self.problem(&spot(layer.file, value), &path, message);
                }
            }
        }
        let file = named.as_ref().and_then(|(spot, _)| self.files.get(spot.file));
        let beside = file.map_or(self.directory, |file| &file.source.directory);
        match policy::load_under(OsStr::new(&word), beside, &over, self.directory) {
            Ok(policy) => Some(policy),
            Err(error) => {
                for problem in error.problems() {
                    // A name that doesn't exist stands in this file.
                    let here = problem.position().is_none() && problem.origin() == "policy";
                    match &named {
                        Some((spot, path)) if here => {
                            self.problem(spot, path, problem.message().to_owned());
                        }
                        _ => self.problems.add(|| problem.clone()),
                    }
                }
                // Another one stands in for it, so that the rest is looked at too.
                let directory = self.directory;
                policy::load_under(OsStr::new("base"), directory, &[], directory).ok()
            }
        }
    }

    /// What a table says of the policy: its tables that are the policy's, and keys that are short for one of its.
    fn sections<'t>(&mut self, layer: &Layer<'t>) -> DeTable<'t> {
        let mut sections = DeTable::new();
        for (name, value) in layer.table.iter().filter(|(name, _)| is_of_policy(name.get_ref())) {
            sections.insert(name.clone(), value.clone());
        }
        for (name, value) in layer.table {
            let key = keys::find("", name.get_ref());
            let Some(Kind::OfPolicy(section, of)) = key.map(|key| &key.kind) else { continue };
            let here = || Spanned::new(name.span(), DeValue::Table(DeTable::new()));
            let section =
                sections.entry(Spanned::new(name.span(), (*section).into())).or_insert_with(here);
            // What else stands there is told as what it is.
            let DeValue::Table(section) = section.get_mut() else { continue };
            if section.contains_key(*of) {
                let message = format!("it is said twice, here and as `{of}`");
                self.problem(
                    &Spot { file: layer.file, span: name.span() },
                    &format!("{}.{}", layer.path, name.get_ref()),
                    message,
                );
                continue;
            }
            section.insert(Spanned::new(name.span(), (*of).into()), value.clone());
        }
        sections
    }

    /// One key of a service and its value.
    fn entry(
        &mut self,
        layer: Layer<'_>,
        section: &str,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        draft: &mut Draft,
    ) {
        let (word, file) = (name.get_ref().as_ref(), layer.file);
        if word.starts_with("x-") {
            return;
        }
        let whole = if section.is_empty() { word.to_owned() } else { format!("{section}.{word}") };
        let Some(key) = keys::find(section, word) else {
            let names = keys::KEYS.iter().filter(|key| key.section() == section);
            let sections = keys::SECTIONS.iter().copied().filter(|_| section.is_empty());
            let near = did_you_mean(word, names.map(Key::name).chain(sections));
            let message = format!("{} is not a key of a service{near}", quoted(&whole));
            return self.problem(&Spot { file, span: name.span() }, layer.path, message);
        };
        for (span, message) in put(key, value, file, draft) {
            let span = span.unwrap_or_else(|| value.span());
            self.problem(&Spot { file, span }, &format!("{}.{}", layer.path, key.path), message);
        }
    }

    /// The variables of its files, below those that stand in the stack itself.
    fn environment(&mut self, layers: &[Layer<'_>], draft: &mut Draft) {
        let said: BTreeSet<&str> = layers
            .iter()
            .filter_map(|layer| layer.table.get("environment")?.get_ref().get("set"))
            .filter_map(|set| set.get_ref().as_table())
            .flat_map(|set| set.keys().map(|name| name.get_ref().as_ref()))
            .collect();
        for (env_file, spot) in std::mem::take(&mut draft.env_files) {
            let Some(File { source, .. }) = self.files.get(spot.file) else { continue };
            let (path, directory) = (Path::new(&env_file.path), &source.directory);
            if !env_file.required && matches!(directory.join(path).try_exists(), Ok(false)) {
                continue;
            }
            let found = match Source::guarded(path, directory, "file of variables") {
                Ok(found) => found,
                Err(error) => {
                    let problem = error.problem(&LaunchPlan::readable(path));
                    let message = format!("{}: {}", quoted(&env_file.path), problem.message());
                    self.problem(&spot, "env_file", message);
                    continue;
                }
            };
            match env_file::parse(&found.text) {
                Ok(variables) => {
                    for (name, value) in variables {
                        if !said.contains(name.as_str()) {
                            draft.service.policy.set_variable(&name, &value);
                        }
                    }
                }
                Err((span, message)) => {
                    let (name, text) = (&found.name, &found.text);
                    self.problems.add(|| Problem::in_text(name, text, span, "", message));
                }
            }
        }
    }

    /// What only the whole can tell: whether what services need exists, and can ever be there.
    fn look_at_the_whole(&mut self, drafts: &BTreeMap<String, Draft>) {
        let mut all_exist = true;
        for (name, draft) in drafts {
            let replicas = draft.service.replicas.unwrap_or(0);
            if let Some(why) = draft.service.cannot_be(replicas) {
                self.problem(&draft.at, &format!("services.{name}.replicas"), why);
            }
            if draft.service.is_job() && draft.service.probes.all().next().is_some() {
                let message = "a job is done when it ends: a probe would tell nothing of it";
                self.problem(&draft.at, &format!("services.{name}"), message.into());
            }
            if draft.service.pid_file.is_some() && !draft.service.rules.forks {
                let message = "only a `forking` service leaves its work to another process";
                self.problem(&draft.at, &format!("services.{name}.pid_file"), message.into());
            }
            for (needed, spot) in &draft.needs {
                if let Some(other) = drafts.get(needed) {
                    let need = draft.service.depends_on.get(needed);
                    let healthy = need.is_some_and(|need| need.condition == Condition::Healthy);
                    if healthy && other.service.probes.all().next().is_none() {
                        let message = format!(
                            "nobody could tell that `{needed}` is healthy: it has no probe"
                        );
                        self.problem(spot, &format!("services.{name}.depends_on"), message);
                    }
                    continue;
                }
                all_exist = false;
                let near = did_you_mean(needed, drafts.keys().map(String::as_str));
                let message = format!("there is no service {}{near}", quoted(needed));
                self.problem(spot, &format!("services.{name}.depends_on"), message);
            }
        }
        let services: BTreeMap<String, Service> = match all_exist {
            true => drafts.iter().map(|(name, it)| (name.clone(), it.service.clone())).collect(),
            false => return,
        };
        if let Err(circle) = Stack::ordered(&services) {
            let first = circle.first().copied().unwrap_or_default();
            let shown = format!("{} -> {first}", circle.join(" -> "));
            let Some(draft) = drafts.get(first) else { return };
            let message = format!("services wait for each other: {shown}");
            self.problem(&draft.at, &format!("services.{first}.depends_on"), message);
        }
    }

    fn problem(&mut self, spot: &Spot, key: &str, message: String) {
        let Some(File { source, .. }) = self.files.get(spot.file) else { return };
        let problem = Problem::in_text(&source.name, &source.text, spot.span.clone(), key, message);
        self.problems.add(|| problem.in_source(spot.file));
    }
}

/// Services that may make the same system calls share one list of them, which is most of what a policy takes in memory.
fn share_calls(services: &mut BTreeMap<String, Service>) {
    let mut all: Vec<Arc<Syscalls>> = Vec::new();
    for Service { policy, .. } in services.values_mut() {
        match all.iter().find(|known| **known == policy.syscalls) {
            Some(known) => policy.syscalls = known.clone(),
            None => all.push(policy.syscalls.clone()),
        }
    }
}

fn spot(file: usize, value: &Spanned<DeValue<'_>>) -> Spot {
    Spot { file, span: value.span() }
}

/// Whether a table of a service is one of its policy's.
fn is_of_policy(name: &str) -> bool {
    policy::sections().any(|section| section == name)
}

/// Puts a value into a draft, and gives what is wrong with it.
fn put(key: &Key, value: &Spanned<DeValue<'_>>, file: usize, draft: &mut Draft) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if let Err(first) = try_put(key, value, file, draft, &mut wrong) {
        wrong.push(first);
    }
    wrong
}

fn try_put(
    key: &Key,
    value: &Spanned<DeValue<'_>>,
    file: usize,
    draft: &mut Draft,
    wrong: &mut Vec<Wrong>,
) -> Result<(), Wrong> {
    let spots = |at: Range<usize>| Spot { file, span: at };
    match &key.kind {
        Kind::Services => {
            let (depends_on, needs) = values::needs(key, value)?;
            draft.service.depends_on = depends_on;
            draft.needs = needs.into_iter().map(|(name, at)| (name, spots(at))).collect();
        }
        Kind::Probe(purpose) => {
            let probe = probes::read(value.get_ref(), *purpose, wrong);
            *draft.service.probes.of(*purpose) = probe;
        }
        Kind::EnvFiles => {
            let files = values::env_files(key, value.get_ref())?;
            draft.env_files = files.into_iter().map(|(file, at)| (file, spots(at))).collect();
        }
        _ => values::put(key, value.get_ref(), &mut draft.service)?,
    }
    Ok(())
}
