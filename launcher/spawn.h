/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_SPAWN_H
#define LAUNCHER_SPAWN_H

#include <stdint.h>

#include "ids.h"

/* A descriptor and the number it is to have in the role. */
struct fd_place {
	int from; /* -1: nothing is put there */
	int to;
};

/* One role's program, and all it will be: ids, capabilities, descriptors. */
struct role {
	const char *name;	 /* file name in the libexec folder */
	const char *const *argv; /* after argv[0], NULL-terminated */
	struct role_ids ids;	 /* uid 0: stay who we are (only --check-config does that) */
	uint64_t caps;		 /* permitted, effective, inheritable, ambient: CAP_BIT() mask */
	uint64_t bounding;
	int nice; /* setpriority(2), as far as it is allowed; 0: the launcher's own */
	const struct fd_place *fds;
	unsigned fd_count;
};

/* Opens libexec/name for spawn_become(). Fatal when it is missing. Done before anything is started.
 */
int spawn_program_open(const char *libexec, const char *name);

/* This process drops to role's ids and capabilities, places the descriptors, closes all others
 * above standard error, empties the environment and executes the program. Never returns; fatal on
 * failure. */
_Noreturn void spawn_become(const struct role *role, const char *libexec, int program);

#endif
