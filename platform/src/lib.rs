//! The platform abstraction of Stockade: one vocabulary for "run this program inside these walls", and the
//! backends that do it.
//!
//! Terms, used the same way everywhere:
//!
//! * A [`Control`] is one thing a policy can ask for, such as `limits.memory` or `syscalls`.
//! * [`Support`] says for each control what this host can do: enforce it, do less ([`Availability::Degraded`]),
//!   or nothing ([`Availability::Unavailable`]).
//! * A [`LaunchPlan`] is everything about one launch, decided; a [`Backend`] carries it out without deciding.
//! * [`Running`] is what was started: a whole tree of processes, not one process.
//! * [`Enforcement`] says, after the fact and from what was read back, what is really in force.
//!
//! The words of one platform (control groups, namespaces, job objects) stay inside its backend.

mod adoption;
mod attachment;
mod backend;
mod changes;
pub mod console;
mod control;
#[cfg(unix)]
mod datagram;
mod denial;
#[cfg(unix)]
mod descriptors;
#[cfg(unix)]
mod directory;
#[cfg(unix)]
mod endpoint;
mod enforcement;
mod errno;
mod error;
mod event;
mod execution;
mod files;
mod idrange;
mod idset;
mod incoming;
#[cfg(unix)]
mod inherited;
mod io_limit;
mod listen;
#[cfg(unix)]
mod listening;
#[cfg(unix)]
mod local;
mod lock;
mod meter;
mod names;
mod network;
#[cfg(unix)]
mod notify_socket;
#[cfg(unix)]
mod pipes;
mod plan;
mod ports;
mod process;
mod ranges;
mod replacement;
mod secret;
mod service_manager;
#[cfg(unix)]
mod shelf;
mod signal;
mod stdio;
mod streams;
mod support;
#[cfg(all(test, target_os = "linux"))]
mod table;
mod units;
mod usage;
mod wishes;

pub mod fake;

#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(any(target_os = "linux", target_os = "macos"))]
pub mod posix;
#[cfg(any(windows, all(test, target_os = "linux")))]
pub mod windows;

