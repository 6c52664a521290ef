//! The list: which numbers are allowed, as a tree over ranges of numbers.
//!
//! A program that compares the number with one allowed number after another is as long as the list, and the kernel
//! walks it once for every number when it is installed (to learn which ones it need not ask about again): one
//! millisecond for some three hundred names. Neighbours mostly have the same answer, so here the numbers are cut into
//! maximal ranges of one answer, and a binary search finds the range: a tenth of the length, seven steps to an answer.

use super::{Program, entry, errno, violation};
use crate::names::Arch;
use crate::{PlatformError, Syscalls};
use libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_KILL_PROCESS, sock_filter,
};

/// Answer for a number that has no name, and for one that shall look like it.
const ABSENT: u32 = errno(libc::ENOSYS);

/// From this number on, 64-bit x86 takes a call for one of its x32 mode, with other meanings of numbers and arguments.
const X32: u32 = 0x4000_0000;

/// Not a number: what tracers set to skip a call, and programs use to see "no such call".
const NONE: u32 = u32::MAX;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

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

    /// The instructions.
    pub(super) fn program(&self) -> Program {
        let ranges = self.ranges();
        let mut program = Vec::with_capacity(4 + 2 * ranges.len());
        program.extend([
            load(ARCH),
            jump(BPF_JEQ, audit_arch(self.arch), 1, 0),
            answer(SECCOMP_RET_KILL_PROCESS),
            load(NUMBER),
        ]);
        search(&ranges, &mut program);
        program.into_boxed_slice()
    }

    /// Where each maximal range of one answer starts, from zero upwards.
    fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::with_capacity(80);
        let mut add = |start, answer| {
            if ranges.last().is_none_or(|last| last.answer != answer) {
                ranges.push(Range { start, answer });
            }
        };
        for (number, &answer) in (0..).zip(&self.answers) {
            add(number, answer);
        }
        add(self.arch.highest() + 1, ABSENT);
        if self.arch == Arch::X86_64 {
            add(X32, SECCOMP_RET_KILL_PROCESS);
            add(NONE, ABSENT);
        }
        ranges
    }
}

/// A range of numbers with one answer; it ends where the next one starts.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u32,
    answer: u32,
}

/// Appends the search in `ranges`, which is not empty, for the loaded number.
fn search(ranges: &[Range], program: &mut Vec<sock_filter>) {
    if let [only] = ranges {
        program.push(answer(only.answer));
        return;
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let test = program.len();
    program.push(jump(BPF_JGE, above[0].start, 0, 0));
    search(below, program);
    let skipped = program.len() - test - 1;
    match u8::try_from(skipped) {
        Ok(skipped) => program[test].jt = skipped,
        // A conditional jump reaches 255 instructions; the unconditional one reaches all.
        Err(_) => {
            program[test].jf = 1;
            program.insert(test + 1, always(skipped));
        }
    }
    search(above, program);
}

/// How the kernel names the processor in `struct seccomp_data` (linux/audit.h).
const fn audit_arch(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => 0xc000_003e,
        Arch::Aarch64 => 0xc000_00b7,
    }
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn jump(compare: u32, with: u32, if_true: u8, if_false: u8) -> sock_filter {
    instruction(BPF_JMP | compare | BPF_K, if_true, if_false, with)
}

fn always(skip: usize) -> sock_filter {
    // The whole program is far below a thousand instructions: the table has no more numbers than that.
    instruction(BPF_JMP | BPF_JA, 0, 0, u32::try_from(skip).unwrap_or(u32::MAX))
}

fn answer(answer: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, answer)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // All codes fit: they are built from one-byte constants.
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt, jf, k }
}
