/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BUDGET_FREE_H
#define TESTS_UNIT_BUDGET_FREE_H

#include <stdlib.h>

#include "broker/budget.h"

/* The broker ends with its accounts; a test begins others, and its leak checker counts. */
static inline void
budget_free(struct budget *b)
{
	struct budget_account *account;

	HASH_CLEAR(hh, b->by_key);
	for (unsigned kind = BUDGET_UID; kind <= BUDGET_UNIT; kind++) {
		while ((account = TAILQ_FIRST(&b->used[kind])) != NULL) {
			TAILQ_REMOVE(&b->used[kind], account, used);
			free(account);
		}
		b->count[kind] = 0;
	}
}

#endif
