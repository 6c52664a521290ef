//! One layer of a policy: the values of one file, or of the command line, checked and put onto the layers below.

mod io;
mod rules;

pub(super) use io::LEAST_IOPS;

use super::draft::Draft;
use super::key::{Key, Kind, Names, Values};
use super::keys;
use super::paths::{self, Base};
use super::problem::{Problem, Problems, quoted};
use super::source::Source;
use super::suggest::{did_you_mean, nearest};
use super::syscalls;
use super::value::{self, Scalar};
use crate::platform::{
    AllowRule, Bytes, Control, LaunchPlan, Publish, capability_names, known_capability,
};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A list with more entries is a mistake, and would make every later step slow.
const MOST_ENTRIES: usize = 1000;

/// Where a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the source with this number, from this byte on.
    Source(usize, usize),
    /// On the command line.
    CommandLine,
}

/// Which value stands where: the last note of a value is the one that counts.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) key: &'static Key,
    /// The entry of a list, or the name of an entry of a table; empty for other keys.
    pub(super) entry: String,
    pub(super) place: Place,
}

/// What is found out on the way.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Problems,
    pub(super) notes: Vec<Note>,
    pub(super) warnings: Vec<String>,
}

/// Where a value comes from, for messages and notes.
#[derive(Clone, Debug)]
pub(super) enum Spot<'a> {
    Text { source: &'a Source, number: usize, span: Range<usize> },
    Flag,
}

impl Spot<'_> {
    pub(super) fn problem(&self, key: &str, message: String) -> Problem {
        match self {
            Self::Text { source, number, span } => {
                Problem::in_text(&source.name, &source.text, span.clone(), key, message)
                    .in_source(*number)
            }
            Self::Flag => Problem::of_flag(keys::find(key).map_or(key, |key| key.flag), message),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Text { number, span, .. } => Place::Source(*number, span.start),
            Self::Flag => Place::CommandLine,
        }
    }
}

/// As much of `all` as `part` is of `whole`, in whole KiB.
fn share(part: Bytes, whole: Bytes, all: Bytes) -> Bytes {
    let exact = u128::from(part.0) * u128::from(all.0) / u128::from(whole.0.max(1));
    Bytes(u64::try_from(exact).unwrap_or(all.0) & !0x3ff)
}

/// What an entry of a list is about: two entries of one layer about the same thing are a mistake.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Subject {
    Path(OsString),
    Disk(OsString),
    Name(Names, String),
}

/// The layer that is being read.
#[derive(Debug)]
pub(super) struct Layer<'d> {
    draft: &'d mut Draft,
    findings: &'d mut Findings,
    base: Base<'d>,
    /// Whether the policy is one that comes with Stockade: then nobody can mend it where it says `.`.
    shipped: bool,
    seen: HashMap<Subject, &'static Key>,
    /// How much may be used by what the layers below say, and how many notes are theirs.
    below: (Option<Bytes>, usize),
}

impl<'d> Layer<'d> {
    pub(super) fn new(
        draft: &'d mut Draft,
        findings: &'d mut Findings,
        base: Base<'d>,
        shipped: bool,
    ) -> Self {
        draft.begin_layer();
        let below = (draft.policy.limits.memory, findings.notes.len());
        Self { draft, findings, base, shipped, seen: HashMap::new(), below }
    }

    /// All of it is read. Where it says less `memory` and nothing of `memory_high`, that goes down in proportion: at what the
    /// layers below say it would never act.
    pub(super) fn end(self) {
        let (before, first) = self.below;
        let limits = &mut self.draft.policy.limits;
        let (Some(before), Some(memory), Some(high)) = (before, limits.memory, limits.memory_high)
        else {
            return;
        };
        let notes = &self.findings.notes[first..];
        let said = |path: &str| notes.iter().rfind(|note| note.key.path == path);
        let high_key = keys::find("limits.memory_high");
        let (Some(note), None, Some(key)) =
            (said("limits.memory"), said("limits.memory_high"), high_key)
        else {
            return;
        };
        if high > memory && high <= before {
            limits.memory_high = Some(share(high, before, memory));
            let note = Note { key, entry: String::new(), place: note.place };
            self.findings.notes.push(note);
        }
    }

