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
//! | not allowed, or all tests of one of its rules hold | [`OnViolation`]: `EPERM`, or the process ends |
//! | `absent`, and every number without a name | `ENOSYS`, even where a violation ends the process |
//! | any other allowed one | the kernel carries it out |
//!
//! A number without a name is newer than this program. A library that tries it first expects to hear that the kernel
//! doesn't have it, and then takes the older call; ending the process for that would break programs whenever a C library
//! is updated, and protect nothing.

mod arguments;
mod assembly;
#[cfg(test)]
mod kernel;
mod list;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod tests;

use crate::names::{self, Arch, Entry};
use crate::{OnViolation, PlatformError, Syscalls};
use libc::sock_filter;
use list::List;

/// Instructions, ready for `seccomp(SECCOMP_SET_MODE_FILTER)`.
pub(crate) type Program = Box<[sock_filter]>;

/// Calls that the launch itself makes once the filter is in force: it opens the door to signals and starts the program,
/// or tells why it can't and ends. A failure that can't be told would look like a success.
pub(super) const LAUNCH: [&str; 4] = ["rt_sigprocmask", "execve", "sendto", "exit_group"];

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const MOST: usize = 4096;

/// The programs for `syscalls`, to be installed in this order. There is one today: each costs a launch some 25 µs before
/// its first instruction is looked at.
///
/// # Errors
/// With [`crate::ErrorKind::Invalid`]: a name that no processor has, a test of an argument that doesn't exist or of a
/// value that doesn't fit, more rules than the kernel takes, or a list without one of the calls that start the program
/// ([`LAUNCH`]).
pub(crate) fn compile(syscalls: &Syscalls) -> Result<Vec<Program>, PlatformError> {
    compile_for(NATIVE, syscalls)
}

/// The processor this was built for.
const NATIVE: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the numbers of this processor's system calls must be added to `names.rs` first");

/// The processor is an argument, so that the programs of each are tested on all.
fn compile_for(arch: Arch, syscalls: &Syscalls) -> Result<Vec<Program>, PlatformError> {
    let list = List::new(arch, syscalls)?;
    for name in LAUNCH {
        if !entry(name)?.number(arch).is_some_and(|number| list.allows(number)) {
            return Err(PlatformError::invalid(format!(
                "the system call `{name}` isn't allowed, and no program can be started without it"
            )));
        }
    }
    let rules = arguments::compile(arch, syscalls, &list)?;
    let program = assembly::assemble(arch, &list.ranges(&rules), &rules);
    if program.len() > MOST {
        let len = program.len();
        return Err(PlatformError::invalid(format!(
            "the system call rules need {len} instructions, and the kernel takes {MOST}"
        )));
    }
    Ok(vec![program])
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

/// The answer "this error".
const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (number.cast_unsigned() & libc::SECCOMP_RET_DATA)
}
