//! What a call says of its wishes: paths and addresses, read from the caller's memory while it waits.
//!
//! The caller may have changed them again by the time that the kernel looks (seccomp_unotify(2)): good enough to learn from,
//! and nothing is decided by it.

use crate::linux::seccomp::NATIVE;
use crate::linux::view::plain;
use crate::{Access, Wishes};
use libc::seccomp_notif;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The longest path (`PATH_MAX`).
const LONGEST: usize = 4096;

/// Where a call has a path, and the directory that it starts from: argument numbers.
struct Named {
    call: &'static str,
    directory: Option<usize>,
    path: usize,
    /// Whether the call makes, changes or removes what has this name.
    changes: bool,
}

const fn reads(call: &'static str, path: usize) -> Named {
    Named { call, directory: None, path, changes: false }
}

const fn reads_at(call: &'static str, directory: usize, path: usize) -> Named {
    Named { call, directory: Some(directory), path, changes: false }
}

const fn changes(call: &'static str, path: usize) -> Named {
    Named { call, directory: None, path, changes: true }
}

const fn changes_at(call: &'static str, directory: usize, path: usize) -> Named {
    Named { call, directory: Some(directory), path, changes: true }
}

/// Calls that take paths. Opening says by its flags what it is for.
const PATHS: &[Named] = &[
    reads("open", 0),
    reads_at("openat", 0, 1),
    reads_at("openat2", 0, 1),
    changes("creat", 0),
    reads("stat", 0),
    reads("lstat", 0),
    reads_at("newfstatat", 0, 1),
    reads_at("statx", 0, 1),
    reads("statfs", 0),
    reads("access", 0),
    reads_at("faccessat", 0, 1),
    reads_at("faccessat2", 0, 1),
    reads("readlink", 0),
    reads_at("readlinkat", 0, 1),
    reads("chdir", 0),
    reads_at("execveat", 0, 1),
    reads("getxattr", 0),
    reads("lgetxattr", 0),
    reads("listxattr", 0),
    reads("inotify_add_watch", 1),
    changes("truncate", 0),
    changes("chmod", 0),
    changes_at("fchmodat", 0, 1),
    changes_at("fchmodat2", 0, 1),
    changes("chown", 0),
    changes("lchown", 0),
    changes_at("fchownat", 0, 1),
    changes("utime", 0),
    changes("utimes", 0),
    changes_at("futimesat", 0, 1),
    changes_at("utimensat", 0, 1),
    changes("mkdir", 0),
    changes_at("mkdirat", 0, 1),
    changes("rmdir", 0),
    changes("unlink", 0),
    changes_at("unlinkat", 0, 1),
    changes("rename", 0),
    changes("rename", 1),
    changes_at("renameat", 0, 1),
    changes_at("renameat", 2, 3),
    changes_at("renameat2", 0, 1),
    changes_at("renameat2", 2, 3),
    changes("link", 1),
    changes_at("linkat", 2, 3),
    changes("symlink", 1),
    changes_at("symlinkat", 1, 2),
    changes("mknod", 0),
    changes_at("mknodat", 0, 1),
    changes("setxattr", 0),
    changes("lsetxattr", 0),
];

/// Looks at what is watched.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Programs that were seen already, by process.
    seen: HashSet<(u32, PathBuf)>,
}

impl Watch {
    /// Takes note of a call that waits.
    pub(super) fn note(&mut self, notice: &seccomp_notif, wishes: &Wishes) {
        let name = NATIVE.name(notice.data.nr.cast_unsigned());
        if name.is_empty() {
            return;
        }
        wishes.call(name);
        self.program(notice.pid, wishes);
        let pid = Pid::from_raw(notice.pid.cast_signed());
        for PathWish { path, reach, .. } in self::wishes(name, notice, pid) {
            let access = if reach.changes() { Access::Write } else { Access::Read };
            wishes.path(path, access, name);
        }
        match name {
            "connect" | "sendto" => {
                let argument = if name == "connect" { 1 } else { 4 };
                let length = argument + 1;
                if let Some(address) = address(notice, pid, argument, length) {
                    wishes.connection(address);
                }
            }
            "bind" => {
                if let Some(address) = address(notice, pid, 1, 2).filter(|it| it.port() != 0) {
                    wishes.port(address.port());
                }
            }
            _ => {}
        }
    }

    /// The program that runs there: how it was started isn't watched.
    fn program(&mut self, pid: u32, wishes: &Wishes) {
        if let Ok(program) = std::fs::read_link(format!("/proc/{pid}/exe"))
            && self.seen.insert((pid, program.clone()))
        {
            wishes.path(program, Access::Read, "");
        }
    }
}

fn argument(notice: &seccomp_notif, index: usize) -> u64 {
    notice.data.args.get(index).copied().unwrap_or(0)
}

