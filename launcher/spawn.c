/* SPDX-License-Identifier: Apache-2.0 */
#include "spawn.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/log.h"
#include "proto/privs.h"

#define FD_PARKING 64 /* above every number a role uses */
#define ARGV_MAX   24

int
spawn_program_open(const char *libexec, const char *name)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", libexec, name);
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		fatal("cannot open the program %s: %s", path, strerror(errno));
	return fd;
}

/* Everything above the parking place goes at exec, even what was inherited without CLOEXEC.
 * Before 5.11 one by one. */
static void
inherited_close(void)
{
	if (syscall(SYS_close_range, FD_PARKING, ~0u, 1u << 2 /* CLOSE_RANGE_CLOEXEC */) == 0)
		return;
	for (int fd = FD_PARKING; fd < 65536; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Targets may be among the sources' own numbers: all sources are parked first, then placed. The
 * program's descriptor stays parked and closes itself on exec. */
static int
fds_place(const struct role *role, int program)
{
	int parked[16], last = STDERR_FILENO;

	if (role->fd_count > sizeof(parked) / sizeof(parked[0]))
		fatal("too many descriptors for the %s", role->name);
	program = fcntl(program, F_DUPFD_CLOEXEC, FD_PARKING);
	if (program < 0)
		fatal("cannot duplicate the program's descriptor for the %s: %s", role->name,
			strerror(errno));
	for (unsigned i = 0; i < role->fd_count; i++) {
		parked[i] = role->fds[i].from < 0
				    ? -1
				    : fcntl(role->fds[i].from, F_DUPFD_CLOEXEC, FD_PARKING);
		if (role->fds[i].from >= 0 && parked[i] < 0)
			fatal("cannot duplicate a descriptor for the %s: %s", role->name,
				strerror(errno));
	}
	for (int fd = STDERR_FILENO + 1; fd < FD_PARKING; fd++)
		close(fd);
	for (unsigned i = 0; i < role->fd_count; i++) {
		int to = role->fds[i].to;

		if (parked[i] >= 0 && dup2(parked[i], to) < 0)
			fatal("cannot place a descriptor for the %s: %s", role->name,
				strerror(errno));
		if (to > last)
			last = to;
	}
	inherited_close();
	return program;
}

static void
caps_add(capng_type_t set, uint64_t mask)
{
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if ((mask & CAP_BIT(cap)) != 0)
			capng_update(CAPNG_ADD, set, cap);
	}
}

static void
caps_apply(const struct role *role, capng_select_t set)
{
	if (capng_apply(set) != 0)
		fatal("cannot set the capabilities of the %s: %s", role->name, strerror(errno));
}

/*
 * The order matters. Inheritable before the bounding set shrinks (capset() wants it inside the old
 * bounding set), bounding while CAP_SETPCAP is there, ids with KEEPCAPS, ambient last (it must be
 * inside permitted and inheritable).
 */
static void
privileges_drop(const struct role *role)
{
	const uint64_t changing = CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETPCAP);

	capng_clear(CAPNG_SELECT_ALL);
	caps_add(CAPNG_EFFECTIVE | CAPNG_PERMITTED, role->caps | changing);
	caps_add(CAPNG_INHERITABLE, role->caps);
	caps_add(CAPNG_BOUNDING_SET, role->bounding);
	caps_apply(role, CAPNG_SELECT_CAPS);
	caps_apply(role, CAPNG_SELECT_BOUNDS);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
		setresgid(role->ids.gid, role->ids.gid, role->ids.gid) < 0 ||
		setresuid(role->ids.uid, role->ids.uid, role->ids.uid) < 0)
		fatal("cannot change to uid %u for the %s: %s", role->ids.uid, role->name,
			strerror(errno));
	capng_clear(CAPNG_SELECT_CAPS);
	caps_add(CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE | CAPNG_AMBIENT, role->caps);
	caps_apply(role, CAPNG_SELECT_CAPS);
	caps_apply(role, CAPNG_SELECT_AMBIENT);
}

/* Where it is not allowed the role works as well, only later when much goes on. Not root: started
 * by a service manager, which has seen to that, and whose filter need not know these calls. */
static void
priority_raise(const struct role *role)
{
	errno = 0;
	if (role->nice == 0 || geteuid() != 0 ||
		(getpriority(PRIO_PROCESS, 0) <= role->nice && errno == 0))
		return;
	if (setpriority(PRIO_PROCESS, 0, role->nice) < 0)
		log_debug("the %s has no priority over others: %s", role->name, strerror(errno));
}

_Noreturn void
spawn_become(const struct role *role, const char *libexec, int program)
{
	char path[PATH_MAX];
	const char *argv[ARGV_MAX] = { path };
	const char *const envp[] = { NULL };
	unsigned n = 0;

	snprintf(path, sizeof(path), "%s/%s", libexec, role->name);
	for (; role->argv[n] != NULL && n + 2 < ARGV_MAX; n++)
		argv[n + 1] = role->argv[n];
	program = fds_place(role, program);
	priority_raise(role);
	if (role->ids.uid != 0)
		privileges_drop(role);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fatal("cannot set no-new-privs: %s", strerror(errno));
	/* By descriptor: a folder on the way may be closed to the role's account. */
	syscall(SYS_execveat, program, "", argv, envp, AT_EMPTY_PATH);
	fatal("cannot execute %s as uid %u: %s", path, role->ids.uid, strerror(errno));
}
