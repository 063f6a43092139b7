/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/engine.c broker/decide.c broker/requests.c broker/results.c broker/adopt.c broker/proof.c broker/breaker.c broker/ghosts.c broker/auditlog.c broker/outbox.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c broker/say.c proto/channel.c proto/wire.c proto/log.c broker/budget.c broker/keyed.c broker/batch.c broker/quantity.c broker/histogram.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/engine_stage.h"

/* Ghosts that are looked at before anything is done to them, and units that leave too many. */

#define GRACE (30 * NS_PER_S) /* of the built-in rule "stopped" */

/* ---- looks ---- */

/* One request for a sample leaves in this turn, and nothing else. */
static void
look_expect(uint64_t cookie)
{
	turn();
	reaper_hears();
	assert_int_equal(heard.destroys, 0);
	assert_int_equal(heard.samples, 1);
	assert_int_equal(samples[0].cookie, cookie);
}

static void
silence_expect(void)
{
	turn();
	reaper_hears();
	assert_true(heard.samples == 0 && heard.destroys == 0 && heard.reconciles == 0);
}

static void
due_expect(uint64_t in_ns)
{
	uint64_t due;

	assert_true(engine_next_due(&engine, now, &due));
	assert_true(due == in_ns);
}

/* The answer to the last look: so many bytes have been acknowledged by now. */
static void
acked(uint64_t bytes)
{
	struct wire_sampled sampled = sampled_of(&samples[0], WIRE_FOUND_ORPHAN);

	sampled.progress.bytes_acked = bytes;
	sampled.progress.window_end = bytes;
	sampled.progress.timer = 4;
	sampled.progress.timer_ms = (uint32_t)(now.ns / NS_PER_S);
	engine_samples(&engine, &sampled, 1, now);
}

static void
in_state(uint8_t tcp_state)
{
	struct wire_sampled sampled = sampled_of(&samples[0], WIRE_FOUND_ORPHAN);

	sampled.state = tcp_state;
	engine_samples(&engine, &sampled, 1, now);
}

static enum ghost_phase
phase_of(uint64_t cookie)
{
	const struct ghost *ghost = ghosts_find(&engine.ghosts, cookie);

	assert_non_null(ghost);
	return ghost->phase;
}

/* The first look at ghost 1, of cookie 1, has been taken: 1000 bytes acknowledged. */
static void
begun(void)
{
	asked_in(812, 1);
	look_expect(1);
	acked(1000);
	silence_expect();
	due_expect(GRACE);
}

/* The request that follows the second look. */
static void
proved_expect(void)
{
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].flags, WIRE_DESTROY_PROVED);
	assert_int_equal(requests[0].seen.timer_ms, now.ns / NS_PER_S);
}

/* Begun, and nothing has moved over the grace. */
static void
proved(void)
{
	begun();
	now.ns += GRACE;
	look_expect(1);
	acked(1000);
	proved_expect();
}

/* ---- stuck ---- */

static void
test_stuck(void **state)
{
	(void)state;
	asked_in(812, 1);
	now.ns += 5 * NS_PER_MS;
	look_expect(1);
	assert_int_equal(samples[0].ghost, 1);
	assert_int_equal(samples[0].tuple.dst_port, 4711);
	assert_int_equal(samples[0].tuple.netns, NETNS);
	assert_true(engine_idle(&engine)); /* a stop does not wait for it */
	acked(1000);
	silence_expect();
	assert_int_equal(seen.sequence, 0);
	now.ns += GRACE - 1;
	silence_expect();
	due_expect(1);
	now.ns++;
	look_expect(1);
	acked(1000);
	assert_false(engine_idle(&engine));
	proved_expect();
	assert_int_equal(seen.sequence, 2); /* exit, decide */
	last_has("\"event.reason\":\"owner-terminated\",\"rule.name\":\"stopped\","
		 "\"eghostbuster.verdict\":\"destroy\",\"eghostbuster.ghost\":1,");
	last_has("\"eghostbuster.proof\":{\"inode\":0,\"age_ms\":30005,\"stuck\":true,"
		 "\"interval_ms\":30000,\"samples\":[{\"age_ms\":5,\"bytes_acked\":1000,"
		 "\"window_end\":1000,\"send_queue\":700,");
	last_has("\"timer\":\"zero-window\",\"timer_ms\":1000,");
	last_has("},{\"age_ms\":30005,\"bytes_acked\":1000,\"window_end\":1000,"
		 "\"send_queue\":700,");
	last_has("\"timer\":\"zero-window\",\"timer_ms\":1030,");
	assert_int_equal(requests[0].seen.bytes_acked, 1000);
	assert_int_equal(requests[0].states, TCP_STATES_ORPHAN);
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	last_has("\"eghostbuster.result\":\"destroyed\"");
	assert_int_equal(engine.ghosts.total, 0);
}

