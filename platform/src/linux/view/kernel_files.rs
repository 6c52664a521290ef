//! What the kernel itself shows: `/proc` and `/sys`.
//!
//! Container runtimes cover a list of paths there (the OCI runtime specification's usual `maskedPaths` and
//! `readonlyPaths`), most of which protect the host from a program that is the host's root. Here the program never is, and a
//! mount costs a launch some 40 microseconds, so only those are covered that a user could read or write:
//!
//! * `/proc/keys` tells the names of keys that its reader may see: those of the caller's login, where the program has the
//!   caller's identity. Of one that root starts, nobody's.
//! * `/proc/sys` belongs to the root of the namespaces that each part is about: a program that is user 0 inside, or keeps
//!   capabilities, could change its own network's settings.
//! * `/proc/kcore`, `/proc/sysrq-trigger`, `/proc/timer_list`, `/proc/irq`, `/proc/bus`: the host's root alone can read or
//!   change them, by permission, and the host's root has no number inside.
//! * `/proc/acpi`, `/proc/scsi`, `/proc/asound`, `/proc/interrupts` tell of the machine, as `/proc/cpuinfo` does. Whoever
//!   minds shows only processes (`filesystem.proc = "pids"`), which costs nothing.
//! * `/sys/firmware` has tables of the firmware; `/sys/devices/virtual/powercap` tells the processor's use of energy, from
//!   which its secrets can be guessed. Debugging and security file systems aren't mounted in a fresh `/sys`.

use super::{Place, View};
use crate::{Filesystem, MaskKind, ProcView, SysView};
use rustix::fs::{CWD, FileType, statat};
use std::path::{Path, PathBuf};

/// What a program is to the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Whether it has the caller's identity outside.
    pub(crate) is_caller: bool,
    /// Whether it has power over namespaces of its own: it is user 0 inside, or keeps capabilities.
    pub(crate) has_power: bool,
}

/// What of `/proc` looks empty.
const HIDDEN_OF_PROCESSES: [&str; 1] = ["/proc/keys"];

/// What of `/sys` looks empty.
const HIDDEN_OF_DEVICES: [&str; 2] = ["/sys/firmware", "/sys/devices/virtual/powercap"];

impl View {
    pub(super) fn show_kernel_files(&mut self, filesystem: &Filesystem, standing: Standing) {
        if filesystem.proc != ProcView::None {
            self.places.insert("/proc".into(), Place::Proc(filesystem.proc));
        }
        if filesystem.proc == ProcView::Private && standing.is_caller {
            self.hide(&HIDDEN_OF_PROCESSES);
        }
        if filesystem.proc == ProcView::Private && standing.has_power {
            self.places.insert("/proc/sys".into(), Place::Frozen);
        }
        if filesystem.sys == SysView::Read {
            self.places.insert("/sys".into(), Place::Sys);
            self.hide(&HIDDEN_OF_DEVICES);
        }
    }

    /// Puts something empty in front of those that this kernel has: inside it shows the same ones.
    fn hide(&mut self, paths: &[&str]) {
        for path in paths.iter().map(Path::new) {
            if let Ok(stat) = statat(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                self.places
                    .insert(PathBuf::from(path), Place::Mask { kind: MaskKind::Hide, is_dir });
            }
        }
    }
}
