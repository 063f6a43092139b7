/* SPDX-License-Identifier: Apache-2.0 */
#include "intruder.h"

#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/auditlog.h"
#include "broker/load.h"
#include "proto/fds.h"

#define CHANNEL 3    /* every role's first; the broker's leads to the tracker */
#define OWN_FD	5000 /* stands for this program, opened before */
#define OTHER	5001 /* stands for another role's pid */
#define MEMORY	5002 /* stands for "/proc/OTHER/mem" */
#define TEXT	PTR(text)

static char text[64] = "intruder", memory_path[64];
static long own_fd, other;
static char *const no_strings[] = { NULL };
static unsigned char union_bpf[128];
static unsigned char page[4096] __attribute__((aligned(4096)));
static struct iovec piece = { text, 8 };

/* A message with a descriptor attached. */
static union {
	struct cmsghdr header;
	unsigned char room[CMSG_SPACE(sizeof(int))];
} attached = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
		       .cmsg_level = SOL_SOCKET,
		       .cmsg_type = SCM_RIGHTS } };
static struct msghdr with_fd = { .msg_iov = &piece,
	.msg_iovlen = 1,
	.msg_control = &attached,
	.msg_controllen = sizeof(attached) };

#define CALL(name, ...)             \
	{                           \
#name, SYS_##name,  \
		{                   \
			__VA_ARGS__ \
		}                   \
	}
#define CALL_AS(as, name, ...)      \
	{                           \
		as, SYS_##name,     \
		{                   \
			__VA_ARGS__ \
		}                   \
	}
#define PTR(object) ((long)(object))

static const struct action {
	const char *name;
	long nr;
	long args[6];
} actions[] = {
	/* files */
	CALL_AS("open-relative", openat, AT_FDCWD, PTR("etc/passwd"), O_RDONLY),
	CALL_AS("open-absolute", openat, AT_FDCWD, PTR("/etc/passwd"), O_RDONLY),
	CALL_AS("open-by-folder", openat, BROKER_FD_LOG_DIR, PTR("."), O_RDONLY | O_DIRECTORY),
	CALL_AS("open-cut", openat, BROKER_FD_LOG_DIR, PTR("audit.jsonl"),
		AUDITLOG_SUCCESSOR_FLAGS | O_TRUNC, AUDITLOG_SUCCESSOR_MODE),
	CALL_AS("open-memory", openat, AT_FDCWD, MEMORY, O_RDWR),
	CALL_AS("stat", newfstatat, AT_FDCWD, PTR("/etc/passwd"), PTR(page), 0),
	CALL(unlinkat, BROKER_FD_LOG_DIR, PTR("audit.jsonl"), 0),
	CALL(ftruncate, BROKER_FD_LOG, 0),
	CALL(mount, PTR("none"), PTR("/tmp"), PTR("tmpfs"), 0, 0),
	CALL(chroot, PTR("/tmp")),
	/* what openat(2) passes for in the broker's table: Landlock's */
	CALL_AS("config-itself", openat, BROKER_FD_CONFIG_DIR, PTR("eghostbuster.conf"),
		LOAD_CONFIG_FLAGS),
	CALL_AS("config-absolute", openat, BROKER_FD_CONFIG_DIR, PTR("/etc/passwd"),
		LOAD_CONFIG_FLAGS),
	CALL_AS("config-upwards", openat, BROKER_FD_CONFIG_DIR, PTR("../../../etc/passwd"),
		LOAD_CONFIG_FLAGS),
	CALL_AS("log-absolute", openat, BROKER_FD_LOG_DIR, PTR("/tmp/eghostbuster-intruder"),
		AUDITLOG_SUCCESSOR_FLAGS, AUDITLOG_SUCCESSOR_MODE),
	CALL_AS("log-upwards", openat, BROKER_FD_LOG_DIR, PTR("../eghostbuster-intruder"),
		AUDITLOG_SUCCESSOR_FLAGS, AUDITLOG_SUCCESSOR_MODE),
	/* sockets, descriptors */
	CALL_AS("socket-inet", socket, AF_INET, SOCK_STREAM, 0),
	CALL_AS("socket-netlink", socket, AF_NETLINK, SOCK_RAW, 0),
	CALL_AS("socket-unix", socket, AF_UNIX, SOCK_STREAM, 0),
	CALL(sendmsg, CHANNEL, PTR(&with_fd), 0),
	CALL_AS("sendto-address", sendto, CHANNEL, TEXT, 8, MSG_NOSIGNAL, PTR(page), 16),
	CALL(dup, CHANNEL),
	CALL_AS("dup-to-the-log", dup3, CHANNEL, BROKER_FD_LOG, O_CLOEXEC),
	CALL(fcntl, CHANNEL, F_DUPFD, 20),
	CALL(ioctl, CHANNEL, 0x8901 /* FIOSETOWN */, PTR(page)),
	/* BPF */
	CALL_AS("bpf-load", bpf, BPF_PROG_LOAD, PTR(union_bpf), sizeof(union_bpf)),
	CALL_AS("bpf-attach", bpf, BPF_LINK_CREATE, PTR(union_bpf), sizeof(union_bpf)),
	CALL_AS("bpf-iterate", bpf, BPF_ITER_CREATE, PTR(union_bpf), sizeof(union_bpf)),
	CALL_AS("bpf-map", bpf, BPF_MAP_UPDATE_ELEM, PTR(union_bpf), sizeof(union_bpf)),
	CALL(perf_event_open, PTR(page), 0, -1, -1, 0),
	/* other processes */
	CALL_AS("ptrace-attach", ptrace, PTRACE_SEIZE, OTHER, 0, 0),
	CALL_AS("kill-role", kill, OTHER, SIGKILL),
	CALL_AS("kill-init", kill, 1, SIGTERM),
	CALL(tgkill, OTHER, OTHER, SIGKILL),
	CALL(pidfd_send_signal, CHANNEL, SIGKILL, 0, 0),
	CALL(process_vm_readv, OTHER, PTR(&piece), 1, PTR(&piece), 1, 0),
	CALL(execve, PTR("/bin/true"), PTR(no_strings), PTR(no_strings)),
	CALL(execveat, OWN_FD, PTR(""), PTR(no_strings), PTR(no_strings), AT_EMPTY_PATH),
#ifdef SYS_fork
	CALL(fork, 0),
#endif
	CALL(clone, SIGCHLD, 0, 0, 0, 0),
	CALL(clone3, PTR(page), 64),
	CALL(setns, CHANNEL, CLONE_NEWNET),
	CALL(unshare, CLONE_NEWUSER),
	/* memory */
	CALL_AS("mmap-execute", mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	CALL_AS("mmap-file", mmap, 0, 4096, PROT_READ, MAP_PRIVATE, OWN_FD, 0),
	CALL_AS("mprotect-execute", mprotect, PTR(page), 4096, PROT_READ | PROT_EXEC),
	CALL(pkey_mprotect, PTR(page), 4096, PROT_READ | PROT_EXEC, 0),
	CALL(memfd_create, TEXT, 0),
	CALL(userfaultfd, 0),
	/* privileges */
	CALL_AS("prctl-dumpable", prctl, PR_SET_DUMPABLE, 1, 0, 0, 0),
	CALL(setuid, 0),
	CALL(capset, PTR(page), PTR(page)),
	CALL(personality, READ_IMPLIES_EXEC),
	CALL(keyctl, 0, 0, 0, 0, 0),
	CALL(io_uring_setup, 1, PTR(page)),
	CALL(seccomp, 0, 0, 0),
	{ "other-architecture", -1, { 0 } },
#ifdef __x86_64__
	{ "x32", 0x40000000 | __NR_getpid, { 0 } },
#endif
};

static const struct action *chosen;

static const struct action *
action_find(const char *name)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
	}
	dprintf(STDERR_FILENO, "intruder: %s: no such action\n", name);
	_exit(1);
}