/* Whatever moves is the new beginning. */
static void
test_progress(void **state)
{
	uint64_t bytes = 1000;

	(void)state;
	begun();
	for (unsigned i = 0; i < 20; i++) {
		now.ns += GRACE;
		look_expect(1);
		acked(++bytes);
		due_expect(GRACE);
	}
	assert_int_equal(seen.sequence, 0);
	now.ns += GRACE;
	look_expect(1);
	acked(bytes);
	proved_expect();
	last_has("\"interval_ms\":30000,");
	last_has("\"bytes_acked\":1020,");
}

/* The record and the request tell the state of the last look. */
static void
test_another_state(void **state)
{
	(void)state;
	begun();
	now.ns += GRACE;
	look_expect(1);
	in_state(TCP_STATE_CLOSING);
	turn();
	now.ns += GRACE;
	look_expect(1);
	in_state(TCP_STATE_CLOSING);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].state, TCP_STATE_CLOSING);
	last_has("\"eghostbuster.socket.state\":\"closing\"");
	last_has("\"eghostbuster.socket.send_queue\":700");
}

/* The peer has taken everything and acknowledged the FIN: nothing is outstanding. */
static void
test_nothing_outstanding(void **state)
{
	(void)state;
	asked_in(812, 1);
	look_expect(1);
	in_state(TCP_STATE_FIN_WAIT2);
	now.ns += GRACE;
	look_expect(1);
	in_state(TCP_STATE_FIN_WAIT2);
	silence_expect();
	last_has("\"event.action\":\"decide\",\"event.reason\":\"nothing-outstanding\","
		 "\"rule.name\":\"stopped\",\"eghostbuster.verdict\":\"report\"");
	last_has("\"stuck\":null}");
	last_has("\"eghostbuster.socket.state\":\"fin-wait-2\"");
	assert_int_equal(phase_of(1), GHOST_LEFT);
	assert_int_equal(engine.counts.reported, 1);
	now.ns += 100 * GRACE;
	silence_expect();
	assert_int_equal(seen.sequence, 2);
}

static void
test_gone_in_time(void **state)
{
	static const enum wire_found gone[] = { WIRE_FOUND_NOTHING, WIRE_FOUND_TIME_WAIT };

	(void)state;
	for (uint64_t i = 0; i < 2 * COUNT_OF(gone); i++) {
		asked_in(812, 1);
		look_expect(1);
		if (i >= COUNT_OF(gone)) { /* at the second look */
			acked(1000);
			now.ns += GRACE;
			look_expect(1);
		}
		reaper_samples(&samples[0], gone[i % COUNT_OF(gone)]);
		silence_expect();
		assert_int_equal(engine.counts.expired, i + 1);
		assert_int_equal(engine.ghosts.total, 0);
	}
	assert_int_equal(seen.sequence, 0); /* not one record */
	assert_int_equal(stderr_count("\n"), 0);
}

/* A close on its way shows an inode for a moment. */
static void
test_held(void **state)
{
	(void)state;
	asked_in(812, 1);
	for (unsigned i = 0; i < 9; i++) {
		look_expect(1);
		reaper_samples(&samples[0], WIRE_FOUND_HELD);
		silence_expect();
		due_expect(100 * NS_PER_MS);
		now.ns += 100 * NS_PER_MS - 1;
		silence_expect();
		now.ns++;
	}
	look_expect(1);
	reaper_samples(&samples[0], WIRE_FOUND_HELD);
	assert_int_equal(engine.ghosts.total, 0); /* somebody holds it: it is no ghost */
	assert_int_equal(engine.counts.expired, 1);
	assert_int_equal(seen.sequence, 0);
}

static void
test_held_for_a_moment(void **state)
{
	(void)state;
	asked_in(812, 1);
	look_expect(1);
	reaper_samples(&samples[0], WIRE_FOUND_HELD);
	now.ns += 100 * NS_PER_MS;
	look_expect(1);
	acked(1000);
	now.ns += GRACE;
	look_expect(1);
	acked(1000);
	proved_expect();
	last_has("\"interval_ms\":30000,\"samples\":[{\"age_ms\":100,");
}

/* No look, no proof; a reconcile brings it back. */
static void
test_failed_look(void **state)
{
	(void)state;
	begun();
	now.ns += GRACE;
	look_expect(1);
	reaper_samples(&samples[0], WIRE_FOUND_FAILED);
	silence_expect();
	assert_int_equal(phase_of(1), GHOST_LEFT);
	assert_int_equal(seen.sequence, 0);
	engine_start(&engine, now);
	turn();
	reaper_hears();
	reaper_finds(1);
	reaper_has_found(1, 1);
	look_expect(1);
	acked(1000);
	proved_expect(); /* the first look still holds */
}

