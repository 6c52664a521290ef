//! What a cgroup has used: files opened once and read again, without allocating.

use super::file::{self, SMALL};
use super::{failed, parse};
use crate::{Bytes, PlatformError, Usage};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::path::Path;

/// One file, opened at its first reading.
#[derive(Debug, Default)]
enum Kept {
    #[default]
    Unopened,
    Open(OwnedFd),
    /// The kernel is too old, or the controller isn't enabled here.
    Absent,
}

impl Kept {
    /// The content, or `None` when there is no such file.
    fn read<'a>(
        &mut self,
        (dir, path): (BorrowedFd<'_>, &Path),
        name: &str,
        buffer: &'a mut [u8; SMALL],
    ) -> Result<Option<&'a [u8]>, PlatformError> {
        if matches!(self, Self::Unopened) {
            *self = match file::open(dir, name, OFlags::RDONLY) {
                Ok(fd) => Self::Open(fd),
                Err(Errno::NOENT) => Self::Absent,
                Err(error) => return Err(failed("open", name, path, error)),
            };
        }
        let Self::Open(fd) = self else { return Ok(None) };
        file::reread(fd, buffer).map(Some).map_err(|error| failed("read", name, path, error))
    }
}

/// The files that tell the use of one cgroup.
#[derive(Debug, Default)]
pub(super) struct Readings {
    cpu: Kept,
    memory: Kept,
    memory_peak: Kept,
    pids: Kept,
    pids_peak: Kept,
}

impl Readings {
    /// What the tree below the cgroup used so far (cgroup-v2.rst: `cpu.stat`, `memory.current`, `memory.peak`,
    /// `pids.current`, `pids.peak`). The times are there even without the cpu controller.
    pub(super) fn usage(&mut self, at: (BorrowedFd<'_>, &Path)) -> Result<Usage, PlatformError> {
        let mut usage = Usage::default();
        let buffer = &mut [0; SMALL];
        if let Some(text) = self.cpu.read(at, "cpu.stat", buffer)? {
            usage.cpu.user = parse::keyed_micros(text, "user_usec");
            usage.cpu.system = parse::keyed_micros(text, "system_usec");
            usage.cpu.throttled = parse::keyed_micros(text, "throttled_usec");
        }
        let mut one = |kept: &mut Kept, name: &str| {
            Ok::<_, PlatformError>(kept.read(at, name, buffer)?.and_then(parse::number))
        };
        usage.memory.current = one(&mut self.memory, "memory.current")?.map(Bytes);
        usage.memory.peak = one(&mut self.memory_peak, "memory.peak")?.map(Bytes);
        usage.pids.current = one(&mut self.pids, "pids.current")?;
        usage.pids.peak = one(&mut self.pids_peak, "pids.peak")?;
        Ok(usage)
    }
}
