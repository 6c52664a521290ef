//! User-mode Linux: the kernel is a program, its root the host's, read-only.

use super::{BootDirectory, Guest, machine};
use crate::failure::{Attempt, Result};
use crate::guest::{FRAMES, JOB};
use crate::job::Job;
use crate::module_tree::ModuleTree;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// More than a test takes that uses up a limit of 1 GiB. What a guest never touches, it doesn't take from the host.
const MEMORY_MIB: u64 = 2560;

pub(super) fn command(
    guest: &Guest<'_>,
    directory: &BootDirectory,
    job: &mut Job,
) -> Result<Command> {
    if let Some(modules) = &guest.kernel.modules {
        let names: Vec<&str> = guest.modules.iter().map(String::as_str).collect();
        job.modules = stored(&ModuleTree::read(modules)?, &names, directory)?;
    }
    job.scratch = Some(PathBuf::from("/dev/ubda"));
    let mut command = machine(guest, &guest.kernel.image);
    command
        .arg(format!("mem={MEMORY_MIB}M"))
        .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "panic=-1"])
        .arg(format!("ubd0={}", directory.file("scratch.ext4").display()))
        // The frames have a serial line of their own, the first; the console only keeps a log.
        .args(["con=null", "ssl=null", "con0=null,fd:2", "ssl0=null,fd:1", "umid="])
        .arg(format!("init={}", guest.init.display()))
        .arg(format!("{JOB}{}", directory.file("job.json").display()))
        .arg(format!("{FRAMES}/dev/ttyS0"))
        .env("TMPDIR", memory_directory(directory));
    Ok(command)
}

/// The guest's memory is a file. In memory it is fast, but containers often have a tiny `/dev/shm`,
/// and a guest that outgrows it dies of SIGBUS.
fn memory_directory(directory: &BootDirectory) -> PathBuf {
    let shared = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(shared).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    if free > (MEMORY_MIB + 256) << 20 { shared.to_owned() } else { directory.0.clone() }
}

/// Writes modules where the guest can load them from.
pub(super) fn stored(
    tree: &ModuleTree,
    names: &[&str],
    directory: &BootDirectory,
) -> Result<Vec<PathBuf>> {
    let modules = tree.in_order(names)?;
    let store = |module: &crate::module_tree::Module| {
        let path = directory.file(&format!("{}.ko", module.name));
        fs::write(&path, &module.content)
            .attempt(|| format!("failed to write `{}`", path.display()))?;
        Ok(path)
    };
    modules.iter().map(store).collect()
}
