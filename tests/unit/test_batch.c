/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/engine.c broker/decide.c broker/requests.c broker/results.c broker/adopt.c broker/proof.c broker/breaker.c broker/ghosts.c broker/auditlog.c broker/outbox.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c broker/say.c proto/channel.c proto/wire.c proto/log.c broker/budget.c broker/keyed.c broker/batch.c broker/quantity.c broker/histogram.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/unit.h"

#include "broker/say.h"
#include "tests/unit/engine_stage.h"

/* No record of their own for anybody's ghosts. */
static void
budget_of(uint64_t count)
{
	policy.record_budget = (struct rate){ count, 3600 * NS_PER_S };
	policy.unit_limit = (struct rate){ 1000000000, NS_PER_S };
}

static void
many_in(uint32_t tgid, uint64_t first, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		killed_in(tgid, first + i);
}

/* Until what is due is done, and the time for it has come. */
static void
pass(uint64_t ns)
{
	uint64_t in_ns, end = now.ns + ns;

	for (turn(); engine_next_due(&engine, now, &in_ns) && now.ns + in_ns <= end; turn())
		now.ns += in_ns == 0 ? 1 : in_ns;
	now.ns = end;
	turn();
}

/* Answers all there is to be read, also what the channel has no room for at first. */
static size_t
answer_all(enum wire_result result)
{
	size_t n, all = 0;

	while ((n = reaper_reads()) != 0) {
		for (size_t i = 0; i < n; i++)
			reaper_answers(&requests[i], result);
		all += n;
		if (engine.blocked)
			turn();
	}
	return all;
}

/* ---- one batch ---- */

static void
test_the_whole_way(void **state)
{
	(void)state;
	budget_of(3);
	many_in(812, 0x100, 5); /* the first pays exit, decide and destroy */
	assert_false(turn());
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(seen.sequence, 2);
	assert_int_equal(engine.ghosts.counts[GHOST_BATCHED], 4);
	assert_false(engine_idle(&engine));
	pass(5 * NS_PER_MS);
	assert_int_equal(seen.sequence, 3);
	last_has("\"event.action\":\"decide\",\"event.reason\":\"owner-killed\",\"rule.name\":"
		 "\"killed\",\"eghostbuster.verdict\":\"destroy\",\"eghostbuster.batch.id\":1,"
		 "\"eghostbuster.batch.budget\":\"uid\",\"eghostbuster.batch.ghosts_count\":4,"
		 "\"eghostbuster.batch.exits\":0,\"process.pid\":812,");
	last_has("\"process.name\":\"nginx\",\"user.id\":\"33\",\"eghostbuster.unit\":"
		 "\"nginx.service\",\"eghostbuster.exit.class\":\"kill\","
		 "\"eghostbuster.exit.signal\":9,\"eghostbuster.batch.ghosts\":[\"2-5\"],"
		 "\"eghostbuster.batch.cookies\":[\"0x101\",\"0x102\",\"0x103\",\"0x104\"],"
		 "\"eghostbuster.proof\":{\"inode\":0,\"stuck\":null},");
	assert_int_equal(reaper_reads(), 4);
	now.ns += NS_PER_MS;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(seen.sequence, 3);
		reaper_answers(&requests[i], i == 2 ? WIRE_RESULT_GONE : WIRE_RESULT_DESTROYED);
		turn();
	}
	last_has("\"event.action\":\"destroy\",\"event.outcome\":\"success\","
		 "\"eghostbuster.batch.id\":1,\"eghostbuster.batch.left\":0,"
		 "\"eghostbuster.batch.turned_away\":0,\"eghostbuster.batch.results\":["
		 "{\"result\":\"destroyed\",\"outcome\":\"success\",\"count\":3,"
		 "\"peer_notice_rst\":3,\"latency_max_ns\":");
	last_has("},{\"result\":\"gone\",\"outcome\":\"success\","
		 "\"count\":1,\"ghosts\":[\"4\"]}],");
	assert_int_equal(engine.ghosts.total, 1); /* the first */
	assert_int_equal(engine.counts.destroyed, 3);
	assert_int_equal(engine.counts.batched, 4);
	assert_int_equal(engine.batches.closed_count, 0);
	assert_int_equal(stderr_count("uid 33 leaves more ghosts"), 1);
}

