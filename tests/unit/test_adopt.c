/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/engine.c broker/decide.c broker/requests.c broker/results.c broker/adopt.c broker/proof.c broker/breaker.c broker/ghosts.c broker/auditlog.c broker/outbox.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c broker/say.c proto/channel.c proto/wire.c proto/log.c broker/budget.c broker/keyed.c broker/batch.c broker/quantity.c broker/histogram.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/engine_stage.h"

/* Comparing the table with the kernel's own: the test is the reaper that finds orphans. */

#define SETTLE (500 * NS_PER_MS)
#define PERIOD (60 * NS_PER_S)

/* The engine asks for round `round` in this turn, once. */
static void
asked_expect(uint64_t round)
{
	assert_false(turn());
	reaper_hears();
	assert_int_equal(heard.reconciles, 1);
	assert_int_equal(heard.round, round);
}

static void
silence_expect(void)
{
	turn();
	reaper_hears();
	assert_int_equal(heard.reconciles, 0);
}

static void
start(void)
{
	engine_start(&engine, now);
	asked_expect(1);
}

/* The first round, over and empty. */
static void
started(void)
{
	start();
	reaper_has_found(1, 0);
	turn();
}

static void
settle(void)
{
	now.ns += SETTLE;
	turn();
	reaper_hears();
}

static void
failed_end(uint64_t round, uint32_t count, int32_t error)
{
	const struct wire_found_end end = {
		.round = round, .done_mono_ns = now.ns, .count = count, .error = error
	};

	engine_found_end(&engine, &end, now);
}

static enum ghost_phase
phase_of(uint64_t cookie)
{
	const struct ghost *ghost = ghosts_find(&engine.ghosts, cookie);

	assert_non_null(ghost);
	return ghost->phase;
}

/* ---- when ---- */

static void
test_start(void **state)
{
	uint64_t in_ns;

	(void)state;
	silence_expect();
	engine_start(&engine, now);
	assert_true(engine_next_due(&engine, now, &in_ns) && in_ns == 0);
	asked_expect(1);
	assert_false(engine_next_due(&engine, now, &in_ns)); /* it is the reaper's turn */
	now.ns += 10 * PERIOD;
	silence_expect();
	reaper_has_found(1, 0);
	turn();
	assert_int_equal(seen.sequence, 1);
	last_has("\"event.action\":\"reconcile\",\"event.outcome\":\"success\","
		 "\"event.reason\":\"start\",\"eghostbuster.reconcile.round\":1,"
		 "\"eghostbuster.reconcile.found\":0,\"eghostbuster.reconcile.adopted\":0,"
		 "\"eghostbuster.reconcile.forgotten\":0,\"event.hash\":\"");
}

/* Every 60 s, without a word when there is no news. */
static void
test_periodic(void **state)
{
	uint64_t in_ns;

	(void)state;
	started();
	for (uint64_t round = 2; round < 10; round++) {
		assert_true(engine_next_due(&engine, now, &in_ns) && in_ns == PERIOD);
		now.ns += PERIOD - 1;
		silence_expect();
		now.ns++;
		asked_expect(round);
		now.ns += 5 * NS_PER_S; /* it takes its time: the minute begins behind it */
		reaper_has_found(round, 0);
	}
	assert_int_equal(seen.reconciles, 1);
	now.ns += PERIOD;
	asked_expect(10);
	reaper_finds(7);
	reaper_has_found(10, 1);
	turn();
	assert_int_equal(seen.reconciles, 2);
	last_has("\"event.reason\":\"periodic\",\"eghostbuster.reconcile.round\":10,"
		 "\"eghostbuster.reconcile.found\":1,\"eghostbuster.reconcile.adopted\":1,");
}

/* A second after a loss, once for all that come in that second. */
static void
test_lost(void **state)
{
	(void)state;
	started();
	now.ns += 10 * NS_PER_S;
	lost_in(1, 0, 0);
	silence_expect();
	now.ns += NS_PER_S / 2;
	lost_in(2, 0, 0);
	now.ns += NS_PER_S / 2 - 1;
	silence_expect();
	now.ns++;
	asked_expect(2);
	reaper_has_found(2, 0);
	turn();
	last_has("\"event.action\":\"reconcile\",\"event.outcome\":\"success\","
		 "\"event.reason\":\"lost\",\"eghostbuster.reconcile.round\":2,");
	now.ns += PERIOD - 1;
	silence_expect();
	now.ns++;
	asked_expect(3);
}

