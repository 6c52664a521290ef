//! The guest's file systems: the host's root, read-only, with fresh ones where programs write.

use crate::failure::{Attempt, Result};
use crate::job::{Job, USER};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

const HOME: &str = "/home/tester";
const RUNTIME: &str = "/run/user/1000";
/// Covered with an empty tmpfs: what a fresh machine has there is nothing.
const COVERED: [&str; 3] = ["/run", "/root", "/home"];
/// Writable copies of what the host has, since programs add to it; and what must be writable where
/// such a copy can't be had.
const OVERLAID: [(&str, &[(&str, &str)]); 2] =
    [("/etc", &[]), ("/var", &[("/var/tmp", "mode=1777"), ("/var/lib", "mode=755")])];

/// `/proc`, before anything else: the kernel's command line is read from it.
pub(super) fn proc() -> Result<()> {
    plain("proc", "/proc", "proc", MountFlags::empty(), "")
}

/// Leaves the initramfs: the host's root, exported over 9p, becomes `/`.
pub(super) fn switch_root(tag: &str) -> Result<()> {
    // `loose` is not only the fastest cache: without one, every look-up makes a new inode, and
    // Landlock's rules, which hang on inodes, would never match.
    let options = "trans=virtio,version=9p2000.L,msize=524288,cache=loose,access=client,ro";
    fs::create_dir_all("/newroot").attempt(|| "failed to make `/newroot`")?;
    plain(tag, "/newroot", "9p", MountFlags::RDONLY, options).attempt(
        || "failed to reach the host's root (a kernel without 9p needs `--modules DIR`)",
    )?;
    rustix::process::chdir("/newroot").attempt(|| "failed to enter `/newroot`")?;
    mount_move(".", "/").attempt(|| "failed to move the new root")?;
    rustix::process::chroot(".").attempt(|| "failed to change the root")?;
    rustix::process::chdir("/").attempt(|| "failed to enter the new root")?;
    proc()
}

/// What every distribution mounts at boot.
pub(super) fn kernel_file_systems() -> Result<()> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    plain("sysfs", "/sys", "sysfs", safe, "")?;
    // Many kernels have mounted it themselves by now, and it can't be mounted twice in one place.
    plain("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, "mode=755")
        .or_else(|failure| if Path::new("/dev/null").exists() { Ok(()) } else { Err(failure) })?;
    for directory in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
        fs::create_dir_all(directory).attempt(|| format!("failed to make `{directory}`"))?;
    }
    plain("devpts", "/dev/pts", "devpts", MountFlags::NOSUID, "mode=620,gid=5,ptmxmode=666")?;
    plain("tmpfs", "/dev/shm", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, "mode=1777")?;
    for (name, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        if !Path::new(name).exists() {
            symlink(target, name).attempt(|| format!("failed to make `{name}`"))?;
        }
    }
    plain("cgroup2", "/sys/fs/cgroup", "cgroup2", safe, "nsdelegate")?;
    // Not every kernel has these, and tests that need them look for themselves.
    for (kind, directory) in [("mqueue", "/dev/mqueue"), ("securityfs", "/sys/kernel/security")] {
        plain(kind, directory, kind, safe, "").ok();
    }
    Ok(())
}

/// Fresh file systems where programs write, with the job's own directories still in their places.
/// Says what could only be had in part.
pub(super) fn writable_places(job: &Job) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let kept = Kept::open(&job.keep)?;
    temporary(job.scratch.as_deref(), &mut notes)?;
    let closed = closed_ancestors(&job.keep);
    for directory in COVERED.iter().map(Path::new).chain(closed.iter().map(PathBuf::as_path)) {
        if directory.is_dir() {
            tmpfs(directory, "mode=755")?;
        }
    }
    kept.put_back()?;
    for (directory, instead) in OVERLAID {
        if let Err(failure) = overlay(directory) {
            notes.push(failure.chain());
            // A kernel without overlays: at least where programs keep what they write.
            instead.iter().try_for_each(|(part, mode)| tmpfs(Path::new(part), mode))?;
        }
    }
    for (number, path) in job.writable.iter().enumerate() {
        let own = PathBuf::from(format!("/tmp/.writable/{number}"));
        make(&own, 0o777, 0)?;
        mount_bind(&own, path)
            .attempt(|| format!("failed to make `{}` writable", path.display()))?;
    }
    user_places()?;
    Ok(notes)
}

/// `/tmp` on a real disk where there is one: idmapped mounts (a tmpfs has them only since 6.3), IO
/// limits and quotas need a file system with a block device below it.
fn temporary(scratch: Option<&Path>, notes: &mut Vec<String>) -> Result<()> {
    if let Some(device) = scratch {
        let device = device.to_string_lossy();
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        match plain(&device, "/tmp", "ext4", flags, "") {
            Ok(()) => {
                let mode = Permissions::from_mode(0o1777);
                return fs::set_permissions("/tmp", mode).attempt(|| "failed to open up `/tmp`");
            }
            Err(failure) => notes.push(failure.chain()),
        }
    }
    tmpfs(Path::new("/tmp"), "mode=1777")
}

