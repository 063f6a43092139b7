/* SPDX-License-Identifier: Apache-2.0 */
#include "privs.h"

#include <errno.h>
#include <cap-ng.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

#ifdef EGB_INTRUDER
#include "tests/variants/intruder.h"
#endif

#ifndef CLOSE_RANGE_CLOEXEC
#include <linux/close_range.h>
#endif

static void
limit_set(int resource, const char *name, rlim_t value)
{
	struct rlimit lim = { value, value };

	if (setrlimit((__rlimit_resource_t)resource, &lim) < 0)
		fatal("cannot set %s to %llu: %s", name, (unsigned long long)value,
			strerror(errno));
}

/* Descriptors 0 and 1 belong to whoever started the service: a role has no use for them. */
static void
stdio_detach(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		fatal("cannot put standard input and output on /dev/null: %s", strerror(errno));
	if (fd > STDERR_FILENO)
		close(fd);
}

void
privs_harden(const char *name, unsigned nofile, unsigned first_closed)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fatal("cannot set dumpable and no-new-privs: %s", strerror(errno));
	if (prctl(PR_SET_NAME, name, 0, 0, 0) < 0)
		fatal("cannot set the process's name: %s", strerror(errno));
	stdio_detach();
	/* close_range(2) is 5.9; the floor is 5.8, where the launcher's CLOEXEC has to be enough.
	 */
	if (syscall(SYS_close_range, first_closed, ~0u, 0) < 0 && errno != ENOSYS)
		fatal("cannot close inherited descriptors: %s", strerror(errno));
	if (chdir("/") < 0)
		fatal("cannot change to /: %s", strerror(errno));
	limit_set(RLIMIT_CORE, "RLIMIT_CORE", 0);
	limit_set(RLIMIT_NPROC, "RLIMIT_NPROC", 0);
	limit_set(RLIMIT_NOFILE, "RLIMIT_NOFILE", nofile);
#ifdef EGB_INTRUDER
	intruder_prepare();
#endif
}

static void
caps_select(capng_type_t set, uint64_t mask)
{
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if ((mask & CAP_BIT(cap)) != 0)
			capng_update(CAPNG_ADD, set, cap);
	}
}

void
privs_drop_to(const struct privs *keep)
{
	/* The bounding set needs CAP_SETPCAP to shrink, which no role has: the launcher did it. */
	capng_clear(CAPNG_SELECT_CAPS);
	capng_clear(CAPNG_SELECT_AMBIENT);
	caps_select(CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE, keep->permitted);
	caps_select(CAPNG_AMBIENT, keep->ambient);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		fatal("cannot drop capabilities: %s", strerror(errno));
	if (capng_apply(CAPNG_SELECT_AMBIENT) != 0)
		fatal("cannot drop ambient capabilities: %s", strerror(errno));
}

static void
ids_prove(void)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;
	int groups;

	if (getresuid(&r, &e, &s) < 0 || getresgid(&rg, &eg, &sg) < 0)
		fatal("cannot read the ids back: %s", strerror(errno));
	if (r == 0 || r != e || r != s || rg == 0 || rg != eg || rg != sg)
		fatal("ids are uid %u/%u/%u gid %u/%u/%u, not one unprivileged pair", r, e, s, rg,
			eg, sg);
	groups = getgroups(0, NULL);
	if (groups < 0)
		fatal("cannot read the supplementary groups back: %s", strerror(errno));
	if (groups != 0)
		fatal("%d supplementary groups are left", groups);
}

struct cap_sets {
	uint64_t effective, permitted, inheritable;
};

static void
caps_read(struct cap_sets *sets)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data) < 0)
		fatal("cannot read the capabilities back: %s", strerror(errno));
	sets->effective = data[0].effective | (uint64_t)data[1].effective << 32;
	sets->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	sets->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
}

/* One bit per capability for which prctl(operation, argument, cap) says 1. Ends at the first number
 * the kernel does not know, so that a capability newer than our headers is looked at, too. Any
 * other end would pass for having none: CAP_BPF is in every kernel that can run a role. */
static uint64_t
caps_probe(int operation, unsigned long argument)
{
	uint64_t mask = 0;

	for (unsigned long cap = 0; cap < 64; cap++) {
		int has = operation == PR_CAPBSET_READ ? prctl(operation, cap, 0, 0, 0)
						       : prctl(operation, argument, cap, 0, 0);

		if (has < 0 && (errno != EINVAL || cap <= CAP_BPF))
			fatal("cannot read back whether capability %lu is gone: %s", cap,
				strerror(errno));
		if (has < 0)
			break;
		if (has == 1)
			mask |= CAP_BIT(cap);
	}
	return mask;
}

static void
caps_prove(const struct privs *want)
{
	struct cap_sets sets;
	uint64_t bounding = caps_probe(PR_CAPBSET_READ, 0);
	uint64_t ambient = caps_probe(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET);

	caps_read(&sets);
	if (sets.permitted != want->permitted || sets.effective != want->permitted ||
		sets.inheritable != want->permitted)
		fatal("capabilities are permitted %llx effective %llx inheritable %llx, expected "
		      "%llx",
			(unsigned long long)sets.permitted, (unsigned long long)sets.effective,
			(unsigned long long)sets.inheritable, (unsigned long long)want->permitted);
	if (bounding != want->bounding || ambient != want->ambient)
		fatal("bounding set %llx and ambient set %llx, expected %llx and %llx",
			(unsigned long long)bounding, (unsigned long long)ambient,
			(unsigned long long)want->bounding, (unsigned long long)want->ambient);
}

/* Asks for one capability more than it may have: CAP_SYS_ADMIN, which no role ever keeps. */
static int
capability_regain(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	data[0].permitted = data[0].effective = 1u << CAP_SYS_ADMIN;
	return (int)syscall(SYS_capset, &head, data);
}

/* Only the kernel's "you may not" is a proof; a call that failed for want of memory is none. */
static void
must_be_refused(int rc, const char *what)
{
	if (rc == 0)
		fatal("could %s after the drop", what);
	if (errno != EPERM)
		fatal("cannot prove that it could not %s: %s", what, strerror(errno));
}

static void
regain_must_fail(void)
{
	must_be_refused(setuid(0), "become root again");
	must_be_refused(setgid(0), "become group root again");
	must_be_refused(setgroups(0, NULL), "change its groups");
	must_be_refused(capability_regain(), "take a capability back");
}

void
privs_prove(const struct privs *want)
{
	ids_prove();
	caps_prove(want);
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		fatal("no-new-privs is not on or dumpable is not off");
	regain_must_fail();
}
