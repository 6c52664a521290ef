//! Reading a stack file: everything that is wrong with it at once, each with its line and column.

use super::keys::{self, Key, Kind};
use super::{Condition, Service, Stack};
use crate::platform::{LaunchPlan, Signal};
use crate::policy::problem::{PolicyError, Problem, Problems, quoted};
use crate::policy::source::Source;
use crate::policy::suggest::did_you_mean;
use crate::policy::value::{self, Scalar};
use crate::policy::{self, syntax};
use crate::supervisor::{ExitStatus, Rules};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
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
        let source = Source::file(path, directory)
            .map_err(|error| error.problem(&LaunchPlan::readable(path)))?;
        Reader { source: &source, problems: Problems::default(), directory }.read()
    }
}

struct Reader<'a> {
    source: &'a Source,
    problems: Problems,
    directory: &'a Path,
}

/// A service as far as it is read, with where things stand.
struct Draft {
    service: Service,
    at: Range<usize>,
    needs: Vec<(String, Range<usize>)>,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Stack, PolicyError> {
        let (root, errors) = DeTable::parse_recoverable(&self.source.text);
        let broken = syntax::tell(self.source, 0, &errors, &mut self.problems);
        let (mut name, mut drafts) = (String::new(), BTreeMap::new());
        // What is guessed of a broken file would only be told as more mistakes.
        for (key, value) in root.get_ref().iter().filter(|_| broken.is_empty()) {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("name", given) => match value::line(Scalar::Toml(given)) {
                    Ok(text) => name = text.into_owned(),
                    Err(message) => self.problem(value.span(), "name", message),
                },
                ("services", DeValue::Table(services)) => drafts = self.services(services),
                ("services", other) => {
                    let message = value::wrong_shape("a table of services", other);
                    self.problem(value.span(), "services", message);
                }
                // For other programs.
                (word, _) if word.starts_with("x-") => {}
                (word, _) => {
                    let near = did_you_mean(word, ["name", "services"]);
                    let message = format!("{} is not a key of a stack{near}", quoted(word));
                    self.problem(key.span(), "", message);
                }
            }
        }
        self.look_at_the_whole(&drafts);
        let services = drafts.into_iter().map(|(name, draft)| (name, draft.service)).collect();
        self.problems.or(Stack { name, services })
    }

    fn services(&mut self, table: &DeTable<'_>) -> BTreeMap<String, Draft> {
        let mut drafts = BTreeMap::new();
        for (name, value) in table.iter().take(MOST_SERVICES) {
            let word = name.get_ref().as_ref();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if word.is_empty() || word.len() > 48 || !word.chars().all(plain) {
                let message = format!(
                    "{} is no name for a service (at most 48 letters, digits, `-` and `_`)",
                    quoted(word)
                );
                self.problem(name.span(), "services", message);
                continue;
            }
            let path = format!("services.{word}");
            let DeValue::Table(entries) = value.get_ref() else {
                let message = value::wrong_shape("a table", value.get_ref());
                self.problem(value.span(), &path, message);
                continue;
            };
            if let Some(draft) = self.service(&path, name.span(), entries) {
                drafts.insert(word.to_owned(), draft);
            }
        }
        drafts
    }

    fn service(&mut self, path: &str, at: Range<usize>, table: &DeTable<'_>) -> Option<Draft> {
        let policy = self.policy(path, table)?;
        let service = Service {
            description: String::new(),
            command: Vec::new(),
            policy,
            enabled: true,
            rules: Rules::default(),
            stop_signal: Signal::Terminate,
            reload_signal: Signal::Hangup,
            depends_on: BTreeMap::new(),
        };
        let mut draft = Draft { service, at, needs: Vec::new() };
        for (name, value) in table {
            let word = name.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(entries) if keys::SECTIONS.contains(&word) => {
                    for (name, value) in entries {
                        self.entry(path, word, name, value, &mut draft);
                    }
                }
                _ if is_of_policy(word) || word.starts_with("x-") => {}
                _ => self.entry(path, "", name, value, &mut draft),
            }
        }
        if draft.service.command.is_empty() && table.get("command").is_none() {
            self.problem(draft.at.clone(), path, "it has no `command`".into());
        }
        Some(draft)
    }

    /// The policy of a service, with the tables that are put over it.
    fn policy(&mut self, path: &str, table: &DeTable<'_>) -> Option<policy::Policy> {
        let mut sections = DeTable::new();
        for (name, value) in table.iter().filter(|(name, _)| is_of_policy(name.get_ref())) {
            sections.insert(name.clone(), value.clone());
        }
        let word = match table.get("policy").map(|value| (value.span(), value.get_ref())) {
            None => USUAL_POLICY,
            Some((_, DeValue::String(word))) => word.as_ref(),
            Some((span, other)) => {
                let message = value::wrong_shape("the name of a policy in quotes", other);
                self.problem(span, &format!("{path}.policy"), message);
                USUAL_POLICY
            }
        };
        let over = (self.source, &sections);
        match policy::load_under(OsStr::new(word), over, self.directory) {
            Ok(policy) => Some(policy),
            Err(error) => {
                let span = table.get("policy").map(Spanned::span).unwrap_or_default();
                for problem in error.problems() {
                    // A name that doesn't exist stands in this file.
                    let here = problem.position().is_none() && problem.origin() == "policy";
                    let message = problem.message().to_owned();
                    if here {
                        self.problem(span.clone(), &format!("{path}.policy"), message);
                    } else {
                        self.problems.add(|| problem.clone());
                    }
                }
                // Another one stands in for it, so that the rest is looked at too.
                let nothing = DeTable::new();
                policy::load_under(OsStr::new("base"), (self.source, &nothing), self.directory).ok()
            }
        }
    }

    /// One key of a service and its value.
    fn entry(
        &mut self,
        path: &str,
        section: &str,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        draft: &mut Draft,
    ) {
        let word = name.get_ref().as_ref();
        let whole = if section.is_empty() { word.to_owned() } else { format!("{section}.{word}") };
        let Some(key) = keys::find(section, word) else {
            let names = keys::KEYS.iter().filter(|key| key.section() == section);
            let sections = keys::SECTIONS.iter().copied().filter(|_| section.is_empty());
            let near = did_you_mean(word, names.map(Key::name).chain(sections));
            let message = format!("{} is not a key of a service{near}", quoted(&whole));
            return self.problem(name.span(), path, message);
        };
        if let Err((span, message)) = put(key, value, draft) {
            let span = span.unwrap_or_else(|| value.span());
            self.problem(span, &format!("{path}.{}", key.path), message);
        }
    }

    /// What only the whole can tell: whether what services need exists, and can ever be there.
    fn look_at_the_whole(&mut self, drafts: &BTreeMap<String, Draft>) {
        let mut all_exist = true;
        for (name, draft) in drafts {
            for (needed, span) in &draft.needs {
                if drafts.contains_key(needed) {
                    continue;
                }
                all_exist = false;
                let near = did_you_mean(needed, drafts.keys().map(String::as_str));
                let message = format!("there is no service {}{near}", quoted(needed));
                self.problem(span.clone(), &format!("services.{name}.depends_on"), message);
            }
        }
        let services: BTreeMap<String, Service> = match all_exist {
            true => drafts.iter().map(|(name, it)| (name.clone(), it.service.clone())).collect(),
            false => return,
        };
        if let Err(circle) = Stack::ordered(&services) {
            let first = circle.first().copied().unwrap_or_default();
            let shown = format!("{} -> {first}", circle.join(" -> "));
            let span = drafts.get(first).map(|draft| draft.at.clone()).unwrap_or_default();
            let message = format!("services wait for each other: {shown}");
            self.problem(span, &format!("services.{first}.depends_on"), message);
        }
    }

    fn problem(&mut self, span: Range<usize>, key: &str, message: String) {
        let Source { name, text, .. } = self.source;
        self.problems.add(|| Problem::in_text(name, text, span, key, message));
    }
}

