//! Where sandboxes stand in the cgroup tree: reading what the host offers, without changing anything.

use super::Controllers;
use super::file::{self, SMALL};
use super::parse::{self, Membership};
use rustix::fd::AsFd;
use rustix::fs::{Access, access, getxattr, statfs};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// `CGROUP2_SUPER_MAGIC` (linux/magic.h).
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Where cgroup2 is mounted on nearly every host: unified, hybrid.
const USUAL: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The variable that names the parent of all sandboxes.
const VARIABLE: &str = "STOCKADE_CGROUP";

/// The directory that Stockade makes for its sandboxes where nothing was delegated to it.
pub(super) const OWN_DIRECTORY: &str = "stockade";

/// Why no cgroup can be made here, and what would mend it (empty when nothing would).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoTree {
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

impl NoTree {
    pub(super) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into() }
    }

    pub(super) fn io(verb: &str, path: &Path, error: Errno) -> Self {
        let cause = io::Error::from(error);
        Self::new(format!("failed to {verb} `{}`: {cause}", path.display()), "")
    }
}

impl From<NoTree> for crate::PlatformError {
    fn from(none: NoTree) -> Self {
        let error = Self::system("no control group can be made", io::Error::other(none.reason));
        if none.remedy.is_empty() { error } else { error.with_hint(none.remedy) }
    }
}

/// How the parent of all sandboxes was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The caller or `STOCKADE_CGROUP` named it.
    Asked,
    /// It is the delegated subtree that Stockade was started in.
    Delegated,
    /// It is Stockade's own directory in the root of the tree.
    OwnDirectory,
}

/// Where this process stands in the cgroup2 tree, as absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the tree is mounted.
    pub(super) mount: PathBuf,
    /// The cgroup of this process.
    pub(super) own: PathBuf,
    /// Controllers that the v1 hierarchies of a hybrid host hold.
    pub(super) v1: Controllers,
}

/// The directory in which sandboxes are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// A directory that exists.
    pub(super) anchor: PathBuf,
    /// Whether sandboxes go into [`OWN_DIRECTORY`] below it instead of into itself.
    pub(super) own_directory: bool,
    pub(super) origin: Origin,
}

/// Finds the mounted tree and this process in it.
pub(super) fn locate() -> Result<Place, NoTree> {
    let path = Path::new("/proc/self/cgroup");
    let text = read(path)?;
    let Membership { path: own, v1 } = parse::membership(&text);
    let not_mounted =
        || NoTree::new("cgroup2 isn't mounted", "mount -t cgroup2 none /sys/fs/cgroup (as root)");
    let own = own.ok_or_else(not_mounted)?;
    match shown(&own)? {
        Shown::At { mount, path } => Ok(Place { mount, own: path, v1 }),
        Shown::NotMounted => Err(not_mounted()),
        Shown::Nowhere => {
            let own = own.display();
            Err(NoTree::new(format!("no mounted cgroup2 tree shows the own cgroup `{own}`"), ""))
        }
    }
}

/// Where a cgroup of another process is, as an absolute path; `None` where it has none that shows.
pub(super) fn of(pid: u32) -> Result<Option<PathBuf>, NoTree> {
    let text = read(Path::new(&format!("/proc/{pid}/cgroup")))?;
    let Some(own) = parse::membership(&text).path else { return Ok(None) };
    Ok(match shown(&own)? {
        Shown::At { path, .. } => Some(path),
        Shown::NotMounted | Shown::Nowhere => None,
    })
}

/// Where a cgroup can be seen.
enum Shown {
    At { mount: PathBuf, path: PathBuf },
    NotMounted,
    Nowhere,
}

