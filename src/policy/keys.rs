//! The table of keys: everything that a policy can say, once.
//!
//! The parser, its suggestions, the flags of `stockade run`, the JSON Schema and `explain` all follow from this table, so
//! that a key can't exist without a meaning, a flag, a type and a line of documentation.

use super::draft::Draft;
pub(crate) use super::key::Key;
use super::key::{Choice, Count, Kind, Names, Size, UNLIMITED, Values};
use super::shown::{masks_of, mode_of, one, overlay_of, paths_of, secrets_of, time, times};
use crate::platform::{
    Access, AllowRule, Bytes, Control, LaunchPlan, MaskKind, Network, OnViolation, OomKill,
    Overlay, ProcView, Publish, SecretSource, SysView, Tmp,
};

/// The key with this path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The key `name` of `section`, which is empty for the file itself.
pub(super) fn find_in(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section() == section && key.name() == name)
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

/// Every key, in the order of the documentation.
pub(crate) static KEYS: &[Key] = &[
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
    Key {
        path: "limits.memory",
        flag: "memory",
        kind: bytes(1 << 20, |draft, size| draft.policy.limits.memory = size),
        doc: "memory of the whole tree; going over ends the sandbox",
        example: "\"256MiB\"",
        show: |draft| one(draft.policy.limits.memory),
    },
    Key {
        path: "limits.memory_high",
        flag: "memory-high",
        kind: bytes(1 << 20, |draft, size| draft.policy.limits.memory_high = size),
        doc: "memory above which the tree is slowed down and made to give some back",
        example: "\"200MiB\"",
        show: |draft| one(draft.policy.limits.memory_high),
    },
    Key {
        path: "limits.memory_stall",
        flag: "memory-stall",
        kind: Kind::Time(|draft, time| draft.policy.limits.memory_stall = time),
        doc: "time that the whole tree may do nothing but wait for memory, within twice that time",
        example: "\"2s\"",
        show: |draft| times(draft.policy.limits.memory_stall),
    },
    Key {
        path: "limits.memory_min",
        flag: "memory-min",
        kind: bytes(0, |draft, size| draft.policy.limits.memory_min = size),
        doc: "memory that other programs' needs never take from the tree",
        example: "\"64MiB\"",
        show: |draft| one(draft.policy.limits.memory_min),
    },
    Key {
        path: "limits.memory_low",
        flag: "memory-low",
        kind: bytes(0, |draft, size| draft.policy.limits.memory_low = size),
        doc: "memory that is taken from the tree only when nothing else is left to take",
        example: "\"128MiB\"",
        show: |draft| one(draft.policy.limits.memory_low),
    },
    Key {
        path: "limits.oom_kill",
        flag: "oom-kill",
        kind: Kind::Choice(&[
            Choice {
                word: "tree",
                doc: "every process: none goes on with a hole in it",
                set: |draft| draft.policy.limits.oom_kill = OomKill::Tree,
            },
            Choice {
                word: "process",
                doc: "the process that the kernel picks; the others go on",
                set: |draft| draft.policy.limits.oom_kill = OomKill::Process,
            },
        ]),
        doc: "whom the kernel kills when the memory limit is reached",
        example: "\"process\"",
        show: |draft| vec![mode_of(&draft.policy.limits.oom_kill)],
    },
    Key {
        path: "limits.swap",
        flag: "swap",
        kind: bytes(0, |draft, size| draft.policy.limits.swap = size),
        doc: "swap of the whole tree, on top of memory; `0B` for none",
        example: "\"0B\"",
        show: |draft| one(draft.policy.limits.swap),
    },
    Key {
        path: "limits.zswap",
        flag: "zswap",
        kind: bytes(0, |draft, size| draft.policy.limits.zswap = size),
        doc: "memory that compressed swap may take; `0B` for none",
        example: "\"0B\"",
        show: |draft| one(draft.policy.limits.zswap),
    },
    Key {
        path: "limits.huge_pages",
        flag: "huge-pages",
        kind: bytes(0, |draft, size| draft.policy.limits.huge_pages = size),
        doc: "memory in huge pages, of each size that the host has; `0B` for none",
        example: "\"0B\"",
        show: |draft| one(draft.policy.limits.huge_pages),
    },
    Key {
        path: "limits.cpu",
        flag: "cpu",
        kind: Kind::Cores(|draft, cores| draft.policy.limits.cpu = cores),
        doc: "CPU bandwidth, in cores",
        example: "1.5",
        show: |draft| one(draft.policy.limits.cpu),
    },
    Key {
        path: "limits.cpu_weight",
        flag: "cpu-weight",
        kind: count(1, 10_000, |draft, weight| draft.policy.limits.cpu_weight = weight),
        doc: "share of the CPU when it is contended; 100 is the usual share",
        example: "50",
        show: |draft| one(draft.policy.limits.cpu_weight),
    },
    Key {
        path: "limits.cpu_burst",
        flag: "cpu-burst",
        kind: Kind::Time(|draft, time| draft.policy.limits.cpu_burst = time),
        doc: "CPU time that an idle tree saves up, to use in one tenth of a second above `limits.cpu`",
        example: "\"50ms\"",
        show: |draft| times(draft.policy.limits.cpu_burst),
    },
    Key {
        path: "limits.cpu_idle",
        flag: "cpu-idle",
        kind: Kind::Switch(|draft, idle| draft.policy.limits.cpu_idle = idle),
        doc: "whether it runs only when nothing else wants the CPU",
        example: "true",
        show: |draft| vec![draft.policy.limits.cpu_idle.to_string()],
    },
    Key {
        path: "limits.cpus",
        flag: "cpus",
        kind: Kind::Ids(|draft, cpus| draft.policy.limits.cpus = cpus),
        doc: "CPUs that the tree may run on, by number; `all` for every one",
        example: "\"0-3,8\"",
        show: |draft| one(draft.policy.limits.cpus.as_ref()),
    },
    Key {
        path: "limits.mems",
        flag: "mems",
        kind: Kind::Ids(|draft, mems| draft.policy.limits.mems = mems),
        doc: "memory nodes that the tree may allocate from, by number; `all` for every one",
        example: "\"0\"",
        show: |draft| one(draft.policy.limits.mems.as_ref()),
    },
    Key {
        path: "limits.pids",
        flag: "pids",
        kind: count(1, 4_194_304, |draft, pids| draft.policy.limits.pids = pids),
        doc: "number of processes and threads",
        example: "64",
        show: |draft| one(draft.policy.limits.pids),
    },
    Key {
        path: "limits.io",
        flag: "io",
        kind: Kind::Io(Draft::limit_io),
        doc: "rates of reading and writing (`read`, `write`, `read_iops`, `write_iops`) for the disk that a path is on",
        example: "[{ path = \"/srv\", read = \"50MiB/s\", write_iops = 200 }]",
        show: |draft| draft.policy.limits.io.iter().map(ToString::to_string).collect(),
    },
    Key {
        path: "limits.io_weight",
        flag: "io-weight",
        kind: count(1, 10_000, |draft, weight| draft.policy.limits.io_weight = weight),
        doc: "share of a disk when it is contended; 100 is the usual share",
        example: "50",
        show: |draft| one(draft.policy.limits.io_weight),
    },
    Key {
        path: "limits.disk",
        flag: "disk",
        kind: bytes(64 << 10, |draft, size| draft.policy.limits.disk = size),
        doc: "space that all `filesystem.write` directories may take together, with what they hold already",
        example: "\"2GiB\"",
        show: |draft| one(draft.policy.limits.disk),
    },
    Key {
        path: "limits.disk_files",
        flag: "disk-files",
        kind: count(1, u32::MAX, |draft, files| draft.policy.limits.disk_files = files),
        doc: "files, directories and links that they may hold together, with those that are there already",
        example: "100000",
        show: |draft| one(draft.policy.limits.disk_files),
    },
    Key {
        path: "limits.open_files",
        flag: "open-files",
        kind: count(8, 1_048_576, |draft, files| {
            draft.policy.limits.open_files = files.map(u64::from)
        }),
        doc: "open files of each process",
        example: "1024",
        show: |draft| one(draft.policy.limits.open_files),
    },
    Key {
        path: "limits.file_size",
        flag: "file-size",
        kind: bytes(0, |draft, size| draft.policy.limits.file_size = size),
        doc: "size of any file a process writes",
        example: "\"64MiB\"",
        show: |draft| one(draft.policy.limits.file_size),
    },
    Key {
        path: "limits.core_size",
        flag: "core-size",
        kind: bytes(0, |draft, size| draft.policy.limits.core_size = size),
        doc: "size of a core dump; `0B` for none",
        example: "\"0B\"",
        show: |draft| one(draft.policy.limits.core_size),
    },
    Key {
        path: "limits.stack",
        flag: "stack",
        kind: bytes(64 << 10, |draft, size| draft.policy.limits.stack = size),
        doc: "size of a process's stack",
        example: "\"8MiB\"",
        show: |draft| one(draft.policy.limits.stack),
    },
    Key {
        path: "limits.locked_memory",
        flag: "locked-memory",
        kind: bytes(0, |draft, size| draft.policy.limits.locked_memory = size),
        doc: "memory that a process may lock, so that it is never swapped; `0B` for none",
        example: "\"64KiB\"",
        show: |draft| one(draft.policy.limits.locked_memory),
    },
    Key {
        path: "limits.realtime",
        flag: "realtime",
        kind: count(0, 99, |draft, priority| draft.policy.limits.realtime = priority),
        doc: "realtime priority that a process may take; 0 for none",
        example: "0",
        show: |draft| one(draft.policy.limits.realtime),
    },
    Key {
        path: "limits.nice",
        flag: "nice",
        kind: count(0, 19, |draft, nice| draft.policy.limits.nice = nice),
        doc: "niceness that the program starts with and can't lower",
        example: "10",
        show: |draft| one(draft.policy.limits.nice),
    },
    Key {
        path: "limits.output",
        flag: "output",
        kind: bytes(0, |draft, size| draft.policy.limits.output = size),
        doc: "bytes written to standard output and error together; exactly as many are passed on, and one more ends it",
        example: "\"10MiB\"",
        show: |draft| one(draft.policy.limits.output),
    },
    Key {
        path: "limits.wall_time",
        flag: "wall-time",
        kind: Kind::Time(|draft, time| draft.policy.limits.wall_time = time),
        doc: "time from start to end",
        example: "\"30s\"",
        show: |draft| times(draft.policy.limits.wall_time),
    },
    Key {
        path: "limits.cpu_time",
        flag: "cpu-time",
        kind: Kind::Time(|draft, time| draft.policy.limits.cpu_time = time),
        doc: "CPU time of the whole tree",
        example: "\"10s\"",
        show: |draft| times(draft.policy.limits.cpu_time),
    },
    Key {
        path: "limits.grace",
        flag: "grace",
        kind: Kind::Grace(|draft, time| draft.policy.limits.grace = time),
        doc: "time between the polite signal and the kill when a time limit is over; `0s` kills at once",
        example: "\"2s\"",
        show: |draft| vec![time(draft.policy.limits.grace)],
    },
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
        path: "network.mode",
        flag: "net",
        kind: Kind::Choice(&[
            Choice {
                word: "none",
                doc: "a loopback interface of its own, nothing else",
                set: |draft| draft.policy.network = Network::None,
            },
            Choice {
                word: "host",
                doc: "the host's network, all of it",
                set: |draft| draft.policy.network = Network::Host,
            },
            Choice {
                word: "filtered",
                doc: "a loopback interface of its own, and through proxies whom `allow` names",
                set: |draft| draft.policy.network = Network::Filtered,
            },
        ]),
        doc: "what of the network can be reached",
        example: "\"none\"",
        show: |draft| vec![mode_of(&draft.policy.network)],
    },
    Key {
        path: "network.allow",
        flag: "allow",
        kind: Kind::Names(Names::Destinations, Draft::allow_destination),
        doc: "whom a filtered network lets out to: `name`, `*.name` (what is below it), an address or a network, each with `:port` or `:*`, else ports 80 and 443",
        example: "[\"example.org:443\"]",
        show: |draft| draft.policy.allow.iter().map(AllowRule::to_string).collect(),
    },
    Key {
        path: "network.publish",
        flag: "publish",
        kind: Kind::Names(Names::Published, Draft::publish),
        doc: "ports of this host that lead to ports inside of a filtered network; without an address, those of the host's loopback interface",
        example: "[\"8080:80\"]",
        show: |draft| draft.policy.publish.iter().map(Publish::to_string).collect(),
    },
    Key {
        path: "identity.user",
        flag: "user",
        kind: number(|draft, user| draft.policy.identity.user = user),
        doc: "user number seen inside; else the caller's own, or 1000 when the caller is privileged",
        example: "1000",
        show: |draft| one(draft.policy.identity.user),
    },
    Key {
        path: "identity.group",
        flag: "group",
        kind: number(|draft, group| draft.policy.identity.group = group),
        doc: "group number seen inside; else as for the user",
        example: "1000",
        show: |draft| one(draft.policy.identity.group),
    },
    Key {
        path: "identity.hostname",
        flag: "hostname",
        kind: Kind::HostName(|draft, name| draft.policy.identity.hostname = Some(name.into())),
        doc: "host name seen inside",
        example: "\"worker\"",
        show: |draft| one(draft.policy.identity.hostname.as_ref()),
    },
    Key {
        path: "capabilities.keep",
        flag: "keep-capability",
        kind: Kind::Names(Names::Capabilities, Draft::keep_capability),
        doc: "privileged abilities that stay, within what the sandbox owns",
        example: "[\"CAP_NET_BIND_SERVICE\"]",
        show: |draft| draft.policy.capabilities.keep.clone(),
    },
    Key {
        path: "syscalls.base",
        flag: "syscalls",
        kind: Kind::Choice(&[
            Choice {
                word: "default",
                doc: "what ordinary programs need",
                set: |draft| draft.calls.base = "default",
            },
            Choice {
                word: "none",
                doc: "what starting a program needs and nothing else: name the rest in `allow`",
                set: |draft| draft.calls.base = "none",
            },
        ]),
        doc: "the list of system calls to begin with",
        example: "\"default\"",
        show: |draft| vec![draft.calls.base.to_owned()],
    },
    Key {
        path: "syscalls.allow",
        flag: "allow-syscall",
        kind: Kind::Names(Names::SystemCalls, |draft, name| draft.calls.allow(name)),
        doc: "system calls that may be made too: `name` (within the rules for its arguments), `name:any`, or `@group`",
        example: "[\"ptrace\"]",
        show: |draft| draft.calls.allowed().map(str::to_owned).collect(),
    },
    Key {
        path: "syscalls.deny",
        flag: "deny-syscall",
        kind: Kind::Names(Names::SystemCalls, |draft, name| draft.calls.deny(name)),
        doc: "system calls that may not be made, whatever the list says: `name` or `@group`",
        example: "[\"@network\"]",
        show: |draft| draft.calls.denied().map(str::to_owned).collect(),
    },
    Key {
        path: "syscalls.rules",
        flag: "syscall-rule",
        kind: Kind::Rules(|draft, rule| draft.calls.rule(rule)),
        doc: "system calls that may be made only so (`arg0`, `arg0_not`, `arg0_has`, ...), or that get something of their own then (`action`)",
        example: "[{ name = \"socket\", arg0 = [\"AF_UNIX\", \"AF_INET\"] }, { name = \"ioctl\", arg1_not = [\"TIOCSTI\", \"TIOCLINUX\"] }, { name = \"@mount\", action = \"errno ENOSYS\" }]",
        show: |draft| draft.calls.rules().map(|rule| rule.text().to_owned()).collect(),
    },
    Key {
        path: "syscalls.on_violation",
        flag: "on-violation",
        kind: Kind::Choice(&[
            Choice {
                word: "error",
                doc: "the call fails with an error",
                set: |draft| draft.policy.syscalls.on_violation = OnViolation::Error,
            },
            Choice {
                word: "kill",
                doc: "the process ends",
                set: |draft| draft.policy.syscalls.on_violation = OnViolation::Kill,
            },
        ]),
        doc: "what a forbidden system call gets",
        example: "\"error\"",
        show: |draft| vec![mode_of(&draft.policy.syscalls.on_violation)],
    },
    Key {
        path: "clock.monotonic",
        flag: "clock-monotonic",
        kind: Kind::Offset(|draft, seconds| draft.policy.clock.monotonic = seconds),
        doc: "added to the monotonic clock, in whole seconds",
        example: "\"1h\"",
        show: |draft| vec![format!("{}s", draft.policy.clock.monotonic)],
    },
    Key {
        path: "clock.boottime",
        flag: "clock-boottime",
        kind: Kind::Offset(|draft, seconds| draft.policy.clock.boottime = seconds),
        doc: "added to the clock that counts from the start of the system (uptime), in whole seconds",
        example: "\"-90s\"",
        show: |draft| vec![format!("{}s", draft.policy.clock.boottime)],
    },
    Key {
        path: "environment.keep",
        flag: "keep-env",
        kind: Kind::Names(Names::Variables, Draft::keep_variable),
        doc: "variables of the caller that are passed on",
        example: "[\"TERM\"]",
        show: |draft| draft.policy.environment.keep.clone(),
    },
    Key {
        path: "environment.set",
        flag: "env",
        kind: Kind::Pairs(Names::Variables, Values::Texts, |draft, name, value| {
            draft.policy.set_variable(name, &value.to_string_lossy());
        }),
        doc: "variables and their values",
        example: "{ LANG = \"C.UTF-8\" }",
        show: |draft| {
            draft
                .policy
                .environment
                .set
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        },
    },
    Key {
        path: "secrets.files",
        flag: "secret",
        kind: Kind::Pairs(Names::Secrets, Values::Paths, |draft, name, path| {
            draft.add_secret(name, SecretSource::File(path.into()));
        }),
        doc: "secrets, and the host file that each is read from at the launch",
        example: "{ db_password = \"/srv/keys/db\" }",
        show: |draft| {
            secrets_of(draft, |source| match source {
                SecretSource::File(path) => Some(LaunchPlan::readable(path)),
                _ => None,
            })
        },
    },
    Key {
        path: "secrets.environment",
        flag: "secret-env",
        kind: Kind::Pairs(Names::Secrets, Values::Variables, |draft, name, variable| {
            let variable = variable.to_string_lossy().into_owned();
            draft.add_secret(name, SecretSource::Variable(variable));
        }),
        doc: "secrets, and the caller's variable that holds each",
        example: "{ token = \"API_TOKEN\" }",
        show: |draft| {
            secrets_of(draft, |source| match source {
                SecretSource::Variable(name) => Some(name.clone()),
                _ => None,
            })
        },
    },
    Key {
        path: "process.init",
        flag: "init",
        kind: Kind::Switch(|draft, init| draft.policy.init = init),
        doc: "whether a small init is the first process and takes care of orphans; else the program is",
        example: "true",
        show: |draft| vec![draft.policy.init.to_string()],
    },
    Key {
        path: "degrade.allow",
        flag: "degrade",
        kind: Kind::Names(Names::Controls, Draft::degrade),
        doc: "controls that may be held less well, or not at all, where the host can't; the report says so",
        example: "[\"limits.memory\"]",
        show: |draft| draft.policy.degrade.iter().map(Control::to_string).collect(),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_key_is_documented_once_and_has_a_flag_of_its_own() {
        let mut flags = HashSet::new();
        let mut paths = HashSet::new();
        for key in KEYS {
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