/// Whether a table of a service is one of its policy's.
fn is_of_policy(name: &str) -> bool {
    policy::sections().any(|section| section == name)
}

/// What is wrong, and where if that isn't the whole value.
type Wrong = (Option<Range<usize>>, String);

fn put(key: &Key, value: &Spanned<DeValue<'_>>, draft: &mut Draft) -> Result<(), Wrong> {
    let (service, given) = (&mut draft.service, value.get_ref());
    let scalar = Scalar::Toml(given);
    let here = |message: String| (None, message);
    match &key.kind {
        Kind::Line(set) => set(service, &value::line(scalar).map_err(here)?),
        Kind::Switch(set) => set(service, value::switch(scalar).map_err(here)?),
        Kind::Duration(set) => set(service, value::duration(scalar).map_err(here)?),
        Kind::Time(set) => set(service, value::time(scalar).map_err(here)?),
        Kind::Count(set) => set(service, value::whole(scalar, 0, 1_000_000).map_err(here)?),
        Kind::Factor(least, most, set) => {
            set(service, value::factor(scalar, *least, *most).map_err(here)?);
        }
        Kind::Choice(choices) => {
            let words: Vec<&str> = choices.iter().map(|choice| choice.word).collect();
            (choices[value::choice(scalar, &words).map_err(here)?].set)(service);
        }
        Kind::Signal(set) => {
            let text = scalar.text().map_err(here)?;
            let signal = text.parse::<Signal>();
            set(service, signal.map_err(|error| here(format!("{} {error}", quoted(&text))))?);
        }
        Kind::Statuses(set) => set(service, statuses(key, given)?),
        Kind::Command => service.command = command(key, given)?,
        // Read before everything else.
        Kind::Policy => {}
        Kind::Services => {
            let (depends_on, needs) = needs(key, value)?;
            (draft.service.depends_on, draft.needs) = (depends_on, needs);
        }
    }
    Ok(())
}