/* It could not be looked at, and is gone by the next reconcile: that is one more that went by
 * itself, and no ghost is without a count. */
static void
test_failed_look_and_gone(void **state)
{
	(void)state;
	begun();
	now.ns += GRACE;
	look_expect(1);
	reaper_samples(&samples[0], WIRE_FOUND_FAILED);
	engine_start(&engine, now);
	turn();
	reaper_hears();
	reaper_has_found(1, 0);
	assert_int_equal(engine.ghosts.total, 0);
	assert_int_equal(engine.counts.expired, 1);
}

/* ---- which ghosts ---- */

static void
look_wanted(const struct wire_orphan *orphan, bool want)
{
	orphan_in(orphan);
	turn();
	reaper_hears();
	assert_int_equal(heard.samples, want);
	assert_int_equal(heard.destroys, 0);
	ghosts_remove(&engine.ghosts, ghosts_find(&engine.ghosts, orphan->cookie));
}

static void
test_whose_proof(void **state)
{
	struct wire_orphan orphan = orphan_of(1, 1);

	(void)state;
	policy.rules[2].action = ACTION_DESTROY;
	policy.rules[2].require = REQUIRE_NONE; /* asked for or not: I5 */
	orphan.owner.exit_code = 0;
	look_wanted(&orphan, true);
	orphan = orphan_of(2, 2);
	orphan.flags = WIRE_ORPHAN_CLOSED;
	look_wanted(&orphan, true);
	orphan = orphan_of(3, 3);
	orphan.owner.exit_code = 1 << 8;
	look_wanted(&orphan, true);
	policy.rules[0].require = REQUIRE_STUCK;
	orphan = orphan_of(4, 4);
	look_wanted(&orphan, true);
	orphan = orphan_of(5, 5);
	orphan.tuple.netns++; /* the reaper cannot look there */
	look_wanted(&orphan, false);
}

/* Each owner died in its own way; many at once, and each has its own time. */
static void
test_many(void **state)
{
	const unsigned count = 1000;

	(void)state;
	for (uint64_t i = 1; i <= count; i++) {
		asked_in(812, i);
		now.ns += NS_PER_MS;
	}
	turn();
	reaper_hears();
	assert_int_equal(heard.samples, count);
	for (unsigned i = 0; i < count; i++)
		reaper_samples(&samples[i], WIRE_FOUND_ORPHAN);
	now.ns += GRACE;
	turn();
	reaper_hears();
	assert_int_equal(heard.samples, count);
	for (unsigned i = 0; i < count; i++)
		reaper_samples(&samples[i], i % 2 == 0 ? WIRE_FOUND_ORPHAN : WIRE_FOUND_NOTHING);
	turn();
	assert_int_equal(reaper_reads(), count / 2);
	assert_int_equal(engine.counts.expired, count / 2);
	assert_int_equal(engine.ghosts.total, count / 2);
}

/* ---- after the proof ---- */

/* The reaper's own look saw it move: a ghost that lives begins anew. */
static void
test_refused_progress(void **state)
{
	(void)state;
	proved();
	reaper_answers(&requests[0], WIRE_RESULT_REFUSED_PROGRESS);
	look_expect(1);
	last_has("\"event.outcome\":\"failure\",\"eghostbuster.ghost\":1,"
		 "\"eghostbuster.result\":\"refused-progress\"");
	acked(1000); /* as the second look was: it counts as the first now */
	silence_expect();
	due_expect(GRACE);
	now.ns += GRACE;
	look_expect(1);
	acked(1000);
	proved_expect();
	assert_int_equal(seen.proved[1], 2);
	last_has("\"interval_ms\":30000,");
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	assert_int_equal(seen.results[1], 2);
	assert_int_equal(engine.counts.refused, 1);
	assert_int_equal(engine.ghosts.total, 0);
}

/* Turned away by the rate limit: the same request again. */
static void
test_refused_rate(void **state)
{
	struct wire_destroy first;

	(void)state;
	proved();
	first = requests[0];
	for (unsigned i = 0; i < 20; i++) {
		reaper_answers(&requests[0], WIRE_RESULT_REFUSED_RATE);
		now.ns += 100 * NS_PER_MS;
		turn();
		assert_int_equal(reaper_reads(), 1);
		assert_memory_equal(&requests[0], &first, sizeof(first));
	}
	assert_int_equal(seen.decided[1], 1);
	assert_int_equal(seen.results[1], 1);
}

