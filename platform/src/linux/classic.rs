//! Mounting with mount(2) alone: whether it must be, and what came of it.
//!
//! The calls that give mounts as descriptors (Linux 5.2 to 5.12) let a tree be restricted before it is anywhere. Filters of older container
//! runtimes forbid them, or some of them, and let mount(2) pass. Then the child mounts in the old way
//! (`stockade_child::Script::classic`), which can't restrict a tree at once: it goes from mount to mount, of which some may
//! have come after the starter had looked. So the starter reads the child's table of mounts before the program starts,
//! and holds every one in sight against what was to be.
//!
//! Owners can't be mapped in that way; where that is needed, the launch is refused.

use super::mounts::{self, Mount};
use crate::plan::readable;
use crate::{PlatformError, Stage};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Whether a filter around this process forbids one of the newer calls.
///
/// Asked with arguments that the kernel refuses by a certain error, so that another one is the filter's. Where the kernel refuses
/// everybody without rights before it looks at arguments, only a filter that says "no such call" can be told from it.
pub(crate) fn is_needed() -> bool {
    /// A descriptor, a flag and a command that don't exist.
    const NONE: libc::c_long = -1;
    let asked = |number: libc::c_long| {
        // SAFETY: no argument is a valid descriptor, flag or address, so nothing is done or written.
        let answer = unsafe { libc::syscall(number, NONE, 0, NONE, 0, NONE) };
        if answer >= 0 {
            return 0;
        }
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
    };
    asked(libc::SYS_fsconfig) != libc::EINVAL
        || asked(libc::SYS_mount_setattr) != libc::EINVAL
        || asked(libc::SYS_open_tree) != libc::EINVAL
        || [libc::SYS_fsopen, libc::SYS_fsmount, libc::SYS_move_mount]
            .into_iter()
            .any(|number| asked(number) == libc::ENOSYS)
}

/// The mounts of the host below a path, without the path itself.
pub(crate) fn below(table: &[u8], path: &Path) -> Vec<PathBuf> {
    let below = mounts::all(table).filter(|mount| mount.point.starts_with(path));
    below.map(|mount| mount.point).filter(|point| point != path).collect()
}

/// Holds the mounts of a sandbox against what they should be: `expected` says for places which restrictions
/// (`MOUNT_ATTR_*`) they have, and everything below them until the next one.
///
/// # Errors
/// The first mount that has less.
pub(crate) fn check(table: &[u8], expected: &BTreeMap<PathBuf, u64>) -> Result<(), PlatformError> {
    let all: Vec<Mount> = mounts::all(table).collect();
    let is_covered = |mount: &Mount| {
        all.iter().any(|other| other.above == mount.number && other.point == mount.point)
    };
    for mount in all.iter().filter(|mount| !is_covered(mount)) {
        let wanted = mount.point.ancestors().find_map(|place| expected.get(place));
        if wanted.is_none_or(|wanted| wanted & !mount.attributes != 0) {
            let shown = readable(mount.point.as_os_str());
            let message = format!("the mount at `{shown}` inside isn't restricted as it should be");
            return Err(PlatformError::launch(Stage::Setup, message, None).with_hint(
                "something was mounted below a path of the policy's meanwhile: start again",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RDONLY: u64 = 1;
    const NOSUID: u64 = 2;

    fn checked(lines: &[&str]) -> Result<(), String> {
        let expected = [("/", RDONLY | NOSUID), ("/data", NOSUID)];
        let expected = expected.map(|(path, attributes)| (path.into(), attributes)).into();
        let table = lines.join("\n");
        check(table.as_bytes(), &expected).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mount_that_is_less_restricted_than_its_place_is_found() {
        let root = "1 0 0:1 / / ro,nosuid - tmpfs x rw";
        checked(&[root, "2 1 0:2 / /usr ro,nosuid,nodev - ext4 x rw"]).unwrap();
        checked(&[root, "2 1 0:2 / /data rw,nosuid - ext4 x rw"]).unwrap();
        let told = |path: &str| {
            Err(format!("the mount at `{path}` inside isn't restricted as it should be"))
        };
        assert_eq!(checked(&[root, "2 1 0:2 / /usr rw,nosuid - ext4 x ro"]), told("/usr"));
        assert_eq!(checked(&[root, "2 1 0:2 / /data/sub rw - ext4 x rw"]), told("/data/sub"));
        assert_eq!(checked(&["1 0 0:1 / / ro - tmpfs x rw"]), told("/"));
        // What is covered by another can't be reached.
        let below = "2 1 0:2 / /usr rw - autofs x rw";
        checked(&[root, below, "3 2 0:3 / /usr ro,nosuid - ext4 x rw"]).unwrap();
        assert_eq!(checked(&[root, below, "3 1 0:3 / /usr ro,nosuid - ext4 x rw"]), told("/usr"));
    }

    #[test]
    fn without_a_filter_the_newer_calls_are_used() {
        assert!(!is_needed());
    }
}
