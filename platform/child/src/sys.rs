//! The system calls this crate makes, one typed function each. Errors are errno numbers.

mod mounts;
pub(crate) mod sockets;
mod walls;

pub(crate) use mounts::*;
pub(crate) use walls::*;

use crate::Message;
use crate::listener::Slot;
use core::ptr;
use syscalls::{Errno, Sysno, raw};

/// A system call's result.
pub(crate) type Result<T> = core::result::Result<T, i32>;

/// A new time namespace for later children; libc lacks it for some targets (time_namespaces(7)).
pub const CLONE_NEWTIME: u64 = 0x80;

const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;
const CLOSE_RANGE_CLOEXEC: usize = 4;
/// As netdevice(7) has it; its type in libc differs by target.
const SIOCSIFFLAGS: usize = 0x8914;

/// # Safety
/// The arguments must be what the system call takes, and memory they point to must live as the call needs it.
unsafe fn call(number: Sysno, args: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the caller's promise is the same as this function's.
    let value = unsafe { raw::syscall6(number as usize, a, b, c, d, e, f) };
    Errno::from_ret(value).map_err(Errno::into_raw)
}

/// A descriptor or other small signed number as an argument (sign-extended, as the kernel takes it).
const fn int(value: i32) -> usize {
    (value as isize).cast_unsigned()
}

/// A request of ioctl(2) as an argument.
#[expect(
    clippy::cast_possible_truncation,
    reason = "requests are 32 bits; their type in libc differs by target"
)]
const fn number(request: libc::Ioctl) -> usize {
    request as usize
}

/// A returned descriptor or process id: the kernel never gives more than 31 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the kernel returns an int"
)]
const fn small(value: usize) -> i32 {
    value as i32
}

/// The structure of openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

pub(crate) fn close(fd: i32) {
    // The only failures are a wrong descriptor, and a late write error of files that this crate doesn't write.
    // SAFETY: closes a descriptor that only this process's code uses.
    let _closed = unsafe { call(Sysno::close, [int(fd), 0, 0, 0, 0, 0]) };
}

pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: ends the process; no memory is involved.
        let _never = unsafe { call(Sysno::exit_group, [int(code), 0, 0, 0, 0, 0]) };
    }
}

pub(crate) fn open_path(directory: i32, path: *const u8, beneath: bool) -> Result<i32> {
    let inside = if beneath { RESOLVE_BENEATH } else { 0 };
    let how = OpenHow {
        flags: (libc::O_PATH | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve: RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | inside,
    };
    let args =
        [int(directory), path as usize, ptr::from_ref(&how) as usize, size_of::<OpenHow>(), 0, 0];
    // SAFETY: `path` is NUL-terminated and `how` outlives the call.
    unsafe { call(Sysno::openat2, args) }.map(small)
}

pub(crate) fn open(path: *const u8, flags: i32) -> Result<i32> {
    let args = [int(libc::AT_FDCWD), path as usize, int(flags | libc::O_CLOEXEC), 0, 0, 0];
    // SAFETY: `path` is NUL-terminated.
    unsafe { call(Sysno::openat, args) }.map(small)
}

pub(crate) fn write(fd: i32, bytes: *const u8, len: usize) -> Result<usize> {
    // SAFETY: the caller passes a range of a live buffer.
    unsafe { call(Sysno::write, [int(fd), bytes as usize, len, 0, 0, 0]) }
}

pub(crate) fn make_directory(root: i32, path: *const u8, mode: u32) -> Result<()> {
    // SAFETY: `path` is NUL-terminated.
    unsafe { call(Sysno::mkdirat, [int(root), path as usize, mode as usize, 0, 0, 0]) }.map(drop)
}

pub(crate) fn make_file(root: i32, path: *const u8) -> Result<()> {
    let args = [int(root), path as usize, (libc::S_IFREG | 0o644) as usize, 0, 0, 0];
    // SAFETY: `path` is NUL-terminated.
    unsafe { call(Sysno::mknodat, args) }.map(drop)
}

/// Makes a file that wasn't there, to be written.
pub(crate) fn create_file(root: i32, path: *const u8) -> Result<i32> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: `path` is NUL-terminated.
    unsafe { call(Sysno::openat, [int(root), path as usize, int(flags), 0o600, 0, 0]) }.map(small)
}

