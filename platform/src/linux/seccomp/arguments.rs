//! Rules that test arguments, compiled by `seccompiler`.
//!
//! Only what stands in a register can be tested: what a pointer leads to may change after the test (seccomp(2)).

use super::assembly::instruction;
use super::list::List;
use super::{entry, violation};
use crate::names::Arch;
use crate::{ArgumentTest, Compare, PlatformError, SyscallRule, Syscalls};
use libc::{BPF_K, BPF_RET, SECCOMP_RET_ALLOW, sock_filter};
use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use std::collections::BTreeMap;

/// For each number that has rules, the instructions that answer it.
pub(super) type Rules = BTreeMap<u32, Vec<sock_filter>>;

/// The instructions for the rules of calls that the list allows; the others can only forbid what is forbidden.
pub(super) fn compile(
    arch: Arch,
    syscalls: &Syscalls,
    list: &List,
) -> Result<Rules, PlatformError> {
    let forbid = answer(violation(syscalls.on_violation));
    let mut rules = Rules::new();
    for rule in &syscalls.rules {
        let tests = tests(rule)?;
        let number = entry(&rule.name)?.number(arch);
        if let Some(number) = number.filter(|number| list.allows(*number)) {
            let instructions = rules.entry(number).or_default();
            instructions.extend(tests.iter().flatten());
            instructions.push(forbid);
        }
    }
    for instructions in rules.values_mut() {
        instructions.push(answer(SECCOMP_RET_ALLOW));
    }
    Ok(rules)
}

/// The instructions that go on when all tests of the rule hold, and else pass over the one that follows them. `None` for
/// a rule without tests, which always holds.
fn tests(rule: &SyscallRule) -> Result<Option<Vec<sock_filter>>, PlatformError> {
    if rule.tests.is_empty() {
        return Ok(None);
    }
    let tests = rule.tests.iter().map(|test| condition(&rule.name, test));
    let tests = SeccompRule::new(tests.collect::<Result<_, _>>()?)
        .map_err(|error| invalid(&rule.name, error))?;
    let plain = |one: seccompiler::sock_filter| sock_filter {
        code: one.code,
        jt: one.jt,
        jf: one.jf,
        k: one.k,
    };
    // The first two instructions of `seccompiler`'s rules link those of one call to those of the next; here they would
    // lead anywhere.
    Ok(Some(BpfProgram::from(tests).into_iter().skip(2).map(plain).collect()))
}

/// One test in `seccompiler`'s words.
fn condition(name: &str, test: &ArgumentTest) -> Result<SeccompCondition, PlatformError> {
    let (operator, value, widest) = match test.compare {
        Compare::Equal(value) => (SeccompCmpOp::Eq, value, value),
        Compare::NotEqual(value) => (SeccompCmpOp::Ne, value, value),
        Compare::Masked { mask, value } => (SeccompCmpOp::MaskedEq(mask), value, mask | value),
    };
    // A narrow test of a wide value could never hold, or would hold for another value: both are mistakes.
    if !test.wide && widest > u64::from(u32::MAX) {
        return Err(invalid(name, format!("{widest:#x} is wider than the 32 bits looked at")));
    }
    let length = if test.wide { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(test.index, length, operator, value)
        .map_err(|error| invalid(name, format!("argument {}: {error}", test.index)))
}

fn answer(answer: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, answer)
}

fn invalid(name: &str, problem: impl std::fmt::Display) -> PlatformError {
    PlatformError::invalid(format!("wrong rule for the system call `{name}`: {problem}"))
}