/* What is lost while the reaper looks may lie behind its look: one more, after a pause. */
static void
test_lost_in_mid_round(void **state)
{
	(void)state;
	started();
	now.ns += PERIOD;
	asked_expect(2);
	lost_in(1, 0, 0);
	now.ns += 5 * NS_PER_S;
	silence_expect();
	reaper_has_found(2, 0);
	silence_expect();
	now.ns += 10 * NS_PER_S - 1; /* four times as long, but no longer than that */
	silence_expect();
	now.ns++;
	asked_expect(3);
	reaper_has_found(3, 0);
	turn();
	last_has("\"event.reason\":\"lost\",\"eghostbuster.reconcile.round\":3,");
}

/* A look that takes long keeps the reaper from its work: then there are fewer. */
static void
test_long_rounds(void **state)
{
	(void)state;
	started();
	now.ns += PERIOD;
	asked_expect(2);
	lost_in(1, 0, 0);
	now.ns += 500 * NS_PER_MS;
	reaper_has_found(2, 0);
	now.ns += 2 * NS_PER_S - 1;
	silence_expect();
	now.ns++;
	asked_expect(3);
}

/* Losses without an end do not make rounds without a pause. */
static void
test_storm(void **state)
{
	unsigned rounds = 0;
	uint64_t in_ns;

	(void)state;
	started();
	for (uint64_t i = 1; i <= 1000; i++) { /* 100 s */
		lost_in(i, 0, 0);
		now.ns += 100 * NS_PER_MS;
		turn();
		reaper_hears();
		rounds += heard.reconciles;
		if (heard.reconciles != 0)
			reaper_has_found(heard.round, 0);
		assert_true(engine_next_due(&engine, now, &in_ns));
	}
	assert_in_range(rounds, 40, 100);
}

/* The table moved under the dump, or it failed: asked again after a second, for the same reason. */
static void
test_incomplete(void **state)
{
	(void)state;
	start();
	reaper_finds(1);
	failed_end(1, 1, 0);
	turn();
	last_has("\"event.outcome\":\"failure\",\"event.reason\":\"start\","
		 "\"eghostbuster.reconcile.round\":1,\"eghostbuster.reconcile.found\":1,"
		 "\"eghostbuster.reconcile.adopted\":1,\"eghostbuster.reconcile.forgotten\":0,"
		 "\"error.code\":\"EINTR\",\"event.hash\":\"");
	now.ns += NS_PER_S - 1;
	silence_expect();
	now.ns++;
	asked_expect(2);
	failed_end(2, 0, ENOBUFS);
	turn();
	last_has("\"event.reason\":\"start\",\"eghostbuster.reconcile.round\":2,");
	last_has("\"error.code\":\"ENOBUFS\",\"event.hash\":\"");
	assert_non_null(ghosts_find(&engine.ghosts, 1)); /* not found is not gone */
	now.ns += NS_PER_S;
	asked_expect(3);
	reaper_has_found(3, 0);
	turn();
	last_has("\"event.outcome\":\"success\",\"event.reason\":\"start\","
		 "\"eghostbuster.reconcile.round\":3,");
	last_has("\"eghostbuster.reconcile.forgotten\":1,\"event.hash\":\"");
	silence_expect();
}

/* A reaper whose looks are never complete: asked again at once for a while, then less and less
 * often, until one is. */
static void
test_never_complete(void **state)
{
	uint64_t in_ns, before = 0;

	(void)state;
	start();
	for (uint64_t round = 1; round < 40; round++) {
		failed_end(round, 0, 0);
		turn();
		assert_true(engine_next_due(&engine, now, &in_ns));
		assert_true(in_ns >= NS_PER_S && in_ns <= 60 * NS_PER_S);
		assert_true(round > 8 || in_ns == NS_PER_S);
		assert_true(round < 20 || in_ns == 60 * NS_PER_S);
		assert_true(in_ns >= before);
		before = in_ns;
		now.ns += in_ns;
		asked_expect(round + 1);
	}
	reaper_has_found(40, 0);
	turn();
	assert_true(engine_next_due(&engine, now, &in_ns));
	lost_in(1, 0, 0);
	now.ns += NS_PER_S;
	asked_expect(41);
	failed_end(41, 0, 0);
	turn();
	assert_true(engine_next_due(&engine, now, &in_ns));
	assert_true(in_ns == NS_PER_S); /* the count begins anew */
}

