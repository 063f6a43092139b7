/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_BENCH_RIVAL_H
#define TESTS_BENCH_RIVAL_H

#include <stdbool.h>
#include <stddef.h>

#include "ends.h"

/*
 * What else can end ghosts, started the moment their owners are dead. Each is told in advance what
 * the service has to find out.
 */

/* Who dies, and what each of them leaves. */
struct victims {
	unsigned count;
	int pidfd[16];
	const struct target *targets; /* each_count of the first victim, then of the second ... */
	size_t each_count;
};

struct rival {
	const char *name;
	/* Before the deaths: whatever costs time. May be NULL. */
	void (*prepare)(const struct victims *victims);
	/* The victim of that number is dead; `all`: it is the last. */
	void (*act)(const struct victims *victims, unsigned number, bool all);
};

/* NULL when there is none of that name. */
const struct rival *rival_find(const char *name);

/* Waits for the deaths and acts. Ends the process. */
_Noreturn void rival_run(const struct rival *rival, const struct victims *victims);

#endif