/// What a call is to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Whether it is there, and what it is like.
    Look,
    /// What is in it.
    Read,
    /// Whether it could be changed.
    Ask,
    /// Changes what is there.
    Change,
    /// Opens for writing what is there, or makes it.
    Write { creates: bool },
    /// Opens it, and makes it where it isn't.
    Create,
    /// Makes it, and fails where it is.
    Make,
    /// The same, of a device.
    Node,
    /// Takes it away.
    Remove,
    /// Puts something else in its place.
    Replace,
}

impl Reach {
    /// Whether it needs the right to write.
    pub(super) fn writes(self) -> bool {
        !matches!(self, Self::Look | Self::Read)
    }

    /// Whether anything would be another than before.
    fn changes(self) -> bool {
        self.writes() && self != Self::Ask
    }
}

/// One path that a call names.
#[derive(Debug)]
pub(super) struct PathWish {
    /// As it is inside, without `.` and `..`.
    pub(super) path: PathBuf,
    pub(super) reach: Reach,
    /// Whether a symlink with this name is followed.
    pub(super) follows: bool,
}

/// The paths that a call names, read from its caller's memory.
pub(super) fn wishes(
    name: &'static str,
    notice: &seccomp_notif,
    pid: Pid,
) -> impl Iterator<Item = PathWish> {
    let named = PATHS.iter().filter(move |named| named.call == name);
    named.filter_map(move |named| {
        let path = path_of(named, notice, pid)?;
        let (reach, follows) = reach(named, notice, pid);
        Some(PathWish { path, reach, follows })
    })
}

/// The calls that name paths, but for the one that starts programs: a launch makes it before anybody listens.
pub(crate) fn path_calls() -> impl Iterator<Item = &'static str> {
    let first = |at: usize| PATHS.iter().position(|one| one.call == PATHS[at].call) == Some(at);
    (0..PATHS.len()).filter(move |at| first(*at)).map(|at| PATHS[at].call)
}

/// What a call does with one of its paths, and whether it follows a symlink there.
fn reach(named: &Named, notice: &seccomp_notif, pid: Pid) -> (Reach, bool) {
    let word = |index| argument(notice, index);
    let has = |index, flag: i32| word(index) & u64::from(flag.cast_unsigned()) != 0;
    let follows_at = |index| !has(index, libc::AT_SYMLINK_NOFOLLOW);
    let checks = |index| if has(index, libc::W_OK) { Reach::Ask } else { Reach::Look };
    // The device of number 0 is none, and everybody may make it (mknod(2)).
    let is_device = |index: usize| word(index + 1) != 0;
    let makes = |index: usize| match u32::try_from(word(index)).unwrap_or(0) & libc::S_IFMT {
        libc::S_IFCHR | libc::S_IFBLK if is_device(index) => Reach::Node,
        _ => Reach::Make,
    };
    match named.call {
        "open" => opens(word(1)),
        "openat" => opens(word(2)),
        // `struct open_how` begins with them (openat2(2)).
        "openat2" => opens(
            memory(pid, word(2), 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_ne_bytes),
        ),
        "creat" => (Reach::Write { creates: true }, true),
        "lstat" | "readlink" | "readlinkat" | "lgetxattr" => (Reach::Look, false),
        "newfstatat" => (Reach::Look, follows_at(3)),
        "statx" => (Reach::Look, follows_at(2)),
        "access" => (checks(1), true),
        "faccessat" => (checks(2), true),
        "faccessat2" => (checks(2), follows_at(3)),
        "chdir" | "execveat" | "inotify_add_watch" => (Reach::Read, true),
        "truncate" | "chmod" | "chown" | "utime" | "utimes" | "futimesat" | "setxattr"
        | "fchmodat" => (Reach::Change, true),
        "lchown" | "lsetxattr" => (Reach::Change, false),
        "fchmodat2" | "utimensat" => (Reach::Change, follows_at(3)),
        "fchownat" => (Reach::Change, follows_at(4)),
        "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "link" | "linkat" => (Reach::Make, false),
        "mknod" => (makes(1), false),
        "mknodat" => (makes(2), false),
        "rmdir" | "unlink" | "unlinkat" => (Reach::Remove, false),
        "rename" if named.path == 0 => (Reach::Remove, false),
        "renameat" | "renameat2" if named.path == 1 => (Reach::Remove, false),
        "rename" | "renameat" | "renameat2" => (Reach::Replace, false),
        _ => (if named.changes { Reach::Change } else { Reach::Look }, true),
    }
}

fn opens(flags: u64) -> (Reach, bool) {
    let has = |flag: i32| flags & u64::from(flag.cast_unsigned()) != 0;
    let is_new = has(libc::O_CREAT) && has(libc::O_EXCL);
    let follows = !(has(libc::O_NOFOLLOW) || is_new);
    let reach = match (has(libc::O_WRONLY | libc::O_RDWR | libc::O_TRUNC), has(libc::O_CREAT)) {
        _ if has(libc::O_PATH) => Reach::Look,
        (_, true) if has(libc::O_EXCL) => Reach::Make,
        (true, creates) => Reach::Write { creates },
        (false, true) => Reach::Create,
        (false, false) => Reach::Read,
    };
    (reach, follows)
}