/* Others are not kept from records of their own. */
static void
test_other_owners(void **state)
{
	struct wire_orphan orphan = orphan_of(900, 1);

	(void)state;
	budget_of(10);
	many_in(812, 100, 1000);
	orphan.owner.uid = 34;
	memcpy(orphan.owner.unit, "other.service", 14);
	orphan_in(&orphan);
	turn();
	assert_int_equal(seen.decided[1001], 1);
	assert_int_equal(seen.batches, 0);
}

static void
test_each_result(void **state)
{
	static const enum wire_result each[] = { WIRE_RESULT_DESTROYED, WIRE_RESULT_GONE,
		WIRE_RESULT_REFUSED_LIVE, WIRE_RESULT_FAILED, WIRE_RESULT_FAILED,
		WIRE_RESULT_FAILED };
	static const int32_t errors[] = { 0, 0, 0, ENOENT, EPERM, ENOENT };

	(void)state;
	budget_of(1);
	many_in(812, 1, COUNT_OF(each));
	pass(5 * NS_PER_MS);
	assert_int_equal(reaper_reads(), COUNT_OF(each));
	for (size_t i = 0; i < COUNT_OF(each); i++) {
		struct wire_result_record record = result_of(&requests[i], each[i]);

		record.error = errors[i];
		engine_results(&engine, &record, 1, now);
	}
	turn();
	last_has("\"event.outcome\":\"failure\",");
	last_has("{\"result\":\"failed\",\"outcome\":\"failure\",\"error.code\":\"EPERM\","
		 "\"count\":1,\"ghosts\":[\"5\"]}");
	last_has("{\"result\":\"failed\",\"outcome\":\"unknown\",\"error.code\":\"ENOENT\","
		 "\"count\":2,\"ghosts\":[\"4\",\"6\"]}");
	last_has("{\"result\":\"refused-live\",\"outcome\":\"failure\",\"count\":1,\"ghosts\":["
		 "\"3\"]}");
	assert_true(engine.counts.destroyed == 1 && engine.counts.gone == 1);
	assert_true(engine.counts.refused == 1 && engine.counts.failed == 3);
	assert_int_equal(engine.ghosts.counts[GHOST_LEFT], 2);
	for (uint64_t id = 1; id <= COUNT_OF(each); id++)
		assert_int_equal(seen.results[id], 1);
}

/* Turned away, asked for again by the same decision, and counted once each. */
static void
test_turned_away(void **state)
{
	(void)state;
	budget_of(1);
	many_in(812, 1, 10);
	pass(5 * NS_PER_MS);
	for (unsigned n = 0; n < 5; n++) {
		assert_int_equal(answer_all(WIRE_RESULT_REFUSED_RATE), 10);
		pass(100 * NS_PER_MS);
	}
	assert_int_equal(seen.sequence, 1);
	assert_int_equal(answer_all(WIRE_RESULT_DESTROYED), 10);
	turn();
	assert_int_equal(seen.sequence, 2);
	last_has("\"eghostbuster.batch.turned_away\":10,");
	assert_int_equal(engine.counts.refused, 10);
	assert_int_equal(engine.counts.destroyed, 10);
}

/* The widest line there can be, and each of its errors another one. */
static void
test_widest(void **state)
{
	(void)state;
	budget_of(1);
	engine.ghosts.last_id = 1;
	for (uint64_t i = 0; i < RECORD_GHOSTS_MAX; i++) {
		killed_in(812, UINT64_MAX - 1 - i);
		engine.ghosts.last_id++; /* no two in a row */
	}
	pass(5 * NS_PER_MS);
	assert_int_equal(reaper_reads(), RECORD_GHOSTS_MAX);
	for (size_t i = 0; i < RECORD_GHOSTS_MAX; i++) {
		struct wire_result_record record = result_of(&requests[i], WIRE_RESULT_FAILED);

		record.error = (int32_t)(WIRE_ERRNO_MAX - i);
		engine_results(&engine, &record, 1, now);
	}
	turn();
	assert_int_equal(seen.sequence, 2);
	assert_int_equal(engine.counts.failed, RECORD_GHOSTS_MAX);
}

