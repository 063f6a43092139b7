/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/engine.c broker/decide.c broker/requests.c broker/results.c broker/adopt.c broker/proof.c broker/breaker.c broker/ghosts.c broker/auditlog.c broker/outbox.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c broker/say.c proto/channel.c proto/wire.c proto/log.c broker/budget.c broker/keyed.c broker/batch.c broker/quantity.c broker/histogram.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/unit.h"

#include "broker/say.h"
#include "tests/unit/engine_stage.h"

/* ---- one ghost ---- */

static void
test_the_whole_way(void **state)
{
	(void)state;
	killed_in(812, 0x1007);
	assert_false(engine_idle(&engine));
	now.ns += NS_PER_MS;
	assert_false(turn());
	assert_int_equal(packets, 1);
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].ghost, 1);
	assert_int_equal(requests[0].cookie, 0x1007);
	assert_int_equal(requests[0].states, TCP_STATES_ORPHAN);
	assert_int_equal(requests[0].state, TCP_STATE_FIN_WAIT1);
	assert_int_equal(seen.sequence, 2); /* exit, decide */
	last_has("\"event.action\":\"decide\",\"event.reason\":\"owner-killed\",\"rule.name\":"
		 "\"killed\"");
	last_has("\"eghostbuster.proof\":{\"inode\":0,\"age_ms\":1,\"stuck\":null}");
	now.ns += NS_PER_MS;
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	assert_true(engine_idle(&engine));
	assert_false(turn());
	last_has("\"event.outcome\":\"success\",\"eghostbuster.ghost\":1,\"eghostbuster.result\":"
		 "\"destroyed\"");
	last_has("\"eghostbuster.peer_notice\":\"rst\",\"eghostbuster.latency_ns\":2000000,");
	last_has("\"eghostbuster.look_to_act_ns\":5,");
	assert_int_equal(seen.sequence, 3);
	assert_int_equal(engine.ghosts.total, 0);
	assert_int_equal(engine.counts.destroyed, 1);
	assert_int_equal(stderr_count("busted nginx[812] of nginx.service (SIGKILL)"), 1);
}

/* The reaper is told exactly what the tracker said. */
static void
test_request_is_faithful(void **state)
{
	struct wire_orphan orphan = orphan_of(812, 7);

	(void)state;
	orphan.tuple.family = AF_INET6;
	memset(orphan.tuple.src, 0xa1, 16);
	memset(orphan.tuple.dst, 0xb2, 16);
	orphan.tuple.ifindex = 3;
	orphan.state = TCP_STATE_LAST_ACK;
	orphan_in(&orphan);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_memory_equal(&requests[0].tuple, &orphan.tuple, sizeof(orphan.tuple));
	assert_int_equal(requests[0].state, TCP_STATE_LAST_ACK);
}

static void
test_each_result(void **state)
{
	static const struct {
		enum wire_result result;
		int32_t error;
		bool left; /* alone: remembered, and decided anew when a reconcile finds it */
		const char *want;
	} cases[] = {
		{ WIRE_RESULT_DESTROYED, 0, false, "\"event.outcome\":\"success\"" },
		{ WIRE_RESULT_GONE, 0, false, "\"event.outcome\":\"success\"" },
		{ WIRE_RESULT_REFUSED_LIVE, 0, true, "\"event.outcome\":\"failure\"" },
		{ WIRE_RESULT_FAILED, EPERM, true, "\"event.outcome\":\"failure\"" },
		{ WIRE_RESULT_FAILED, ENOENT, false, "\"event.outcome\":\"unknown\"" },
		{ WIRE_RESULT_FAILED, 9999, true, "\"error.code\":\"9999\"" },
	};
	unsigned left = 0;
	char name[64];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct wire_result_record record;

		killed_in(812, i + 1);
		turn();
		assert_int_equal(reaper_reads(), 1);
		record = result_of(&requests[0], cases[i].result);
		record.error = cases[i].error;
		engine_results(&engine, &record, 1, now);
		turn();
		last_has(cases[i].want);
		snprintf(name, sizeof(name), "\"eghostbuster.result\":\"%s\"",
			wire_result_name(cases[i].result));
		last_has(name);
		left += cases[i].left;
		assert_int_equal(in_hand(), 0);
		assert_int_equal(engine.ghosts.total, left);
		assert_true(!cases[i].left || ghosts_find(&engine.ghosts, i + 1)->again);
	}
	assert_true(engine.counts.destroyed == 1 && engine.counts.gone == 1);
	assert_true(engine.counts.refused == 1 && engine.counts.failed == 3);
}

/* A birth that is still to come, by the tracker's word, is taken for now. */
static void
test_latency_is_never_negative(void **state)
{
	struct wire_orphan orphan = orphan_of(812, 1);

	(void)state;
	orphan.born_mono_ns = now.ns + NS_PER_S;
	orphan_in(&orphan);
	turn();
	reaper_reads();
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	last_has("\"eghostbuster.latency_ns\":5,");
}

/* ---- decisions ---- */

static void
left_expect(const struct wire_orphan *orphan, const char *reason)
{
	char want[64];
	const struct ghost *ghost;

	orphan_in(orphan);
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(in_hand(), 0);
	ghost = ghosts_find(&engine.ghosts, orphan->cookie);
	assert_non_null(ghost); /* remembered, and not to be decided anew when it is found */
	assert_true(ghost->phase == GHOST_LEFT && !ghost->again);
	snprintf(want, sizeof(want), "\"event.action\":\"decide\",\"event.reason\":\"%s\"", reason);
	last_has(want);
}

static void
test_left_alone(void **state)
{
	struct wire_orphan orphan = orphan_of(1, 1);

	(void)state;
	orphan.owner.exit_code = 0;
	left_expect(&orphan, "owner-finished");
	orphan = orphan_of(2, 2);
	policy.rules[1].action = ACTION_REPORT;
	orphan.owner.exit_code = 15;
	left_expect(&orphan, "owner-terminated");
	orphan = orphan_of(3, 3);
	orphan.flags = WIRE_ORPHAN_CLOSED; /* and its owner killed */
	left_expect(&orphan, "owner-closed");
	last_has("\"eghostbuster.exit.class\":\"closed\"");
	policy.rule_count = 0;
	orphan = orphan_of(4, 4);
	left_expect(&orphan, "no-rule");
	last_has("\"rule.name\":null,\"eghostbuster.verdict\":\"report\"");
	assert_int_equal(engine.counts.reported, 4);
}

static void
test_ignored(void **state)
{
	struct wire_orphan orphan = orphan_of(1, 1);

	(void)state;
	policy.rules[0].action = ACTION_IGNORE;
	left_expect(&orphan, "owner-killed");
	last_has("\"eghostbuster.verdict\":\"ignore\"");
	assert_int_equal(engine.counts.ignored, 1);
	assert_int_equal(stderr_count("left alone"), 0);
}

static void
test_other_netns(void **state)
{
	struct wire_orphan orphan = orphan_of(1, 1);

	(void)state;
	orphan.tuple.netns = NETNS + 1;
	left_expect(&orphan, "other-netns");
	last_has("\"eghostbuster.verdict\":\"report\"");
	policy.rules[0].grace_ns = NS_PER_S; /* nor is it waited for */
	orphan = orphan_of(2, 2);
	orphan.tuple.netns = 0;
	left_expect(&orphan, "other-netns");
	policy.rules[0].action = ACTION_IGNORE; /* but what is ignored is ignored everywhere */
	orphan = orphan_of(3, 3);
	orphan.tuple.netns = NETNS + 1;
	left_expect(&orphan, "owner-killed");
}

