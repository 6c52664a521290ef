//! Telling of paths that a wall keeps from the program: what a call names, looked at before it is carried out.
//!
//! It is telling, never deciding: the call goes on whatever comes out here. What its path points to can change between the
//! look and the call, and a path that leads through symlinks inside of what the sandbox has of its own isn't known here.

use super::lookout::{Found, Lookout};
use super::watch::{self, Reach};
use crate::linux::landlock;
use crate::linux::seccomp::NATIVE;
use crate::linux::view::{Sight, Stand};
use crate::{Access, Denials, DeniedPath, MaskKind, PathReason};
use libc::seccomp_notif;
use nix::unistd::Pid;
use std::path::{Path, PathBuf};

/// Looks at what is traced.
#[derive(Debug)]
pub(super) struct Trace {
    sight: Sight,
    lookout: Lookout,
}

impl Trace {
    pub(super) fn new(sight: Sight) -> Self {
        Self { sight, lookout: Lookout::default() }
    }

    /// Counts what of a call that waits will be denied by a wall.
    pub(super) fn note(&self, notice: &seccomp_notif, denials: &Denials) {
        let name = NATIVE.name(notice.data.nr.cast_unsigned());
        let pid = Pid::from_raw(notice.pid.cast_signed());
        for wish in watch::wishes(name, notice, pid) {
            if let Some(denied) = self.judge(&wish.path, wish.reach, wish.follows, notice.pid) {
                denials.count(denied);
            }
        }
    }

    fn judge(&self, path: &Path, reach: Reach, follows: bool, pid: u32) -> Option<DeniedPath> {
        let mut path = self.sight.follow(path, follows);
        let mut stand = self.sight.at(&path);
        if let Stand::Host { source, same: true, .. } = &stand
            && follows
            && let Some(real) = self.lookout.leads_to(source)
        {
            path = real;
            stand = self.sight.at(&path);
        }
        let seen = |path: &Path| self.lookout.look(path);
        let (reason, grant) = match &stand {
            Stand::Host { access: Access::Read, source, same } => {
                let grant = read_only(reach, source, seen)?;
                (PathReason::ReadOnly, same.then_some(grant))
            }
            Stand::Host { source, .. } => {
                let parent = source.parent().map(seen);
                let held = self.sight.handled & landlock::DEVICE_NODES != 0;
                let is_denied = reach == Reach::Node && held && parent.is_some_and(Found::is_there);
                (is_denied.then_some(PathReason::Rules)?, None)
            }
            Stand::Masked { kind, mask } => {
                let is_mask = *mask == path;
                let looks = matches!(reach, Reach::Look);
                let is_there = is_mask || seen(&path).is_there();
                // The mask itself is there: an empty directory can be listed, and anything looked at.
                let is_open =
                    is_mask && (looks || *kind == MaskKind::Hide && self.is_directory(mask));
                let reason = match kind {
                    MaskKind::Hide => PathReason::Hidden,
                    MaskKind::Deny => PathReason::Denied,
                };
                ((is_there && !is_open).then_some(reason)?, Some(mask.clone()))
            }
            Stand::Nowhere => (PathReason::NotShown, Some(not_shown(reach, &path, seen)?)),
            Stand::Memory => {
                let grant = not_shown(reach, &path, seen).filter(|grant| *grant == path)?;
                self.lookout.lacks(pid, &path).then_some(())?;
                (PathReason::NotShown, Some(grant))
            }
            Stand::Own => return None,
        };
        let access = if reach.writes() { Access::Write } else { Access::Read };
        Some(DeniedPath { path, access, reason, grant, others: false })
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.lookout.look(path) == Found::Directory
    }
}

/// What would have to be writable for this, where it is there to be read and nothing is in the way but that.
fn read_only(reach: Reach, source: &Path, seen: impl Fn(&Path) -> Found) -> Option<PathBuf> {
    let parent = || source.parent().filter(|parent| seen(parent) == Found::Directory);
    let itself = || source.to_owned();
    match (reach, seen(source)) {
        (Reach::Look | Reach::Read, _) => None,
        // A device or a pipe is written to, not its file system.
        (_, Found::Special | Found::Unknown) if reach != Reach::Remove => None,
        (Reach::Ask | Reach::Change | Reach::Write { .. }, Found::File | Found::Directory) => {
            Some(itself())
        }
        (Reach::Create, Found::File | Found::Directory) => None,
        (Reach::Write { creates: true } | Reach::Create, Found::Nothing) => {
            parent().map(Path::to_owned)
        }
        (Reach::Make | Reach::Node, Found::Nothing) => parent().map(Path::to_owned),
        (Reach::Remove, Found::File | Found::Directory | Found::Special) => {
            parent().map(Path::to_owned)
        }
        (Reach::Replace, _) => parent().map(Path::to_owned),
        _ => None,
    }
}

/// What would have to be shown for this, where it is there on the host.
fn not_shown(reach: Reach, path: &Path, seen: impl Fn(&Path) -> Found) -> Option<PathBuf> {
    if seen(path).is_there() {
        let parent = || path.parent().map(Path::to_owned);
        return match reach {
            Reach::Remove | Reach::Replace => parent(),
            _ => Some(path.to_owned()),
        };
    }
    let creates = matches!(
        reach,
        Reach::Create | Reach::Make | Reach::Node | Reach::Replace | Reach::Write { creates: true }
    );
    let parent = path.parent().filter(|parent| creates && seen(parent) == Found::Directory);
    parent.filter(|parent| parent.parent().is_some()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with a file, a directory and a device.
    fn host(path: &Path) -> Found {
        match path.to_str() {
            Some("/srv" | "/srv/dir") => Found::Directory,
            Some("/srv/file") => Found::File,
            Some("/srv/fifo") => Found::Special,
            _ => Found::Nothing,
        }
    }

    #[test]
    fn only_what_would_change_something_needs_writing() {
        let needs = |reach, path| {
            read_only(reach, Path::new(path), host).map(|path| path.to_str().unwrap().to_owned())
        };
        let write = |creates| Reach::Write { creates };
        for (reach, path, expected) in [
            (Reach::Look, "/srv/file", None),
            (Reach::Read, "/srv/file", None),
            (write(false), "/srv/file", Some("/srv/file")),
            (write(true), "/srv/new", Some("/srv")),
            (write(false), "/srv/new", None),
            (write(true), "/none/new", None),
            (write(false), "/srv/fifo", None),
            (Reach::Create, "/srv/file", None),
            (Reach::Create, "/srv/new", Some("/srv")),
            (Reach::Make, "/srv/dir", None),
            (Reach::Make, "/srv/new", Some("/srv")),
            (Reach::Remove, "/srv/fifo", Some("/srv")),
            (Reach::Remove, "/srv/new", None),
            (Reach::Change, "/srv/dir", Some("/srv/dir")),
            (Reach::Replace, "/srv/file", Some("/srv")),
        ] {
            assert_eq!(needs(reach, path).as_deref(), expected, "{reach:?} {path}");
        }
    }

    #[test]
    fn what_is_nowhere_is_not_denied() {
        let needs = |reach, path| not_shown(reach, Path::new(path), host);
        assert_eq!(needs(Reach::Read, "/srv/file"), Some("/srv/file".into()));
        assert_eq!(needs(Reach::Look, "/srv/none"), None);
        assert_eq!(needs(Reach::Write { creates: true }, "/srv/new"), Some("/srv".into()));
        assert_eq!(needs(Reach::Make, "/none/new"), None);
        // The root can't be shown as a whole.
        assert_eq!(needs(Reach::Make, "/new"), None);
    }
}
