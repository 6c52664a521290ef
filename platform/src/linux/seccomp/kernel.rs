//! The programs in force: a child of the test installs them, makes one call, and tells what came back.

use super::*;
use crate::{ArgumentTest, Compare, SyscallAnswer, SyscallRule};
use libc::c_long;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// What became of a call inside.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed(i32),
    Signalled(i32),
}

/// Exit status of a child that failed before the call.
const BROKEN: i32 = 255;

/// Makes `call` in a child under `programs`. The call answers zero or an errno below 255.
fn under(programs: &[Program], call: impl Fn() -> i32) -> Outcome {
    // SAFETY: the child makes only raw system calls, which is allowed after a fork from a threaded process.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let status = if install(programs).is_ok() { call() } else { BROKEN };
        // SAFETY: ends the child without running anything of the test's.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; the status is a local variable.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    let status = ExitStatus::from_raw(status);
    match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Done,
        (Some(BROKEN), _) => panic!("the kernel refused the filter"),
        (Some(errno), _) => Outcome::Failed(errno),
        (None, Some(signal)) => Outcome::Signalled(signal),
        (None, None) => panic!("{status:?}"),
    }
}

/// Installs the programs on this thread.
fn install(programs: &[Program]) -> Result<(), i32> {
    // SAFETY: only sets a flag of this thread.
    checked(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    for program in programs {
        let len = u16::try_from(program.len()).map_err(|_| libc::E2BIG)?;
        let described = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        // SAFETY: the kernel copies the program, which outlives the call.
        checked(unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const described) })?;
    }
    Ok(())
}

fn checked(answer: c_long) -> Result<(), i32> {
    if answer < 0 {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(BROKEN))
    } else {
        Ok(())
    }
}

/// Makes a system call with up to three arguments.
fn call(number: c_long, arguments: [usize; 3]) -> i32 {
    let [a, b, c] = arguments;
    // SAFETY: the tests use calls that take numbers, or null pointers, which the kernel refuses.
    checked(unsafe { libc::syscall(number, a, b, c) }).err().unwrap_or(0)
}

fn syscalls(allow: &[&str]) -> Syscalls {
    let allow = [&LAUNCH, allow].concat().iter().map(|&name| name.to_owned()).collect();
    let rules = vec![SyscallRule {
        name: "socket".to_owned(),
        tests: vec![ArgumentTest { index: 0, compare: Compare::NotEqual(1), wide: false }],
        answer: SyscallAnswer::Violation,
    }];
    Syscalls { allow, rules, absent: vec!["clone3".to_owned()], ..Syscalls::default() }
}

fn programs(on_violation: OnViolation) -> Vec<Program> {
    vec![compile(&Syscalls { on_violation, ..syscalls(&["socket", "getppid"]) }).unwrap()]
}

const UNIX: [usize; 3] = [1, 1, 0];
const INET: [usize; 3] = [2, 1, 0];

#[test]
fn the_kernel_answers_as_the_machine_does() {
    let programs = programs(OnViolation::Error);
    let try_call = |number, arguments| under(&programs, || call(number, arguments));
    assert_eq!(try_call(libc::SYS_getppid, [0; 3]), Outcome::Done);
    assert_eq!(try_call(libc::SYS_getpid, [0; 3]), Outcome::Failed(libc::EPERM));
    assert_eq!(try_call(libc::SYS_clone3, [0; 3]), Outcome::Failed(libc::ENOSYS));
    assert_eq!(try_call(4000, [0; 3]), Outcome::Failed(libc::ENOSYS));
    assert_eq!(try_call(libc::SYS_socket, UNIX), Outcome::Done);
    assert_eq!(try_call(libc::SYS_socket, INET), Outcome::Failed(libc::EPERM));
}

#[test]
fn without_the_programs_the_same_calls_succeed() {
    assert_eq!(under(&[], || call(libc::SYS_getpid, [0; 3])), Outcome::Done);
    assert_eq!(under(&[], || call(libc::SYS_socket, INET)), Outcome::Done);
}

#[test]
fn a_violation_ends_the_process_where_asked() {
    let programs = programs(OnViolation::Kill);
    let try_call = |number, arguments| under(&programs, || call(number, arguments));
    let killed = Outcome::Signalled(libc::SIGSYS);
    assert_eq!(try_call(libc::SYS_getpid, [0; 3]), killed);
    assert_eq!(try_call(libc::SYS_socket, INET), killed);
    assert_eq!(try_call(libc::SYS_clone3, [0; 3]), Outcome::Failed(libc::ENOSYS));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_x32_call_ends_the_process() {
    let programs = programs(OnViolation::Error);
    let x32 = || call(libc::SYS_getppid | 0x4000_0000, [0; 3]);
    assert_eq!(under(&programs, x32), Outcome::Signalled(libc::SIGSYS));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_call_ends_the_process() {
    if std::fs::read_to_string("/proc/cpuinfo").unwrap().contains("User Mode Linux") {
        return println!("\nSKIP: 32-bit-calls: user-mode Linux takes them for 64-bit ones");
    }
    /// getppid(2) as 32-bit programs make it.
    fn getppid() -> i32 {
        let mut answer = 64;
        // SAFETY: the call takes no arguments, and changes nothing but the registers named.
        unsafe {
            std::arch::asm!("int 0x80", inout("eax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        i32::from(answer <= 0)
    }
    let programs = programs(OnViolation::Error);
    let killed = under(&programs, getppid);
    assert_eq!(killed, Outcome::Signalled(libc::SIGSYS));
}

#[test]
fn the_kernel_takes_long_rules_and_long_lists() {
    let mut syscalls = syscalls(&["socket", "getppid"]);
    let all = crate::syscall_names().step_by(2).map(str::to_owned);
    syscalls.allow.extend(all);
    let compare = |value| ArgumentTest { index: 1, compare: Compare::NotEqual(value), wide: true };
    let tests = (0..100).map(compare).collect();
    let answer = SyscallAnswer::Violation;
    syscalls.rules.push(SyscallRule { name: "socket".to_owned(), tests, answer });
    let programs = [compile(&syscalls).unwrap()];
    let socket = |kind| under(&programs, || call(libc::SYS_socket, [1, kind, 0]));
    assert_eq!(socket(1), Outcome::Done);
    assert_eq!(socket(99), Outcome::Failed(libc::EINVAL));
    assert_eq!(socket(100), Outcome::Failed(libc::EPERM));
}
