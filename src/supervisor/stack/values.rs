//! The values of a stack file, one at a time.

use super::keys::{Key, Kind};
use super::sockets::sockets;
use super::{Condition, Need, Service};
use crate::platform::{Attachment, Signal, Whom};
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;
use crate::policy::value::{self, Scalar};
use crate::supervisor::{ExitStatus, Measure};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// What is wrong, and where if that isn't the whole value.
pub(super) type Wrong = (Option<Range<usize>>, String);

/// Checks a value that a service has by itself, and puts it there.
pub(super) fn put(key: &Key, given: &DeValue<'_>, service: &mut Service) -> Result<(), Wrong> {
    let scalar = Scalar::Toml(given);
    let here = |message: String| (None, message);
    match &key.kind {
        Kind::Line(set) => set(service, &value::line(scalar).map_err(here)?),
        Kind::PathInside(set) => {
            let text = scalar.text().map_err(here)?;
            value::place_inside(&text).map_err(here)?;
            set(service, text.into_owned().into());
        }
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
        Kind::Hook(hook) => _ = service.hooks.commands.insert(*hook, command(key, given)?),
        Kind::ReloadCommand => service.reload_command = command(key, given)?,
        Kind::Measure(trigger) => {
            let words = Measure::ALL.map(|(word, _)| word);
            let measure = Measure::ALL[value::choice(scalar, &words).map_err(here)?].1;
            service.on_violation.insert(*trigger, measure);
        }
        Kind::Logging => super::logging::put(given, &mut service.logging)?,
        Kind::Labels => service.labels = labels(key, given)?,
        Kind::Attach => service.attach = Some(attachment(key, given)?),
        Kind::Sockets => service.sockets = sockets(key, given)?,
        // Read with the policy.
        Kind::Policy | Kind::OfPolicy(..) => {}
        // More than one value.
        Kind::Services | Kind::EnvFiles | Kind::Probe(_) => {}
    }
    Ok(())
}

pub(super) fn list<'v>(
    example: &str,
    value: &'v DeValue<'_>,
) -> Result<impl Iterator<Item = &'v Spanned<DeValue<'v>>>, Wrong> {
    match value {
        DeValue::Array(entries) => Ok(entries.iter()),
        other => Err((None, value::wrong_shape(&format!("a list such as {example}"), other))),
    }
}

/// A process of somebody else's, named in one way.
fn attachment(key: &Key, given: &DeValue<'_>) -> Result<Attachment, Wrong> {
    const WORDS: [&str; 4] = ["pid", "pid_file", "name", "stop"];
    let DeValue::Table(table) = given else {
        let what = format!("a table such as {}", key.example);
        return Err((None, value::wrong_shape(&what, given)));
    };
    let (mut whom, mut stop) = (None, false);
    for (name, value) in table {
        let wrong = |message: String| (Some(value.span()), message);
        let scalar = Scalar::Toml(value.get_ref());
        let found = match name.get_ref().as_ref() {
            "pid" => Whom::Pid(value::whole(scalar, 2, 1 << 22).map_err(wrong)?),
            "pid_file" => {
                let text = scalar.text().map_err(wrong)?;
                if !text.starts_with('/') || text.contains('\0') {
                    return Err(wrong(format!("{} is not an absolute path", quoted(&text))));
                }
                Whom::PidFile(text.into_owned().into())
            }
            "name" => {
                let text = scalar.text().map_err(wrong)?;
                // The kernel keeps no more of a name (proc_pid_comm(5)).
                if !(1..=15).contains(&text.len()) || text.contains(['\0', '\n']) {
                    let what = "no name of a process (1 to 15 bytes, as `ps -o comm` shows it)";
                    return Err(wrong(format!("{} is {what}", quoted(&text))));
                }
                Whom::Name(text.into_owned())
            }
            "stop" => {
                stop = value::switch(scalar).map_err(wrong)?;
                continue;
            }
            other => {
                let near = did_you_mean(other, WORDS);
                let message = format!("{} is not a key of `attach`{near}", quoted(other));
                return Err((Some(name.span()), message));
            }
        };
        if whom.replace(found).is_some() {
            let message = "it names two processes (write `pid`, `pid_file` or `name`)";
            return Err((Some(name.span()), message.to_owned()));
        }
    }
    let nobody = || (None, "it names no process (write `pid`, `pid_file` or `name`)".to_owned());
    Ok(Attachment { whom: whom.ok_or_else(nobody)?, stop })
}

/// A program and its arguments.
fn command(key: &Key, value: &DeValue<'_>) -> Result<Vec<OsString>, Wrong> {
    words(value, key.example)
}