static void
test_observe(void **state)
{
	(void)state;
	engine.hold = HOLD_OBSERVE;
	begun();
	now.ns += GRACE;
	look_expect(1);
	acked(1000);
	silence_expect();
	assert_int_equal(packets, 0);
	assert_int_equal(seen.proved[1], 1);
	assert_int_equal(seen.observed, 1);
	assert_int_equal(phase_of(1), GHOST_LEFT);
	now.ns += 10 * GRACE;
	silence_expect();
	assert_int_equal(seen.observed, 1);
}

/* The proof is in memory only: nothing leaves, not even another look. */
static void
test_no_log(void **state)
{
	(void)state;
	begun();
	log_breaks();
	now.ns += GRACE;
	look_expect(1); /* nothing had to be written yet */
	acked(1000);
	asked_in(812, 2);
	silence_expect();
	now.ns += 10 * GRACE;
	silence_expect();
	assert_int_equal(packets, 0);
	log_works();
	turn();
	reaper_hears();
	assert_int_equal(heard.destroys, 1);
	assert_int_equal(heard.samples, 1);
	assert_int_equal(seen.proved[1], 1);
}

/* ---- a new policy in the middle ---- */

static void
reload(void)
{
	engine_policy_changed(&engine);
}

static void
test_reload_while_waiting(void **state)
{
	(void)state;
	begun();
	policy.rules[1].action = ACTION_REPORT;
	reload();
	silence_expect();
	assert_int_equal(seen.left[1], 1);
	last_has("\"event.reason\":\"owner-terminated\"");
}

static void
test_reload_while_sampled(void **state)
{
	(void)state;
	asked_in(812, 1);
	look_expect(1);
	policy.rules[1].action = ACTION_REPORT;
	reload();
	silence_expect();
	acked(1000);
	silence_expect();
	assert_int_equal(seen.left[1], 1);
	last_has("\"event.reason\":\"owner-terminated\"");
}

/* What was seen stays seen: under a shorter grace it may prove at once. */
static void
test_reload_with_a_shorter_grace(void **state)
{
	(void)state;
	begun();
	now.ns += 10 * NS_PER_S;
	policy.rules[1].grace_ns = 10 * NS_PER_S;
	reload();
	look_expect(1);
	acked(1000);
	proved_expect();
	last_has("\"interval_ms\":10000,");
}

static void
test_reload_with_a_longer_grace(void **state)
{
	(void)state;
	begun();
	now.ns += GRACE;
	policy.rules[1].grace_ns = 3 * GRACE;
	reload();
	look_expect(1);
	acked(1000);
	silence_expect();
	due_expect(2 * GRACE);
	now.ns += 2 * GRACE;
	look_expect(1);
	acked(1000);
	proved_expect();
	last_has("\"interval_ms\":90000,");
}

/* No proof needed any more, nor waited for. */
static void
test_reload_without_proof(void **state)
{
	(void)state;
	begun();
	now.ns += NS_PER_S;
	policy.rules[1].exits = EXIT_BIT(EXIT_TERM);
	policy.rules[1].require = REQUIRE_NONE;
	policy.rules[1].grace_ns = 0;
	reload();
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].flags, 0);
	last_has("\"stuck\":null}");
}

/* Proved, decided and not sent: asked for anew, and proved anew. */
static void
test_reload_when_decided(void **state)
{
	(void)state;
	begun();
	log_breaks();
	now.ns += GRACE;
	look_expect(1);
	acked(1000);
	turn();
	assert_int_equal(phase_of(1), GHOST_DECIDED);
	reload();
	log_works();
	turn();
	look_expect(1);
	acked(1000);
	proved_expect();
	assert_int_equal(requested[1], 1);
}

/* A grace that is nearly over is not behind one that has just begun. */
static void
test_due_in_order(void **state)
{
	(void)state;
	begun();
	now.ns += GRACE - NS_PER_S;
	asked_in(813, 2); /* in the turn of the reload: it is in front */
	reload();
	turn();
	reaper_hears();
	assert_int_equal(heard.samples, 2);
	assert_int_equal(samples[0].cookie, 2);
	acked(1000);
	samples[0] = samples[1];
	acked(1000);
	silence_expect();
	due_expect(NS_PER_S);
	now.ns += NS_PER_S;
	look_expect(1);
}

/* ---- a reaper that is not what it should be ---- */

static struct wire_sampled wrong;

static void
wrong_sample(void *arg)
{
	(void)arg;
	engine_samples(&engine, &wrong, 1, now);
}

static void
twice_sampled(void *arg)
{
	wrong_sample(arg);
	wrong_sample(arg);
}

