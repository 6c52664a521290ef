//! The filter of system calls: from names to the program that the kernel runs before each call (seccomp(2)).
//!
//! The [`list`] says what each number gets, and covers every number there can be, so that nothing is left to a default.
//! [`arguments`] test what a number can't tell, such as which kind of socket is asked for. The [`assembly`] makes one
//! program of both.
//!
//! The answers:
//!
//! | call | answer |
//! |---|---|
//! | of another processor mode (32-bit x86, x32) | the process ends, whatever the policy says: numbers mean other things there |
//! | all tests of one of its rules hold | what the first such rule says |
//! | `absent`, and every number without a name | `ENOSYS`, even where a violation ends the process |
//! | not allowed | [`OnViolation`]: `EPERM`, or the process ends |
//! | any other | the kernel carries it out |
//!
//! A number without a name is newer than this program. A library that tries it first expects to hear that the kernel
//! doesn't have it, and then takes the older call; ending the process for that would break programs whenever a C library
//! is updated, and protect nothing.
//!
//! A denied call isn't answered by the kernel but by the starter, who is told of it ([`told`], `crate::linux::listener`):
//! the answer is the same, since the starter runs the same program for it ([`verdict`]).

mod arguments;
mod assembly;
#[cfg(fuzzing)]
mod fuzz;
#[cfg(test)]
mod kernel;
mod list;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod tests;
mod told;

use crate::names::{self, Arch, Entry};
use crate::{
    ArgumentTest, Compare, OnViolation, PlatformError, SyscallAnswer, SyscallRule, Syscalls,
};
use libc::{BPF_K, BPF_RET, SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, sock_filter};
use list::List;

#[cfg(fuzzing)]
pub(crate) use fuzz::fuzz;
pub(crate) use told::{Verdict, told, traced, verdict, watched};

/// Instructions, ready for `seccomp(SECCOMP_SET_MODE_FILTER)`.
pub(crate) type Program = Box<[sock_filter]>;

/// Calls that the launch itself makes once the filter is in force: it opens the door to signals and starts the program,
/// or tells why it can't and ends. A failure that can't be told would look like a success.
pub(crate) const LAUNCH: [&str; 4] = ["rt_sigprocmask", "execve", "sendto", "exit_group"];

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const MOST: usize = 4096;

/// The program for `syscalls`.
///
/// # Errors
/// With [`crate::ErrorKind::Invalid`]: a name that no processor has, a test of an argument that doesn't exist or of a
/// value that doesn't fit, more rules than the kernel takes, or a list without one of the calls that start the program
/// ([`LAUNCH`]).
pub(crate) fn compile(syscalls: &Syscalls) -> Result<Program, PlatformError> {
    compile_for(NATIVE, syscalls).map(|compiled| compiled.program)
}

/// The same, and whether this call is carried out whatever its arguments.
pub(crate) fn compile_with(
    syscalls: &Syscalls,
    name: &str,
) -> Result<(Program, bool), PlatformError> {
    let compiled = compile_for(NATIVE, syscalls)?;
    let always = compiled.always(NATIVE, name)?;
    Ok((compiled.program, always))
}

/// The processor this was built for.
pub(crate) const NATIVE: Arch =
    if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the numbers of this processor's system calls must be added to `names.rs` first");

/// A program, and what it was made of.
#[derive(Debug)]
struct Compiled {
    program: Program,
    list: List,
    rules: arguments::Rules,
}

impl Compiled {
    /// Whether a call is carried out whatever its arguments.
    fn always(&self, arch: Arch, name: &str) -> Result<bool, PlatformError> {
        passes_always(arch, name, &self.list, &self.rules)
    }
}

fn passes_always(
    arch: Arch,
    name: &str,
    list: &List,
    rules: &arguments::Rules,
) -> Result<bool, PlatformError> {
    let passes = |one: &sock_filter| {
        u32::from(one.code) != BPF_RET | BPF_K
            || matches!(one.k, SECCOMP_RET_ALLOW | SECCOMP_RET_LOG)
    };
    Ok(entry(name)?.number(arch).is_some_and(|number| match rules.get(&number) {
        Some(instructions) => instructions.iter().all(passes),
        None => list.allows(number),
    }))
}

/// What of it decides about the calls of [`LAUNCH`]. The flags with which the launch itself sends are known; of the other
/// arguments none is, since they are descriptors and addresses.
fn as_launch_meets_it(syscalls: &Syscalls) -> Syscalls {
    const FLAGS: u8 = 3;
    let sent_with = u64::from(libc::MSG_NOSIGNAL.cast_unsigned());
    let may_hold = |test: &ArgumentTest| {
        test.index != FLAGS
            || match test.compare {
                Compare::Equal(value) => sent_with == value,
                Compare::NotEqual(value) => sent_with != value,
                Compare::Masked { mask, value } => sent_with & mask == value,
                Compare::Any(bits) => sent_with & bits != 0,
            }
    };
    let of_launch = |rule: &&SyscallRule| LAUNCH.contains(&rule.name.as_str());
    let met = |rule: &&SyscallRule| rule.name != "sendto" || rule.tests.iter().all(may_hold);
    let rules = syscalls.rules.iter().filter(of_launch).filter(met).cloned().collect();
    Syscalls { rules, ..syscalls.clone() }
}

/// The processor is an argument, so that the programs of each are tested on all.
fn compile_for(arch: Arch, syscalls: &Syscalls) -> Result<Compiled, PlatformError> {
    let list = List::new(arch, syscalls)?;
    let rules = arguments::compile(arch, syscalls, &list)?;
    let program = assembly::assemble(arch, &list.ranges(&rules), &rules);
    if program.len() > MOST {
        let len = program.len();
        return Err(PlatformError::invalid(format!(
            "the system call rules need {len} instructions, and the kernel takes {MOST}"
        )));
    }
    let compiled = Compiled { program, list, rules };
    let for_launch = as_launch_meets_it(syscalls);
    let rules = arguments::compile(arch, &for_launch, &compiled.list)?;
    for name in LAUNCH {
        if !passes_always(arch, name, &compiled.list, &rules)? {
            return Err(PlatformError::invalid(format!(
                "the system call `{name}` isn't allowed, and no program can be started without it"
            )));
        }
    }
    Ok(compiled)
}

/// The system call of this name.
fn entry(name: &str) -> Result<&'static Entry, PlatformError> {
    names::lookup(name)
        .ok_or_else(|| PlatformError::invalid(format!("`{name}` is not the name of a system call")))
}

/// What the kernel answers to a forbidden call.
const fn violation(on_violation: OnViolation) -> u32 {
    match on_violation {
        OnViolation::Error => errno(libc::EPERM),
        OnViolation::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

/// What the kernel answers where a rule decides.
const fn answer_of(answer: SyscallAnswer, on_violation: OnViolation) -> u32 {
    match answer {
        SyscallAnswer::Violation => violation(on_violation),
        SyscallAnswer::Allow => SECCOMP_RET_ALLOW,
        SyscallAnswer::Log => SECCOMP_RET_LOG,
        SyscallAnswer::Error(error) => errno(error.number() as i32),
        SyscallAnswer::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

/// The answer "this error".
const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (number.cast_unsigned() & libc::SECCOMP_RET_DATA)
}