static uint64_t end_at;

static void
end_at_another_time(void *arg)
{
	struct wire_found_end end = { .round = 1, .done_mono_ns = end_at, .complete = 1 };

	(void)arg;
	engine_found_end(&engine, &end, now);
}

static void
test_end_of_another_time(void **state)
{
	(void)state;
	start();
	end_at = now.ns + 1;
	protocol_expect(end_at_another_time, NULL, "reaper");
	end_at = now.ns - 1;
	protocol_expect(end_at_another_time, NULL, "reaper");
	now.ns += ANSWER_PATIENCE_NS;
	assert_false(engine_overdue(&engine, now));
	now.ns++;
	assert_true(engine_overdue(&engine, now));
}

/* ---- what is found ---- */

static void
test_unknown(void **state)
{
	uint64_t in_ns;

	(void)state;
	start();
	reaper_finds(0x77);
	reaper_has_found(1, 1);
	assert_int_equal(engine.counts.adopted, 1);
	assert_int_equal(engine.counts.ghosts, 1);
	turn();
	assert_int_equal(seen.sequence, 1); /* reconcile */
	assert_true(engine_next_due(&engine, now, &in_ns) && in_ns == SETTLE);
	assert_true(engine_idle(&engine));
	now.ns += SETTLE - 1;
	turn();
	assert_int_equal(seen.sequence, 1);
	now.ns++;
	turn();
	assert_int_equal(seen.sequence, 2); /* and no exit record */
	last_has("\"event.action\":\"decide\",\"event.reason\":\"owner-unknown\",\"rule.name\":"
		 "\"adopted\",\"eghostbuster.verdict\":\"report\",\"eghostbuster.ghost\":1,"
		 "\"eghostbuster.exit.class\":\"unknown\",\"network.transport\":\"tcp\",");
	last_has("\"source.ip\":\"127.0.0.1\",\"source.port\":80,");
	last_has("\"eghostbuster.socket.cookie\":\"0x77\"");
	last_has("\"eghostbuster.socket.netns\":4026531840,");
	last_has("\"eghostbuster.socket.send_queue\":700");
	assert_null(strstr(seen.last, "process."));
	assert_null(strstr(seen.last, "user.id"));
	assert_int_equal(stderr_count("unknown process: 127.0.0.1:80"), 1);
	assert_int_equal(engine.counts.reported, 1);
}

/* Reported once, as long as it is there. */
static void
test_reported_once(void **state)
{
	(void)state;
	start();
	reaper_finds(7);
	reaper_has_found(1, 1);
	settle();
	for (uint64_t round = 2; round < 6; round++) {
		now.ns += PERIOD;
		asked_expect(round);
		reaper_finds(7);
		reaper_has_found(round, 1);
		settle();
		assert_int_equal(phase_of(7), GHOST_LEFT);
	}
	assert_int_equal(seen.left[1], 1);
	assert_int_equal(seen.sequence, 2);
	assert_int_equal(engine.counts.adopted, 1);
}

/* Forgotten when it is no longer found; the same cookie would be another ghost. */
static void
test_sweep(void **state)
{
	(void)state;
	start();
	reaper_finds(7);
	reaper_finds(8);
	reaper_has_found(1, 2);
	settle();
	now.ns += PERIOD;
	asked_expect(2);
	reaper_finds(8);
	reaper_has_found(2, 1);
	assert_null(ghosts_find(&engine.ghosts, 7));
	assert_int_equal(phase_of(8), GHOST_LEFT);
	assert_int_equal(engine.ghosts.total, 1);
	now.ns += PERIOD;
	asked_expect(3);
	reaper_finds(7);
	reaper_finds(8);
	reaper_has_found(3, 2);
	settle();
	assert_int_equal(engine.counts.adopted, 3);
	assert_int_equal(seen.left[3], 1);
}