    /// Reads the whole of a file. `broken` are the parts where it isn't TOML: what is found there was guessed.
    pub(super) fn read(
        &mut self,
        source: &Source,
        number: usize,
        root: &DeTable<'_>,
        broken: &[Range<usize>],
    ) {
        let whole = |span: Range<usize>| {
            !broken.iter().any(|part| part.start <= span.end && span.start <= part.end)
        };
        let spot = |span| Spot::Text { source, number, span };
        for (name, value) in root {
            let is_table = matches!(value.get_ref(), DeValue::Table(_));
            let is_whole = whole(name.span()) && whole(value.span());
            if !(is_table || is_whole) {
                continue;
            }
            let section = keys::SECTIONS.iter().find(|(section, _)| *section == name.get_ref());
            match (section, value.get_ref()) {
                (Some((section, _)), DeValue::Table(entries)) => {
                    for (name, value) in entries {
                        if whole(name.span()) && whole(value.span()) {
                            self.entry(section, name, value, &spot);
                        }
                    }
                }
                (Some((section, _)), other) => {
                    let message = value::wrong_shape("a table", other);
                    self.problem(&spot(value.span()), section, message);
                }
                (None, _) => self.entry("", name, value, &spot),
            }
        }
    }

    /// One key of a section and its value.
    fn entry<'s>(
        &mut self,
        section: &str,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        spot: &impl Fn(Range<usize>) -> Spot<'s>,
    ) {
        let Some(key) = keys::find_in(section, name.get_ref().as_ref()) else {
            let (path, message) = unknown(section, name.get_ref().as_ref(), value.get_ref());
            return self.problem(&spot(name.span()), &path, message);
        };
        match (&key.kind, value.get_ref()) {
            (
                Kind::Paths(_) | Kind::Names(..) | Kind::Io(_) | Kind::Rules(_),
                DeValue::Array(entries),
            ) => {
                if entries.len() > MOST_ENTRIES {
                    let message =
                        format!("{} entries are too many (at most {MOST_ENTRIES})", entries.len());
                    return self.problem(&spot(value.span()), key.path, message);
                }
                for entry in entries.iter() {
                    match key.kind {
                        Kind::Io(set) => self.io_entry(key, set, entry, &spot),
                        Kind::Rules(set) => self.rule_entry(key, set, entry, &spot),
                        _ => self.put(key, Scalar::Toml(entry.get_ref()), &spot(entry.span())),
                    }
                }
            }
            (Kind::Pairs(..), DeValue::Table(entries)) => {
                if entries.len() > MOST_ENTRIES {
                    let message =
                        format!("{} entries are too many (at most {MOST_ENTRIES})", entries.len());
                    return self.problem(&spot(value.span()), key.path, message);
                }
                for (name, value) in entries {
                    self.put_pair(
                        key,
                        name.get_ref(),
                        Scalar::Toml(value.get_ref()),
                        &spot(value.span()),
                    );
                }
            }
            (Kind::Paths(_) | Kind::Names(..) | Kind::Io(_) | Kind::Rules(_), other) => {
                let message = value::wrong_shape(&format!("a list such as {}", key.example), other);
                self.problem(&spot(value.span()), key.path, message);
            }
            (Kind::Pairs(..), other) => {
                let message =
                    value::wrong_shape(&format!("a table such as {}", key.example), other);
                self.problem(&spot(value.span()), key.path, message);
            }
            (_, other) => self.put(key, Scalar::Toml(other), &spot(value.span())),
        }
    }

    /// One value as it is typed on the command line.
    pub(super) fn read_typed(&mut self, key: &'static Key, text: &OsStr) {
        match key.kind {
            Kind::Io(set) => return self.typed_io(key, set, text),
            Kind::Rules(set) => return self.typed_rule(key, set, text),
            Kind::Pairs(..) => {}
            _ => return self.put(key, Scalar::Typed(text), &Spot::Flag),
        }
        match text.to_str().map(|text| (text, text.split_once('='))) {
            None => {
                self.problem(&Spot::Flag, key.path, format!("{} is not UTF-8", paths::shown(text)))
            }
            Some((text, None)) => {
                let message = format!("{} has no `=` (write `{text}=VALUE`)", quoted(text));
                self.problem(&Spot::Flag, key.path, message);
            }
            Some((_, Some((name, value)))) => {
                self.put_pair(key, name, Scalar::Typed(OsStr::new(value)), &Spot::Flag);
            }
        }
    }

    /// Checks one value, and puts it onto what there is.
    fn put(&mut self, key: &'static Key, scalar: Scalar<'_>, spot: &Spot<'_>) {
        if let Err(message) = self.try_put(key, scalar, spot) {
            self.problem(spot, key.path, message);
        }
    }

    fn try_put(
        &mut self,
        key: &'static Key,
        scalar: Scalar<'_>,
        spot: &Spot<'_>,
    ) -> Result<(), String> {
        let mut entry = String::new();
        match &key.kind {
            // Followed before this layer is read.
            Kind::Extends => _ = scalar.text()?,
            Kind::Text(set) => set(self.draft, &value::line(scalar)?),
            Kind::HostName(set) => set(self.draft, &value::host_name(scalar)?),
            Kind::Size(rules) => (rules.set)(self.draft, value::size(scalar, rules)?),
            Kind::Cores(set) => set(self.draft, value::cores(scalar)?),
            Kind::Count(rules) => (rules.set)(self.draft, value::count(scalar, rules)?),
            Kind::Rate(least, set) => set(self.draft, value::rate(scalar, *least)?),
            Kind::Time(set) => set(self.draft, value::time(scalar)?),
            Kind::Grace(set) => set(self.draft, value::duration(scalar)?),
            Kind::Ids(set) => set(self.draft, value::ids(scalar)?),
            Kind::Ports(set) => set(self.draft, value::ports(scalar)?),
            Kind::Mode(set) => set(self.draft, value::mode(scalar)?),
            Kind::Range(set) => set(self.draft, value::range(scalar)?),
            Kind::Offset(set) => set(self.draft, value::offset(scalar)?),
            Kind::Switch(set) => set(self.draft, value::switch(scalar)?),
            Kind::Choice(choices) => {
                let words: Vec<&str> = choices.iter().map(|choice| choice.word).collect();
                (choices[value::choice(scalar, &words)?].set)(self.draft);
            }
            Kind::Path(set) => set(self.draft, paths::resolve(&scalar.system_text()?, self.base)?),
            Kind::PathOr(word, set) => {
                let text = scalar.system_text()?;
                let path = (*text != **word).then(|| paths::resolve(&text, self.base));
                set(self.draft, path.transpose()?);
            }
            Kind::Paths(set) => {
                let text = scalar.system_text()?;
                let path = paths::resolve(&text, self.base)?;
                self.claim(key, Subject::Path(path.clone().into()), || paths::shown(&text))?;
                if let Some(reason) = paths::reserved(&path) {
                    if !(self.shipped && *text == *".") {
                        return Err(reason.into());
                    }
                    self.findings.warnings.push(not_visible(reason));
                    return Ok(());
                }
                entry = LaunchPlan::readable(&path);
                set(self.draft, path);
            }
            Kind::Names(names, set) => {
                let text = scalar.text()?;
                let subject = names.check(&text)?;
                entry = names.entry(&text, &subject);
                self.claim(key, Subject::Name(*names, subject), || quoted(&text))?;
                set(self.draft, &text);
            }
            Kind::Io(_) | Kind::Rules(_) | Kind::Pairs(..) => {
                return Err("expected a table".into());
            }
        }
        self.findings.notes.push(Note { key, entry, place: spot.place() });
        Ok(())
    }

    /// One entry of a table.
    fn put_pair(&mut self, key: &'static Key, name: &str, value: Scalar<'_>, spot: &Spot<'_>) {
        let Kind::Pairs(names, values, set) = &key.kind else { return };
        let checked = names
            .check(name)
            .and_then(|_| values.check(name, value, self.base))
            .and_then(|value| {
                self.claim(key, Subject::Name(*names, name.into()), || quoted(name)).map(|()| value)
            });
        match checked {
            Ok(value) => {
                set(self.draft, name, &value);
                self.findings.notes.push(Note { key, entry: name.into(), place: spot.place() });
            }
            Err(message) => {
                let shown = quoted(name);
                let entry = format!("{}.{}", key.path, shown.trim_matches('`'));
                // A flag is named as it is: what it sets stands in the message.
                let path =
                    if matches!(spot, Spot::Flag) || name.is_empty() { key.path } else { &entry };
                self.problem(spot, path, message);
            }
        }
    }

    /// Takes note that this layer speaks of a subject; an error when it did before.
    fn claim(
        &mut self,
        key: &'static Key,
        subject: Subject,
        shown: impl Fn() -> String,
    ) -> Result<(), String> {
        match self.seen.insert(subject, key) {
            None => Ok(()),
            Some(before) if before.path == key.path => Err(format!("{} is named twice", shown())),
            Some(before) => {
                Err(format!("{} is named in `{}` too (name it once)", shown(), before.path))
            }
        }
    }

    pub(super) fn problem(&mut self, spot: &Spot<'_>, key: &str, message: String) {
        self.findings.problems.add(|| spot.problem(key, message));
    }
}