static void
test_samples_nobody_asked_for(void **state)
{
	struct wire_sampled good;

	(void)state;
	asked_in(812, 1);
	look_expect(1);
	good = wrong = sampled_of(&samples[0], WIRE_FOUND_ORPHAN);
	assert_int_equal(child_run(wrong_sample, NULL, (char[64]){ 0 }, 64), 0);
	protocol_expect(twice_sampled, NULL, "reaper");
	wrong.cookie = 2; /* none of that cookie */
	protocol_expect(wrong_sample, NULL, "reaper");
	wrong = good;
	wrong.ghost = 2; /* another number */
	protocol_expect(wrong_sample, NULL, "reaper");
	wrong = good;
	wrong.sampled_mono_ns = now.ns + 1; /* not yet */
	protocol_expect(wrong_sample, NULL, "reaper");
	killed_in(813, 2); /* fresh, and then sent: no look was asked for */
	wrong = good;
	wrong.ghost = wrong.cookie = 2;
	protocol_expect(wrong_sample, NULL, "reaper");
	turn();
	protocol_expect(wrong_sample, NULL, "reaper");
	acked(1000); /* waits */
	protocol_expect(twice_sampled, NULL, "reaper");
}

static void
result_of_a_look(void *arg)
{
	const struct wire_destroy request = { .ghost = 1, .cookie = 1 };

	(void)arg;
	reaper_answers(&request, WIRE_RESULT_GONE);
}

static void
test_result_of_a_look(void **state)
{
	(void)state;
	asked_in(812, 1);
	look_expect(1);
	protocol_expect(result_of_a_look, NULL, "reaper");
}

/* While the log cannot be written a look decides nothing, and memory does not fill with what it
 * would say; then it is made again. */
static void
test_looks_without_a_log(void **state)
{
	size_t used;

	(void)state;
	for (uint64_t i = 1; i <= 100; i++)
		asked_in(812, i);
	turn();
	reaper_hears();
	for (unsigned i = 0; i < 100; i++)
		reaper_samples(&samples[i], WIRE_FOUND_ORPHAN);
	now.ns += GRACE;
	turn();
	reaper_hears();
	assert_int_equal(heard.samples, 100);
	log_breaks();
	killed_in(813, 1000);
	turn();
	used = audit.used;
	for (unsigned i = 0; i < 100; i++)
		reaper_samples(&samples[i], WIRE_FOUND_ORPHAN);
	turn();
	assert_int_equal(audit.used, used);
	log_works();
	turn(); /* writes what it has, then decides */
	turn();
	reaper_hears();
	assert_int_equal(heard.samples, 100);
	for (unsigned i = 0; i < 100; i++)
		reaper_samples(&samples[i], WIRE_FOUND_ORPHAN);
	turn();
	assert_int_equal(reaper_reads(), 100);
}

/* A look is taken after it was asked for. */
static void
test_looks_at_another_time(void **state)
{
	(void)state;
	asked_in(812, 1);
	look_expect(1);
	wrong = sampled_of(&samples[0], WIRE_FOUND_ORPHAN);
	wrong.sampled_mono_ns = 0;
	protocol_expect(wrong_sample, NULL, "reaper");
	wrong.sampled_mono_ns = now.ns - 1;
	protocol_expect(wrong_sample, NULL, "reaper");
}

/* Two looks at one connection: it does not go back. */
static void
test_looks_that_contradict_each_other(void **state)
{
	struct wire_sampled good;

	(void)state;
	asked_in(812, 1);
	look_expect(1);
	acked(1000);
	silence_expect();
	now.ns += GRACE;
	look_expect(1);
	good = wrong = sampled_of(&samples[0], WIRE_FOUND_ORPHAN);
	assert_int_equal(child_run(wrong_sample, NULL, (char[64]){ 0 }, 64), 0);
	wrong.progress.bytes_acked = 999;
	protocol_expect(wrong_sample, NULL, "reaper");
	wrong = good;
	wrong.state = TCP_STATE_LAST_ACK; /* after FIN-WAIT-1 */
	protocol_expect(wrong_sample, NULL, "reaper");
	wrong.state = TCP_STATE_FIN_WAIT2;
	wrong.mini = 1;
	wrong.progress = (struct wire_progress){ .timer = WIRE_TIMER_MINI };
	assert_int_equal(child_run(wrong_sample, NULL, (char[64]){ 0 }, 64), 0);
	engine_samples(&engine, &wrong, 1, now); /* it is a mini-socket now */
	silence_expect();
	now.ns += GRACE;
	look_expect(1);
	wrong = good;
	wrong.sampled_mono_ns = now.ns;
	wrong.state = TCP_STATE_FIN_WAIT2; /* and cannot be a full one again */
	protocol_expect(wrong_sample, NULL, "reaper");
}

