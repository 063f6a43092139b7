/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>

#include "engine_parts.h"
#include "proto/log.h"

/* A request turned away by the reaper's rate limit is made again after this time. */
#define RETRY_NS (100 * NS_PER_MS)

static bool
result_plausible(const struct ghost *ghost, const struct wire_result_record *r)
{
	if (ghost == NULL || ghost->id != r->ghost || ghost->phase != GHOST_SENT)
		return false;
	if (r->result != WIRE_RESULT_DESTROYED)
		return r->peer_notice == WIRE_NOTICE_NONE;
	return r->error == 0 && r->tries != 0 && (TCP_STATE_BIT(r->state) & TCP_STATES_RULE) != 0;
}

static const char *
result_outcome(const struct wire_result_record *r)
{
	if (r->result == WIRE_RESULT_DESTROYED || r->result == WIRE_RESULT_GONE)
		return "success";
	/* Never found: it went by itself before the first look, or was never there. */
	if (r->result == WIRE_RESULT_FAILED && r->error == ENOENT)
		return "unknown";
	return "failure";
}

/* It will be asked for again, by the same decision. Returns whether a record has said so before:
 * the log is not to grow with the number of tries. */
static bool
turned_away(struct engine *e, struct ghost *ghost, mono_ns now)
{
	bool before = ghost->turned_away;

	ghost->turned_away = true;
	ghosts_wait(
		&e->ghosts, ghost, GHOST_LANE_RETRY, (mono_ns){ now.ns + RETRY_NS }, GHOST_DECIDED);
	return before;
}

/* What becomes of a ghost after its result, and which counter has it. */
static void
ghost_settle(struct engine *e, struct ghost *ghost, const struct wire_result_record *r)
{
	struct record_counts *c = &e->counts;

	switch ((enum wire_result)r->result) {
	case WIRE_RESULT_DESTROYED:
		c->destroyed++;
		ghosts_remove(&e->ghosts, ghost);
		return;
	case WIRE_RESULT_GONE:
		c->gone++;
		ghosts_remove(&e->ghosts, ghost);
		return;
	case WIRE_RESULT_REFUSED_RATE:
		c->refused++; /* turned_away() has put it where it waits */
		return;
	case WIRE_RESULT_REFUSED_PROGRESS:
		c->refused++;
		if (!ghost->proved)
			break;
		ghost->proof = (struct proof){ 0 }; /* it lives: from the start */
		ghosts_move(&e->ghosts, ghost, GHOST_FRESH);
		return;
	case WIRE_RESULT_REFUSED_LIVE:
	case WIRE_RESULT_OTHER_NETNS:
		c->refused++;
		break;
	case WIRE_RESULT_UNSUPPORTED:
		c->failed++;
		break;
	case WIRE_RESULT_FAILED:
		c->failed++;
		if (r->error == ENOENT) {
			ghosts_remove(&e->ghosts, ghost);
			return;
		}
		break;
	}
	/* Should a reconcile find it to be an orphan after all, it is decided upon again. */
	ghost->again = true;
	decide_leave(e, ghost);
}

static void
result_take(struct engine *e, const struct wire_result_record *r, mono_ns now)
{
	struct ghost *ghost = ghosts_find(&e->ghosts, r->cookie);
	struct record_result result = {
		.result = wire_result_name(r->result),
		.outcome = result_outcome(r),
		.state = r->state,
		.error = r->error,
		.look_to_act_ns = r->look_to_act_ns,
	};

	if (!result_plausible(ghost, r))
		fatal("the reaper broke the protocol: a result for ghost %" PRIu64
		      " that was not asked for or contradicts itself",
			r->ghost);
	if (r->result == WIRE_RESULT_REFUSED_RATE && turned_away(e, ghost, now))
		return;
	if (r->result == WIRE_RESULT_DESTROYED) {
		result.peer_notice = r->peer_notice == WIRE_NOTICE_RST ? "rst" : "none";
		result.latency_ns =
			r->done_mono_ns > ghost->born.ns ? r->done_mono_ns - ghost->born.ns : 0;
	}
	decide_result(e, ghost, &result, now);
	ghost_settle(e, ghost, r);
}

void
engine_results(
	struct engine *e, const struct wire_result_record *results, size_t count, mono_ns now)
{
	for (size_t i = 0; i < count; i++)
		result_take(e, &results[i], now);
}

void
engine_samples(struct engine *e, const struct wire_sampled *samples, size_t count, mono_ns now)
{
	for (size_t i = 0; i < count; i++) {
		struct ghost *ghost = ghosts_find(&e->ghosts, samples[i].cookie);

		if (ghost == NULL || ghost->id != samples[i].ghost ||
			ghost->phase != GHOST_SAMPLED || samples[i].sampled_mono_ns > now.ns)
			fatal("the reaper broke the protocol: a sample of ghost %" PRIu64
			      " that was not asked for",
				samples[i].ghost);
		decide_look(e, ghost, &samples[i], now);
	}
}
