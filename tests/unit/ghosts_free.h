/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_GHOSTS_FREE_H
#define TESTS_UNIT_GHOSTS_FREE_H

#include <stdlib.h>

#include "broker/ghosts.h"

/* The broker ends with its table; a test begins another, and its leak checker counts. */
static inline void
ghosts_free(struct ghosts *g)
{
	struct owner *owner;

	struct ghost *ghost;

	for (unsigned i = 0; i < GHOST_PHASES; i++) {
		while ((ghost = ghosts_first(g, (enum ghost_phase)i)) != NULL)
			ghosts_remove(g, ghost);
	}
	while ((ghost = ghosts_first_due(g)) != NULL)
		ghosts_remove(g, ghost);
	/* Without ghosts all owners are idle. */
	HASH_CLEAR(hh, g->by_process);
	while ((owner = TAILQ_FIRST(&g->idle)) != NULL) {
		TAILQ_REMOVE(&g->idle, owner, idle);
		free(owner);
	}
	g->idle_count = 0;
}

#endif