static void
test_observe(void **state)
{
	(void)state;
	engine.hold = HOLD_OBSERVE;
	for (uint64_t i = 1; i <= 200; i++)
		killed_in(812, i);
	assert_false(turn());
	assert_int_equal(packets, 0);
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(seen.observed, 200);
	assert_int_equal(engine.counts.observed, 200);
	assert_int_equal(in_hand(), 0);
	assert_int_equal(engine.ghosts.total, 200); /* a reconcile does not observe them again */
	last_has("\"event.outcome\":\"unknown\",\"eghostbuster.ghost\":200,\"eghostbuster.result\":"
		 "\"observed\",\"event.hash\":\"");
	for (uint64_t i = 1; i <= 200; i++)
		assert_true(seen.decided[i] == 1 && seen.results[i] == 1);
}

/* ---- the states a request may end ---- */

static uint32_t
states_requested(uint64_t cookie)
{
	killed_in(812, cookie);
	turn();
	assert_int_equal(reaper_reads(), 1);
	return requests[0].states;
}

/* TIME-WAIT only where a rule names it. */
static void
test_time_wait(void **state)
{
	struct rule *rule = &policy.rules[0];

	(void)state;
	assert_int_equal(states_requested(1), TCP_STATES_ORPHAN);
	rule->keys |= RULE_STATE;
	rule->states = TCP_STATES_RULE;
	assert_int_equal(states_requested(2), TCP_STATES_RULE);
	rule->states = TCP_STATES_ORPHAN;
	assert_int_equal(states_requested(3), TCP_STATES_ORPHAN);
	rule->states = TCP_STATE_BIT(TCP_STATE_FIN_WAIT1);
	assert_int_equal(states_requested(4), TCP_STATE_BIT(TCP_STATE_FIN_WAIT1));
}

/* Where another rule covers a ghost that has moved on, that rule's word counts there. */
static void
test_states_by_rule(void **state)
{
	struct rule *first = &policy.rules[0], *second = &policy.rules[1];

	(void)state;
	*second = *first;
	first->keys |= RULE_STATE;
	first->states = TCP_STATE_BIT(TCP_STATE_FIN_WAIT2) | TCP_STATE_BIT(TCP_STATE_TIME_WAIT);
	first->action = ACTION_REPORT;
	assert_int_equal(
		states_requested(1), TCP_STATES_ORPHAN & ~TCP_STATE_BIT(TCP_STATE_FIN_WAIT2));
	first->action = ACTION_DESTROY;
	first->require = REQUIRE_STUCK; /* no proof at hand */
	assert_int_equal(
		states_requested(2), TCP_STATES_ORPHAN & ~TCP_STATE_BIT(TCP_STATE_FIN_WAIT2));
	first->require = REQUIRE_AUTO;
	first->grace_ns = NS_PER_S; /* not yet */
	assert_int_equal(
		states_requested(3), TCP_STATES_ORPHAN & ~TCP_STATE_BIT(TCP_STATE_FIN_WAIT2));
	first->grace_ns = 0;
	assert_int_equal(states_requested(4), TCP_STATES_RULE);
}

/* ---- owners and repetitions ---- */

static void
test_one_exit_record(void **state)
{
	(void)state;
	killed_in(812, 1);
	killed_in(812, 2);
	turn();
	killed_in(812, 3);
	turn();
	assert_int_equal(reaper_reads(), 3);
	for (unsigned i = 0; i < 3; i++)
		reaper_answers(&requests[i], WIRE_RESULT_GONE);
	turn();
	killed_in(812, 4); /* it has no ghost in hand any more */
	turn();
	assert_int_equal(seen.exits, 1);
	killed_in(813, 5);
	turn();
	assert_int_equal(seen.exits, 2);
}

static void
test_repeated_cookie(void **state)
{
	(void)state;
	killed_in(812, 1);
	killed_in(812, 1);
	turn();
	killed_in(900, 1); /* sent by now */
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(engine.repeated, 2);
	assert_int_equal(engine.counts.ghosts, 1);
	assert_int_equal(seen.exits, 1);
	reaper_answers(&requests[0], WIRE_RESULT_GONE);
	killed_in(812, 1); /* and once more when it is over: another ghost */
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].ghost, 2);
}

/* A record a second at most, with the newest counts; what is left over at the stop. */
static void
test_lost(void **state)
{
	(void)state;
	lost_in(3, 4, 5);
	turn();
	assert_int_equal(seen.lost, 1);
	last_has(
		"\"eghostbuster.lost.orphans\":3,\"eghostbuster.lost.exits\":4,\"eghostbuster.lost."
		"stamps\":5");
	for (uint64_t i = 1; i <= 100; i++) {
		lost_in(3 + i, 4, 5);
		turn();
	}
	now.ns += NS_PER_S - 1;
	turn();
	assert_int_equal(seen.lost, 1);
	now.ns++;
	turn();
	assert_int_equal(seen.lost, 2);
	last_has("\"eghostbuster.lost.orphans\":103,");
	turn();
	engine_end(&engine, now); /* nothing new */
	turn();
	assert_int_equal(seen.lost, 2);
	lost_in(103, 5, 5);
	engine_end(&engine, now);
	turn();
	assert_int_equal(seen.lost, 3);
}

/* Not one a second into memory while the log cannot be written. */
static void
test_lost_without_a_log(void **state)
{
	size_t used;

	(void)state;
	log_breaks();
	lost_in(1, 0, 0);
	turn();
	used = audit.used;
	for (uint64_t i = 2; i < 100; i++) {
		lost_in(i, 0, 0);
		now.ns += 10 * NS_PER_S;
		turn();
	}
	assert_int_equal(audit.used, used);
	log_works();
	turn();
	turn();
	assert_int_equal(seen.lost, 2);
	last_has("\"eghostbuster.lost.orphans\":99,");
}

/* ---- waiting ---- */

static void
test_grace(void **state)
{
	uint64_t in_ns;

	(void)state;
	assert_false(engine_next_due(&engine, now, &in_ns));
	stopped_in(812, 1);
	turn();
	assert_int_equal(seen.sequence, 0); /* gone in time, it needs no record */
	assert_true(engine_next_due(&engine, now, &in_ns));
	assert_true(in_ns == 30 * NS_PER_S);
	assert_true(engine_idle(&engine)); /* a stop does not wait for it */
	now.ns += 30 * NS_PER_S - 1;
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_true(engine_next_due(&engine, now, &in_ns));
	assert_int_equal(in_ns, 1);
	now.ns++;
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_false(engine_next_due(&engine, now, &in_ns));
	assert_true(seen.decided[1] == 1 && seen.exits == 1);
	last_has("\"age_ms\":30000");
}

/* Late is due at once; and the time to it is not negative. */
static void
test_grace_over_long_ago(void **state)
{
	uint64_t in_ns;

	(void)state;
	stopped_in(812, 1);
	turn();
	now.ns += 3600 * NS_PER_S;
	assert_true(engine_next_due(&engine, now, &in_ns));
	assert_int_equal(in_ns, 0);
	stopped_in(812, 2);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].cookie, 1);
}

