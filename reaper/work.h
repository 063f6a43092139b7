/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_WORK_H
#define REAPER_WORK_H

#include "kind.h"
#include "queue.h"
#include "proto/limit.h"

/*
 * What happens to a request, whatever its kind: validate, look, take a token, release, answer - or
 * wait and look again.
 */

#define WORK_RETRY_FIRST_NS (50 * 1000ull)    /* the first back-off, doubled each time, */
#define WORK_RETRY_MAX_NS   (100 * NS_PER_MS) /* up to this, */
#define WORK_RETRY_TOTAL_NS (NS_PER_S)	      /* until this long after the first look */

/* A dump walks the kernel's whole table: at most twice as many of them in any second. */
#define WORK_ROUNDS_PER_S 5

struct work {
	const struct kind *kind;
	struct kind_scope scope;
	struct limit limit;  /* of destroys */
	struct limit rounds; /* of dumps */
	struct netlink *netlink, *dumps;
	struct queue queue;
};

/* Puts a request into the queue, due now. The caller has made sure that there is room. */
void work_add(struct work *w, const struct wire_destroy *request, mono_ns now);

/* Does up to WIRE_BATCH_MAX requests that are due at `now`: in one batch, but for those that were
 * proved, which are looked at and released one by one, so that little time lies between. Writes the
 * finished ones' results (room for WIRE_BATCH_MAX) and returns their number in *results. Returns
 * the number of requests done. */
size_t work_batch(struct work *w, mono_ns now, struct wire_result_record *records, size_t *results);

/* Pure. The pause after look number `tries` (1, 2, ...), nanoseconds. */
uint64_t work_backoff(unsigned tries);

#endif
