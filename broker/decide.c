/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine_parts.h"
#include "note.h"
#include "proto/log.h"
#include "say.h"

/* A close that is under way shows an inode for a moment: look again so often before giving up. */
#define HELD_LOOKS_MAX 10u
#define HELD_PAUSE_NS  (100 * NS_PER_MS)

/* An orphan without an owner waits so long for a late event to name it. */
#define SETTLE_NS (500 * NS_PER_MS)

static uint64_t
ghost_age(const struct ghost *ghost, mono_ns at)
{
	return at.ns > ghost->born.ns ? at.ns - ghost->born.ns : 0;
}

static const struct wire_owner *
process_of(const struct ghost *ghost)
{
	return ghost->owner != NULL ? &ghost->owner->process : NULL;
}

/* ---- records -----------------------------------------------------------------------------------
 */

/* The `exit` record is written when an entity's first ghost is. */
static void
exit_record(struct engine *e, struct owner *owner)
{
	struct record_owner view = {
		.process = &owner->process, .entity_id = owner->entity_id, .exit = owner->exit
	};
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
	struct record_owner owner = { .process = process_of(ghost),
		.entity_id = ghost->owner != NULL ? ghost->owner->entity_id : NULL,
		.exit = ghost->exit };
	const struct record_sample samples[2] = {
		{ ghost_age(ghost, ghost->proof.first.at), &ghost->proof.first.progress },
		{ ghost_age(ghost, ghost->proof.second.at), &ghost->proof.second.progress },
	};
	struct record_ghost view = {
		.id = ghost->id,
		.tuple = &ghost->tuple,
		.cookie = ghost->cookie,
		.send_queue = ghost->send_queue,
		.state = ghost->state,
		.age_ns = ghost_age(ghost, now),
		.samples = ghost->proved ? samples : NULL,
	};
	struct record_head head;
	char *out;

	if (ghost->owner != NULL)
		exit_record(e, ghost->owner);
	out = auditlog_room(e->log, &head);
	auditlog_made(e->log, record_decide(out, RECORD_MAX, &head, &owner, &view, decision));
	note_ghost(head.note, ghost);
}

void
decide_result(struct engine *e, const struct ghost *ghost, const struct record_result *result,
	mono_ns now)
{
	struct record_head head;
	char *out = auditlog_room(e->log, &head);

	auditlog_made(e->log, record_destroy(out, RECORD_MAX, &head, ghost->id, result));
	note_ghost(head.note, ghost);
	say_result(ghost, result, now);
}

static void
breaker_record(struct engine *e, const struct record_breaker *breaker)
{
	struct record_head head;
	char *out = auditlog_room(e->log, &head);

	auditlog_made(e->log, record_breaker(out, RECORD_MAX, &head, breaker));
	if (breaker->open)
		log_warning("breaker: %s leaves ghosts faster than unit_limit, and is left alone "
			    "for a while",
			breaker->key);
	else
		log_info("breaker: %s is dealt with again", breaker->key);
}

/* ---- decisions ---------------------------------------------------------------------------------
 */

static struct subject
subject_of(const struct ghost *ghost, uint8_t state)
{
	return (struct subject){
		.exit = ghost->exit,
		.owner = process_of(ghost),
		.tuple = &ghost->tuple,
		.state = state,
	};
}

/* Reasons to leave alone what a rule would destroy. */
static const char other_netns[] = "other-netns", nothing_outstanding[] = "nothing-outstanding";

static struct decision
ghost_decide(const struct engine *e, const struct ghost *ghost, mono_ns now)
{
	struct subject subject = subject_of(ghost, ghost->state);
	struct decision d = policy_decide(e->policy, &subject, ghost_age(ghost, now));

	if (ghost->tuple.netns != e->netns &&
		(d.verdict == VERDICT_DESTROY || d.verdict == VERDICT_WAIT)) {
		d.verdict = VERDICT_REPORT;
		d.reason = other_netns;
	}
	return d;
}

uint32_t
decide_states(const struct engine *e, const struct ghost *ghost, mono_ns now)
{
	uint32_t states = 0;

	for (uint8_t state = 0; state < 32; state++) {
		struct subject subject = subject_of(ghost, state);
		struct decision d;

		if ((TCP_STATE_BIT(state) & TCP_STATES_RULE) == 0)
			continue;
		d = policy_decide(e->policy, &subject, ghost_age(ghost, now));
		if (d.verdict != VERDICT_DESTROY && !(ghost->proved && d.prove))
			continue;
		if (state == TCP_STATE_TIME_WAIT && (d.rule->keys & RULE_STATE) == 0)
			continue;
		states |= TCP_STATE_BIT(state);
	}
	return states;
}