/* A ghost that comes in late has waited already. */
static void
test_grace_runs_from_birth(void **state)
{
	struct wire_orphan orphan;
	uint64_t in_ns;

	(void)state;
	stopped_in(1, 99); /* the policy */
	orphan = orphan_of(812, 1);
	orphan.owner.exit_code = 15;
	orphan.born_mono_ns = now.ns - 30 * NS_PER_S;
	orphan_in(&orphan);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].cookie, 1);
	assert_true(engine_next_due(&engine, now, &in_ns) && in_ns == 30 * NS_PER_S);
}

static void
test_policy_changed(void **state)
{
	(void)state;
	stopped_in(812, 1);
	stopped_in(812, 2);
	turn();
	assert_int_equal(engine.ghosts.counts[GHOST_WAITING], 2);
	policy.rules[1].grace_ns = 0;
	engine_policy_changed(&engine);
	turn();
	assert_int_equal(reaper_reads(), 2);
	stopped_in(812, 3);
	policy.rules[1].grace_ns = NS_PER_S;
	turn();
	policy.rule_count = 0;
	engine_policy_changed(&engine);
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(seen.left[3], 1);
}

static void
turned_away_expect(uint64_t ghost)
{
	uint64_t in_ns;

	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].ghost, ghost);
	reaper_answers(&requests[0], WIRE_RESULT_REFUSED_RATE);
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_true(engine_next_due(&engine, now, &in_ns) && in_ns == 100 * NS_PER_MS);
	now.ns += 100 * NS_PER_MS - 1;
	turn();
	assert_int_equal(reaper_reads(), 0);
	now.ns++;
	turn();
}

/* Asked for again every 100 ms, by the same decision; the log says it once. */
static void
test_refused_rate(void **state)
{
	(void)state;
	killed_in(812, 1);
	turn();
	for (unsigned n = 0; n < 50; n++)
		turned_away_expect(1);
	last_has("\"event.outcome\":\"failure\",\"eghostbuster.ghost\":1,"
		 "\"eghostbuster.result\":\"refused-rate\"");
	assert_int_equal(reaper_reads(), 1);
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.decided[1], 1);
	assert_int_equal(seen.results[1], 2); /* refused-rate, destroyed */
	assert_int_equal(engine.counts.refused, 1);
	assert_int_equal(engine.ghosts.total, 0);
}

/* A new policy is asked about what the rate limit has turned away, too. */
static void
test_refused_rate_and_a_new_policy(void **state)
{
	(void)state;
	killed_in(812, 1);
	turn();
	assert_int_equal(reaper_reads(), 1);
	reaper_answers(&requests[0], WIRE_RESULT_REFUSED_RATE);
	policy.rules[0].action = ACTION_REPORT;
	engine_policy_changed(&engine);
	now.ns += NS_PER_S;
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(seen.left[1], 1);
	assert_int_equal(in_hand(), 0);
}

/* ---- the log cannot be written ---- */

static void
test_no_log_no_request(void **state)
{
	const uint64_t count = 3000; /* more than one turn's decisions */

	(void)state;
	log_breaks();
	for (uint64_t i = 1; i <= count; i++)
		killed_in((uint32_t)(1 + i / 100), i);
	for (unsigned n = 0; n < 10; n++) {
		assert_false(turn());
		now.ns += NS_PER_S;
	}
	assert_int_equal(packets, 0);
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(engine.ghosts.total, count);
	assert_true(
		engine.ghosts.counts[GHOST_FRESH] > 0); /* memory is not filled with decisions */
	assert_false(engine_idle(&engine));
	assert_int_equal(stderr_count("cannot write the audit log"), 1);
	log_works();
	assert_int_equal(all_sent(), count);
	for (uint64_t i = 1; i <= count; i++)
		assert_true(requested[i] == 1 && seen.decided[i] == 1);
	assert_int_equal(stderr_count("can be written again"), 1);
	assert_int_equal(seen.exits, 31);
}

/* It breaks with requests out and results coming in: those are kept, nothing new leaves. */
static void
test_log_breaks_on_the_way(void **state)
{
	(void)state;
	killed_in(1, 1);
	turn();
	assert_int_equal(reaper_reads(), 1);
	log_breaks();
	killed_in(1, 2);
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	killed_in(1, 3);
	turn();
	assert_int_equal(reaper_reads(), 0);
	log_works();
	turn();
	assert_int_equal(reaper_reads(), 2);
	assert_int_equal(seen.results[1], 1);
	assert_true(requested[2] == 1 && requested[3] == 1);
}

/* Told to observe while decisions wait for the log: none of them leaves when it works again. */
static void
test_observe_while_the_log_is_broken(void **state)
{
	(void)state;
	log_breaks();
	killed_in(812, 1);
	turn();
	engine.hold = HOLD_OBSERVE;
	engine_policy_changed(&engine);
	log_works();
	turn();
	assert_int_equal(packets, 0);
	assert_int_equal(seen.observed, 1);
	assert_int_equal(in_hand(), 0);
}

/* ---- a storm ---- */

/* Events that nobody reads are lost: a turn decides some, and the next comes at once. Who has one
 * ghost does not wait behind those of who has many. */
static void
test_storm_by_turns(void **state)
{
	const uint64_t count = 3000;
	struct wire_orphan other = orphan_of(900, count + 1);
	uint64_t in_ns;
	unsigned turns = 0;

	(void)state;
	for (uint64_t i = 1; i <= count; i++)
		killed_in(812, i);
	memcpy(other.owner.unit, "other.service", 14);
	orphan_in(&other);
	do {
		unsigned before = engine.ghosts.counts[GHOST_FRESH];

		engine_turn(&engine, now);
		log_read();
		turns++;
		assert_true(before - engine.ghosts.counts[GHOST_FRESH] <= 256);
		assert_int_equal(seen.decided[count + 1], 1);
		if (engine.ghosts.counts[GHOST_FRESH] != 0)
			assert_true(engine_next_due(&engine, now, &in_ns) && in_ns == 0);
		reaper_reads();
	} while (engine.ghosts.counts[GHOST_FRESH] != 0);
	assert_int_equal(turns, (count + 1 + 255) / 256);
}

/* ---- the reaper's channel ---- */

static void
test_full_channel(void **state)
{
	const uint64_t count = 30000;

	(void)state;
	for (uint64_t i = 1; i <= count; i++)
		killed_in(812, i);
	assert_true(turn());
	assert_true(turn()); /* still */
	assert_true(
		engine.ghosts.counts[GHOST_DECIDED] > 0 && engine.ghosts.counts[GHOST_FRESH] == 0);
	assert_int_equal(all_sent(), count);
	for (uint64_t i = 1; i <= count; i++)
		assert_int_equal(requested[i], 1);
	assert_int_equal(packets, (count + WIRE_BATCH_MAX - 1) / WIRE_BATCH_MAX);
}

/* ---- whose turn it is ---- */

/* A second's worth at once, and no more than the rate then: what the reaper would turn away is not
 * asked for. The lower of the policy's and the reaper's own counts. */
