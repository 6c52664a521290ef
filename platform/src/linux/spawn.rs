//! The clone: one `clone3` into the quota group and all namespaces, the identity maps, and the wait for `exec`.

use super::cgroup::{CLONE_INTO_CGROUP, Cgroup};
use super::prepare::Prepared;
use super::script::FILTERED;
use super::{apparmor, classic};
use crate::stdio::Terminal;
use crate::{PlatformError, Stage};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType,
};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::time::Instant;
use stockade_child::{Message, Script};
use syscalls::{Sysno, raw};

/// As clone(2) has it; that of the libc crate is 0 on gnu targets, like [`CLONE_INTO_CGROUP`].
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_PIDFD: u64 = 0x1000;

/// `struct clone_args` of clone(2), up to `cgroup`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A process that was cloned and runs the program.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) handed: Handed,
    /// Where denied system calls are told, or why they aren't.
    pub(crate) listener: Result<OwnedFd, Untold>,
    /// The program's own process, as its first one counts.
    pub(crate) program: i32,
    pub(crate) started: Instant,
    /// Why it came into its cgroup only after the clone, where it did.
    pub(crate) moved: Option<Errno>,
}

/// What the child made inside and handed out.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    pub(crate) terminal: Option<Terminal>,
    /// Listens for the proxy.
    pub(crate) proxy: Option<OwnedFd>,
    /// Where sockets can be asked for.
    pub(crate) sockets: Option<OwnedFd>,
}

/// Why nobody is told of denied system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untold {
    /// There is no filter, or it can't be handed over.
    NotAsked,
    /// The kernel refused.
    Refused(Errno),
}

/// Kills and reaps a child on the way out of a failed launch.
pub(crate) struct Guard {
    pub(crate) pidfd: OwnedFd,
    pub(crate) armed: bool,
}

impl Guard {
    /// Guards a child by a descriptor that stays somebody else's.
    ///
    /// # Errors
    /// When the system has no descriptors left: the child is ended then.
    pub(crate) fn of(pidfd: &OwnedFd) -> Result<Self, PlatformError> {
        match rustix::io::fcntl_dupfd_cloexec(pidfd, 3) {
            Ok(pidfd) => Ok(Self { pidfd, armed: true }),
            Err(error) => {
                end(pidfd.as_fd());
                Err(PlatformError::system("failed to keep the process descriptor", error))
            }
        }
    }

    /// The launch hasn't failed.
    pub(crate) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            end(self.pidfd.as_fd());
        }
    }
}

/// Ends a child, and with it all of its namespace. It may have ended already, or be reaped: then there is nothing to do and nobody to
/// tell.
fn end(pidfd: BorrowedFd<'_>) {
    rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL).unwrap_or(());
    reap(pidfd).unwrap_or(());
}

/// Waits for the end of a child by its descriptor, which no other reaper can take away.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Whether a child has ended; it stays to be reaped. What can't be asked hasn't.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::PidFd(pidfd), look), Ok(Some(_)))
}

/// Clones a prepared launch, and returns when its program has been executed.
///
/// # Errors
/// The step that failed. Nothing of the child is left then.
pub(crate) fn spawn(
    prepared: &Prepared,
    cgroup: Option<&Cgroup>,
) -> Result<Spawned, PlatformError> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| PlatformError::system("failed to make a control socket", error))?;
    // Out of the way of what the program is to have. No other copy may stay here: it would hide the child's end.
    let first = i32::try_from(prepared.script.passed).map_or(i32::MAX, |count| count + 3);
    let moved = rustix::io::fcntl_dupfd_cloexec(&theirs, first)
        .map_err(|error| PlatformError::system("failed to make a control socket", error))?;
    drop(theirs);
    let theirs = moved;
    let started = Instant::now();
    let Cloned { pid, pidfd, moved } =
        clone_into(prepared, cgroup, [theirs.as_raw_fd(), ours.as_raw_fd()], stockade_child::run)?;
    drop(theirs);
    let mut guard = Guard { pidfd, armed: true };
    write_maps(prepared, pid)?;
    if let Some(cgroup) = cgroup {
        check_place(cgroup, pid)?;
    }
    send(ours.as_fd(), Message::Go)
        .map_err(|error| PlatformError::system("failed to start the child", error))?;
    let Heard { handed, listener, program } = wait_for_exec(prepared, (pid, ours.as_fd()), cgroup)?;
    let pidfd = rustix::io::fcntl_dupfd_cloexec(&guard.pidfd, 3)
        .map_err(|error| PlatformError::system("failed to keep the process descriptor", error))?;
    guard.armed = false;
    Ok(Spawned { pid, pidfd, control: ours, handed, listener, program, started, moved })
}

/// A child that waits for its `Go`.
pub(crate) struct Cloned {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    moved: Option<Errno>,
}

