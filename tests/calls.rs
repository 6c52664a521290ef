//! Every entry and every rule of the list of system calls that all shipped policies use (`policies/syscalls/default.toml`),
//! tried by real processes: what it allows gets to the kernel, what it doesn't allow gets what the list says.
//!
//! The list is read here with a few lines of this test's own, which also work out arguments that a rule is for, and
//! arguments that miss it by one condition.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use support::{Scene, skip};

/// What the program says of a call that is denied, of one that is absent, and of one that ends its process.
const EPERM: &str = "1";
const ENOSYS: &str = "38";
const SIGSYS: &str = "SIGNAL 31";

/// Names that only tables of other processors have.
const OTHER_NAMES: [&str; 1] = ["fstatat"];

/// Arguments that no call takes: no such address, descriptor, process or set of flags.
const NOTHING: [u64; 6] = [u64::MAX; 6];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(rename = "description")]
    _description: String,
    allow: Vec<Entry>,
    absent: Vec<Entry>,
    deny: Vec<Entry>,
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(rename = "why")]
    _why: String,
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    why: String,
    names: Vec<String>,
    when: Vec<Condition>,
}

/// As the head of the list describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    argument: usize,
    mask: Option<u32>,
    is: Option<u32>,
    is_not: Option<u32>,
    none_of: Option<Vec<u32>>,
    has: Option<u32>,
    any: Option<u32>,
}

impl Condition {
    fn holds(&self, arguments: &[u64; 6]) -> bool {
        let low = u32::try_from(arguments[self.argument] & 0xffff_ffff).unwrap();
        self.is.is_none_or(|value| low & self.mask.unwrap_or(u32::MAX) == value)
            && self.is_not.is_none_or(|value| low != value)
            && self.none_of.as_ref().is_none_or(|values| !values.contains(&low))
            && self.has.is_none_or(|bits| low & bits == bits)
            && self.any.is_none_or(|bits| low & bits != 0)
    }

    /// Values at which its answer changes: those that it names, one beside, each bit alone; and with high bits, which the
    /// kernel doesn't look at.
    fn edges(&self) -> Vec<u64> {
        let named = [self.is, self.is_not, self.has, self.any].into_iter().flatten();
        let named: Vec<u32> = named.chain(self.none_of.iter().flatten().copied()).collect();
        let bits = (0..32).map(|bit| 1_u32 << bit);
        let single = bits.filter(|bit| self.any.is_some_and(|any| any & bit != 0));
        let beside = named.iter().filter(|_| self.any.is_none()).map(|value| value ^ 1);
        let values: BTreeSet<u32> =
            named.iter().copied().chain(single).chain(beside).chain([0]).collect();
        let high = named.iter().map(|value| u64::from(*value) | 1 << 32);
        values.iter().map(|value| u64::from(*value)).chain(high).collect()
    }
}

/// What the list says of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    Absent,
    Denied,
}

/// One call to make, and what is to come of it.
#[derive(Debug)]
struct Try {
    name: String,
    arguments: [u64; 6],
    answer: Answer,
}

impl List {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/syscalls/default.toml");
        toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn names(&self) -> impl Iterator<Item = (&String, Answer)> {
        let sections = [
            (&self.allow, Answer::Allowed),
            (&self.absent, Answer::Absent),
            (&self.deny, Answer::Denied),
        ];
        sections.into_iter().flat_map(|(entries, answer)| {
            entries.iter().flat_map(move |entry| entry.names.iter().map(move |name| (name, answer)))
        })
    }

    fn denies(&self, name: &str, arguments: &[u64; 6]) -> bool {
        let mut rules =
            self.rule.iter().filter(|rule| rule.names.iter().any(|known| known == name));
        rules.any(|rule| rule.when.iter().all(|condition| condition.holds(arguments)))
    }

