/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BREAKER_FREE_H
#define TESTS_UNIT_BREAKER_FREE_H

#include <stdlib.h>

#include "broker/breaker.h"

/* The broker ends with its units; a test begins others, and its leak checker counts. */
static inline void
breaker_free(struct breaker *b)
{
	struct breaker_unit *unit;

	while ((unit = TAILQ_FIRST(&b->units)) != NULL) {
		TAILQ_REMOVE(&b->units, unit, queue);
		free(unit);
	}
	b->count = b->open = 0;
}

#endif
