/* Tries forbidden things and says what came back.

   usage: attempts NAME...
          attempts --alone NAME

   For each name one line: `NAME ok`, `NAME EPERM` (or another errno), or `NAME SIGSYS` (or another signal). Each is tried
   in a child of its own, or with `--alone` by the program itself. All calls are made by number, so that no library takes
   another way in silence. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static char *const nowhere = (char *)1; /* a pointer that the kernel can't follow: EFAULT */

/* A file of our own to be changed, removed again with its name. */
static int scratch(void) {
    int fd = open("scratch", O_RDWR | O_CREAT, 0755);
    if (fd < 0) {
        perror("scratch");
        exit(99);
    }
    unlink("scratch.new");
    return fd;
}

/* A new process or namespace holder that ends at once. */
static long cloned(unsigned long flags) {
    long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    return child;
}

static long clone3d(unsigned long long flags) {
    struct {
        unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } args = {.flags = flags, .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &args, sizeof args);
    if (child == 0)
        _exit(0);
    return child;
}

static long open2(unsigned long long mode) {
    struct {
        unsigned long long flags, mode, resolve;
    } how = {.flags = O_CREAT | O_RDWR, .mode = mode};
    scratch();
    return syscall(SYS_openat2, AT_FDCWD, "scratch.new", &how, sizeof how);
}

#define NEW_FILE(call) (scratch(), call)

/* Two instructions that 64-bit programs don't use. */
#ifdef __x86_64__
static long getppid_32(void) {
    long answer = 64; /* getppid */
    __asm__ volatile("int $0x80" : "+a"(answer) : : "r8", "r9", "r10", "r11", "memory");
    /* A kernel without 32-bit calls takes this for one of 64 bits with the same number. */
    errno = ENOSYS;
    return answer == getppid() ? 0 : -1;
}
#endif

