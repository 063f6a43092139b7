/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "proto/log.h"
#include "say.h"

/* Decisions made between two writes of the log: bounds what one write(2) carries. */
#define TURN_DECISIONS 1024u
/* A request turned away by the reaper's rate limit is made again after this time. */
#define RETRY_NS (100 * NS_PER_MS)

void
engine_init(struct engine *e, struct policy *policy, struct auditlog *log, struct channel *reaper,
	const char *boot_id)
{
	*e = (struct engine){ .policy = policy, .log = log, .reaper = reaper };
	ghosts_init(&e->ghosts, boot_id);
}

void
engine_orphans(struct engine *e, const struct wire_orphan *orphans, size_t count, mono_ns now)
{
	for (size_t i = 0; i < count; i++) {
		if (ghosts_add(&e->ghosts, &orphans[i], now) != NULL)
			e->counts.ghosts++;
		else
			e->repeated++;
	}
}

void
engine_lost_record(struct engine *e)
{
	const struct record_counts *c = &e->counts;
	struct record_head head;
	char *out;

	if (!e->lost_news)
		return;
	e->lost_news = false;
	log_warning("events were lost since the start: %" PRIu64 " orphans, %" PRIu64
		    " exits, %" PRIu64 " stamps",
		c->lost_orphans, c->lost_exits, c->lost_stamps);
	out = auditlog_room(e->log, &head);
	auditlog_made(e->log, record_lost(out, RECORD_MAX, &head, c));
}

static void
lost_due(struct engine *e, mono_ns now)
{
	if (!e->lost_news || e->log->failing ||
		(e->lost_recorded.ns != 0 && now.ns - e->lost_recorded.ns < NS_PER_S))
		return;
	e->lost_recorded = now;
	engine_lost_record(e);
}

void
engine_lost(struct engine *e, const struct wire_lost *lost)
{
	struct record_counts *c = &e->counts;

	if (lost->ring_orphan < c->lost_orphans || lost->ring_exit < c->lost_exits ||
		lost->stamp < c->lost_stamps ||
		(lost->ring_orphan == c->lost_orphans && lost->ring_exit == c->lost_exits &&
			lost->stamp == c->lost_stamps))
		fatal("the tracker broke the protocol: LOST without a loss");
	c->lost_orphans = lost->ring_orphan;
	c->lost_exits = lost->ring_exit;
	c->lost_stamps = lost->stamp;
	e->lost_news = true;
}

/* ---- decisions ---------------------------------------------------------------------------------
 */

static uint64_t
ghost_age(const struct ghost *ghost, mono_ns now)
{
	return now.ns > ghost->born.ns ? now.ns - ghost->born.ns : 0;
}

static struct record_owner
owner_view(const struct owner *owner, enum exit_class exit)
{
	return (struct record_owner){
		.process = &owner->process, .entity_id = owner->entity_id, .exit = exit
	};
}

/* The `exit` record is written when an entity's first ghost is. */
static void
exit_record(struct engine *e, struct owner *owner)
{
	struct record_owner view = owner_view(owner, owner->exit);
	struct record_head head;
	char *out;

	if (owner->recorded)
		return;
	owner->recorded = true;
	out = auditlog_room(e->log, &head);
	auditlog_made(e->log, record_exit(out, RECORD_MAX, &head, &view));
}

static void
decide_record(
	struct engine *e, const struct ghost *ghost, const struct decision *decision, mono_ns now)
{
	struct record_owner owner = owner_view(ghost->owner, ghost->exit);
	struct record_ghost view = {
		.id = ghost->id,
		.tuple = &ghost->tuple,
		.cookie = ghost->cookie,
		.send_queue = ghost->send_queue,
		.state = ghost->state,
		.age_ns = ghost_age(ghost, now),
	};
	struct record_head head;
	char *out;

	exit_record(e, ghost->owner);
	out = auditlog_room(e->log, &head);
	auditlog_made(e->log, record_decide(out, RECORD_MAX, &head, &owner, &view, decision));
}

static void
destroy_record(struct engine *e, const struct ghost *ghost, const struct record_result *result)
{
	struct record_head head;
	char *out = auditlog_room(e->log, &head);

	auditlog_made(e->log, record_destroy(out, RECORD_MAX, &head, ghost->id, result));
}

static struct subject
subject_of(const struct ghost *ghost, uint8_t state)
{
	return (struct subject){
		.exit = ghost->exit,
		.owner = &ghost->owner->process,
		.tuple = &ghost->tuple,
		.state = state,
	};
}

