//! What the layers of a policy say of system calls, and what that comes to for each call.
//!
//! A later layer has the last word on a call that it names, by itself or in a group; within one layer a denial wins. For one
//! call, of what a layer says:
//!
//! * `allow` and `deny` replace all that layers below said of it;
//! * so does a rule without an action, which says how alone the call may be made;
//! * a rule with an action is looked at before anything that is said below, a denial before what lets pass.

use super::table::{ENTRIES, RULES};
use super::written::CallRule;
use super::{ANY, Entry, Rule, Verdict, members, resolve};
use crate::platform::{ArgumentTest, OnViolation, SyscallAnswer, SyscallRule, Syscalls};
use std::collections::BTreeMap;

/// All that is said, in the order of layers.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) base: &'static str,
    said: Vec<Said>,
    layer: u32,
}

/// One thing said, by one layer.
#[derive(Clone, Debug)]
pub(super) struct Said {
    layer: u32,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Allow(String),
    Deny(String),
    Rule(CallRule),
}

impl Default for Calls {
    fn default() -> Self {
        Self { base: "default", said: Vec::new(), layer: 0 }
    }
}

impl Calls {
    /// What is said from here on is of a layer above.
    pub(crate) fn begin_layer(&mut self) {
        self.layer += 1;
    }

    pub(crate) fn allow(&mut self, name: &str) {
        self.forget(name);
        self.say(What::Allow(name.to_owned()));
    }

    pub(crate) fn deny(&mut self, name: &str) {
        self.forget(name);
        self.say(What::Deny(name.to_owned()));
    }

    pub(crate) fn rule(&mut self, rule: CallRule) {
        self.say(What::Rule(rule));
    }

    fn say(&mut self, what: What) {
        self.said.push(Said { layer: self.layer, what });
    }

    /// What layers below said by the same name is replaced, so nobody needs to be shown it.
    fn forget(&mut self, name: &str) {
        let layer = self.layer;
        self.said.retain(|said| said.layer == layer || plain(said.what.name()) != plain(name));
    }

