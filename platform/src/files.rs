//! Reading a file that somebody else may have chosen.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::path::Path;

/// Permissions, from the nine bits that are written as octal digits.
#[cfg(unix)]
#[allow(clippy::useless_conversion, reason = "they are a shorter number on macOS")]
pub(crate) fn permissions(bits: u32) -> rustix::fs::Mode {
    rustix::fs::Mode::from_bits_truncate((bits & 0o777).try_into().unwrap_or(0))
}

/// Opens `path` for reading without waiting for anybody: opening a FIFO that has no writer returns at once.
///
/// # Errors
/// As [`File::open`].
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(open(path, flags, Mode::empty())?))
    }
    #[cfg(not(target_os = "linux"))]
    File::open(path)
}

/// What is made with these options is this user's alone; where access is inherited from the directory, as on Windows, it is whoever's
/// the directory is.
pub fn for_this_user_alone(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Who beside this user and the system's own could write an open file, for messages; `None` where nobody could. A group that
/// has the number of the file's owner is that user's own.
///
/// # Errors
/// As [`File::metadata`].
pub fn other_writers(file: &File) -> io::Result<Option<String>> {
    others(file, 0o2)
}

/// Who beside this user and the system's own could read or write an open file, in the same words.
///
/// # Errors
/// As [`File::metadata`].
pub fn other_users(file: &File) -> io::Result<Option<String>> {
    others(file, 0o6)
}

/// Who else has one of these rights, as the last digit of a mode.
fn others(file: &File, rights: u32) -> io::Result<Option<String>> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata()?;
        let (owner, group, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
        let own = rustix::process::geteuid().as_raw();
        Ok(match () {
            () if owner != 0 && owner != own => Some(format!("user {owner}, who owns it")),
            () if mode & rights != 0 => Some("everybody".to_owned()),
            () if mode & (rights << 3) != 0 && group != owner => Some(format!("group {group}")),
            () => None,
        })
    }
    #[cfg(not(target_os = "linux"))]
    file.metadata().map(|_| rights).map(|_| None)
}

/// What a file is, with its article, for messages: `a FIFO`.
pub fn kind_of_file(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let special = [
            (kind.is_fifo(), "a FIFO"),
            (kind.is_socket(), "a socket"),
            (kind.is_char_device(), "a device"),
            (kind.is_block_device(), "a device"),
        ];
        if let Some((_, name)) = special.into_iter().find(|(is, _)| *is) {
            return name;
        }
    }
    match kind {
        _ if kind.is_file() => "a regular file",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a symbolic link",
        _ => "a special file",
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_name() {
        let kind = |path: &str| kind_of_file(std::fs::metadata(path).unwrap().file_type());
        assert_eq!(kind("/dev/zero"), "a device");
        assert_eq!(kind("/proc"), "a directory");
        assert_eq!(kind("/proc/self/exe"), "a regular file");
    }

    #[test]
    fn who_else_could_write_a_file_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::tempfile().unwrap();
        for (mode, writers) in [(0o644, None), (0o660, None), (0o666, Some("everybody"))] {
            file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
            let told = other_writers(&file).unwrap();
            // Whether the group is the owner's own depends on who runs this.
            if mode != 0o660 {
                assert_eq!(told.as_deref(), writers);
            }
            let told = other_users(&file).unwrap();
            assert!(mode == 0o660 || told.as_deref() == Some("everybody"), "{mode:o}: {told:?}");
        }
    }

    #[test]
    fn a_fifo_without_a_writer_opens_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(open_without_waiting(&path).is_ok());
    }
}