pub(crate) fn write_all(fd: i32, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let written = write(fd, bytes.as_ptr(), bytes.len())?;
        match bytes.get(written..) {
            Some(rest) if written > 0 => bytes = rest,
            _ => return Err(libc::EIO),
        }
    }
    Ok(())
}

pub(crate) fn set_mode(fd: i32, mode: u32) -> Result<()> {
    // SAFETY: numbers only.
    unsafe { call(Sysno::fchmod, [int(fd), mode as usize, 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn remove_file(root: i32, path: *const u8) -> Result<()> {
    // SAFETY: `path` is NUL-terminated.
    unsafe { call(Sysno::unlinkat, [int(root), path as usize, 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn make_symlink(target: *const u8, root: i32, path: *const u8) -> Result<()> {
    // SAFETY: both texts are NUL-terminated.
    unsafe { call(Sysno::symlinkat, [target as usize, int(root), path as usize, 0, 0, 0]) }
        .map(drop)
}

/// The device number when `fd` is a character device.
pub(crate) fn character_device(fd: i32) -> Result<Option<u64>> {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the buffer is of the structure's size.
    unsafe { call(Sysno::fstat, [int(fd), stat.as_mut_ptr() as usize, 0, 0, 0, 0]) }?;
    // SAFETY: the kernel filled it, since the call succeeded.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.st_mode & libc::S_IFMT == libc::S_IFCHR).then_some(stat.st_rdev))
}

/// Device and inode number of what is at a path.
pub(crate) fn identity(path: *const u8) -> Result<(u64, u64)> {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::uninit();
    let args = [int(libc::AT_FDCWD), path as usize, stat.as_mut_ptr() as usize, 0, 0, 0];
    // SAFETY: the path is NUL-terminated, and the buffer is of the structure's size.
    unsafe { call(Sysno::newfstatat, args) }?;
    // SAFETY: the kernel filled it, since the call succeeded.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.st_dev, stat.st_ino))
}

pub(crate) fn change_directory_to(fd: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(Sysno::fchdir, [int(fd), 0, 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn change_directory(path: *const u8) -> Result<()> {
    // SAFETY: `path` is NUL-terminated.
    unsafe { call(Sysno::chdir, [path as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn unshare(flags: u64) -> Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "namespace flags fit 32 bits")]
    let flags = flags as usize;
    // SAFETY: no pointers.
    unsafe { call(Sysno::unshare, [flags, 0, 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn set_group_ids(id: u32) -> Result<()> {
    let id = id as usize;
    // SAFETY: no pointers.
    unsafe { call(Sysno::setresgid, [id, id, id, 0, 0, 0]) }.map(drop)
}

pub(crate) fn set_user_ids(id: u32) -> Result<()> {
    let id = id as usize;
    // SAFETY: no pointers.
    unsafe { call(Sysno::setresuid, [id, id, id, 0, 0, 0]) }.map(drop)
}

pub(crate) fn drop_groups() -> Result<()> {
    // SAFETY: a list of length zero needs no memory.
    unsafe { call(Sysno::setgroups, [0, 0, 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn set_hostname(name: *const u8, len: u32) -> Result<()> {
    // SAFETY: the caller passes a text of at least that length.
    unsafe { call(Sysno::sethostname, [name as usize, len as usize, 0, 0, 0, 0]) }.map(drop)
}

/// Sets the flags of the loopback interface of this network namespace to "up" (netdevice(7), SIOCSIFFLAGS).
pub(crate) fn loopback_up() -> Result<()> {
    let kind = int(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC);
    let socket =
        // SAFETY: no pointers.
        unsafe { call(Sysno::socket, [int(libc::AF_INET), kind, 0, 0, 0, 0]) }.map(small)?;
    // SAFETY: all bytes zero are a valid value of this structure of integers.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the flag is bit 0")]
    let up = libc::IFF_UP as libc::c_short;
    request.ifr_ifru.ifru_flags = up;
    let args = [int(socket), SIOCSIFFLAGS, ptr::from_ref(&request) as usize, 0, 0, 0];
    // SAFETY: the request outlives the call.
    let result = unsafe { call(Sysno::ioctl, args) };
    close(socket);
    result.map(drop)
}

/// Enters namespaces of a process; that of process ids with the next child.
pub(crate) fn enter(process: i32, namespaces: u64) -> Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "these flags are an int")]
    let namespaces = namespaces as usize;
    // SAFETY: no pointers.
    unsafe { call(Sysno::setns, [int(process), namespaces, 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn new_session() -> Result<()> {
    // SAFETY: no arguments.
    unsafe { call(Sysno::setsid, [0; 6]) }.map(drop)
}

pub(crate) fn own_process_group() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(Sysno::setpgid, [0; 6]) }.map(drop)
}

pub(crate) fn process_id() -> i32 {
    // SAFETY: no arguments; getpid(2) can't fail.
    unsafe { call(Sysno::getpid, [0; 6]) }.map_or(0, small)
}

/// An ioctl whose argument is a plain number.
pub(crate) fn ioctl(fd: i32, request: libc::Ioctl, argument: usize) -> Result<i32> {
    // SAFETY: the requests made here take a number, not a pointer.
    unsafe { call(Sysno::ioctl, [int(fd), number(request), argument, 0, 0, 0]) }.map(small)
}

/// Sets the size of a terminal.
pub(crate) fn set_window_size(fd: i32, rows: u16, columns: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let args = [int(fd), number(libc::TIOCSWINSZ), (&raw const size) as usize, 0, 0, 0];
    // SAFETY: the structure outlives the call, which only reads it.
    unsafe { call(Sysno::ioctl, args) }.map(drop)
}

/// An ioctl whose argument is a number in memory.
pub(crate) fn ioctl_int(fd: i32, request: libc::Ioctl, value: &i32) -> Result<()> {
    let args = [int(fd), number(request), ptr::from_ref(value) as usize, 0, 0, 0];
    // SAFETY: the requests made here read one int.
    unsafe { call(Sysno::ioctl, args) }.map(drop)
}

/// Makes `to` a copy of `from` that stays open at exec; also where both are the same.
pub(crate) fn duplicate(from: i32, to: i32) -> Result<()> {
    if from == to {
        // SAFETY: no pointers.
        return unsafe { call(Sysno::fcntl, [int(from), int(libc::F_SETFD), 0, 0, 0, 0]) }
            .map(drop);
    }
    // SAFETY: no pointers.
    unsafe { call(Sysno::dup3, [int(from), int(to), 0, 0, 0, 0]) }.map(drop)
}

/// Whether a descriptor is open.
pub(crate) fn is_open(fd: i32) -> bool {
    // SAFETY: no pointers.
    unsafe { call(Sysno::fcntl, [int(fd), int(libc::F_GETFD), 0, 0, 0, 0]) }.is_ok()
}

/// How a descriptor was opened (fcntl(2), `F_GETFL`).
pub(crate) fn status_flags(fd: i32) -> Result<i32> {
    // SAFETY: no pointers.
    unsafe { call(Sysno::fcntl, [int(fd), int(libc::F_GETFL), 0, 0, 0, 0]) }.map(small)
}

/// Whether the other end of a socket is gone, without taking anything out of it.
pub(crate) fn is_closed(socket: i32) -> bool {
    let mut byte = 0u8;
    let flags = int(libc::MSG_PEEK | libc::MSG_DONTWAIT);
    let args = [int(socket), ptr::from_mut(&mut byte) as usize, 1, flags, 0, 0];
    // SAFETY: the byte outlives the call.
    let seen = unsafe { call(Sysno::recvfrom, args) };
    seen == Ok(0)
}

pub(crate) fn set_resource_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    let args = [0, resource as usize, limit.as_ptr() as usize, 0, 0, 0];
    // SAFETY: the pair outlives the call and has the layout of `struct rlimit64`.
    unsafe { call(Sysno::prlimit64, args) }.map(drop)
}

/// The niceness of this process (setpriority(2)).
pub(crate) fn set_niceness(nice: u32) -> Result<()> {
    const PRIO_PROCESS: usize = 0;
    // SAFETY: no pointers.
    unsafe { call(Sysno::setpriority, [PRIO_PROCESS, 0, nice as usize, 0, 0, 0]) }.map(drop)
}

pub(crate) fn set_affinity(mask: u64) -> Result<()> {
    let args = [0, size_of::<u64>(), ptr::from_ref(&mask) as usize, 0, 0, 0];
    // SAFETY: the mask outlives the call and has the size given.
    unsafe { call(Sysno::sched_setaffinity, args) }.map(drop)
}

pub(crate) fn set_file_mode_mask(mask: u32) {
    // SAFETY: no pointers; umask(2) can't fail.
    let _old = unsafe { call(Sysno::umask, [mask as usize, 0, 0, 0, 0, 0]) };
}

pub(crate) fn prctl(option: i32, a: usize, b: usize) -> Result<i32> {
    // SAFETY: the options used here take numbers.
    unsafe { call(Sysno::prctl, [int(option), a, b, 0, 0, 0]) }.map(small)
}

pub(crate) fn close_range(first: u32, last: u32, at_exec: bool) -> Result<()> {
    let flags = if at_exec { CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: descriptors of that range are not used afterwards by this process's code.
    unsafe { call(Sysno::close_range, [first as usize, last as usize, flags, 0, 0, 0]) }.map(drop)
}

/// A slot that a process with memory of its own shares all the same, if that is `wanted`.
pub(crate) fn shared(wanted: bool) -> Result<Option<&'static Slot>> {
    if !wanted {
        return Ok(None);
    }
    let access = int(libc::PROT_READ | libc::PROT_WRITE);
    let kind = int(libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which nothing else uses.
    let page = unsafe { call(Sysno::mmap, [0, size_of::<Slot>(), access, kind, int(-1), 0]) }?;
    let slot = ptr::with_exposed_provenance_mut::<Slot>(page);
    // SAFETY: the page is writable, larger than a slot, aligned, and unmapped only at the end of the process.
    unsafe { slot.write(Slot::new()) };
    // SAFETY: as above, and initialised; all its accesses are atomic.
    Ok(Some(unsafe { &*slot }))
}

pub(crate) fn execute(
    path: *const u8,
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
) -> i32 {
    let args = [path as usize, argv.as_ptr() as usize, envp.as_ptr() as usize, 0, 0, 0];
    // SAFETY: the path is NUL-terminated and both lists are closed by a null pointer.
    match unsafe { call(Sysno::execve, args) } {
        Ok(_) => 0,
        Err(errno) => errno,
    }
}

/// Reaps one child that ended or stopped, if there is one: its pid and wait status.
pub(crate) fn reap() -> Option<(i32, i32)> {
    let mut status = 0i32;
    let options = int(libc::WNOHANG | libc::WUNTRACED);
    let args = [int(-1), ptr::from_mut(&mut status) as usize, options, 0, 0, 0];
    // SAFETY: the status outlives the call.
    match unsafe { call(Sysno::wait4, args) } {
        Ok(0) | Err(_) => None,
        Ok(pid) => Some((small(pid), status)),
    }
}

/// Whether a child with this number is there, or has ended and waits to be reaped.
pub(crate) fn is_child(pid: i32) -> bool {
    pid > 1 && looks_like_child(libc::P_PID, pid)
}

/// Whether any child is there.
pub(crate) fn has_children() -> bool {
    looks_like_child(libc::P_ALL, 0)
}

/// waitid(2), which reaps nobody here, fails where there is no such child.
fn looks_like_child(kind: libc::idtype_t, pid: i32) -> bool {
    let options = int(libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
    // SAFETY: no pointers; nothing is asked of the child.
    unsafe { call(Sysno::waitid, [kind as usize, int(pid), 0, options, 0, 0]) }.is_ok()
}

pub(crate) fn kill(pid: i32, signal: i32) {
    // A program that is gone already is not an error, and there is nobody else to tell.
    // SAFETY: no pointers.
    let _sent = unsafe { call(Sysno::kill, [int(pid), int(signal), 0, 0, 0, 0]) };
}

const ALL_SIGNALS: u64 = !0;

pub(crate) fn set_signal_mask(blocked: bool) -> Result<()> {
    let mask = if blocked { ALL_SIGNALS } else { 0 };
    let args = [int(libc::SIG_SETMASK), ptr::from_ref(&mask) as usize, 0, size_of::<u64>(), 0, 0];
    // SAFETY: the mask outlives the call and has the size given.
    unsafe { call(Sysno::rt_sigprocmask, args) }.map(drop)
}

/// Gives every signal its default action, ignored ones included.
pub(crate) fn reset_signal_actions() {
    // handler (SIG_DFL), flags, restorer, mask: all zero, on every architecture.
    let action = [0usize; 4];
    for signal in 1..=64 {
        let args = [signal, action.as_ptr() as usize, 0, size_of::<u64>(), 0, 0];
        // SIGKILL and SIGSTOP can't be set, and are at their default already.
        // SAFETY: the action outlives the call.
        let _set = unsafe { call(Sysno::rt_sigaction, args) };
    }
}

/// A descriptor that is readable when a child changed its state.
pub(crate) fn child_signals() -> Result<i32> {
    let mask: u64 = 1 << (libc::SIGCHLD - 1);
    let flags = int(libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
    let args = [int(-1), ptr::from_ref(&mask) as usize, size_of::<u64>(), flags, 0, 0];
    // SAFETY: the mask outlives the call and has the size given.
    unsafe { call(Sysno::signalfd4, args) }.map(small)
}

/// Empties the descriptor of [`child_signals`].
pub(crate) fn drain(fd: i32) {
    let mut buffer = [0u64; 16];
    // An error means that it is empty.
    // SAFETY: the buffer is 128 bytes, the size of one record.
    let _read = unsafe {
        call(Sysno::read, [int(fd), buffer.as_mut_ptr() as usize, size_of_val(&buffer), 0, 0, 0])
    };
}

/// Waits until one of these descriptors is ready or its other end is gone; tells which. A negative one never is.
pub(crate) fn wait_for<const N: usize>(descriptors: [i32; N]) -> [bool; N] {
    let mut entries = descriptors.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let args = [entries.as_mut_ptr() as usize, entries.len(), 0, 0, 8, 0];
    // An interrupted call reports nothing ready, and the caller asks again.
    // SAFETY: the entries outlive the call; no timeout and no mask are passed.
    let _ready = unsafe { call(Sysno::ppoll, args) };
    entries.map(|entry| entry.revents != 0)
}

/// Whether a descriptor becomes ready within so many milliseconds.
pub(crate) fn is_ready_within(fd: i32, milliseconds: i32) -> bool {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let seconds = libc::time_t::from(milliseconds / 1000);
    let time = [seconds, i64::from(milliseconds % 1000) * 1_000_000];
    let args = [ptr::from_mut(&mut entry) as usize, 1, time.as_ptr() as usize, 0, 8, 0];
    // SAFETY: the entry and the time, of the layout of `struct timespec`, outlive the call; no mask is passed.
    let ready = unsafe { call(Sysno::ppoll, args) };
    ready == Ok(1)
}

/// Sends a message; there is nobody to tell a failure: the other end is then gone.
pub(crate) fn send(control: i32, message: Message) {
    let words = message.encode();
    let args =
        [int(control), words.as_ptr() as usize, Message::LEN, libc::MSG_NOSIGNAL as usize, 0, 0];
    // SAFETY: the words outlive the call.
    let _sent = unsafe { call(Sysno::sendto, args) };
}

/// The next message; `None` when the other end is gone or talks nonsense, which is the same: the end.
pub(crate) fn receive(control: i32) -> Option<Message> {
    let mut words = [0i32; 4];
    let args = [int(control), words.as_mut_ptr() as usize, Message::LEN, 0, 0, 0];
    loop {
        // SAFETY: the buffer is as long as said and outlives the call.
        match unsafe { call(Sysno::recvfrom, args) } {
            Ok(Message::LEN) => return Message::decode(words),
            Err(libc::EINTR) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Sends a message with a descriptor (unix(7), SCM_RIGHTS).
pub(crate) fn send_descriptor(control: i32, message: Message, fd: i32) -> Result<()> {
    #[repr(C)]
    struct Rights {
        len: usize,
        level: i32,
        kind: i32,
        fd: i32,
        pad: i32,
    }
    let mut words = message.encode();
    let mut part = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: Message::LEN };
    let mut rights =
        Rights { len: 20, level: libc::SOL_SOCKET, kind: libc::SCM_RIGHTS, fd, pad: 0 };
    // SAFETY: all bytes zero are a valid value of this structure of integers and pointers. It has padding with names on
    // some targets, so that it can't be written down in full.
    let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut rights).cast();
    // Its type differs by target.
    header.msg_controllen = size_of::<Rights>() as _;
    let args =
        [int(control), ptr::from_ref(&header) as usize, libc::MSG_NOSIGNAL as usize, 0, 0, 0];
    // SAFETY: everything that the header points to outlives the call, and the lengths are right.
    unsafe { call(Sysno::sendmsg, args) }.map(drop)
}