/* In whatever order they come: the same results together, and ghosts in order. */
static void
test_results_in_any_order(void **state)
{
	(void)state;
	random_start();
	budget_of(1);
	many_in(812, 1, 1000);
	pass(5 * NS_PER_MS);
	assert_int_equal(reaper_reads(), 1000);
	for (size_t n = 1000; n > 0; n--) {
		size_t i = random_below(n);
		struct wire_result_record record = result_of(&requests[i],
			requests[i].ghost % 2 == 0 ? WIRE_RESULT_GONE : WIRE_RESULT_FAILED);

		if (requests[i].ghost % 2 != 0)
			record.error = requests[i].ghost % 3 == 0 ? EPERM : ENOENT;
		engine_results(&engine, &record, 1, now);
		requests[i] = requests[n - 1];
	}
	turn();
	last_has("\"eghostbuster.batch.results\":[{\"result\":\"failed\",\"outcome\":"
		 "\"failure\",\"error.code\":\"EPERM\",\"count\":167,\"ghosts\":[\"3\","
		 "\"9\",\"15\",\"21\",");
	last_has("{\"result\":\"failed\",\"outcome\":\"unknown\",\"error.code\":\"ENOENT\","
		 "\"count\":333,\"ghosts\":[\"1\",\"5\",\"7\",\"11\",\"13\",");
	last_has("{\"result\":\"gone\",\"outcome\":\"success\",\"count\":500,\"ghosts\":["
		 "\"2\",\"4\",\"6\",\"8\",\"10\",");
}

/* ---- when ---- */

/* A storm, however long, does not wait for the time of a batch: full ones leave at once. */
static void
test_storm(void **state)
{
	const uint64_t start = now.ns;
	uint64_t in_ns;
	size_t n = 0;

	(void)state;
	budget_of(1);
	for (unsigned i = 0; i < 100; i++) {
		many_in(812, 1 + i * 1000, 1000);
		now.ns += NS_PER_MS;
		turn();
		n += answer_all(WIRE_RESULT_DESTROYED);
	}
	assert_true(n >= 99000);
	while (engine.ghosts.counts[GHOST_BATCHED] != 0) {
		assert_true(engine_next_due(&engine, now, &in_ns));
		now.ns += in_ns;
		turn();
	}
	n += answer_all(WIRE_RESULT_DESTROYED);
	assert_int_equal(n, 100000);
	assert_true(now.ns - start <= 106 * NS_PER_MS);
	assert_int_equal(engine.batches.closed_count, 0);
	turn();
	assert_true(seen.sequence <= 2 * 100);
}

/* For ever: two records a second, and no ghost waits longer than that. */
static void
test_steady_flood(void **state)
{
	uint64_t before = 0, worst = 0;

	(void)state;
	budget_of(1);
	for (unsigned i = 0; i < 300 * 100; i++) {
		const struct ghost *oldest;

		killed_in(812, 1 + i);
		now.ns += 10 * NS_PER_MS;
		turn();
		answer_all(WIRE_RESULT_DESTROYED);
		oldest = TAILQ_FIRST(&engine.ghosts.queues[GHOST_BATCHED]);
		if (oldest != NULL && now.ns - oldest->born.ns > worst)
			worst = now.ns - oldest->born.ns;
		if (i == 60 * 100)
			before = audit.sequence;
	}
	assert_true(worst <= 1100 * NS_PER_MS);
	assert_true(audit.sequence - before <= 240 * 2 + 2);
	assert_true(audit.sequence - before >= 200 * 2);
}

/* A unit over what may be named in batches waits for it; and never loses one. */
static void
test_paced(void **state)
{
	size_t n;

	(void)state;
	policy.record_budget = (struct rate){ 1, 3600 * NS_PER_S };
	policy.unit_limit = (struct rate){ 6000, 60 * NS_PER_S };
	many_in(812, 1, 6000); /* the breaker's share */
	pass(10 * NS_PER_MS);
	n = answer_all(WIRE_RESULT_DESTROYED);
	assert_int_equal(n, 6000);
	now.ns += 60 * NS_PER_S; /* it and the budget are full again */
	budget_batch_pay(
		&engine.budget, TAILQ_FIRST(&engine.budget.used[BUDGET_UID]), 0, 6000, now);
	many_in(812, 10001, 2000);
	turn();
	assert_int_equal(reaper_reads(), 0);
	pass(9 * NS_PER_MS);
	assert_int_equal(reaper_reads(), 0);
	pass(100 * NS_PER_MS);
	assert_int_equal(answer_all(WIRE_RESULT_DESTROYED), RECORD_GHOSTS_MAX);
	pass(11 * NS_PER_S);
	assert_int_equal(answer_all(WIRE_RESULT_DESTROYED), 2000 - RECORD_GHOSTS_MAX);
}

