/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>

#include "engine_parts.h"
#include "proto/log.h"
#include "say.h"

/* A request turned away by the reaper's rate limit is made again after this time. */
#define RETRY_NS (100 * NS_PER_MS)

/* Looked at and done after the request left, and before the answer was read; all clocks are one. */
static bool
times_agree(const struct ghost *ghost, const struct wire_result_record *r, mono_ns now)
{
	if (r->done_mono_ns < ghost->asked.ns || r->done_mono_ns > now.ns)
		return false;
	return r->look_to_act_ns <= r->done_mono_ns - ghost->asked.ns;
}

/* tcp_need_reset(): a full socket in one of these, and nothing else. */
static bool
notice_agrees(const struct wire_result_record *r)
{
	const uint32_t reset =
		TCP_STATE_BIT(TCP_STATE_FIN_WAIT1) | TCP_STATE_BIT(TCP_STATE_FIN_WAIT2);
	const uint32_t mini =
		TCP_STATE_BIT(TCP_STATE_FIN_WAIT2) | TCP_STATE_BIT(TCP_STATE_TIME_WAIT);
	bool is_mini = r->timer == WIRE_TIMER_MINI;
	bool rst = !is_mini && (TCP_STATE_BIT(r->state) & reset) != 0;

	if (is_mini && (TCP_STATE_BIT(r->state) & mini) == 0)
		return false;
	return r->peer_notice == (rst ? WIRE_NOTICE_RST : WIRE_NOTICE_NONE);
}

/* What the reaper acts upon is in a state that the request named, and that can come after the one
 * described. */
static bool
state_agrees(const struct ghost *ghost, const struct wire_result_record *r, uint32_t named)
{
	return r->tries != 0 &&
	       (TCP_STATE_BIT(r->state) & named & tcp_states_after(ghost->state)) != 0;
}

static bool
result_agrees(const struct ghost *ghost, const struct wire_result_record *r)
{
	bool unmoved = r->look_to_act_ns == 0;

	switch ((enum wire_result)r->result) {
	case WIRE_RESULT_DESTROYED:
		return !unmoved && state_agrees(ghost, r, ghost->states) && notice_agrees(r);
	case WIRE_RESULT_GONE:
	case WIRE_RESULT_REFUSED_LIVE:
		return r->tries != 0;
	case WIRE_RESULT_REFUSED_PROGRESS: /* without a proof only another state is progress */
		return state_agrees(ghost, r,
			ghost->proved ? TCP_STATES_ORPHAN : TCP_STATES_ORPHAN & ~ghost->states);
	case WIRE_RESULT_REFUSED_RATE:
		return state_agrees(ghost, r, ghost->states);
	case WIRE_RESULT_OTHER_NETNS: /* ours was named, and its own self-test had passed */
	case WIRE_RESULT_UNSUPPORTED:
		return false;
	case WIRE_RESULT_FAILED:
		return true;
	}
	return false;
}

static bool
result_plausible(const struct ghost *ghost, const struct wire_result_record *r, mono_ns now)
{
	if (ghost == NULL || ghost->id != r->ghost || ghost->phase != GHOST_SENT)
		return false;
	if (r->result != WIRE_RESULT_DESTROYED && r->peer_notice != WIRE_NOTICE_NONE)
		return false;
	return times_agree(ghost, r, now) && result_agrees(ghost, r);
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
		&e->ghosts, ghost, GHOST_LANE_RATE, (mono_ns){ now.ns + RETRY_NS }, GHOST_DECIDED);
	return before;
}

/* True when the result needs no more: it has been recorded, or is the same as one that was. */
static bool
refused_rate(struct engine *e, struct ghost *ghost, mono_ns now)
{
	e->stats.turned_away++;
	if (turned_away(e, ghost, now))
		return true;
	if (ghost->batch == NULL) {
		budget_owe(&e->budget, ghost_uid(ghost), ghost_unit(ghost), 1, now);
		return false;
	}
	ghost->batch->result.turned_away++;
	e->counts.refused++;
	e->stats.results[WIRE_RESULT_REFUSED_RATE]++;
	return true;
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
	case WIRE_RESULT_OTHER_NETNS: /* these two: */
	case WIRE_RESULT_UNSUPPORTED: /* not of what is requested, result_agrees() */
		c->refused++;
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

	if (!result_plausible(ghost, r, now))
		fatal("the reaper broke the protocol: a result for ghost %" PRIu64
		      " that was not asked for or contradicts itself",
			r->ghost);
	if (r->result == WIRE_RESULT_REFUSED_RATE && refused_rate(e, ghost, now))
		return;
	e->stats.results[r->result]++;
	if (r->result == WIRE_RESULT_DESTROYED) {
		result.peer_notice = r->peer_notice == WIRE_NOTICE_RST ? "rst" : "none";
		result.latency_ns =
			r->done_mono_ns > ghost->born.ns ? r->done_mono_ns - ghost->born.ns : 0;
		histogram_add(&e->stats.latency, result.latency_ns);
		histogram_add(&e->stats.look_to_act, r->look_to_act_ns);
	}
	if (ghost->batch != NULL) {
		batch_result(e, ghost, &result);
		say_result(ghost, &result, now);
	} else {
		decide_result(e, ghost, &result, now);
	}
	ghost_settle(e, ghost, r);
}

void
engine_results(
	struct engine *e, const struct wire_result_record *results, size_t count, mono_ns now)
{
	for (size_t i = 0; i < count; i++)
		result_take(e, &results[i], now);
}

static bool
sample_plausible(const struct ghost *ghost, const struct wire_sampled *sample, mono_ns now)
{
	if (ghost == NULL || ghost->id != sample->ghost || ghost->phase != GHOST_SAMPLED)
		return false;
	if (sample->sampled_mono_ns < ghost->asked.ns || sample->sampled_mono_ns > now.ns)
		return false;
	return proof_agrees(&ghost->proof, sample);
}

void
engine_samples(struct engine *e, const struct wire_sampled *samples, size_t count, mono_ns now)
{
	for (size_t i = 0; i < count; i++) {
		struct ghost *ghost = ghosts_find(&e->ghosts, samples[i].cookie);

		if (!sample_plausible(ghost, &samples[i], now))
			fatal("the reaper broke the protocol: a sample of ghost %" PRIu64
			      " that was not asked for or contradicts an earlier one",
				samples[i].ghost);
		e->stats.looks[samples[i].found]++;
		decide_look(e, ghost, &samples[i], now);
	}
}