/// The same, of which this is an example.
pub(super) fn words(value: &DeValue<'_>, example: &str) -> Result<Vec<OsString>, Wrong> {
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
            for word in list(example, other)? {
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
    for entry in list(key.example, value)? {
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

pub(super) type Needs = (BTreeMap<String, Need>, Vec<(String, Range<usize>)>);

/// Services and what is needed of them: a list of names, or a table of names and needs.
pub(super) fn needs(key: &Key, value: &Spanned<DeValue<'_>>) -> Result<Needs, Wrong> {
    let (mut all, mut places) = (BTreeMap::new(), Vec::new());
    if let DeValue::Table(entries) = value.get_ref() {
        for (name, value) in entries {
            all.insert(name.get_ref().to_string(), need(value)?);
            places.push((name.get_ref().to_string(), name.span()));
        }
        return Ok((all, places));
    }
    for entry in list(key.example, value.get_ref())? {
        let name = Scalar::Toml(entry.get_ref()).text();
        let name = name.map_err(|message| (Some(entry.span()), message))?.into_owned();
        all.insert(name.clone(), Need::of(Condition::default()));
        places.push((name, entry.span()));
    }
    Ok((all, places))
}

/// A condition, or a table that has one.
fn need(value: &Spanned<DeValue<'_>>) -> Result<Need, Wrong> {
    let condition = |value: &Spanned<DeValue<'_>>| {
        let words = Condition::ALL.map(|(word, _)| word);
        let at = value::choice(Scalar::Toml(value.get_ref()), &words);
        at.map(|at| Condition::ALL[at].1).map_err(|message| (Some(value.span()), message))
    };
    let DeValue::Table(table) = value.get_ref() else { return condition(value).map(Need::of) };
    let mut need = Need::of(Condition::default());
    for (name, value) in table {
        let switch = || {
            let switch = value::switch(Scalar::Toml(value.get_ref()));
            switch.map_err(|message| (Some(value.span()), message))
        };
        match name.get_ref().as_ref() {
            "condition" => need.condition = condition(value)?,
            "required" => need.required = switch()?,
            "restart" => need.restart = switch()?,
            other => {
                let near = did_you_mean(other, ["condition", "required", "restart"]);
                let message = format!("{} is not a key of a dependency{near}", quoted(other));
                return Err((Some(name.span()), message));
            }
        }
    }
    Ok(need)
}

/// A file of variables.
#[derive(Debug)]
pub(super) struct EnvFile {
    pub(super) path: String,
    /// Whether it must be there.
    pub(super) required: bool,
}

/// Paths, or tables with a path and whether it must be there.
pub(super) fn env_files(
    key: &Key,
    value: &DeValue<'_>,
) -> Result<Vec<(EnvFile, Range<usize>)>, Wrong> {
    let mut all = Vec::new();
    for entry in list(key.example, value)? {
        let wrong = |message: String| (Some(entry.span()), message);
        let (path, required) = match entry.get_ref() {
            DeValue::Table(table) => {
                let (mut path, mut required) = (None, true);
                for (name, value) in table {
                    let scalar = Scalar::Toml(value.get_ref());
                    let wrong = |message: String| (Some(value.span()), message);
                    match name.get_ref().as_ref() {
                        "path" => path = Some(scalar.text().map_err(wrong)?.into_owned()),
                        "required" => required = value::switch(scalar).map_err(wrong)?,
                        other => {
                            let message =
                                format!("{} is neither `path` nor `required`", quoted(other));
                            return Err((Some(name.span()), message));
                        }
                    }
                }
                (path.ok_or_else(|| wrong("it has no `path`".to_owned()))?, required)
            }
            other => (Scalar::Toml(other).text().map_err(wrong)?.into_owned(), true),
        };
        if path.is_empty() || path.contains('\0') {
            return Err(wrong(format!("{} is not a path", quoted(&path))));
        }
        all.push((EnvFile { path, required }, entry.span()));
    }
    Ok(all)
}

/// Names and texts, as `example` shows them. `is_wrong` says what is the matter with a name.
pub(super) fn texts(
    value: &DeValue<'_>,
    example: &str,
    is_wrong: impl Fn(&str) -> Option<&'static str>,
) -> Result<BTreeMap<String, String>, Wrong> {
    let DeValue::Table(table) = value else {
        let what = format!("a table such as {example}");
        return Err((None, value::wrong_shape(&what, value)));
    };
    let mut all = BTreeMap::new();
    for (name, value) in table {
        let word = name.get_ref().as_ref();
        if let Some(why) = is_wrong(word) {
            return Err((Some(name.span()), format!("{} {why}", quoted(word))));
        }
        let text = value::line(Scalar::Toml(value.get_ref()));
        let text = text.map_err(|message| (Some(value.span()), message))?;
        all.insert(word.to_owned(), text.into_owned());
    }
    Ok(all)
}

/// Whether it is a name as Prometheus' labels have.
pub(super) fn is_label(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !word.is_empty()
        && word.len() <= 128
        && !word.starts_with(|c: char| c.is_ascii_digit())
        && word.chars().all(plain)
}

fn labels(key: &Key, value: &DeValue<'_>) -> Result<BTreeMap<String, String>, Wrong> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    texts(value, key.example, |word| {
        let is_name = !word.is_empty() && word.len() <= 128 && word.chars().all(plain);
        (!is_name).then_some(
            "is no name for a label (at most 128 letters, digits, `-`, `_`, `.` and `/`)",
        )
    })
}