static void
test_look_overdue(void **state)
{
	(void)state;
	asked_in(812, 1);
	look_expect(1);
	now.ns += ANSWER_PATIENCE_NS;
	assert_false(engine_overdue(&engine, now));
	now.ns++;
	assert_true(engine_overdue(&engine, now));
	acked(1000);
	assert_false(engine_overdue(&engine, now));
}

/* ---- the breaker ---- */

#define HOLD (300 * NS_PER_S) /* of the built-in policy */

static void
limit_set(uint64_t count)
{
	policy.unit_limit = (struct rate){ count, 60 * NS_PER_S };
}

/* `count` ghosts of one killed process, one after the other. */
static void
killed_many(uint32_t tgid, const char *unit, uint64_t first_cookie, unsigned count)
{
	struct wire_orphan orphan = orphan_of(tgid, first_cookie);

	snprintf(orphan.owner.unit, sizeof(orphan.owner.unit), "%s", unit);
	for (unsigned i = 0; i < count; i++, orphan.cookie++)
		orphan_in(&orphan);
}

static void
destroys_expect(size_t count)
{
	turn();
	assert_int_equal(reaper_reads(), count);
	for (size_t i = 0; i < count; i++)
		reaper_answers(&requests[i], WIRE_RESULT_DESTROYED);
	turn();
}

static void
test_breaker(void **state)
{
	uint64_t due;

	(void)state;
	limit_set(10);
	killed_many(812, "nginx.service", 1, 25);
	turn();
	assert_int_equal(seen.sequence, 12); /* exit, 10 decide, breaker */
	assert_int_equal(seen.breakers, 1);
	last_has("\"event.action\":\"breaker\",\"event.reason\":\"over-limit\","
		 "\"eghostbuster.unit\":\"nginx.service\",\"eghostbuster.breaker\":\"open\","
		 "\"eghostbuster.breaker.hold_ms\":300000,\"event.hash\":\"");
	destroys_expect(10);
	assert_int_equal(engine.ghosts.counts[GHOST_HELD], 15);
	assert_int_equal(engine.counts.held_back, 15);
	assert_true(engine_idle(&engine));
	killed_many(900, "other.service", 101, 10); /* another unit has its own share */
	destroys_expect(10);
	now.ns += HOLD / 2;
	killed_many(813, "nginx.service", 201, 5); /* whichever of its processes dies */
	destroys_expect(0);
	assert_int_equal(seen.breakers, 1);
	assert_true(engine_next_due(&engine, now, &due));
	assert_in_range(due, HOLD / 2 - 100, HOLD / 2); /* the acts took a moment */
	assert_int_equal(stderr_count("breaker: nginx.service"), 1);
	now.ns += due - 1;
	destroys_expect(0);
	now.ns++;
	destroys_expect(10); /* decided anew: and too many again */
	assert_int_equal(seen.breakers, 3);
	assert_int_equal(engine.ghosts.counts[GHOST_HELD], 10);
	now.ns += HOLD;
	destroys_expect(10);
	assert_int_equal(seen.breakers, 4);
	last_has("\"eghostbuster.result\":\"destroyed\"");
	assert_int_equal(engine.ghosts.total, 0);
	assert_int_equal(engine.counts.destroyed, 40);
	now.ns += 100 * HOLD;
	turn();
	assert_int_equal(seen.breakers, 4);
}

/* The record of what was held back comes first, the ghosts behind it. */
static void
test_breaker_closes(void **state)
{
	(void)state;
	limit_set(1);
	killed_many(812, "nginx.service", 1, 3);
	destroys_expect(1);
	policy.rules[0].action = ACTION_REPORT; /* anew is by the policy of that time */
	now.ns += HOLD;
	log_breaks();
	destroys_expect(0); /* fails now, if anything is to be written */
	log_works();
	destroys_expect(0);
	assert_int_equal(seen.breakers, 2);
	assert_int_equal(seen.left[2] + seen.left[3], 2);
	assert_int_equal(engine.ghosts.counts[GHOST_HELD], 0);
}

/* The last breaker record, whatever came behind it. */
static void
breaker_has(const char *part)
{
	static char text[1 << 16];
	ssize_t n = pread(log_file, text, sizeof(text) - 1, 0);
	const char *last = NULL, *at = text;

	assert_true(n > 0);
	text[n] = '\0';
	while ((at = strstr(at, "\"event.action\":\"breaker\"")) != NULL)
		last = at++;
	assert_non_null(last);
	assert_memory_equal(last, part, strlen(part));
}

