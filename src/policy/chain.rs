//! From a name or a path and the overrides to the policy that is meant, with all files that it extends.

use super::draft::Draft;
use super::keys::{self, Key};
use super::layer::{Findings, Layer, Note, Spot};
use super::paths::Base;
use super::problem::{PolicyError, Problem, quoted};
use super::source::{Reference, Source, Unreadable, reference};
use super::{Changes, Override, Policy, check, syntax};
use crate::platform::{LaunchPlan, Limits, Network};
use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    let named = LaunchPlan::readable(word);
    let (name, source) = match reference(word) {
        Err(message) => return Err(Problem::whole("policy", message).into()),
        Ok(Reference::Shipped(shipped)) => {
            (shipped.name.to_owned(), Source::shipped(shipped, directory))
        }
        Ok(Reference::File(path)) => {
            let source = Source::file(path, directory).map_err(|error| error.problem(&named))?;
            (stem(path), source)
        }
    };
    read(&name, source, overrides, directory)
}

/// The same, of a file whose content is known: what is asked of it later can't be about another.
pub(super) fn load_bytes(
    bytes: Vec<u8>,
    path: &Path,
    overrides: &[Override],
    directory: &Path,
) -> Result<Loaded, PolicyError> {
    let source = Source::of_bytes(bytes, path, directory);
    let source = source.map_err(|error| error.problem(&LaunchPlan::readable(path)))?;
    read(&stem(path), source, overrides, directory)
}

fn stem(path: &Path) -> String {
    path.file_stem().map(LaunchPlan::readable).unwrap_or_default()
}

fn read(
    name: &str,
    source: Source,
    overrides: &[Override],
    directory: &Path,
) -> Result<Loaded, PolicyError> {
    let mut loader = Loader {
        draft: Draft::new(name),
        findings: Findings::default(),
        sources: Vec::new(),
        chain: Vec::new(),
        directory,
        guarded: false,
    };
    loader.read(source);
    loader.finish(overrides)
}

/// Sections of another file that are put over a policy.
pub(crate) type Over<'a> = (&'a Source, DeTable<'a>);

/// A policy with sections of other files put over it, one after the other, as the services of a stack have them. `beside` is
/// where a relative path of it starts. Its files are as guarded as those that say what is started.
pub(crate) fn load_under(
    word: &OsStr,
    beside: &Path,
    layers: &[Over<'_>],
    directory: &Path,
) -> Result<Policy, PolicyError> {
    let named = LaunchPlan::readable(word);
    let mut loader = Loader {
        draft: Draft::new(&named),
        findings: Findings::default(),
        sources: Vec::new(),
        chain: Vec::new(),
        directory,
        guarded: true,
    };
    let source = match reference(word) {
        Err(message) => return Err(Problem::whole("policy", message).into()),
        Ok(Reference::Shipped(shipped)) => Source::shipped(shipped, directory),
        Ok(Reference::File(path)) => {
            loader.open(path, beside).map_err(|error| error.problem(&named))?
        }
    };
    loader.read(source);
    for (over, sections) in layers {
        let number = loader.sources.len();
        let base = Base { directory: &over.directory, may_climb: false };
        let mut layer = Layer::new(&mut loader.draft, &mut loader.findings, base, false);
        layer.read(over, number, sections, &[]);
        layer.end();
        loader.sources.push(Some((*over).clone()));
    }
    loader.finish(&[]).map(|loaded| loaded.draft.policy)
}

/// Limits with single values said anew: the layer of a command line over what is in force.
pub(super) fn change_limits(
    limits: &Limits,
    overrides: &[Override],
    directory: &Path,
) -> Result<Limits, PolicyError> {
    let mut loader = Loader::over(limits, directory);
    loader.refuse(overrides, |key| key.section() == "limits");
    loader.finish(overrides).map(|loaded| loaded.draft.policy.limits)
}

/// The same, and the list of a filtered network, said as a whole.
pub(super) fn change(
    limits: &Limits,
    overrides: &[Override],
    directory: &Path,
) -> Result<Changes, PolicyError> {
    let mut loader = Loader::over(limits, directory);
    let is_list = |key: &Key| key.path == "network.allow";
    loader.refuse(overrides, |key| key.section() == "limits" || is_list(key));
    let anew = overrides.iter().any(|one| is_list(one.key));
    let nothing = |one: &&Override| is_list(one.key) && one.value == NOTHING;
    let overrides: Vec<Override> = overrides.iter().filter(|one| !nothing(one)).cloned().collect();
    loader.finish(&overrides).map(|Loaded { draft, .. }| Changes {
        limits: draft.policy.limits,
        allow: anew.then_some(draft.policy.allow),
    })
}

/// The word for a list without entries, where a list is said by its entries.
const NOTHING: &str = "none";

struct Loader<'a> {
    draft: Draft,
    findings: Findings,
    /// One place for each file, filled when its layer is done.
    sources: Vec<Option<Source>>,
    /// The files that are being read, each extending the next.
    chain: Vec<(PathBuf, String)>,
    /// Where the command was started.
    directory: &'a Path,
    /// Whether nobody else may be able to write its files.
    guarded: bool,
}