    /// The names that are allowed on top of the base.
    pub(crate) fn allowed(&self) -> impl Iterator<Item = &str> {
        self.said.iter().filter_map(|said| match &said.what {
            What::Allow(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The names that are denied.
    pub(crate) fn denied(&self) -> impl Iterator<Item = &str> {
        self.said.iter().filter_map(|said| match &said.what {
            What::Deny(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The rules.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &CallRule> {
        self.said.iter().filter_map(|said| match &said.what {
            What::Rule(rule) => Some(rule),
            _ => None,
        })
    }

    /// What it comes to, for every call there is; none when there is no such base.
    pub(super) fn decide(&self) -> Option<Vec<Call<'_>>> {
        if !super::bases().any(|known| known == self.base) {
            return None;
        }
        let start: Vec<&str> = members("start").collect();
        let begin = |entry: &'static Entry, name: &'static str| {
            let listed = match entry.verdict {
                Verdict::Allow if self.base == "none" && !start.contains(&name) => Verdict::Deny,
                verdict => verdict,
            };
            Call {
                name,
                entry,
                listed,
                lifted: false,
                rules: Vec::new(),
                only: Vec::new(),
                by: None,
            }
        };
        let begin = &begin;
        let all =
            ENTRIES.iter().flat_map(|entry| entry.names.iter().map(move |name| begin(entry, name)));
        let mut all: Vec<Call<'_>> = all.collect();
        for layer in self.said.chunk_by(|one, other| one.layer == other.layer) {
            apply(&mut all, layer);
        }
        Some(all)
    }

    /// The same, as a platform takes it. `None` when there is no such base.
    pub(crate) fn expand(&self, on_violation: OnViolation) -> Option<Syscalls> {
        let calls = self.decide()?;
        // `Syscalls` may gain fields in the platform, so it can't be built in one expression here.
        let mut syscalls = Syscalls::default();
        syscalls.on_violation = on_violation;
        for call in &calls {
            let list = match call.listed {
                Verdict::Allow => &mut syscalls.allow,
                Verdict::Absent => &mut syscalls.absent,
                Verdict::Deny => &mut Vec::new(),
            };
            list.push(call.name.to_owned());
        }
        let mut rules = |call: &Call<'_>, decisions: &mut dyn Iterator<Item = Decision<'_>>| {
            syscalls.rules.extend(decisions.map(|decision| SyscallRule {
                name: call.name.to_owned(),
                tests: decision.tests.to_vec(),
                answer: decision.answer,
            }));
        };
        for call in calls.iter().filter(|call| !call.rules.is_empty()) {
            rules(call, &mut call.own());
        }
        // By the rule, since looking for those of each call takes much longer, and every launch waits for it.
        for rule in RULES {
            for name in rule.names {
                if let Some(call) = calls.iter().find(|call| call.name == *name && call.is_ruled())
                {
                    rules(call, &mut std::iter::once(Decision::of_base(rule)));
                }
            }
        }
        for call in calls.iter().filter(|call| !call.only.is_empty()) {
            rules(call, &mut call.alone());
        }
        Some(syscalls)
    }
}

/// What is decided about one call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) entry: &'static Entry,
    pub(super) listed: Verdict,
    /// Whether the rules of the base list don't count.
    lifted: bool,
    /// Rules with an action.
    rules: Vec<&'a CallRule>,
    /// How alone it may be made; empty for any way.
    only: Vec<&'a CallRule>,
    /// What decided whether it is listed, if not the base list.
    pub(super) by: Option<&'a What>,
}

/// What a policy's own words make of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// It may be made, within the rules of the base list.
    Allowed,
    /// This entry denies it.
    Denied(&'a str),
    /// This rule says what it gets; `listed` is whether it may be made where the rule says nothing.
    Ruled { rule: &'a str, listed: bool },
    /// Nobody said anything: it isn't on the list.
    Unlisted,
}

impl Calls {
    /// What is said of every call.
    pub(crate) fn standing<'a>(&'a self) -> BTreeMap<&'static str, Standing<'a>> {
        let decided = self.decide().unwrap_or_default();
        let one = |call: Call<'a>| {
            let listed = call.listed == Verdict::Allow;
            let standing = match (call.by, call.rules.first().or(call.only.first())) {
                (Some(What::Deny(entry)), _) => Standing::Denied(entry),
                (_, Some(rule)) => Standing::Ruled { rule: rule.text(), listed },
                _ if listed => Standing::Allowed,
                _ => Standing::Unlisted,
            };
            (call.name, standing)
        };
        decided.into_iter().map(one).collect()
    }
}

/// One step of what is decided about a call.
#[derive(Debug)]
pub(super) struct Decision<'a> {
    pub(super) tests: &'a [ArgumentTest],
    pub(super) answer: SyscallAnswer,
    pub(super) from: From<'a>,
}

/// Who says so.
#[derive(Clone, Copy, Debug)]
pub(super) enum From<'a> {
    Base(&'static Rule),
    Policy(&'a CallRule),
}

impl Decision<'_> {
    fn of_base(rule: &'static Rule) -> Self {
        Self { tests: rule.tests, answer: SyscallAnswer::Violation, from: From::Base(rule) }
    }
}

impl<'a> Call<'a> {
    /// What is looked at before its list, in order.
    pub(super) fn decisions(&self) -> impl Iterator<Item = Decision<'a>> {
        let (name, ruled) = (self.name, self.is_ruled());
        let base = RULES.iter().filter(move |rule| ruled && rule.names.contains(&name));
        self.own().chain(base.map(Decision::of_base)).chain(self.alone())
    }

    /// Whether the rules of the base list count. Of a call that isn't allowed they could only say the same again.
    fn is_ruled(&self) -> bool {
        self.listed == Verdict::Allow && !self.lifted
    }

    /// Rules with an action.
    fn own(&self) -> impl Iterator<Item = Decision<'a>> {
        self.rules.clone().into_iter().flat_map(|rule| {
            let answer = rule.action.unwrap_or(SyscallAnswer::Violation);
            rule.when.iter().map(move |tests| Decision { tests, answer, from: From::Policy(rule) })
        })
    }

    /// How alone it may be made.
    fn alone(&self) -> impl Iterator<Item = Decision<'a>> {
        let only = if self.listed == Verdict::Allow { self.only.clone() } else { Vec::new() };
        let otherwise = only.last().map(|rule| Decision {
            tests: &[],
            answer: SyscallAnswer::Violation,
            from: From::Policy(rule),
        });
        let allowed = only.into_iter().flat_map(|rule| {
            let allow = SyscallAnswer::Allow;
            rule.when.iter().map(move |tests| Decision {
                tests,
                answer: allow,
                from: From::Policy(rule),
            })
        });
        allowed.chain(otherwise)
    }
}

/// The name without what it says of arguments.
fn plain(name: &str) -> &str {
    name.strip_suffix(ANY).unwrap_or(name)
}

impl What {
    fn name(&self) -> &str {
        match self {
            Self::Allow(name) | Self::Deny(name) => name,
            // Rules are about more than a name: none replaces another.
            Self::Rule(_) => "",
        }
    }
}

/// Puts what one layer says onto what is below.
fn apply<'a>(all: &mut [Call<'a>], layer: &'a [Said]) {
    let each = |all: &mut [Call<'a>], name: &str, change: &dyn Fn(&mut Call<'a>)| {
        for wanted in resolve(plain(name)) {
            all.iter_mut().filter(|call| call.name == wanted).for_each(change);
        }
    };
    for said in layer {
        if let What::Allow(name) = &said.what {
            each(all, name, &|call| {
                *call = Call {
                    listed: Verdict::Allow,
                    lifted: name.ends_with(ANY),
                    rules: Vec::new(),
                    only: Vec::new(),
                    by: Some(&said.what),
                    ..*call
                };
            });
        }
    }
    let rules = || {
        layer.iter().filter_map(|said| match &said.what {
            What::Rule(rule) => Some((rule, &said.what)),
            _ => None,
        })
    };
    // How alone a call may be made replaces what is said below, so it comes before what has an action.
    let mut first: Vec<&str> = Vec::new();
    for (rule, what) in rules().filter(|(rule, _)| rule.action.is_none()) {
        let again = first.contains(&rule.name.as_str());
        first.push(&rule.name);
        each(all, &rule.name, &|call| {
            if !again {
                call.rules.clear();
                call.only.clear();
                // Unless this layer allows it with any arguments, the rules of the base list hold too.
                call.lifted = layer.iter().any(|said| match &said.what {
                    What::Allow(name) => name.ends_with(ANY) && plain(name) == call.name,
                    _ => false,
                });
            }
            call.listed = Verdict::Allow;
            call.by = Some(what);
            if rule.when != [[]] {
                call.only.push(rule);
            }
        });
    }
    let (denials, others): (Vec<_>, Vec<_>) =
        rules().filter(|(rule, _)| rule.action.is_some()).partition(|(rule, _)| rule.denies());
    for (rule, _) in others.into_iter().rev().chain(denials.into_iter().rev()) {
        each(all, &rule.name, &|call| call.rules.insert(0, rule));
    }
    for said in layer {
        if let What::Deny(name) = &said.what {
            each(all, name, &|call| {
                call.listed = match call.entry.verdict {
                    Verdict::Absent => Verdict::Absent,
                    Verdict::Allow | Verdict::Deny => Verdict::Deny,
                };
                // What denies it in another way stays.
                call.rules.retain(|rule| {
                    rule.denies() && rules().any(|(own, _)| std::ptr::eq(own, *rule))
                });
                call.only.clear();
                call.by = Some(&said.what);
            });
        }
    }
}
