//! The space and the inodes that the writable directories of a sandbox may hold: one project quota for all of them
//! (quotactl(2), and the kernel's filesystems/ext4 and xfs documents).
//!
//! A program that reaches the limit gets `EDQUOT` on ext4 and f2fs, `ENOSPC` on XFS, and sees a file system of that size.
//! Only root may set project ids and quotas; inside, where the user namespace isn't the host's, nobody may change them
//! (the kernel's fs/file_attr.c, `fileattr_set_prepare`), and nobody is exempt from them.

mod claims;
mod places;
mod project;
mod quota;
mod tree;

pub(super) use claims::sweep;

use super::cgroup::NoTree;
use crate::plan::readable;
use crate::{Bytes, Control, Decision, DiskUsage, Enforcement, LaunchPlan, Limits, PlatformError};
use crate::{Stage, State};
use claims::{Claim, Claims};
use project::Attributes;
use quota::Space;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{fstat, major, minor};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use tree::{Marker, Top};

/// The controls that are held here.
const CONTROLS: [Control; 2] = [Control::Disk, Control::DiskFiles];

/// The limits of one sandbox on what its writable directories hold. Dropping it removes them; the project ids stay.
#[derive(Debug)]
pub(crate) struct DiskQuota {
    project: u32,
    /// Something of the file system, which keeps it mounted.
    top: Top,
    /// What is told of where it is.
    place: String,
    /// The file system's own unit: limits are whole numbers of it.
    block: u64,
    claim: Option<Claim>,
}

/// Why there is no limit.
#[derive(Debug)]
enum Trouble {
    /// It can't be had here.
    Refused(NoTree),
    /// A step failed.
    Failed(PlatformError),
}

impl Trouble {
    fn refused(reason: String, remedy: &str) -> Self {
        Self::Refused(NoTree { reason, remedy: remedy.into() })
    }

    fn io(path: &Path, error: impl Into<io::Error>) -> Self {
        let message = format!("failed to set the project of {}", shown(path));
        Self::Failed(PlatformError::launch(Stage::Prepare, message, Some(error.into())))
    }

    fn claims(error: io::Error) -> Self {
        let message = "failed to take note of a disk limit in Stockade's runtime directory";
        Self::Failed(PlatformError::launch(Stage::Prepare, message, Some(error)))
    }
}

/// Why this host can't hold such a limit, whatever the directories.
pub(super) fn lacking(privileged: bool) -> Option<NoTree> {
    let none =
        |reason: &str, remedy: &str| Some(NoTree { reason: reason.into(), remedy: remedy.into() });
    if !quota::in_kernel() {
        return none(
            "the kernel has no quotas",
            "run a kernel with CONFIG_QUOTA and CONFIG_QFMT_V2",
        );
    }
    if !privileged {
        return none("only root may set project quotas", "start Stockade as root");
    }
    None
}

/// Puts the limits of a plan on the paths that it lets a program write, which have no symlinks, and tells what was read
/// back. Nothing happens where the plan asks for none.
///
/// # Errors
/// When the paths can't be limited here and the plan doesn't accept that, or a step fails.
pub(super) fn hold(
    plan: &LaunchPlan,
    writable: &[PathBuf],
) -> Result<(Option<DiskQuota>, Vec<Enforcement>), PlatformError> {
    let asked: Vec<Control> = CONTROLS
        .into_iter()
        .filter(|control| plan.controls.get(control) == Some(&Decision::Enforce))
        .collect();
    let Some(first) = asked.first() else { return Ok((None, Vec::new())) };
    let all = |state: State, how: &str| {
        asked.iter().map(|control| Enforcement::new(*control, state, how)).collect()
    };
    match DiskQuota::new(&plan.id, writable) {
        Ok(None) => Ok((None, all(State::Enforced, "no path on a disk may be written"))),
        Ok(Some(quota)) => {
            let held = quota.set(&plan.limits)?;
            Ok((Some(quota), held))
        }
        Err(Trouble::Refused(NoTree { reason, .. }))
            if asked.iter().all(|control| plan.accepted.contains(control)) =>
        {
            Ok((None, all(State::Unavailable, &reason)))
        }
        Err(Trouble::Refused(NoTree { reason, remedy })) => {
            let error = PlatformError::unsupported(*first, reason);
            Err(if remedy.is_empty() { error } else { error.with_hint(remedy) })
        }
        Err(Trouble::Failed(error)) => Err(error),
    }
}