static struct decision
ghost_decide(const struct engine *e, const struct ghost *ghost, mono_ns now)
{
	struct subject subject = subject_of(ghost, ghost->state);
	struct decision d = policy_decide(e->policy, &subject, ghost_age(ghost, now));

	if (ghost->tuple.netns != e->netns &&
		(d.verdict == VERDICT_DESTROY || d.verdict == VERDICT_WAIT)) {
		d.verdict = VERDICT_REPORT;
		d.reason = "other-netns";
	}
	return d;
}

static void
ghost_observed(struct engine *e, struct ghost *ghost, mono_ns now)
{
	const struct record_result result = { .result = "observed", .outcome = "unknown" };

	e->counts.observed++;
	destroy_record(e, ghost, &result);
	say_result(ghost, &result, now);
	ghosts_remove(&e->ghosts, ghost);
}

static void
ghost_left(struct engine *e, struct ghost *ghost, const struct decision *decision, mono_ns now)
{
	if (decision->verdict == VERDICT_IGNORE) {
		e->counts.ignored++;
	} else {
		e->counts.reported++;
		say_left(ghost, decision, now);
	}
	ghosts_remove(&e->ghosts, ghost);
}

static void
ghost_handle(struct engine *e, struct ghost *ghost, mono_ns now)
{
	struct decision d = ghost_decide(e, ghost, now);

	if (d.verdict == VERDICT_WAIT) {
		/* Gone before its grace ends, it needs no record: so none is made yet. */
		ghosts_wait(&e->ghosts, ghost, (unsigned)(d.rule - e->policy->rules),
			(mono_ns){ ghost->born.ns + d.grace_ns });
		return;
	}
	decide_record(e, ghost, &d, now);
	if (d.verdict != VERDICT_DESTROY) {
		ghost_left(e, ghost, &d, now);
		return;
	}
	if (e->hold == HOLD_OBSERVE)
		ghost_observed(e, ghost, now);
	else
		ghosts_move(&e->ghosts, ghost, GHOST_DECIDED);
}

/* A grace that has ended asks for a decision; a request turned away by the rate limit has one. */
static void
due_wake(struct engine *e, mono_ns now)
{
	struct ghost *ghost;

	while ((ghost = ghosts_first_due(&e->ghosts)) != NULL && ghost->due.ns <= now.ns)
		ghosts_move(&e->ghosts, ghost,
			ghost->lane == GHOST_LANE_RETRY ? GHOST_DECIDED : GHOST_FRESH);
}

static void
fresh_decide(struct engine *e, mono_ns now)
{
	struct ghost *ghost;
	unsigned n = 0;

	/* While the log cannot be written nothing new is decided: the ghosts stay, fresh. */
	while (n++ < TURN_DECISIONS && !e->log->failing &&
		(ghost = TAILQ_FIRST(&e->ghosts.queues[GHOST_FRESH])) != NULL)
		ghost_handle(e, ghost, now);
}

/* ---- requests ----------------------------------------------------------------------------------
 */

/* In which states the policy would destroy this ghost: the reaper may find it further on than the
 * rule that matched. TIME-WAIT counts only where a rule names it. */
static uint32_t
request_states(const struct engine *e, const struct ghost *ghost, mono_ns now)
{
	uint32_t states = 0;

	for (uint8_t state = 0; state < 32; state++) {
		struct subject subject = subject_of(ghost, state);
		struct decision d;

		if ((TCP_STATE_BIT(state) & TCP_STATES_RULE) == 0)
			continue;
		d = policy_decide(e->policy, &subject, ghost_age(ghost, now));
		if (d.verdict != VERDICT_DESTROY ||
			(state == TCP_STATE_TIME_WAIT && (d.rule->keys & RULE_STATE) == 0))
			continue;
		states |= TCP_STATE_BIT(state);
	}
	return states;
}

static size_t
batch_fill(const struct engine *e, struct wire_destroy batch[WIRE_BATCH_MAX], mono_ns now)
{
	const struct ghost *ghost;
	size_t n = 0;

	TAILQ_FOREACH (ghost, &e->ghosts.queues[GHOST_DECIDED], queue) {
		if (n == WIRE_BATCH_MAX)
			break;
		batch[n++] = (struct wire_destroy){
			.ghost = ghost->id,
			.cookie = ghost->cookie,
			.tuple = ghost->tuple,
			.states = request_states(e, ghost, now),
			.state = ghost->state,
		};
	}
	return n;
}

/* Returns true when the channel is full. */
static bool
requests_send(struct engine *e, mono_ns now)
{
	struct wire_destroy batch[WIRE_BATCH_MAX];
	size_t n;

	while ((n = batch_fill(e, batch, now)) != 0) {
		if (channel_send(e->reaper, WIRE_B2R_DESTROY, batch, n) < 0) {
			if (errno == EAGAIN)
				return true;
			if (errno == EPIPE || errno == ECONNRESET)
				return false; /* the loop sees the reaper's end and stops the
						 service */
			fatal("cannot send to the reaper: %s", strerror(errno));
		}
		while (n-- > 0)
			ghosts_move(&e->ghosts, TAILQ_FIRST(&e->ghosts.queues[GHOST_DECIDED]),
				GHOST_SENT);
	}
	return false;
}

