/*
 * The floor of a launch: the system calls of one launch with Stockade's default walls, and nothing else.
 *
 * No decision is made here and no error is explained: what isn't possible on this host ends the program, and the bench
 * says so. For each byte on standard input one launch is made, and its time in nanoseconds is written to standard output.
 *
 * usage: floor FILTER_SIZE CGROUP|- PROGRAM PATH...    (read-only binds, without symlinks in them)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NEED(call)                                                                                                     \
	({                                                                                                             \
		long result_ = (long)(call);                                                                           \
		if (result_ < 0) {                                                                                     \
			fprintf(stderr, "floor: %s: %s\n", #call, strerror(errno));                                    \
			_exit(125);                                                                                    \
		}                                                                                                      \
		result_;                                                                                               \
	})

#define USER_OUTSIDE 1928893802
#define EMPTY_PATH 0x1000
#define RECURSIVE 0x8000

static struct sock_filter filter[4096];
static unsigned short filter_size;
static const char *program;
static int group = -1;
static char here[4096];
static int privileged;
static char **binds;
static int bind_count;
static int is_file[256];
static int trees[256];

/* A balanced search of `leaves` ranges of numbers, each of which is allowed. */
static void search(unsigned low, unsigned high, unsigned leaves)
{
	if (leaves == 1) {
		filter[filter_size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
		return;
	}
	unsigned middle = low + (high - low) / 2, at = filter_size++;
	search(low, middle, leaves / 2);
	filter[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, middle, filter_size - at - 1, 0);
	search(middle, high, leaves - leaves / 2);
}

static void make_filter(unsigned size)
{
	filter[filter_size++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
	search(0, 480, size / 2);
}

static int open_path(int at, const char *path, uint64_t resolve)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = resolve };
	return NEED(syscall(SYS_openat2, at, path, &how, sizeof how));
}

static int tree_of(const char *path)
{
	int place = open_path(AT_FDCWD, path, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	int tree = NEED(syscall(SYS_open_tree, place, "", 1 | O_CLOEXEC | EMPTY_PATH | RECURSIVE));
	close(place);
	return tree;
}

static void attach(int tree, int root, const char *target)
{
	int place = open_path(root, target, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH);
	NEED(syscall(SYS_move_mount, tree, "", place, "", 0x44));
	close(place);
	close(tree);
}

static void attributes(int fd, uint64_t set, uint64_t propagation, int recursive)
{
	uint64_t attr[4] = { set, 0, propagation, 0 };
	NEED(syscall(SYS_mount_setattr, fd, "", EMPTY_PATH | (recursive ? RECURSIVE : 0), attr, sizeof attr));
}

static int filesystem(const char *kind, const char *const *options, unsigned attrs)
{
	int fs = NEED(syscall(SYS_fsopen, kind, 1));
	for (; *options; options += 2)
		NEED(syscall(SYS_fsconfig, fs, 1, options[0], options[1], 0));
	NEED(syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0));
	int tree = NEED(syscall(SYS_fsmount, fs, 1, attrs));
	close(fs);
	return tree;
}

/* What is above a path, and itself; the paths come sorted, so that only what is new is made. */
static void directories(int root, char *path, int itself)
{
	static char before[4096];
	size_t known = 0;
	for (size_t i = 0; path[i] && path[i] == before[i]; i++)
		if (path[i + 1] == '/' || !path[i + 1])
			known = i + 1;
	for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
		if ((size_t)(slash - path) <= known)
			continue;
		*slash = 0;
		mkdirat(root, path, 0755);
		*slash = '/';
	}
	if (itself)
		mkdirat(root, path, 0755);
	strcpy(before, path);
}

