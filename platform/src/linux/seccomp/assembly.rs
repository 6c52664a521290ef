//! From ranges of numbers and instructions for their rules to one program.
//!
//! When a program is installed, the kernel walks it once for every number there is, to learn which ones are allowed
//! whatever their arguments and need no asking later. So the steps to an answer are what an installation costs: a program
//! that compares with one allowed number after another takes a millisecond for some three hundred names. Here a binary
//! search finds the range in about seven steps.

use super::Program;
use super::arguments::Rules;
use super::list::{Answer, Range};
use crate::names::Arch;
use libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
    SECCOMP_RET_KILL_PROCESS, sock_filter,
};
use std::collections::BTreeMap;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// The program for `ranges`, which start at zero and cover all numbers, and the instructions of those with rules.
pub(super) fn assemble(arch: Arch, ranges: &[Range], rules: &Rules) -> Program {
    let mut tail = Tail::default();
    // Rules with many tests have a jump past their end that is never taken; the kernel wants it to lead somewhere.
    tail.fixed(SECCOMP_RET_KILL_PROCESS);
    for (number, instructions) in rules {
        tail.instructions.extend(instructions.iter().rev());
        tail.rules.insert(*number, tail.here());
    }
    let kill = tail.fixed(SECCOMP_RET_KILL_PROCESS);
    let root = tail.search(ranges);
    tail.jump_to(root);
    tail.instructions.push(load(NUMBER));
    let known = tail.here();
    let kill = tail.near(kill);
    tail.test(BPF_JEQ, audit_arch(arch), known, kill);
    tail.instructions.push(load(ARCH));
    tail.instructions.reverse();
    tail.instructions.into_boxed_slice()
}

/// The end of a program, last instruction first: jumps only lead forward, so where they lead is written before them.
#[derive(Default)]
struct Tail {
    instructions: Vec<sock_filter>,
    fixed: BTreeMap<u32, Place>,
    rules: BTreeMap<u32, Place>,
}

/// An instruction, counted from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(usize);

impl Tail {
    /// The instruction written last.
    fn here(&self) -> Place {
        Place(self.instructions.len().saturating_sub(1))
    }

    /// How many instructions a jump written next must pass over.
    fn distance(&self, to: Place) -> usize {
        self.instructions.len() - to.0 - 1
    }

    /// The search in `ranges`, which isn't empty, for the number loaded.
    fn search(&mut self, ranges: &[Range]) -> Place {
        if let [only] = ranges {
            return match only.answer {
                Answer::Fixed(answer) => self.fixed(answer),
                // Every range with rules has instructions; were they missing, the call would be forbidden.
                Answer::Rules(number) => match self.rules.get(&number) {
                    Some(place) => *place,
                    None => self.fixed(SECCOMP_RET_KILL_PROCESS),
                },
            };
        }
        let (below, above) = ranges.split_at(ranges.len() / 2);
        let start = above[0].start;
        let above = self.search(above);
        let below = self.search(below);
        let above = self.near(above);
        let below = self.near(below);
        self.test(BPF_JGE, start, above, below);
        self.here()
    }

    /// An instruction that gives this answer; one is shared by all that are near enough.
    fn fixed(&mut self, answer: u32) -> Place {
        if let Some(place) = self.fixed.get(&answer)
            && self.reaches(*place)
        {
            return *place;
        }
        self.instructions.push(self::answer(answer));
        let place = self.here();
        self.fixed.insert(answer, place);
        place
    }

    /// The same place, or a jump to it that is near enough for a test.
    fn near(&mut self, place: Place) -> Place {
        if self.reaches(place) {
            return place;
        }
        self.jump_to(place);
        self.here()
    }

    /// Whether a test can jump there: it reaches 255 instructions. Two may be written before it.
    fn reaches(&self, place: Place) -> bool {
        self.distance(place) + 2 <= usize::from(u8::MAX)
    }

    /// Makes `to` follow what is written next.
    fn jump_to(&mut self, to: Place) {
        if let distance @ 1.. = self.distance(to) {
            self.instructions.push(always(distance));
        }
    }

    /// Compares what is loaded `with` a constant and goes to one of two places, both near.
    fn test(&mut self, compare: u32, with: u32, if_true: Place, if_false: Place) {
        let [jt, jf] = [if_true, if_false].map(|to| u8::try_from(self.distance(to)));
        // `near` made them fit; a program with a wrong jump is refused by the kernel.
        let (jt, jf) = (jt.unwrap_or(u8::MAX), jf.unwrap_or(u8::MAX));
        self.instructions.push(jump(compare, with, jt, jf));
    }
}

/// How the kernel names the processor in `struct seccomp_data` (linux/audit.h).
const fn audit_arch(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => 0xc000_003e,
        Arch::Aarch64 => 0xc000_00b7,
    }
}

/// Loads the word at an offset of `struct seccomp_data`.
pub(super) fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

/// Passes over `if_true` or `if_false` instructions.
pub(super) fn jump(compare: u32, with: u32, if_true: u8, if_false: u8) -> sock_filter {
    instruction(BPF_JMP | compare | BPF_K, if_true, if_false, with)
}

/// Passes over as many instructions.
pub(super) fn always(over: usize) -> sock_filter {
    // A program is never longer than a few thousand instructions.
    instruction(BPF_JMP | BPF_JA, 0, 0, u32::try_from(over).unwrap_or(u32::MAX))
}

pub(super) fn answer(answer: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, answer)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // All codes fit: they are built from one-byte constants.
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt, jf, k }
}
