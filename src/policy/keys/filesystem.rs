//! Keys of a policy: what exists of the file system.

use super::super::draft::Draft;
use super::super::key::{Choice, Count, Key, Kind, Names, Size, Values};
use super::super::shown::{masks_of, mode_of, one, overlay_of, paths_of};
use crate::platform::{Access, Bytes, LaunchPlan, MaskKind, Overlay, ProcView, SysView, Tmp};

/// In the order of the documentation.
pub(super) static KEYS: &[Key] = &[
    Key {
        path: "filesystem.root",
        flag: "root",
        kind: Kind::Path(Draft::set_root),
        doc: "host directory that is the root inside, for reading; of host paths only those named beside it or later are shown in it",
        example: "\"/srv/images/alpine\"",
        show: |draft| draft.policy.filesystem.root.iter().map(LaunchPlan::readable).collect(),
    },
    Key {
        path: "filesystem.overlay",
        flag: "overlay",
        kind: Kind::PathOr("discard", |draft, path| {
            draft.policy.filesystem.overlay = Some(path.map_or(Overlay::Discard, Overlay::Keep));
        }),
        doc: "lets the program change a copy of `root` and of the paths in `copy`: where the changes go, a directory or `discard`",
        example: "\"/srv/changes\"",
        show: |draft| one(draft.policy.filesystem.overlay.as_ref().map(overlay_of)),
    },
    Key {
        path: "filesystem.overlay_size",
        flag: "overlay-size",
        kind: Kind::Size(Size {
            least: Bytes(64 << 10),
            off: "default",
            set: |draft, size| draft.policy.filesystem.overlay_size = size,
        }),
        doc: "size of all discarded changes together, in memory; `default` for 64 MiB",
        example: "\"1GiB\"",
        show: |draft| one(draft.policy.filesystem.overlay_size),
    },
    Key {
        path: "filesystem.copy",
        flag: "copy",
        kind: Kind::Paths(|draft, path| draft.bind(path, Access::Copy, false)),
        doc: "host directories that can be changed inside, and stay as they are on the host; the changes go where `overlay` says, else away",
        example: "[\".\"]",
        show: |draft| paths_of(draft, Access::Copy, false),
    },
    Key {
        path: "filesystem.read",
        flag: "read",
        kind: Kind::Paths(|draft, path| draft.bind(path, Access::Read, false)),
        doc: "host paths that can be read and executed, with everything below them",
        example: "[\"/usr\", \"./data\"]",
        show: |draft| paths_of(draft, Access::Read, false),
    },
    Key {
        path: "filesystem.read_optional",
        flag: "read-optional",
        kind: Kind::Paths(|draft, path| draft.bind(path, Access::Read, true)),
        doc: "the same, and a path that doesn't exist is passed over",
        example: "[\"/opt\"]",
        show: |draft| paths_of(draft, Access::Read, true),
    },
    Key {
        path: "filesystem.write",
        flag: "write",
        kind: Kind::Paths(|draft, path| draft.bind(path, Access::Write, false)),
        doc: "host paths that can be read, executed and changed, with everything below them",
        example: "[\"./out\"]",
        show: |draft| paths_of(draft, Access::Write, false),
    },
    Key {
        path: "filesystem.hide",
        flag: "hide",
        kind: Kind::Paths(|draft, path| draft.mask(path, MaskKind::Hide)),
        doc: "host paths within those that look empty",
        example: "[\"./node_modules/.cache\"]",
        show: |draft| masks_of(draft, MaskKind::Hide),
    },
    Key {
        path: "filesystem.deny",
        flag: "deny",
        kind: Kind::Paths(|draft, path| draft.mask(path, MaskKind::Deny)),
        doc: "host paths within those that can't be opened",
        example: "[\"./.env\"]",
        show: |draft| masks_of(draft, MaskKind::Deny),
    },
    Key {
        path: "filesystem.files",
        flag: "file",
        kind: Kind::Pairs(Names::Files, Values::Contents, |draft, path, text| {
            let text = text.to_string_lossy().into_owned();
            draft.policy.filesystem.files.insert(path.into(), text);
        }),
        doc: "files that only the sandbox has, with their content; they can be read and no more",
        example: "{ \"/etc/resolv.conf\" = \"nameserver 127.0.0.1\" }",
        show: |draft| {
            let files = draft.policy.filesystem.files.iter();
            files.map(|(path, text)| format!("{}={text:?}", path.display())).collect()
        },
    },
    Key {
        path: "filesystem.devices",
        flag: "device",
        kind: Kind::Paths(|draft, path| draft.show_device(path)),
        doc: "character devices of the host, beside those that every program has",
        example: "[\"/dev/kvm\"]",
        show: |draft| draft.policy.filesystem.devices.iter().map(LaunchPlan::readable).collect(),
    },
    Key {
        path: "filesystem.tmp",
        flag: "tmp",
        kind: Kind::Size(Size {
            least: Bytes(64 << 10),
            off: "none",
            set: |draft, size| draft.policy.filesystem.tmp = size.map(|size| Tmp { size }),
        }),
        doc: "size of a private `/tmp`, in memory; `none` for no `/tmp`",
        example: "\"64MiB\"",
        show: |draft| one(draft.policy.filesystem.tmp.map(|tmp| tmp.size)),
    },
    Key {
        path: "filesystem.tmp_files",
        flag: "tmp-files",
        kind: Kind::Count(Count {
            least: 16,
            most: u32::MAX,
            off: "",
            set: |draft, files| draft.policy.filesystem.tmp_files = files,
        }),
        doc: "files, directories and links in the private `/tmp`; else one for every 4 KiB of its size",
        example: "10000",
        show: |draft| one(draft.policy.filesystem.tmp_files),
    },
    Key {
        path: "filesystem.proc",
        flag: "proc",
        kind: Kind::Choice(&[
            Choice {
                word: "private",
                doc: "the sandbox's own processes, and the system's information files",
                set: |draft| draft.policy.filesystem.proc = ProcView::Private,
            },
            Choice {
                word: "pids",
                doc: "the sandbox's own processes only",
                set: |draft| draft.policy.filesystem.proc = ProcView::Pids,
            },
            Choice {
                word: "none",
                doc: "nothing",
                set: |draft| draft.policy.filesystem.proc = ProcView::None,
            },
        ]),
        doc: "what `/proc` shows",
        example: "\"private\"",
        show: |draft| vec![mode_of(&draft.policy.filesystem.proc)],
    },
    Key {
        path: "filesystem.sys",
        flag: "sys",
        kind: Kind::Choice(&[
            Choice {
                word: "none",
                doc: "nothing",
                set: |draft| draft.policy.filesystem.sys = SysView::None,
            },
            Choice {
                word: "read",
                doc: "the system's devices, for reading, but for firmware and the use of energy",
                set: |draft| draft.policy.filesystem.sys = SysView::Read,
            },
        ]),
        doc: "what `/sys` shows",
        example: "\"read\"",
        show: |draft| vec![mode_of(&draft.policy.filesystem.sys)],
    },
    Key {
        path: "filesystem.access_rules",
        flag: "access-rules",
        kind: Kind::Switch(|draft, held| draft.policy.access_rules = held),
        doc: "whether the same file rules are held again, as a second wall; under it nobody can mount anything, so sandboxes inside need it off",
        example: "true",
        show: |draft| vec![draft.policy.access_rules.to_string()],
    },
    Key {
        path: "filesystem.workdir",
        flag: "workdir",
        kind: Kind::Path(|draft, path| draft.policy.filesystem.workdir = Some(path)),
        doc: "directory in which the program starts; else the caller's where it is visible inside, else `/`",
        example: "\"/srv/app\"",
        show: |draft| {
            draft
                .policy
                .filesystem
                .workdir
                .iter()
                .map(crate::platform::LaunchPlan::readable)
                .collect()
        },
    },
    Key {
        path: "filesystem.umask",
        flag: "umask",
        kind: Kind::Mode(|draft, mask| draft.policy.filesystem.umask = Some(mask)),
        doc: "permissions that files don't get which the program makes (umask(2)); else `022`",
        example: "\"027\"",
        show: |draft| one(draft.policy.filesystem.umask.map(|mask| format!("{mask:03o}"))),
    },
];