impl DiskQuota {
    /// What holds the lock: as long as a copy of it is open, the limits stay.
    pub(super) fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.claim.as_ref().map(Claim::lock)
    }

    /// A project of its own for these paths; none where nothing on a disk may be written.
    fn new(sandbox: &str, writable: &[PathBuf]) -> Result<Option<Self>, Trouble> {
        let tops = places::open(writable)?;
        let Some(first) = tops.first() else { return Ok(None) };
        let system = places::one_file_system(&tops)?;
        let device = &system.mount.device;
        let claims = Claims::make().map_err(Trouble::claims)?;
        // Until the project is this sandbox's, nobody else may give one here.
        let alone = claims.alone(device).map_err(Trouble::claims)?;
        let is_free = |project: u32, path: &Path| match claims.holder(device, project) {
            Ok(None) => Ok(()),
            Ok(Some(other)) => Err(taken(path, &other)),
            Err(error) => Err(Trouble::claims(error)),
        };
        let take = |project: u32| {
            claims.take(device, project, sandbox, &first.path).map_err(Trouble::claims)
        };
        let inodes: Vec<u64> = tops.iter().map(|top| top.inode).collect();
        let (project, claim) = match given(&tops, &inodes)? {
            Some(project) => match take(project)? {
                Ok(claim) => (project, claim),
                Err(other) => return Err(taken(&first.path, &other)),
            },
            None => {
                for top in &tops {
                    places::leave_above(top, device, &is_free)?;
                }
                let mut chosen = None;
                for project in project::candidates(&inodes) {
                    let known = quota::project(first.file.as_fd(), project)
                        .map_err(|error| Trouble::io(&first.path, error))?;
                    if known == quota::Project::default()
                        && let Ok(claim) = take(project)?
                    {
                        chosen = Some((project, claim));
                        break;
                    }
                }
                let Some((project, claim)) = chosen else {
                    let reason = format!("no project id is free for {}", shown(&first.path));
                    return Err(Trouble::refused(reason, ""));
                };
                let marked = Marker::new(project, &is_free).mark(&tops);
                if let Err(trouble) = marked {
                    // What was given has no limit, and the next launch gives anew.
                    claim.give_up().map_err(Trouble::claims)?;
                    return Err(trouble);
                }
                (project, claim)
            }
        };
        drop(alone);
        let mount = &system.mount;
        let place = format!(
            "project {project} of `{}` ({})",
            readable(mount.source.as_os_str()),
            mount.kind
        );
        let top = tops.into_iter().next();
        Ok(top.map(|top| Self { project, top, place, block: system.block, claim: Some(claim) }))
    }

    /// Sets the limits of a plan, and tells what was read back.
    fn set(&self, limits: &Limits) -> Result<Vec<Enforcement>, PlatformError> {
        let failed = |verb: &str, error| {
            PlatformError::system(format!("failed to {verb} the limits of {}", self.place), error)
        };
        // Down to whole blocks, as the file system keeps it; 0 would be no limit.
        let blocks = |size: Bytes| (size.0 / self.block).max(1) * self.block;
        let most = Space {
            bytes: limits.disk.map_or(0, blocks),
            inodes: limits.disk_files.map_or(0, u64::from),
        };
        let file = self.top.file.as_fd();
        quota::allow(file, self.project, most).map_err(|error| failed("set", error))?;
        let found = quota::project(file, self.project).map_err(|error| failed("read", error))?;
        let entries = [
            (Control::Disk, limits.disk.is_some(), most.bytes, found.allowed.bytes),
            (Control::DiskFiles, limits.disk_files.is_some(), most.inodes, found.allowed.inodes),
        ];
        let mut held = Vec::new();
        for (control, _, wanted, found) in entries.into_iter().filter(|(_, asked, ..)| *asked) {
            if found != wanted {
                let reason = format!("the limit of {} became {found}, not {wanted}", self.place);
                return Err(PlatformError::unsupported(control, reason));
            }
            let entry = Enforcement::new(control, State::Enforced, &*self.place);
            held.push(entry.with_value(found));
        }
        Ok(held)
    }

    /// Changes the limits, and tells what was read back of those that there are.
    ///
    /// # Errors
    /// When the kernel refuses; the limits are as before then.
    pub(super) fn change(
        &self,
        old: &Limits,
        new: &Limits,
    ) -> Result<Vec<Enforcement>, PlatformError> {
        // The error to tell is the first one.
        self.set(new).inspect_err(|_| drop(self.set(old)))
    }

    /// What the directories hold now.
    pub(super) fn usage(&self) -> Option<DiskUsage> {
        let used = quota::project(self.top.file.as_fd(), self.project).ok()?.used;
        Some(DiskUsage { used: Bytes(used.bytes), files: used.inodes })
    }

    /// Removes the limits. Repeated calls do nothing.
    ///
    /// # Errors
    /// When the kernel refuses: then a later start tries again.
    pub(super) fn remove(&mut self) -> Result<(), PlatformError> {
        let Some(claim) = self.claim.take() else { return Ok(()) };
        let failed = |error: io::Error| {
            PlatformError::system(format!("failed to remove the limits of {}", self.place), error)
        };
        quota::allow(self.top.file.as_fd(), self.project, Space::default())
            .map_err(|error| failed(error.into()))?;
        claim.give_up().map_err(failed)
    }
}

impl Drop for DiskQuota {
    fn drop(&mut self) {
        // Nobody is left to tell; the next start sweeps what stays.
        self.remove().unwrap_or(());
    }
}

/// The project that just these directories were given, all below them included.
fn given(tops: &[Top], inodes: &[u64]) -> Result<Option<u32>, Trouble> {
    let mut found = None;
    for top in tops {
        let attributes = Attributes::of(top.file.as_fd()).map_err(|error| match error {
            Errno::NOTTY | Errno::OPNOTSUPP => Trouble::refused(
                format!("the file system of {} keeps no project ids", shown(&top.path)),
                "",
            ),
            error => Trouble::io(&top.path, error),
        })?;
        let project = attributes.project();
        if !attributes.count_for(project, top.is_dir) || found.is_some_and(|found| found != project)
        {
            return Ok(None);
        }
        found = Some(project);
    }
    Ok(found.filter(|found| project::candidates(inodes).any(|project| project == *found)))
}

fn taken(path: &Path, other: &str) -> Trouble {
    Trouble::refused(
        format!("{} is limited for the sandbox `{other}`, which runs", shown(path)),
        "wait for its end, or give each sandbox a directory of its own, none below another's",
    )
}

/// The file system of an open file, as `major:minor`.
fn device_of(file: BorrowedFd<'_>) -> rustix::io::Result<String> {
    let device = fstat(file)?.st_dev;
    Ok(format!("{}:{}", major(device), minor(device)))
}

fn shown(path: &Path) -> String {
    format!("`{}`", readable(path.as_os_str()))
}
