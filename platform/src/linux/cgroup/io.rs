//! Rates and shares of disks: `io.max`, `io.weight` and `io.bfq.weight` (cgroup-v2.rst, bfq-iosched.rst).

use super::file::{self, SMALL};
use super::{Controllers, NoTree, devices, failed, limits};
use crate::{Control, Decision, DeviceNumber, Enforcement, IoLimit, LaunchPlan};
use crate::{PlatformError, State};
use rustix::fd::BorrowedFd;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The controllers that the limits on disks need.
pub(super) fn needed(plan: &LaunchPlan) -> Controllers {
    let limits = &plan.limits;
    let rates = if !is_asked(plan, Control::Io, !limits.io.is_empty()) {
        Controllers::NONE
    } else if limits.io.iter().any(IoLimit::limits_writes) {
        // What is written back later is known to be the tree's by the pages that it dirtied.
        Controllers::IO | Controllers::MEMORY
    } else {
        Controllers::IO
    };
    let weighs = is_asked(plan, Control::IoWeight, limits.io_weight.is_some());
    if weighs { rates | Controllers::IO } else { rates }
}

/// Whether a limit is set, and isn't handed to something weaker.
fn is_asked(plan: &LaunchPlan, control: Control, set: bool) -> bool {
    set && plan.controls.get(&control).is_none_or(|decision| *decision == Decision::Enforce)
}

/// The rates of one disk, as the kernel writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rates {
    read: Option<u64>,
    write: Option<u64>,
    reads: Option<u64>,
    writes: Option<u64>,
}

impl Rates {
    /// With the rates of `limit` where they are lower.
    fn and(self, limit: &IoLimit) -> Self {
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self {
            read: least(self.read, limit.read.map(|rate| rate.0.0)),
            write: least(self.write, limit.write.map(|rate| rate.0.0)),
            reads: least(self.reads, limit.read_iops.map(u64::from)),
            writes: least(self.writes, limit.write_iops.map(u64::from)),
        }
    }
}

/// As in `io.max`.
impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("rbps", self.read),
            ("wbps", self.write),
            ("riops", self.reads),
            ("wiops", self.writes),
        ];
        for (place, (name, rate)) in all.into_iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            match rate {
                Some(rate) => write!(f, "{gap}{name}={rate}")?,
                None => write!(f, "{gap}{name}=max")?,
            }
        }
        Ok(())
    }
}

/// Puts the limits of a plan on their disks, and tells what was read back.
///
/// # Errors
/// When a path has no disk that can be limited, or the kernel refuses or shows another value.
pub(super) fn apply(
    dir: BorrowedFd<'_>,
    path: &Path,
    plan: &LaunchPlan,
) -> Result<Vec<Enforcement>, PlatformError> {
    let mut done = Vec::new();
    let limits = &plan.limits;
    if is_asked(plan, Control::Io, !limits.io.is_empty()) {
        done.push(limits::accept(plan, Control::Io, apply_rates(dir, path, &limits.io))?);
    }
    if let Some(weight) = limits.io_weight
        && is_asked(plan, Control::IoWeight, true)
    {
        let weight = apply_weight(dir, path, weight);
        done.push(limits::accept(plan, Control::IoWeight, weight)?);
    }
    Ok(done)
}

/// Changes the limits on disks from those of one plan to those of another, and tells what was read back.
///
/// # Errors
/// As [`apply`].
pub(super) fn change(
    dir: BorrowedFd<'_>,
    path: &Path,
    old: &LaunchPlan,
    new: &LaunchPlan,
) -> Result<Vec<Enforcement>, PlatformError> {
    if (&old.limits.io, old.limits.io_weight) == (&new.limits.io, new.limits.io_weight) {
        return Ok(Vec::new());
    }
    for limit in &old.limits.io {
        // A path that is gone has no disk to free any more.
        let Ok(disk) = devices::disk_of(&limit.path) else { continue };
        let line = format!("{} {}", disk.number, Rates::default());
        file::write(dir, "io.max", line.as_bytes())
            .map_err(|error| failed("write", "io.max", path, error))?;
    }
    if old.limits.io_weight.is_some() && new.limits.io_weight.is_none() {
        apply_weight(dir, path, 100)?;
    }
    apply(dir, path, new)
}

fn apply_rates(
    dir: BorrowedFd<'_>,
    path: &Path,
    limits: &[IoLimit],
) -> Result<Enforcement, PlatformError> {
    let mut disks: BTreeMap<DeviceNumber, (String, Rates)> = BTreeMap::new();
    for limit in limits {
        let disk = devices::disk_of(&limit.path).and_then(|disk| match disk.forgets {
            Some(kind) if limit.limits_writes() => Err(NoTree {
                reason: format!(
                    "a `{kind}` as at `{}` doesn't remember who wrote what it writes back later",
                    LaunchPlan::readable(&limit.path)
                ),
                remedy: "limit reads only, or use ext4, xfs, btrfs or f2fs".into(),
            }),
            _ => Ok(disk),
        });
        let disk = disk.map_err(|NoTree { reason, remedy }| {
            let error = PlatformError::unsupported(Control::Io, reason);
            if remedy.is_empty() { error } else { error.with_hint(remedy) }
        })?;
        let (_, rates) = disks.entry(disk.number).or_insert((disk.name, Rates::default()));
        *rates = rates.and(limit);
    }
    let mut buffer = [0; SMALL];
    let mut held = Vec::new();
    for (number, (name, rates)) in disks {
        let line = format!("{number} {rates}");
        let found = match file::write_and_read(dir, "io.max", line.as_bytes(), &mut buffer) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Err(no_file(Control::Io, "CONFIG_BLK_DEV_THROTTLING")),
            Err(Errno::NODEV | Errno::OPNOTSUPP) => {
                let reason = format!("the kernel can't limit disk `{name}` ({number})");
                return Err(PlatformError::unsupported(Control::Io, reason));
            }
            Err(error) => return Err(failed("write", "io.max", path, error)),
        };
        if !found.split(|byte| *byte == b'\n').any(|found| found == line.as_bytes()) {
            let reason = format!(
                "`io.max` in cgroup `{}` has no line `{line}` after it was written",
                path.display()
            );
            return Err(PlatformError::unsupported(Control::Io, reason));
        }
        held.push(format!("{name} {line}"));
    }
    let shown: Vec<String> = limits.iter().map(ToString::to_string).collect();
    let how = format!("io.max: {}", held.join("; "));
    Ok(Enforcement::new(Control::Io, State::Enforced, how).with_value(shown.join(" ")))
}

