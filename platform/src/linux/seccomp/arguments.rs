//! Rules that test arguments, compiled by `seccompiler`.
//!
//! Only what stands in a register can be tested: what a pointer leads to may change after the test (seccomp(2)).

use super::assembly::{always, answer, jump, load};
use super::list::List;
use super::{answer_of, entry};
use crate::names::Arch;
use crate::{ArgumentTest, Compare, PlatformError, SyscallRule, Syscalls};
use libc::{BPF_JSET, sock_filter};
use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use std::collections::{BTreeMap, BTreeSet};

/// For each number that has rules, the instructions that answer it.
pub(super) type Rules = BTreeMap<u32, Vec<sock_filter>>;

/// The instructions for the rules of each number: the first rule whose tests hold answers, and the list where none does.
pub(super) fn compile(
    arch: Arch,
    syscalls: &Syscalls,
    list: &List,
) -> Result<Rules, PlatformError> {
    let mut rules = Rules::new();
    // Numbers of which a rule says something else than the list; the rules of others cost nothing.
    let mut differ = BTreeSet::new();
    for rule in &syscalls.rules {
        let tests = tests(rule)?;
        if let Some(number) = entry(&rule.name)?.number(arch) {
            let given = answer_of(rule.answer, syscalls.on_violation);
            if given != list.answer(number) {
                differ.insert(number);
            }
            let instructions = rules.entry(number).or_default();
            instructions.extend(tests);
            instructions.push(answer(given));
        }
    }
    rules.retain(|number, _| differ.contains(number));
    for (number, instructions) in &mut rules {
        instructions.push(answer(list.answer(*number)));
    }
    Ok(rules)
}

/// The instructions that go on when all tests of the rule hold, and else pass over the one that follows them.
fn tests(rule: &SyscallRule) -> Result<Vec<sock_filter>, PlatformError> {
    let mut bits = Vec::new();
    let mut conditions = Vec::new();
    for test in &rule.tests {
        match condition(&rule.name, test)? {
            Some(condition) => conditions.push(condition),
            None => bits.push(test),
        }
    }
    let mut instructions = Vec::new();
    if !conditions.is_empty() {
        let rule = SeccompRule::new(conditions).map_err(|error| invalid(&rule.name, error))?;
        // The first two instructions of `seccompiler`'s rules link those of one call to those of the next; here they
        // would lead anywhere.
        let linked = BpfProgram::from(rule).into_iter().skip(2);
        instructions.extend(linked.map(|one| sock_filter {
            code: one.code,
            jt: one.jt,
            jf: one.jf,
            k: one.k,
        }));
    }
    for test in bits {
        if let Compare::Any(mask) = test.compare {
            instructions.splice(0..0, any_bit(test, mask, instructions.len() + 1));
        }
    }
    Ok(instructions)
}

/// The one comparison that `seccompiler` doesn't have: at least one bit of `mask`. Else it passes over `rest` instructions.
fn any_bit(test: &ArgumentTest, mask: u64, rest: usize) -> Vec<sock_filter> {
    /// Of `args` in `struct seccomp_data`.
    const ARGUMENTS: u32 = 16;
    let low = ARGUMENTS + 8 * u32::from(test.index);
    let [a, b, c, d, e, f, g, h] = mask.to_le_bytes();
    let (low_bits, high_bits) =
        (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let mut instructions = Vec::with_capacity(5);
    if test.wide {
        instructions.extend([load(low + 4), jump(BPF_JSET, high_bits, 3, 0)]);
    }
    instructions.extend([load(low), jump(BPF_JSET, low_bits, 1, 0), always(rest)]);
    instructions
}

/// One test in `seccompiler`'s words; `None` for [`Compare::Any`], for which it has none.
fn condition(name: &str, test: &ArgumentTest) -> Result<Option<SeccompCondition>, PlatformError> {
    let (operator, value, widest) = match test.compare {
        Compare::Equal(value) => (Some(SeccompCmpOp::Eq), value, value),
        Compare::NotEqual(value) => (Some(SeccompCmpOp::Ne), value, value),
        Compare::Masked { mask, value } => {
            (Some(SeccompCmpOp::MaskedEq(mask)), value, mask | value)
        }
        Compare::Any(mask) => (None, 0, mask),
    };
    // A narrow test of a wide value could never hold, or would hold for another value: both are mistakes.
    if !test.wide && widest > u64::from(u32::MAX) {
        return Err(invalid(name, format!("{widest:#x} is wider than the 32 bits looked at")));
    }
    let length = if test.wide { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    // Made for every test, since it also checks the argument's number.
    let condition = SeccompCondition::new(
        test.index,
        length,
        operator.clone().unwrap_or(SeccompCmpOp::Eq),
        value,
    )
    .map_err(|error| invalid(name, format!("argument {}: {error}", test.index)))?;
    Ok(operator.map(|_| condition))
}

fn invalid(name: &str, problem: impl std::fmt::Display) -> PlatformError {
    PlatformError::invalid(format!("wrong rule for the system call `{name}`: {problem}"))
}
