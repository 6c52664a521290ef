//! The compiler of filters, for the fuzzer: whatever the lists and rules are, the program does what they say, or there is an
//! error.

use super::told::run;
use super::*;
use crate::{ArgumentTest, Compare, Errno, SyscallRule, syscall_names};
use libc::{SECCOMP_RET_USER_NOTIF, seccomp_data};

/// Bytes that are taken for choices; zeros when there are no more.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % most.max(1)
    }

    /// Small values, so that tests and arguments meet; sometimes one with high bits.
    fn value(&mut self) -> u64 {
        match self.byte() {
            byte @ ..0xf0 => u64::from(byte % 16),
            byte => (u64::from(byte) << 32) | u64::from(self.byte()),
        }
    }

    fn rule(&mut self, names: &[&str]) -> SyscallRule {
        let name = names[self.below(names.len())].to_owned();
        let tests = (0..self.byte() % 4).map(|_| {
            let (index, wide) = (self.byte() % 7, self.byte() % 4 == 0);
            let compare = match self.byte() % 4 {
                0 => Compare::Equal(self.value()),
                1 => Compare::NotEqual(self.value()),
                2 => Compare::Any(self.value()),
                _ => Compare::Masked { mask: self.value(), value: self.value() },
            };
            ArgumentTest { index, compare, wide }
        });
        let tests = tests.collect();
        let answer = match self.byte() % 5 {
            0 => SyscallAnswer::Violation,
            1 => SyscallAnswer::Allow,
            2 => SyscallAnswer::Log,
            3 => SyscallAnswer::Kill,
            _ => {
                Errno::new(u16::from(self.byte())).map_or(SyscallAnswer::Kill, SyscallAnswer::Error)
            }
        };
        SyscallRule { name, tests, answer }
    }

    fn syscalls(&mut self, names: &[&str]) -> Syscalls {
        let mut syscalls = Syscalls::default();
        if self.byte() % 8 != 0 {
            syscalls.allow.extend(LAUNCH.map(str::to_owned));
        }
        for _ in 0..self.byte() {
            let name = names[self.below(names.len())].to_owned();
            if self.byte() % 3 == 0 {
                syscalls.absent.push(name)
            } else {
                syscalls.allow.push(name)
            }
        }
        syscalls.rules = (0..self.byte() % 24).map(|_| self.rule(names)).collect();
        syscalls.on_violation =
            if self.byte() % 2 == 0 { OnViolation::Error } else { OnViolation::Kill };
        syscalls
    }
}

/// Whether all tests of a rule hold, in plain words.
fn holds(rule: &SyscallRule, arguments: &[u64; 6]) -> bool {
    rule.tests.iter().all(|test| {
        let bits = if test.wide { u64::MAX } else { u64::from(u32::MAX) };
        let argument = arguments[usize::from(test.index)] & bits;
        match test.compare {
            Compare::Equal(value) => argument == value,
            Compare::NotEqual(value) => argument != value,
            Compare::Masked { mask, value } => argument & mask == value & mask,
            Compare::Any(mask) => argument & mask != 0,
        }
    })
}

/// Reads the bytes as a policy and calls under it.
pub(crate) fn fuzz(bytes: &[u8]) {
    let names: Vec<&str> = syscall_names().collect();
    let mut choices = Choices(bytes.iter());
    let syscalls = choices.syscalls(&names);
    for (arch, audit) in [(Arch::X86_64, 0xc000_003e), (Arch::Aarch64, 0xc000_00b7)] {
        let Ok(Compiled { program, .. }) = compile_for(arch, &syscalls) else { continue };
        let told = told(&program);
        let is = |name: &String, number| {
            names::lookup(name).is_some_and(|entry| entry.number(arch) == Some(number))
        };
        for _ in 0..32 {
            let ruled = syscalls.rules.get(choices.below(syscalls.rules.len().max(1)));
            let ruled = ruled.and_then(|rule| names::lookup(&rule.name)?.number(arch));
            let number = match ruled {
                Some(number) if choices.byte() % 2 == 0 => number,
                _ => u32::try_from(choices.below(600)).unwrap_or(0),
            };
            let arguments = [(); 6].map(|()| choices.value());
            let rule = syscalls
                .rules
                .iter()
                .find(|rule| is(&rule.name, number) && holds(rule, &arguments));
            let expected = if let Some(rule) = rule {
                answer_of(rule.answer, syscalls.on_violation)
            } else if !arch.has(number) || syscalls.absent.iter().any(|name| is(name, number)) {
                errno(libc::ENOSYS)
            } else if syscalls.allow.iter().any(|name| is(name, number)) {
                SECCOMP_RET_ALLOW
            } else {
                violation(syscalls.on_violation)
            };
            let call = seccomp_data {
                nr: number.cast_signed(),
                arch: audit,
                instruction_pointer: 0,
                args: arguments,
            };
            assert_eq!(run(&program, &call), Some(expected), "{number} {arguments:?}");
            let passes =
                [SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, errno(libc::ENOSYS)].contains(&expected);
            let asked = if passes { expected } else { SECCOMP_RET_USER_NOTIF };
            assert_eq!(run(&told, &call), Some(asked), "{number} {arguments:?}");
        }
    }
}
