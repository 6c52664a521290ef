//! The table of mounts, `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use super::text::{digits, lines, unescape};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const READ_ONLY: u64 = 1;

/// What the table says of one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its number.
    pub(crate) number: u64,
    /// The number of the mount on which it is.
    pub(crate) above: u64,
    /// Major and minor number of its file system, as `8:1`.
    pub(crate) device: String,
    /// What of the file system it shows: `/` for all.
    pub(crate) root: PathBuf,
    /// Where it is.
    pub(crate) point: PathBuf,
    /// `MOUNT_ATTR_*` of this mount: 1 read-only, 2 without setuid, 4 without devices, 8 without programs.
    pub(crate) attributes: u64,
    /// Kind of file system, such as `ext4`.
    pub(crate) kind: String,
    /// What is mounted: a device, or any word.
    pub(crate) source: PathBuf,
    /// Options of the file system itself.
    options: Vec<u8>,
}

/// The table as it is now.
///
/// # Errors
/// When `/proc` isn't there.
pub(crate) fn table() -> std::io::Result<Vec<u8>> {
    std::fs::read("/proc/self/mountinfo")
}

/// The mount with this number.
pub(crate) fn find(table: &[u8], number: u64) -> Option<Mount> {
    let number = number.to_string();
    let line = lines(table)
        .find(|line| line.split(|byte| *byte == b' ').next() == Some(number.as_bytes()));
    parse(line?)
}

/// Every mount.
pub(crate) fn all(table: &[u8]) -> impl Iterator<Item = Mount> {
    lines(table).filter_map(parse)
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let (number, above) = (digits(words.next()?)?, digits(words.next()?)?);
    let device = String::from_utf8(words.next()?.to_vec()).ok()?;
    let (root, point) = (unescape(words.next()?), unescape(words.next()?));
    let attributes = words.next()?.split(|byte| *byte == b',').fold(0, |all, option| {
        all | match option {
            b"ro" => READ_ONLY,
            b"nosuid" => 2,
            b"nodev" => 4,
            b"noexec" => 8,
            _ => 0,
        }
    });
    // A variable number of fields ends with a single hyphen.
    let mut words = words.skip_while(|word| *word != b"-").skip(1);
    let kind = String::from_utf8(unescaped(words.next()?)).ok()?;
    let source = OsString::from_vec(unescaped(words.next()?)).into();
    let options = unescaped(words.next()?);
    Some(Mount { number, above, device, root, point, attributes, kind, source, options })
}

impl Mount {
    /// Whether it is below `directory`, and can be written to.
    pub(crate) fn is_writable_below(&self, directory: &Path) -> bool {
        self.attributes & READ_ONLY == 0
            && self.point != directory
            && self.point.starts_with(directory)
    }

    /// The directories that an overlay is made of: the upper one, if any, and the lower ones.
    pub(crate) fn layers(&self) -> Vec<PathBuf> {
        let mut layers = Vec::new();
        for option in split(&self.options, b',') {
            let value = |name: &[u8]| option.strip_prefix(name).map(<[u8]>::to_vec);
            // Linux 6.5 and newer may show each lower directory by itself.
            let one = value(b"upperdir=").or_else(|| value(b"lowerdir+="));
            let several = value(b"lowerdir=").unwrap_or_default();
            let all = one.into_iter().chain(split(&several, b':'));
            layers.extend(all.filter(|layer| !layer.is_empty()).map(|layer| plain(&layer)));
        }
        layers
    }
}

/// The parts between separators that no backslash precedes.
fn split(text: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut escaped = false;
    for byte in text {
        if *byte == separator && !escaped {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(*byte);
        }
        escaped = *byte == b'\\' && !escaped;
    }
    parts
}

/// A path without the backslashes before its commas and colons.
fn plain(text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escapes = byte == b'\\' && matches!(bytes.peek(), Some(b'\\' | b',' | b':'));
        path.push(if escapes { bytes.next().unwrap_or(byte) } else { byte });
    }
    OsString::from_vec(path).into()
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    unescape(field).into_os_string().into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
36 22 0:31 / /mnt\\040a rw master:1 shared:7 - btrfs /dev/my\\040disk rw,ssd
40 22 0:40 / /merged rw - overlay overlay rw,lowerdir=/a:/b\\134:c,upperdir=/up,workdir=/w
41 22 0:41 / /many ro,nosuid - overlay overlay rw,lowerdir+=/a,lowerdir+=/b,index=off
";

    #[test]
    fn a_mount_is_found_by_its_number() {
        let found = find(TABLE, 36).unwrap();
        assert_eq!((&*found.kind, found.source), ("btrfs", "/dev/my disk".into()));
        assert_eq!(find(TABLE, 22).unwrap().kind, "ext4");
        assert_eq!(find(TABLE, 3), None);
    }

    #[test]
    fn what_can_be_written_below_a_directory_is_told_from_the_rest() {
        let below = |directory: &str| {
            let points = all(TABLE).filter(|mount| mount.is_writable_below(directory.as_ref()));
            points.map(|mount| mount.point).collect::<Vec<_>>()
        };
        assert_eq!(below("/"), ["/mnt a", "/merged"].map(PathBuf::from));
        assert_eq!(below("/mnt a"), Vec::<PathBuf>::new());
        assert_eq!(find(TABLE, 36).unwrap().device, "0:31");
    }

    #[test]
    fn the_layers_of_an_overlay_are_those_that_it_is_made_of() {
        let layers = |number| find(TABLE, number).unwrap().layers();
        assert_eq!(layers(40), [PathBuf::from("/a"), "/b:c".into(), "/up".into()]);
        assert_eq!(layers(41), [PathBuf::from("/a"), "/b".into()]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_wrong(table: Vec<u8>, tail: Vec<u8>) {
            find(&table, 1);
            let table = [b"1 2 3:4 / / rw - overlay x lowerdir=", &tail[..]].concat();
            if let Some(mount) = find(&table, 1) {
                mount.layers();
            }
            all(&table).for_each(drop);
        }
    }
}