/// Finds a cgroup, by its path in the hierarchy, in a mounted tree.
fn shown(own: &Path) -> Result<Shown, NoTree> {
    // Most hosts mount it in one of two places; to look there spares reading mountinfo, which can be long.
    for mount in USUAL.map(Path::new).into_iter().filter(|mount| is_cgroup2(mount)) {
        if let Some(path) = beneath(mount, Path::new("/"), own) {
            return Ok(Shown::At { mount: mount.into(), path });
        }
    }
    let path = Path::new("/proc/self/mountinfo");
    let mounts = parse::cgroup2_mounts(&read(path)?);
    let found = mounts.iter().find_map(|mounted| {
        Some((mounted.point.clone(), beneath(&mounted.point, &mounted.root, own)?))
    });
    Ok(match found {
        Some((mount, path)) => Shown::At { mount, path },
        None if mounts.is_empty() => Shown::NotMounted,
        None => Shown::Nowhere,
    })
}

/// The absolute path of the cgroup `own` in a tree mounted at `mount` whose root is the cgroup `root`, if it shows there.
fn beneath(mount: &Path, root: &Path, own: &Path) -> Option<PathBuf> {
    let relative = own.strip_prefix(root).ok()?;
    if relative.components().any(|part| part == std::path::Component::ParentDir) {
        return None;
    }
    // `join("")` would end in a slash.
    let whole = if relative.as_os_str().is_empty() { mount.into() } else { mount.join(relative) };
    access(&whole, Access::EXISTS).is_ok().then_some(whole)
}

fn is_cgroup2(path: &Path) -> bool {
    // The type of `f_type` differs between architectures; the magic number fits all of them.
    statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(CGROUP2_MAGIC))
}

fn read(path: &Path) -> Result<Vec<u8>, NoTree> {
    let mut text = Vec::new();
    let read = file::open(rustix::fs::CWD, path, rustix::fs::OFlags::RDONLY)
        .and_then(|opened| file::read_to_end(opened, &mut text));
    read.map(|()| text).map_err(|error| NoTree::io("read", path, error))
}

/// Chooses the parent of all sandboxes: the one asked for, else the nearest delegated cgroup that this process stands
/// in, else the topmost writable one where no service manager owns the tree.
pub(super) fn choose(place: &Place) -> Result<Chosen, NoTree> {
    if let Some(asked) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return asked_for(place, Path::new(&asked));
    }
    let chosen = |anchor: &Path, own_directory, origin| {
        let anchor = anchor.to_owned();
        Ok(Chosen { anchor, own_directory, origin })
    };
    let below_mount = || place.own.ancestors().take_while(|dir| *dir != place.mount);
    let delegated = below_mount().find(|dir| is_delegated(dir));
    if let Some(dir) = delegated.filter(|dir| !is_user_manager(dir) && writable(dir).is_ok()) {
        return chosen(dir, false, Origin::Delegated);
    }
    if has_systemd() {
        let own = place.own.display();
        return Err(NoTree::new(
            format!("systemd owns the cgroup tree and delegated nothing to `{own}`"),
            systemd_run(),
        ));
    }
    let upwards = below_mount().chain([place.mount.as_path()]);
    match upwards.take_while(|dir| writable(dir).is_ok()).last() {
        Some(dir) if dir == place.mount => chosen(dir, true, Origin::OwnDirectory),
        Some(dir) => chosen(dir, false, Origin::Delegated),
        None => Err(unwritable(place)),
    }
}

/// Whether systemd is the service manager here (sd_booted(3)). Then the tree is its own, and everybody else may only
/// make cgroups in what it delegated.
pub(super) fn has_systemd() -> bool {
    access("/run/systemd/system", Access::EXISTS).is_ok()
}

/// The command that starts Stockade in a delegated cgroup of its own.
pub(super) fn systemd_run() -> String {
    let user = if rustix::process::geteuid().is_root() { "" } else { "--user " };
    format!("systemd-run {user}--scope -p Delegate=yes stockade ...")
}

