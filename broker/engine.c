/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include <inttypes.h>
#include <string.h>

#include "engine_parts.h"
#include "proto/log.h"

/* Decisions of one turn: bounds what one write(2) of the log carries, and for how long nobody reads
 * what the tracker sends. */
#define TURN_DECISIONS 256u

void
engine_init(struct engine *e, struct policy *policy, struct auditlog *log, struct channel *reaper,
	const char *boot_id)
{
	*e = (struct engine){ .policy = policy, .log = log, .reaper = reaper };
	ghosts_init(&e->ghosts, boot_id);
	breaker_init(&e->breaker);
	budget_init(&e->budget, &policy->record_budget, &policy->unit_limit, (mono_ns){ 0 });
	TAILQ_INIT(&e->batches.active);
	TAILQ_INIT(&e->batches.closed);
}

void
engine_start(struct engine *e, mono_ns now)
{
	adopt_want(e, "start", now);
}

/* ---- what comes in -----------------------------------------------------------------------------
 */

static void
decide_anew(struct engine *e, struct ghost *ghost)
{
	batch_withdraw(e, ghost);
	ghosts_move(&e->ghosts, ghost, GHOST_FRESH);
}

/* Decided, recorded, and without a result. */
static bool
on_its_way(const struct ghost *ghost)
{
	return ghost->phase == GHOST_DECIDED || ghost->phase == GHOST_SENT ||
	       (ghost->phase == GHOST_WAITING && ghost->next == GHOST_DECIDED);
}

/* An event that came after a reconcile had found its orphan: now the owner is known. What is on its
 * way to the reaper stays as it was decided. */
static bool
late_name(struct engine *e, struct ghost *ghost, const struct wire_orphan *orphan, mono_ns now)
{
	if (ghost->owner != NULL || on_its_way(ghost))
		return false;
	batch_withdraw(e, ghost);
	ghosts_name(&e->ghosts, ghost, orphan, now);
	if (ghost->phase != GHOST_SAMPLED)
		ghosts_move(&e->ghosts, ghost, GHOST_FRESH);
	return true;
}

/* Nobody's ghosts fill the table: whoever has too many loses one, the oldest or this one, and a
 * reconcile finds it again. False when it is this one. */
static bool
room_make(struct engine *e, const struct wire_owner *process, mono_ns now)
{
	if (ghosts_room(&e->ghosts, process))
		return true;
	e->counts.evicted++;
	adopt_want(e, "evicted", (mono_ns){ now.ns + RECONCILE_PERIOD_NS });
	return ghosts_evict(&e->ghosts, process);
}

static void
orphan_take(struct engine *e, const struct wire_orphan *orphan, mono_ns now)
{
	struct ghost *ghost = ghosts_find(&e->ghosts, orphan->cookie);

	if (ghost != NULL) {
		e->repeated += !late_name(e, ghost, orphan, now);
		return;
	}
	e->counts.ghosts++;
	if (room_make(e, &orphan->owner, now))
		ghosts_add(&e->ghosts, orphan, now);
}

void
engine_orphans(struct engine *e, const struct wire_orphan *orphans, size_t count, mono_ns now)
{
	e->stats.orphan_events += count;
	for (size_t i = 0; i < count; i++)
		orphan_take(e, &orphans[i], now);
}

