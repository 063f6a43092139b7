/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_QUEUE_H
#define REAPER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kind.h"

/*
 * All requests in hand, ordered by the time they are due: a new one at once, one that is retried
 * after its back-off. A fixed table, so that a broker cannot make the reaper grow. Pure.
 */

#define QUEUE_MAX 4096u

struct queue {
	struct ticket tickets[QUEUE_MAX];
	uint16_t spare[QUEUE_MAX]; /* indices of unused tickets, a stack */
	uint16_t heap[QUEUE_MAX];  /* indices of waiting tickets, earliest due first */
	size_t spares, waiting;
	uint64_t order; /* of the next ticket put */
};

void queue_init(struct queue *q);

/* Tickets that queue_new() can still give. */
size_t queue_room(const struct queue *q);

/* Takes an unused ticket, all zero. NULL when there is no room. Not waiting until queue_put(). */
struct ticket *queue_new(struct queue *q);

/* Lets a ticket wait for its `due`. Of those due at the same time the first put comes first. */
void queue_put(struct queue *q, struct ticket *t);

/* The earliest due time of the waiting tickets. False when none waits. */
bool queue_next(const struct queue *q, mono_ns *due);

/* Takes up to max tickets with due <= now out of the waiting ones. Returns their number. */
size_t queue_take(struct queue *q, mono_ns now, struct ticket **tickets, size_t max);

/* Gives a ticket that is not waiting back. */
void queue_free(struct queue *q, struct ticket *t);

#endif