static void
test_pace(void **state)
{
	uint64_t in_ns;
	size_t n;

	(void)state;
	policy.destroy_limit = (struct rate){ 100, NS_PER_S };
	engine.ceiling = 1000;
	for (uint64_t i = 1; i <= 1000; i++)
		killed_in(812, i);
	turn();
	n = reaper_reads();
	assert_int_equal(n, 100);
	assert_int_equal(seen.decided[1000], 1);
	for (unsigned i = 0; n < 150; i++) {
		assert_true(engine_next_due(&engine, now, &in_ns));
		assert_true(in_ns > 0 && in_ns <= NS_PER_S / 100 + 1);
		now.ns += in_ns;
		turn();
		n += reaper_reads();
		assert_true(i < 100);
	}
	assert_in_range(now.ns - START, 490 * NS_PER_MS, 510 * NS_PER_MS);
	engine.ceiling = 10;
	now.ns += NS_PER_S;
	turn();
	assert_int_equal(reaper_reads(), 10);
}

/* The next uid whose part of the table neither it nor the crowd's uid (33) has: that depends on a
 * secret. */
static uint32_t
uid_apart(uint32_t uid)
{
	uint32_t next = uid;

#define PART_OF(uid) (keyed_hash((const uint64_t[]){ (uid), 1 }, 16) % FAIR_UIDS)
	do
		next++;
	while (PART_OF(next) == PART_OF(uid) || PART_OF(next) == PART_OF(33));
#undef PART_OF
	return next;
}

/* Somebody's thousand ghosts that wait for the limit keep another's few waiting for one turn. */
static void
test_turns(void **state)
{
	struct wire_orphan orphan = orphan_of(900, 5001);
	size_t n, found = 0;

	(void)state;
	policy.destroy_limit = (struct rate){ 10, NS_PER_S };
	for (uint64_t i = 1; i <= 1000; i++)
		killed_in(812, i);
	turn();
	assert_int_equal(reaper_reads(), 10);
	orphan.owner.uid = uid_apart(33);
	for (; orphan.cookie < 5004; orphan.cookie++)
		orphan_in(&orphan);
	now.ns += NS_PER_S;
	turn();
	n = reaper_reads();
	assert_int_equal(n, 10);
	for (size_t i = 0; i < n; i++)
		found += requests[i].cookie >= 5001;
	assert_int_equal(found, 3);
}

/* The loop sees its end; the engine neither dies of it nor takes what it could not send for sent.
 */
static void
test_reaper_gone(void **state)
{
	(void)state;
	close(reaper.fd);
	reaper.fd = -1;
	killed_in(812, 1);
	assert_false(turn());
	assert_int_equal(engine.ghosts.counts[GHOST_DECIDED], 1);
	assert_int_equal(engine.ghosts.counts[GHOST_SENT], 0);
}

/* ---- a reaper that is not what it should be ---- */

static struct wire_result_record wrong;

static void
wrong_answer(void *arg)
{
	(void)arg;
	engine_results(&engine, &wrong, 1, now);
}

static void
twice_answered(void *arg)
{
	(void)arg;
	engine_results(&engine, &wrong, 1, now);
	engine_results(&engine, &wrong, 1, now);
}

static void
fatal_expect(void (*act)(void *))
{
	protocol_expect(act, NULL, "reaper");
}

static void
lost_less(void *counts)
{
	const uint64_t *c = counts;

	lost_in(c[0], c[1], c[2]);
}

/* Counters only grow; a message without news is play. */
static void
test_lost_that_cannot_be(void **state)
{
	uint64_t wrong_counts[][3] = { { 3, 4, 5 }, { 2, 4, 5 }, { 4, 3, 5 }, { 9, 9, 4 },
		{ 0, 0, 0 } };

	(void)state;
	lost_in(3, 4, 5);
	for (size_t i = 0; i < COUNT_OF(wrong_counts); i++) {
		char said[1024];

		assert_int_equal(child_run(lost_less, wrong_counts[i], said, sizeof(said)), 1);
		assert_one_line(said, "the tracker broke the protocol");
	}
}

static void
test_results_nobody_asked_for(void **state)
{
	struct wire_result_record good;

	(void)state;
	killed_in(812, 1);
	turn();
	reaper_reads();
	good = wrong = result_of(&requests[0], WIRE_RESULT_GONE);
	assert_int_equal(child_run(wrong_answer, NULL, (char[64]){ 0 }, 64), 0);
	fatal_expect(twice_answered);
	wrong.cookie = 2; /* none of that cookie */
	fatal_expect(wrong_answer);
	wrong = good;
	wrong.ghost = 2; /* none of that number */
	fatal_expect(wrong_answer);
	killed_in(812, 2); /* fresh: not requested yet */
	wrong.cookie = 2;
	fatal_expect(wrong_answer);
	engine.hold = HOLD_NONE;
	stopped_in(813, 3); /* waits */
	engine_turn(&engine, now);
	wrong.ghost = 3;
	wrong.cookie = 3;
	fatal_expect(wrong_answer);
	wrong = good; /* the number of one, the cookie of another, both requested */
	wrong.ghost = 2;
	fatal_expect(wrong_answer);
}

static void
test_results_that_contradict_themselves(void **state)
{
	struct wire_result_record good;

	(void)state;
	killed_in(812, 1);
	turn();
	reaper_reads();
	good = wrong = result_of(&requests[0], WIRE_RESULT_DESTROYED);
	assert_int_equal(child_run(wrong_answer, NULL, (char[256]){ 0 }, 256), 0);
	wrong.tries = 0; /* without a look */
	fatal_expect(wrong_answer);
	wrong = good;
	wrong.look_to_act_ns = 0; /* without an act */
	fatal_expect(wrong_answer);
	wrong = result_of(&requests[0], WIRE_RESULT_GONE);
	wrong.peer_notice = WIRE_NOTICE_RST; /* a reset, and nothing destroyed */
	fatal_expect(wrong_answer);
	wrong = result_of(&requests[0], WIRE_RESULT_GONE);
	wrong.tries = 0; /* gone, and never looked for */
	fatal_expect(wrong_answer);
	wrong = result_of(&requests[0], WIRE_RESULT_REFUSED_LIVE);
	wrong.tries = 0;
	fatal_expect(wrong_answer);
	/* Ours was named, and the self-test had passed. */
	wrong = result_of(&requests[0], WIRE_RESULT_OTHER_NETNS);
	fatal_expect(wrong_answer);
	wrong = result_of(&requests[0], WIRE_RESULT_UNSUPPORTED);
	fatal_expect(wrong_answer);
	/* No proof was sent, and every state was named. */
	wrong = result_of(&requests[0], WIRE_RESULT_REFUSED_PROGRESS);
	fatal_expect(wrong_answer);
}

/* Before the request, after the answer was read, and longer than both. */
static void
test_results_of_another_time(void **state)
{
	struct wire_result_record good;
	mono_ns asked;

	(void)state;
	now.ns += NS_PER_S;
	killed_in(812, 1);
	turn();
	asked = now;
	reaper_reads();
	now.ns += 1000;
	good = wrong = result_of(&requests[0], WIRE_RESULT_DESTROYED);
	wrong.done_mono_ns = now.ns + 1;
	fatal_expect(wrong_answer);
	wrong.done_mono_ns = UINT64_MAX;
	fatal_expect(wrong_answer);
	wrong.done_mono_ns = asked.ns - 1;
	fatal_expect(wrong_answer);
	wrong.done_mono_ns = 0;
	fatal_expect(wrong_answer);
	wrong = good;
	wrong.look_to_act_ns = 1001;
	fatal_expect(wrong_answer);
	wrong.look_to_act_ns = UINT64_MAX;
	fatal_expect(wrong_answer);
	wrong.look_to_act_ns = 1000;
	assert_int_equal(child_run(wrong_answer, NULL, (char[256]){ 0 }, 256), 0);
	wrong = result_of(&requests[0], WIRE_RESULT_GONE);
	wrong.done_mono_ns = asked.ns - 1;
	fatal_expect(wrong_answer);
}