/* Whoever is over budget through another's fault has a batch of its own. */
static void
test_units_of_one_uid(void **state)
{
	struct wire_orphan orphan = orphan_of(900, 7);

	(void)state;
	budget_of(1);
	many_in(812, 100, 20);
	turn();
	memcpy(orphan.owner.unit, "victim.service", 15);
	orphan_in(&orphan);
	pass(5 * NS_PER_MS);
	assert_int_equal(seen.batches, 2);
	last_has("\"eghostbuster.unit\":\"victim.service\"");
	last_has("\"eghostbuster.batch.cookies\":[\"0x7\"]");
	/* With many of them there is one for all. */
	answer_all(WIRE_RESULT_DESTROYED);
	for (unsigned i = 0; i < 100; i++) {
		orphan.owner.tgid++;
		orphan.cookie++;
		snprintf(orphan.owner.unit, sizeof(orphan.owner.unit), "u%u.service", i);
		orphan_in(&orphan);
	}
	pass(5 * NS_PER_MS);
	assert_int_equal(seen.batches, 2 + BATCHES_OWN_MAX + 1);
	last_has("\"eghostbuster.batch.ghosts_count\":92,\"eghostbuster.batch.exits\":92,"
		 "\"user.id\":\"33\",\"eghostbuster.exit.class\":\"kill\"");
	assert_int_equal(answer_all(WIRE_RESULT_DESTROYED), 100);
}

/* Deaths of different kinds are decided by different rules, and never in one record. */
static void
test_kinds_apart(void **state)
{
	struct wire_orphan orphan = orphan_of(900, 1);

	(void)state;
	budget_of(1);
	for (unsigned i = 0; i < 30; i++) {
		orphan.owner.exit_code = i % 2 == 0 ? 9 : 11;
		orphan.owner.tgid = 900 + i % 2;
		orphan.cookie = 1 + i;
		orphan_in(&orphan);
	}
	pass(5 * NS_PER_MS);
	assert_int_equal(seen.batches, 2);
	last_has("\"event.reason\":\"owner-crashed\"");
	assert_int_equal(answer_all(WIRE_RESULT_DESTROYED), 30);
	turn();
	assert_int_equal(seen.sequence, 4);
}

/* ---- left alone ---- */

static void
test_left_alone(void **state)
{
	struct wire_orphan orphan = orphan_of(900, 1);

	(void)state;
	budget_of(2);
	orphan.owner.exit_code = 0;
	for (; orphan.cookie <= 1000; orphan.cookie++)
		orphan_in(&orphan);
	turn();
	assert_int_equal(seen.sequence, 2); /* exit and decide of the first */
	assert_int_equal(engine.ghosts.counts[GHOST_LEFT], 1000);
	assert_true(engine_idle(&engine));
	pass(NS_PER_S);
	assert_int_equal(seen.sequence, 3);
	last_has("\"event.action\":\"decide\",\"event.reason\":\"owner-finished\",\"rule.name\":"
		 "\"finished\",\"eghostbuster.verdict\":\"report\",\"eghostbuster.batch.id\":1,"
		 "\"eghostbuster.batch.budget\":\"uid\",\"eghostbuster.batch.ghosts_count\":999,"
		 "\"eghostbuster.batch.exits\":0,\"user.id\":\"33\",\"eghostbuster.batch.first\":"
		 "2,\"eghostbuster.batch.last\":1000,\"eghostbuster.batch.classes\":{\"clean\":"
		 "999},");
	assert_int_equal(engine.counts.reported, 1000);
	assert_int_equal(engine.counts.batched, 999);
	for (unsigned i = 0; i < 1000; i++) { /* one a second at most */
		orphan.cookie++;
		orphan_in(&orphan);
		now.ns += 10 * NS_PER_MS;
		turn();
	}
	assert_in_range(seen.sequence, 3 + 8, 3 + 11);
}

/* By several rules and for several reasons: numbers say which. */
static void
test_left_alone_variously(void **state)
{
	struct wire_orphan orphan = orphan_of(900, 1);

	(void)state;
	budget_of(1);
	policy.rules[1].action = ACTION_IGNORE;
	for (unsigned i = 0; i < 300; i++) {
		orphan.owner.tgid = 900 + i % 3;
		orphan.owner.exit_code = i % 3 == 0 ? 15 : 0;
		orphan.flags = i % 3 == 2 ? WIRE_ORPHAN_CLOSED : 0;
		orphan.cookie = 1 + i;
		orphan_in(&orphan);
	}
	pass(3 * NS_PER_S);
	assert_int_equal(seen.sequence, 3); /* one that could be paid for, one of each verdict */
	assert_int_equal(seen.left_batched, 299);
	last_has("\"event.reason\":\"owner-terminated\",\"rule.name\":\"stopped\","
		 "\"eghostbuster.verdict\":\"ignore\",");
	last_has("\"eghostbuster.batch.classes\":{\"term\":99}");
	assert_int_equal(engine.counts.ignored, 100);
}