/* Left alone while the reaper looks: its dump may have passed the place before. */
static void
test_left_in_mid_round(void **state)
{
	struct wire_orphan orphan;

	(void)state;
	started();
	now.ns += PERIOD;
	asked_expect(2);
	orphan = orphan_of(812, 5);
	orphan.owner.exit_code = 0;
	orphan_in(&orphan);
	turn();
	reaper_has_found(2, 0);
	assert_int_equal(phase_of(5), GHOST_LEFT);
	now.ns += PERIOD;
	asked_expect(3);
	reaper_has_found(3, 0);
	assert_null(ghosts_find(&engine.ghosts, 5));
}

/* Only what is left alone is swept: the others' ends are heard of otherwise. */
static void
test_sweep_spares(void **state)
{
	(void)state;
	started();
	policy.unit_limit = (struct rate){ 1, 3600 * NS_PER_S };
	killed_in(812, 1); /* sent */
	killed_in(812, 2); /* held */
	asked_in(813, 3);  /* sampled */
	stopped_in(814, 4);
	turn();
	now.ns += 10 * NS_PER_S; /* not yet over */
	lost_in(1, 0, 0);
	now.ns += NS_PER_S;
	turn();
	reaper_hears();
	reaper_has_found(2, 0);
	assert_int_equal(engine.ghosts.total, 4);
	assert_int_equal(phase_of(1), GHOST_SENT);
	assert_int_equal(phase_of(2), GHOST_HELD);
}

/* A ghost in hand is what the tracker said it is, wherever it stands. */
static void
test_known(void **state)
{
	(void)state;
	started();
	killed_in(812, 1);
	now.ns += PERIOD;
	asked_expect(2);
	assert_int_equal(heard.destroys, 1);
	killed_in(812, 2); /* not decided yet */
	reaper_finds(1);
	reaper_finds(2);
	reaper_has_found(2, 2);
	assert_int_equal(engine.counts.adopted, 0);
	turn();
	reaper_hears();
	assert_int_equal(heard.destroys, 1);
	assert_int_equal(requests[0].cookie, 2);
	assert_int_equal(engine.ghosts.total, 2);
	assert_int_equal(seen.reconciles, 1);
}

/* Refused, and an orphan after all: decided anew, once a round. */
static void
test_again(void **state)
{
	(void)state;
	started();
	killed_in(812, 1);
	turn();
	reaper_hears();
	for (uint64_t round = 2; round < 5; round++) {
		assert_int_equal(heard.destroys, 1);
		reaper_answers(&requests[0], WIRE_RESULT_REFUSED_LIVE);
		turn();
		assert_int_equal(phase_of(1), GHOST_LEFT);
		assert_int_equal(reaper_reads(), 0);
		now.ns += PERIOD;
		asked_expect(round);
		reaper_finds(1);
		reaper_has_found(round, 1);
		turn();
		reaper_hears();
	}
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	assert_int_equal(seen.decided[1], 4);
	assert_int_equal(seen.results[1], 4);
	assert_int_equal(engine.ghosts.total, 0);
	assert_int_equal(seen.exits, 1);
}

/* Found over and over by a reaper that refuses it each time: once a round, whatever it says. */
static void
test_again_once_a_round(void **state)
{
	(void)state;
	started();
	killed_in(812, 1);
	turn();
	reaper_hears();
	reaper_answers(&requests[0], WIRE_RESULT_REFUSED_LIVE);
	turn();
	now.ns += PERIOD;
	asked_expect(2);
	reaper_finds(1);
	turn();
	assert_int_equal(reaper_reads(), 1);
	reaper_answers(&requests[0], WIRE_RESULT_REFUSED_LIVE);
	for (unsigned i = 0; i < 100; i++) {
		reaper_finds(1);
		turn();
		assert_int_equal(reaper_reads(), 0);
	}
	reaper_has_found(2, 101);
	turn();
	assert_int_equal(seen.decided[1], 2);
	assert_int_equal(seen.results[1], 2);
	assert_int_equal(phase_of(1), GHOST_LEFT);
}