/* Whether the peer was told follows from state and kind of socket. */
static bool
destroyed_good(unsigned s, unsigned timer, unsigned notice)
{
	bool mini = timer == 3, reset = s == TCP_STATE_FIN_WAIT1 || s == TCP_STATE_FIN_WAIT2;

	if (s == TCP_STATE_FIN_WAIT2 && mini)
		return notice == WIRE_NOTICE_NONE;
	/* It was last seen in FIN-WAIT-1, from where no way leads to LAST-ACK; TIME-WAIT needs a
	 * rule of its own. */
	if (mini || (!reset && s != TCP_STATE_CLOSING))
		return false;
	return notice == (reset ? WIRE_NOTICE_RST : WIRE_NOTICE_NONE);
}

static void
test_destroyed_in_what_state(void **state)
{
	struct wire_result_record good;

	(void)state;
	killed_in(812, 1);
	turn();
	reaper_reads();
	good = result_of(&requests[0], WIRE_RESULT_DESTROYED);
	for (unsigned s = 0; s <= TCP_STATE_NEW_SYN_RECV; s++) {
		for (unsigned timer = 0; timer < 5; timer++) {
			for (unsigned notice = 0; notice < 2; notice++) {
				wrong = good;
				wrong.state = (uint8_t)s;
				wrong.timer = (uint8_t)timer;
				wrong.peer_notice = (uint8_t)notice;
				if (!destroyed_good(s, timer, notice))
					fatal_expect(wrong_answer);
				else
					assert_int_equal(child_run(wrong_answer, NULL,
								 (char[256]){ 0 }, 256),
						0);
			}
		}
	}
}

/* A rule that names one state: another is progress, and none that may be destroyed. */
static void
test_states_that_were_not_named(void **state)
{
	(void)state;
	policy.rules[0].keys |= RULE_STATE;
	policy.rules[0].states = TCP_STATE_BIT(TCP_STATE_FIN_WAIT1);
	killed_in(812, 1);
	turn();
	reaper_reads();
	wrong = result_of(&requests[0], WIRE_RESULT_DESTROYED);
	assert_int_equal(child_run(wrong_answer, NULL, (char[256]){ 0 }, 256), 0);
	wrong.state = TCP_STATE_FIN_WAIT2;
	fatal_expect(wrong_answer);
	wrong = result_of(&requests[0], WIRE_RESULT_REFUSED_PROGRESS);
	assert_int_equal(child_run(wrong_answer, NULL, (char[256]){ 0 }, 256), 0);
	wrong.state = TCP_STATE_FIN_WAIT1;
	fatal_expect(wrong_answer);
	wrong.state = TCP_STATE_LAST_ACK; /* never came from FIN-WAIT-1 */
	fatal_expect(wrong_answer);
	wrong = result_of(&requests[0], WIRE_RESULT_REFUSED_RATE);
	assert_int_equal(child_run(wrong_answer, NULL, (char[256]){ 0 }, 256), 0);
	wrong.state = TCP_STATE_FIN_WAIT2;
	fatal_expect(wrong_answer);
}

/* An answer that is owed for a minute will not come. */
static void
test_overdue(void **state)
{
	(void)state;
	assert_false(engine_overdue(&engine, now));
	killed_in(812, 1);
	assert_false(engine_overdue(&engine, (mono_ns){ now.ns + 2 * ANSWER_PATIENCE_NS }));
	turn();
	reaper_reads();
	now.ns += ANSWER_PATIENCE_NS;
	killed_in(812, 2);
	turn();
	assert_false(engine_overdue(&engine, now));
	now.ns++;
	assert_true(engine_overdue(&engine, now));
	reaper_answers(&requests[0], WIRE_RESULT_GONE);
	assert_false(engine_overdue(&engine, now)); /* the other was asked for later */
	now.ns += ANSWER_PATIENCE_NS;
	assert_true(engine_overdue(&engine, now));
}

/* ---- bounds ---- */

#define SHARE (GHOSTS_MAX / 2) /* of one who is alone */

/* So many more ghosts, as far as they get without an answer. */
static void
table_fill(unsigned killed)
{
	for (uint64_t i = 0; i < killed; i++)
		killed_in(812, 1000000 + i);
	turn();
	reaper_hears();
	assert_int_equal(engine.ghosts.counts[GHOST_FRESH], 0);
}

/* Whoever leaves more than its share has what is over it forgotten, before it is decided upon; and
 * there is room for others, each as much as is left. */
static void
test_shares(void **state)
{
	struct wire_orphan orphan = orphan_of(900, 1);

	(void)state;
	table_fill(SHARE + 1000);
	assert_int_equal(engine.ghosts.total, SHARE);
	assert_int_equal(engine.counts.evicted, 1000);
	assert_int_equal(engine.counts.ghosts, SHARE + 1000);
	assert_true(engine.adoption.wanted);
	assert_true(engine.adoption.due.ns <= now.ns + 60 * NS_PER_S);
	assert_string_equal(engine.adoption.next_reason, "evicted");
	orphan.owner.uid = uid_apart(33);
	memcpy(orphan.owner.unit, "other.service", 14);
	for (; orphan.cookie <= SHARE; orphan.cookie++)
		orphan_in(&orphan);
	assert_int_equal(engine.ghosts.total, SHARE + SHARE / 2);
	killed_in(812, 7000000); /* still too many, and now more so */
	assert_int_equal(engine.ghosts.total, SHARE + SHARE / 2);
	orphan.owner.uid = uid_apart(orphan.owner.uid);
	orphan.owner.tgid++;
	for (orphan.cookie = 8000000; orphan.cookie < 8001000; orphan.cookie++)
		orphan_in(&orphan);
	assert_int_equal(engine.ghosts.total, SHARE + SHARE / 2 + 1000);
	table_consistent();
}

static void
evicted_expect(uint64_t cookie, uint64_t count)
{
	static uint64_t next = 1;

	assert_non_null(ghosts_find(&engine.ghosts, cookie));
	killed_in(812, 5000000 + next);
	assert_null(ghosts_find(&engine.ghosts, cookie));
	assert_non_null(ghosts_find(&engine.ghosts, 5000000 + next++));
	assert_int_equal(engine.counts.evicted, count);
	assert_int_equal(engine.ghosts.total, SHARE);
	table_consistent();
}

