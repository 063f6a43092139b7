/* SPDX-License-Identifier: Apache-2.0 */
#include "landlock.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

/* The kernel's interface (include/uapi/linux/landlock.h of 6.18), of which Debian 12's headers know
 * a part only. */

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule	    445
#define SYS_landlock_restrict_self  446
#endif

#define CREATE_VERSION	  1u
#define RULE_PATH_BENEATH 1

#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE  (1ull << 2)
#define FS_MAKE_REG   (1ull << 8)
#define FS_ABI_1      ((1ull << 13) - 1) /* execute ... make symlink */
#define FS_REFER      (1ull << 13)	 /* ABI 2 */
#define FS_TRUNCATE   (1ull << 14)	 /* ABI 3 */
#define FS_IOCTL_DEV  (1ull << 15)	 /* ABI 5 */
#define NET_TCP	      3ull		 /* ABI 4: bind, connect */
#define SCOPE_ALL     3ull		 /* ABI 6: abstract unix sockets, signals */

struct ruleset {
	uint64_t fs, net, scoped; /* denied unless a rule allows it */
};

struct path_beneath {
	uint64_t allowed;
	int32_t folder;
} __attribute__((packed));

/* An older kernel takes the longer struct as long as what it does not know is 0. */
static struct ruleset
ruleset_of(long abi)
{
	struct ruleset all = { .fs = FS_ABI_1 };

	if (abi >= 2)
		all.fs |= FS_REFER;
	if (abi >= 3)
		all.fs |= FS_TRUNCATE;
	if (abi >= 4)
		all.net = NET_TCP;
	if (abi >= 5)
		all.fs |= FS_IOCTL_DEV;
	if (abi >= 6)
		all.scoped = SCOPE_ALL;
	return all;
}

static uint64_t
access_of(enum landlock_right right)
{
	return right == LANDLOCK_READ ? FS_READ_FILE : FS_READ_FILE | FS_WRITE_FILE | FS_MAKE_REG;
}

static void
grant_add(int ruleset, const struct landlock_grant *grant)
{
	const struct path_beneath rule = {
		.allowed = access_of(grant->right),
		.folder = grant->folder,
	};

	if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
		fatal("Landlock refuses a rule for descriptor %d: %s", grant->folder,
			strerror(errno));
}

/* 0: there is none. A container's filter answers EPERM for calls it does not know. */
static long
abi_ask(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);

	if (abi > 0)
		return abi;
	if (abi < 0 && errno != ENOSYS && errno != EOPNOTSUPP && errno != EPERM)
		fatal("Landlock does not tell its version: %s", strerror(errno));
	log_debug("no Landlock: %s", strerror(errno));
	return 0;
}

void
landlock_restrict(const struct landlock_grant *grants, size_t count)
{
	long abi = abi_ask();
	struct ruleset all = ruleset_of(abi);
	int ruleset;

	if (abi == 0)
		return;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	if (ruleset < 0)
		fatal("Landlock refuses a ruleset: %s", strerror(errno));
	for (size_t i = 0; i < count; i++)
		grant_add(ruleset, &grants[i]);
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		fatal("Landlock cannot be put in force: %s", strerror(errno));
	close(ruleset);
	log_debug("Landlock is in force (ABI %ld)", abi);
}
