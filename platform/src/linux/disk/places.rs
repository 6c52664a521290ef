//! Where the writable paths of a sandbox are: on one file system with project quotas, or why that can't be limited.

use super::project::{self, Attributes};
use super::quota::{self, Force};
use super::tree::Top;
use super::{Trouble, device_of, shown};
use crate::linux::mounts::{self, Mount};
use crate::linux::view::open_host;
use crate::plan::readable;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, fstat,
    fstatvfs, openat, openat2, statx,
};
use std::path::{Path, PathBuf};

/// The file system that all writable paths are on.
#[derive(Debug)]
pub(super) struct FileSystem {
    pub(super) mount: Mount,
    /// Bytes of its blocks.
    pub(super) block: u64,
}

/// Opens those of the paths that hold something on a disk, but for those that are below others.
///
/// # Errors
/// When one can't be opened.
pub(super) fn open(paths: &[PathBuf]) -> Result<Vec<Top>, Trouble> {
    let mut tops: Vec<Top> = Vec::new();
    // Whatever is below another comes after it.
    let mut paths = paths.to_vec();
    paths.sort();
    for path in paths {
        if tops.iter().any(|top| path.starts_with(&top.path)) {
            continue;
        }
        let place = open_host(&path).map_err(Trouble::Failed)?;
        let failed = |error| Trouble::io(&path, error);
        let stat = fstat(&place).map_err(failed)?;
        let is_dir = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            // What is written to a device or a pipe isn't held there.
            _ => continue,
        };
        // A path is enough to look at, but not to change.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(CWD, &path, flags, Mode::empty(), resolve).map_err(failed)?;
        let again = fstat(&file).map_err(failed)?;
        if (again.st_dev, again.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(Trouble::io(&path, rustix::io::Errno::STALE));
        }
        tops.push(Top { path, file, inode: stat.st_ino, is_dir });
    }
    Ok(tops)
}

/// The one file system of all of them.
///
/// # Errors
/// Why they can't be limited: they are on several, there is another below, or it doesn't hold projects to limits.
pub(super) fn one_file_system(tops: &[Top]) -> Result<FileSystem, Trouble> {
    let Some((first, rest)) = tops.split_first() else {
        return Err(Trouble::refused("nothing may be written".into(), ""));
    };
    let device = device(first)?;
    for other in rest {
        if self::device(other)? != device {
            let (first, other) = (shown(&first.path), shown(&other.path));
            let reason =
                format!("{first} and {other} are on two file systems, and a limit is on one");
            return Err(Trouble::refused(reason, "let it write to one of them"));
        }
    }
    let table = mounts::table().map_err(|error| Trouble::io(&first.path, error))?;
    let mount = mount_of(&table, first.file.as_fd(), &first.path)?;
    for top in tops {
        if let Some(below) = mounts::all(&table).find(|mount| mount.is_writable_below(&top.path)) {
            let reason = format!(
                "another file system is mounted below {}, at {}, and a limit is on one",
                shown(&top.path),
                shown(&below.point)
            );
            return Err(Trouble::refused(reason, "unmount it, or name what is beside it"));
        }
    }
    match quota::force(first.file.as_fd()) {
        Force::Held => {}
        force => return Err(no_limits(&mount, &first.path, force)),
    }
    let block = fstatvfs(&first.file).map_err(|error| Trouble::io(&first.path, error))?.f_frsize;
    Ok(FileSystem { mount, block: block.max(1024) })
}

fn device(top: &Top) -> Result<String, Trouble> {
    device_of(top.file.as_fd()).map_err(|error| Trouble::io(&top.path, error))
}

fn mount_of(table: &[u8], file: BorrowedFd<'_>, path: &Path) -> Result<Mount, Trouble> {
    let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map_err(|error| Trouble::io(path, error))?;
    mounts::find(table, stat.stx_mnt_id).ok_or_else(|| {
        Trouble::refused(format!("the mount of {} isn't in the table of mounts", shown(path)), "")
    })
}