    /// Every combination of arguments at which a rule for this call changes its answer.
    fn edges(&self, name: &str) -> Vec<[u64; 6]> {
        let mut all = vec![NOTHING];
        let rules = self.rule.iter().filter(|rule| rule.names.iter().any(|known| known == name));
        let mut values: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for condition in rules.flat_map(|rule| &rule.when) {
            values.entry(condition.argument).or_default().extend(condition.edges());
        }
        for (argument, values) in values {
            let with = |arguments: &[u64; 6], value: u64| {
                let mut arguments = *arguments;
                arguments[argument] = value;
                arguments
            };
            all =
                all.iter().flat_map(|some| values.iter().map(|value| with(some, *value))).collect();
        }
        all
    }

    /// All that is to be tried.
    fn tries(&self) -> Vec<Try> {
        let mut tries = Vec::new();
        for (name, answer) in self.names() {
            for arguments in self.edges(name) {
                let denied = answer == Answer::Allowed && self.denies(name, &arguments);
                let answer = if denied { Answer::Denied } else { answer };
                tries.push(Try { name: name.clone(), arguments, answer });
            }
        }
        tries
    }
}

/// The program in a directory of its own.
fn compiled(list: &List) -> Option<Scene> {
    /// Newer than many a system's headers; all processors have the same numbers since 424.
    const NEW: [(&str, u32); 22] = [
        ("cachestat", 451),
        ("fchmodat2", 452),
        ("map_shadow_stack", 453),
        ("futex_wake", 454),
        ("futex_wait", 455),
        ("futex_requeue", 456),
        ("statmount", 457),
        ("listmount", 458),
        ("lsm_get_self_attr", 459),
        ("lsm_set_self_attr", 460),
        ("lsm_list_modules", 461),
        ("mseal", 462),
        ("setxattrat", 463),
        ("getxattrat", 464),
        ("listxattrat", 465),
        ("removexattrat", 466),
        ("open_tree_attr", 467),
        ("file_getattr", 468),
        ("file_setattr", 469),
        ("set_mempolicy_home_node", 450),
        // Only of x86-64, where alone they are.
        ("uretprobe", 335),
        ("uprobe", 336),
    ];
    let scene = Scene::new();
    let mut names = String::new();
    for (name, _) in list.names() {
        writeln!(names, "#ifdef __NR_{name}\n{{\"{name}\", __NR_{name}}},").unwrap();
        if let Some((_, number)) = NEW.iter().find(|(known, _)| known == name) {
            writeln!(names, "#else\n{{\"{name}\", {number}}},").unwrap();
        }
        names.push_str("#endif\n");
    }
    scene.file("calls.inc", &names);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/calls.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-Wall", "-I", ".", "-o", "calls", source]).current_dir(scene.path());
    let output = gcc.output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(scene)
}

/// What came back for each try.
fn made<'a>(
    scene: &Scene,
    mut command: Command,
    tries: impl Iterator<Item = &'a Try>,
) -> (Vec<String>, support::Outcome) {
    let mut asked = String::new();
    for Try { name, arguments: [a, b, c, d, e, f], .. } in tries {
        writeln!(asked, "{name} {a:#x} {b:#x} {c:#x} {d:#x} {e:#x} {f:#x}").unwrap();
    }
    scene.file("asked", &asked);
    command.stdin(Stdio::from(std::fs::File::open(scene.at("asked")).unwrap()));
    let outcome = scene.finish(command);
    let answers: Vec<String> = outcome.text().lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), asked.lines().count(), "{}", outcome.told());
    let words = answers.iter().zip(asked.lines()).map(|(answer, asked)| {
        let (name, answer) = answer.split_once(' ').unwrap();
        assert!(asked.starts_with(&format!("{name} ")), "{asked}: {answer}");
        answer.to_owned()
    });
    (words.collect(), outcome)
}

/// How often each call is denied.
fn denied(tries: &[Try]) -> BTreeMap<&str, u64> {
    let mut times = BTreeMap::new();
    for Try { name, .. } in tries.iter().filter(|one| one.answer == Answer::Denied) {
        *times.entry(name.as_str()).or_default() += 1;
    }
    times
}

