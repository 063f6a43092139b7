/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "engine_parts.h"
#include "proto/log.h"

void
adopt_want(struct engine *e, const char *reason, mono_ns due)
{
	struct adoption *a = &e->adoption;

	if (a->ended.ns != 0 && due.ns < a->ended.ns + a->pause_ns)
		due.ns = a->ended.ns + a->pause_ns;
	if (a->wanted && a->due.ns <= due.ns)
		return;
	a->wanted = true;
	a->due = due;
	a->next_reason = reason;
}

bool
adopt_send(struct engine *e, mono_ns now)
{
	struct adoption *a = &e->adoption;
	struct wire_reconcile ask = { .round = a->round + 1 };

	if (a->running || !a->wanted || a->due.ns > now.ns)
		return false;
	if (channel_send(e->reaper, WIRE_B2R_RECONCILE, &ask, 1) < 0) {
		if (errno == EAGAIN)
			return true;
		a->due.ns = now.ns + RECONCILE_PAUSE_NS;
		return false;
	}
	a->round++;
	a->running = true;
	a->asked = now;
	a->wanted = false;
	a->reason = a->next_reason;
	a->found = a->adopted = 0;
	return false;
}

static void
running_check(const struct engine *e)
{
	if (!e->adoption.running)
		fatal("the reaper broke the protocol: it found what it was not asked to look for");
}

/* In hand: what was to be tried again when it is found is, as it is by now. Once a round: what was
 * tried in this one, or left since it began, is not, however often it is found. */
static void
seen(struct engine *e, struct ghost *ghost, const struct wire_found_record *found)
{
	bool before = ghost->round >= e->adoption.round;

	ghost->round = e->adoption.round;
	if (before || ghost->phase != GHOST_LEFT || !ghost->again)
		return;
	ghost->state = found->state;
	ghost->send_queue = found->progress.send_queue;
	ghosts_move(&e->ghosts, ghost, GHOST_FRESH);
}

static void
found_take(struct engine *e, const struct wire_found_record *found, mono_ns now)
{
	struct ghost *ghost = ghosts_find(&e->ghosts, found->cookie);

	if (found->tuple.netns != e->netns)
		fatal("the reaper broke the protocol: it found a socket of another network "
		      "namespace");
	e->adoption.found++;
	if (ghost != NULL) {
		seen(e, ghost, found);
		return;
	}
	if (!ghosts_room(&e->ghosts, NULL))
		return; /* too many of these by now: the next round finds it again */
	ghost = ghosts_adopt(&e->ghosts, found, now);
	ghost->round = e->adoption.round;
	e->adoption.adopted++;
	e->counts.adopted++;
	e->counts.ghosts++;
}

void
engine_found(struct engine *e, const struct wire_found_record *found, size_t count, mono_ns now)
{
	running_check(e);
	for (size_t i = 0; i < count; i++)
		found_take(e, &found[i], now);
}

/* Ghosts that were left alone and are no longer there need not be remembered. */
static uint64_t
left_sweep(struct engine *e)
{
	struct ghost *ghost = TAILQ_FIRST(&e->ghosts.queues[GHOST_LEFT]), *next;
	uint64_t forgotten = 0;

	for (; ghost != NULL; ghost = next) {
		next = TAILQ_NEXT(ghost, queue);
		if (ghost->round >= e->adoption.round)
			continue;
		if (ghost->unseen)
			e->counts.expired++;
		ghosts_remove(&e->ghosts, ghost);
		forgotten++;
	}
	return forgotten;
}

static void
round_record(struct engine *e, uint64_t forgotten, int error)
{
	const struct adoption *a = &e->adoption;
	struct record_reconcile r = {
		.reason = a->reason,
		.round = a->round,
		.found = a->found,
		.adopted = a->adopted,
		.forgotten = forgotten,
		.error = error,
	};
	struct record_head head;
	char *out;

	if (strcmp(a->reason, "periodic") == 0 && a->adopted == 0 && error == 0)
		return; /* the usual case, once a minute */
	out = auditlog_room(e->log, &head);
	auditlog_made(e->log, record_reconcile(out, RECORD_MAX, &head, &r));
	if (a->adopted != 0)
		log_info("found %" PRIu64 " orphans whose owner's death was not seen", a->adopted);
}

/* One that was not complete is asked for again at once, as far as the pause allows; when that goes
 * on, less and less often: each is a record. */
static mono_ns
retry_at(struct adoption *a, mono_ns now)
{
	unsigned doubled = ++a->failures > RECONCILE_QUICK ? a->failures - RECONCILE_QUICK : 0;
	uint64_t pause = doubled < 6 ? RECONCILE_PAUSE_NS << doubled : RECONCILE_PERIOD_NS;

	return (mono_ns){ now.ns + pause };
}

void
engine_found_end(struct engine *e, const struct wire_found_end *end, mono_ns now)
{
	struct adoption *a = &e->adoption;
	int error = end->error != 0 ? end->error : end->complete ? 0 : EINTR;
	uint64_t forgotten = 0;

	running_check(e);
	if (end->round != a->round || end->count != a->found || end->done_mono_ns < a->asked.ns ||
		end->done_mono_ns > now.ns)
		fatal("the reaper broke the protocol: the end of another look, or a wrong count");
	if (error == 0) {
		a->failures = 0;
		forgotten = left_sweep(e);
	}
	round_record(e, forgotten, error);
	a->running = false;
	a->ended = now;
	a->pause_ns = RECONCILE_SHARE * (now.ns - a->asked.ns);
	if (a->pause_ns < RECONCILE_PAUSE_NS)
		a->pause_ns = RECONCILE_PAUSE_NS;
	if (a->pause_ns > RECONCILE_PAUSE_MAX_NS)
		a->pause_ns = RECONCILE_PAUSE_MAX_NS;
	/* Wanted while this one ran: the pause begins now. */
	if (a->due.ns < now.ns + a->pause_ns)
		a->due.ns = now.ns + a->pause_ns;
	e->stats.rounds_failed += error != 0;
	if (error != 0)
		adopt_want(e, a->reason, retry_at(a, now));
	else
		adopt_want(e, "periodic", (mono_ns){ now.ns + RECONCILE_PERIOD_NS });
}