void
decide_leave(struct engine *e, struct ghost *ghost)
{
	ghost->round = e->adoption.round;
	ghosts_move(&e->ghosts, ghost, GHOST_LEFT);
}

/* Pays for the records of one ghost's own. NULL, or the account that cannot. */
static struct budget_account *
records_pay(struct engine *e, const struct ghost *ghost, unsigned records, mono_ns now)
{
	if (ghost->owner != NULL && !ghost->owner->recorded)
		records++; /* `exit` */
	return budget_pay(&e->budget, ghost_uid(ghost), ghost_unit(ghost), records, now);
}

static void
leave_alone(struct engine *e, struct ghost *ghost, const struct decision *decision, mono_ns now)
{
	struct budget_account *empty = records_pay(e, ghost, 1, now);

	if (empty == NULL)
		decide_record(e, ghost, decision, now);
	else
		batch_leave(e, empty, ghost, decision, now);
	if (decision->verdict == VERDICT_IGNORE) {
		e->counts.ignored++;
	} else {
		e->counts.reported++;
		e->stats.not_ours += decision->reason == other_netns;
		e->stats.nothing_outstanding += decision->reason == nothing_outstanding;
		say_left(ghost, decision, now);
	}
	decide_leave(e, ghost);
}

/* False when the ghost's unit has had its share: it is held, and one record says so for all. */
static bool
breaker_allows(struct engine *e, struct ghost *ghost, mono_ns now)
{
	struct record_breaker breaker = { .open = true, .hold_ns = e->policy->breaker_hold_ns };
	struct breaker_unit *unit;
	enum breaker_answer answer = breaker_take(&e->breaker, ghost_unit(ghost),
		&e->policy->unit_limit, e->policy->breaker_hold_ns, now, &unit);

	if (answer == BREAKER_PASS)
		return true;
	if (!ghost->held)
		e->counts.held_back++;
	ghost->held = true;
	ghosts_move(&e->ghosts, ghost, GHOST_HELD);
	ghosts_join(ghost, &unit->held);
	if (answer == BREAKER_TRIPPED) {
		e->stats.breaker_opened++;
		breaker.key = unit->key;
		breaker_record(e, &breaker);
	}
	return false;
}

static void
destroy_order(struct engine *e, struct ghost *ghost, const struct decision *decision, mono_ns now)
{
	const struct record_result observed = { .result = "observed", .outcome = "unknown" };
	struct budget_account *empty;

	if (!breaker_allows(e, ghost, now))
		return;
	empty = records_pay(e, ghost, 2, now);
	if (empty != NULL) {
		batch_add(e, empty, ghost, decision, now);
		return;
	}
	decide_record(e, ghost, decision, now);
	e->stats.ordered++;
	if (e->hold == HOLD_NONE) {
		ghosts_move(&e->ghosts, ghost, GHOST_DECIDED);
		return;
	}
	e->counts.observed++;
	decide_result(e, ghost, &observed, now);
	decide_leave(e, ghost);
}

static unsigned
lane_of(const struct engine *e, const struct decision *decision)
{
	return (unsigned)(decision->rule - e->policy->rules);
}

/* Nothing is recorded yet: gone before its grace ends, the ghost needs no record. */
static void
wait_order(struct engine *e, struct ghost *ghost, const struct decision *decision)
{
	if (decision->prove) {
		ghosts_move(&e->ghosts, ghost, GHOST_UNSAMPLED);
		return;
	}
	ghosts_wait(&e->ghosts, ghost, lane_of(e, decision),
		(mono_ns){ ghost->born.ns + decision->grace_ns }, GHOST_FRESH);
}

void
decide_ghost(struct engine *e, struct ghost *ghost, mono_ns now)
{
	struct decision d;

	if (ghost->owner == NULL && ghost_age(ghost, now) < SETTLE_NS) {
		ghosts_wait(&e->ghosts, ghost, GHOST_LANE_SETTLE,
			(mono_ns){ ghost->born.ns + SETTLE_NS }, GHOST_FRESH);
		return;
	}
	ghost->proved = false;
	ghost->again = ghost->unseen = false;
	d = ghost_decide(e, ghost, now);
	if (d.verdict == VERDICT_WAIT)
		wait_order(e, ghost, &d);
	else if (d.verdict == VERDICT_DESTROY)
		destroy_order(e, ghost, &d, now);
	else
		leave_alone(e, ghost, &d, now);
}

