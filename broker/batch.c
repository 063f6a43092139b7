/* SPDX-License-Identifier: Apache-2.0 */
#include "batch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine_parts.h"
#include "proto/log.h"
#include "say.h"

/* Closed between two writes of the log: bounds what is in memory while it cannot be written. */
#define TURN_BYTES (4u << 20)

/* An account says so at most so often. */
#define TELL_PAUSE_NS (60 * NS_PER_S)

static void *
grown(void *old, size_t size)
{
	void *p = realloc(old, size);

	if (p == NULL)
		fatal("out of memory for one more batch");
	return p;
}

static void
due_note(struct batches *s, mono_ns when)
{
	if (!s->waiting || when.ns < s->due.ns)
		s->due = when;
	s->waiting = true;
}

static void
activate(struct engine *e, struct budget_account *account, mono_ns now)
{
	if (account->active)
		return;
	account->active = true;
	TAILQ_INSERT_TAIL(&e->batches.active, account, activity);
	if (account->told.ns != 0 && now.ns - account->told.ns < TELL_PAUSE_NS)
		return;
	account->told = now;
	if (account->key.kind == BUDGET_UID && account->key.uid < UINT32_MAX)
		log_info("uid %" PRIu64 " leaves more ghosts than record_budget allows records: "
			 "one record now speaks of many",
			account->key.uid);
	else
		log_info("%s %s: more ghosts than record_budget allows records: one record now "
			 "speaks of many",
			budget_kind_name(account), account->key.unit);
}

/* ---- what came of them -------------------------------------------------------------------------
 */

static bool
has_news(const struct batch *batch)
{
	const struct record_batch_result *r = &batch->result;

	return r->destroyed + r->count + r->turned_away != 0;
}

static void
result_record(struct engine *e, struct batch *batch)
{
	struct record_batch_result *r = &batch->result;
	struct record_head head;
	char *out = auditlog_room_for(e->log, RECORD_BATCH_MAX, &head);

	r->number = batch->number;
	r->left = batch->count;
	auditlog_made(e->log, record_batch_result(out, RECORD_BATCH_MAX, &head, r));
	free(r->others);
	*r = (struct record_batch_result){ 0 };
}

static void
outcome_add(
	struct batch *batch, uint64_t ghost, const char *result, const char *outcome, int32_t error)
{
	struct record_batch_result *r = &batch->result;

	if (r->count % 64 == 0)
		r->others = grown(r->others, (r->count + 64) * sizeof(r->others[0]));
	r->others[r->count++] = (struct record_outcome){ result, outcome, error, ghost };
}

/* Its ghosts have all had their results. */
static void
finish_check(struct engine *e, struct batch *batch)
{
	if (batch->count != 0)
		return;
	result_record(e, batch);
	TAILQ_REMOVE(&e->batches.closed, batch, queue);
	e->batches.closed_count--;
	free(batch);
}

static void
member_leave(struct ghost *ghost)
{
	ghost->batch->count--;
	ghost->batch = NULL;
	ghosts_part(ghost);
}

void
batch_result(struct engine *e, struct ghost *ghost, const struct record_result *result)
{
	struct batch *batch = ghost->batch;
	struct record_batch_result *r = &batch->result;

	if (result->peer_notice == NULL) {
		outcome_add(batch, ghost->id, result->result, result->outcome, result->error);
	} else {
		r->destroyed++;
		r->rst += strcmp(result->peer_notice, "rst") == 0;
		if (result->latency_ns > r->latency_max_ns)
			r->latency_max_ns = result->latency_ns;
		if (result->look_to_act_ns > r->look_to_act_max_ns)
			r->look_to_act_max_ns = result->look_to_act_ns;
	}
	member_leave(ghost);
	finish_check(e, batch);
}

static void
open_withdraw(struct ghost *ghost)
{
	struct batch *batch = ghost->batch;

	if (ghost->exit_batched)
		ghost->owner->recorded = false;
	batch->exits -= ghost->exit_batched;
	ghost->exit_batched = false;
	member_leave(ghost);
	if (batch->count != 0)
		return;
	TAILQ_REMOVE(&batch->account->open, batch, queue);
	batch->account->open_count--;
	free(batch);
}

void
batch_withdraw(struct engine *e, struct ghost *ghost)
{
	struct batch *batch = ghost->batch;

	if (batch == NULL)
		return;
	if (batch->number == 0) {
		open_withdraw(ghost);
		return;
	}
	outcome_add(batch, ghost->id, "withdrawn", "unknown", 0);
	member_leave(ghost);
	finish_check(e, batch);
}

