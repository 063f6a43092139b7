/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"

#include <string.h>

_Static_assert(QUEUE_MAX <= UINT16_MAX, "indices are 16 bits wide");

void
queue_init(struct queue *q)
{
	q->waiting = q->order = 0;
	q->spares = QUEUE_MAX;
	/* Low indices on top: a reaper with little to do touches little memory. */
	for (size_t i = 0; i < QUEUE_MAX; i++)
		q->spare[i] = (uint16_t)(QUEUE_MAX - 1 - i);
}

size_t
queue_room(const struct queue *q)
{
	return q->spares;
}

struct ticket *
queue_new(struct queue *q)
{
	struct ticket *t;

	if (q->spares == 0)
		return NULL;
	t = &q->tickets[q->spare[--q->spares]];
	memset(t, 0, sizeof(*t));
	return t;
}

void
queue_free(struct queue *q, struct ticket *t)
{
	q->spare[q->spares++] = (uint16_t)(t - q->tickets);
}

static bool
earlier(const struct queue *q, size_t a, size_t b)
{
	const struct ticket *x = &q->tickets[q->heap[a]], *y = &q->tickets[q->heap[b]];

	return x->due.ns != y->due.ns ? x->due.ns < y->due.ns : x->order < y->order;
}

static void
heap_swap(struct queue *q, size_t a, size_t b)
{
	uint16_t index = q->heap[a];

	q->heap[a] = q->heap[b];
	q->heap[b] = index;
}

void
queue_put(struct queue *q, struct ticket *t)
{
	size_t i = q->waiting++;

	t->order = q->order++;
	q->heap[i] = (uint16_t)(t - q->tickets);
	for (; i > 0 && earlier(q, i, (i - 1) / 2); i = (i - 1) / 2)
		heap_swap(q, i, (i - 1) / 2);
}

static struct ticket *
heap_pop(struct queue *q)
{
	struct ticket *top = &q->tickets[q->heap[0]];
	size_t i = 0;

	q->heap[0] = q->heap[--q->waiting];
	for (size_t child; (child = 2 * i + 1) < q->waiting; i = child) {
		if (child + 1 < q->waiting && earlier(q, child + 1, child))
			child++;
		if (!earlier(q, child, i))
			break;
		heap_swap(q, i, child);
	}
	return top;
}

bool
queue_next(const struct queue *q, mono_ns *due)
{
	if (q->waiting == 0)
		return false;
	*due = q->tickets[q->heap[0]].due;
	return true;
}

size_t
queue_take(struct queue *q, mono_ns now, struct ticket **tickets, size_t max)
{
	mono_ns due;
	size_t n = 0;

	while (n < max && queue_next(q, &due) && due.ns <= now.ns)
		tickets[n++] = heap_pop(q);
	return n;
}
