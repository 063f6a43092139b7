/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "engine_parts.h"
#include "proto/log.h"

static void
destroy_fill(const struct engine *e, struct ghost *ghost, mono_ns now, void *record)
{
	struct wire_destroy *d = record;

	ghost->states = decide_states(e, ghost, now);
	*d = (struct wire_destroy){
		.ghost = ghost->id,
		.cookie = ghost->cookie,
		.tuple = ghost->tuple,
		.states = ghost->states,
		.state = ghost->state,
	};
	if (ghost->proved) {
		d->flags = WIRE_DESTROY_PROVED;
		d->seen = ghost->proof.second.progress;
	}
}

static void
sample_fill(const struct engine *e, struct ghost *ghost, mono_ns now, void *record)
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
	void (*fill)(const struct engine *e, struct ghost *ghost, mono_ns now, void *record);
} requests[] = {
	{ GHOST_DECIDED, GHOST_SENT, WIRE_B2R_DESTROY, sizeof(struct wire_destroy), destroy_fill },
	{ GHOST_UNSAMPLED, GHOST_SAMPLED, WIRE_B2R_SAMPLE, sizeof(struct wire_sample),
		sample_fill },
};

/* ---- the reaper's rate limit -------------------------------------------------------------------
 * What it would turn away is not asked for: then it is our turn-taking that decides who waits. The
 * reaper keeps the limit by itself, and counts no request that this does not count.
 */

uint64_t
engine_destroy_limit(const struct engine *e)
{
	uint64_t limit = rate_per_second(&e->policy->destroy_limit);

	return limit < e->ceiling ? limit : e->ceiling;
}

static unsigned
tokens_fill(struct engine *e, mono_ns now)
{
	struct bucket *b = &e->requests;
	double rate = (double)engine_destroy_limit(e);

	if (now.ns > b->filled.ns) {
		b->tokens += (double)(now.ns - b->filled.ns) * rate / (double)NS_PER_S;
		b->filled = now;
	}
	if (b->tokens > rate)
		b->tokens = rate;
	return b->tokens < WIRE_BATCH_MAX ? (unsigned)b->tokens : WIRE_BATCH_MAX;
}

/* A packet full, where that is not long: fewer wake-ups. */
#define PACE_PATIENCE_NS NS_PER_MS

bool
requests_due(const struct engine *e, mono_ns now, uint64_t *in_ns)
{
	double ns_each = (double)NS_PER_S / (double)engine_destroy_limit(e);
	double one = (1 - e->requests.tokens) * ns_each;
	double packet = (WIRE_BATCH_MAX - e->requests.tokens) * ns_each;
	uint64_t since = now.ns - e->requests.filled.ns, at;

	if (e->ghosts.counts[GHOST_DECIDED] == 0)
		return false;
	if (packet > (double)PACE_PATIENCE_NS)
		packet = (double)PACE_PATIENCE_NS;
	at = (uint64_t)(one > packet ? one : packet) + 1;
	*in_ns = at > since ? at - since : 0;
	return true;
}

/* ---- packets -----------------------------------------------------------------------------------
 */

static size_t
batch_take(struct engine *e, const struct request *r, size_t most, struct ghost **ghosts)
{
	struct ghost *ghost;
	size_t n = 0;

	while (n < most && (ghost = ghosts_first(&e->ghosts, r->from)) != NULL) {
		ghosts_move(&e->ghosts, ghost, r->to);
		ghosts[n++] = ghost;
	}
	return n;
}

static void
batch_return(struct engine *e, const struct request *r, struct ghost **ghosts, size_t n)
{
	while (n-- > 0)
		ghosts_put_back(&e->ghosts, ghosts[n], r->from);
}

/* False when the packet did not leave: errno says why. */
static bool
batch_send(struct engine *e, const struct request *r, struct ghost **ghosts, size_t n, mono_ns now)
{
	static _Alignas(8) unsigned char batch[WIRE_BATCH_MAX * WIRE_RECORD_MAX];

	for (size_t i = 0; i < n; i++) {
		ghosts[i]->asked = now; /* the answer has to agree */
		r->fill(e, ghosts[i], now, batch + i * r->size);
	}
	if (channel_send(e->reaper, r->type, batch, n) == 0)
		return true;
	batch_return(e, r, ghosts, n);
	return false;
}

/* True when the channel is full. */
static bool
queue_send(struct engine *e, const struct request *r, mono_ns now)
{
	bool paced = r->type == WIRE_B2R_DESTROY;
	struct ghost *ghosts[WIRE_BATCH_MAX];
	size_t n;

	while ((n = batch_take(e, r, paced ? tokens_fill(e, now) : WIRE_BATCH_MAX, ghosts)) != 0) {
		if (!batch_send(e, r, ghosts, n, now)) {
			if (errno == EAGAIN)
				return true;
			if (errno == EPIPE || errno == ECONNRESET)
				return false; /* the loop sees the reaper's end and stops the
						 service */
			fatal("cannot send to the reaper: %s", strerror(errno));
		}
		if (paced)
			e->requests.tokens -= (double)n;
	}
	return false;
}

static bool
oldest_overdue(const struct engine *e, enum ghost_phase phase, mono_ns now)
{
	const struct ghost *oldest = TAILQ_FIRST(&e->ghosts.queues[phase]);

	return oldest != NULL && now.ns > oldest->asked.ns &&
	       now.ns - oldest->asked.ns > ANSWER_PATIENCE_NS;
}

bool
engine_overdue(const struct engine *e, mono_ns now)
{
	const struct adoption *a = &e->adoption;

	return oldest_overdue(e, GHOST_SENT, now) || oldest_overdue(e, GHOST_SAMPLED, now) ||
	       (a->running && now.ns > a->asked.ns && now.ns - a->asked.ns > ANSWER_PATIENCE_NS);
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