/* ---- what else may befall ---- */

static void
test_observed(void **state)
{
	(void)state;
	budget_of(1);
	engine.hold = HOLD_OBSERVE;
	many_in(812, 1, 2000);
	pass(5 * NS_PER_MS);
	assert_int_equal(packets, 0);
	assert_int_equal(seen.batches, 2);
	assert_int_equal(seen.observed, 2000);
	assert_int_equal(engine.ghosts.counts[GHOST_LEFT], 2000);
	assert_int_equal(engine.batches.closed_count, 0);
	last_has("\"event.outcome\":\"unknown\"");
}

static void
test_policy_changed(void **state)
{
	(void)state;
	budget_of(1);
	log_breaks();
	many_in(812, 1, 10); /* fresh */
	turn();
	log_works();
	pass(5 * NS_PER_MS);
	assert_int_equal(reaper_reads(), 10);
	many_in(812, 101, 10); /* in an open batch */
	turn();
	assert_int_equal(engine.ghosts.counts[GHOST_BATCHED], 10);
	reaper_answers(&requests[0], WIRE_RESULT_REFUSED_RATE); /* decided, and waits */
	policy.rules[0].action = ACTION_REPORT;
	engine_policy_changed(&engine);
	turn();
	assert_int_equal(engine.ghosts.counts[GHOST_BATCHED], 0);
	assert_int_equal(engine.ghosts.counts[GHOST_LEFT], 11);
	for (unsigned i = 1; i < 10; i++)
		reaper_answers(&requests[i], WIRE_RESULT_DESTROYED);
	turn();
	last_has("{\"result\":\"withdrawn\",\"outcome\":\"unknown\",\"count\":1,\"ghosts\":[\"1\"]"
		 "}],");
	assert_int_equal(seen.withdrawn, 1);
	assert_int_equal(reaper_reads(), 0);
	pass(NS_PER_S);
	assert_int_equal(seen.left_batched, 10); /* the first of them could be paid for */
}

/* A death that stood in a batch which came to nothing has its `exit` record later. */
static void
test_exit_of_a_batch_that_was_not(void **state)
{
	(void)state;
	budget_of(1);
	many_in(812, 1, 3);
	turn();
	policy.record_budget.count = 1000000;
	now.ns += 60 * NS_PER_S;
	engine_policy_changed(&engine);
	turn();
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.sequence, 4);
	assert_int_equal(engine.counts.batched, 0);
}

/* Found without an owner, and named by a late event: it leaves the batch of the unknown. */
static void
test_late_name(void **state)
{
	(void)state;
	policy.rules[3].action = ACTION_DESTROY;
	policy.rules[3].require = REQUIRE_NONE;
	budget_of(1);
	engine_start(&engine, now);
	turn();
	reaper_hears();
	reaper_finds(7);
	reaper_finds(8);
	reaper_has_found(1, 2);
	now.ns += NS_PER_S; /* settled */
	turn();
	assert_int_equal(engine.ghosts.counts[GHOST_BATCHED], 2);
	killed_in(812, 7);
	pass(5 * NS_PER_MS);
	last_has("\"process.pid\":812");
	last_has("\"eghostbuster.batch.cookies\":[\"0x7\"]");
	assert_int_equal(seen.batches, 2);
	assert_int_equal(answer_all(WIRE_RESULT_DESTROYED), 2);
}

/* Nothing is closed, nor requested, while the log cannot be written; then all of it. */
static void
test_no_log(void **state)
{
	uint64_t made;

	(void)state;
	budget_of(1);
	many_in(812, 1, 500);
	turn();
	log_breaks();
	lost_in(0, 1, 0); /* a record that cannot be written */
	turn();
	made = audit.sequence;
	for (unsigned i = 0; i < 10; i++) {
		now.ns += NS_PER_S;
		turn();
		if (i == 5)
			many_in(812, 1001, 500);
	}
	assert_int_equal(packets, 0);
	assert_int_equal(audit.sequence, made);
	log_works();
	pass(NS_PER_S);
	assert_int_equal(answer_all(WIRE_RESULT_DESTROYED), 1000);
}