/* ---- looks -------------------------------------------------------------------------------------
 */

static void
look_again(struct engine *e, struct ghost *ghost, const struct decision *decision, mono_ns now)
{
	mono_ns next = proof_next(&ghost->proof, decision->grace_ns);

	if (next.ns <= now.ns)
		ghosts_move(&e->ghosts, ghost, GHOST_UNSAMPLED);
	else
		ghosts_wait(&e->ghosts, ghost, lane_of(e, decision), next, GHOST_UNSAMPLED);
}

static void
proved(struct engine *e, struct ghost *ghost, struct decision *decision, mono_ns now)
{
	decision->verdict = VERDICT_DESTROY;
	decision->reason = exit_class_reason(ghost->exit);
	ghost->proved = true;
	destroy_order(e, ghost, decision, now);
}

static void
orphan_look(struct engine *e, struct ghost *ghost, const struct wire_sampled *look, mono_ns now)
{
	struct decision d;

	if (e->log->failing) { /* nothing new is decided: it is looked at again */
		ghosts_move(&e->ghosts, ghost, GHOST_FRESH);
		return;
	}
	ghost->state = look->state;
	ghost->send_queue = look->progress.send_queue;
	d = ghost_decide(e, ghost, now);
	if (!d.prove || d.verdict != VERDICT_WAIT) { /* another policy, owner or state by now */
		ghosts_move(&e->ghosts, ghost, GHOST_FRESH);
		return;
	}
	switch (proof_take(&ghost->proof, look, d.grace_ns)) {
	case PROOF_BEGUN:
	case PROOF_EARLY:
		look_again(e, ghost, &d, now);
		break;
	case PROOF_STUCK:
		proved(e, ghost, &d, now);
		break;
	case PROOF_NOTHING:
		d.verdict = VERDICT_REPORT;
		d.reason = nothing_outstanding;
		leave_alone(e, ghost, &d, now);
		break;
	}
}

static void
held_look(struct engine *e, struct ghost *ghost, mono_ns now)
{
	if (++ghost->held_looks >= HELD_LOOKS_MAX) {
		e->counts.expired++; /* somebody holds it: it is no ghost */
		ghosts_remove(&e->ghosts, ghost);
		return;
	}
	ghosts_wait(&e->ghosts, ghost, GHOST_LANE_RETRY, (mono_ns){ now.ns + HELD_PAUSE_NS },
		GHOST_UNSAMPLED);
}

void
decide_look(struct engine *e, struct ghost *ghost, const struct wire_sampled *look, mono_ns now)
{
	switch ((enum wire_found)look->found) {
	case WIRE_FOUND_ORPHAN:
		orphan_look(e, ghost, look, now);
		break;
	case WIRE_FOUND_HELD:
		held_look(e, ghost, now);
		break;
	case WIRE_FOUND_NOTHING:
	case WIRE_FOUND_TIME_WAIT:
		e->counts.expired++;
		ghosts_remove(&e->ghosts, ghost);
		break;
	case WIRE_FOUND_FAILED:
		/* No look, no proof: a reconcile brings it back. */
		log_debug("no sample of ghost %llu: %s", (unsigned long long)ghost->id,
			strerror(look->error));
		ghost->again = ghost->unseen = true;
		decide_leave(e, ghost);
		break;
	}
}

/* ---- the breaker closes ------------------------------------------------------------------------
 */

static uint64_t
held_release(struct engine *e, struct breaker_unit *unit)
{
	struct ghost *ghost;
	uint64_t released = 0;

	while ((ghost = TAILQ_FIRST(&unit->held)) != NULL) {
		ghost->held = false;
		ghosts_move(&e->ghosts, ghost, GHOST_FRESH); /* and out of the group */
		released++;
	}
	return released;
}

void
decide_held(struct engine *e, mono_ns now)
{
	struct record_breaker breaker = { .open = false };
	struct breaker_unit *unit;

	if (e->log->failing)
		return;
	while ((unit = breaker_over(&e->breaker, now)) != NULL) {
		breaker.key = unit->key;
		breaker.held_back = held_release(e, unit);
		breaker_record(e, &breaker);
		breaker_close(&e->breaker, unit);
	}
}
