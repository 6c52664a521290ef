//! Which system calls may be made.

use crate::Errno;
use serde::Serialize;

/// Which system calls may be made: an allow list, and rules that test arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Syscalls {
    /// Names that are allowed; every other is a violation. Empty with the control asked for: nothing is allowed.
    pub allow: Vec<String>,
    /// Names that answer "no such system call", whatever [`Self::on_violation`] says, so that callers use an older one.
    pub absent: Vec<String>,
    /// Answers that depend on arguments, or that differ from the lists'. Of those about one call the first whose tests all
    /// hold decides; where none does, the lists do.
    pub rules: Vec<SyscallRule>,
    /// What a violation gets.
    pub on_violation: OnViolation,
}

/// What a system call gets when all its tests hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SyscallRule {
    /// The system call.
    pub name: String,
    /// Tests that must all hold.
    pub tests: Vec<ArgumentTest>,
    /// What the call gets then.
    pub answer: SyscallAnswer,
}

/// What a rule gives a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyscallAnswer {
    /// What every forbidden call gets ([`Syscalls::on_violation`]).
    Violation,
    /// It is carried out.
    Allow,
    /// It is carried out, and the platform's own log tells of it.
    Log,
    /// It fails with this error.
    Error(Errno),
    /// It ends the process.
    Kill,
}

/// A test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ArgumentTest {
    /// Which argument, from 0 to 5.
    pub index: u8,
    /// How it is compared; only its low 32 bits are looked at unless `wide`.
    pub compare: Compare,
    /// Whether all 64 bits count.
    pub wide: bool,
}

/// A comparison of an argument with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Equal to the value.
    Equal(u64),
    /// Different from the value.
    NotEqual(u64),
    /// Has the bits of `mask` equal to `value`.
    Masked {
        /// Bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
    /// Has at least one of these bits.
    Any(u64),
}

/// What a forbidden system call gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnViolation {
    /// An error: "operation not permitted", or "no such system call" for one the list doesn't know.
    #[default]
    Error,
    /// The end of the whole process.
    Kill,
}