fn list<'v>(
    key: &Key,
    value: &'v DeValue<'_>,
) -> Result<impl Iterator<Item = &'v Spanned<DeValue<'v>>>, Wrong> {
    match value {
        DeValue::Array(entries) => Ok(entries.iter()),
        other => Err((None, value::wrong_shape(&format!("a list such as {}", key.example), other))),
    }
}

/// A program and its arguments.
fn command(key: &Key, value: &DeValue<'_>) -> Result<Vec<OsString>, Wrong> {
    let words: Vec<OsString> = match value {
        DeValue::String(text)
            if text.contains(['"', '\'', '\\', '$', '`', '|', '>', '<', ';', '&']) =>
        {
            let message = "no shell reads this (write a list, each word in quotes)".to_owned();
            return Err((None, message));
        }
        DeValue::String(text) => text.split_whitespace().map(OsString::from).collect(),
        other => {
            let mut words = Vec::new();
            for word in list(key, other)? {
                let text = Scalar::Toml(word.get_ref()).text();
                let text = text.map_err(|message| (Some(word.span()), message))?;
                if text.contains('\0') {
                    let message = format!("{} has a NUL character", quoted(&text));
                    return Err((Some(word.span()), message));
                }
                words.push(OsString::from(text.into_owned()));
            }
            words
        }
    };
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        _ => Err((None, "it names no program".to_owned())),
    }
}

/// Exit codes and signals.
fn statuses(key: &Key, value: &DeValue<'_>) -> Result<BTreeSet<ExitStatus>, Wrong> {
    let mut all = BTreeSet::new();
    for entry in list(key, value)? {
        let wrong = |message: String| (Some(entry.span()), message);
        let status = match entry.get_ref() {
            DeValue::String(name) => match name.parse::<Signal>().map(signal_number) {
                Ok(Some(number)) => ExitStatus::Signal(number),
                Ok(None) => return Err(wrong(format!("{} ends nothing", quoted(name)))),
                Err(error) => return Err(wrong(format!("{} {error}", quoted(name)))),
            },
            other => {
                let code = value::whole(Scalar::Toml(other), 0, 255).map_err(wrong)?;
                ExitStatus::Code(i32::try_from(code).unwrap_or(i32::MAX))
            }
        };
        all.insert(status);
    }
    Ok(all)
}

/// The number of a signal that ends a program, which is the same on all systems that have it.
fn signal_number(signal: Signal) -> Option<i32> {
    match signal {
        Signal::Hangup => Some(1),
        Signal::Interrupt => Some(2),
        Signal::Quit => Some(3),
        Signal::Kill => Some(9),
        Signal::User1 => Some(10),
        Signal::User2 => Some(12),
        Signal::Terminate => Some(15),
        _ => None,
    }
}

type Needs = (BTreeMap<String, Condition>, Vec<(String, Range<usize>)>);