/* It has moved on to a state that the policy leaves alone: decided by the state it is found in. */
static void
test_again_in_another_state(void **state)
{
	struct wire_found_record found = found_of(1);

	(void)state;
	started();
	policy.rules[0].keys |= RULE_STATE;
	policy.rules[0].states = TCP_STATE_BIT(TCP_STATE_FIN_WAIT1);
	killed_in(812, 1);
	turn();
	reaper_hears();
	reaper_answers(&requests[0], WIRE_RESULT_REFUSED_PROGRESS);
	now.ns += PERIOD;
	asked_expect(2);
	found.state = TCP_STATE_FIN_WAIT2;
	found.progress.send_queue = 0;
	engine_found(&engine, &found, 1, now);
	reaper_has_found(2, 1);
	turn();
	assert_int_equal(reaper_reads(), 0);
	last_has("\"event.reason\":\"no-rule\"");
	last_has("\"eghostbuster.socket.state\":\"fin-wait-2\"");
	last_has("\"eghostbuster.socket.send_queue\":0");
}

/* A dump may show a socket twice. */
static void
test_found_twice(void **state)
{
	(void)state;
	start();
	reaper_finds(7);
	reaper_finds(7);
	reaper_has_found(1, 2);
	settle();
	assert_int_equal(engine.counts.adopted, 1);
	assert_int_equal(seen.left[1], 1);
	assert_int_equal(engine.ghosts.total, 1);
}

static void
found_elsewhere(void *arg)
{
	struct wire_found_record found = found_of(7);

	(void)arg;
	found.tuple.netns = NETNS + 1;
	engine_found(&engine, &found, 1, now);
}

/* The reaper looks at its own namespace: whatever else it says is not true. */
static void
test_netns(void **state)
{
	(void)state;
	start();
	protocol_expect(found_elsewhere, NULL, "reaper");
}

static void
test_many(void **state)
{
	struct wire_found_record found[WIRE_BATCH_MAX];

	(void)state;
	start();
	for (uint64_t n = 0; n < 100; n++) {
		for (uint64_t i = 0; i < WIRE_BATCH_MAX; i++)
			found[i] = found_of(1 + n * WIRE_BATCH_MAX + i);
		engine_found(&engine, found, WIRE_BATCH_MAX, now);
		turn();
	}
	reaper_has_found(1, 100 * WIRE_BATCH_MAX);
	settle();
	assert_int_equal(engine.counts.reported, 100 * WIRE_BATCH_MAX);
	table_consistent();
}

/* The unknown have their share of the table, like everybody: the next round finds the rest again.
 */
static void
test_full_share(void **state)
{
	const uint32_t share = GHOSTS_MAX / 2;

	(void)state;
	engine_start(&engine, now);
	asked_expect(1);
	for (uint64_t i = 1; i <= share; i++)
		reaper_finds(1000 + i);
	reaper_finds(7);
	reaper_finds(1001);
	reaper_has_found(1, share + 2);
	assert_null(ghosts_find(&engine.ghosts, 7));
	assert_int_equal(engine.counts.adopted, share);
	assert_int_equal(engine.ghosts.total, share);
	killed_in(812, 8); /* others have theirs */
	assert_non_null(ghosts_find(&engine.ghosts, 8));
	ghosts_remove(&engine.ghosts, ghosts_find(&engine.ghosts, 8));
	ghosts_remove(&engine.ghosts, ghosts_find(&engine.ghosts, 1001));
	now.ns += PERIOD;
	turn();
	reaper_hears();
	assert_int_equal(heard.round, 2);
	reaper_finds(7);
	reaper_has_found(2, 1);
	assert_non_null(ghosts_find(&engine.ghosts, 7));
}

/* ---- what becomes of them ---- */

/* By proof, like every death of which one does not know what is the peer's. */
static void
test_destroyed_by_proof(void **state)
{
	(void)state;
	policy.rules[3].action = ACTION_DESTROY;
	start();
	reaper_finds(7);
	reaper_has_found(1, 1);
	settle();
	assert_int_equal(heard.samples, 1);
	reaper_samples(&samples[0], WIRE_FOUND_ORPHAN);
	now.ns += 100 * NS_PER_MS;
	turn();
	reaper_hears();
	reaper_samples(&samples[0], WIRE_FOUND_ORPHAN);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].flags, WIRE_DESTROY_PROVED);
	last_has("\"event.reason\":\"owner-unknown\",\"rule.name\":\"adopted\","
		 "\"eghostbuster.verdict\":\"destroy\"");
}