static long attempt(const char *name) {
#define IS(word) (strcmp(name, word) == 0)
    /* new namespaces */
    if (IS("clone_user")) return cloned(CLONE_NEWUSER);
    if (IS("clone_net_and_user")) return cloned(CLONE_NEWUSER | CLONE_NEWNET);
    if (IS("clone_plain")) return cloned(0);
    if (IS("clone3_user")) return clone3d(CLONE_NEWUSER);
    if (IS("unshare_user")) return syscall(SYS_unshare, CLONE_NEWUSER);
    if (IS("setns")) return syscall(SYS_setns, -1, 0);

    /* mounts and files by number */
    if (IS("mount")) return syscall(SYS_mount, 0, nowhere, nowhere, 0, 0);
    if (IS("chroot")) return syscall(SYS_chroot, nowhere);
    if (IS("open_tree")) return syscall(428, AT_FDCWD, nowhere, 0);
    if (IS("name_to_handle_at")) return syscall(SYS_name_to_handle_at, AT_FDCWD, nowhere, nowhere, nowhere, 0);
    if (IS("fanotify_init")) return syscall(SYS_fanotify_init, 0x200 /* REPORT_FID: needs no privilege */, 0);

    /* other processes */
    if (IS("ptrace")) return syscall(SYS_ptrace, 0 /* TRACEME */, 0, 0, 0);
    if (IS("process_vm_readv")) return syscall(SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 0);
    if (IS("kcmp")) return syscall(SYS_kcmp, getpid(), getpid(), 99, 0, 0);

    /* the kernel */
    if (IS("bpf")) return syscall(SYS_bpf, 9999, nowhere, 8);
    if (IS("perf_event_open")) return syscall(SYS_perf_event_open, nowhere, 0, -1, -1, 0);
    if (IS("userfaultfd")) return syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
    if (IS("keyctl")) return syscall(SYS_keyctl, 9999, 0, 0, 0, 0);
    if (IS("add_key")) return syscall(SYS_add_key, nowhere, nowhere, 0, 0, -4);
    if (IS("io_uring_setup")) return syscall(425, 1, nowhere);
    if (IS("clock_settime")) return syscall(SYS_clock_settime, 9999, nowhere);
    if (IS("vmsplice")) return syscall(SYS_vmsplice, -1, 0, 0, 0);
#ifdef __x86_64__
    if (IS("modify_ldt")) return syscall(SYS_modify_ldt, 0, 0, 0);
#endif

    /* setuid files */
    if (IS("fchmod_setuid")) return syscall(SYS_fchmod, scratch(), 04755);
    if (IS("fchmod_setgid")) return syscall(SYS_fchmod, scratch(), 02755);
    if (IS("fchmod_plain")) return syscall(SYS_fchmod, scratch(), 01755);
    if (IS("fchmodat_setuid")) return NEW_FILE(syscall(SYS_fchmodat, AT_FDCWD, "scratch", 04755));
    if (IS("fchmodat2_setuid")) return NEW_FILE(syscall(SYS_fchmodat2, AT_FDCWD, "scratch", 04755, 0));
    if (IS("openat_setuid")) return NEW_FILE(syscall(SYS_openat, AT_FDCWD, "scratch.new", O_CREAT | O_RDWR, 04755));
    if (IS("openat_plain")) return NEW_FILE(syscall(SYS_openat, AT_FDCWD, "scratch.new", O_CREAT | O_RDWR, 0755));
    if (IS("openat_garbage_mode")) return NEW_FILE(syscall(SYS_openat, AT_FDCWD, "scratch", O_RDWR, 07777));
    if (IS("openat_unnamed_setuid")) return syscall(SYS_openat, AT_FDCWD, ".", O_TMPFILE | O_RDWR, 04755);
    if (IS("openat2_setuid")) return open2(04755);
    if (IS("mknodat_setuid")) return NEW_FILE(syscall(SYS_mknodat, AT_FDCWD, "scratch.new", S_IFREG | 04755, 0));
    if (IS("mknodat_device")) return NEW_FILE(syscall(SYS_mknodat, AT_FDCWD, "scratch.new", S_IFCHR | 0600, 0));
    if (IS("mknodat_fifo")) return NEW_FILE(syscall(SYS_mknodat, AT_FDCWD, "scratch.new", S_IFIFO | 0600, 0));
#ifdef __x86_64__
    if (IS("chmod_setuid")) return NEW_FILE(syscall(SYS_chmod, "scratch", 04755));
    if (IS("creat_setuid")) return NEW_FILE(syscall(SYS_creat, "scratch.new", 04755));
    if (IS("open_setuid")) return NEW_FILE(syscall(SYS_open, "scratch.new", O_CREAT | O_RDWR, 04755));
    if (IS("mknod_setuid")) return NEW_FILE(syscall(SYS_mknod, "scratch.new", S_IFREG | 04755, 0));
#endif

    /* sockets */
    if (IS("socket_unix")) return syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET, 0);
    if (IS("socket_inet")) return syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (IS("socket_inet6")) return syscall(SYS_socket, AF_INET6, SOCK_DGRAM, 0);
    if (IS("socket_route")) return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
    if (IS("socket_uevent")) return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 15);
    if (IS("socket_vsock")) return syscall(SYS_socket, AF_VSOCK, 9999, 0);
    if (IS("socket_alg")) return syscall(SYS_socket, AF_ALG, 9999, 0);
    if (IS("socket_packet")) return syscall(SYS_socket, AF_PACKET, 9999, 0);
    if (IS("socket_high_bits")) return syscall(SYS_socket, 0x100000000 | AF_ALG, 9999, 0);
    if (IS("socket_sctp")) return syscall(SYS_socket, AF_INET, SOCK_STREAM, 132);
    if (IS("socket_seqpacket")) return syscall(SYS_socket, AF_INET, SOCK_SEQPACKET, 0);
    if (IS("socketpair_tipc")) return syscall(SYS_socketpair, 30, SOCK_STREAM, 0, nowhere);

    if (IS("connect_abstract")) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        const char *wanted = getenv("ABSTRACT");
        strncpy(to.sun_path + 1, wanted, sizeof to.sun_path - 2);
        socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(wanted);
        return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to, length);
    }

    /* TCP ports: a server listens on PORT */
    if (IS("bind_port") || IS("connect_port") || IS("connect_mptcp") || IS("connect_fastopen")) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        to.sin_port = htons(atoi(getenv("PORT")));
        int fd = syscall(SYS_socket, AF_INET, SOCK_STREAM, IS("connect_mptcp") ? 262 : 0);
        if (fd < 0) return fd;
        if (IS("bind_port")) return bind(fd, (struct sockaddr *)&to, sizeof to);
        if (IS("connect_fastopen"))
            return syscall(SYS_sendto, fd, "x", 1, 0x20000000, &to, sizeof to);
        return connect(fd, (struct sockaddr *)&to, sizeof to);
    }
    if (IS("listen_anywhere")) return listen(socket(AF_INET, SOCK_STREAM, 0), 1);

    /* terminals */
    if (IS("tiocsti")) return syscall(SYS_ioctl, open("/dev/null", O_RDWR), 0x5412, "x");
    if (IS("tiocsti_high_bits")) return syscall(SYS_ioctl, open("/dev/null", O_RDWR), 0xdead00005412, "x");
    if (IS("tioclinux")) return syscall(SYS_ioctl, open("/dev/null", O_RDWR), 0x541c, "x");
    if (IS("tiocsetd")) return syscall(SYS_ioctl, open("/dev/null", O_RDWR), 0x5423, "x");

    /* the program itself */
    if (IS("personality_exec")) return syscall(SYS_personality, 0x0400000);
    if (IS("personality_ask")) return syscall(SYS_personality, 0xffffffff);
    if (IS("huge_memfd")) return syscall(SYS_memfd_create, nowhere, 4);
    if (IS("huge_mmap")) return syscall(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

    /* privileges */
    if (IS("bind_low_port")) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        return bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to);
    }
    if (IS("capset_all")) {
        struct { unsigned version; int pid; } header = {0x20080522, 0};
        struct { unsigned effective, permitted, inheritable; } sets[2] = {{~0u, ~0u, ~0u}, {0x1ff, 0x1ff, 0x1ff}};
        return syscall(SYS_capset, &header, sets);
    }
    if (IS("securebits_off")) return syscall(SYS_prctl, 28 /* PR_SET_SECUREBITS */, 0, 0, 0, 0);
    if (IS("ambient_raise")) return syscall(SYS_prctl, 47 /* PR_CAP_AMBIENT */, 2 /* RAISE */, 10, 0, 0);
    if (IS("privileges_off_again")) return syscall(SYS_prctl, 38 /* PR_SET_NO_NEW_PRIVS */, 0, 0, 0, 0);
    if (IS("chown_to_root")) return syscall(SYS_fchown, scratch(), 0, 0);
    if (IS("setuid_root")) return syscall(SYS_setuid, 0);
    if (IS("another_user_by_setuid_file")) return geteuid() == getuid() ? (errno = EPERM, -1) : 0;

    /* walls of its own */
    if (IS("landlock_of_its_own")) {
        unsigned long long nothing_may_be_executed = 1;
        long rules = syscall(444, &nothing_may_be_executed, sizeof nothing_may_be_executed, 0);
        return rules < 0 ? rules : syscall(446, rules, 0);
    }

    /* numbers */
    if (IS("unknown_number")) return syscall(2000);
    if (IS("no_number")) return syscall(-1L);
#ifdef __x86_64__
    if (IS("number_of_x32")) return syscall(0x40000000 | SYS_getppid);
    if (IS("number_of_x32_without_its_bit")) return syscall(520 /* x32 execve */, 0, 0, 0);
    if (IS("call_of_32_bits")) return getppid_32();
#endif
    fprintf(stderr, "no attempt `%s`\n", name);
    exit(99);
}

static void say(const char *name, int status) {
    if (WIFSIGNALED(status))
        printf("%s SIG%s\n", name, sigabbrev_np(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == 0)
        printf("%s ok\n", name);
    else
        printf("%s %s\n", name, strerrorname_np(WEXITSTATUS(status)));
    fflush(stdout);
}

int main(int count, char **names) {
    if (count == 3 && strcmp(names[1], "--alone") == 0)
        return attempt(names[2]) < 0;
    for (int at = 1; at < count; at++) {
        int status;
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            return 99;
        }
        if (child == 0) {
            errno = 0;
            long answer = attempt(names[at]);
            /* Asking for the personality answers a number; anything below zero is an error. */
            _exit(answer < 0 ? errno : 0);
        }
        waitpid(child, &status, 0);
        say(names[at], status);
    }
    return 0;
}
