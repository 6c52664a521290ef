//! Denials that are told: the same program, with the starter asked where it would deny.
//!
//! The kernel tells the starter the call and its arguments, not what the program answered. So the starter runs the program
//! again, here, on what it was told ([`verdict`]), and can't come to another answer.

use super::{LAUNCH, NATIVE, Program, errno};
use crate::names;
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_RET, BPF_W, SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ALLOW, SECCOMP_RET_DATA,
    SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_LOG, SECCOMP_RET_USER_NOTIF,
    seccomp_data, sock_filter,
};

/// What a denied call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This errno.
    Fails(i32),
    /// The end of its process.
    Ends,
    /// It is carried out. Only where every call is told.
    Passes,
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

/// The program that asks the starter about every call, but for those that the launch itself makes before anybody listens.
pub(crate) fn watched(audit: u32, program: &[sock_filter]) -> Program {
    // No code of the classic machine needs more than a byte.
    let plain = |code: u32, k: u32| {
        let code = u16::try_from(code).unwrap_or(u16::MAX);
        sock_filter { code, jt: 0, jf: 0, k }
    };
    let numbers: Vec<u32> = LAUNCH
        .iter()
        .filter_map(|name| names::lookup(name).and_then(|entry| entry.number(NATIVE)))
        .collect();
    let tests = u8::try_from(numbers.len()).unwrap_or(0);
    let mut all = vec![
        plain(BPF_LD | BPF_W | BPF_ABS, 4),
        sock_filter { jt: 0, jf: tests + 3, ..plain(BPF_JMP | BPF_JEQ | BPF_K, audit) },
        plain(BPF_LD | BPF_W | BPF_ABS, 0),
    ];
    for (place, number) in (0u8..).zip(&numbers) {
        // Over the rest of the tests and the jump behind them.
        let test = plain(BPF_JMP | BPF_JEQ | BPF_K, *number);
        all.push(sock_filter { jt: tests - place, jf: 0, ..test });
    }
    all.push(plain(BPF_JMP | BPF_JA, 1));
    all.push(plain(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    all.extend(program.iter().map(|one| {
        let answers = u32::from(one.code) == BPF_RET | BPF_K && one.k != errno(libc::ENOSYS);
        sock_filter { k: if answers { SECCOMP_RET_USER_NOTIF } else { one.k }, ..*one }
    }));
    all.into()
}

/// The program that asks the starter where [`told`] does, and about these calls whatever their arguments.
pub(crate) fn traced(
    audit: u32,
    program: &[sock_filter],
    calls: impl Iterator<Item = &'static str>,
) -> Program {
    let plain = |code: u32, k: u32| {
        let code = u16::try_from(code).unwrap_or(u16::MAX);
        sock_filter { code, jt: 0, jf: 0, k }
    };
    let number = |name| names::lookup(name).and_then(|entry| entry.number(NATIVE));
    let numbers: Vec<u32> = calls.filter_map(number).collect();
    let tests = u8::try_from(numbers.len()).unwrap_or(0);
    let mut all = vec![
        plain(BPF_LD | BPF_W | BPF_ABS, 4),
        sock_filter { jt: 0, jf: tests + 3, ..plain(BPF_JMP | BPF_JEQ | BPF_K, audit) },
        plain(BPF_LD | BPF_W | BPF_ABS, 0),
    ];
    for (place, number) in (0u8..tests).zip(&numbers) {
        let test = plain(BPF_JMP | BPF_JEQ | BPF_K, *number);
        all.push(sock_filter { jt: tests - place, jf: 0, ..test });
    }
    all.push(plain(BPF_JMP | BPF_JA, 1));
    all.push(plain(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    all.extend(told(program));
    all.into()
}

/// What the plain `program` gives a call that was told. What can't be made out ends the process: it must not be carried out.
pub(crate) fn verdict(program: &[sock_filter], call: &seccomp_data) -> Verdict {
    let answer = run(program, call).unwrap_or(SECCOMP_RET_KILL_PROCESS);
    match answer & SECCOMP_RET_ACTION_FULL {
        SECCOMP_RET_ALLOW | SECCOMP_RET_LOG => Verdict::Passes,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::listener::NATIVE_AUDIT;
    use crate::{OnViolation, Syscalls};

    fn number(name: &str) -> u32 {
        names::lookup(name).unwrap().number(NATIVE).unwrap()
    }

    #[test]
    fn a_traced_program_asks_about_what_names_paths_and_what_it_denies() {
        let allow: Vec<String> =
            LAUNCH.iter().chain(&["read", "openat"]).map(ToString::to_string).collect();
        let absent = vec!["openat2".to_owned()];
        let on_violation = OnViolation::Error;
        let syscalls = Syscalls { allow, absent, on_violation, ..Syscalls::default() };
        let plain = crate::linux::seccomp::compile(&syscalls).unwrap();
        let calls = ["openat", "openat2", "unlink"];
        let traced = traced(NATIVE_AUDIT, &plain, calls.into_iter());
        let asked = |arch: u32, name: &str| {
            let nr = number(name).cast_signed();
            let call = seccomp_data { nr, arch, instruction_pointer: 0, args: [0; 6] };
            (run(&traced, &call).unwrap(), verdict(&plain, &call))
        };
        for name in LAUNCH.into_iter().chain(["read"]) {
            assert_eq!(asked(NATIVE_AUDIT, name), (SECCOMP_RET_ALLOW, Verdict::Passes), "{name}");
        }
        assert_eq!(asked(NATIVE_AUDIT, "openat"), (SECCOMP_RET_USER_NOTIF, Verdict::Passes));
        let absent = (SECCOMP_RET_USER_NOTIF, Verdict::Fails(libc::ENOSYS));
        assert_eq!(asked(NATIVE_AUDIT, "openat2"), absent);
        let denied = (SECCOMP_RET_USER_NOTIF, Verdict::Fails(libc::EPERM));
        assert_eq!((asked(NATIVE_AUDIT, "unlink"), asked(NATIVE_AUDIT, "mount")), (denied, denied));
        assert_eq!(asked(0x4000_0003, "openat").1, Verdict::Ends);
    }

    #[test]
    fn a_watched_program_asks_about_all_but_what_starts_it_and_what_seems_not_to_exist() {
        let allow: Vec<String> = LAUNCH.iter().chain(&["read"]).map(ToString::to_string).collect();
        let absent = vec!["clone3".to_owned()];
        let on_violation = OnViolation::Error;
        let syscalls = Syscalls { allow, absent, on_violation, ..Syscalls::default() };
        let plain = crate::linux::seccomp::compile(&syscalls).unwrap();
        let watched = watched(NATIVE_AUDIT, &plain);
        let asked = |arch: u32, name: &str| {
            let nr = number(name).cast_signed();
            let call = seccomp_data { nr, arch, instruction_pointer: 0, args: [0; 6] };
            (run(&watched, &call).unwrap(), verdict(&plain, &call))
        };
        for name in LAUNCH {
            assert_eq!(asked(NATIVE_AUDIT, name), (SECCOMP_RET_ALLOW, Verdict::Passes), "{name}");
        }
        assert_eq!(asked(NATIVE_AUDIT, "read"), (SECCOMP_RET_USER_NOTIF, Verdict::Passes));
        let denied = (SECCOMP_RET_USER_NOTIF, Verdict::Fails(libc::EPERM));
        assert_eq!(asked(NATIVE_AUDIT, "mount"), denied);
        assert_eq!(asked(NATIVE_AUDIT, "clone3").0, errno(libc::ENOSYS));
        // Of another processor mode none is let through.
        let foreign = asked(0x4000_0003, LAUNCH[0]);
        assert_eq!(foreign, (SECCOMP_RET_USER_NOTIF, Verdict::Ends));
    }
}