/* ---- closing -----------------------------------------------------------------------------------
 */

/* What is said of all where it is so of all. */
static void
members_describe(const struct batch *batch, struct record_batch *view)
{
	const struct ghost *first = TAILQ_FIRST(&batch->members), *ghost;
	bool one = true, uid = true, unit = true;

	view->owner.exit = batch->exit;
	if (first->owner == NULL)
		return;
	TAILQ_FOREACH (ghost, &batch->members, kin) {
		one = one && ghost->owner == first->owner;
		uid = uid && ghost_uid(ghost) == ghost_uid(first);
		unit = unit && strcmp(ghost_unit(ghost), ghost_unit(first)) == 0;
	}
	if (one) {
		view->owner.process = &first->owner->process;
		view->owner.entity_id = first->owner->entity_id;
	}
	view->uid = uid ? &first->owner->process.uid : NULL;
	view->unit = unit ? first->owner->unit : NULL;
}

static void
batch_record(struct engine *e, struct batch *batch)
{
	static uint64_t ghosts[RECORD_GHOSTS_MAX], cookies[RECORD_GHOSTS_MAX];
	struct record_batch view = {
		.number = batch->number,
		.account = batch->account,
		.rule = batch->rule,
		.reason = batch->reason,
		.proved = batch->proved,
		.exits = batch->exits,
		.ghosts = ghosts,
		.cookies = cookies,
		.count = batch->count,
	};
	const struct ghost *ghost;
	struct record_head head;
	size_t n = 0;
	char *out;

	TAILQ_FOREACH (ghost, &batch->members, kin) {
		ghosts[n] = ghost->id;
		cookies[n++] = ghost->cookie;
	}
	members_describe(batch, &view);
	out = auditlog_room_for(e->log, RECORD_BATCH_MAX, &head);
	auditlog_made(e->log, record_batch(out, RECORD_BATCH_MAX, &head, &view));
}

static void
members_observe(struct engine *e, struct batch *batch, mono_ns now)
{
	const struct record_result observed = { .result = "observed", .outcome = "unknown" };
	struct ghost *ghost;

	while ((ghost = TAILQ_FIRST(&batch->members)) != NULL) {
		outcome_add(batch, ghost->id, "observed", "unknown", 0);
		say_result(ghost, &observed, now);
		e->counts.observed++;
		member_leave(ghost);
		decide_leave(e, ghost);
	}
}

static void
batch_close(struct engine *e, struct batch *batch, mono_ns now)
{
	struct budget_account *account = batch->account;
	struct ghost *ghost;

	batch->number = ++e->batches.last_number;
	batch_record(e, batch);
	e->counts.batched += batch->count;
	e->stats.ordered += batch->count;
	/* A full one costs its ghosts only: a storm is not to wait for its end. */
	budget_batch_pay(&e->budget, account, batch->count < RECORD_GHOSTS_MAX, batch->count, now);
	TAILQ_REMOVE(&account->open, batch, queue);
	account->open_count--;
	TAILQ_INSERT_TAIL(&e->batches.closed, batch, queue);
	e->batches.closed_count++;
	batch->patience_ns = BATCH_PATIENCE_NS;
	batch->say_at.ns = now.ns + BATCH_PATIENCE_NS;
	if (e->hold == HOLD_NONE) {
		TAILQ_FOREACH (ghost, &batch->members, kin)
			ghosts_move(&e->ghosts, ghost, GHOST_DECIDED);
		return;
	}
	members_observe(e, batch, now);
	finish_check(e, batch);
}

/* ---- when
 * ----------------------------------------------------------------------------------------
 */

static uint64_t
until(mono_ns when, mono_ns now)
{
	return when.ns > now.ns ? when.ns - now.ns : 0;
}