/// Why this file system holds no project to a limit, and how it would.
fn no_limits(mount: &Mount, path: &Path, force: Force) -> Trouble {
    let (name, kind) = (shown(path), &*mount.kind);
    let (source, point) = (readable(mount.source.as_os_str()), readable(mount.point.as_os_str()));
    let mounted = format!("mount it with the option `prjquota`: `{point}`, in `/etc/fstab`");
    match (kind, force) {
        ("tmpfs" | "ramfs", _) => Trouble::refused(
            format!("{name} is in memory, on no disk"),
            "`limits.memory` counts what is written there",
        ),
        ("overlay", _) => Trouble::refused(
            format!("{name} is an `overlay`, which has no project quotas"),
            "name a path on the disk itself",
        ),
        ("ext4" | "xfs" | "f2fs", Force::Counted) => Trouble::refused(
            format!("the `{kind}` of {name} counts projects, and doesn't hold them to limits"),
            &mounted,
        ),
        ("ext4", _) => Trouble::refused(
            format!("the `{kind}` of {name} has no project quotas"),
            &format!(
                "umount {point} && tune2fs -O project -Q prjquota {source} && \
                 mount -o prjquota {source} {point} (as root, with the kernel's module `quota_v2`)"
            ),
        ),
        ("xfs", _) => Trouble::refused(
            format!("the `{kind}` of {name} has no project quotas in force"),
            &format!("umount {point} && mount -o prjquota {source} {point} (as root)"),
        ),
        ("f2fs", _) => Trouble::refused(
            format!("the `{kind}` of {name} has no project quotas in force"),
            "make it with `mkfs.f2fs -O extra_attr,project_quota,quota`, and mount it with `prjquota`",
        ),
        _ => Trouble::refused(
            format!("{name} is on a `{kind}`, which has no project quotas"),
            "use ext4, xfs or f2fs",
        ),
    }
}

/// Takes the project of Stockade's from every directory above: none of them is limited as a whole any more once `top` has
/// a project of its own, and the next launch that limits one must find that out.
///
/// # Errors
/// When one of them is limited for a living sandbox, or can't be looked at.
pub(super) fn leave_above(
    top: &Top,
    device: &str,
    is_free: &dyn Fn(u32, &Path) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let project = project_of(top.file.as_fd(), &top.path)?;
    if !project::is_ours(project) {
        // A directory that counts as a whole has no other in it.
        return Ok(());
    }
    is_free(project, &top.path)?;
    let mut path = top.path.clone();
    let mut child: Option<OwnedFd> = None;
    loop {
        let here = child.as_ref().unwrap_or(&top.file).as_fd();
        if is_top_of_mount(here, &path)? {
            return Ok(());
        }
        let above = match (top.is_dir || child.is_some(), path.parent()) {
            (true, _) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                openat(here, c"..", flags, Mode::empty())
            }
            (false, Some(parent)) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                openat2(CWD, parent, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            }
            (false, None) => return Ok(()),
        };
        path.pop();
        let above = above.map_err(|error| Trouble::io(&path, error))?;
        if device_of(above.as_fd()).map_err(|error| Trouble::io(&path, error))? != device {
            return Ok(());
        }
        let attributes =
            Attributes::of(above.as_fd()).map_err(|error| Trouble::io(&path, error))?;
        if !project::is_ours(attributes.project()) {
            return Ok(());
        }
        is_free(attributes.project(), &path)?;
        attributes.leave(above.as_fd()).map_err(|error| Trouble::io(&path, error))?;
        child = Some(above);
    }
}

fn project_of(file: BorrowedFd<'_>, path: &Path) -> Result<u32, Trouble> {
    let attributes = Attributes::of(file).map_err(|error| Trouble::io(path, error))?;
    Ok(attributes.project())
}

/// Whether nothing of the file system is above.
fn is_top_of_mount(file: BorrowedFd<'_>, path: &Path) -> Result<bool, Trouble> {
    let failed = |error| Trouble::io(path, error);
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = statx(file, c"", AtFlags::EMPTY_PATH, wanted).map_err(failed)?;
    if !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(false);
    }
    let table = mounts::table().map_err(|error| Trouble::io(path, error))?;
    let mount = mount_of(&table, file, path)?;
    if mount.root == Path::new("/") {
        return Ok(true);
    }
    Err(Trouble::refused(
        format!("{} is mounted from within a directory that was limited before", shown(path)),
        "name its own place on the file system",
    ))
}
