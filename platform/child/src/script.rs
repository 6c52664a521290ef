//! The script: what is to be done, as plain data made before the clone.

/// A NUL-terminated text in [`Script::text`], by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text(pub u32);

/// Where the tree of a bind comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path of the host without symlinks, opened by the child; the tree is copied with everything mounted below.
    Path(Text),
    /// A path in the new root.
    Inside(Text),
    /// A detached tree that the starter opened already (it had privileges that the child lacks).
    Tree(i32),
}

/// One operation. Paths of targets are relative to the new root, without a leading slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Enters these namespaces of a process, which a descriptor stands for (setns(2)).
    Enter {
        /// The descriptor.
        process: i32,
        /// `CLONE_NEW*`.
        namespaces: u64,
    },
    /// Takes so many descriptors from 3 on, so that nothing else is opened there: the program's own are moved there later.
    ReserveDescriptors {
        /// How many.
        count: u32,
    },
    /// Leaves the starter's quota group view: a cgroup namespace rooted where the process stands.
    OwnQuotaView,
    /// Makes later mounts invisible outside and outside ones invisible here.
    PrivateMounts,
    /// A time namespace for the program, with this text as its offsets.
    ClockOffsets(Text),
    /// Drops every supplementary group.
    DropGroups,
    /// Takes on these ids, as seen inside.
    Identity {
        /// User id.
        user: u32,
        /// Group id.
        group: u32,
    },
    /// Sets the host name.
    Hostname {
        /// The name.
        name: Text,
        /// Its length.
        len: u32,
    },
    /// Brings the loopback interface up.
    LoopbackUp,
    /// Listens on this port of the loopback interface, and sends the listening socket to the starter.
    Listen {
        /// The port.
        port: u16,
    },
    /// Makes a pair of sockets and sends one end to the starter, who asks there for sockets of this network.
    OfferSockets,
    /// Mounts an empty root of at most this many bytes (a text, as tmpfs takes it) over `/`; later targets are in it. One
    /// that was made before stays below, out of sight, with the layers that were put into it for [`Op::Overlay`].
    NewRoot {
        /// Size.
        size: Text,
    },
    /// Makes a directory.
    Directory {
        /// The mount of the sandbox's own in which it is, empty for the root: nobody else makes symlinks there.
        within: Text,
        /// Where in that.
        path: Text,
        /// Permissions.
        mode: u32,
    },
    /// Makes an empty file, to mount on.
    EmptyFile {
        /// As for a directory.
        within: Text,
        /// Where in that.
        path: Text,
    },
    /// Puts a file with this content, which only this sandbox has, at `target`, where something to mount on is. It can be
    /// read and no more.
    Content {
        /// Where.
        target: Text,
        /// The bytes, in [`Script::text`]; any bytes.
        content: Text,
        /// How many.
        len: u32,
        /// Permissions.
        mode: u32,
    },
    /// Makes a symlink.
    Symlink {
        /// What it points to.
        target: Text,
        /// As for a directory.
        within: Text,
        /// Where in that.
        path: Text,
    },
    /// Puts a tree of the host at `target`.
    Bind {
        /// What.
        source: Source,
        /// Where; empty for the root itself: it is the root from then on.
        target: Text,
        /// `MOUNT_ATTR_*` to set on all of it.
        attributes: u64,
        /// The character device number that it must be, or 0.
        device: u64,
    },
    /// Mounts a new file system with one option.
    Mount {
        /// Its type, such as `tmpfs`.
        kind: Text,
        /// Up to three options as `key`, `value` pairs; an empty key ends them, an empty value is a flag.
        options: [(Text, Text); 3],
        /// Where.
        target: Text,
        /// `MOUNT_ATTR_*`.
        attributes: u64,
    },
    /// Mounts a copy on write: what is in `lower` can be changed, and every change goes to `upper`. The layers are paths in
    /// the root that was made before this one.
    Overlay {
        /// What is copied.
        lower: Text,
        /// What shows through where `lower` has nothing, such as directories to mount on; empty for nothing.
        lacking: Text,
        /// Where changes go.
        upper: Text,
        /// What the kernel needs beside it, on the same mount.
        work: Text,
        /// Where; empty for the root itself.
        target: Text,
        /// `MOUNT_ATTR_*`.
        attributes: u64,
    },
    /// Sets `MOUNT_ATTR_*` on what is mounted at a place, and on nothing below; only with [`Script::classic`].
    Restrict {
        /// Where.
        target: Text,
        /// `MOUNT_ATTR_*`.
        attributes: u64,
    },
    /// Makes a mount of the sandbox's own read-only; the root where the text is empty.
    ReadOnly(Text),
    /// Makes the new root the root, and lets go of the old one.
    PivotRoot,
    /// Opens a terminal pair in the sandbox, makes it the standard streams and the controlling terminal of a new
    /// session, and sends its other side to the starter.
    Terminal {
        /// Its height: set before the program can ask for it.
        rows: u16,
        /// Its width.
        columns: u16,
    },
    /// Starts a session of its own.
    NewSession,
    /// Starts a process group of its own and makes it the terminal's foreground group.
    ForegroundGroup,
    /// Moves a descriptor to where the program is to have it: 0, 1, 2, or one of those reserved.
    Stdio {
        /// From.
        from: i32,
        /// To.
        to: i32,
    },
    /// Sets a resource limit.
    ResourceLimit {
        /// `RLIMIT_*`.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// Sets the niceness, 0 to 19.
    Nice(u32),
    /// Restricts to the CPUs of this mask.
    Affinity(u64),
    /// Sets the file mode creation mask.
    FileModeMask(u32),
    /// Changes the working directory.
    WorkingDirectory(Text),
    /// Takes every capability out of the bounding set but those of the mask, up to this highest one.
    BoundingSet {
        /// Stay.
        keep: u64,
        /// Highest capability of this kernel.
        last: u32,
    },
    /// Locks the rule that user 0 gets no capabilities by being user 0.
    LockSecureBits,
    /// Sets the permitted, effective, inheritable and ambient sets to this mask.
    CapabilitySets(u64),
    /// Ends this process with its starter (prctl(2), `PR_SET_PDEATHSIG`), for a program that has no init to do so.
    EndWithStarter,
    /// No program started from here on gains privileges.
    NoNewPrivileges,
    /// Installs the Landlock rules of the script.
    AccessRules {
        /// File rights that are denied unless a rule allows them.
        handled_fs: u64,
        /// Network rights.
        handled_net: u64,
        /// Scopes.
        scoped: u64,
        /// Rights of a standard stream that was opened for reading, so that `/dev/stdin` works as the stream does.
        reading: u64,
        /// Rights of one that was opened for writing.
        writing: u64,
        /// Size of the structure that this kernel's version knows.
        size: u32,
    },
    /// Marks every descriptor from here up to be closed at exec.
    CloseDescriptors {
        /// 3, or after those that the program is to have.
        first: u32,
    },
    /// Installs the filter with the number `told`, which asks the starter where it denies; where the kernel doesn't let it
    /// ask, or there is none, the one with the number `plain`, which answers the same by itself.
    SyscallFilter {
        /// Answers by itself.
        plain: u32,
        /// Asks.
        told: Option<u32>,
    },
}