impl<'a> Loader<'a> {
    /// For a layer over the limits of a sandbox that runs. Of its network only the list is looked at.
    fn over(limits: &Limits, directory: &'a Path) -> Self {
        let mut draft = Draft::new("update");
        draft.policy.limits = limits.clone();
        draft.policy.network = Network::Filtered;
        let (sources, chain) = (Vec::new(), Vec::new());
        Self { draft, findings: Findings::default(), sources, chain, directory, guarded: false }
    }

    fn open(&self, path: &Path, beside: &Path) -> Result<Source, Unreadable> {
        match self.guarded {
            true => Source::guarded(path, beside, "policy"),
            false => Source::file(path, beside),
        }
    }

    /// Tells of what can't be changed while a program runs.
    fn refuse(&mut self, overrides: &[Override], is_live: impl Fn(&Key) -> bool) {
        for other in overrides.iter().filter(|one| !is_live(one.key)) {
            let message = "this is no limit, so it can't be changed while the program runs";
            self.findings.problems.add(|| Spot::Flag.problem(other.key.path, message.into()));
        }
    }

    /// Reads a file, after all those that it extends.
    fn read(&mut self, source: Source) {
        let number = self.sources.len();
        self.sources.push(None);
        self.chain.push((source.identity.clone(), source.name.clone()));
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        let broken = syntax::tell(&source, number, &errors, &mut self.findings.problems);
        if let Some((span, word)) = extended(root.get_ref()) {
            self.follow(&source, number, span, word);
        }
        // A description tells of the policy that has it, not of one that adds to it.
        self.draft.policy.description.clear();
        let base = Base { directory: &source.directory, may_climb: false };
        if broken.len() < syntax::MOST_BROKEN {
            let mut layer = Layer::new(&mut self.draft, &mut self.findings, base, source.shipped);
            layer.read(&source, number, root.get_ref(), &broken);
            layer.end();
        }
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
            Reference::Shipped(shipped) => Source::shipped(shipped, self.directory),
            Reference::File(path) => {
                let mut found = self
                    .open(path, &source.directory)
                    .map_err(|Unreadable { message, .. }| format!("{}: {message}", quoted(word)))?;
                // Named as seen from where the command was started.
                let beside = Path::new(&source.name).parent().unwrap_or(Path::new(""));
                found.name =
                    LaunchPlan::readable(beside.join(path.strip_prefix(".").unwrap_or(path)));
                found
            }
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
        layer.end();
        let sources: Vec<Source> = self.sources.into_iter().flatten().collect();
        // Values that are wrong by themselves would only be told once more.
        if self.findings.problems.is_empty() {
            check::whole(&mut self.draft, &mut self.findings, &sources);
        }
        let on_violation = self.draft.policy.syscalls.on_violation;
        self.draft.policy.syscalls = Arc::new(self.draft.expanded_calls(on_violation));
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What becomes of a file with this text.
    fn load_text(text: &str) -> Result<Loaded, PolicyError> {
        let directory = Path::new("/srv");
        let mut loader = Loader {
            draft: Draft::new("p"),
            findings: Findings::default(),
            sources: Vec::new(),
            chain: Vec::new(),
            directory,
            guarded: false,
        };
        loader.read(Source {
            name: "p.toml".into(),
            text: text.to_owned().into(),
            directory: directory.to_owned(),
            shipped: false,
            identity: "/srv/p.toml".into(),
        });
        loader.finish(&[])
    }

    /// Whatever comes out, it can be printed, and every problem has its place in the text.
    fn nothing_breaks(text: &str) {
        match load_text(text) {
            Ok(loaded) => assert_eq!(loaded.draft.policy.digest().len(), 64),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                for problem in error.problems() {
                    assert!(!problem.headline().contains('\n'), "{:?}", problem.headline());
                    assert!(
                        problem
                            .position()
                            .is_some_and(|(line, _)| line <= text.split('\n').count())
                    );
                    assert!(problem.excerpt(true).is_some());
                }
            }
        }
    }

