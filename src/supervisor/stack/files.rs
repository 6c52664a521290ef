//! The files of a stack: the one that is asked for, and those that it includes, with their variables put in.

use super::variables::Variables;
use crate::platform::LaunchPlan;
use crate::policy::problem::{PolicyError, Problem, Problems, quoted};
use crate::policy::source::{Source, Unreadable};
use crate::policy::syntax;
use crate::policy::value::{self, Scalar};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// More files than this are a mistake.
const MOST_FILES: usize = 100;

/// What a stack file is called in messages.
const KIND: &str = "stack file";

/// A file, and which one includes it.
#[derive(Debug)]
pub(super) struct File {
    pub(super) source: Source,
    pub(super) parent: Option<usize>,
}

/// The value of a variable of this process.
pub(super) fn variable(name: &str) -> Option<String> {
    // What isn't UTF-8 can't stand in a text.
    std::env::var(name).ok()
}

/// The files of a stack, each before those that it includes.
pub(super) fn all(
    path: &Path,
    directory: &Path,
    problems: &mut Problems,
) -> Result<Vec<File>, PolicyError> {
    let source = Source::guarded(path, directory, KIND)
        .map_err(|error| error.problem(&LaunchPlan::readable(path)))?;
    let mut files = vec![File { source, parent: None }];
    let mut at = 0;
    while let Some(file) = files.get(at) {
        let source = file.source.clone();
        let (root, _) = DeTable::parse_recoverable(&source.text);
        if let Some(value) = root.get_ref().get("include") {
            include(&mut files, at, &source, value, problems);
        }
        at += 1;
    }
    Ok(files)
}

/// Adds what a file includes.
fn include(
    files: &mut Vec<File>,
    parent: usize,
    source: &Source,
    value: &Spanned<DeValue<'_>>,
    problems: &mut Problems,
) {
    let mut wrong = |value: &Spanned<DeValue<'_>>, message: String| {
        let Source { name, text, .. } = source;
        let problem = || Problem::in_text(name, text, value.span(), "include", message);
        problems.add(|| problem().in_source(parent));
    };
    let entries = match value.get_ref() {
        DeValue::Array(entries) => entries,
        other => return wrong(value, value::wrong_shape("a list such as [\"more.toml\"]", other)),
    };
    let mut variables = Variables::new(&variable);
    for entry in entries.iter() {
        let found = Scalar::Toml(entry.get_ref()).text().and_then(|text| {
            let text = variables.put_into(&text)?.unwrap_or_else(|| text.into_owned());
            next(files, parent, source, &text)
        });
        match found {
            Ok(found) => files.push(File { source: found, parent: Some(parent) }),
            Err(message) => wrong(entry, message),
        }
    }
}

/// The file that this text in `source` means.
fn next(files: &[File], parent: usize, source: &Source, text: &str) -> Result<Source, String> {
    let path = Path::new(text);
    let mut found = Source::guarded(path, &source.directory, KIND)
        .map_err(|Unreadable { message, .. }| format!("{}: {message}", quoted(text)))?;
    let beside = Path::new(&source.name).parent().unwrap_or(Path::new(""));
    found.name = LaunchPlan::readable(beside.join(path.strip_prefix(".").unwrap_or(path)));
    let mut above = Some(parent);
    while let Some(file) = above.and_then(|at| files.get(at)) {
        if file.source.identity == found.identity {
            return Err(format!("{} includes itself, by way of this", quoted(&file.source.name)));
        }
        above = file.parent;
    }
    if files.iter().any(|file| file.source.identity == found.identity) {
        return Err(format!("{} is included already", quoted(text)));
    }
    if files.len() >= MOST_FILES {
        return Err(format!("more than {MOST_FILES} files are included"));
    }
    Ok(found)
}

/// What stands in each file, with the variables put in. Where one isn't TOML, that is told, and nothing stands in it: what is
/// guessed of a broken file would only be told as more mistakes.
pub(super) fn read<'f>(
    files: &'f [File],
    of: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> Vec<DeTable<'f>> {
    let mut variables = Variables::new(of);
    let mut tables = Vec::new();
    for (number, File { source, .. }) in files.iter().enumerate() {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        if !syntax::tell(source, number, &errors, problems).is_empty() {
            tables.push(DeTable::new());
            continue;
        }
        let mut root = root.into_inner();
        let mut wrong = |value: &Spanned<DeValue<'_>>, key: &str, message: String| {
            let Source { name, text, .. } = source;
            let problem = || Problem::in_text(name, text, value.span(), key, message);
            problems.add(|| problem().in_source(number));
        };
        put_into_table(&mut root, "", &mut variables, &mut wrong);
        tables.push(root);
    }
    tables
}

type Tell<'a> = dyn FnMut(&Spanned<DeValue<'_>>, &str, String) + 'a;

fn put_into_table(
    table: &mut DeTable<'_>,
    path: &str,
    variables: &mut Variables<'_>,
    wrong: &mut Tell<'_>,
) {
    for (name, value) in table.iter_mut() {
        let word = name.get_ref().as_ref();
        // The paths of included files are read before anything else.
        if path.is_empty() && (word == "include" || word.starts_with("x-")) {
            continue;
        }
        let path = if path.is_empty() { word.to_owned() } else { format!("{path}.{word}") };
        put_into(value, &path, variables, wrong);
    }
}

fn put_into_list(
    list: &mut DeArray<'_>,
    path: &str,
    variables: &mut Variables<'_>,
    wrong: &mut Tell<'_>,
) {
    for value in list.iter_mut() {
        put_into(value, path, variables, wrong);
    }
}

fn put_into(
    value: &mut Spanned<DeValue<'_>>,
    path: &str,
    variables: &mut Variables<'_>,
    wrong: &mut Tell<'_>,
) {
    let put = match value.get_mut() {
        DeValue::Table(table) => return put_into_table(table, path, variables, wrong),
        DeValue::Array(list) => return put_into_list(list, path, variables, wrong),
        DeValue::String(text) => variables.put_into(text),
        _ => return,
    };
    match put {
        Ok(Some(text)) => *value.get_mut() = DeValue::String(text.into()),
        Ok(None) => {}
        Err(message) => wrong(value, path, message),
    }
}