static uint64_t
longer(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The fewer batches an account has left, the longer one is filled: so a storm, however long, finds
 * one for its last ghosts. */
static uint64_t
linger_ns(double batches)
{
	if (batches > BUDGET_BATCHES_COUNT / 2.0)
		return 5 * NS_PER_MS;
	if (batches > BUDGET_BATCHES_COUNT / 6.0)
		return 25 * NS_PER_MS;
	return batches > 2 ? 100 * NS_PER_MS : 250 * NS_PER_MS;
}

static uint64_t
record_wait(struct engine *e, struct budget_account *account, mono_ns since, mono_ns now)
{
	uint64_t linger = linger_ns(budget_batches(&e->budget, account, now));

	return longer(budget_batches_wait(&e->budget, account, now),
		until((mono_ns){ since.ns + linger }, now));
}

static uint64_t
batch_wait(struct engine *e, const struct batch *batch, mono_ns now)
{
	uint64_t ghosts = budget_ghosts_wait(&e->budget, batch->account, now);

	if (e->batches.stopping)
		return 0;
	if (e->batches.closed_count >= BATCHES_CLOSED_MAX)
		return 100 * NS_PER_MS; /* the reaper owes that many results */
	if (batch->count >= RECORD_GHOSTS_MAX)
		return ghosts;
	return longer(ghosts, record_wait(e, batch->account, batch->opened, now));
}

static uint64_t
left_wait(struct engine *e, struct budget_account *account, const struct budget_left *left,
	mono_ns now)
{
	if (e->batches.stopping)
		return 0;
	return longer(record_wait(e, account, left->since, now),
		until((mono_ns){ account->left_said.ns + NS_PER_S }, now));
}

/* ---- opening -----------------------------------------------------------------------------------
 */

static bool
batch_fits(const struct batch *batch, const struct ghost *ghost, const struct decision *decision,
	bool own)
{
	return batch->count < RECORD_GHOSTS_MAX && batch->own == own &&
	       batch->exit == ghost->exit && batch->proved == ghost->proved &&
	       (!own || (batch->uid == ghost_uid(ghost) &&
				strcmp(batch->unit, ghost_unit(ghost)) == 0)) &&
	       strcmp(batch->reason, decision->reason) == 0 &&
	       strcmp(batch->rule, decision->rule->name) == 0;
}

static struct batch *
open_find(const struct budget_account *account, const struct ghost *ghost,
	const struct decision *decision, bool own)
{
	struct batch *batch;

	TAILQ_FOREACH (batch, &account->open, queue) {
		if (batch_fits(batch, ghost, decision, own))
			return batch;
	}
	return NULL;
}

static struct batch *
batch_open(struct budget_account *account, const struct ghost *ghost,
	const struct decision *decision, bool own, mono_ns now)
{
	struct batch *batch = grown(NULL, sizeof(*batch));

	*batch = (struct batch){ .account = account,
		.reason = decision->reason,
		.exit = ghost->exit,
		.proved = ghost->proved,
		.own = own,
		.uid = ghost_uid(ghost),
		.opened = now };
	strcpy(batch->rule, decision->rule->name);
	strcpy(batch->unit, ghost_unit(ghost));
	TAILQ_INIT(&batch->members);
	TAILQ_INSERT_TAIL(&account->open, batch, queue);
	account->open_count++;
	return batch;
}

static struct batch *
batch_for(struct budget_account *account, const struct ghost *ghost,
	const struct decision *decision, mono_ns now)
{
	struct batch *batch = open_find(account, ghost, decision, true);
	bool own = account->open_count < BATCHES_OWN_MAX;

	if (batch == NULL && !own)
		batch = open_find(account, ghost, decision, false);
	if (batch == NULL)
		batch = batch_open(account, ghost, decision, own, now);
	return batch;
}

/* True when the `exit` record of its owner is still to be made, and this batch stands for it. */
static bool
exit_take(struct ghost *ghost)
{
	if (ghost->owner == NULL || ghost->owner->recorded)
		return false;
	ghost->owner->recorded = true;
	return true;
}

void
batch_add(struct engine *e, struct budget_account *account, struct ghost *ghost,
	const struct decision *decision, mono_ns now)
{
	struct batch *batch = batch_for(account, ghost, decision, now);

	activate(e, account, now);
	ghost->batch = batch;
	batch->count++;
	ghosts_join(ghost, &batch->members);
	ghosts_move(&e->ghosts, ghost, GHOST_BATCHED);
	ghost->exit_batched = exit_take(ghost);
	batch->exits += ghost->exit_batched;
	if (batch->count == 1 || batch->count == RECORD_GHOSTS_MAX)
		due_note(&e->batches, (mono_ns){ now.ns + batch_wait(e, batch, now) });
}

void
batch_leave(struct engine *e, struct budget_account *account, struct ghost *ghost,
	const struct decision *decision, mono_ns now)
{
	struct budget_left *left = &account->left[decision->verdict == VERDICT_IGNORE];
	const char *rule = decision->rule != NULL ? decision->rule->name : "";

	activate(e, account, now);
	if (left->count == 0) {
		*left = (struct budget_left){ .first = ghost->id, .since = now };
		left->reason = decision->reason;
		strcpy(left->rule, rule);
		left->ruled = decision->rule != NULL;
		due_note(&e->batches, (mono_ns){ now.ns + left_wait(e, account, left, now) });
	}
	left->count++;
	left->last = ghost->id;
	left->exits += exit_take(ghost);
	left->classes[ghost->exit]++;
	if (left->reason != NULL && strcmp(left->reason, decision->reason) != 0)
		left->reason = NULL;
	left->several = left->several || strcmp(left->rule, rule) != 0;
	e->counts.batched++;
}

/* ---- turns -------------------------------------------------------------------------------------
 */

static void
left_record(struct engine *e, struct budget_account *account, unsigned which, mono_ns now)
{
	struct record_left view = {
		.number = ++e->batches.last_number,
		.account = account,
		.left = &account->left[which],
		.verdict = which == 0 ? VERDICT_REPORT : VERDICT_IGNORE,
	};
	struct record_head head;
	char *out = auditlog_room(e->log, &head);

	auditlog_made(e->log, record_left(out, RECORD_MAX, &head, &view));
	budget_batch_pay(&e->budget, account, 1, 0, now);
	account->left[which].count = 0;
	account->left_said = now;
}

static void
left_turn(struct engine *e, struct budget_account *account, mono_ns now)
{
	for (unsigned which = 0; which < 2; which++) {
		uint64_t wait;

		if (account->left[which].count == 0)
			continue;
		wait = left_wait(e, account, &account->left[which], now);
		if (wait == 0)
			left_record(e, account, which, now);
		else
			due_note(&e->batches, (mono_ns){ now.ns + wait });
	}
}

/* What an account has open is closed in the order in which it was opened. */
static void
account_turn(struct engine *e, struct budget_account *account, mono_ns now)
{
	struct batch *batch = TAILQ_FIRST(&account->open), *next;

	for (; batch != NULL; batch = next) {
		uint64_t wait = batch_wait(e, batch, now);

		next = TAILQ_NEXT(batch, queue);
		if (wait == 0 && e->log->used < TURN_BYTES)
			batch_close(e, batch, now);
		else
			due_note(&e->batches, (mono_ns){ now.ns + wait });
	}
	left_turn(e, account, now);
	if (account->open_count + account->left[0].count + account->left[1].count != 0)
		return;
	account->active = false;
	TAILQ_REMOVE(&e->batches.active, account, activity);
}

/* Results that are long in coming: those that are there are recorded. */
static void
late_turn(struct engine *e, mono_ns now)
{
	struct batch *batch;

	TAILQ_FOREACH (batch, &e->batches.closed, queue) {
		if (batch->say_at.ns > now.ns)
			continue;
		if (has_news(batch))
			result_record(e, batch);
		batch->patience_ns *= 2;
		batch->say_at.ns = now.ns + batch->patience_ns;
	}
	if (e->batches.closed_count != 0)
		due_note(&e->batches, (mono_ns){ now.ns + NS_PER_S });
}

void
batches_turn(struct engine *e, mono_ns now)
{
	struct budget_account *account, *next;

	if (e->log->failing ||
		(!e->batches.stopping && (!e->batches.waiting || e->batches.due.ns > now.ns)))
		return;
	e->batches.waiting = false;
	for (account = TAILQ_FIRST(&e->batches.active); account != NULL; account = next) {
		next = TAILQ_NEXT(account, activity);
		account_turn(e, account, now);
	}
	late_turn(e, now);
}

void
batches_end(struct engine *e, mono_ns now)
{
	struct budget_account *account;
	struct batch *batch;
	struct ghost *ghost;

	e->batches.stopping = true;
	TAILQ_FOREACH (account, &e->batches.active, activity)
		left_turn(e, account, now);
	TAILQ_FOREACH (batch, &e->batches.closed, queue) {
		TAILQ_FOREACH (ghost, &batch->members, kin)
			outcome_add(batch, ghost->id,
				ghost->phase == GHOST_SENT ? "unanswered" : "unsent", "unknown", 0);
		batch->count = 0;
		result_record(e, batch);
	}
}