static void build_view(void)
{
	static const char *const devices[] = { "dev/full", "dev/null", "dev/random", "dev/tty", "dev/urandom", "dev/zero" };
	static const char *const links[][2] = {
		{ "usr/bin", "bin" }, { "usr/lib", "lib" }, { "usr/lib64", "lib64" },
		{ "/proc/self/fd", "dev/fd" }, { "pts/ptmx", "dev/ptmx" }, { "/proc/self/fd/0", "dev/stdin" },
		{ "/proc/self/fd/1", "dev/stdout" }, { "/proc/self/fd/2", "dev/stderr" },
	};
	static const char *const root_options[] = { "size", "4m", "mode", "0755", NULL };
	static const char *const tmp_options[] = { "size", "67108864", "mode", "1777", NULL };
	static const char *const pts_options[] = { "ptmxmode", "0666", "mode", "0620", NULL };
	static const char *const none[] = { NULL };
	int root = filesystem("tmpfs", root_options, 6);
	int place = NEED(open("/", O_PATH | O_CLOEXEC));
	NEED(syscall(SYS_move_mount, root, "", place, "", 0x44));
	close(place);
	NEED(mkdirat(root, "dev", 0755));
	for (int i = 0; i < 8; i++)
		NEED(symlinkat(links[i][0], root, links[i][1]));
	for (int i = 0; i < 6; i++) {
		char source[32] = "/";
		struct stat stat;
		NEED(mknodat(root, devices[i], S_IFREG | 0644, 0));
		strcat(source, devices[i]);
		int device = open_path(AT_FDCWD, source, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
		NEED(fstat(device, &stat));
		int tree = NEED(syscall(SYS_open_tree, device, "", 1 | O_CLOEXEC | EMPTY_PATH | RECURSIVE));
		close(device);
		attributes(tree, 2 | 8, 1 << 18, 1);
		attach(tree, root, devices[i]);
	}
	NEED(mkdirat(root, "dev/pts", 0755));
	attach(filesystem("devpts", pts_options, 2 | 8), root, "dev/pts");
	NEED(mkdirat(root, "dev/shm", 0755));
	attach(filesystem("tmpfs", tmp_options, 6), root, "dev/shm");
	NEED(mkdirat(root, "proc", 0755));
	attach(filesystem("proc", none, 14), root, "proc");
	NEED(mkdirat(root, "tmp", 0755));
	attach(filesystem("tmpfs", tmp_options, 6), root, "tmp");
	for (int i = 0; i < bind_count; i++) {
		char target[4096];
		strcpy(target, binds[i] + 1);
		directories(root, target, !is_file[i]);
		if (is_file[i])
			NEED(mknodat(root, target, S_IFREG | 0644, 0));
		int tree = privileged ? trees[i] : tree_of(binds[i]);
		attributes(tree, 7, 1 << 18, 1);
		attach(tree, root, target);
	}
	attributes(root, 1, 0, 0);
	NEED(fchdir(root));
	NEED(syscall(SYS_pivot_root, ".", "."));
	NEED(syscall(SYS_umount2, ".", 2));
	NEED(chdir("/"));
	close(root);
}

static void restrict_files(void)
{
	static const char *const paths[] = { "/", "/dev", "/dev/shm", "/proc", "/tmp" };
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0)
		return;
	uint64_t handled[3] = { (1 << 13) - 1, 0, 0 };
	int rules = NEED(syscall(SYS_landlock_create_ruleset, handled, 8, 0));
	for (int i = 0; i < 5 + bind_count; i++) {
		int path = NEED(open(i < 5 ? paths[i] : binds[i - 5], O_PATH | O_CLOEXEC));
		int file = i >= 5 && is_file[i - 5];
		struct landlock_path_beneath_attr rule = { .allowed_access = file ? 5 : 13, .parent_fd = path };
		NEED(syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
		close(path);
	}
	NEED(syscall(SYS_landlock_restrict_self, rules, 0));
	close(rules);
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };
	NEED(syscall(SYS_capset, &header, data));
	NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void become_program(void)
{
	uint64_t none = 0;
	struct sock_fprog rules = { filter_size, filter };
	struct rlimit limit;
	for (int number = 1; number <= 64; number++) {
		uint64_t action[4] = { 0 };
		syscall(SYS_rt_sigaction, number, action, NULL, 8);
	}
	NEED(setsid());
	getrlimit(RLIMIT_NPROC, &limit);
	NEED(setrlimit(RLIMIT_NPROC, &limit));
	getrlimit(RLIMIT_DATA, &limit);
	NEED(setrlimit(RLIMIT_DATA, &limit));
	umask(022);
	NEED(chdir(here));
	for (int capability = 0; capability <= 40; capability++)
		prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	NEED(prctl(PR_SET_SECUREBITS, 3, 0, 0, 0));
	NEED(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	drop_capabilities();
	restrict_files();
	NEED(syscall(SYS_close_range, 3, ~0U, 4));
	NEED(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &rules));
	NEED(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8));
	char *const argv[] = { (char *)program, NULL };
	char *const envp[] = { "PATH=/usr/local/bin:/usr/bin:/bin", NULL };
	NEED(execve(program, argv, envp));
}