/// What a child does, to its end.
type Main = fn(&Script<'_>) -> !;

pub(crate) fn clone_into(
    prepared: &Prepared,
    cgroup: Option<&Cgroup>,
    control: [i32; 2],
    main: Main,
) -> Result<Cloned, PlatformError> {
    let place = cgroup.map(|cgroup| u64::from(cgroup.fd().as_raw_fd().cast_unsigned()));
    match clone3(prepared, place, control, main) {
        Ok((pid, pidfd)) => Ok(Cloned { pid, pidfd, moved: None }),
        // The kernel, or a filter around this process, doesn't know the newer parts: join the group after the clone,
        // before the child does anything. Every other error is about the launch itself; of `EPERM` the second clone tells.
        Err(
            refused
            @ (Errno::NOSYS | Errno::INVAL | Errno::TOOBIG | Errno::OPNOTSUPP | Errno::PERM),
        ) if place.is_some() => {
            let (pid, pidfd) = clone3(prepared, None, control, main).map_err(clone_failed)?;
            if let Some(cgroup) = cgroup
                && let Err(error) = cgroup.add(pid)
            {
                drop(Guard { pidfd, armed: true });
                return Err(error);
            }
            Ok(Cloned { pid, pidfd, moved: Some(refused) })
        }
        Err(error) => Err(clone_failed(error)),
    }
}

fn clone_failed(error: Errno) -> PlatformError {
    let failed = PlatformError::launch(
        Stage::Setup,
        "launch failed at `clone into new namespaces`",
        Some(error.into()),
    );
    match error {
        Errno::PERM => failed.with_hint(
            "a filter or container around this process, a chroot, or a security module forbids user namespaces: start it outside",
        ),
        // Of all that looks at a new namespace, only security modules answer so.
        Errno::ACCESS => failed.with_hint(format!(
            "a security module forbids user namespaces to this program; for AppArmor: {}",
            apparmor::remedy()
        )),
        Errno::NOSPC | Errno::USERS => failed.with_hint(
            "no more namespaces of some kind are allowed: raise `user.max_*_namespaces` here and around a container (as root)",
        ),
        Errno::NOSYS => failed.with_hint(FILTERED),
        _ => failed,
    }
}

/// One clone3(2). In the child this never returns.
fn clone3(
    prepared: &Prepared,
    cgroup: Option<u64>,
    control: [i32; 2],
    main: Main,
) -> Result<(u32, OwnedFd), Errno> {
    prepared.script.with(control, |script| {
        // A cell, since the kernel writes it behind the compiler's back.
        let pidfd = std::cell::UnsafeCell::new(-1i32);
        let args = CloneArgs {
            flags: prepared.namespaces
                | CLONE_PIDFD
                | CLONE_CLEAR_SIGHAND
                | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
            pidfd: pidfd.get() as u64,
            exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
            cgroup: cgroup.unwrap_or(0),
            ..CloneArgs::default()
        };
        let (address, size) = (&raw const args as usize, size_of::<CloneArgs>());
        // SAFETY: the arguments outlive the call. Without CLONE_VM the child has its own copy of memory and stack, and
        // runs only the child crate, which makes raw system calls and never returns.
        let child = unsafe { raw::syscall2(Sysno::clone3 as usize, address, size) };
        match syscalls::Errno::from_ret(child) {
            Ok(0) => main(script),
            Ok(pid) => {
                // SAFETY: the kernel stored a new descriptor in the cell, which nothing else owns.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd.into_inner()) };
                Ok((u32::try_from(pid).unwrap_or(0), pidfd))
            }
            Err(errno) => Err(Errno::from_raw_os_error(errno.into_raw())),
        }
    })
}

/// Tells the child's user namespace who its user is outside (user_namespaces(7), "Defining user and group ID mappings").
fn write_maps(prepared: &Prepared, pid: u32) -> Result<(), PlatformError> {
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{pid}/{file}");
        let mut opened = std::fs::OpenOptions::new().write(true).open(&path);
        let written = opened.as_mut().map_err(|error| std::io::Error::from(error.kind()));
        written.and_then(|file| file.write_all(text.as_bytes())).map_err(|error| {
            PlatformError::launch(
                Stage::Setup,
                format!("launch failed at `write {file}`"),
                Some(error),
            )
            .with_hint("run `stockade doctor`: this host may restrict user namespaces")
        })
    };
    let ids = &prepared.ids;
    if let Some(helpers) = &ids.helpers {
        return helpers.map(pid, &ids.users, &ids.groups);
    }
    if !prepared.may_set_groups {
        write("setgroups", "deny")?;
    }
    write("gid_map", &ids.groups.text())?;
    write("uid_map", &ids.users.text())
}

/// Reads where the child stands, before it does anything: a clone into the wrong group would be a sandbox without limits.
pub(crate) fn check_place(cgroup: &Cgroup, pid: u32) -> Result<(), PlatformError> {
    if cgroup.contains(pid)? {
        return Ok(());
    }
    let message = format!("the child is not in its cgroup `{}`", cgroup.path().display());
    Err(PlatformError::launch(Stage::Setup, message, None))
}

/// What the child said until its program was executed.
struct Heard {
    handed: Handed,
    listener: Result<OwnedFd, Untold>,
    program: i32,
}

