//! What a cgroup has used: files opened once and read again, without allocating.

use super::file::{self, SMALL};
use super::{accounts, failed, parse};
use crate::{Bytes, IoUsage, PlatformError, Usage};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
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
    /// The open file, or `None` when there is none.
    fn opened(
        &mut self,
        (dir, path): (BorrowedFd<'_>, &Path),
        name: &str,
    ) -> Result<Option<BorrowedFd<'_>>, PlatformError> {
        if matches!(self, Self::Unopened) {
            *self = match file::open(dir, name, OFlags::RDONLY) {
                Ok(fd) => Self::Open(fd),
                Err(Errno::NOENT) => Self::Absent,
                Err(error) => return Err(failed("open", name, path, error)),
            };
        }
        match self {
            Self::Open(fd) => Ok(Some(OwnedFd::as_fd(fd))),
            Self::Unopened | Self::Absent => Ok(None),
        }
    }

    /// The content, or `None` when there is no such file.
    fn read<'a>(
        &mut self,
        at: (BorrowedFd<'_>, &Path),
        name: &str,
        buffer: &'a mut [u8; SMALL],
    ) -> Result<Option<&'a [u8]>, PlatformError> {
        let Some(fd) = self.opened(at, name)? else { return Ok(None) };
        match file::reread(fd, buffer) {
            Ok(text) => Ok(Some(text)),
            // A kernel that was started without pressure has the files and refuses to read them.
            Err(Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(failed("read", name, at.1, error)),
        }
    }
}

/// The files that tell the use of one cgroup, and who stands in it.
#[derive(Debug, Default)]
pub(super) struct Readings {
    cpu: Kept,
    memory: Kept,
    memory_peak: Kept,
    memory_stat: Kept,
    swap: Kept,
    io: Kept,
    pids: Kept,
    pids_peak: Kept,
    pressure: [Kept; 3],
    procs: Kept,
    stat: Kept,
}

impl Readings {
    /// What the tree below the cgroup used so far (cgroup-v2.rst: `cpu.stat`, `memory.current`, `memory.peak`,
    /// `memory.stat`, `memory.swap.current`, `io.stat`, `pids.current`, `pids.peak`, and the pressure files). The CPU
    /// times are there even without the controller.
    pub(super) fn usage(
        &mut self,
        at: (BorrowedFd<'_>, &Path),
        usage: &mut Usage,
    ) -> Result<(), PlatformError> {
        let buffer = &mut [0; SMALL];
        if let Some(text) = self.cpu.read(at, "cpu.stat", buffer)? {
            usage.cpu.user = parse::keyed_micros(text, "user_usec");
            usage.cpu.system = parse::keyed_micros(text, "system_usec");
            usage.cpu.throttled = parse::keyed_micros(text, "throttled_usec");
            usage.cpu.periods = parse::keyed(text, "nr_periods");
            usage.cpu.throttled_periods = parse::keyed(text, "nr_throttled");
        }
        if let Some(text) = self.memory_stat.read(at, "memory.stat", buffer)? {
            usage.memory.anonymous = parse::keyed(text, "anon").map(Bytes);
            usage.memory.file = parse::keyed(text, "file").map(Bytes);
            usage.memory.faults = parse::keyed(text, "pgfault");
            usage.memory.major_faults = parse::keyed(text, "pgmajfault");
        }
        if let Some(text) = self.io.read(at, "io.stat", buffer)? {
            // Its room is kept from one sample to the next.
            let io = usage.io.get_or_insert_default();
            io.devices.clear();
            io.devices.extend(accounts::devices(text));
        } else {
            usage.io = None::<IoUsage>;
        }
        let places = [
            ("cpu.pressure", &mut usage.pressure.cpu),
            ("memory.pressure", &mut usage.pressure.memory),
            ("io.pressure", &mut usage.pressure.io),
        ];
        for (kept, (name, place)) in self.pressure.iter_mut().zip(places) {
            *place = kept.read(at, name, buffer)?.and_then(accounts::pressure);
        }
        let mut one = |kept: &mut Kept, name: &str| {
            Ok::<_, PlatformError>(kept.read(at, name, buffer)?.and_then(parse::number))
        };
        usage.memory.current = one(&mut self.memory, "memory.current")?.map(Bytes);
        usage.memory.peak = one(&mut self.memory_peak, "memory.peak")?.map(Bytes);
        usage.memory.swap = one(&mut self.swap, "memory.swap.current")?.map(Bytes);
        usage.pids.current = one(&mut self.pids, "pids.current")?;
        usage.pids.peak = one(&mut self.pids_peak, "pids.peak")?;
        Ok(())
    }

    /// Adds the processes that stand in the cgroup itself to `pids`, and tells whether there may be cgroups below it. The
    /// count of those (cgroup-v2.rst, `cgroup.stat`) costs a fraction of looking for them among all its files.
    pub(super) fn pids(
        &mut self,
        at: (BorrowedFd<'_>, &Path),
        pids: &mut Vec<u32>,
        text: &mut Vec<u8>,
    ) -> Result<bool, PlatformError> {
        let Some(procs) = self.procs.opened(at, "cgroup.procs")? else { return Ok(false) };
        match file::reread_all(procs, text) {
            Ok(()) => pids.extend(parse::pids(text)),
            // It is gone.
            Err(Errno::NODEV) => return Ok(false),
            Err(error) => return Err(failed("read", "cgroup.procs", at.1, error)),
        }
        let buffer = &mut [0; SMALL];
        let stat = self.stat.read(at, "cgroup.stat", buffer)?;
        Ok(stat.and_then(|text| parse::keyed(text, "nr_descendants")) != Some(0))
    }
}