/// One Landlock rule: these rights below this path (inside).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Path inside.
    pub path: Text,
    /// Rights.
    pub rights: u64,
}

/// One Landlock rule for a TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// The port.
    pub port: u16,
    /// Rights.
    pub rights: u64,
}

/// What a first process keeps that outlives its starter.
#[derive(Clone, Copy, Debug)]
pub struct Lasting<'a> {
    /// Listens for the next starter.
    pub door: i32,
    /// What a next starter has to know.
    pub token: [i32; 3],
    /// Descriptors for the next starter; negative ones are none.
    pub handed: &'a [i32],
    /// Descriptors that are kept open for the locks on them.
    pub held: &'a [i32],
}

/// Everything that the child needs, all of it made before the clone.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// For the first process.
    pub setup: &'a [Op],
    /// For the program's process.
    pub program: &'a [Op],
    /// NUL-terminated texts.
    pub text: &'a [u8],
    /// Landlock rules for paths.
    pub access: &'a [AccessRule],
    /// Landlock rules for ports.
    pub ports: &'a [PortRule],
    /// Filter programs.
    pub filters: &'a [&'a [libc::sock_filter]],
    /// Paths to try to execute, in order.
    pub candidates: &'a [Text],
    /// Pointers to arguments, closed by a null pointer.
    pub argv: &'a [*const libc::c_char],
    /// Pointers to `NAME=VALUE`, closed by a null pointer.
    pub envp: &'a [*const libc::c_char],
    /// The child's end of the control socket.
    pub control: i32,
    /// The starter's end, of which the clone has a copy: open, it would hide the starter's death.
    pub peer: i32,
    /// Whether everything is mounted with mount(2) alone; there are no trees of the starter's then.
    pub classic: bool,
    /// Whether the first process stays as init.
    pub init: bool,
    /// Whether the program may end with success and leave its work to a process that it started.
    pub forks: bool,
    /// Capabilities that it keeps then; none, as a rule.
    pub init_rights: u64,
    /// Whether, as init, it outlives its starter, and with what.
    pub lasting: Option<Lasting<'a>>,
}

impl Script<'_> {
    /// Address of a text; of an empty text when the offset is out of range.
    pub(crate) fn at(&self, text: Text) -> *const u8 {
        match self.text.get(text.0 as usize..) {
            Some([first, ..]) => first,
            _ => c"".as_ptr().cast(),
        }
    }

    /// The bytes that begin at a text, if there are so many.
    pub(crate) fn bytes(&self, text: Text, len: u32) -> Option<&[u8]> {
        self.text.get(text.0 as usize..)?.get(..len as usize)
    }

    /// A text without the zero that ends it.
    pub(crate) fn word(&self, text: Text) -> &[u8] {
        let rest = self.text.get(text.0 as usize..).unwrap_or(&[]);
        let mut parts = rest.split(|byte| *byte == 0);
        parts.next().unwrap_or(&[])
    }

    /// Whether a text is empty.
    pub(crate) fn is_empty(&self, text: Text) -> bool {
        !matches!(self.text.get(text.0 as usize), Some(byte) if *byte != 0)
    }
}