fn no_file(control: Control, option: &str) -> PlatformError {
    PlatformError::unsupported(control, "this kernel can't")
        .with_hint(format!("run a kernel with {option}"))
}

/// The share, for whichever of the two schedulers that know shares a disk has.
fn apply_weight(
    dir: BorrowedFd<'_>,
    path: &Path,
    weight: u32,
) -> Result<Enforcement, PlatformError> {
    let mut buffer = [0; SMALL];
    let mut held = Vec::new();
    for (file, weight) in [("io.weight", weight), ("io.bfq.weight", for_bfq(weight))] {
        let line = format!("default {weight}");
        match file::write_and_read(dir, file, line.as_bytes(), &mut buffer) {
            Ok(found) if found == line.as_bytes() => held.push(file),
            Ok(found) => {
                let found = String::from_utf8_lossy(found);
                let reason = format!(
                    "`{file}` in cgroup `{}` became `{found}`, not `{line}`",
                    path.display()
                );
                return Err(PlatformError::unsupported(Control::IoWeight, reason));
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("write", file, path, error)),
        }
    }
    if held.is_empty() {
        return Err(no_file(
            Control::IoWeight,
            "CONFIG_BLK_CGROUP_IOCOST or CONFIG_BFQ_GROUP_IOSCHED",
        ));
    }
    Ok(Enforcement::new(Control::IoWeight, State::Enforced, held.join(" and "))
        .with_value(weight.to_string()))
}

/// The same share for a scheduler whose weights end at 1000; both have 100 in the middle.
fn for_bfq(weight: u32) -> u32 {
    if weight <= 100 { weight } else { 100 + (weight - 100) * 900 / 9_900 }
}

/// Why no disk is shared by weight here: without one of two schedulers a weight is taken and does nothing.
pub(super) fn no_shares(mount: &Path) -> Option<NoTree> {
    let costs = std::fs::read_to_string(mount.join("io.cost.qos")).unwrap_or_default();
    if costs.lines().any(|line| line.split(' ').any(|word| word == "enable=1")) || has_bfq() {
        return None;
    }
    Some(NoTree {
        reason: "no disk of this host is shared by weight".into(),
        remedy: format!(
            "echo bfq > /sys/block/DISK/queue/scheduler, or echo 'MAJOR:MINOR enable=1' > {}",
            mount.join("io.cost.qos").display()
        ),
    })
}

fn has_bfq() -> bool {
    // Most hosts haven't loaded it; then there is nothing to look through.
    if access("/sys/module/bfq", Access::EXISTS).is_err() {
        return false;
    }
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    disks.into_iter().any(|disk| {
        let scheduler = std::fs::read_to_string(disk.path().join("queue/scheduler"));
        scheduler.is_ok_and(|scheduler| scheduler.contains("[bfq]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, Rate};

    fn limit(write: Option<u64>, read_iops: Option<u32>) -> IoLimit {
        IoLimit {
            path: "/data".into(),
            write: write.map(|bytes| Rate(Bytes(bytes))),
            read_iops,
            ..IoLimit::default()
        }
    }

    #[test]
    fn of_two_limits_on_one_disk_the_stricter_rates_count() {
        let rates =
            Rates::default().and(&limit(Some(4096), None)).and(&limit(Some(1 << 20), Some(7)));
        assert_eq!(rates.to_string(), "rbps=max wbps=4096 riops=7 wiops=max");
    }

    #[test]
    fn only_limits_on_writes_need_to_know_whose_pages_are_dirty() {
        let mut plan = LaunchPlan::new("test-0000", vec!["true".into()]);
        assert_eq!(needed(&plan), Controllers::NONE);
        plan.limits.io = vec![limit(None, Some(5))];
        assert_eq!(needed(&plan), Controllers::IO);
        plan.limits.io.push(limit(Some(4096), None));
        assert_eq!(needed(&plan), Controllers::IO | Controllers::MEMORY);
        plan.controls.insert(Control::Io, Decision::Skip { reason: "no io".into() });
        assert_eq!(needed(&plan), Controllers::NONE);
        plan.limits.io_weight = Some(10);
        assert_eq!(needed(&plan), Controllers::IO);
    }

    #[test]
    fn weights_keep_their_middle_and_their_ends() {
        assert_eq!([1, 100, 10_000].map(for_bfq), [1, 100, 1000]);
    }
}