/// How often the report says that each call was denied.
fn told(outcome: &support::Outcome) -> BTreeMap<&str, u64> {
    let mut times = BTreeMap::new();
    for denial in outcome.reported("/denials").as_array().unwrap() {
        // Its arguments, or that it stands for several kinds, come after it.
        let name = denial["what"].as_str().unwrap().split([' ', '(']).next().unwrap();
        *times.entry(name).or_default() += denial["times"].as_u64().unwrap();
    }
    times
}

#[test]
fn every_call_and_every_rule_gets_what_the_list_says_and_another_answer_without_the_list() {
    let list = List::read();
    let Some(scene) = compiled(&list) else {
        skip!("compiler: `gcc` isn't installed");
    };
    let mut tries = list.tries();
    // Each rule is tried both ways, and each of its conditions alone makes a difference to what is tried.
    for rule in &list.rule {
        for name in &rule.names {
            let tried: Vec<&Try> = tries.iter().filter(|one| one.name == *name).collect();
            for left_out in 0..rule.when.len() {
                let but_one = |one: &&&Try| {
                    let holds = |(at, condition): (usize, &Condition)| {
                        condition.holds(&one.arguments) == (at != left_out)
                    };
                    one.answer == Answer::Allowed && rule.when.iter().enumerate().all(holds)
                };
                assert!(
                    tried.iter().any(|one| but_one(&one)),
                    "{name}: {left_out} of {:?}",
                    rule.why
                );
            }
            let hit =
                |one: &&Try| rule.when.iter().all(|condition| condition.holds(&one.arguments));
            assert!(tried.iter().copied().any(|one| hit(&one)), "{name}: {:?}", rule.why);
        }
    }

    let program = ["./calls"];
    let (mut errors, outcome) = made(&scene, scene.command(&[], &program), tries.iter());
    let unknown: Vec<bool> = errors.iter().map(|answer| answer == "unknown").collect();
    for (one, unknown) in tries.iter().zip(&unknown) {
        // Older calls that newer processors never had, too.
        let excused = one.answer == Answer::Absent
            || OTHER_NAMES.contains(&&*one.name)
            || !cfg!(target_arch = "x86_64");
        assert!(!unknown || excused, "{one:?} is in no header");
    }
    let mut known = unknown.iter().map(|unknown| !unknown);
    tries.retain(|_| known.next().unwrap());
    errors.retain(|answer| answer != "unknown");
    assert_eq!(told(&outcome), denied(&tries), "{}", outcome.told());

    let everything = list.names().map(|(name, _)| format!("{name}:any"));
    let open: Vec<String> =
        everything.flat_map(|name| ["--allow-syscall".to_owned(), name]).collect();
    let open: Vec<&str> = open.iter().map(String::as_str).collect();
    let (without, outcome) = made(&scene, scene.command(&open, &program), tries.iter());
    assert!(told(&outcome).is_empty(), "{}", outcome.told());

    let (ends, outcome) =
        made(&scene, scene.command(&["--on-violation", "kill"], &program), tries.iter());
    assert_eq!(told(&outcome), denied(&tries), "{}", outcome.told());

    let mut changed = 0;
    for (at, one) in tries.iter().enumerate() {
        let (error, end, without) = (&*errors[at], &*ends[at], &*without[at]);
        let what = format!("{one:?}: {error}, {end} with kill, {without} without the list");
        match one.answer {
            Answer::Denied => {
                assert!(error == EPERM && end == SIGSYS && without != SIGSYS, "{what}")
            }
            Answer::Absent => assert!(error == ENOSYS && end == ENOSYS, "{what}"),
            Answer::Allowed => {
                assert!(error != SIGSYS && end != SIGSYS, "{what}");
                assert!((error != ENOSYS && end != ENOSYS) || without == ENOSYS, "{what}");
            }
        }
        changed += usize::from(one.answer != Answer::Allowed && error != without);
    }
    // The kernel's own answer often is the same one, for want of rights.
    assert!(changed > 100, "{changed}");
    assert!(tries.len() > 1000, "{}", tries.len());
}