/// Services and what is needed of them: a list of names, or a table of names and conditions.
fn needs(key: &Key, value: &Spanned<DeValue<'_>>) -> Result<Needs, Wrong> {
    const WORDS: [(&str, Condition); 3] = [
        ("started", Condition::Started),
        ("ready", Condition::Ready),
        ("completed", Condition::Completed),
    ];
    let (mut all, mut places) = (BTreeMap::new(), Vec::new());
    if let DeValue::Table(entries) = value.get_ref() {
        for (name, value) in entries {
            let words = WORDS.map(|(word, _)| word);
            let at = value::choice(Scalar::Toml(value.get_ref()), &words);
            let at = at.map_err(|message| (Some(value.span()), message))?;
            all.insert(name.get_ref().to_string(), WORDS[at].1);
            places.push((name.get_ref().to_string(), name.span()));
        }
        return Ok((all, places));
    }
    for entry in list(key, value.get_ref())? {
        let name = Scalar::Toml(entry.get_ref()).text();
        let name = name.map_err(|message| (Some(entry.span()), message))?.into_owned();
        all.insert(name.clone(), Condition::default());
        places.push((name, entry.span()));
    }
    Ok((all, places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn load(text: &str) -> Result<Stack, String> {
        let source = Source {
            name: "stockade.toml".into(),
            text: text.to_owned().into(),
            directory: "/srv".into(),
            shipped: false,
            identity: "/srv/stockade.toml".into(),
        };
        let reader =
            Reader { source: &source, problems: Problems::default(), directory: Path::new("/srv") };
        reader.read().map_err(|error| {
            let lines: Vec<String> = error.problems().iter().map(Problem::headline).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn services_say_what_runs_and_how() {
        let stack = load(
            "name = \"shop\"
x-team = 1
[services.web]
command = \"server --port 80\"
depends_on = { db = \"ready\", setup = \"completed\" }
policy = \"worker\"
limits = { memory = \"64MiB\" }
[services.web.restart]
policy = \"always\"
max_attempts = 3
[services.web.stop]
signal = \"SIGINT\"
grace_period = \"5s\"
[services.db]
command = [\"db\", \"a b\"]
success_exit_status = [3, \"USR1\"]
[services.setup]
command = [\"true\"]
type = \"oneshot\"",
        )
        .unwrap();
        let web = &stack.services["web"];
        assert_eq!(web.command, ["server", "--port", "80"]);
        assert_eq!(web.policy.limits.memory, Some(crate::platform::Bytes::mib(64)));
        assert_eq!(web.policy.limits.pids, Some(64));
        assert_eq!((web.stop_signal, web.rules.grace), (Signal::Interrupt, Duration::from_secs(5)));
        assert_eq!(web.rules.restart.run.attempts, 3);
        assert_eq!(stack.services["db"].rules.restart.statuses.success.len(), 2);
        assert_eq!(stack.order(), ["db", "setup", "web"]);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_place() {
        let wrong = load(
            "nmae = 1
[services.web]
comand = [\"x\"]
policy = \"wroker\"
[services.api]
command = \"a | b\"
depends_on = [\"wbe\"]
restart = { polcy = \"no\", delay = \"5 minutes\" }
limits = { memory = \"64\" }
[services.\"a b\"]
[services.job]
depends_on = [\"job\"]
stop = { signal = \"SIGFOO\" }",
        )
        .unwrap_err();
        insta::assert_snapshot!(wrong, @"
        stockade.toml:1:1: `nmae` is not a key of a stack (did you mean `name`?)
        stockade.toml:2:11: services.web: it has no `command`
        stockade.toml:3:1: services.web: `comand` is not a key of a service (did you mean `command`?)
        stockade.toml:4:10: services.web.policy: `wroker` is not a shipped policy (did you mean `worker`?)
        stockade.toml:6:11: services.api.command: no shell reads this (write a list, each word in quotes)
        stockade.toml:7:15: services.api.depends_on: there is no service `wbe` (did you mean `web`?)
        stockade.toml:8:13: services.api: `restart.polcy` is not a key of a service (did you mean `policy`?)
        stockade.toml:8:35: services.api.restart.delay: `5 minutes` is not a duration (write `5m`)
        stockade.toml:10:11: services: `a b` is no name for a service (at most 48 letters, digits, `-` and `_`)
        stockade.toml:11:11: services.job: it has no `command`
        stockade.toml:13:19: services.job.stop.signal: `SIGFOO` is no signal (there are HUP, INT, QUIT, TERM, KILL, USR1, USR2, WINCH, STOP, CONT)
        stockade.toml:9:21: limits.memory: `64` is not a size (write `512MiB`)
        ");
    }

    #[test]
    fn services_that_wait_for_each_other_are_shown() {
        let wrong = load(
            "[services.a]
command = [\"a\"]
depends_on = [\"b\"]
[services.b]
command = [\"b\"]
depends_on = [\"c\"]
[services.c]
command = [\"c\"]
depends_on = [\"b\"]",
        )
        .unwrap_err();
        insta::assert_snapshot!(wrong, @"stockade.toml:4:11: services.b.depends_on: services wait for each other: b -> c -> b");
    }
}