static void
lost_record(struct engine *e)
{
	const struct record_counts *c = &e->counts;
	struct record_head head;
	char *out;

	if (!e->lost_news)
		return;
	e->lost_news = false;
	log_warning("events were lost since the start: %" PRIu64 " orphans, %" PRIu64
		    " exits, %" PRIu64 " stamps; looking for what they told",
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
	lost_record(e);
}

void
engine_lost(struct engine *e, const struct wire_lost *lost, mono_ns now)
{
	struct record_counts *c = &e->counts;
	bool ghosts_lost = lost->ring_orphan != c->lost_orphans;

	if (lost->ring_orphan < c->lost_orphans || lost->ring_exit < c->lost_exits ||
		lost->stamp < c->lost_stamps ||
		(lost->ring_orphan == c->lost_orphans && lost->ring_exit == c->lost_exits &&
			lost->stamp == c->lost_stamps))
		fatal("the tracker broke the protocol: LOST without a loss");
	c->lost_orphans = lost->ring_orphan;
	c->lost_exits = lost->ring_exit;
	c->lost_stamps = lost->stamp;
	e->lost_news = true;
	if (ghosts_lost) /* an exit or a stamp that was lost makes no ghost */
		adopt_want(e, "lost", (mono_ns){ now.ns + RECONCILE_PAUSE_NS });
}

/* ---- the turn ----------------------------------------------------------------------------------
 */

static void
due_wake(struct engine *e, mono_ns now)
{
	struct ghost *ghost;

	while ((ghost = ghosts_first_due(&e->ghosts)) != NULL && ghost->due.ns <= now.ns)
		ghosts_move(&e->ghosts, ghost, ghost->next);
}

static void
fresh_decide(struct engine *e, mono_ns now)
{
	struct ghost *ghost;
	unsigned n = 0;

	/* While the log cannot be written nothing new is decided: the ghosts stay, fresh. */
	while (n++ < TURN_DECISIONS && !e->log->failing &&
		(ghost = ghosts_first(&e->ghosts, GHOST_FRESH)) != NULL)
		decide_ghost(e, ghost, now);
}

bool
engine_turn(struct engine *e, mono_ns now)
{
	bool full;

	due_wake(e, now);
	decide_held(e, now);
	lost_due(e, now);
	fresh_decide(e, now);
	if (e->ghosts.counts[GHOST_FRESH] == 0)
		batches_turn(e, now);
	if (!auditlog_flush(e->log))
		return false;
	full = requests_send(e, now);
	e->blocked = adopt_send(e, now) || full;
	return e->blocked;
}

static void
earlier(uint64_t *due, bool *any, mono_ns candidate)
{
	if (!*any || candidate.ns < *due)
		*due = candidate.ns;
	*any = true;
}

/* What makes records, or needs them: a failing log is tried again by its own timer, a full channel
 * wakes when it has room. */
static void
record_due(const struct engine *e, mono_ns now, uint64_t *due, bool *any)
{
	mono_ns hold = { 0 };
	uint64_t pace = 0;

	if (e->log->failing)
		return;
	if (e->ghosts.counts[GHOST_FRESH] != 0) /* the turn was not for all */
		earlier(due, any, now);
	if (breaker_next(&e->breaker, &hold))
		earlier(due, any, hold);
	if (e->batches.waiting)
		earlier(due, any, e->batches.due);
	if (!e->blocked && e->adoption.wanted && !e->adoption.running)
		earlier(due, any, e->adoption.due);
	if (!e->blocked && requests_due(e, now, &pace))
		earlier(due, any, (mono_ns){ now.ns + pace });
	if (e->lost_news)
		earlier(due, any, (mono_ns){ e->lost_recorded.ns + NS_PER_S });
}

bool
engine_next_due(const struct engine *e, mono_ns now, uint64_t *in_ns)
{
	const struct ghost *first = ghosts_first_due(&e->ghosts);
	uint64_t due = 0;
	bool any = false;

	if (first != NULL)
		earlier(&due, &any, first->due);
	record_due(e, now, &due, &any);
	*in_ns = due > now.ns ? due - now.ns : 0;
	return any;
}

static void
all_fresh(struct engine *e, enum ghost_phase phase)
{
	struct ghost *ghost;

	while ((ghost = ghosts_first(&e->ghosts, phase)) != NULL)
		decide_anew(e, ghost);
}

void
engine_policy_changed(struct engine *e)
{
	struct ghost *ghost;

	while ((ghost = ghosts_first_due(&e->ghosts)) != NULL)
		decide_anew(e, ghost);
	all_fresh(e, GHOST_BATCHED);
	all_fresh(e, GHOST_DECIDED);
	all_fresh(e, GHOST_UNSAMPLED);
	all_fresh(e, GHOST_HELD);
	all_fresh(e, GHOST_LEFT);
}

/* ---- the stop ----------------------------------------------------------------------------------
 */

void
engine_drain(struct engine *e)
{
	e->batches.stopping = true;
}

bool
engine_idle(const struct engine *e)
{
	const unsigned *counts = e->ghosts.counts;

	return counts[GHOST_FRESH] + counts[GHOST_BATCHED] + counts[GHOST_DECIDED] +
		       counts[GHOST_SENT] ==
	       0;
}

void
engine_end(struct engine *e, mono_ns now)
{
	const unsigned *counts = e->ghosts.counts;

	batches_end(e, now);
	e->counts.waiting = counts[GHOST_WAITING] + counts[GHOST_FRESH] + counts[GHOST_BATCHED] +
			    counts[GHOST_UNSAMPLED] + counts[GHOST_SAMPLED];
	e->counts.unanswered = counts[GHOST_SENT];
	e->counts.unsent = counts[GHOST_DECIDED];
	lost_record(e);
}
