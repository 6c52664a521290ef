//! Denials that are told: the same program, with the starter asked where it would deny.
//!
//! The kernel tells the starter the call and its arguments, not what the program answered. So the starter runs the program
//! again, here, on what it was told ([`verdict`]), and can't come to another answer.

use super::{Program, errno};
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_RET, BPF_W, SECCOMP_RET_ACTION_FULL, SECCOMP_RET_DATA, SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_USER_NOTIF, seccomp_data, sock_filter,
};

/// What a denied call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This errno.
    Fails(i32),
    /// The end of its process.
    Ends,
}

/// The program that asks the starter instead of denying. A call that shall look as if it didn't exist is answered by the
/// kernel: programs try such calls all the time, to go on without.
pub(crate) fn told(program: &[sock_filter]) -> Program {
    let ask = |one: &sock_filter| {
        let denies = u32::from(one.code) == BPF_RET | BPF_K
            && one.k != errno(libc::ENOSYS)
            && matches!(
                one.k & SECCOMP_RET_ACTION_FULL,
                SECCOMP_RET_ERRNO | SECCOMP_RET_KILL_PROCESS
            );
        sock_filter { k: if denies { SECCOMP_RET_USER_NOTIF } else { one.k }, ..*one }
    };
    program.iter().map(ask).collect()
}

/// What the plain `program` gives a call that was told. What it wouldn't deny, or can't be made out, ends the process: it
/// must not be carried out.
pub(crate) fn verdict(program: &[sock_filter], call: &seccomp_data) -> Verdict {
    let answer = run(program, call).unwrap_or(SECCOMP_RET_KILL_PROCESS);
    match answer & SECCOMP_RET_ACTION_FULL {
        SECCOMP_RET_ERRNO => Verdict::Fails((answer & SECCOMP_RET_DATA).cast_signed()),
        _ => Verdict::Ends,
    }
}

/// Runs a program as the kernel does (networking/filter.rst); `None` for one that the kernel would refuse.
pub(super) fn run(program: &[sock_filter], call: &seccomp_data) -> Option<u32> {
    let mut accumulator = 0;
    let mut next = 0usize;
    // Jumps only lead forward, so this ends.
    loop {
        let one = program.get(next)?;
        next += 1;
        let branch = |holds: bool| usize::from(if holds { one.jt } else { one.jf });
        let code = u32::from(one.code);
        if code == BPF_LD | BPF_W | BPF_ABS {
            accumulator = word(call, one.k)?;
        } else if code == BPF_ALU | BPF_AND | BPF_K {
            accumulator &= one.k;
        } else if code == BPF_JMP | BPF_JA {
            next = next.checked_add(one.k as usize)?;
        } else if code == BPF_JMP | BPF_JEQ | BPF_K {
            next += branch(accumulator == one.k);
        } else if code == BPF_JMP | BPF_JGE | BPF_K {
            next += branch(accumulator >= one.k);
        } else if code == BPF_JMP | BPF_JGT | BPF_K {
            next += branch(accumulator > one.k);
        } else if code == BPF_JMP | BPF_JSET | BPF_K {
            next += branch(accumulator & one.k != 0);
        } else if code == BPF_RET | BPF_K {
            return Some(one.k);
        } else {
            return None;
        }
    }
}

/// The word at an offset of `struct seccomp_data`; both processors are little-endian.
fn word(call: &seccomp_data, offset: u32) -> Option<u32> {
    let half = |value: u64, high: bool| {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        u32::from_le_bytes(if high { [e, f, g, h] } else { [a, b, c, d] })
    };
    match offset {
        0 => Some(call.nr.cast_unsigned()),
        4 => Some(call.arch),
        8 | 12 => Some(half(call.instruction_pointer, offset == 12)),
        16..64 if offset.is_multiple_of(4) => {
            let argument = call.args.get((offset as usize - 16) / 8)?;
            Some(half(*argument, offset % 8 == 4))
        }
        _ => None,
    }
}
