//! From a path to the disk that its bytes come from and go to: limits of a cgroup are on whole disks only (cgroup-v2.rst,
//! `io.max`), and between a path and its disk there may be an overlay, a file system of several devices, a mapped volume
//! and a partition.

use super::NoTree;
use super::accounts::device_number;
use crate::linux::mounts;
use crate::{DeviceNumber, LaunchPlan};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, major, minor, openat2, statx,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{canonicalize, read_dir, read_to_string};
use std::path::{Path, PathBuf};

/// Overlays on overlays, and volumes on volumes, deeper than this are taken for a loop.
const DEEPEST: usize = 8;

/// File systems that say whose the bytes are which they write back later (`SB_I_CGROUPWB`). Of all others only what is
/// written past the page cache is known to be anybody's.
const TELL_WHO_WROTE: [&str; 6] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"];

/// A disk, as the kernel limits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) number: DeviceNumber,
    /// Its name, such as `sda`.
    pub(super) name: String,
    /// The file system in between, if it doesn't say who wrote what.
    pub(super) forgets: Option<String>,
}

/// The disk of a path.
///
/// # Errors
/// Why there is none, or none that a limit could be put on.
pub(super) fn disk_of(path: &Path) -> Result<Disk, NoTree> {
    let mut numbers = BTreeSet::new();
    let mut forgets = None;
    devices_below(path, 0, &mut numbers, &mut forgets)?;
    let sys = Sys { root: Path::new("/sys") };
    let mut disks = BTreeSet::new();
    for number in &numbers {
        disks.insert(sys.disk_below(*number)?);
    }
    let shown = shown(path);
    let mut disks = disks.into_iter();
    match (disks.next(), disks.next()) {
        (Some((number, name)), None) => Ok(Disk { number, name, forgets }),
        (Some((_, first)), Some((_, second))) => Err(none(
            format!("{shown} is on several disks (`{first}`, `{second}`), and a limit is on one"),
            "name a path on each of them by itself",
        )),
        (None, _) => Err(none(format!("{shown} is on no disk"), "")),
    }
}

fn shown(path: &Path) -> String {
    format!("`{}`", LaunchPlan::readable(path))
}

fn none(reason: String, remedy: &str) -> NoTree {
    NoTree { reason, remedy: remedy.into() }
}

/// The block devices that the file system of a path is on.
fn devices_below(
    path: &Path,
    depth: usize,
    found: &mut BTreeSet<DeviceNumber>,
    forgets: &mut Option<String>,
) -> Result<(), NoTree> {
    let name = shown(path);
    if !path.is_absolute() {
        // An overlay shows its layers as they were named, from a directory that nobody remembers.
        let reason = format!("{name} is a layer of an overlay, and it isn't known where");
        return Err(none(reason, "name a path on the disk itself"));
    }
    let fail = |error: Errno| {
        let remedy = if depth > 0 { "name a path on the disk itself" } else { "" };
        none(format!("{name} can't be looked at: {}", std::io::Error::from(error)), remedy)
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = file.and_then(|file| statx(file, c"", AtFlags::EMPTY_PATH, wanted)).map_err(fail)?;
    if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::BlockDevice {
        found.insert(DeviceNumber { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor });
        return Ok(());
    }
    let number = DeviceNumber { major: stat.stx_dev_major, minor: stat.stx_dev_minor };
    let table = mounts::table()
        .map_err(|error| none(format!("the table of mounts can't be read: {error}"), ""))?;
    let Some(mount) = mounts::find(&table, stat.stx_mnt_id) else {
        return Err(none(format!("the mount of {name} isn't in the table of mounts"), ""));
    };
    match (number.major, &*mount.kind) {
        // Only file systems that aren't on a device of their own have number 0.
        (1.., _) => _ = found.insert(number),
        (0, "btrfs") => found.extend(devices_of_btrfs(&mount.source)),
        (0, "overlay") if depth < DEEPEST => {
            return mount
                .layers()
                .iter()
                .try_for_each(|layer| devices_below(layer, depth + 1, found, forgets));
        }
        (0, "tmpfs" | "ramfs") => {
            let reason = format!("{name} is in memory, on no disk");
            return Err(none(reason, "`limits.memory` counts what is written there"));
        }
        (0, kind) => {
            return Err(none(format!("{name} is a `{kind}`, on no disk of this host"), ""));
        }
    }
    if !TELL_WHO_WROTE.contains(&&*mount.kind) {
        *forgets = Some(mount.kind);
    }
    Ok(())
}

/// All devices of the btrfs that has this one.
fn devices_of_btrfs(source: &Path) -> BTreeSet<DeviceNumber> {
    let Ok(stat) = rustix::fs::stat(source) else { return BTreeSet::new() };
    let own = DeviceNumber { major: major(stat.st_rdev), minor: minor(stat.st_rdev) };
    let sys = Sys { root: Path::new("/sys") };
    sys.btrfs_with(own).unwrap_or_else(|| [own].into())
}

/// The kernel's tree of devices (sysfs(5)).
struct Sys<'a> {
    root: &'a Path,
}

