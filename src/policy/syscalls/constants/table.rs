//! The names and values.

use super::{Family, Kind};

pub(super) static FAMILIES: &[Family] = &[
    Family {
        name: "AF",
        kind: Kind::Choice,
        names: &[
            ("AF_UNSPEC", 0), ("AF_UNIX", 1), ("AF_LOCAL", 1), ("AF_INET", 2), ("AF_AX25", 3), ("AF_IPX", 4),
            ("AF_APPLETALK", 5), ("AF_NETROM", 6), ("AF_BRIDGE", 7), ("AF_X25", 9), ("AF_INET6", 0xa),
            ("AF_ROSE", 0xb), ("AF_KEY", 0xf), ("AF_NETLINK", 0x10), ("AF_PACKET", 0x11), ("AF_RDS", 0x15),
            ("AF_PPPOX", 0x18), ("AF_WANPIPE", 0x19), ("AF_LLC", 0x1a), ("AF_IB", 0x1b), ("AF_MPLS", 0x1c),
            ("AF_CAN", 0x1d), ("AF_TIPC", 0x1e), ("AF_BLUETOOTH", 0x1f), ("AF_IUCV", 0x20), ("AF_RXRPC", 0x21),
            ("AF_ISDN", 0x22), ("AF_PHONET", 0x23), ("AF_IEEE802154", 0x24), ("AF_CAIF", 0x25), ("AF_ALG", 0x26),
            ("AF_NFC", 0x27), ("AF_VSOCK", 0x28), ("AF_KCM", 0x29), ("AF_QIPCRTR", 0x2a), ("AF_SMC", 0x2b),
            ("AF_XDP", 0x2c),
        ],
    },
    Family {
        name: "SOCK",
        kind: Kind::Low(0xf),
        names: &[
            ("SOCK_STREAM", 1), ("SOCK_DGRAM", 2), ("SOCK_RAW", 3), ("SOCK_RDM", 4), ("SOCK_SEQPACKET", 5),
            ("SOCK_DCCP", 6), ("SOCK_PACKET", 0xa), ("SOCK_CLOEXEC", 0x80000), ("SOCK_NONBLOCK", 0x800),
        ],
    },
    Family {
        name: "IPPROTO",
        kind: Kind::Choice,
        names: &[
            ("IPPROTO_IP", 0), ("IPPROTO_ICMP", 1), ("IPPROTO_IGMP", 2), ("IPPROTO_TCP", 6), ("IPPROTO_UDP", 0x11),
            ("IPPROTO_IPV6", 0x29), ("IPPROTO_DCCP", 0x21), ("IPPROTO_GRE", 0x2f), ("IPPROTO_ESP", 0x32),
            ("IPPROTO_AH", 0x33), ("IPPROTO_ICMPV6", 0x3a), ("IPPROTO_SCTP", 0x84), ("IPPROTO_UDPLITE", 0x88),
            ("IPPROTO_MPTCP", 0x106), ("IPPROTO_RAW", 0xff),
        ],
    },
    Family {
        name: "NETLINK",
        kind: Kind::Choice,
        names: &[
            ("NETLINK_ROUTE", 0), ("NETLINK_USERSOCK", 2), ("NETLINK_FIREWALL", 3), ("NETLINK_SOCK_DIAG", 4),
            ("NETLINK_XFRM", 6), ("NETLINK_SELINUX", 7), ("NETLINK_AUDIT", 9), ("NETLINK_CONNECTOR", 0xb),
            ("NETLINK_NETFILTER", 0xc), ("NETLINK_KOBJECT_UEVENT", 0xf), ("NETLINK_GENERIC", 0x10),
            ("NETLINK_CRYPTO", 0x15),
        ],
    },
    Family {
        name: "TIOC",
        kind: Kind::Choice,
        names: &[
            ("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c), ("TIOCSETD", 0x5423), ("TIOCGETD", 0x5424),
            ("TIOCSCTTY", 0x540e), ("TIOCNOTTY", 0x5422), ("TIOCGWINSZ", 0x5413), ("TIOCSWINSZ", 0x5414),
            ("TIOCGPGRP", 0x540f), ("TIOCSPGRP", 0x5410), ("TIOCGSID", 0x5429), ("TIOCCONS", 0x541d),
            ("TIOCEXCL", 0x540c), ("TIOCNXCL", 0x540d), ("TIOCOUTQ", 0x5411), ("TIOCMGET", 0x5415),
            ("TIOCMSET", 0x5418), ("TIOCGPTN", 0x80045430), ("TIOCSPTLCK", 0x40045431), ("TIOCGPTPEER", 0x5441),
            ("TIOCVHANGUP", 0x5437),
        ],
    },
    Family {
        name: "IOCTL",
        kind: Kind::Choice,
        names: &[
            ("TCGETS", 0x5401), ("TCSETS", 0x5402), ("TCSETSW", 0x5403), ("TCSETSF", 0x5404), ("TCSBRK", 0x5409),
            ("TCXONC", 0x540a), ("TCFLSH", 0x540b), ("FIONREAD", 0x541b), ("FIONBIO", 0x5421), ("FIOASYNC", 0x5452),
            ("FIOCLEX", 0x5451), ("FIONCLEX", 0x5450), ("FICLONE", 0x40049409), ("FS_IOC_GETFLAGS", 0x80086601),
            ("FS_IOC_SETFLAGS", 0x40086602),
        ],
    },
    Family {
        name: "CLONE",
        kind: Kind::Flags,
        names: &[
            ("CLONE_VM", 0x100), ("CLONE_FS", 0x200), ("CLONE_FILES", 0x400), ("CLONE_SIGHAND", 0x800),
            ("CLONE_PIDFD", 0x1000), ("CLONE_PTRACE", 0x2000), ("CLONE_VFORK", 0x4000), ("CLONE_PARENT", 0x8000),
            ("CLONE_THREAD", 0x10000), ("CLONE_NEWNS", 0x20000), ("CLONE_SYSVSEM", 0x40000),
            ("CLONE_SETTLS", 0x80000), ("CLONE_PARENT_SETTID", 0x100000), ("CLONE_CHILD_CLEARTID", 0x200000),
            ("CLONE_DETACHED", 0x400000), ("CLONE_UNTRACED", 0x800000), ("CLONE_CHILD_SETTID", 0x1000000),
            ("CLONE_NEWCGROUP", 0x2000000), ("CLONE_NEWUTS", 0x4000000), ("CLONE_NEWIPC", 0x8000000),
            ("CLONE_NEWUSER", 0x10000000), ("CLONE_NEWPID", 0x20000000), ("CLONE_NEWNET", 0x40000000),
            ("CLONE_IO", 0x80000000), ("CLONE_NEWTIME", 0x80),
        ],
    },
    Family {
        name: "PR",
        kind: Kind::Choice,
        names: &[
            ("PR_SET_PDEATHSIG", 1), ("PR_GET_PDEATHSIG", 2), ("PR_GET_DUMPABLE", 3), ("PR_SET_DUMPABLE", 4),
            ("PR_GET_KEEPCAPS", 7), ("PR_SET_KEEPCAPS", 8), ("PR_SET_NAME", 0xf), ("PR_GET_NAME", 0x10),
            ("PR_GET_SECCOMP", 0x15), ("PR_SET_SECCOMP", 0x16), ("PR_CAPBSET_READ", 0x17), ("PR_CAPBSET_DROP", 0x18),
            ("PR_GET_TSC", 0x19), ("PR_SET_TSC", 0x1a), ("PR_GET_SECUREBITS", 0x1b), ("PR_SET_SECUREBITS", 0x1c),
            ("PR_SET_TIMERSLACK", 0x1d), ("PR_GET_TIMERSLACK", 0x1e), ("PR_TASK_PERF_EVENTS_DISABLE", 0x1f),
            ("PR_TASK_PERF_EVENTS_ENABLE", 0x20), ("PR_MCE_KILL", 0x21), ("PR_SET_MM", 0x23),
            ("PR_SET_CHILD_SUBREAPER", 0x24), ("PR_GET_CHILD_SUBREAPER", 0x25), ("PR_SET_NO_NEW_PRIVS", 0x26),
            ("PR_GET_NO_NEW_PRIVS", 0x27), ("PR_GET_TID_ADDRESS", 0x28), ("PR_SET_THP_DISABLE", 0x29),
            ("PR_GET_THP_DISABLE", 0x2a), ("PR_CAP_AMBIENT", 0x2f), ("PR_SET_SPECULATION_CTRL", 0x35),
            ("PR_GET_SPECULATION_CTRL", 0x34), ("PR_SET_IO_FLUSHER", 0x39), ("PR_SET_SYSCALL_USER_DISPATCH", 0x3b),
            ("PR_SCHED_CORE", 0x3e), ("PR_SET_MDWE", 0x41), ("PR_GET_MDWE", 0x42), ("PR_SET_VMA", 0x53564d41),
            ("PR_SET_PTRACER", 0x59616d61),
        ],
    },
    Family {
        name: "PROT",
        kind: Kind::Flags,
        names: &[
            ("PROT_READ", 1), ("PROT_WRITE", 2), ("PROT_EXEC", 4), ("PROT_GROWSDOWN", 0x1000000),
            ("PROT_GROWSUP", 0x2000000),
        ],
    },
    Family {
        name: "MAP",
        kind: Kind::Flags,
        names: &[
            ("MAP_SHARED", 1), ("MAP_PRIVATE", 2), ("MAP_FIXED", 0x10), ("MAP_ANONYMOUS", 0x20),
            ("MAP_GROWSDOWN", 0x100), ("MAP_DENYWRITE", 0x800), ("MAP_LOCKED", 0x2000), ("MAP_NORESERVE", 0x4000),
            ("MAP_POPULATE", 0x8000), ("MAP_NONBLOCK", 0x10000), ("MAP_STACK", 0x20000), ("MAP_HUGETLB", 0x40000),
            ("MAP_SYNC", 0x80000), ("MAP_FIXED_NOREPLACE", 0x100000),
        ],
    },
    Family {
        name: "MADV",
        kind: Kind::Choice,
        names: &[
            ("MADV_NORMAL", 0), ("MADV_RANDOM", 1), ("MADV_SEQUENTIAL", 2), ("MADV_WILLNEED", 3),
            ("MADV_DONTNEED", 4), ("MADV_FREE", 8), ("MADV_REMOVE", 9), ("MADV_DONTFORK", 0xa), ("MADV_DOFORK", 0xb),
            ("MADV_MERGEABLE", 0xc), ("MADV_UNMERGEABLE", 0xd), ("MADV_HUGEPAGE", 0xe), ("MADV_NOHUGEPAGE", 0xf),
            ("MADV_DONTDUMP", 0x10), ("MADV_DODUMP", 0x11), ("MADV_WIPEONFORK", 0x12), ("MADV_KEEPONFORK", 0x13),
            ("MADV_COLD", 0x14), ("MADV_PAGEOUT", 0x15), ("MADV_HWPOISON", 0x64),
        ],
    },
    Family {
        name: "MFD",
        kind: Kind::Flags,
        names: &[
            ("MFD_CLOEXEC", 1), ("MFD_ALLOW_SEALING", 2), ("MFD_HUGETLB", 4), ("MFD_NOEXEC_SEAL", 8),
            ("MFD_EXEC", 0x10),
        ],
    },
    Family {
        name: "PTRACE",
        kind: Kind::Choice,
        names: &[
            ("PTRACE_TRACEME", 0), ("PTRACE_PEEKTEXT", 1), ("PTRACE_PEEKDATA", 2), ("PTRACE_PEEKUSR", 3),
            ("PTRACE_POKETEXT", 4), ("PTRACE_POKEDATA", 5), ("PTRACE_POKEUSR", 6), ("PTRACE_CONT", 7),
            ("PTRACE_KILL", 8), ("PTRACE_SINGLESTEP", 9), ("PTRACE_ATTACH", 0x10), ("PTRACE_DETACH", 0x11),
            ("PTRACE_SYSCALL", 0x18), ("PTRACE_SETOPTIONS", 0x4200), ("PTRACE_GETEVENTMSG", 0x4201),
            ("PTRACE_GETSIGINFO", 0x4202), ("PTRACE_SETSIGINFO", 0x4203), ("PTRACE_GETREGSET", 0x4204),
            ("PTRACE_SETREGSET", 0x4205), ("PTRACE_SEIZE", 0x4206), ("PTRACE_INTERRUPT", 0x4207),
            ("PTRACE_LISTEN", 0x4208),
        ],
    },
    Family {
        name: "O",
        kind: Kind::Flags,
        names: &[
            ("O_WRONLY", 1), ("O_RDWR", 2), ("O_CREAT", 0x40), ("O_EXCL", 0x80), ("O_NOCTTY", 0x100),
            ("O_TRUNC", 0x200), ("O_APPEND", 0x400), ("O_NONBLOCK", 0x800), ("O_DSYNC", 0x1000),
            ("O_CLOEXEC", 0x80000), ("O_PATH", 0x200000), ("O_NOATIME", 0x40000),
        ],
    },
    Family {
        name: "S",
        kind: Kind::Flags,
        names: &[
            ("S_ISUID", 0x800), ("S_ISGID", 0x400), ("S_ISVTX", 0x200), ("S_IFIFO", 0x1000), ("S_IFCHR", 0x2000),
            ("S_IFDIR", 0x4000), ("S_IFBLK", 0x6000), ("S_IFREG", 0x8000), ("S_IFLNK", 0xa000), ("S_IFSOCK", 0xc000),
            ("S_IFMT", 0xf000),
        ],
    },
    Family {
        name: "SIG",
        kind: Kind::Choice,
        names: &[
            ("SIGHUP", 1), ("SIGINT", 2), ("SIGQUIT", 3), ("SIGILL", 4), ("SIGTRAP", 5), ("SIGABRT", 6),
            ("SIGBUS", 7), ("SIGFPE", 8), ("SIGKILL", 9), ("SIGUSR1", 0xa), ("SIGSEGV", 0xb), ("SIGUSR2", 0xc),
            ("SIGPIPE", 0xd), ("SIGALRM", 0xe), ("SIGTERM", 0xf), ("SIGSTKFLT", 0x10), ("SIGCHLD", 0x11),
            ("SIGCONT", 0x12), ("SIGSTOP", 0x13), ("SIGTSTP", 0x14), ("SIGTTIN", 0x15), ("SIGTTOU", 0x16),
            ("SIGURG", 0x17), ("SIGXCPU", 0x18), ("SIGXFSZ", 0x19), ("SIGVTALRM", 0x1a), ("SIGPROF", 0x1b),
            ("SIGWINCH", 0x1c), ("SIGIO", 0x1d), ("SIGPWR", 0x1e), ("SIGSYS", 0x1f),
        ],
    },
    Family {
        name: "F",
        kind: Kind::Choice,
        names: &[
            ("F_DUPFD", 0), ("F_GETFD", 1), ("F_SETFD", 2), ("F_GETFL", 3), ("F_SETFL", 4), ("F_GETLK", 5),
            ("F_SETLK", 6), ("F_SETLKW", 7), ("F_SETOWN", 8), ("F_GETOWN", 9), ("F_SETSIG", 0xa), ("F_GETSIG", 0xb),
            ("F_SETLEASE", 0x400), ("F_GETLEASE", 0x401), ("F_NOTIFY", 0x402), ("F_SETPIPE_SZ", 0x407),
            ("F_GETPIPE_SZ", 0x408), ("F_ADD_SEALS", 0x409), ("F_GET_SEALS", 0x40a), ("F_DUPFD_CLOEXEC", 0x406),
        ],
    },
    Family {
        name: "RLIMIT",
        kind: Kind::Choice,
        names: &[
            ("RLIMIT_CPU", 0), ("RLIMIT_FSIZE", 1), ("RLIMIT_DATA", 2), ("RLIMIT_STACK", 3), ("RLIMIT_CORE", 4),
            ("RLIMIT_RSS", 5), ("RLIMIT_NPROC", 6), ("RLIMIT_NOFILE", 7), ("RLIMIT_MEMLOCK", 8), ("RLIMIT_AS", 9),
            ("RLIMIT_LOCKS", 0xa), ("RLIMIT_SIGPENDING", 0xb), ("RLIMIT_MSGQUEUE", 0xc), ("RLIMIT_NICE", 0xd),
            ("RLIMIT_RTPRIO", 0xe), ("RLIMIT_RTTIME", 0xf),
        ],
    },
    Family {
        name: "AT",
        kind: Kind::Flags,
        names: &[
            ("AT_SYMLINK_NOFOLLOW", 0x100), ("AT_REMOVEDIR", 0x200), ("AT_SYMLINK_FOLLOW", 0x400),
            ("AT_NO_AUTOMOUNT", 0x800), ("AT_EMPTY_PATH", 0x1000),
        ],
    },
    Family {
        name: "MS",
        kind: Kind::Flags,
        names: &[
            ("MS_RDONLY", 1), ("MS_NOSUID", 2), ("MS_NODEV", 4), ("MS_NOEXEC", 8), ("MS_SYNCHRONOUS", 0x10),
            ("MS_REMOUNT", 0x20), ("MS_BIND", 0x1000), ("MS_MOVE", 0x2000), ("MS_REC", 0x4000),
            ("MS_PRIVATE", 0x40000), ("MS_SLAVE", 0x80000), ("MS_SHARED", 0x100000),
        ],
    },
    Family {
        name: "MNT",
        kind: Kind::Flags,
        names: &[
            ("MNT_FORCE", 1), ("MNT_DETACH", 2), ("MNT_EXPIRE", 4),
        ],
    },
    Family {
        name: "BPF",
        kind: Kind::Choice,
        names: &[
            ("BPF_MAP_CREATE", 0), ("BPF_MAP_LOOKUP_ELEM", 1), ("BPF_MAP_UPDATE_ELEM", 2), ("BPF_MAP_DELETE_ELEM", 3),
            ("BPF_PROG_LOAD", 5), ("BPF_OBJ_PIN", 6), ("BPF_OBJ_GET", 7), ("BPF_PROG_ATTACH", 8),
            ("BPF_PROG_DETACH", 9), ("BPF_PROG_QUERY", 0x10), ("BPF_RAW_TRACEPOINT_OPEN", 0x11),
            ("BPF_BTF_LOAD", 0x12), ("BPF_LINK_CREATE", 0x1c),
        ],
    },
    Family {
        name: "KEYCTL",
        kind: Kind::Choice,
        names: &[
            ("KEYCTL_GET_KEYRING_ID", 0), ("KEYCTL_JOIN_SESSION_KEYRING", 1), ("KEYCTL_UPDATE", 2),
            ("KEYCTL_REVOKE", 3), ("KEYCTL_CHOWN", 4), ("KEYCTL_SETPERM", 5), ("KEYCTL_DESCRIBE", 6),
            ("KEYCTL_CLEAR", 7), ("KEYCTL_LINK", 8), ("KEYCTL_UNLINK", 9), ("KEYCTL_SEARCH", 0xa),
            ("KEYCTL_READ", 0xb), ("KEYCTL_INSTANTIATE", 0xc),
        ],
    },
    Family {
        name: "SECCOMP",
        kind: Kind::Choice,
        names: &[
            ("SECCOMP_SET_MODE_STRICT", 0), ("SECCOMP_SET_MODE_FILTER", 1), ("SECCOMP_GET_ACTION_AVAIL", 2),
            ("SECCOMP_GET_NOTIF_SIZES", 3),
        ],
    },
    Family {
        name: "PER",
        kind: Kind::Choice,
        names: &[
            ("PER_LINUX", 0), ("PER_LINUX32", 8),
        ],
    },
    Family {
        name: "PERSONALITY",
        kind: Kind::Flags,
        names: &[
            ("UNAME26", 0x20000), ("ADDR_NO_RANDOMIZE", 0x40000), ("MMAP_PAGE_ZERO", 0x100000),
            ("ADDR_COMPAT_LAYOUT", 0x200000), ("READ_IMPLIES_EXEC", 0x400000), ("ADDR_LIMIT_32BIT", 0x800000),
            ("SHORT_INODE", 0x1000000), ("WHOLE_SECONDS", 0x2000000), ("STICKY_TIMEOUTS", 0x4000000),
            ("ADDR_LIMIT_3GB", 0x8000000),
        ],
    },
    Family {
        name: "SHM",
        kind: Kind::Flags,
        names: &[
            ("SHM_RDONLY", 0x1000), ("SHM_RND", 0x2000), ("SHM_REMAP", 0x4000), ("SHM_EXEC", 0x8000),
            ("SHM_HUGETLB", 0x800), ("SHM_NORESERVE", 0x1000),
        ],
    },
    Family {
        name: "SO",
        kind: Kind::Choice,
        names: &[
            ("SO_DEBUG", 1), ("SO_REUSEADDR", 2), ("SO_TYPE", 3), ("SO_ERROR", 4), ("SO_DONTROUTE", 5),
            ("SO_BROADCAST", 6), ("SO_SNDBUF", 7), ("SO_RCVBUF", 8), ("SO_KEEPALIVE", 9), ("SO_LINGER", 0xd),
            ("SO_REUSEPORT", 0xf), ("SO_PASSCRED", 0x10), ("SO_PEERCRED", 0x11), ("SO_BINDTODEVICE", 0x19),
            ("SO_ATTACH_FILTER", 0x1a), ("SO_DETACH_FILTER", 0x1b), ("SO_MARK", 0x24), ("SO_BUSY_POLL", 0x2e),
            ("SO_ATTACH_BPF", 0x32), ("SO_ZEROCOPY", 0x3c), ("SO_SNDBUFFORCE", 0x20), ("SO_RCVBUFFORCE", 0x21),
        ],
    },
    Family {
        name: "SOL",
        kind: Kind::Choice,
        names: &[
            ("SOL_SOCKET", 1), ("SOL_NETLINK", 0x10e), ("SOL_PACKET", 0x107), ("SOL_ALG", 0x117), ("SOL_TLS", 0x11a),
        ],
    },
];