pub use adoption::{
    Adopted, Adoption, MOST_KEPT, ProcessIdentity, Token, Witness, boot_id, monotonic_clock,
};
pub use attachment::{Attachment, Whom};
pub use backend::{
    Backend, BoxFuture, Dialer, Ended, Gate, HowEnded, Launched, MainProcess, Running, Victim, View,
};
pub use changes::{Change, ChangeKind, ChangedKind, Changes};
pub use control::Control;
#[cfg(unix)]
pub use datagram::{is_too_large, send_as_file};
pub use denial::{Denial, Denials, Denied, DeniedCall, DeniedPath, PathReason, Wall};
#[cfg(unix)]
pub use descriptors::{raise_descriptors, restore_descriptors};
#[cfg(unix)]
pub use directory::{Directory, reserve_room};
#[cfg(unix)]
pub use endpoint::{Door, Listed, RuntimeDir, receive_streams, send_own_streams};
pub use enforcement::{Enforcement, State};
pub use errno::Errno;
pub use error::{ErrorKind, PlatformError, Stage};
pub use event::{Event, Hits, Resource, Watcher};
pub use execution::{Execution, Keeper, Wish};
pub use files::{
    for_this_user_alone, kind_of_file, open_without_waiting, other_users, other_writers,
};
pub use idrange::{IdRange, ParseIdRangeError};
pub use idset::{IdSet, ParseIdSetError};
pub use incoming::{
    IncomingSignals, execute_in_place, exit_with_large_code, inherited_file, stop_this_process,
};
pub use io_limit::{IoLimit, Rate};
pub use listen::{Listen, ListenAddress, SocketKind};
#[cfg(unix)]
pub use listening::{Listening, something_comes};
#[cfg(unix)]
pub use local::{SocketFile, SocketPlace, group_id, groups_of, own_user, user_id};
pub use lock::hold;
pub use meter::Meter;
pub use names::{capability_names, known_capability, known_syscall, syscall_names};
pub use network::{AllowRule, Host, Network, ParseNetworkError, Ports, Publish, Target};
#[cfg(unix)]
pub use notify_socket::{
    Datagram, LONGEST_NOTICE, NotifySocket, is_abandoned, is_harmless, same_file,
};
#[cfg(unix)]
pub use pipes::{
    DetachedPipe, InputPipe, MeteredReader, OutputPipe, leave_streams_to_program, own_stderr,
    own_stdout,
};
pub use plan::{
    Access, ArgumentTest, Bind, Capabilities, ClockOffsets, Compare, Decision, Environment,
    Filesystem, Identity, LaunchPlan, Limits, Mask, MaskKind, OnViolation, OomKill, Overlay,
    ProcView, SysView, SyscallAnswer, SyscallRule, Syscalls, Tmp,
};
pub use ports::{ParsePortSetError, PortSet, TcpPorts};
pub use process::Process;
pub use replacement::{Original, Replaced};
pub use secret::{Hidden, Secret, SecretSource};
pub use service_manager::{News, service_manager_pulse, tell_service_manager};
#[cfg(unix)]
pub use shelf::Shelf;
pub use signal::Signal;
pub use stdio::{Stdio, StdioSet, Terminal};
pub use streams::{
    BlockingStream, LocalDatagram, LocalListener, LocalReader, LocalStream, LocalWriter, OwnedFile,
    Positioned,
};
pub use support::{Availability, Fact, Probe, Support};
pub use units::{Bytes, Cores, ParseUnitError, parse_duration};
pub use usage::{
    CpuUsage, DeviceNumber, DeviceUsage, DiskUsage, IoUsage, MemoryUsage, NetworkUsage, PidsUsage,
    Pressure, PressureUsage, Usage,
};
#[cfg(windows)]
pub use windows::{
    Datagram, Directory, Door, LONGEST_NOTICE, Listed, Listening, NotifySocket, RuntimeDir, Shelf,
    SocketFile, SocketPlace, group_id, groups_of, is_abandoned, is_harmless, is_too_large,
    own_user, raise_descriptors, receive_streams, reserve_room, restore_descriptors, same_file,
    send_as_file, send_own_streams, something_comes, user_id,
};
#[cfg(windows)]
pub use windows::{
    DetachedPipe, InputPipe, MeteredReader, OutputPipe, leave_streams_to_program, own_stderr,
    own_stdout,
};
pub use wishes::{Named, Wished, Wishes};

/// The backend of the platform this was built for.
///
/// # Errors
/// On a platform without a backend, an error with [`ErrorKind::Unsupported`].
pub fn native() -> Result<Box<dyn Backend>, PlatformError> {
    #[cfg(target_os = "linux")]
    {
        Ok(Box::new(linux::LinuxBackend::new()))
    }
    #[cfg(target_os = "macos")]
    {
        Ok(Box::new(posix::PosixBackend::new()))
    }
    #[cfg(windows)]
    {
        Ok(Box::new(windows::WindowsBackend::new()))
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
    {
        Err(PlatformError::unsupported_platform(std::env::consts::OS))
    }
}

/// The names that [`named`] knows on this platform, the one of [`native`] first.
pub const BACKENDS: &[&str] = if cfg!(target_os = "linux") {
    &["linux", "posix"]
} else if cfg!(target_os = "macos") {
    &["posix"]
} else if cfg!(windows) {
    &["windows"]
} else {
    &[]
};

/// What can launch a program where the platform's own backend can't: it needs nothing of the host, and holds less. `None` where there is
/// no such thing.
pub fn fallback() -> Option<Box<dyn Backend>> {
    #[cfg(target_os = "linux")]
    {
        Some(Box::new(posix::PosixBackend::new()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        None
    }
}

/// A backend by its name.
///
/// # Errors
/// When this platform has none of this name.
pub fn named(name: &str) -> Result<Box<dyn Backend>, PlatformError> {
    match name {
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        "posix" => Ok(Box::new(posix::PosixBackend::new())),
        _ if BACKENDS.first() == Some(&name) => native(),
        _ => Err(PlatformError::invalid(format!("there is no backend `{name}` here"))
            .with_hint(format!("there are: {}", BACKENDS.join(", ")))),
    }
}