/// The path that a call names, from where it starts, without `.` and `..`.
fn path_of(named: &Named, notice: &seccomp_notif, pid: Pid) -> Option<PathBuf> {
    let text = text(pid, argument(notice, named.path))?;
    if text.as_os_str().is_empty() {
        return None;
    }
    if text.is_absolute() {
        return Some(plain(&text));
    }
    // A descriptor has 32 bits, whatever is in the rest of its register.
    let descriptor = |index| (argument(notice, index) & u64::from(u32::MAX)).cast_signed();
    let own = i64::from(libc::AT_FDCWD.cast_unsigned());
    let start = match named.directory.map(descriptor) {
        Some(fd) if fd != own => format!("/proc/{pid}/fd/{fd}"),
        _ => format!("/proc/{pid}/cwd"),
    };
    let start = std::fs::read_link(start).ok().filter(|start| start.is_absolute())?;
    Some(plain(&start.join(text)))
}

/// Bytes of the caller's memory.
fn memory(pid: Pid, from: u64, length: usize) -> Option<Vec<u8>> {
    let base = usize::try_from(from).ok().filter(|base| *base != 0)?;
    let mut bytes = vec![0; length];
    let remote = [RemoteIoVec { base, len: length }];
    let read = process_vm_readv(pid, &mut [IoSliceMut::new(&mut bytes)], &remote).ok()?;
    (read == length).then_some(bytes)
}

/// A text of the caller's, read up to the end of each page, since what follows may not be there.
fn text(pid: Pid, from: u64) -> Option<PathBuf> {
    const PAGE: u64 = 4096;
    let (mut bytes, mut at) = (Vec::new(), from);
    while bytes.len() < LONGEST {
        let length = usize::try_from(PAGE - at % PAGE).ok()?;
        let piece = memory(pid, at, length)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            bytes.extend_from_slice(piece.get(..end)?);
            return Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)));
        }
        bytes.extend_from_slice(&piece);
        at += length as u64;
    }
    None
}

/// An address of the internet (ip(7), ipv6(7)); none of another kind.
fn address(notice: &seccomp_notif, pid: Pid, at: usize, length: usize) -> Option<SocketAddr> {
    let length = usize::try_from(argument(notice, length)).ok()?.min(28);
    parse_address(&memory(pid, argument(notice, at), length)?)
}

fn parse_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let ip = match i32::from(family) {
        libc::AF_INET => {
            let four: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            IpAddr::V4(Ipv4Addr::from(four))
        }
        libc::AF_INET6 => {
            let sixteen: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(sixteen))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_says_by_its_flags_what_it_is_for() {
        let opens = |flags: i32| opens(u64::from(flags.cast_unsigned()));
        assert_eq!(opens(libc::O_RDONLY | libc::O_CLOEXEC), (Reach::Read, true));
        assert_eq!(opens(libc::O_RDWR), (Reach::Write { creates: false }, true));
        let creates = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
        assert_eq!(opens(creates), (Reach::Write { creates: true }, true));
        assert_eq!(opens(creates | libc::O_EXCL), (Reach::Make, false));
        assert_eq!(opens(libc::O_CREAT), (Reach::Create, true));
        assert_eq!(opens(libc::O_PATH | libc::O_NOFOLLOW), (Reach::Look, false));
    }

    #[test]
    fn each_call_with_paths_is_one_that_there_is() {
        let all: Vec<&str> = path_calls().collect();
        assert!(all.len() > 40 && all.iter().all(|name| crate::names::lookup(name).is_some()));
        assert!(crate::linux::seccomp::LAUNCH.iter().all(|name| !all.contains(name)));
    }

    #[test]
    fn addresses_are_read_as_the_kernel_lays_them_out() {
        let four = [2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse_address(&four), Some("127.0.0.1:8080".parse().unwrap()));
        let mut six = [0; 28];
        six[0] = 10;
        six[3] = 53;
        six[23] = 1;
        assert_eq!(parse_address(&six), Some("[::1]:53".parse().unwrap()));
        assert_eq!(parse_address(&[1, 0, b'/', b'x']), None);
        assert_eq!(parse_address(&[]), None);
    }

    #[test]
    fn the_memory_of_a_process_is_read_to_the_end_of_a_text() {
        let own = Pid::this();
        let here = std::ffi::CString::new("/srv/data").unwrap();
        assert_eq!(text(own, here.as_ptr() as u64), Some("/srv/data".into()));
        assert_eq!(text(own, 0), None);
        assert_eq!(text(own, 8), None);
    }
}
