/* SPDX-License-Identifier: Apache-2.0 */
#include "details.h"

#include <ctype.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"

struct place {
	pid_t pid;
	const uint64_t *args;
	const char *folder;
	char *out;
	size_t size;
};

/* Paths of a run as those of any other. */
static void
path_settle(const struct place *p, const char *path)
{
	size_t len = strlen(p->folder), n = 0;
	const char *in = path;

	if (len != 0 && strncmp(path, p->folder, len) == 0) {
		in = path + len;
		p->out[n++] = '~';
	}
	for (; *in != '\0' && n + 1 < p->size; in++) {
		bool digit = isdigit((unsigned char)*in) != 0;

		if (digit && n != 0 && p->out[n - 1] == '#')
			continue;
		p->out[n++] = digit ? '#' : isspace((unsigned char)*in) != 0 ? '_' : *in;
	}
	p->out[n] = '\0';
}

static void
by_path(const struct place *p, unsigned arg)
{
	char path[256];

	memory_text(p->pid, p->args[arg], path, sizeof(path));
	path_settle(p, path);
}

/* A file by its name, anything else by its number. */
static void
by_fd(const struct place *p, unsigned arg)
{
	char link[64], path[256];
	int fd = (int)p->args[arg];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/fd/%d", p->pid, fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n > 0 && path[0] == '/') {
		path[n] = '\0';
		path_settle(p, path);
		return;
	}
	snprintf(p->out, p->size, "fd%d", fd);
}

/* What is closed while libraries are loaded is nobody's business: only low numbers are told apart.
 */
static void
by_close(const struct place *p, unsigned arg)
{
	by_fd(p, arg);
	if (p->out[0] == '/')
		snprintf(p->out, p->size, "file");
}

static void
by_number(const struct place *p, unsigned arg)
{
	snprintf(p->out, p->size, "%" PRIu64, p->args[arg] & 0xffffffff);
}

static void
by_two_numbers(const struct place *p, unsigned arg)
{
	snprintf(p->out, p->size, "%" PRIu64 ":%" PRIu64, p->args[arg] & 0xffffffff,
		p->args[arg + 1] & 0xffffffff);
}

/* fstat() is the C library's newfstatat() of an empty path. */
static void
by_path_or_fd(const struct place *p, unsigned arg)
{
	by_path(p, arg);
	if (strcmp(p->out, "?") == 0)
		by_fd(p, arg - 1);
}

/* prctl(): the operation; for ambient capabilities what about them. */
static void
by_prctl(const struct place *p, unsigned arg)
{
	if (p->args[arg] == 47 /* PR_CAP_AMBIENT */)
		by_two_numbers(p, arg);
	else
		by_number(p, arg);
}

static void
by_mapping(const struct place *p, unsigned arg)
{
	snprintf(p->out, p->size, "%s", (p->args[arg] & MAP_ANONYMOUS) != 0 ? "anonymous" : "file");
}

static void
by_protection(const struct place *p, unsigned arg)
{
	snprintf(p->out, p->size, "%" PRIu64, p->args[arg]);
}

/* ppoll(): how many, and the first of them. */
static void
by_poll(const struct place *p, unsigned arg)
{
	struct pollfd first = { .fd = -1 };

	if (p->args[arg + 1] != 0)
		memory_read(p->pid, p->args[arg], &first, sizeof(first));
	snprintf(p->out, p->size, "%" PRIu64 ":fd%d", p->args[arg + 1], first.fd);
}

/* prlimit64(): which limit, and whether it is set. */
static void
by_limit(const struct place *p, unsigned arg)
{
	snprintf(p->out, p->size, "%s:%" PRIu64, p->args[arg + 1] != 0 ? "set" : "get",
		p->args[arg]);
}

static const struct {
	const char *call;
	void (*describe)(const struct place *p, unsigned arg);
	unsigned arg;
} details[] = {
	{ "accept4", by_fd, 0 },
	{ "access", by_path, 0 },
	{ "bind", by_fd, 0 },
	{ "bpf", by_number, 0 },
	{ "close", by_close, 0 },
	{ "close_range", by_number, 2 },
	{ "connect", by_fd, 0 },
	{ "dup2", by_number, 1 },
	{ "dup3", by_number, 1 },
	{ "epoll_ctl", by_two_numbers, 1 },
	{ "execve", by_path, 0 },
	{ "faccessat2", by_path, 1 },
	{ "fchown", by_fd, 0 },
	{ "fcntl", by_number, 1 },
	{ "fdatasync", by_fd, 0 },
	{ "flock", by_fd, 0 },
	{ "fstat", by_fd, 0 },
	{ "getdents64", by_fd, 0 },
	{ "getpeername", by_fd, 0 },
	{ "getsockname", by_fd, 0 },
	{ "getsockopt", by_two_numbers, 1 },
	{ "ioctl", by_number, 1 },
	{ "lchown", by_path, 0 },
	{ "listen", by_fd, 0 },
	{ "lseek", by_fd, 0 },
	{ "lstat", by_path, 0 },
	{ "mkdir", by_path, 0 },
	{ "mmap", by_mapping, 3 },
	{ "mprotect", by_protection, 2 },
	{ "newfstatat", by_path_or_fd, 1 },
	{ "open", by_path, 0 },
	{ "openat", by_path, 1 },
	{ "poll", by_poll, 0 },
	{ "ppoll", by_poll, 0 },
	{ "prctl", by_prctl, 0 },
	{ "pread64", by_fd, 0 },
	{ "pwrite64", by_fd, 0 },
	{ "prlimit64", by_limit, 1 },
	{ "read", by_fd, 0 },
	{ "readlink", by_path, 0 },
	{ "readlinkat", by_path, 1 },
	{ "recvfrom", by_fd, 0 },
	{ "recvmmsg", by_fd, 0 },
	{ "recvmsg", by_fd, 0 },
	{ "rt_sigaction", by_number, 0 },
	{ "seccomp", by_number, 0 },
	{ "sendmsg", by_fd, 0 },
	{ "sendto", by_fd, 0 },
	{ "setsockopt", by_two_numbers, 1 },
	{ "shutdown", by_fd, 0 },
	{ "socket", by_two_numbers, 0 },
	{ "socketpair", by_two_numbers, 0 },
	{ "stat", by_path, 0 },
	{ "statfs", by_path, 0 },
	{ "unlink", by_path, 0 },
	{ "write", by_fd, 0 },
	{ "writev", by_fd, 0 },
};

void
detail_of(pid_t pid, const char *call, const uint64_t args[6], const char *folder, char *out,
	size_t size)
{
	struct place place = {
		.pid = pid, .args = args, .folder = folder, .out = out, .size = size
	};

	snprintf(out, size, "-");
	for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++) {
		if (strcmp(details[i].call, call) == 0)
			details[i].describe(&place, details[i].arg);
	}
	if (out[0] == '\0')
		snprintf(out, size, "-");
}
