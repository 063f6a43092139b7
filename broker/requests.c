/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "engine_parts.h"
#include "proto/log.h"

static void
destroy_fill(const struct engine *e, const struct ghost *ghost, mono_ns now, void *record)
{
	struct wire_destroy *d = record;

	*d = (struct wire_destroy){
		.ghost = ghost->id,
		.cookie = ghost->cookie,
		.tuple = ghost->tuple,
		.states = decide_states(e, ghost, now),
		.state = ghost->state,
	};
	if (ghost->proved) {
		d->flags = WIRE_DESTROY_PROVED;
		d->seen = ghost->proof.second.progress;
	}
}

static void
sample_fill(const struct engine *e, const struct ghost *ghost, mono_ns now, void *record)
{
	struct wire_sample *s = record;

	(void)e;
	(void)now;
	*s = (struct wire_sample){
		.ghost = ghost->id, .cookie = ghost->cookie, .tuple = ghost->tuple
	};
}

/* A queue of ghosts, and the message that takes them to another. */
static const struct request {
	enum ghost_phase from, to;
	enum wire_type type;
	size_t size;
	void (*fill)(const struct engine *e, const struct ghost *ghost, mono_ns now, void *record);
} requests[] = {
	{ GHOST_DECIDED, GHOST_SENT, WIRE_B2R_DESTROY, sizeof(struct wire_destroy), destroy_fill },
	{ GHOST_UNSAMPLED, GHOST_SAMPLED, WIRE_B2R_SAMPLE, sizeof(struct wire_sample),
		sample_fill },
};

static size_t
batch_fill(const struct engine *e, const struct request *r, mono_ns now, unsigned char *batch)
{
	const struct ghost *ghost;
	size_t n = 0;

	TAILQ_FOREACH (ghost, &e->ghosts.queues[r->from], queue) {
		if (n == WIRE_BATCH_MAX)
			break;
		r->fill(e, ghost, now, batch + n++ * r->size);
	}
	return n;
}

/* True when the channel is full. */
static bool
queue_send(struct engine *e, const struct request *r, mono_ns now)
{
	_Alignas(8) unsigned char batch[WIRE_BATCH_MAX * WIRE_RECORD_MAX];
	size_t n;

	while ((n = batch_fill(e, r, now, batch)) != 0) {
		if (channel_send(e->reaper, r->type, batch, n) < 0) {
			if (errno == EAGAIN)
				return true;
			if (errno == EPIPE || errno == ECONNRESET)
				return false; /* the loop sees the reaper's end and stops the
						 service */
			fatal("cannot send to the reaper: %s", strerror(errno));
		}
		while (n-- > 0)
			ghosts_move(&e->ghosts, TAILQ_FIRST(&e->ghosts.queues[r->from]), r->to);
	}
	return false;
}

bool
requests_send(struct engine *e, mono_ns now)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		if (queue_send(e, &requests[i], now))
			return true;
	}
	return false;
}
