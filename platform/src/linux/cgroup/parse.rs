//! Reading the texts of procfs and the cgroup file system: pure functions, so that every host can be tried on any.

use super::Controllers;
use crate::linux::text::{digits, lines, unescape};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// Where `/proc/self/cgroup` says that a process stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    /// Path in the cgroup2 hierarchy as the reader's cgroup namespace sees it: absolute, and starting with `/..`
    /// when it lies outside of that namespace. `None` when there is no cgroup2 hierarchy.
    pub(super) path: Option<PathBuf>,
    /// Controllers that a v1 hierarchy holds, so that cgroup2 can't have them.
    pub(super) v1: Controllers,
}

/// Reads `/proc/PID/cgroup` (cgroup-v2.rst, "Processes"; cgroups(7)). A removed cgroup's ` (deleted)` is cut off.
pub(super) fn membership(text: &[u8]) -> Membership {
    let mut found = Membership::default();
    for line in lines(text) {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
            found.path = Some(PathBuf::from(OsString::from_vec(path.to_vec())));
        } else {
            let named = controllers.split(|byte| *byte == b',');
            found.v1 = named.fold(found.v1, Controllers::with_token);
        }
    }
    found
}

/// One mounted cgroup2 file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    /// The cgroup that the mount shows as its root, as the reader's cgroup namespace sees it.
    pub(super) root: PathBuf,
    /// Where it is mounted.
    pub(super) point: PathBuf,
}

/// The cgroup2 mounts of `/proc/self/mountinfo` (proc_pid_mountinfo(5)), in its order.
pub(super) fn cgroup2_mounts(mountinfo: &[u8]) -> Vec<Mounted> {
    lines(mountinfo).filter_map(cgroup2_mount).collect()
}

fn cgroup2_mount(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    // The fourth and fifth field: root and mount point. Optional fields follow, closed by a lone dash.
    let root = fields.nth(3)?;
    let point = fields.next()?;
    fields.find(|field| *field == b"-")?;
    (fields.next()? == b"cgroup2").then(|| Mounted { root: unescape(root), point: unescape(point) })
}

/// The number in a file of one value; `None` for `max` and for anything else that is no number.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    digits(text.trim_ascii())
}

/// The value of `key` in a flat-keyed file (cgroup-v2.rst, "Format").
pub(super) fn keyed(text: &[u8], key: &str) -> Option<u64> {
    lines(text).find_map(|line| {
        digits(line.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?.trim_ascii_end())
    })
}

/// The same for the keys of `cpu.stat`, which count microseconds.
pub(super) fn keyed_micros(text: &[u8], key: &str) -> Option<Duration> {
    keyed(text, key).map(Duration::from_micros)
}

/// The process ids of `cgroup.procs`. A zero stands for a process outside of the reader's pid namespace.
pub(super) fn pids(text: &[u8]) -> impl Iterator<Item = u32> {
    lines(text).filter_map(|line| u32::try_from(digits(line)?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_on_a_unified_host() {
        let found = membership(b"0::/user.slice/user-1000.slice/session-1.scope\n");
        assert_eq!(found.path, Some("/user.slice/user-1000.slice/session-1.scope".into()));
        assert_eq!(found.v1, Controllers::NONE);
    }

    #[test]
    fn membership_on_a_hybrid_host_tells_which_controllers_are_taken() {
        let found = membership(
            b"9:name=systemd:/\n8:pids:/\n4:memory:/process/x:y\n3:cpuset:/\n1:cpu,cpuacct:/\n0::/\n",
        );
        assert_eq!(found.path, Some("/".into()));
        let taken = [Controllers::MEMORY, Controllers::CPU, Controllers::PIDS, Controllers::CPUSET];
        assert_eq!(found.v1, taken.into_iter().fold(Controllers::NONE, |all, one| all | one));
    }

    #[test]
    fn membership_without_cgroup2_has_no_path() {
        let found = membership(b"4:memory:/a\n");
        assert_eq!(found.path, None);
        assert_eq!(found.v1, Controllers::MEMORY);
        assert_eq!(membership(b""), Membership::default());
    }

    #[test]
    fn membership_outside_of_the_namespace_and_in_a_removed_cgroup() {
        assert_eq!(membership(b"0::/../other\n").path, Some("/../other".into()));
        assert_eq!(membership(b"0::/gone (deleted)\n").path, Some("/gone".into()));
    }

    #[test]
    fn mounts_are_found_by_type_and_unescaped() {
        let text = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n\
            42 31 0:38 /../up /mnt/a\\040b\\134c rw - cgroup2 none rw\n\
            43 31 0:9 / /cgroup2 rw - ext4 /dev/cgroup2 rw\n";
        let expected = [("/", "/sys/fs/cgroup/unified"), ("/../up", "/mnt/a b\\c")]
            .map(|(root, point)| Mounted { root: root.into(), point: point.into() });
        assert_eq!(cgroup2_mounts(text), expected);
    }

    #[test]
    fn a_cut_line_of_mountinfo_is_no_mount() {
        for text in ["", "41 31 0:38", "41 31 0:38 / /x rw", "41 31 0:38 / /x rw -"] {
            assert_eq!(cgroup2_mounts(text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn controllers_are_whole_words() {
        let parsed = Controllers::parse(b"cpuset io memory pids\n");
        assert!(!parsed.has(Controllers::CPU));
        assert!(parsed.has(Controllers::MEMORY));
        assert!(Controllers::parse(b"cpu\n").has(Controllers::CPU));
        assert_eq!(Controllers::parse(b"misc rdma\n"), Controllers::NONE);
    }

    #[test]
    fn keys_are_whole_words_too() {
        let text = b"usage_usec 30\nuser_usec 20\nsystem_usec 10\nthrottled_usec 1500000\n";
        assert_eq!(keyed(text, "user_usec"), Some(20));
        assert_eq!(keyed(text, "user"), None);
        assert_eq!(keyed_micros(text, "throttled_usec"), Some(Duration::from_millis(1500)));
        let events = b"low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(keyed(events, "oom_kill"), Some(2));
        assert_eq!(keyed(events, "oom"), Some(1));
    }

    #[test]
    fn numbers_and_pids() {
        assert_eq!(number(b"67108864\n"), Some(67_108_864));
        for none in ["max\n", "", "\n", "-1", "1x", "99999999999999999999"] {
            assert_eq!(number(none.as_bytes()), None, "{none}");
        }
        assert_eq!(pids(b"1\n42\n0\nx\n").collect::<Vec<_>>(), [1, 42, 0]);
    }
}
