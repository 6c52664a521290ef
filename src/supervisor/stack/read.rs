//! Reading a stack file: everything that is wrong with it at once, each with its line and column.
//!
//! What `[defaults]` says counts for the services of its file, and of those that it includes; what is said nearer to a service
//! counts more. An included file is a stack file like any other.

mod alerts;
mod named;
mod whole;

use super::files::{self, File};
use super::keys::{self, Key, Kind};
use super::values::{self, Wrong};
use super::{Group, Service, Stack, env_file, probes};
use crate::platform::LaunchPlan;
use crate::policy::problem::{PolicyError, Problem, Problems, quoted};
use crate::policy::source::Source;
use crate::policy::suggest::did_you_mean;
use crate::policy::value::{self, Scalar};
use crate::policy::{self, Over};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;
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
        whole::share_calls(&mut services);
        let alerts = self.alerts(rules, receivers, &services);
        let groups = groups.into_iter().map(|(name, (group, _))| (name, group)).collect();
        self.problems.or(Stack { name: name.unwrap_or_default(), services, groups, alerts })
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

    fn problem(&mut self, spot: &Spot, key: &str, message: String) {
        let Some(File { source, .. }) = self.files.get(spot.file) else { return };
        let problem = Problem::in_text(&source.name, &source.text, spot.span.clone(), key, message);
        self.problems.add(|| problem.in_source(spot.file));
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