static void
test_observed_once(void **state)
{
	(void)state;
	engine.hold = HOLD_OBSERVE;
	policy.rules[3].action = ACTION_DESTROY;
	policy.rules[3].require = REQUIRE_NONE;
	start();
	reaper_finds(7);
	reaper_has_found(1, 1);
	settle();
	now.ns += PERIOD;
	asked_expect(2);
	reaper_finds(7);
	reaper_has_found(2, 1);
	settle();
	assert_int_equal(seen.observed, 1);
	assert_int_equal(packets, 0);
}

/* A new policy is asked about those that wait, but not before they have settled. */
static void
test_policy_changed_while_settling(void **state)
{
	(void)state;
	start();
	reaper_finds(7);
	reaper_has_found(1, 1);
	now.ns += SETTLE / 2;
	turn();
	policy.rules[3].action = ACTION_IGNORE;
	engine_policy_changed(&engine);
	turn();
	assert_int_equal(seen.left[1], 0);
	now.ns += SETTLE / 2;
	turn();
	last_has("\"eghostbuster.verdict\":\"ignore\"");
}

/* ---- a late event names the owner ---- */

static void
adopted(uint64_t cookie)
{
	start();
	reaper_finds(cookie);
	reaper_has_found(1, 1);
	turn();
}

static void
test_named_in_time(void **state)
{
	(void)state;
	adopted(7);
	now.ns += SETTLE / 2;
	killed_in(812, 7);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].ghost, 1);
	last_has("\"event.reason\":\"owner-killed\"");
	last_has("\"process.pid\":812,");
	assert_int_equal(seen.exits, 1);
	assert_int_equal(engine.counts.ghosts, 1);
	assert_int_equal(engine.repeated, 0);
	killed_in(900, 7); /* the first name stays */
	assert_int_equal(engine.repeated, 1);
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	assert_int_equal(seen.exits, 1);
}

/* The grace runs from the birth, not from when it was found. */
static void
test_named_with_its_birth(void **state)
{
	struct wire_orphan orphan;

	(void)state;
	policy.rules[0].grace_ns = 10 * NS_PER_S;
	adopted(7);
	orphan = orphan_of(812, 7);
	orphan.born_mono_ns -= 10 * NS_PER_S;
	orphan_in(&orphan);
	turn();
	assert_int_equal(reaper_reads(), 1);
	last_has("\"age_ms\":10000,");
}

/* Very late: reported already, and decided anew. */
static void
test_named_when_left(void **state)
{
	(void)state;
	adopted(7);
	settle();
	assert_int_equal(seen.left[1], 1);
	now.ns += NS_PER_S;
	killed_in(812, 7);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(seen.decided[1], 1);
}

/* While a sample is on its way: the sample's answer finds a ghost that needs no proof. */
static void
test_named_when_sampled(void **state)
{
	(void)state;
	policy.rules[3].action = ACTION_DESTROY;
	adopted(7);
	settle();
	assert_int_equal(phase_of(7), GHOST_SAMPLED);
	killed_in(812, 7);
	turn();
	assert_int_equal(phase_of(7), GHOST_SAMPLED);
	reaper_samples(&samples[0], WIRE_FOUND_ORPHAN);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].flags, 0);
	last_has("\"event.reason\":\"owner-killed\"");
}

/* On its way to its end it stays as it was decided. */
static void
test_named_when_sent(void **state)
{
	(void)state;
	policy.rules[3].action = ACTION_DESTROY;
	policy.rules[3].require = REQUIRE_NONE;
	adopted(7);
	settle();
	assert_int_equal(heard.destroys, 1);
	killed_in(812, 7);
	assert_int_equal(engine.repeated, 1);
	turn();
	assert_int_equal(phase_of(7), GHOST_SENT);
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	assert_int_equal(engine.ghosts.total, 0);
	assert_int_equal(seen.exits, 0);
}

/* ---- the channel ---- */

static void
test_full_channel(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 30000; i++)
		killed_in(812, i);
	assert_true(turn());
	engine_start(&engine, now);
	assert_true(turn());
	assert_false(engine.adoption.running);
	for (unsigned n = 0; n < 1000 && !engine.adoption.running; n++) {
		reaper_hears();
		turn();
	}
	reaper_hears();
	assert_int_equal(heard.reconciles, 1);
	assert_int_equal(heard.round, 1); /* no number is used up by the tries */
}

