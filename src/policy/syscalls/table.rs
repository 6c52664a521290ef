//! Made from the files in `policies/syscalls/` by the test `the_table_is_what_the_list_says`; change those.

use super::{Entry, Group, Rule, Verdict};
use crate::platform::{ArgumentTest, Compare};

pub(super) static ENTRIES: &[Entry] = &[
    Entry {
        verdict: Verdict::Allow,
        why: "what starts a program (`sendto` tells that it failed), lets it write, and ends it; all that `base = \"none\"` allows",
        names: &["execve", "exit", "exit_group", "rt_sigprocmask", "rt_sigreturn", "sendto", "write"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "reading and writing of what is open",
        names: &["close", "close_range", "copy_file_range", "dup", "dup2", "dup3", "fcntl", "fdatasync", "flock", "fsync", "ioctl", "lseek", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readv", "sendfile", "splice", "sync_file_range", "tee", "writev"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "the older asynchronous file access, which storage engines use",
        names: &["io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "files and directories; which ones is decided by the view of files, not here",
        names: &["access", "cachestat", "chdir", "chmod", "chown", "creat", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "file_getattr", "file_setattr", "fstat", "fstatat", "fstatfs", "ftruncate", "futimesat", "getcwd", "getdents", "getdents64", "lchown", "link", "linkat", "lstat", "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat", "open", "openat", "readlink", "readlinkat", "rename", "renameat", "renameat2", "rmdir", "stat", "statfs", "statx", "symlink", "symlinkat", "sync", "syncfs", "truncate", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimes"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "extended attributes and access lists of one's own files",
        names: &["fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr", "setxattrat"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "hearing of changes to files: build tools and development servers",
        names: &["inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "one's own memory; just-in-time compilers need memory that is written and then executed",
        names: &["brk", "madvise", "map_shadow_stack", "memfd_create", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "the NUMA library asks for it when it is loaded, and takes only this answer for whether it can work",
        names: &["get_mempolicy"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "starting processes and threads, and waiting for them",
        names: &["arch_prctl", "clone", "execveat", "fork", "getpgid", "getpgrp", "getpid", "getppid", "getsid", "gettid", "pidfd_open", "prctl", "set_tid_address", "setpgid", "setsid", "vfork", "wait4", "waitid"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "threads waiting for each other",
        names: &["futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "get_robust_list", "membarrier", "rseq", "set_robust_list"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "which CPUs, how urgent; a program without privileges can only lower itself",
        names: &["getcpu", "getpriority", "ioprio_get", "ioprio_set", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "setpriority"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "its own limits; they can be lowered, and raised no higher than the policy set them",
        names: &["getrlimit", "getrusage", "prlimit64", "setrlimit", "times"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "old-style program variants; a rule names the harmless ones",
        names: &["personality"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "made by the kernel itself when the host traces the program with probes; from anywhere else it fails",
        names: &["uprobe", "uretprobe"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "signals, to processes inside: there are no others to be seen",
        names: &["kill", "pause", "pidfd_send_signal", "restart_syscall", "rt_sigaction", "rt_sigpending", "rt_sigqueueinfo", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sigaltstack", "tgkill", "tkill"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "waiting for several things",
        names: &["epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "poll", "ppoll", "pselect6", "select", "signalfd", "signalfd4"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "reading clocks, sleeping, timers",
        names: &["alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday", "nanosleep", "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "sockets; whom they reach is decided by the network of the sandbox, and rules below say which kinds there are",
        names: &["accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "setsockopt", "shutdown", "socket", "socketpair"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "message queues, semaphores and shared memory; the sandbox has its own set of them",
        names: &["mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat", "shmctl", "shmdt", "shmget"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "asking who one is, and giving up what one has: without capabilities nothing can be gained",
        names: &["capget", "capset", "getegid", "geteuid", "getgid", "getgroups", "getresgid", "getresuid", "getuid", "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "walls of the program's own; they only add to those it stands in",
        names: &["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp"],
    },
    Entry {
        verdict: Verdict::Allow,
        why: "questions about the machine",
        names: &["getrandom", "sysinfo", "uname"],
    },
    Entry {
        verdict: Verdict::Absent,
        why: "its flags stand behind a pointer and can't be tested for new namespaces; C libraries then use `clone`, whose can",
        names: &["clone3"],
    },
    Entry {
        verdict: Verdict::Absent,
        why: "the mode of a new file stands behind a pointer and can't be tested for setuid; callers then use `openat`",
        names: &["openat2"],
    },
    Entry {
        verdict: Verdict::Absent,
        why: "carries out other system calls past this filter, and is the largest source of holes of recent years; callers go on with epoll or threads",
        names: &["io_uring_enter", "io_uring_register", "io_uring_setup"],
    },
    Entry {
        verdict: Verdict::Absent,
        why: "the kernel's key store belongs to the host's user, not to the sandbox",
        names: &["add_key", "keyctl", "request_key"],
    },
    Entry {
        verdict: Verdict::Absent,
        why: "new and seldom; what they tell is in /proc too, where the sandbox's view decides",
        names: &["listmount", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "statmount"],
    },
    Entry {
        verdict: Verdict::Absent,
        why: "memory that is out of reach even of the kernel; libraries that want it go on without",
        names: &["memfd_secret"],
    },
    Entry {
        verdict: Verdict::Absent,
        why: "advice about the memory of another process; allocators then advise about their own",
        names: &["process_madvise"],
    },
    Entry {
        verdict: Verdict::Absent,
        why: "the kernel has them no more, or never had",
        names: &["_sysctl", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old", "get_kernel_syms", "get_thread_area", "getpmsg", "lookup_dcookie", "nfsservctl", "putpmsg", "query_module", "security", "set_thread_area", "tuxcall", "vserver"],
    },
    Entry {
        verdict: Verdict::Absent,
        why: "for 32-bit processors",
        names: &["clock_adjtime64", "clock_getres_time64", "clock_gettime64", "clock_nanosleep_time64", "clock_settime64", "futex_time64", "io_pgetevents_time64", "mq_timedreceive_time64", "mq_timedsend_time64", "ppoll_time64", "pselect6_time64", "recvmmsg_time64", "rt_sigtimedwait_time64", "sched_rr_get_interval_time64", "semtimedop_time64", "timer_gettime64", "timer_settime64", "timerfd_gettime64", "timerfd_settime64", "utimensat_time64"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "in a user namespace of its own a program has every capability again, and with them most of the kernel's doors",
        names: &["setns", "unshare"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "changes what is visible where",
        names: &["chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree", "open_tree_attr", "pivot_root", "umount2"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "opens a file by number, past the directories that lead to it",
        names: &["name_to_handle_at", "open_by_handle_at"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "watches or holds up every access to a whole file system, others' too",
        names: &["fanotify_init", "fanotify_mark"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "looks into and changes other processes; debuggers, strace and leak checkers need it (`allow = [\"@debug\"]`)",
        names: &["kcmp", "pidfd_getfd", "process_mrelease", "process_vm_readv", "process_vm_writev", "ptrace"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "runs programs inside the kernel or measures it from within",
        names: &["bpf", "perf_event_open"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "lets a program stop the kernel in the middle of an access to memory: the favourite tool for winning races against it",
        names: &["userfaultfd"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "puts code into the kernel or another kernel in its place",
        names: &["delete_module", "finit_module", "init_module", "kexec_file_load", "kexec_load"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "reads the kernel's log: addresses, and news of others",
        names: &["syslog"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "is the machine's business: power, swap, quotas, accounting, names, terminals",
        names: &["acct", "quotactl", "quotactl_fd", "reboot", "setdomainname", "sethostname", "swapoff", "swapon", "vhangup"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "sets the machine's clock",
        names: &["adjtimex", "clock_adjtime", "clock_settime", "settimeofday"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "hardware ports, and descriptor tables of the processor that only 16-bit emulators use",
        names: &["ioperm", "iopl", "modify_ldt"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "where memory lies in a machine of several nodes is the policy's to say; the NUMA library goes on without",
        names: &["mbind", "migrate_pages", "move_pages", "set_mempolicy", "set_mempolicy_home_node"],
    },
    Entry {
        verdict: Verdict::Deny,
        why: "nobody uses them but exploits",
        names: &["remap_file_pages", "sysfs", "uselib", "ustat", "vmsplice"],
    },
];

pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "start",
        why: "what starts a program (`sendto` tells that it failed), lets it write, and ends it; all that `base = \"none\"` allows",
        names: &["execve", "exit", "exit_group", "rt_sigprocmask", "rt_sigreturn", "sendto", "write"],
    },
    Group {
        name: "process",
        why: "starting processes and threads, and waiting for them",
        names: &["arch_prctl", "clone", "execve", "execveat", "exit", "exit_group", "fork", "getpgid", "getpgrp", "getpid", "getppid", "getsid", "gettid", "pidfd_open", "prctl", "set_tid_address", "setpgid", "setsid", "vfork", "wait4", "waitid"],
    },
    Group {
        name: "process",
        why: "threads waiting for each other",
        names: &["futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "get_robust_list", "membarrier", "rseq", "set_robust_list"],
    },
    Group {
        name: "process",
        why: "what it used",
        names: &["getrusage", "times"],
    },
    Group {
        name: "process",
        why: "old-style program variants",
        names: &["personality"],
    },
    Group {
        name: "process",
        why: "probes that the kernel itself puts in",
        names: &["uprobe", "uretprobe"],
    },
    Group {
        name: "signal",
        why: "sending signals, taking them, and waiting for them",
        names: &["kill", "pause", "pidfd_send_signal", "restart_syscall", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sigaltstack", "signalfd", "signalfd4", "tgkill", "tkill"],
    },
    Group {
        name: "resources",
        why: "how urgent, on which CPUs",
        names: &["getcpu", "getpriority", "ioprio_get", "ioprio_set", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "setpriority"],
    },
    Group {
        name: "resources",
        why: "limits of processes",
        names: &["getrlimit", "prlimit64", "setrlimit"],
    },
    Group {
        name: "resources",
        why: "on which memory node",
        names: &["get_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy", "set_mempolicy_home_node"],
    },
    Group {
        name: "sandbox",
        why: "walls of the program's own",
        names: &["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "seccomp"],
    },
    Group {
        name: "nesting",
        why: "building a sandbox inside this one: new namespaces, a new root, a host name; with it a program reaches most of the kernel",
        names: &["clone3", "fsconfig", "fsmount", "fsopen", "mount_setattr", "move_mount", "open_tree", "openat2", "pivot_root", "sethostname", "umount2", "unshare"],
    },
    Group {
        name: "namespaces",
        why: "entering and making namespaces; `clone` makes them too, which its rules deny",
        names: &["setns", "unshare"],
    },
    Group {
        name: "debug",
        why: "looking into other processes and changing them",
        names: &["kcmp", "pidfd_getfd", "process_madvise", "process_mrelease", "process_vm_readv", "process_vm_writev", "ptrace"],
    },
    Group {
        name: "debug",
        why: "measuring the processor and the kernel",
        names: &["perf_event_open"],
    },
    Group {
        name: "basic-io",
        why: "reading, writing and closing what is open",
        names: &["close", "close_range", "dup", "dup2", "dup3", "lseek", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readv", "write", "writev"],
    },
    Group {
        name: "io",
        why: "more ways to read, write and control what is open",
        names: &["copy_file_range", "fcntl", "ioctl", "pipe", "pipe2", "readahead", "sendfile", "splice", "tee"],
    },
    Group {
        name: "sync",
        why: "writing what is buffered to the disk",
        names: &["fdatasync", "fsync", "msync", "sync", "sync_file_range", "syncfs"],
    },
    Group {
        name: "aio",
        why: "the older asynchronous file access; io_uring is a group of its own",
        names: &["io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit"],
    },
    Group {
        name: "io-uring",
        why: "carries out other calls past the filter",
        names: &["io_uring_enter", "io_uring_register", "io_uring_setup"],
    },
    Group {
        name: "io-event",
        why: "waiting for several things",
        names: &["epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64", "select"],
    },
    Group {
        name: "file-system",
        why: "files and directories",
        names: &["access", "cachestat", "chdir", "chmod", "creat", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "file_getattr", "file_setattr", "flock", "fstat", "fstatat", "fstatfs", "ftruncate", "futimesat", "getcwd", "getdents", "getdents64", "link", "linkat", "lstat", "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat", "open", "openat", "readlink", "readlinkat", "rename", "renameat", "renameat2", "rmdir", "stat", "statfs", "statx", "symlink", "symlinkat", "truncate", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimes"],
    },
    Group {
        name: "file-system",
        why: "extended attributes and access lists",
        names: &["fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr", "setxattrat"],
    },
    Group {
        name: "file-system",
        why: "hearing of changes",
        names: &["inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch"],
    },
    Group {
        name: "unchecked",
        why: "their flags stand behind a pointer, where no filter can test them: new namespaces with `clone3`, setuid files with `openat2`",
        names: &["clone3", "openat2"],
    },
    Group {
        name: "chown",
        why: "who owns a file",
        names: &["chown", "fchown", "fchownat", "lchown"],
    },
    Group {
        name: "mount",
        why: "what is visible where",
        names: &["chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree", "open_tree_attr", "pivot_root", "umount2"],
    },
    Group {
        name: "mount",
        why: "telling what is mounted, also where `/proc` isn't shown",
        names: &["listmount", "statmount"],
    },
    Group {
        name: "mount",
        why: "files by number, past the directories that lead to them",
        names: &["name_to_handle_at", "open_by_handle_at"],
    },
    Group {
        name: "mount",
        why: "hearing of every access to a whole file system, and holding it up",
        names: &["fanotify_init", "fanotify_mark"],
    },
    Group {
        name: "quota",
        why: "how much of a disk each user may have",
        names: &["quotactl", "quotactl_fd"],
    },
    Group {
        name: "memory",
        why: "one's own memory",
        names: &["brk", "madvise", "map_shadow_stack", "memfd_create", "mincore", "mmap", "mprotect", "mremap", "mseal", "munmap"],
    },
    Group {
        name: "memory-traps",
        why: "holding the kernel up in the middle of an access, and memory out of its reach",
        names: &["memfd_secret", "userfaultfd"],
    },
    Group {
        name: "memlock",
        why: "memory that is never swapped",
        names: &["mlock", "mlock2", "mlockall", "munlock", "munlockall"],
    },
    Group {
        name: "pkey",
        why: "keys that guard parts of one's own memory",
        names: &["pkey_alloc", "pkey_free", "pkey_mprotect"],
    },
    Group {
        name: "timer",
        why: "reading clocks, sleeping, timers",
        names: &["alarm", "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "getitimer", "gettimeofday", "nanosleep", "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64"],
    },
    Group {
        name: "clock",
        why: "setting the machine's clock",
        names: &["adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday"],
    },
    Group {
        name: "network-io",
        why: "sockets; `sendto`, which every start of a program needs, does nothing without one and is left to `@start`",
        names: &["accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "sendmmsg", "sendmsg", "setsockopt", "shutdown", "socket", "socketpair"],
    },
    Group {
        name: "network",
        why: "the same by a shorter name",
        names: &["accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "sendmmsg", "sendmsg", "setsockopt", "shutdown", "socket", "socketpair"],
    },
    Group {
        name: "ipc",
        why: "message queues, semaphores, shared memory and pipes",
        names: &["memfd_create", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "pipe", "pipe2", "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget"],
    },
    Group {
        name: "identity",
        why: "asking who one is",
        names: &["capget", "getegid", "geteuid", "getgid", "getgroups", "getresgid", "getresuid", "getuid"],
    },
    Group {
        name: "identity",
        why: "giving up what one has: without capabilities nothing can be gained",
        names: &["capset"],
    },
    Group {
        name: "setuid",
        why: "becoming another user or group",
        names: &["setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid"],
    },
    Group {
        name: "keyring",
        why: "the kernel's key store",
        names: &["add_key", "keyctl", "request_key"],
    },
    Group {
        name: "system",
        why: "questions about the machine",
        names: &["getrandom", "sysinfo", "uname"],
    },
    Group {
        name: "machine",
        why: "names of the machine",
        names: &["setdomainname", "sethostname"],
    },
    Group {
        name: "machine",
        why: "the kernel's log",
        names: &["syslog"],
    },
    Group {
        name: "machine",
        why: "accounting, and hanging up terminals",
        names: &["acct", "vhangup"],
    },
    Group {
        name: "module",
        why: "code for the kernel",
        names: &["delete_module", "finit_module", "init_module"],
    },
    Group {
        name: "bpf",
        why: "programs inside the kernel",
        names: &["bpf"],
    },
    Group {
        name: "reboot",
        why: "ending the machine, or another kernel in place of this one",
        names: &["kexec_file_load", "kexec_load", "reboot"],
    },
    Group {
        name: "swap",
        why: "where memory is swapped to",
        names: &["swapoff", "swapon"],
    },
    Group {
        name: "raw-io",
        why: "hardware ports",
        names: &["ioperm", "iopl"],
    },
    Group {
        name: "cpu-emulation",
        why: "descriptor tables of the processor, for 16-bit programs",
        names: &["modify_ldt"],
    },
    Group {
        name: "privileged",
        why: "what takes privileges of the machine, all together",
        names: &["bpf", "chown", "fchown", "fchownat", "lchown", "adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday", "delete_module", "finit_module", "init_module", "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree", "open_tree_attr", "pivot_root", "umount2", "listmount", "statmount", "name_to_handle_at", "open_by_handle_at", "fanotify_init", "fanotify_mark", "quotactl", "quotactl_fd", "ioperm", "iopl", "kexec_file_load", "kexec_load", "reboot", "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid", "swapoff", "swapon", "setdomainname", "sethostname", "syslog", "acct", "vhangup", "capset", "perf_event_open"],
    },
    Group {
        name: "obsolete",
        why: "nobody uses them but exploits",
        names: &["remap_file_pages", "sysfs", "uselib", "ustat", "vmsplice"],
    },
    Group {
        name: "obsolete",
        why: "the kernel has them no more, or never had",
        names: &["_sysctl", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old", "get_kernel_syms", "get_thread_area", "getpmsg", "lookup_dcookie", "nfsservctl", "putpmsg", "query_module", "security", "set_thread_area", "tuxcall", "vserver"],
    },
    Group {
        name: "32-bit",
        why: "for 32-bit processors",
        names: &["clock_adjtime64", "clock_getres_time64", "clock_gettime64", "clock_nanosleep_time64", "clock_settime64", "futex_time64", "io_pgetevents_time64", "mq_timedreceive_time64", "mq_timedsend_time64", "ppoll_time64", "pselect6_time64", "recvmmsg_time64", "rt_sigtimedwait_time64", "sched_rr_get_interval_time64", "semtimedop_time64", "timer_gettime64", "timer_settime64", "timerfd_gettime64", "timerfd_settime64", "utimensat_time64"],
    },
];

pub(super) static RULES: &[Rule] = &[
    Rule {
        why: "no new namespaces (NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET), see `unshare`",
        names: &["clone"],
        tests: &[
            ArgumentTest { index: 0, compare: Compare::Any(0x7e020000), wide: false },
        ],
    },
    Rule {
        why: "no setuid or setgid file may be left where others could start it: a file made inside can belong to a host user",
        names: &["chmod", "creat", "fchmod"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Any(0xc00), wide: false },
        ],
    },
    Rule {
        why: "as above",
        names: &["fchmodat", "fchmodat2", "mknodat"],
        tests: &[
            ArgumentTest { index: 2, compare: Compare::Any(0xc00), wide: false },
        ],
    },
    Rule {
        why: "as above",
        names: &["mknod"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Any(0xc00), wide: false },
        ],
    },
    Rule {
        why: "as above; the flags are O_CREAT and O_TMPFILE",
        names: &["open"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Any(0x400040), wide: false },
            ArgumentTest { index: 2, compare: Compare::Any(0xc00), wide: false },
        ],
    },
    Rule {
        why: "as above",
        names: &["openat"],
        tests: &[
            ArgumentTest { index: 2, compare: Compare::Any(0x400040), wide: false },
            ArgumentTest { index: 3, compare: Compare::Any(0xc00), wide: false },
        ],
    },
    Rule {
        why: "no device nodes: character devices",
        names: &["mknod"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Masked { mask: 0xf000, value: 0x2000 }, wide: false },
        ],
    },
    Rule {
        why: "no device nodes: block devices",
        names: &["mknod"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Masked { mask: 0xf000, value: 0x6000 }, wide: false },
        ],
    },
    Rule {
        why: "no device nodes: character devices",
        names: &["mknodat"],
        tests: &[
            ArgumentTest { index: 2, compare: Compare::Masked { mask: 0xf000, value: 0x2000 }, wide: false },
        ],
    },
    Rule {
        why: "no device nodes: block devices",
        names: &["mknodat"],
        tests: &[
            ArgumentTest { index: 2, compare: Compare::Masked { mask: 0xf000, value: 0x6000 }, wide: false },
        ],
    },
    Rule {
        why: "UNIX, INET, INET6 and NETLINK sockets; the other families are seldom used and seldom looked at, some (VSOCK) lead out of a virtual machine, some (ALG) deep into the kernel",
        names: &["socket"],
        tests: &[
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x1), wide: false },
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x2), wide: false },
            ArgumentTest { index: 0, compare: Compare::NotEqual(0xa), wide: false },
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x10), wide: false },
        ],
    },
    Rule {
        why: "pairs are UNIX sockets",
        names: &["socketpair"],
        tests: &[
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x1), wide: false },
        ],
    },
    Rule {
        why: "of NETLINK only ROUTE, with which C libraries list the network interfaces; the others speak to the firewall, audit, and device parts of the kernel",
        names: &["socket"],
        tests: &[
            ArgumentTest { index: 0, compare: Compare::Equal(0x10), wide: false },
            ArgumentTest { index: 2, compare: Compare::NotEqual(0x0), wide: false },
        ],
    },
    Rule {
        why: "SEQPACKET outside of UNIX sockets is SCTP, which the kernel would load a module for",
        names: &["socket"],
        tests: &[
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x1), wide: false },
            ArgumentTest { index: 1, compare: Compare::Masked { mask: 0xf, value: 0x5 }, wide: false },
        ],
    },
    Rule {
        why: "SCTP by its number",
        names: &["socket"],
        tests: &[
            ArgumentTest { index: 2, compare: Compare::Equal(0x84), wide: false },
        ],
    },
    Rule {
        why: "DCCP, as SCTP: seldom used, often broken, loaded on demand",
        names: &["socket"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Masked { mask: 0xf, value: 0x6 }, wide: false },
        ],
    },
    Rule {
        why: "TIOCSTI puts characters into a terminal as if they had been typed: they would be run outside",
        names: &["ioctl"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Equal(0x5412), wide: false },
        ],
    },
    Rule {
        why: "TIOCLINUX does the same on a console, by pasting",
        names: &["ioctl"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Equal(0x541c), wide: false },
        ],
    },
    Rule {
        why: "TIOCSETD loads line disciplines, old drivers with a history of holes",
        names: &["ioctl"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Equal(0x5423), wide: false },
        ],
    },
    Rule {
        why: "plain Linux, its 32-bit and 2.6 masks, no randomised addresses (for debuggers, harms only oneself), and asking; not the variants that make memory executable or map address zero",
        names: &["personality"],
        tests: &[
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x0), wide: false },
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x8), wide: false },
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x20000), wide: false },
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x20008), wide: false },
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x40000), wide: false },
            ArgumentTest { index: 0, compare: Compare::NotEqual(0x40008), wide: false },
            ArgumentTest { index: 0, compare: Compare::NotEqual(0xffffffff), wide: false },
        ],
    },
    Rule {
        why: "huge pages come from a store of the whole machine and aren't counted as the sandbox's memory (MAP_HUGETLB)",
        names: &["mmap"],
        tests: &[
            ArgumentTest { index: 3, compare: Compare::Masked { mask: 0x40000, value: 0x40000 }, wide: false },
        ],
    },
    Rule {
        why: "as above (MFD_HUGETLB)",
        names: &["memfd_create"],
        tests: &[
            ArgumentTest { index: 1, compare: Compare::Masked { mask: 0x4, value: 0x4 }, wide: false },
        ],
    },
    Rule {
        why: "as above (SHM_HUGETLB)",
        names: &["shmget"],
        tests: &[
            ArgumentTest { index: 2, compare: Compare::Masked { mask: 0x800, value: 0x800 }, wide: false },
        ],
    },
];
