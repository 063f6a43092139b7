/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_BATCH_H
#define BROKER_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "budget.h"
#include "ghosts.h"
#include "record.h"

/*
 * Ghosts of whoever is over a record budget: one `decide` record speaks of up to RECORD_GHOSTS_MAX
 * of them, one `destroy` record of what came of them. Of what is left alone only numbers are kept.
 *
 * A batch is open, and its ghosts wait (GHOST_BATCHED), until it is full or its account has a batch
 * to spend; then its record is made, and the ghosts are requested like any other. Each open batch
 * has a ghost in it, and so many closed ones may be without their results, so the tables that bound
 * ghosts and accounts bound all this, too.
 */

#define BATCHES_CLOSED_MAX 1024u

/* While an account has fewer open ones, each uid and unit gets one of its own: who is over budget
 * through another's fault does not stand in that one's queue. */
#define BATCHES_OWN_MAX 8u

/* What is not answered after this time is recorded as far as it is; and again after twice the time,
 * and so on. */
#define BATCH_PATIENCE_NS (5 * NS_PER_S)

struct batch {
	uint64_t number; /* of its record, 0: open */
	struct budget_account *account;
	char rule[RULE_NAME_MAX];
	const char *reason;
	enum exit_class exit;
	bool proved;
	bool own; /* of one uid and unit */
	uint64_t uid;
	char unit[BREAKER_KEY_LEN];
	struct ghost_group members; /* open: all; closed: those that have no result */
	unsigned count;		    /* members */
	uint64_t exits;
	mono_ns opened;
	struct record_batch_result result; /* since the last record that said so */
	mono_ns say_at;
	uint64_t patience_ns;
	TAILQ_ENTRY(batch) queue;
};

struct batches {
	struct budget_accounts active; /* accounts with open batches, or numbers not recorded */
	struct batch_queue closed;
	unsigned closed_count;
	uint64_t last_number;
	bool waiting; /* something is to be looked at, at `due` */
	mono_ns due;
	bool stopping; /* nothing waits any more */
};

#endif