/// What a shipped policy says instead of refusing, where its `.` is a place that the sandbox makes itself.
pub(super) fn not_visible(reason: &str) -> String {
    format!("the working directory isn't visible inside: {reason}")
}

impl Names {
    /// What a note and `explain` have of a name that was checked.
    fn entry(self, name: &str, subject: &str) -> String {
        match self {
            Self::Published => {
                name.parse::<Publish>().map_or_else(|_| name.into(), |one| one.to_string())
            }
            _ => subject.to_owned(),
        }
    }

    /// The subject of a name, when it is one that exists.
    fn check(self, name: &str) -> Result<String, String> {
        match self {
            Self::Variables => value::variable(name).map(|()| name.to_owned()),
            Self::Files => value::place_inside(name).map(|()| name.to_owned()),
            Self::Secrets => value::secret_name(name).map(|()| name.to_owned()),
            Self::SystemCalls => syscalls::subject(name).map(str::to_owned),
            Self::Capabilities if known_capability(name) => {
                Ok(name.strip_prefix("CAP_").unwrap_or(name).to_owned())
            }
            Self::Capabilities => {
                let full = format!("CAP_{}", name.strip_prefix("CAP_").unwrap_or(name));
                Err(format!(
                    "{} is not a capability{}",
                    quoted(name),
                    did_you_mean(&full, capability_names())
                ))
            }
            Self::Destinations => match name.parse::<AllowRule>() {
                Ok(rule) => Ok(rule.to_string()),
                Err(error) => Err(format!("{} {error}", quoted(name))),
            },
            // Two that listen at the same place are a mistake, wherever they lead.
            Self::Published => match name.parse::<Publish>() {
                Ok(publish) => Ok(publish.outside.to_string()),
                Err(error) => Err(format!("{} {error}", quoted(name))),
            },
            Self::Controls if name.parse::<Control>().is_ok() => Ok(name.to_owned()),
            Self::Controls => {
                let suggestion = did_you_mean(name, Control::all().map(Control::name));
                Err(format!("{} is not a control{suggestion}", quoted(name)))
            }
        }
    }
}