bool
engine_turn(struct engine *e, mono_ns now)
{
	bool full = false;

	due_wake(e, now);
	lost_due(e, now);
	do {
		fresh_decide(e, now);
		if (!auditlog_flush(e->log))
			return false;
		full = requests_send(e, now);
	} while (e->ghosts.counts[GHOST_FRESH] != 0);
	return full;
}

/* ---- results -----------------------------------------------------------------------------------
 */

static bool
result_plausible(const struct ghost *ghost, const struct wire_result_record *r)
{
	if (ghost == NULL || ghost->id != r->ghost || ghost->phase != GHOST_SENT)
		return false;
	if (r->result != WIRE_RESULT_DESTROYED)
		return r->peer_notice == WIRE_NOTICE_NONE;
	return r->error == 0 && r->tries != 0 &&
	       (TCP_STATE_BIT(r->state) &
		       (TCP_STATES_ORPHAN | TCP_STATE_BIT(TCP_STATE_TIME_WAIT))) != 0;
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

static void
result_count(struct record_counts *counts, const struct wire_result_record *r)
{
	switch ((enum wire_result)r->result) {
	case WIRE_RESULT_DESTROYED:
		counts->destroyed++;
		break;
	case WIRE_RESULT_GONE:
		counts->gone++;
		break;
	case WIRE_RESULT_UNSUPPORTED:
	case WIRE_RESULT_FAILED:
		counts->failed++;
		break;
	case WIRE_RESULT_REFUSED_LIVE:
	case WIRE_RESULT_REFUSED_PROGRESS:
	case WIRE_RESULT_REFUSED_RATE:
	case WIRE_RESULT_OTHER_NETNS:
		counts->refused++;
		break;
	}
}

/* It will be asked for again, by the same decision. Returns whether a record has said so before:
 * the log is not to grow with the number of tries. */
static bool
turned_away(struct engine *e, struct ghost *ghost, mono_ns now)
{
	bool before = ghost->turned_away;

	ghost->turned_away = true;
	ghosts_wait(&e->ghosts, ghost, GHOST_LANE_RETRY, (mono_ns){ now.ns + RETRY_NS });
	return before;
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
		      " that was not asked for or "
		      "contradicts itself",
			r->ghost);
	if (r->result == WIRE_RESULT_REFUSED_RATE && turned_away(e, ghost, now))
		return;
	if (r->result == WIRE_RESULT_DESTROYED) {
		result.peer_notice = r->peer_notice == WIRE_NOTICE_RST ? "rst" : "none";
		result.latency_ns =
			r->done_mono_ns > ghost->born.ns ? r->done_mono_ns - ghost->born.ns : 0;
	}
	result_count(&e->counts, r);
	destroy_record(e, ghost, &result);
	say_result(ghost, &result, now);
	if (r->result != WIRE_RESULT_REFUSED_RATE)
		ghosts_remove(&e->ghosts, ghost);
}

void
engine_results(
	struct engine *e, const struct wire_result_record *results, size_t count, mono_ns now)
{
	for (size_t i = 0; i < count; i++)
		result_take(e, &results[i], now);
}

/* ---- the loop's questions ----------------------------------------------------------------------
 */

bool
engine_next_due(const struct engine *e, mono_ns now, uint64_t *in_ns)
{
	const struct ghost *first = ghosts_first_due(&e->ghosts);

	if (first == NULL)
		return false;
	*in_ns = first->due.ns > now.ns ? first->due.ns - now.ns : 0;
	return true;
}

void
engine_policy_changed(struct engine *e)
{
	struct ghost *ghost;

	while ((ghost = ghosts_first_due(&e->ghosts)) != NULL)
		ghosts_move(&e->ghosts, ghost, GHOST_FRESH);
	while ((ghost = TAILQ_FIRST(&e->ghosts.queues[GHOST_DECIDED])) != NULL)
		ghosts_move(&e->ghosts, ghost, GHOST_FRESH);
}

bool
engine_idle(const struct engine *e)
{
	return e->ghosts.counts[GHOST_FRESH] == 0 && e->ghosts.counts[GHOST_DECIDED] == 0 &&
	       e->ghosts.counts[GHOST_SENT] == 0;
}

bool
engine_full(const struct engine *e)
{
	return e->ghosts.total >= GHOSTS_MAX;
}