/// Directories that must outlive a mount over one of their parents, held open meanwhile.
struct Kept(Vec<(PathBuf, OwnedFd)>);

impl Kept {
    fn open(paths: &[PathBuf]) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &PathBuf| {
            rustix::fs::openat(CWD, path, flags, Mode::empty())
                .attempt(|| format!("failed to open `{}`", path.display()))
                .map(|fd| (path.clone(), fd))
        };
        paths.iter().map(open).collect::<Result<_>>().map(Self)
    }

    fn put_back(self) -> Result<()> {
        for (path, fd) in self.0 {
            let attempt = || format!("failed to put `{}` back", path.display());
            fs::create_dir_all(&path).attempt(attempt)?;
            mount_bind(format!("/proc/self/fd/{}", fd.as_raw_fd()), &path).attempt(attempt)?;
        }
        Ok(())
    }
}

/// Parents of the kept directories that the unprivileged user may not pass (a home directory of
/// another user, for one). They are covered like the others, since they can't be changed.
fn closed_ancestors(kept: &[PathBuf]) -> Vec<PathBuf> {
    let covered =
        |path: &Path| path == Path::new("/tmp") || COVERED.iter().any(|c| path == Path::new(c));
    let mut closed: Vec<PathBuf> = Vec::new();
    for path in kept {
        let mut parents: Vec<&Path> = path.ancestors().skip(1).collect();
        parents.reverse();
        for parent in parents {
            if covered(parent) || closed.iter().any(|known| known == parent) {
                break;
            }
            let mode = fs::metadata(parent).map_or(0o755, |data| data.permissions().mode());
            if mode & 0o001 == 0 {
                closed.push(parent.to_owned());
                break;
            }
        }
    }
    closed
}

/// The unprivileged user's own places, and a name for its number.
fn user_places() -> Result<()> {
    make(Path::new(HOME), 0o755, USER)?;
    make(Path::new(RUNTIME), 0o700, USER)?;
    for (file, line) in [
        ("/etc/passwd", format!("tester:x:{USER}:{USER}:tester:{HOME}:/bin/sh\n")),
        ("/etc/group", format!("tester:x:{USER}:\n")),
    ] {
        // Whoever has the number on the host has another home, which isn't there.
        let text = fs::read_to_string(file).unwrap_or_default();
        let number = USER.to_string();
        let others = text.lines().filter(|line| line.split(':').nth(2) != Some(&number));
        let others: String = others.flat_map(|line| [line, "\n"]).collect();
        replace(file, &(others + &line))?;
    }
    // Room for a few sandboxes with a whole system's users each.
    for file in ["/etc/subuid", "/etc/subgid"] {
        replace(file, "tester:100000:262144\n")?;
    }
    Ok(())
}

/// Gives a file another content, also where its directory stayed read-only.
fn replace(file: &str, content: &str) -> Result<()> {
    if fs::write(file, content).is_ok() {
        return Ok(());
    }
    let attempt = || format!("failed to replace `{file}`");
    let own = Path::new("/run/replaced").join(file.trim_start_matches('/').replace('/', "-"));
    make(Path::new("/run/replaced"), 0o755, 0)?;
    fs::write(&own, content).attempt(attempt)?;
    mount_bind(&own, file).attempt(attempt)
}

fn overlay(directory: &str) -> Result<()> {
    let own = Path::new("/run/overlay").join(directory.trim_start_matches('/'));
    make(&own.join("upper"), 0o755, 0)?;
    make(&own.join("work"), 0o755, 0)?;
    let own = own.display();
    let options = format!("lowerdir={directory},upperdir={own}/upper,workdir={own}/work");
    plain("overlay", directory, "overlay", MountFlags::empty(), &options)
}

fn tmpfs(directory: &Path, options: &str) -> Result<()> {
    let directory = directory.to_string_lossy();
    plain("tmpfs", &directory, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
}

fn make(directory: &Path, mode: u32, owner: u32) -> Result<()> {
    let attempt = || format!("failed to make `{}`", directory.display());
    fs::create_dir_all(directory).attempt(attempt)?;
    fs::set_permissions(directory, Permissions::from_mode(mode)).attempt(attempt)?;
    chown(directory, Some(owner), Some(owner)).attempt(attempt)
}

fn plain(source: &str, target: &str, kind: &str, flags: MountFlags, options: &str) -> Result<()> {
    let attempt = || format!("failed to mount {kind} on `{target}`");
    let options = CString::new(options).attempt(attempt)?;
    mount(source, target, kind, flags, options.as_c_str()).attempt(attempt)
}
