//! Writable directories of a sandbox started by root: a mount that shows their owner as the sandbox's user, and stores
//! what the sandbox makes under that owner (mount_setattr(2), `MOUNT_ATTR_IDMAP`).

use super::identity::{Ids, Map};
use super::view::open_host;
use crate::plan::readable;
use crate::{Access, PlatformError, Stage};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::path::Path;
use syscalls::{Sysno, raw};

/// Opens the trees of one launch, with owners mapped where the sandbox may write.
#[derive(Debug)]
pub(crate) struct Ownership {
    ids: Ids,
    /// One user namespace for each pair of owners seen so far, and one for trees with all owners.
    maps: Vec<(Owners, OwnedFd)>,
}

/// What a tree of the host is to the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// A directory or file, whose owner's files are the program's.
    Shown,
    /// A whole system, or changes to one: with several ids inside, and root as its owner, each file keeps the number that its
    /// owner has there.
    System,
}

/// Which owners of the host's files are shown as whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owners {
    /// This user and group as the program's; all others as nobody.
    One(u32, u32),
    /// Each as the one with its number inside.
    Same,
}

/// The structure of mount_setattr(2).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

impl Ownership {
    /// For a sandbox with these ids.
    pub(crate) fn new(ids: &Ids) -> Self {
        Self { ids: ids.clone(), maps: Vec::new() }
    }