/* The first child where there is one (the broker's), else the parent (the broker). */
static long
other_role(void)
{
	FILE *children;
	char path[64];
	long pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	children = fopen(path, "re");
	if (children == NULL || fscanf(children, "%ld", &pid) != 1)
		pid = getppid();
	if (children != NULL)
		fclose(children);
	return pid;
}

void
intruder_prepare(void)
{
	char path[PATH_MAX], role[32], action[64];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("script"));
	char *slash;
	FILE *script;
	bool mine;
	int fd;

	if (n <= 0)
		_exit(1);
	path[n] = '\0';
	slash = strrchr(path, '/');
	fd = open(path, O_PATH);
	own_fd = fcntl(fd, F_DUPFD, BROKER_FD_OPENED); /* above the numbers that mean something */
	close(fd);
	snprintf(text, sizeof(text), "%.60s", slash + 1);
	strcpy(slash + 1, "script");
	script = fopen(path, "re");
	if (script == NULL)
		return;
	if (fscanf(script, "%31s %63s", role, action) != 2)
		_exit(1);
	fclose(script);
	mine = strcmp(role, text) == 0;
	chosen = mine ? action_find(action) : NULL;
	other = other_role();
	snprintf(memory_path, sizeof(memory_path), "/proc/%ld/mem", other);
}

static long
other_architecture(void)
{
#ifdef __x86_64__
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20 /* getpid(2) of i386 */) : "memory");
	return result;
#else
	return syscall(SYS_getpid);
#endif
}

static long
argument(long value)
{
	switch (value) {
	case OWN_FD:
		return own_fd;
	case OTHER:
		return other;
	case MEMORY:
		return PTR(memory_path);
	default:
		return value;
	}
}

void
intruder_act(void)
{
	const int channel = CHANNEL;
	char line[128];
	long a[6], rc;
	int n;

	if (chosen == NULL)
		return;
	memcpy(CMSG_DATA(&attached.header), &channel, sizeof(channel));
	for (unsigned i = 0; i < 6; i++)
		a[i] = argument(chosen->args[i]);
	rc = chosen->nr < 0 ? other_architecture()
			    : syscall(chosen->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (rc >= 0)
		n = snprintf(line, sizeof(line), "intruder: %s: done\n", chosen->name);
	else
		n = snprintf(line, sizeof(line), "intruder: %s: errno %d\n", chosen->name, errno);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(1);
}