/* What nothing is proved of makes room: left alone, held, to be sampled, waiting; oldest first. */
static void
test_eviction(void **state)
{
	struct wire_orphan orphan = orphan_of(814, 1);
	unsigned sent, decided;

	(void)state;
	policy.rules[2].action = ACTION_DESTROY;
	policy.rules[2].require = REQUIRE_STUCK;
	policy.rules[1].require = REQUIRE_NONE;
	asked_in(813, 11); /* waits */
	asked_in(813, 12);
	turn();
	policy.unit_limit = (struct rate){ 1, 3600 * NS_PER_S };
	orphan.owner.exit_code = 11;
	for (orphan.cookie = 21; orphan.cookie <= 23; orphan.cookie++)
		orphan_in(&orphan); /* 22 and 23 are held */
	turn();
	policy.rules[0].action = ACTION_REPORT;
	orphan.cookie = 31;
	orphan_in(&orphan);
	turn();
	policy.rules[0].action = ACTION_DESTROY;
	breaker_free(&engine.breaker); /* and what is held stays so */
	breaker_init(&engine.breaker);
	for (uint64_t cookie = 22; cookie <= 23; cookie++)
		ghosts_find(&engine.ghosts, cookie)->group = NULL;
	policy.unit_limit = (struct rate){ 1000000000, NS_PER_S };
	table_fill(SHARE - 9);
	reaper_hears();
	assert_int_equal(engine.ghosts.counts[GHOST_LEFT], 1);
	assert_int_equal(engine.ghosts.counts[GHOST_HELD], 2);
	assert_int_equal(engine.ghosts.counts[GHOST_WAITING], 2);
	/* Two more, to be sampled while the channel has no room. */
	log_breaks();
	killed_in(812, 999);
	assert_false(turn());
	orphan.owner.exit_code = 0;
	orphan.owner.tgid++;
	for (orphan.cookie = 41; orphan.cookie <= 42; orphan.cookie++)
		orphan_in(&orphan);
	for (uint64_t cookie = 41; cookie <= 42; cookie++)
		ghosts_move(&engine.ghosts, ghosts_find(&engine.ghosts, cookie), GHOST_UNSAMPLED);
	assert_int_equal(engine.ghosts.total, SHARE);
	assert_int_equal(engine.counts.evicted, 0);
	sent = engine.ghosts.counts[GHOST_SENT];
	decided = engine.ghosts.counts[GHOST_DECIDED];
	assert_true(sent > 0 && decided > 1); /* the channel is full */
	evicted_expect(31, 1);
	evicted_expect(22, 2);
	evicted_expect(23, 3);
	evicted_expect(41, 4);
	evicted_expect(42, 5);
	evicted_expect(11, 6);
	assert_non_null(ghosts_find(&engine.ghosts, 12));
	evicted_expect(12, 7);
	killed_in(812, 6000000); /* nothing that is decided or sent makes room */
	assert_null(ghosts_find(&engine.ghosts, 6000000));
	assert_int_equal(engine.counts.evicted, 8);
	assert_int_equal(engine.ghosts.counts[GHOST_SENT], sent);
	assert_int_equal(engine.ghosts.counts[GHOST_DECIDED], decided);
	assert_non_null(ghosts_find(&engine.ghosts, 999));
	assert_non_null(ghosts_find(&engine.ghosts, 21));
	log_works();
}

/* Somebody's few ghosts, the oldest of all, do not make room for another's many; but what was left
 * alone does, whose ever it is: all that is lost is that it has been reported. */
static void
test_eviction_is_fair(void **state)
{
	struct wire_orphan orphan = orphan_of(900, 1);

	(void)state;
	policy.rules[1].require = REQUIRE_NONE;
	orphan.owner.exit_code = 15;
	orphan.owner.uid = uid_apart(33);
	orphan_in(&orphan); /* waits, and so do 16 more */
	for (orphan.cookie = 2; orphan.cookie <= 17; orphan.cookie++)
		orphan_in(&orphan);
	turn();
	for (uint64_t i = 0; i < SHARE; i++)
		asked_in(812, 1000000 + i);
	turn();
	assert_true(engine.counts.evicted > 0);
	for (uint64_t cookie = 1; cookie <= 17; cookie++)
		assert_int_equal(ghosts_find(&engine.ghosts, cookie)->phase, GHOST_WAITING);
	orphan.cookie = 18;
	orphan.owner.uid = uid_apart(orphan.owner.uid);
	orphan_in(&orphan);
	turn();
	assert_int_equal(ghosts_find(&engine.ghosts, 18)->phase, GHOST_WAITING);
}

/* An orphan that is in hand already needs no room. */
static void
test_no_eviction_for_a_repetition(void **state)
{
	(void)state;
	policy.rules[0].action = ACTION_IGNORE;
	table_fill(SHARE);
	assert_int_equal(engine.ghosts.total, SHARE);
	killed_in(812, 1000000);
	killed_in(812, 1000001);
	assert_int_equal(engine.counts.evicted, 0);
	assert_int_equal(engine.repeated, 2);
	assert_int_equal(engine.ghosts.total, SHARE);
}

/* ---- fuzz: 20,000 ghosts, everything that can happen, in any order ---- */

#define COOKIES_TOP 50000u

static struct wire_destroy in_flight[GHOSTS_TOP];
static struct wire_sample looked_at[GHOSTS_TOP];
static size_t in_flight_count, looked_at_count;
static bool turned_away[GHOSTS_TOP];	  /* by the rate limit: the log says it once */
static unsigned refused_rate[GHOSTS_TOP]; /* times it was */
static uint64_t forgotten, failed_missing;

/* What the test has let be seen of each ghost: the oracle of proofs. */
static struct {
	uint64_t since; /* when what is still so was first seen, 0: never */
	uint64_t at;
	struct wire_progress first, last;
	uint8_t state;
} history[GHOSTS_TOP];

/* As they are, whether the engine has looked or not. */
static struct connection {
	uint64_t acked, edge;
	uint8_t state;
} connections[GHOSTS_TOP];

static struct {
	bool running;
	uint64_t round;
	uint32_t count;
} look;

static void
fuzz_policy(void)
{
	policy_default(&policy);
	policy.rules[0].grace_ns = random_below(3) * NS_PER_S;
	policy.rules[0].require = random_below(4) == 0 ? REQUIRE_STUCK : REQUIRE_AUTO;
	policy.rules[1].exits = EXIT_BIT(EXIT_TERM);
	policy.rules[1].require = (enum policy_require)random_below(3);
	policy.rules[1].grace_ns = random_below(20) * NS_PER_S;
	if (random_below(3) == 0)
		policy.rules[2].action = ACTION_IGNORE;
	else if (random_below(2) == 0)
		policy.rules[2].action = ACTION_DESTROY;
	if (random_below(2) == 0)
		policy.rules[3].action = ACTION_DESTROY;
	policy.rules[3].require = (enum policy_require)random_below(3);
	policy.rules[3].grace_ns = random_below(2000) * NS_PER_MS;
	policy.rule_count = 1 + (unsigned)random_below(4);
	policy.unit_limit.count = 1 + random_below(2000);
	policy.unit_limit.per_ns = (1 + random_below(60)) * NS_PER_S;
	policy.breaker_hold_ns = random_below(20) * NS_PER_S;
	policy.record_budget.count = random_below(3) == 0 ? 1000000 : 1 + random_below(400);
	policy.destroy_limit.count = random_below(3) == 0 ? 1 + random_below(200) : 50000;
}

static void
fuzz_orphans(void)
{
	static const uint32_t codes[] = { 0, 9, 9, 9, 9, 15, 15, 11, 3 << 8 };

	for (uint64_t n = random_below(200); n > 0; n--) {
		uint32_t tgid = (uint32_t)(1 + random_below(500));
		struct wire_orphan orphan = orphan_of(tgid, 1 + random_below(COOKIES_TOP));

		orphan.owner.exit_code = codes[tgid % COUNT_OF(codes)];
		orphan.owner.cgroup_id = tgid % 7;
		if (tgid % 3 == 0)
			orphan.owner.unit[0] = '\0';
		orphan.flags = random_below(10) == 0 ? WIRE_ORPHAN_CLOSED : 0;
		orphan.tuple.netns += random_below(20) == 0;
		orphan.born_mono_ns -= random_below(NS_PER_S);
		orphan_in(&orphan);
	}
}

