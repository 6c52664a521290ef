//! A machine for the programs, written from the description in linux/filter.h and seccomp(2): the tests ask it what the
//! kernel would answer, for any processor and without a process.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_RET, BPF_W, SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ALLOW, sock_filter,
};

/// What the kernel shows to a program (`struct seccomp_data`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) arch: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    /// The word at an offset, on a little-endian processor. The instruction pointer is zero.
    fn word(&self, offset: u32) -> u32 {
        assert_eq!(offset % 4, 0, "unaligned load");
        let argument = |at: u32| self.arguments[(at / 8) as usize].to_le_bytes();
        match offset {
            0 => self.number,
            4 => self.arch,
            8 | 12 => 0,
            16..64 => {
                let half = ((offset - 16) % 8) as usize;
                u32::from_le_bytes(argument(offset - 16)[half..half + 4].try_into().unwrap())
            }
            _ => panic!("load outside of the data: {offset}"),
        }
    }
}

/// The answer of one program.
pub(super) fn run(program: &[sock_filter], call: &Call) -> u32 {
    let mut accumulator = 0;
    let mut next = 0;
    loop {
        // A jump out of the program panics here; the kernel would refuse such a program.
        let sock_filter { code, jt, jf, k } = program[next];
        next += 1;
        let code = u32::from(code);
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        if code == BPF_LD | BPF_W | BPF_ABS {
            accumulator = call.word(k);
        } else if code == BPF_ALU | BPF_AND | BPF_K {
            accumulator &= k;
        } else if code == BPF_JMP | BPF_JA {
            next += k as usize;
        } else if code == BPF_JMP | BPF_JEQ | BPF_K {
            next += branch(accumulator == k);
        } else if code == BPF_JMP | BPF_JGE | BPF_K {
            next += branch(accumulator >= k);
        } else if code == BPF_JMP | BPF_JGT | BPF_K {
            next += branch(accumulator > k);
        } else if code == BPF_JMP | BPF_JSET | BPF_K {
            next += branch(accumulator & k != 0);
        } else if code == BPF_RET | BPF_K {
            return k;
        } else {
            panic!("unknown instruction {code:#x}");
        }
    }
}

/// Whether the kernel would take the program: every jump leads to an instruction, and the last one is an answer.
pub(super) fn accepts(program: &[sock_filter]) -> bool {
    let jumps = program.iter().enumerate().all(|(at, one)| {
        let furthest = match u32::from(one.code) {
            code if code == BPF_JMP | BPF_JA => one.k as usize,
            _ => usize::from(one.jt.max(one.jf)),
        };
        at + 1 + furthest < program.len() || u32::from(one.code) == BPF_RET | BPF_K
    });
    let last = program.last().map(|one| u32::from(one.code));
    jumps && last == Some(BPF_RET | BPF_K) && program.len() <= 4096
}

/// The answer of all programs together: the strictest, which is the lowest action read as a signed number.
pub(super) fn answer(programs: &[impl AsRef<[sock_filter]>], call: &Call) -> u32 {
    programs
        .iter()
        .map(|program| run(program.as_ref(), call))
        .min_by_key(|answer| (answer & SECCOMP_RET_ACTION_FULL).cast_signed())
        .unwrap_or(SECCOMP_RET_ALLOW)
}