static void
test_breaker_closed_record(void **state)
{
	(void)state;
	limit_set(1);
	killed_many(812, "nginx.service", 1, 3);
	destroys_expect(1);
	policy.rules[0].action =
		ACTION_IGNORE; /* so that the breaker's is the last record but two */
	now.ns += HOLD;
	destroys_expect(0);
	assert_int_equal(seen.breakers, 2);
	breaker_has("\"event.action\":\"breaker\",\"event.reason\":\"hold-over\","
		    "\"eghostbuster.unit\":\"nginx.service\",\"eghostbuster.breaker\":\"closed\","
		    "\"eghostbuster.breaker.held_back\":2,\"event.hash\":\"");
}

/* Without a unit the cgroup counts, without an owner they are one. */
static void
test_breaker_keys(void **state)
{
	struct wire_orphan orphan = orphan_of(812, 1);

	(void)state;
	limit_set(1);
	orphan.owner.unit[0] = '\0';
	orphan.owner.cgroup_id = 4711;
	orphan_in(&orphan);
	orphan.cookie++;
	orphan_in(&orphan);
	destroys_expect(1);
	assert_int_equal(engine.ghosts.counts[GHOST_HELD], 1);
	policy.rules[3].action = ACTION_DESTROY;
	policy.rules[3].require = REQUIRE_NONE;
	engine_start(&engine, now);
	turn();
	reaper_hears();
	reaper_finds(11);
	reaper_finds(12);
	reaper_has_found(1, 2);
	turn();
	now.ns += 500 * NS_PER_MS;
	turn();
	assert_int_equal(reaper_reads(), 1);
	last_has("\"eghostbuster.unit\":\"unknown\",\"eghostbuster.breaker\":\"open\"");
	assert_int_equal(seen.breakers, 2);
	/* Its owner turns up: it is another unit's, and that one has its share. */
	killed_in(900, 12);
	destroys_expect(1);
	assert_int_equal(engine.ghosts.counts[GHOST_HELD], 1);
}

/* Observing shows what enforcing would do. */
static void
test_breaker_observes(void **state)
{
	(void)state;
	engine.hold = HOLD_OBSERVE;
	limit_set(10);
	killed_many(812, "nginx.service", 1, 25);
	destroys_expect(0);
	assert_int_equal(seen.observed, 10);
	assert_int_equal(seen.breakers, 1);
	assert_int_equal(engine.ghosts.counts[GHOST_HELD], 15);
}

/* Only what would be destroyed counts. */
static void
test_breaker_counts_destroys(void **state)
{
	(void)state;
	limit_set(1);
	policy.rules[0].action = ACTION_REPORT;
	killed_many(812, "nginx.service", 1, 100);
	destroys_expect(0);
	policy.rules[0].action = ACTION_IGNORE;
	killed_many(812, "nginx.service", 101, 100);
	destroys_expect(0);
	assert_int_equal(seen.breakers, 0);
	policy.rules[0].action = ACTION_DESTROY;
	killed_many(812, "nginx.service", 201, 1);
	destroys_expect(1);
}

/* A retry after the rate limit is no new share. */
static void
test_breaker_and_rate_limit(void **state)
{
	(void)state;
	limit_set(1);
	killed_in(812, 1);
	turn();
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(reaper_reads(), 1);
		reaper_answers(&requests[0], WIRE_RESULT_REFUSED_RATE);
		now.ns += 100 * NS_PER_MS;
		turn();
	}
	assert_int_equal(seen.breakers, 0);
}

/* Proved, and one too many: when the hold is over one more look shows whether it still is. */
static void
test_breaker_and_proof(void **state)
{
	(void)state;
	limit_set(1);
	begun();
	killed_in(813, 2); /* of the same unit */
	now.ns += GRACE - 1;
	turn();
	assert_int_equal(reaper_reads(), 1);
	now.ns++;
	look_expect(1);
	acked(1000);
	silence_expect();
	assert_int_equal(phase_of(1), GHOST_HELD);
	assert_int_equal(seen.decided[1], 0);
	now.ns += HOLD;
	look_expect(1);
	acked(1000);
	proved_expect();
	last_has("\"interval_ms\":330000,");
}

/* A new policy decides what is held back, too. */
static void
test_breaker_and_reload(void **state)
{
	(void)state;
	limit_set(1);
	killed_many(812, "nginx.service", 1, 4);
	destroys_expect(1);
	policy.rules[0].action = ACTION_REPORT;
	reload();
	destroys_expect(0);
	assert_int_equal(engine.ghosts.counts[GHOST_HELD], 0);
	assert_int_equal(seen.left[2] + seen.left[3] + seen.left[4], 3);
}

