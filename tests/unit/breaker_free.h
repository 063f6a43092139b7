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

	HASH_CLEAR(hh, b->by_key);
	for (unsigned i = 0; i < 2; i++) {
		struct breaker_units *queue = i == 0 ? &b->units : &b->opened;

		while ((unit = TAILQ_FIRST(queue)) != NULL) {
			TAILQ_REMOVE(queue, unit, queue);
			free(unit);
		}
	}
	b->count = b->open = 0;
}

#endif