fn wait_for_exec(
    prepared: &Prepared,
    (pid, control): (u32, BorrowedFd<'_>),
    cgroup: Option<&Cgroup>,
) -> Result<Heard, PlatformError> {
    let mut heard =
        Heard { handed: Handed::default(), listener: Err(Untold::NotAsked), program: 1 };
    loop {
        let received = receive(control, RecvFlags::empty());
        match received
            .map_err(|error| PlatformError::system("failed to hear from the child", error))?
        {
            (Some(Message::Terminal), Some(side)) => {
                heard.handed.terminal = Some(Terminal::new(side));
            }
            (Some(Message::Proxy), Some(socket)) => heard.handed.proxy = Some(socket),
            (Some(Message::Sockets), Some(socket)) => heard.handed.sockets = Some(socket),
            (Some(Message::Listener), Some(listener)) => heard.listener = Ok(listener),
            // Without it a denied call would get another answer than the policy's.
            (Some(Message::Listener), None) => {
                let message = "failed to take over what tells of denied system calls";
                return Err(PlatformError::system(message, Errno::MFILE));
            }
            (Some(Message::Untold(errno)), _) => {
                heard.listener = Err(Untold::Refused(Errno::from_raw_os_error(errno)));
            }
            (Some(Message::Mounted), _) => {
                check_mounts(prepared, pid)?;
                send(control, Message::Go)
                    .map_err(|error| PlatformError::system("failed to start the child", error))?;
            }
            (Some(Message::Failed { phase, index, errno }), _) => {
                return Err(prepared.script.failure(phase, index, errno));
            }
            (Some(Message::Started(program)), _) => {
                heard.program = program;
                return Ok(heard);
            }
            // Without an init nobody says so: the socket closes at exec.
            (None, _) if !prepared.script.init => return Ok(heard),
            (None, _) => return Err(died(cgroup)),
            (Some(_), _) => {}
        }
    }
}

/// Reads what the child has mounted, before anything of the program runs.
fn check_mounts(prepared: &Prepared, pid: u32) -> Result<(), PlatformError> {
    let table = std::fs::read(format!("/proc/{pid}/mountinfo")).map_err(|error| {
        PlatformError::launch(Stage::Setup, "failed to read what is mounted inside", Some(error))
    })?;
    classic::check(&table, &prepared.script.restrictions())
}

/// The child was killed while it set up: by the memory limit, or by somebody.
fn died(cgroup: Option<&Cgroup>) -> PlatformError {
    let kills = cgroup.and_then(|cgroup| cgroup.hits().ok()).unwrap_or_default().memory_kills;
    if kills > 0 {
        let message = "launch failed: the memory limit is too small for the sandbox itself";
        return PlatformError::launch(Stage::Setup, message, None)
            .with_hint("raise `limits.memory` to 1MiB or more");
    }
    let message = "launch failed: the sandbox's first process was killed before the program ran";
    PlatformError::launch(Stage::Setup, message, None)
}

/// The next message and the id of the process that sent it, as the kernel says (unix(7), SCM_CREDENTIALS).
pub(crate) fn receive_from(
    control: BorrowedFd<'_>,
) -> Result<(Option<Message>, Option<i32>), Errno> {
    let mut bytes = [0u8; Message::LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = match rustix::net::recvmsg(control, &mut parts, &mut ancillary, flags) {
        Err(Errno::CONNRESET) => return Ok((None, None)),
        other => other?,
    };
    let sender = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(credentials) => {
            Some(credentials.pid.as_raw_nonzero().get())
        }
        _ => None,
    });
    Ok((decoded(&bytes, received.bytes), sender))
}

fn decoded(bytes: &[u8; Message::LEN], length: usize) -> Option<Message> {
    if length != Message::LEN {
        return None;
    }
    let mut words = [0i32; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = chunk.try_into().map_or(0, i32::from_ne_bytes);
    }
    Message::decode(words)
}

/// Sends a message to the sandbox's first process.
pub(crate) fn send(control: BorrowedFd<'_>, message: Message) -> Result<(), Errno> {
    rustix::net::send(control, &bytes_of(message), SendFlags::NOSIGNAL).map(drop)
}

/// The same, and fails with `AGAIN` where there is no room: what a program can ask for must not make anybody wait for it, least of all
/// while it stands still.
pub(crate) fn offer(control: BorrowedFd<'_>, message: Message) -> Result<(), Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::send(control, &bytes_of(message), flags).map(drop)
}

fn bytes_of(message: Message) -> [u8; Message::LEN] {
    let mut bytes = [0u8; Message::LEN];
    for (to, from) in bytes.chunks_exact_mut(4).zip(message.encode()) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    bytes
}

/// The next message and a descriptor that came along; no message when the other end is gone.
pub(crate) fn receive(
    control: BorrowedFd<'_>,
    flags: RecvFlags,
) -> Result<(Option<Message>, Option<OwnedFd>), Errno> {
    let mut bytes = [0u8; Message::LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(
            control,
            &mut parts,
            &mut ancillary,
            flags | RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok((None, None)),
            other => break other?,
        }
    };
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((decoded(&bytes, received.bytes), descriptor))
}
