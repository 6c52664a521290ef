//! Rules that test arguments, compiled by `seccompiler`.
//!
//! Only what stands in a register can be tested: what a pointer leads to may change after the test (seccomp(2)).

use super::list::List;
use super::{Program, entry, violation};
use crate::names::Arch;
use crate::{ArgumentTest, Compare, PlatformError, SyscallRule, Syscalls};
use libc::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// The rules by number. An empty list of rules holds always, as `seccompiler` has it.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The program of the rules; `None` when there is nothing that it could forbid.
pub(super) fn compile(
    arch: Arch,
    syscalls: &Syscalls,
    list: &List,
) -> Result<Option<Program>, PlatformError> {
    let rules = rules(arch, &syscalls.rules, list)?;
    if rules.is_empty() {
        return Ok(None);
    }
    let filter = filter(arch, rules, violation(syscalls.on_violation))?;
    let program = filter
        .into_iter()
        .map(|one| sock_filter { code: one.code, jt: one.jt, jf: one.jf, k: one.k })
        .collect();
    Ok(Some(program))
}

/// The rules of calls that the list allows; the others can only forbid what is forbidden.
fn rules(arch: Arch, rules: &[SyscallRule], list: &List) -> Result<Rules, PlatformError> {
    let mut by_number = Rules::new();
    let mut always = Vec::new();
    for rule in rules {
        let tests = rule.tests.iter().map(|test| condition(&rule.name, test));
        let tests = tests.collect::<Result<Vec<_>, _>>()?;
        let Some(number) = entry(&rule.name)?.number(arch).filter(|number| list.allows(*number))
        else {
            continue;
        };
        let rules = by_number.entry(i64::from(number)).or_default();
        if tests.is_empty() {
            always.push(number);
        } else {
            rules.push(SeccompRule::new(tests).map_err(|error| invalid(&rule.name, error))?);
        }
    }
    for number in always {
        by_number.insert(i64::from(number), Vec::new());
    }
    Ok(by_number)
}

fn filter(arch: Arch, rules: Rules, forbidden: u32) -> Result<BpfProgram, PlatformError> {
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
    };
    let forbidden = match forbidden {
        libc::SECCOMP_RET_KILL_PROCESS => SeccompAction::KillProcess,
        errno => SeccompAction::Errno(errno & libc::SECCOMP_RET_DATA),
    };
    SeccompFilter::new(rules, SeccompAction::Allow, forbidden, target)
        .and_then(BpfProgram::try_from)
        .map_err(|error| PlatformError::invalid(format!("the argument rules don't fit: {error}")))
}

/// One test in `seccompiler`'s words.
pub(super) fn condition(
    name: &str,
    test: &ArgumentTest,
) -> Result<SeccompCondition, PlatformError> {
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

fn invalid(name: &str, problem: impl std::fmt::Display) -> PlatformError {
    PlatformError::invalid(format!("wrong rule for the system call `{name}`: {problem}"))
}
