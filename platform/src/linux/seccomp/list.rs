//! The list: what each number gets.

use super::arguments::Rules;
use super::{entry, errno, violation};
use crate::names::Arch;
use crate::{PlatformError, Syscalls};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS};

/// Answer for a number that has no name, and for one that shall look like it.
const ABSENT: u32 = errno(libc::ENOSYS);

/// From this number on, 64-bit x86 takes a call for one of its x32 mode, with other meanings of numbers and arguments.
const X32: u32 = 0x4000_0000;

/// Not a number: what tracers set to skip a call, and programs use to see "no such call".
const NONE: u32 = u32::MAX;

/// The answer for every number.
#[derive(Debug)]
pub(super) struct List {
    arch: Arch,
    /// Answers for the numbers from zero to the highest known.
    answers: Vec<u32>,
}

impl List {
    /// The answers that `syscalls` gives, by number alone.
    pub(super) fn new(arch: Arch, syscalls: &Syscalls) -> Result<Self, PlatformError> {
        let violation = violation(syscalls.on_violation);
        let mut answers: Vec<u32> = (0..=arch.highest())
            .map(|number| if arch.has(number) { violation } else { ABSENT })
            .collect();
        // `absent` comes second: it is the stricter one.
        let named = [(&syscalls.allow, SECCOMP_RET_ALLOW), (&syscalls.absent, ABSENT)];
        for (names, answer) in named {
            for name in names {
                if let Some(number) = entry(name)?.number(arch) {
                    answers[number as usize] = answer;
                }
            }
        }
        Ok(Self { arch, answers })
    }

    /// Whether this number is allowed.
    pub(super) fn allows(&self, number: u32) -> bool {
        self.answers.get(number as usize) == Some(&SECCOMP_RET_ALLOW)
    }

    /// What a number that the list knows gets, whatever its arguments.
    pub(super) fn answer(&self, number: u32) -> u32 {
        self.answers.get(number as usize).copied().unwrap_or(ABSENT)
    }

    /// The maximal ranges of one answer, from zero upwards; a number with rules is a range of its own.
    pub(super) fn ranges(&self, rules: &Rules) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::with_capacity(128);
        let mut add = |start, answer| {
            if ranges.last().is_none_or(|last| last.answer != answer) {
                ranges.push(Range { start, answer });
            }
        };
        for (number, &answer) in (0..).zip(&self.answers) {
            let ruled = rules.contains_key(&number);
            add(number, if ruled { Answer::Rules(number) } else { Answer::Fixed(answer) });
        }
        add(self.arch.highest() + 1, Answer::Fixed(ABSENT));
        if self.arch == Arch::X86_64 {
            add(X32, Answer::Fixed(SECCOMP_RET_KILL_PROCESS));
            add(NONE, Answer::Fixed(ABSENT));
        }
        ranges
    }
}

/// A range of numbers with one answer; it ends where the next one starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) answer: Answer,
}

/// What a number gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This, whatever the arguments.
    Fixed(u32),
    /// What the rules of this number say.
    Rules(u32),
}
