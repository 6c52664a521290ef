//! Memory that stays with a sandbox: a protection holds only as far as every cgroup above has as much of its own to give
//! (cgroup-v2.rst, `memory.min`: "distributed in proportion to the amount of overcommit").

use super::failed;
use crate::{Control, PlatformError};
use rustix::io::Errno;
use std::io::ErrorKind;
use std::path::Path;

/// The files that protect.
pub(super) const FILES: [&str; 2] = ["memory.min", "memory.low"];

/// Gives the parent of sandboxes as much protection as its sandboxes have together, where the caller may.
///
/// # Errors
/// When the parent's file can't be written for another reason than a missing right.
pub(super) fn grant(parent: &Path, file: &str) -> Result<(), PlatformError> {
    let sandboxes = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let each = sandboxes.filter_map(|entry| value(&entry.path().join(file)));
    let sum = each.fold(0, u64::saturating_add);
    match std::fs::write(parent.join(file), sum.to_string()) {
        Ok(()) => Ok(()),
        // The root of the tree has no such file and needs none. A parent that was delegated is its owner's to set.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            Ok(())
        }
        Err(error) => {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Err(failed("write", file, parent, errno))
        }
    }
}

/// Whether every cgroup above protects at least `asked` bytes.
///
/// # Errors
/// [`PlatformError::is_unsupported`] when one has less, with the command that mends it.
pub(super) fn check(
    parent: &Path,
    file: &str,
    asked: u64,
    control: Control,
) -> Result<(), PlatformError> {
    for above in parent.ancestors() {
        // Above the root of the tree nothing has such a file.
        let Some(has) = value(&above.join(file)) else { break };
        if has < asked {
            let above = above.display();
            let reason = format!("cgroup `{above}` itself is protected for {has} bytes only");
            let error = PlatformError::unsupported(control, reason);
            return Err(error.with_hint(format!("echo {asked} > {above}/{file}")));
        }
    }
    Ok(())
}

/// Bytes in a file of a cgroup; `max` is every byte there can be.
fn value(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    match text.trim_end() {
        "max" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as the kernel would show it: files in directories.
    fn tree(values: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (cgroup, value) in values {
            let directory = tree.path().join(cgroup);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("memory.min"), value).unwrap();
        }
        tree
    }

    #[test]
    fn the_parent_is_given_the_sum_of_its_sandboxes() {
        let tree =
            tree(&[("stockade", "0\n"), ("stockade/a-1", "4096\n"), ("stockade/b-2", "max\n")]);
        let parent = tree.path().join("stockade");
        grant(&parent, "memory.min").unwrap();
        assert_eq!(value(&parent.join("memory.min")), Some(u64::MAX));
        std::fs::write(parent.join("b-2/memory.min"), "8192\n").unwrap();
        grant(&parent, "memory.min").unwrap();
        assert_eq!(value(&parent.join("memory.min")), Some(12288));
    }

    #[test]
    fn a_cgroup_above_with_less_takes_the_protection_away() {
        let tree = tree(&[("slice", "4096\n"), ("slice/stockade", "8192\n")]);
        let parent = tree.path().join("slice/stockade");
        check(&parent, "memory.min", 4096, Control::MemoryMin).unwrap();
        let error = check(&parent, "memory.min", 8192, Control::MemoryMin).unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains("slice"), "{error}");
        assert!(error.hint().unwrap().starts_with("echo 8192 > "), "{error:?}");
    }
}
