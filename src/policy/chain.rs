//! From a name or a path and the overrides to the policy that is meant, with all files that it extends.

use super::draft::Draft;
use super::keys::{self, Key};
use super::layer::{Findings, Layer, Note, Spot};
use super::paths::Base;
use super::problem::{PolicyError, Problem};
use super::source::{Reference, Source, Unreadable, reference};
use super::{Override, check};
use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// More files than this, each extending the next, are a mistake.
const LONGEST_CHAIN: usize = 16;

/// A policy with where each of its values comes from.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) draft: Draft,
    pub(super) notes: Vec<Note>,
    /// The files, the one that was asked for first.
    pub(super) sources: Vec<Source>,
}

/// Loads a policy and puts the overrides on it.
pub(super) fn load(
    word: &OsStr,
    overrides: &[Override],
    directory: &Path,
) -> Result<Loaded, PolicyError> {
    let shown = || crate::platform::LaunchPlan::readable(word);
    let whole = |message: String| PolicyError::from(Problem::whole(shown(), message));
    let (name, source) = match reference(word) {
        Err(message) => return Err(Problem::whole("policy", message).into()),
        Ok(Reference::Shipped(name)) => (name.to_owned(), Source::shipped(name, directory)),
        Ok(Reference::File(path)) => {
            let source = Source::file(path, directory).map_err(|error| match error.text {
                Some(text) => {
                    let span = text.len()..text.len();
                    Problem::in_text(&shown(), &text, span, "", error.message).into()
                }
                None => whole(error.message),
            })?;
            (
                path.file_stem().map(crate::platform::LaunchPlan::readable).unwrap_or_default(),
                Some(source),
            )
        }
    };
    let source = source.ok_or_else(|| whole("not a shipped policy".into()))?;
    let mut loader = Loader {
        draft: Draft::new(&name),
        findings: Findings::default(),
        sources: Vec::new(),
        chain: Vec::new(),
        directory,
    };
    loader.read(source);
    loader.finish(overrides)
}

struct Loader<'a> {
    draft: Draft,
    findings: Findings,
    /// One place for each file, filled when its layer is done.
    sources: Vec<Option<Source>>,
    /// The files that are being read, each extending the next.
    chain: Vec<(PathBuf, String)>,
    /// Where the command was started.
    directory: &'a Path,
}

impl Loader<'_> {
    /// Reads a file, after all those that it extends.
    fn read(&mut self, source: Source) {
        let number = self.sources.len();
        self.sources.push(None);
        self.chain.push((source.identity.clone(), source.name.clone()));
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        let mut broken: Vec<Range<usize>> = Vec::new();
        for error in errors {
            let span = error.span().unwrap_or_default();
            broken.push(line_around(&source.text, &span));
            let message = lower_first(error.message());
            let problem = || {
                Problem::in_text(&source.name, &source.text, span.clone(), "", message)
                    .in_source(number)
            };
            self.findings.problems.add(problem);
        }
        if let Some((span, word)) = extended(root.get_ref()) {
            self.follow(&source, number, span, word);
        }
        // A description tells of the policy that has it, not of one that adds to it.
        self.draft.policy.description.clear();
        let base = Base { directory: &source.directory, may_climb: false };
        let mut layer = Layer::new(&mut self.draft, &mut self.findings, base, source.shipped);
        layer.read(&source, number, root.get_ref(), &broken);
        self.chain.pop();
        self.sources[number] = Some(source);
    }

    /// Reads the policy that `source` extends.
    fn follow(&mut self, source: &Source, number: usize, span: Range<usize>, word: &str) {
        let spot = Spot::Text { source, number, span };
        match self.next(source, word) {
            Ok(next) => self.read(next),
            Err(message) => self.findings.problems.add(|| spot.problem("extends", message)),
        }
    }

    fn next(&self, source: &Source, word: &str) -> Result<Source, String> {
        let next = match reference(OsStr::new(word))? {
            Reference::Shipped(name) => Source::shipped(name, self.directory),
            Reference::File(path) => {
                let shown = super::problem::quoted(word);
                // The name of the extended file is told as seen from where the command was started.
                let named = Path::new(&source.name)
                    .parent()
                    .unwrap_or(Path::new(""))
                    .join(path.strip_prefix(".").unwrap_or(path));
                let found = Source::file(path, &source.directory);
                let mut found =
                    found.map_err(|Unreadable { message, .. }| format!("{shown}: {message}"))?;
                found.name = crate::platform::LaunchPlan::readable(named);
                Some(found)
            }
        };
        let Some(next) = next else {
            return Err(format!("{} is not a shipped policy", super::problem::quoted(word)));
        };
        if let Some(start) = self.chain.iter().position(|(identity, _)| *identity == next.identity)
        {
            let mut names: Vec<&str> =
                self.chain[start..].iter().map(|(_, name)| name.as_str()).collect();
            names.extend(names.first().copied());
            return Err(format!("the policies extend each other: {}", names.join(" -> ")));
        }
        if self.chain.len() >= LONGEST_CHAIN {
            return Err(format!("more than {LONGEST_CHAIN} policies extend one another"));
        }
        Ok(next)
    }

    /// Puts the overrides on, looks at what only the whole can tell, and closes the policy.
    fn finish(mut self, overrides: &[Override]) -> Result<Loaded, PolicyError> {
        let base = Base { directory: self.directory, may_climb: true };
        let mut layer = Layer::new(&mut self.draft, &mut self.findings, base, false);
        for Override { key, value } in overrides {
            layer.read_typed(key, value);
        }
        let sources: Vec<Source> = self.sources.into_iter().flatten().collect();
        // Values that are wrong by themselves would only be told once more.
        if self.findings.problems.is_empty() {
            check::whole(&mut self.draft, &mut self.findings, &sources);
        }
        let on_violation = self.draft.policy.syscalls.on_violation;
        self.draft.policy.syscalls = self.draft.expanded_calls(on_violation);
        let Findings { problems, notes, warnings } = self.findings;
        self.draft.policy.warnings = warnings;
        problems.or(Loaded { draft: self.draft, notes, sources })
    }
}

/// The value of `extends`, if it is a text; anything else is told when the layer is read.
fn extended<'t>(root: &'t DeTable<'_>) -> Option<(Range<usize>, &'t str)> {
    let key: &Key = keys::find("extends")?;
    let value: &Spanned<DeValue<'_>> = root.get(key.path)?;
    match value.get_ref() {
        DeValue::String(word) => Some((value.span(), word)),
        _ => None,
    }
}

/// The whole lines that a place touches.
fn line_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let (start, end) = (span.start.min(bytes.len()), span.end.min(bytes.len()));
    let before = bytes[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let after =
        bytes[end..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| end + at);
    before..after
}

/// Messages begin in lower case.
fn lower_first(message: &str) -> String {
    let mut rest = message.chars();
    rest.next().map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}