fn asked_for(place: &Place, path: &Path) -> Result<Chosen, NoTree> {
    let told =
        |reason: &str| NoTree::new(format!("{VARIABLE} names `{}`, {reason}", path.display()), "");
    if !path.is_absolute() {
        return Err(told("which isn't an absolute path"));
    }
    if !is_cgroup2(path) {
        return Err(told("which isn't a directory of the cgroup2 file system"));
    }
    writable(path).map_err(|error| told(&format!("but: {}", io::Error::from(error))))?;
    // Moving a process needs the right to write to the list of the nearest common ancestor as well
    // (cgroup-v2.rst, "Delegation Containment").
    let common = place.own.ancestors().find(|dir| path.starts_with(dir)).unwrap_or(path);
    access(common.join("cgroup.procs"), Access::WRITE_OK).map_err(|error| {
        let (common, error) = (common.display(), io::Error::from(error));
        told(&format!("but no process may be started there from here: `{common}`: {error}"))
    })?;
    Ok(Chosen { anchor: path.to_owned(), own_directory: false, origin: Origin::Asked })
}

fn writable(dir: &Path) -> rustix::io::Result<()> {
    access(dir, Access::WRITE_OK)?;
    access(dir.join("cgroup.procs"), Access::WRITE_OK)
}

/// Whether systemd marked the cgroup as handed over (systemd.resource-control(5), `Delegate=`). Only root can see the
/// `trusted` mark, which versions before 251 set alone.
fn is_delegated(dir: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0u8; 2];
        getxattr(dir, *name, &mut value[..]).is_ok_and(|length| &value[..length] == b"1")
    })
}

/// `user@1000.service` is delegated too, to that user's service manager: it isn't ours.
fn is_user_manager(dir: &Path) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("user@") && name.ends_with(".service"))
}

fn unwritable(place: &Place) -> NoTree {
    let Place { mount, own, .. } = place;
    let error = writable(own).err().unwrap_or(Errno::ACCESS);
    let reason = format!("`{}` can't be written: {}", own.display(), io::Error::from(error));
    let remedy = if error == Errno::ROFS {
        format!("mount -o remount,rw {} (as root)", mount.display())
    } else {
        hand_over(mount)
    };
    NoTree::new(reason, remedy)
}

/// The command that gives the calling user a subtree and moves the calling shell into it.
fn hand_over(mount: &Path) -> String {
    let user = rustix::process::getuid().as_raw();
    let available = file::open_dir_path(mount)
        .and_then(|dir| {
            file::read_small(dir.as_fd(), "cgroup.controllers", &mut [0; SMALL])
                .map(Controllers::parse)
        })
        .unwrap_or_default();
    let mount = mount.display();
    let dir = format!("{mount}/stockade-{user}");
    let enable = match available.words() {
        words if words.is_empty() => words,
        words => format!("echo {words} > {mount}/cgroup.subtree_control && "),
    };
    format!(
        "sudo sh -c \"{enable}mkdir -p {dir}/session && chown {user} {dir} {dir}/cgroup.procs \
         {dir}/cgroup.subtree_control {dir}/session {dir}/session/cgroup.procs && \
         echo $$ > {dir}/session/cgroup.procs\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_below_the_root_of_the_mount() {
        let root = Path::new("/");
        assert_eq!(beneath(root, root, root), Some("/".into()));
        assert_eq!(beneath(root, Path::new("/a"), Path::new("/a/proc")), Some("/proc".into()));
        assert_eq!(beneath(root, Path::new("/a"), Path::new("/b")), None);
        assert_eq!(beneath(root, root, Path::new("/../proc")), None);
        assert_eq!(
            beneath(root, Path::new("/../a"), Path::new("/../a/proc")),
            Some("/proc".into())
        );
        assert_eq!(beneath(root, root, Path::new("/no/such/cgroup")), None);
    }

    #[test]
    fn the_cgroup_of_a_user_manager_is_told_by_its_name() {
        assert!(is_user_manager(Path::new("/sys/fs/cgroup/user.slice/user@1000.service")));
        assert!(!is_user_manager(Path::new("/sys/fs/cgroup/user.slice/user-1000.slice")));
    }
}