    /// A detached copy of the tree at a path of the host.
    ///
    /// # Errors
    /// When it can't be opened, or when the sandbox may write there but couldn't, since the file system can't map owners.
    pub(crate) fn open_tree(
        &mut self,
        path: &Path,
        access: Access,
        what: Tree,
    ) -> Result<OwnedFd, PlatformError> {
        let (place, tree) = copy_mount(path)?;
        if access == Access::Read {
            return Ok(tree);
        }
        let failed = |error| failed("map the owner of files in", path, error);
        let stat = rustix::fs::fstat(&place).map_err(failed)?;
        let map = self.map(self.owners(what, stat.st_uid, stat.st_gid))?;
        match set_owner_map(tree.as_fd(), map) {
            Ok(()) => Ok(tree),
            // Everybody may write there, so it works without.
            Err(Errno::INVAL) if stat.st_mode & 0o007 == 0o007 => Ok(tree),
            Err(Errno::INVAL) => Err(failed(Errno::INVAL).with_hint(
                "its file system can't do that (tmpfs can since Linux 6.3): start as its owner",
            )),
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether a tree can be shown without mapping its owner: for reading, or where everybody may write.
    ///
    /// # Errors
    /// When it can't.
    pub(crate) fn as_it_is(path: &Path, access: Access) -> Result<(), PlatformError> {
        if access == Access::Read {
            return Ok(());
        }
        let failed = |error| failed("map the owner of files in", path, error);
        let stat = rustix::fs::fstat(&open_host(path)?).map_err(failed)?;
        if stat.st_mode & 0o007 == 0o007 {
            return Ok(());
        }
        Err(failed(Errno::NOSYS).with_hint(
            "a filter around this process forbids mount_setattr(2): start as its owner, or outside of the filter",
        ))
    }

    /// A detached copy of a tree that is to be the root, and how its files are shown.
    ///
    /// # Errors
    /// When it can't be opened.
    pub(crate) fn open_root(
        &mut self,
        path: &Path,
    ) -> Result<(OwnedFd, &'static str), PlatformError> {
        let (place, tree) = copy_mount(path)?;
        let failed = |error| failed("map the owner of files in", path, error);
        let stat = rustix::fs::fstat(&place).map_err(failed)?;
        let owners = self.owners(Tree::System, stat.st_uid, stat.st_gid);
        let map = self.map(owners)?;
        match (set_owner_map(tree.as_fd(), map), owners) {
            (Ok(()), Owners::One(..)) => Ok((tree, "its owner's files shown as the program's")),
            (Ok(()), Owners::Same) => Ok((tree, "files with the owners that they have")),
            (Err(Errno::INVAL), _) => {
                Ok((tree, "files shown as nobody's, since its file system can't map owners"))
            }
            (Err(error), _) => Err(failed(error)),
        }
    }

    /// Who the owners of files in a tree are, which has these itself.
    fn owners(&self, what: Tree, user: u32, group: u32) -> Owners {
        match (what, self.ids.several, user, group) {
            (Tree::System, Some(_), 0, 0) => Owners::Same,
            _ => Owners::One(user, group),
        }
    }

    /// The user namespace in which owners of the host are those of the sandbox.
    fn map(&mut self, owners: Owners) -> Result<&OwnedFd, PlatformError> {
        if let Some(found) = self.maps.iter().position(|(known, _)| *known == owners) {
            return Ok(&self.maps[found].1);
        }
        let (users, groups) = match owners {
            Owners::One(user, group) => {
                (Map::one(user, self.ids.host_user), Map::one(group, self.ids.host_group))
            }
            Owners::Same => (self.ids.users.clone(), self.ids.groups.clone()),
        };
        let namespace = user_namespace(&users.text(), &groups.text())?;
        self.maps.push((owners, namespace));
        Ok(&self.maps[self.maps.len() - 1].1)
    }
}

fn failed(verb: &str, path: &Path, error: Errno) -> PlatformError {
    let message = format!("failed to {verb} `{}`", readable(path.as_os_str()));
    PlatformError::launch(Stage::Prepare, message, Some(error.into()))
}

/// A path of the host, open, and a detached copy of the tree that is mounted there.
fn copy_mount(path: &Path) -> Result<(OwnedFd, OwnedFd), PlatformError> {
    let place = open_host(path)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    match open_tree(&place, "", flags) {
        Ok(tree) => Ok((place, tree)),
        Err(error) => Err(failed("copy the mount of", path, error)),
    }
}

/// A user namespace with these maps, held by its descriptor alone. It takes a process to make one: the process waits
/// until its namespace is open, and is ended.
fn user_namespace(users: &str, groups: &str) -> Result<OwnedFd, PlatformError> {
    let failed = |error: Errno| {
        PlatformError::system("failed to make a user namespace for file owners", error)
    };
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    let parent = rustix::process::getpid().as_raw_nonzero().get();
    let child =
        // SAFETY: without CLONE_VM the child has its own copy of memory; it makes only raw system calls.
        unsafe { raw::syscall5(Sysno::clone as usize, flags.cast_unsigned() as usize, 0, 0, 0, 0) };
    let child = syscalls::Errno::from_ret(child)
        .map_err(|errno| failed(Errno::from_raw_os_error(errno.into_raw())))?;
    if child == 0 {
        // It has copies of everything that is open here, locks included: it mustn't be there any longer than this thread.
        let ends = [libc::PR_SET_PDEATHSIG, libc::SIGKILL];
        let [option, signal] = ends.map(|number| number.cast_unsigned() as usize);
        // SAFETY: no memory is involved.
        unsafe { raw::syscall2(Sysno::prctl as usize, option, signal) };
        let orphan =
            // SAFETY: no memory is involved.
            unsafe { raw::syscall0(Sysno::getppid as usize) } != parent.cast_unsigned() as usize;
        loop {
            if orphan {
                // SAFETY: ends the process; no memory is involved.
                unsafe { raw::syscall1(Sysno::exit_group as usize, 0) };
            }
            // SAFETY: waits for a signal; no memory is involved.
            unsafe { raw::syscall4(Sysno::ppoll as usize, 0, 0, 0, 0) };
        }
    }
    let pid =
        i32::try_from(child).ok().and_then(Pid::from_raw).ok_or_else(|| failed(Errno::SRCH))?;
    let base = format!("/proc/{child}");
    let made = std::fs::write(format!("{base}/uid_map"), users)
        .and_then(|()| std::fs::write(format!("{base}/gid_map"), groups))
        .map_err(|error| PlatformError::system("failed to map file owners", error))
        .and_then(|()| {
            rustix::fs::open(
                format!("{base}/ns/user"),
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(failed)
        });
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).map_err(failed)?;
    waitpid(Some(pid), WaitOptions::empty()).map_err(failed)?;
    made
}

fn set_owner_map(tree: rustix::fd::BorrowedFd<'_>, userns: &OwnedFd) -> Result<(), Errno> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    const AT_RECURSIVE: i32 = 0x8000;
    let attributes = MountAttributes {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        userns: u64::from(userns.as_raw_fd().cast_unsigned()),
    };
    // SAFETY: the path is an empty text, and the structure outlives the call with the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}