impl Values {
    /// The value of one entry of a table, as it is meant.
    fn check(self, name: &str, value: Scalar<'_>, base: Base<'_>) -> Result<OsString, String> {
        match self {
            Self::Texts => {
                let text = value.text()?;
                value::variable_value(name, &text)?;
                Ok(text.into_owned().into())
            }
            Self::Contents => value::content(&value.text()?).map(OsString::from),
            Self::Paths => paths::resolve(&value.system_text()?, base).map(PathBuf::into_os_string),
            Self::Variables => {
                let text = value.text()?;
                value::variable(&text)?;
                Ok(text.into_owned().into())
            }
        }
    }
}

/// The path of a key that doesn't exist, and what is said of it.
fn unknown(section: &str, name: &str, value: &DeValue<'_>) -> (String, String) {
    let shown = quoted(name).trim_matches('`').to_owned();
    if section.is_empty() {
        let what = if matches!(value, DeValue::Table(_)) { "section" } else { "key" };
        let sections = keys::SECTIONS.iter().map(|(section, _)| *section);
        let near = if what == "section" { nearest(name, sections) } else { near_key("", name) };
        return (shown, format!("unknown {what}{}", suggestion(near)));
    }
    let near = near_key(section, name).map(|path| {
        // Within the same section its name alone is what must be written.
        path.strip_prefix(section).and_then(|name| name.strip_prefix('.')).unwrap_or(path)
    });
    (format!("{section}.{shown}"), format!("unknown key{}", suggestion(near)))
}

fn suggestion(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
}

/// The path of the key that is most likely meant: one of the same section if any is near.
fn near_key(section: &str, name: &str) -> Option<&'static str> {
    let in_section = keys::all().filter(|key| key.section() == section).map(|key| key.name());
    let here = nearest(name, in_section).and_then(|name| keys::find_in(section, name));
    let anywhere = || {
        let near = nearest(name, keys::all().map(|key| key.name()))?;
        keys::all().find(|key| key.name() == near)
    };
    here.or_else(anywhere).map(|key| key.path)
}
