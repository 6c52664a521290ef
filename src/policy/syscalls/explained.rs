//! What a policy makes of every system call, and why: for `policy explain --stage syscalls`.

use super::Verdict;
use super::said::{Calls, Decision, From, What};
use super::written::CallRule;
use super::{RULES, constants};
use crate::platform::{ArgumentTest, Compare, OnViolation, SyscallAnswer};
use serde::Serialize;

/// One system call under a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExplainedCall {
    /// The call.
    pub call: &'static str,
    /// What it gets where no rule says otherwise: `allow`, the name of an error, or `kill`.
    pub answer: String,
    /// The reason of the base list, or where in the policy it is said.
    pub why: String,
    /// Rules that are looked at first, in order.
    pub rules: Vec<CallRuling>,
}

/// A rule about a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallRuling {
    /// Its tests, which must all hold; empty where it always holds.
    pub when: String,
    /// What the call gets then.
    pub answer: String,
    /// The reason of the base list, or where in the policy it is said.
    pub why: String,
}

/// Every call, in the order of names. `origin` tells where in the policy a value of a key is written.
pub(crate) fn explain(
    calls: &Calls,
    on_violation: OnViolation,
    origin: impl Fn(&'static str, &str) -> String,
) -> Vec<ExplainedCall> {
    let rule = |rule: &CallRule| origin("syscalls.rules", rule.text());
    let ruling = |call: &str, decision: Decision<'_>| CallRuling {
        when: when(call, decision.tests),
        answer: answer(decision.answer, on_violation),
        why: match decision.from {
            From::Base(base) => reason(base),
            From::Policy(own) => rule(own),
        },
    };
    let decided = calls.decide().unwrap_or_default().into_iter().map(|call| ExplainedCall {
        call: call.name,
        answer: match call.listed {
            Verdict::Allow => answer(SyscallAnswer::Allow, on_violation),
            Verdict::Absent => "ENOSYS".into(),
            Verdict::Deny => answer(SyscallAnswer::Violation, on_violation),
        },
        why: match call.by {
            Some(What::Allow(name)) => origin("syscalls.allow", name),
            Some(What::Deny(name)) => origin("syscalls.deny", name),
            Some(What::Rule(own)) => rule(own),
            None if call.listed != call.entry.verdict => {
                "`base = \"none\"` allows only what starts a program".into()
            }
            None => call.entry.why.into(),
        },
        rules: call.decisions().map(|decision| ruling(call.name, decision)).collect(),
    });
    let mut all: Vec<_> = decided.collect();
    all.sort_by_key(|one| one.call);
    all
}

/// The reason for a rule of the base list; "as above" is that of the one above.
fn reason(rule: &super::Rule) -> String {
    let at = RULES.iter().position(|known| std::ptr::eq(known, rule)).unwrap_or(0);
    let above = RULES[..=at].iter().rev().map(|rule| rule.why);
    let whole = above.clone().find(|why| !why.starts_with("as above")).unwrap_or(rule.why);
    if rule.why.starts_with("as above") { whole.into() } else { rule.why.into() }
}

/// What a call gets, in a word.
pub(super) fn answer(answer: SyscallAnswer, on_violation: OnViolation) -> String {
    match (answer, on_violation) {
        (SyscallAnswer::Allow, _) => "allow".into(),
        (SyscallAnswer::Log, _) => "log".into(),
        (SyscallAnswer::Error(error), _) => error.to_string(),
        (SyscallAnswer::Violation, OnViolation::Error) => "EPERM".into(),
        _ => "kill".into(),
    }
}

/// Tests in words, with the names that values have for this call.
fn when(call: &str, tests: &[ArgumentTest]) -> String {
    let all = tests.iter().map(|test| {
        let argument = format!("arg{}", test.index);
        let shown = |value| constants::shown(call, test.index, value);
        match test.compare {
            Compare::Equal(value) => format!("{argument} is {}", shown(value)),
            Compare::NotEqual(value) => format!("{argument} is not {}", shown(value)),
            Compare::Masked { mask, value } if mask == value => {
                format!("{argument} has {}", shown(mask))
            }
            Compare::Masked { mask, value: 0 } => format!("{argument} has none of {}", shown(mask)),
            Compare::Masked { mask, value } => {
                format!("{argument} & {} is {}", constants::number(mask), shown(value))
            }
            Compare::Any(mask) => format!("{argument} has any of {}", shown(mask)),
        }
    });
    all.collect::<Vec<_>>().join(" and ")
}