static void first_process(int control)
{
	uint64_t all = ~0ULL, child = 1ULL << (SIGCHLD - 1);
	int message[4], status;
	NEED(recv(control, message, sizeof message, 0) == sizeof message ? 0 : -1);
	NEED(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8));
	NEED(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	NEED(syscall(SYS_unshare, CLONE_NEWCGROUP));
	int place = NEED(open("/", O_PATH | O_CLOEXEC));
	attributes(place, 0, 1 << 18, 1);
	close(place);
	if (privileged)
		NEED(syscall(SYS_setgroups, 0, NULL));
	NEED(syscall(SYS_setresgid, 1000, 1000, 1000));
	NEED(syscall(SYS_setresuid, 1000, 1000, 1000));
	NEED(sethostname("sandbox", 7));
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int net = NEED(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	NEED(ioctl(net, SIOCSIFFLAGS, &loopback));
	close(net);
	build_view();
	if (NEED(syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0)) == 0)
		become_program();
	NEED(syscall(SYS_close_range, 0, control - 1, 0));
	NEED(syscall(SYS_close_range, control + 1, ~0U, 0));
	drop_capabilities();
	int children = NEED(syscall(SYS_signalfd4, -1, &child, 8, SFD_CLOEXEC | SFD_NONBLOCK));
	NEED(send(control, message, sizeof message, MSG_NOSIGNAL));
	struct pollfd entries[2] = { { control, POLLIN, 0 }, { children, POLLIN, 0 } };
	while (syscall(SYS_wait4, -1, &status, WNOHANG | WUNTRACED, NULL) == 0)
		NEED(poll(entries, 2, -1));
	message[1] = status;
	NEED(send(control, message, sizeof message, MSG_NOSIGNAL));
	syscall(SYS_exit_group, 0);
}

static void put(int at, const char *path, const char *text)
{
	int file = NEED(openat(at, path, O_WRONLY | O_CLOEXEC));
	NEED(write(file, text, strlen(text)));
	close(file);
}

static void map(int pid, const char *file, unsigned outside)
{
	char path[64], text[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	snprintf(text, sizeof text, "1000 %u 1\n", outside);
	put(AT_FDCWD, path, text);
}

static void launch(void)
{
	int ends[2], pidfd = -1, message[4] = { 0 }, place = -1;
	siginfo_t ended;
	for (int i = 0; privileged && i < bind_count; i++)
		trees[i] = tree_of(binds[i]);
	if (group >= 0) {
		NEED(mkdirat(group, "floor", 0755));
		place = NEED(openat(group, "floor", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	}
	NEED(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
			 CLONE_NEWNET | CLONE_CLEAR_SIGHAND | (group >= 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = group >= 0 ? place : 0,
	};
	int pid = NEED(syscall(SYS_clone3, &args, sizeof args));
	if (pid == 0) {
		close(ends[0]);
		first_process(ends[1]);
	}
	close(ends[1]);
	if (!privileged) {
		char path[64];
		snprintf(path, sizeof path, "/proc/%d/setgroups", pid);
		put(AT_FDCWD, path, "deny");
	}
	map(pid, "gid_map", privileged ? USER_OUTSIDE : getegid());
	map(pid, "uid_map", privileged ? USER_OUTSIDE : geteuid());
	NEED(send(ends[0], message, sizeof message, MSG_NOSIGNAL));
	NEED(recv(ends[0], message, sizeof message, 0) == sizeof message ? 0 : -1);
	for (int i = 0; privileged && i < bind_count; i++)
		close(trees[i]);
	NEED(recv(ends[0], message, sizeof message, 0) == sizeof message ? 0 : -1);
	NEED(message[1] == 0 ? 0 : -1);
	NEED(waitid(P_PIDFD, pidfd, &ended, WEXITED));
	if (group >= 0) {
		char events[256];
		put(place, "cgroup.kill", "1");
		int file = NEED(openat(place, "cgroup.events", O_RDONLY | O_CLOEXEC));
		NEED(read(file, events, sizeof events));
		close(file);
		NEED(unlinkat(group, "floor", AT_REMOVEDIR));
		close(place);
	}
	close(ends[0]);
	close(pidfd);
}

int main(int argc, char **argv)
{
	char byte;
	if (argc < 4 || argc > 4 + 256)
		return 2;
	binds = argv + 4;
	bind_count = argc - 4;
	for (int i = 0; i < bind_count; i++) {
		struct stat stat;
		NEED(lstat(binds[i], &stat));
		is_file[i] = !S_ISDIR(stat.st_mode);
	}
	make_filter(atoi(argv[1]));
	if (strcmp(argv[2], "-") != 0)
		group = NEED(open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	program = argv[3];
	privileged = geteuid() == 0;
	NEED(getcwd(here, sizeof here) ? 0 : -1);
	while (read(0, &byte, 1) == 1) {
		struct timespec from, to;
		clock_gettime(CLOCK_MONOTONIC, &from);
		launch();
		clock_gettime(CLOCK_MONOTONIC, &to);
		int64_t took = (to.tv_sec - from.tv_sec) * 1000000000LL + (to.tv_nsec - from.tv_nsec);
		NEED(write(1, &took, sizeof took));
	}
	return 0;
}