    fn nth(at: usize) -> &'static keys::Key {
        keys::all().nth(at).unwrap()
    }

    /// Pieces of which policies are made, right and wrong.
    fn piece() -> impl Strategy<Value = String> {
        let key = (0..keys::all().count()).prop_map(|at| nth(at).path.to_owned());
        let example = (0..keys::all().count()).prop_map(|at| nth(at).example.to_owned());
        let section =
            (0..keys::SECTIONS.len()).prop_map(|at| format!("[{}]", keys::SECTIONS[at].0));
        let marks = proptest::sample::select(vec![
            "=",
            "\n",
            "[",
            "]",
            "{",
            "}",
            "\"",
            "'",
            "\"\"\"",
            "'''",
            ",",
            ".",
            "#",
            "\u{e4}",
            "\\u0000",
            "\r\n",
            "[[",
            "]]",
            " ",
            "\t",
            "-1",
            "inf",
            "1979-05-27",
            "0x",
            "true",
            "\u{202e}",
            "\u{0}",
        ]);
        prop_oneof![key, example, section, marks.prop_map(str::to_owned), any::<String>()]
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            nothing_breaks(&text);
        }

        #[test]
        fn no_heap_of_pieces_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
            nothing_breaks(&pieces.concat());
        }

        #[test]
        fn no_value_of_any_key_makes_it_panic(at in 0..keys::all().count(), value in piece()) {
            nothing_breaks(&format!("{} = {value}", nth(at).path));
            nothing_breaks(&format!("{} = [{value:?}]", nth(at).path));
            nothing_breaks(&format!("{} = {value:?}", nth(at).path));
        }

        #[test]
        fn no_shipped_policy_with_a_cut_or_a_slip_makes_it_panic(
            which in 0..super::super::source::SHIPPED.len(), at: usize, slip in piece()
        ) {
            let mut text = super::super::source::SHIPPED[which].text.to_owned();
            let at = (0..=at % text.len()).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            text.insert_str(at, &slip);
            nothing_breaks(&text);
            nothing_breaks(&text[..at]);
        }
    }

    #[test]
    fn deep_nesting_is_a_problem_and_no_overflow() {
        for (open, close) in [("[", "]"), ("{a=", "}")] {
            nothing_breaks(&format!("x = {}{}", open.repeat(100_000), close.repeat(100_000)));
        }
        nothing_breaks(&format!("{}x = 1", "a.".repeat(100_000)));
        nothing_breaks(&format!("[{}x]", "a.".repeat(100_000)));
    }
}
