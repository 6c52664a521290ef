//! The second process: in the first one's memory until it executes the program.
//!
//! A copy of the memory would cost a launch its page tables and a fault for each page touched, only to be thrown away at
//! `execve`. As with vfork(2) the first process stands still meanwhile, so that the two never run in it at once; unlike
//! vfork(2) the second has a stack of its own, so that it can't return into frames that the first one still needs. They
//! share descriptors too, for what the second one can't send itself ([`crate::listener`]); exec ends that.

use crate::sys::Result;
use core::arch::asm;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;
use syscalls::{Errno, Sysno};

/// Many times what the deepest call of this crate needs, also without optimization.
#[repr(C, align(16))]
struct Stack(MaybeUninit<[u8; 32 << 10]>);

const CLONE_PIDFD: i32 = 0x1000;

/// What a raw clone(2) hands over to [`enter`].
struct Start<T> {
    main: fn(&T) -> !,
    argument: *const T,
}

/// Starts a process that runs `main`; returns when that has executed a program or ended.
///
/// With `own_memory` it gets a copy of the memory after all: a process with new clock offsets must, since before
/// Linux 6.3 one that shares memory enters a new time namespace neither at its clone nor at exec.
///
/// It must not have handlers for the signals that it doesn't block: they would run on the first process's behalf.
pub(crate) fn until_exec<T>(main: fn(&T) -> !, argument: &T, own_memory: bool) -> Result<i32> {
    let share = if own_memory { 0 } else { libc::CLONE_VM };
    start(main, argument, share, &mut -1)
}

/// The same with a process that is the child of this one's parent, and with a descriptor of it (pidfd_open(2)).
pub(crate) fn beside_until_exec<T>(main: fn(&T) -> !, argument: &T) -> Result<(i32, i32)> {
    let mut pidfd = -1;
    let share = libc::CLONE_VM | libc::CLONE_PARENT | CLONE_PIDFD;
    let pid = start(main, argument, share, &mut pidfd)?;
    Ok((pid, pidfd))
}

fn start<T>(main: fn(&T) -> !, argument: &T, share: i32, pidfd: &mut i32) -> Result<i32> {
    let mut stack = MaybeUninit::<Stack>::uninit();
    let start = Start { main, argument };
    let flags =
        (share | libc::CLONE_FILES | libc::CLONE_VFORK | libc::SIGCHLD).cast_unsigned() as usize;
    let top = stack.as_mut_ptr().wrapping_add(1);
    let (start, pidfd) = ((&raw const start).cast(), ptr::from_mut(pidfd));
    // SAFETY: the stack, `start` and what it points to outlive the second process's use of them, since this call returns
    // only when that has left this memory (CLONE_VFORK). `enter` is made for a `Start<T>` and never returns. The kernel
    // writes a descriptor to `pidfd`, if anything.
    let result = unsafe { clone(flags, top.cast(), enter::<T>, start, pidfd) };
    Errno::from_ret(result.cast_unsigned())
        .map_err(Errno::into_raw)
        .map(|pid| i32::try_from(pid).unwrap_or(0))
}

/// # Safety
/// `start` points to a live `Start<T>`.
unsafe extern "C" fn enter<T>(start: *const c_void) -> ! {
    // SAFETY: the caller's promise.
    let Start { main, argument } = unsafe { start.cast::<Start<T>>().read() };
    // SAFETY: `until_exec` took it from a reference that outlives this process's use of it.
    main(unsafe { &*argument })
}

/// clone(2); the new process begins in `enter`.
///
/// # Safety
/// `stack` is the top of one that nothing else uses, aligned to 16, and `enter` accepts `start`; both live as long as the
/// new process uses this memory. `pidfd` is writable.
#[cfg(target_arch = "x86_64")]
unsafe fn clone(
    flags: usize,
    stack: *mut c_void,
    enter: unsafe extern "C" fn(*const c_void) -> !,
    start: *const c_void,
    pidfd: *mut i32,
) -> isize {
    let result;
    // SAFETY: the caller's promise; the new process takes the inner branch on its own stack and never leaves it.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {start}",
            "call {enter}",
            "ud2",
            "2:",
            start = in(reg) start,
            enter = in(reg) enter,
            inout("rax") Sysno::clone as isize => result,
            in("rdi") flags,
            in("rsi") stack,
            in("rdx") pidfd,
            in("r10") 0usize,
            in("r8") 0usize,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// clone(2); the new process begins in `enter`.
///
/// # Safety
/// `stack` is the top of one that nothing else uses, aligned to 16, and `enter` accepts `start`; both live as long as the
/// new process uses this memory. `pidfd` is writable.
#[cfg(target_arch = "aarch64")]
unsafe fn clone(
    flags: usize,
    stack: *mut c_void,
    enter: unsafe extern "C" fn(*const c_void) -> !,
    start: *const c_void,
    pidfd: *mut i32,
) -> isize {
    let result;
    // SAFETY: the caller's promise; the new process takes the inner branch on its own stack and never leaves it.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {start}",
            "blr {enter}",
            "brk #1",
            "2:",
            start = in(reg) start,
            enter = in(reg) enter,
            in("x8") Sysno::clone as isize,
            inout("x0") flags.cast_signed() => result,
            in("x1") stack,
            in("x2") pidfd,
            in("x3") 0usize,
            in("x4") 0usize,
        );
    }
    result
}