/* What the reaper is long in answering is recorded as far as it is. */
static void
test_late_results(void **state)
{
	(void)state;
	budget_of(1);
	many_in(812, 1, 10);
	pass(5 * NS_PER_MS);
	assert_int_equal(reaper_reads(), 10);
	for (unsigned i = 0; i < 4; i++)
		reaper_answers(&requests[i], WIRE_RESULT_GONE);
	pass(BATCH_PATIENCE_NS - 100 * NS_PER_MS);
	assert_int_equal(seen.sequence, 1);
	pass(2 * NS_PER_S);
	assert_int_equal(seen.sequence, 2);
	last_has("\"event.outcome\":\"unknown\",\"eghostbuster.batch.id\":1,"
		 "\"eghostbuster.batch.left\":6,");
	pass(600 * NS_PER_S); /* nothing new: nothing is said */
	assert_int_equal(seen.sequence, 2);
	for (unsigned i = 4; i < 10; i++)
		reaper_answers(&requests[i], WIRE_RESULT_DESTROYED);
	turn();
	last_has("\"eghostbuster.batch.left\":0,");
	last_has("\"count\":6,");
}

/* A reaper that answers nearly nothing holds so many batches open, and no more. */
static void
test_closed_are_bounded(void **state)
{
	(void)state;
	policy.record_budget = (struct rate){ 1, 3600 * NS_PER_S };
	policy.unit_limit = (struct rate){ 1000000000, NS_PER_S };
	for (unsigned i = 0; i < 3 * BATCHES_CLOSED_MAX; i++) {
		killed_in(812, 1 + i);
		now.ns += 2 * NS_PER_S;
		turn();
		reaper_hears();
	}
	assert_int_equal(engine.batches.closed_count, BATCHES_CLOSED_MAX);
	assert_true(engine.ghosts.counts[GHOST_SENT] <= 2 * BATCHES_CLOSED_MAX);
	assert_true(engine.ghosts.counts[GHOST_BATCHED] > 1000);
}

/* ---- the stop ---- */

static void
test_stop(void **state)
{
	struct wire_orphan orphan = orphan_of(900, 5000);

	(void)state;
	budget_of(1);
	many_in(812, 1, 100);
	orphan.owner.exit_code = 0;
	orphan_in(&orphan);
	turn();
	engine_drain(&engine);
	turn();
	assert_int_equal(seen.batches, 1);
	assert_int_equal(seen.lefts, 1);
	many_in(812, 1001, 1); /* and what still comes does not wait either */
	turn();
	assert_int_equal(seen.batches, 2);
	assert_int_equal(answer_all(WIRE_RESULT_DESTROYED), 101);
	assert_true(engine_idle(&engine));
	engine_end(&engine, now);
	turn();
	assert_int_equal(engine.counts.unanswered, 0);
	assert_int_equal(seen.sequence, 5);
}

/* What is left undone is told by number. */
static void
test_stop_without_results(void **state)
{
	(void)state;
	budget_of(1);
	many_in(812, 1, 10);
	pass(5 * NS_PER_MS);
	assert_int_equal(reaper_reads(), 10);
	reaper_answers(&requests[3], WIRE_RESULT_DESTROYED);
	engine_end(&engine, now);
	turn();
	last_has("\"event.outcome\":\"unknown\",\"eghostbuster.batch.id\":1,"
		 "\"eghostbuster.batch.left\":0,");
	last_has("{\"result\":\"unanswered\",\"outcome\":\"unknown\",\"count\":9,\"ghosts\":["
		 "\"1-3\",\"5-10\"]}");
	assert_int_equal(engine.counts.unanswered, 9);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ON_STAGE(test_the_whole_way),
		ON_STAGE(test_other_owners),
		ON_STAGE(test_each_result),
		ON_STAGE(test_turned_away),
		ON_STAGE(test_widest),
		ON_STAGE(test_results_in_any_order),
		ON_STAGE(test_storm),
		ON_STAGE(test_steady_flood),
		ON_STAGE(test_paced),
		ON_STAGE(test_units_of_one_uid),
		ON_STAGE(test_kinds_apart),
		ON_STAGE(test_left_alone),
		ON_STAGE(test_left_alone_variously),
		ON_STAGE(test_observed),
		ON_STAGE(test_policy_changed),
		ON_STAGE(test_exit_of_a_batch_that_was_not),
		ON_STAGE(test_late_name),
		ON_STAGE(test_no_log),
		ON_STAGE(test_late_results),
		ON_STAGE(test_closed_are_bounded),
		ON_STAGE(test_stop),
		ON_STAGE(test_stop_without_results),
	};
	int failed = cmocka_run_group_tests_name("batch", tests, NULL, NULL);

	say_rest();
	return failed;
}