static void
test_reaper_gone(void **state)
{
	(void)state;
	close(reaper.fd);
	reaper.fd = -1;
	engine_start(&engine, now);
	assert_false(turn());
	assert_false(engine.adoption.running);
}

/* ---- a reaper that is not what it should be ---- */

static void
unasked_found(void *arg)
{
	(void)arg;
	reaper_finds(7);
}

static void
unasked_end(void *arg)
{
	(void)arg;
	reaper_has_found(engine.adoption.round, 0);
}

static void
end_of(void *arg)
{
	const uint64_t *wrong = arg;

	reaper_has_found(wrong[0], (uint32_t)wrong[1]);
}

static void
test_unasked(void **state)
{
	(void)state;
	protocol_expect(unasked_found, NULL, "reaper");
	protocol_expect(unasked_end, NULL, "reaper");
	engine_start(&engine, now); /* wanted, but not asked yet */
	protocol_expect(unasked_found, NULL, "reaper");
	asked_expect(1);
	reaper_has_found(1, 0);
	protocol_expect(unasked_found, NULL, "reaper");
	protocol_expect(unasked_end, NULL, "reaper");
}

static void
test_wrong_end(void **state)
{
	uint64_t wrong[][2] = { { 0, 2 }, { 2, 2 }, { UINT64_MAX, 2 }, { 1, 0 }, { 1, 1 }, { 1, 3 },
		{ 1, UINT32_MAX } };

	(void)state;
	start();
	reaper_finds(7);
	reaper_finds(8);
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		protocol_expect(end_of, wrong[i], "reaper");
	assert_int_equal(child_run(end_of, (uint64_t[]){ 1, 2 }, (char[512]){ 0 }, 512), 0);
}

/* ---- the log cannot be written ---- */

/* The look goes on, nothing is decided, and nothing is asked for. */
static void
test_no_log(void **state)
{
	(void)state;
	policy.rules[3].action = ACTION_DESTROY;
	start();
	log_breaks();
	reaper_finds(7);
	reaper_has_found(1, 1);
	settle();
	now.ns += 10 * PERIOD;
	silence_expect();
	assert_int_equal(heard.samples, 0);
	assert_int_equal(phase_of(7), GHOST_UNSAMPLED);
	log_works();
	turn();
	reaper_hears();
	assert_int_equal(heard.reconciles, 1);
	turn();
	reaper_hears();
	assert_int_equal(seen.reconciles, 1);
	assert_int_equal(phase_of(7), GHOST_SAMPLED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ON_STAGE(test_start),
		ON_STAGE(test_periodic),
		ON_STAGE(test_lost),
		ON_STAGE(test_lost_in_mid_round),
		ON_STAGE(test_long_rounds),
		ON_STAGE(test_storm),
		ON_STAGE(test_incomplete),
		ON_STAGE(test_never_complete),
		ON_STAGE(test_end_of_another_time),
		ON_STAGE(test_unknown),
		ON_STAGE(test_reported_once),
		ON_STAGE(test_sweep),
		ON_STAGE(test_left_in_mid_round),
		ON_STAGE(test_sweep_spares),
		ON_STAGE(test_known),
		ON_STAGE(test_again),
		ON_STAGE(test_again_once_a_round),
		ON_STAGE(test_again_in_another_state),
		ON_STAGE(test_found_twice),
		ON_STAGE(test_netns),
		ON_STAGE(test_many),
		ON_STAGE(test_full_share),
		ON_STAGE(test_destroyed_by_proof),
		ON_STAGE(test_observed_once),
		ON_STAGE(test_policy_changed_while_settling),
		ON_STAGE(test_named_in_time),
		ON_STAGE(test_named_with_its_birth),
		ON_STAGE(test_named_when_left),
		ON_STAGE(test_named_when_sampled),
		ON_STAGE(test_named_when_sent),
		ON_STAGE(test_full_channel),
		ON_STAGE(test_reaper_gone),
		ON_STAGE(test_unasked),
		ON_STAGE(test_wrong_end),
		ON_STAGE(test_no_log),
	};

	return cmocka_run_group_tests_name("adopt", tests, NULL, NULL);
}
