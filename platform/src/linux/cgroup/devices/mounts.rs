//! The table of mounts, `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use super::super::parse::unescape;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What the table says of one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Kind of file system, such as `ext4`.
    pub(super) kind: String,
    /// What is mounted: a device, or any word.
    pub(super) source: PathBuf,
    /// Options of the file system itself.
    options: Vec<u8>,
}

/// The mount with this number.
pub(super) fn find(table: &[u8], number: u64) -> Option<Mount> {
    let number = number.to_string();
    table.split(|byte| *byte == b'\n').find_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        if words.next()? != number.as_bytes() {
            return None;
        }
        // A variable number of fields ends with a single hyphen.
        let mut words = words.skip(5).skip_while(|word| *word != b"-").skip(1);
        Some(Mount {
            kind: String::from_utf8(unescaped(words.next()?)).ok()?,
            source: OsString::from_vec(unescaped(words.next()?)).into(),
            options: unescaped(words.next()?),
        })
    })
}

impl Mount {
    /// The directories that an overlay is made of: the upper one, if any, and the lower ones.
    pub(super) fn layers(&self) -> Vec<PathBuf> {
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
41 22 0:41 / /many rw - overlay overlay rw,lowerdir+=/a,lowerdir+=/b,index=off
";

    #[test]
    fn a_mount_is_found_by_its_number() {
        let found = find(TABLE, 36).unwrap();
        assert_eq!((&*found.kind, found.source), ("btrfs", "/dev/my disk".into()));
        assert_eq!(find(TABLE, 22).unwrap().kind, "ext4");
        assert_eq!(find(TABLE, 3), None);
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
        }
    }
}