/* Proved is what has not moved over the shortest grace, as last seen. */
static void
proof_check(const struct wire_destroy *request)
{
	uint64_t id = request->ghost;

	if ((request->flags & WIRE_DESTROY_PROVED) == 0)
		return;
	assert_true(history[id].since != 0);
	assert_true(history[id].at - history[id].since >= 100 * NS_PER_MS);
	assert_true(history[id].state != TCP_STATE_FIN_WAIT2);
	assert_int_equal(request->state, history[id].state);
	assert_memory_equal(&request->seen, &history[id].last, sizeof(request->seen));
}

static void
fuzz_reaper_hears(void)
{
	reaper_hears();
	assert_true(in_flight_count + heard.destroys <= GHOSTS_TOP);
	assert_true(looked_at_count + heard.samples <= GHOSTS_TOP);
	for (size_t i = 0; i < heard.destroys; i++) {
		proof_check(&requests[i]);
		in_flight[in_flight_count++] = requests[i];
	}
	for (size_t i = 0; i < heard.samples; i++)
		looked_at[looked_at_count++] = samples[i];
	assert_true(heard.reconciles <= (look.running ? 0 : 1));
	if (heard.reconciles != 0) {
		assert_int_equal(heard.round, look.round + 1);
		look.running = true;
		look.round = heard.round;
		look.count = 0;
	}
}

static void
fuzz_result(const struct wire_destroy *request, enum wire_result result)
{
	struct wire_result_record record = result_of(request, result);
	uint64_t id = request->ghost;

	if (result == WIRE_RESULT_FAILED)
		record.error = random_below(2) == 0 ? ENOENT : EPERM;
	failed_missing += record.error == ENOENT;
	if (result == WIRE_RESULT_REFUSED_RATE) {
		turned_away[id] = true;
		refused_rate[id]++;
	}
	if (result == WIRE_RESULT_REFUSED_PROGRESS && (request->flags & WIRE_DESTROY_PROVED) != 0)
		history[id].since = 0;
	engine_results(&engine, &record, 1, now);
}

/* Any that an honest reaper may give. A policy that changed while the request was on its way may
 * leave no state to destroy it in when it is made again. */
static enum wire_result
random_result(const struct wire_destroy *request)
{
	static const enum wire_result results[] = { WIRE_RESULT_DESTROYED, WIRE_RESULT_REFUSED_RATE,
		WIRE_RESULT_GONE, WIRE_RESULT_REFUSED_LIVE, WIRE_RESULT_FAILED,
		WIRE_RESULT_REFUSED_PROGRESS };
	bool proved = (request->flags & WIRE_DESTROY_PROVED) != 0;
	bool named = (request->states & TCP_STATE_BIT(request->state)) != 0;

	if (!named)
		return results[2 + random_below(4)];
	return results[random_below(proved ? 6 : 5)];
}

static void
fuzz_results(size_t count)
{
	for (; count > 0 && in_flight_count > 0; count--) {
		size_t i = random_below(in_flight_count);

		fuzz_result(&in_flight[i], random_result(&in_flight[i]));
		in_flight[i] = in_flight[--in_flight_count];
	}
}

static void
history_add(const struct wire_sampled *s)
{
	uint64_t id = s->ghost;
	const struct wire_progress *first = &history[id].first;

	if (history[id].since == 0 || history[id].state != s->state ||
		s->progress.bytes_acked > first->bytes_acked ||
		s->progress.window_end > first->window_end) {
		history[id].since = s->sampled_mono_ns;
		history[id].first = s->progress;
	}
	history[id].state = s->state;
	history[id].last = s->progress;
	history[id].at = s->sampled_mono_ns;
}

/* A connection as it may go: bytes once taken stay so, a state never comes back, and what the peer
 * has shrunk its window by is less than what it allows when it opens it. */
static void
connection_move(struct connection *c)
{
	if (random_below(6) == 0)
		c->acked += 1 + random_below(100);
	if (random_below(6) == 0)
		c->edge += 1000;
	if (c->state == TCP_STATE_FIN_WAIT1 && random_below(12) == 0)
		c->state = random_below(2) == 0 ? TCP_STATE_FIN_WAIT2 : TCP_STATE_CLOSING;
}

static struct wire_sampled
fuzz_sampled(const struct wire_sample *sample)
{
	enum wire_found found =
		random_below(3) != 0 ? WIRE_FOUND_ORPHAN : (enum wire_found)(1 + random_below(5));
	struct wire_sampled s = sampled_of(sample, found);
	struct connection *c = &connections[s.ghost];

	if (found == WIRE_FOUND_FAILED)
		s.error = ESTALE;
	if (found != WIRE_FOUND_ORPHAN)
		return s;
	connection_move(c);
	s.state = c->state;
	s.progress.bytes_acked = c->acked;
	s.progress.window_end = c->edge - random_below(1000);
	s.progress.timer_ms = (uint32_t)random_next();
	history_add(&s);
	return s;
}

static void
fuzz_samples(size_t count)
{
	for (; count > 0 && looked_at_count > 0; count--) {
		size_t i = random_below(looked_at_count);
		struct wire_sampled sampled = fuzz_sampled(&looked_at[i]);

		engine_samples(&engine, &sampled, 1, now);
		looked_at[i] = looked_at[--looked_at_count];
	}
}

/* A part of what a dump shows: known ones and others, some of them twice. */
static void
fuzz_found(void)
{
	uint64_t few = 1 + random_below(COOKIES_TOP);

	if (!look.running)
		return;
	for (uint64_t n = random_below(200); n > 0; n--) {
		uint64_t cookie = few + random_below(400);

		if (ghosts_find(&engine.ghosts, cookie) == NULL && random_below(4) != 0)
			continue;
		reaper_finds(cookie);
		look.count++;
	}
}

static void
fuzz_found_end(bool complete)
{
	const struct wire_found_end end = { .round = look.round,
		.done_mono_ns = now.ns,
		.count = look.count,
		.error = complete || random_below(2) == 0 ? 0 : ENOMEM,
		.complete = complete };
	uint64_t before = engine.ghosts.total + engine.counts.expired;

	if (!look.running)
		return;
	look.running = false;
	engine_found_end(&engine, &end, now);
	assert_true(complete || engine.ghosts.total + engine.counts.expired == before);
	forgotten += before - engine.ghosts.total - engine.counts.expired;
}

static void
counters_consistent(void)
{
	const struct record_counts *c = &engine.counts;

	table_consistent();
	assert_int_equal(c->ghosts, engine.ghosts.total + c->destroyed + c->gone + failed_missing +
					    c->expired + c->evicted + forgotten);
	assert_int_equal(c->ghosts, engine.ghosts.last_id);
	assert_true(engine.ghosts.counts[GHOST_SENT] >= in_flight_count);
	assert_true(engine.ghosts.counts[GHOST_SAMPLED] >= looked_at_count);
}

