//! The table of keys: everything that a policy can say, once.
//!
//! The parser, its suggestions, the flags of `stockade run`, the JSON Schema and `explain` all follow from this table, so
//! that a key can't exist without a meaning, a flag, a type and a line of documentation.

mod filesystem;
mod limits;
mod walls;

use super::draft::Draft;
pub(crate) use super::key::Key;
use super::key::{Count, Kind, Size, UNLIMITED};
use crate::platform::Bytes;

/// The key with this path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    all().find(|key| key.path == path)
}

/// The key `name` of `section`, which is empty for the file itself.
pub(super) fn find_in(section: &str, name: &str) -> Option<&'static Key> {
    all().find(|key| key.section() == section && key.name() == name)
}

/// The sections, in order.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("limits", "Quotas; a limit that isn't set isn't held"),
    ("filesystem", "What exists of the file system: nothing but what is named here"),
    ("network", "What of the network can be reached"),
    ("identity", "Who the program is"),
    ("capabilities", "Privileged abilities, none unless named"),
    ("syscalls", "Which system calls the program may make"),
    ("clock", "Offsets of its clocks"),
    ("environment", "Its environment variables: none but those named here"),
    ("secrets", "Files in memory below `/run/secrets`, which the program alone can read"),
    ("process", "How it is started"),
    ("degrade", "What may be held less well, or not at all, where the host can't"),
];

/// Shorthand for a limit in bytes.
const fn bytes(least: u64, set: fn(&mut Draft, Option<Bytes>)) -> Kind {
    Kind::Size(Size { least: Bytes(least), off: UNLIMITED, set })
}

/// Shorthand for a limit on a number.
const fn count(least: u32, most: u32, set: fn(&mut Draft, Option<u32>)) -> Kind {
    Kind::Count(Count { least, most, off: UNLIMITED, set })
}

/// Shorthand for a number of an identity; the highest one means "none" to systems.
const fn number(set: fn(&mut Draft, Option<u32>)) -> Kind {
    Kind::Count(Count { least: 0, most: u32::MAX - 1, off: "", set })
}

/// Of the file itself.
static GENERAL: &[Key] = &[
    Key {
        path: "description",
        flag: "description",
        kind: Kind::Text(|draft, text| draft.policy.description = text.into()),
        doc: "what the policy is for, in a line",
        example: "\"thumbnailer: no network, one core\"",
        show: |draft| {
            Some(draft.policy.description.clone())
                .filter(|text| !text.is_empty())
                .into_iter()
                .collect()
        },
    },
    Key {
        path: "extends",
        flag: "",
        kind: Kind::Extends,
        doc: "the policy that this one adds to: a shipped name, or a path (with a `/`, or ending in `.toml`)",
        example: "\"base\"",
        show: |_| Vec::new(),
    },
];

/// Every key, in the order of the documentation.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    [GENERAL, limits::KEYS, filesystem::KEYS, walls::KEYS].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_key_is_documented_once_and_has_a_flag_of_its_own() {
        let mut flags = HashSet::new();
        let mut paths = HashSet::new();
        for key in all() {
            assert!(paths.insert(key.path), "{} is listed twice", key.path);
            assert!(!key.doc.is_empty() && !key.doc.ends_with('.'), "{}", key.path);
            assert!(!key.example.is_empty(), "{}", key.path);
            assert!(key.flag.is_empty() == (key.path == "extends"), "{}", key.path);
            assert!(key.flag.is_empty() || flags.insert(key.flag), "--{} is taken", key.flag);
            let section = key.section();
            assert!(section.is_empty() || SECTIONS.iter().any(|(name, _)| *name == section));
        }
    }
}