impl Sys<'_> {
    /// The devices of the btrfs that has `one` of them.
    fn btrfs_with(&self, one: DeviceNumber) -> Option<BTreeSet<DeviceNumber>> {
        let all = read_dir(self.root.join("fs/btrfs")).ok()?.flatten();
        let mut devices = all.map(|entry| {
            let devices = read_dir(entry.path().join("devices")).into_iter().flatten().flatten();
            devices.filter_map(|device| number_in(&device.path())).collect::<BTreeSet<_>>()
        });
        devices.find(|devices| devices.contains(&one))
    }

    /// The whole disk below a partition or a volume, and its name. A volume on several disks is one of its own: its
    /// limit holds for all of them together.
    fn disk_below(&self, number: DeviceNumber) -> Result<(DeviceNumber, String), NoTree> {
        let place = self.root.join(format!("dev/block/{number}"));
        let fail = |what: &dyn std::fmt::Display| {
            none(format!("device {number} isn't known to this system: {what}"), "")
        };
        let mut place = canonicalize(&place).map_err(|error| fail(&error))?;
        for _ in 0..DEEPEST {
            if place.join("partition").exists() {
                place.pop();
            }
            let slaves = read_dir(place.join("slaves")).into_iter().flatten().flatten();
            let mut slaves = slaves.map(|slave| slave.path());
            let (Some(only), None) = (slaves.next(), slaves.next()) else { break };
            place = canonicalize(&only).map_err(|error| fail(&error))?;
        }
        let number = number_in(&place).ok_or_else(|| fail(&"it has no number"))?;
        let name = place.file_name().map(LaunchPlan::readable).unwrap_or_default();
        Ok((number, name))
    }
}

/// The number that the directory of a device says.
fn number_in(device: &Path) -> Option<DeviceNumber> {
    let text = read_to_string(PathBuf::from(device).join("dev")).ok()?;
    device_number(text.trim_end().as_bytes())
}

/// Reads bytes as a table of mounts.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    if let Some(mount) = mounts::find(bytes, 22) {
        mount.layers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::symlink;

    /// `sda` with a partition, `sdb`, a volume on the partition, one on both disks, a btrfs on both.
    fn sys() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join(path);
        for (device, number) in [
            ("block/sda", "8:0"),
            ("block/sda/sda1", "8:1"),
            ("block/sdb", "8:16"),
            ("block/dm-0", "253:0"),
            ("block/md0", "9:0"),
        ] {
            create_dir_all(at(device).join("slaves")).unwrap();
            write(at(device).join("dev"), format!("{number}\n")).unwrap();
            create_dir_all(at("dev/block")).unwrap();
            symlink(at(device), at(&format!("dev/block/{number}"))).unwrap();
        }
        write(at("block/sda/sda1/partition"), "1\n").unwrap();
        symlink(at("block/sda/sda1"), at("block/dm-0/slaves/sda1")).unwrap();
        for disk in ["sda", "sdb"] {
            symlink(at("block").join(disk), at("block/md0/slaves").join(disk)).unwrap();
            create_dir_all(at("fs/btrfs/1-2/devices")).unwrap();
            symlink(at("block").join(disk), at("fs/btrfs/1-2/devices").join(disk)).unwrap();
        }
        create_dir_all(at("fs/btrfs/features")).unwrap();
        tree
    }

    fn number(major: u32, minor: u32) -> DeviceNumber {
        DeviceNumber { major, minor }
    }

    #[test]
    fn partitions_and_volumes_are_followed_to_the_disk() {
        let tree = sys();
        let sys = Sys { root: tree.path() };
        for (from, to, name) in [
            (number(8, 0), number(8, 0), "sda"),
            (number(8, 1), number(8, 0), "sda"),
            (number(253, 0), number(8, 0), "sda"),
            (number(9, 0), number(9, 0), "md0"),
        ] {
            assert_eq!(sys.disk_below(from).unwrap(), (to, name.into()), "{from}");
        }
        let unknown = sys.disk_below(number(7, 7)).unwrap_err();
        assert!(unknown.reason.contains("7:7"), "{unknown:?}");
    }

    #[test]
    fn a_btrfs_is_known_by_any_of_its_devices() {
        let tree = sys();
        let sys = Sys { root: tree.path() };
        let both = [number(8, 0), number(8, 16)];
        assert_eq!(sys.btrfs_with(both[1]), Some(both.into()));
        assert_eq!(sys.btrfs_with(number(9, 0)), None);
    }

    #[test]
    fn what_is_on_no_disk_is_told_with_its_kind() {
        for (path, told) in [
            ("/proc/self", "is a `proc`, on no disk of this host"),
            ("/nowhere", "`/nowhere` can't be looked at: No such file or directory"),
        ] {
            let why = disk_of(Path::new(path)).unwrap_err();
            assert!(why.reason.contains(told), "{why:?}");
        }
    }
}