static void
fuzz_answer(void)
{
	switch (random_below(4)) {
	case 0:
		fuzz_results(random_below(200));
		break;
	case 1:
		fuzz_samples(random_below(200));
		break;
	case 2:
		fuzz_found();
		break;
	default:
		fuzz_found();
		fuzz_found_end(random_below(4) != 0);
	}
}

static void
fuzz_misfortune(void)
{
	const struct record_counts *c = &engine.counts;

	switch (random_below(8)) {
	case 0:
		log_breaks();
		break;
	case 1:
		fuzz_policy();
		engine_policy_changed(&engine);
		break;
	case 2:
		engine.hold = random_below(3) == 0 ? HOLD_OBSERVE : HOLD_NONE;
		engine_policy_changed(&engine);
		break;
	case 3:
		lost_in(c->lost_orphans + 1, c->lost_exits, c->lost_stamps + random_below(9));
		break;
	default:
		log_works();
	}
}

static void
fuzz_step(void)
{
	switch (random_below(10)) {
	case 0:
	case 1:
		fuzz_misfortune();
		break;
	case 2:
		fuzz_orphans();
		break;
	case 3:
		fuzz_reaper_hears();
		break;
	case 4:
	case 5:
	case 6:
		fuzz_answer();
		break;
	default:
		now.ns += random_below(2 * NS_PER_S);
		turn();
	}
	counters_consistent();
}

static void
fuzz_finish(void)
{
	log_works();
	engine.hold = HOLD_NONE;
	for (unsigned n = 0; engine.ghosts.total > 0 && n < 10000; n++) {
		turn();
		fuzz_reaper_hears();
		assert_int_equal(engine.ghosts.counts[GHOST_SENT], in_flight_count);
		assert_int_equal(engine.ghosts.counts[GHOST_SAMPLED], looked_at_count);
		fuzz_results(100000);
		fuzz_samples(100000);
		fuzz_found_end(true);
		counters_consistent();
		now.ns += 30 * NS_PER_S;
	}
	turn();
	assert_int_equal(engine.ghosts.total, 0);
	assert_true(engine_idle(&engine));
	counters_consistent();
}

static void
fuzz_begin(void)
{
	random_start();
	in_flight_count = looked_at_count = 0;
	forgotten = failed_missing = 0;
	memset(&look, 0, sizeof(look));
	memset(history, 0, sizeof(history));
	memset(turned_away, 0, sizeof(turned_away));
	memset(refused_rate, 0, sizeof(refused_rate));
	for (size_t i = 0; i < GHOSTS_TOP; i++)
		connections[i] = (struct connection){ 1000, 100000,
			i % 4 == 0 ? TCP_STATE_LAST_ACK : TCP_STATE_FIN_WAIT1 };
	engine_start(&engine, now);
}

static uint64_t
histogram_count(const struct histogram *h)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++)
		sum += h->counts[i];
	return sum;
}

/* What is shown to whoever looks on is what the log says. */
static void
stats_agree(uint64_t decided)
{
	const struct record_counts *c = &engine.counts;
	const struct engine_stats *s = &engine.stats;

	assert_int_equal(s->ordered, decided);
	assert_int_equal(s->results[WIRE_RESULT_DESTROYED], c->destroyed);
	assert_int_equal(s->results[WIRE_RESULT_GONE], c->gone);
	assert_int_equal(s->results[WIRE_RESULT_FAILED], c->failed);
	assert_int_equal(s->results[WIRE_RESULT_REFUSED_LIVE] +
				 s->results[WIRE_RESULT_REFUSED_PROGRESS] +
				 s->results[WIRE_RESULT_REFUSED_RATE],
		c->refused);
	assert_int_equal(s->results[WIRE_RESULT_OTHER_NETNS], 0);
	assert_int_equal(s->results[WIRE_RESULT_UNSUPPORTED], 0);
	assert_true(s->turned_away > s->results[WIRE_RESULT_REFUSED_RATE]);
	assert_int_equal(histogram_count(&s->latency), c->destroyed);
	assert_int_equal(histogram_count(&s->look_to_act), c->destroyed);
	assert_true(s->latency.sum_ns >= s->look_to_act.sum_ns);
	assert_true(s->orphan_events >= c->ghosts - c->adopted);
}

static void
test_fuzz(void **state)
{
	const struct record_counts *c = &engine.counts;
	uint64_t left = 0, results = 0, decided = 0;

	(void)state;
	fuzz_begin();
	while (engine.counts.ghosts < 20000)
		fuzz_step();
	fuzz_finish();
	/* A request had been decided (see send()), and by one decision leaves once, but for the
	 * rate limit. What is counted is what is recorded. */
	for (size_t i = 1; i <= engine.ghosts.last_id; i++) {
		assert_true(requested[i] <= seen.decided[i] + refused_rate[i]);
		assert_true(seen.results[i] <= seen.decided[i] + turned_away[i]);
		left += seen.left[i];
		results += seen.results[i];
		decided += seen.decided[i];
	}
	assert_int_equal(left + seen.left_batched, c->reported + c->ignored);
	assert_int_equal(results + seen.turned_away,
		c->destroyed + c->gone + c->failed + c->refused + c->observed);
	assert_int_equal(seen.left_batched + seen.batched, c->batched);
	assert_true(seen.batches > 10 && seen.lefts > 10 && seen.withdrawn > 0);
	assert_int_equal(seen.observed, c->observed);
	assert_int_equal(audit.sequence, seen.sequence);
	stats_agree(decided);
	say_rest();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ON_STAGE(test_the_whole_way),
		ON_STAGE(test_request_is_faithful),
		ON_STAGE(test_each_result),
		ON_STAGE(test_latency_is_never_negative),
		ON_STAGE(test_left_alone),
		ON_STAGE(test_ignored),
		ON_STAGE(test_other_netns),
		ON_STAGE(test_observe),
		ON_STAGE(test_time_wait),
		ON_STAGE(test_states_by_rule),
		ON_STAGE(test_one_exit_record),
		ON_STAGE(test_repeated_cookie),
		ON_STAGE(test_lost),
		ON_STAGE(test_lost_without_a_log),
		ON_STAGE(test_grace),
		ON_STAGE(test_grace_over_long_ago),
		ON_STAGE(test_grace_runs_from_birth),
		ON_STAGE(test_policy_changed),
		ON_STAGE(test_refused_rate),
		ON_STAGE(test_refused_rate_and_a_new_policy),
		ON_STAGE(test_no_log_no_request),
		ON_STAGE(test_log_breaks_on_the_way),
		ON_STAGE(test_observe_while_the_log_is_broken),
		ON_STAGE(test_storm_by_turns),
		ON_STAGE(test_full_channel),
		ON_STAGE(test_pace),
		ON_STAGE(test_turns),
		ON_STAGE(test_reaper_gone),
		ON_STAGE(test_lost_that_cannot_be),
		ON_STAGE(test_results_nobody_asked_for),
		ON_STAGE(test_results_that_contradict_themselves),
		ON_STAGE(test_results_of_another_time),
		ON_STAGE(test_destroyed_in_what_state),
		ON_STAGE(test_states_that_were_not_named),
		ON_STAGE(test_overdue),
		ON_STAGE(test_shares),
		ON_STAGE(test_eviction_is_fair),
		ON_STAGE(test_eviction),
		ON_STAGE(test_no_eviction_for_a_repetition),
		ON_STAGE(test_fuzz),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
