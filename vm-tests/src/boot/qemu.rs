//! A virtual machine: the host's root comes in over 9p, read-only on the host's side.

use super::{BootDirectory, Guest, machine, uml::stored};
use crate::failure::{Attempt, Result};
use crate::guest::{FRAMES, JOB, ROOT_TAG};
use crate::initramfs;
use crate::job::Job;
use crate::module_tree::ModuleTree;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// What must be loaded before the root is there, with the disk for `/tmp`. `crc32c_generic` is
/// what ext4 asks for by an alias, which only an index would resolve.
const FIRST: [&str; 6] =
    ["virtio_pci", "9pnet_virtio", "9p", "virtio_blk", "crc32c_generic", "ext4"];
const TAG: &str = "root";

/// A fact about this machine, learned at the first boot. Trying again could cost half a minute.
static KVM_FAILED: AtomicBool = AtomicBool::new(false);

/// How a virtual machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM where it works, else emulation.
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Accelerator {
    /// Whether KVM is worth a try: a device that can't be opened can't work.
    pub(super) fn may_accelerate(self) -> bool {
        let there = || File::options().read(true).write(true).open("/dev/kvm").is_ok();
        let failed = KVM_FAILED.load(Ordering::Relaxed);
        self == Self::Kvm || (self == Self::Auto && !failed && there())
    }

    /// A guest that KVM started never came up: no other needs to try that again.
    pub(super) fn kvm_has_failed() {
        KVM_FAILED.store(true, Ordering::Relaxed);
    }
}

pub(super) fn command(
    guest: &Guest<'_>,
    directory: &BootDirectory,
    job: &mut Job,
    accelerator: Accelerator,
    log: &Path,
) -> Result<Command> {
    let tree = guest.kernel.modules.as_deref().map(ModuleTree::read).transpose()?;
    let mut first = Vec::new();
    if let Some(tree) = &tree {
        first = tree.in_order(&FIRST)?;
        let names: Vec<&str> = guest.modules.iter().map(String::as_str).collect();
        job.modules = stored(tree, &names, directory)?;
    }
    job.scratch = Some(PathBuf::from("/dev/vda"));
    let initramfs = directory.file("initramfs");
    fs::write(&initramfs, initramfs::build(guest.init, &first)?)
        .attempt(|| format!("failed to write `{}`", initramfs.display()))?;
    let words = [
        "console=ttyS0 quiet panic=-1 psi=1".to_owned(),
        format!("{JOB}{}", directory.file("job.json").display()),
        format!("{FRAMES}/dev/ttyS1"),
        format!("{ROOT_TAG}{TAG}"),
    ];
    // Emulated processors share one thread: guests run side by side, and with a thread each they wait
    // for one another while another guest has the real processor (measured: four times slower).
    let (accelerator, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Auto | Accelerator::Tcg => ("tcg,thread=single", "max"),
    };
    let mut command = machine(guest, "qemu-system-x86_64");
    // More than the largest limit that is used up in it; the host gives only what is used.
    command
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-monitor", "none", "-machine", "q35", "-accel", accelerator, "-cpu", cpu])
        .args(["-smp", "2", "-m", "5G"])
        .arg("-kernel")
        .arg(&guest.kernel.image)
        .arg("-initrd")
        .arg(&initramfs)
        .arg("-append")
        .arg(words.join(" "))
        .arg("-chardev")
        .arg(format!("file,id=console,append=on,path={}", log.display()))
        .args(["-chardev", "stdio,id=frames,signal=off"])
        .args(["-device", "isa-serial,chardev=console", "-device", "isa-serial,chardev=frames"])
        .arg("-drive")
        .arg(format!(
            "file={},format=raw,if=none,id=scratch,cache=unsafe",
            directory.file("scratch.ext4").display()
        ))
        .args(["-device", "virtio-blk-pci,drive=scratch"])
        // `remap` keeps inode numbers apart where the host's root has several file systems below it.
        .args(["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"])
        .args(["-device", &format!("virtio-9p-pci,fsdev=root,mount_tag={TAG}")]);
    Ok(command)
}