/* Held back is held back, however often it is asked about: counted once, recorded once. */
static void
test_breaker_and_many_reloads(void **state)
{
	(void)state;
	limit_set(1);
	killed_many(812, "nginx.service", 1, 4);
	destroys_expect(1);
	for (unsigned i = 0; i < 5; i++) {
		reload();
		destroys_expect(0);
	}
	assert_int_equal(seen.breakers, 1);
	assert_int_equal(engine.ghosts.counts[GHOST_HELD], 3);
	assert_int_equal(engine.counts.held_back, 3);
}

/* ---- what is due while nothing can be done ---- */

/* After a turn nothing is due at once: the loop would turn without an end. */
static void
rest_expect(void)
{
	uint64_t in_ns;

	turn();
	assert_true(!engine_next_due(&engine, now, &in_ns) || in_ns > 0);
}

/* What is to be recorded shows that it cannot be. */
static void
log_fails(void)
{
	struct wire_orphan orphan = orphan_of(999, 999);

	log_breaks();
	orphan.owner.unit[0] = '\0';
	orphan_in(&orphan);
	turn();
	assert_true(audit.failing);
}

static void
test_rest_with_a_hold_over(void **state)
{
	(void)state;
	limit_set(1);
	killed_many(812, "nginx.service", 1, 3);
	destroys_expect(1);
	log_fails();
	now.ns += HOLD;
	rest_expect();
	assert_int_equal(engine.breaker.open, 1); /* that it closes is to be recorded, too */
}

static void
test_rest_with_a_loss(void **state)
{
	(void)state;
	lost_in(1, 0, 0);
	turn();
	log_fails();
	lost_in(2, 0, 0);
	now.ns += NS_PER_S - 1; /* the look for them is due later */
	rest_expect();
	now.ns++;
	engine.adoption.wanted = false;
	rest_expect();
}

static void
test_rest_with_a_reconcile(void **state)
{
	(void)state;
	log_fails();
	engine_start(&engine, now);
	rest_expect();
}

/* The channel's own event says when there is room. */
static void
test_rest_with_a_full_channel(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 30000; i++)
		killed_in(812, i);
	assert_true(turn());
	engine_start(&engine, now);
	rest_expect();
}

static void
test_rest(void **state)
{
	(void)state;
	begun();
	rest_expect();
	log_fails();
	now.ns += GRACE;
	rest_expect();
	killed_in(812, 7);
	rest_expect();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ON_STAGE(test_stuck),
		ON_STAGE(test_progress),
		ON_STAGE(test_another_state),
		ON_STAGE(test_nothing_outstanding),
		ON_STAGE(test_gone_in_time),
		ON_STAGE(test_held),
		ON_STAGE(test_held_for_a_moment),
		ON_STAGE(test_failed_look),
		ON_STAGE(test_failed_look_and_gone),
		ON_STAGE(test_whose_proof),
		ON_STAGE(test_many),
		ON_STAGE(test_refused_progress),
		ON_STAGE(test_refused_rate),
		ON_STAGE(test_observe),
		ON_STAGE(test_no_log),
		ON_STAGE(test_reload_while_waiting),
		ON_STAGE(test_reload_while_sampled),
		ON_STAGE(test_reload_with_a_shorter_grace),
		ON_STAGE(test_reload_with_a_longer_grace),
		ON_STAGE(test_reload_without_proof),
		ON_STAGE(test_reload_when_decided),
		ON_STAGE(test_due_in_order),
		ON_STAGE(test_samples_nobody_asked_for),
		ON_STAGE(test_result_of_a_look),
		ON_STAGE(test_looks_without_a_log),
		ON_STAGE(test_looks_at_another_time),
		ON_STAGE(test_looks_that_contradict_each_other),
		ON_STAGE(test_look_overdue),
		ON_STAGE(test_breaker),
		ON_STAGE(test_breaker_closes),
		ON_STAGE(test_breaker_closed_record),
		ON_STAGE(test_breaker_keys),
		ON_STAGE(test_breaker_observes),
		ON_STAGE(test_breaker_counts_destroys),
		ON_STAGE(test_breaker_and_rate_limit),
		ON_STAGE(test_breaker_and_proof),
		ON_STAGE(test_breaker_and_reload),
		ON_STAGE(test_breaker_and_many_reloads),
		ON_STAGE(test_rest_with_a_hold_over),
		ON_STAGE(test_rest_with_a_loss),
		ON_STAGE(test_rest_with_a_reconcile),
		ON_STAGE(test_rest_with_a_full_channel),
		ON_STAGE(test_rest),
	};

	return cmocka_run_group_tests_name("engine_proof", tests, NULL, NULL);
}
