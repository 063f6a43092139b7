/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/proof.c proto/wire.c */
#include "tests/unit/unit.h"

#include "broker/proof.h"

#define GRACE (30 * NS_PER_S)
#define START (1000 * NS_PER_S)

static struct proof proof;
static struct wire_sampled look;

/* A stuck sender with 700 bytes behind a closed window. */
static int
setup(void **state)
{
	(void)state;
	memset(&proof, 0, sizeof(proof));
	look = (struct wire_sampled){ .ghost = 1,
		.cookie = 2,
		.progress = { .bytes_acked = 1000,
			.window_end = 1000,
			.send_queue = 700,
			.unacked = 1,
			.timer = 4,
			.probes = 3 },
		.found = WIRE_FOUND_ORPHAN,
		.state = TCP_STATE_FIN_WAIT1 };
	return 0;
}

static enum proof_step
take_at(uint64_t ns, uint64_t grace_ns)
{
	look.sampled_mono_ns = ns;
	return proof_take(&proof, &look, grace_ns);
}

static void
step_expect(enum proof_step want, uint64_t ns)
{
	assert_int_equal(take_at(ns, GRACE), want);
}

/* The look at `ns` is where counting begins. */
static void
baseline_expect(uint64_t ns)
{
	assert_true(proof.first.at.ns == ns);
	assert_true(proof.second.at.ns == 0);
	assert_int_equal(proof.first.state, look.state);
	assert_memory_equal(&proof.first.progress, &look.progress, sizeof(look.progress));
	assert_true(proof_next(&proof, GRACE).ns == ns + GRACE);
}

static void
test_first_look(void **state)
{
	(void)state;
	step_expect(PROOF_BEGUN, START);
	baseline_expect(START);
}

static void
test_stuck(void **state)
{
	struct wire_progress first = look.progress;

	(void)state;
	step_expect(PROOF_BEGUN, START);
	look.progress.probes = 9; /* evidence, and no progress */
	step_expect(PROOF_STUCK, START + GRACE);
	assert_memory_equal(&proof.first.progress, &first, sizeof(first));
	assert_memory_equal(&proof.second.progress, &look.progress, sizeof(first));
	assert_true(proof.first.at.ns == START && proof.second.at.ns == START + GRACE);
}

static void
test_each_state(void **state)
{
	static const struct {
		uint8_t state;
		enum proof_step want;
	} cases[] = {
		{ TCP_STATE_FIN_WAIT1, PROOF_STUCK },
		{ TCP_STATE_CLOSING, PROOF_STUCK },
		{ TCP_STATE_LAST_ACK, PROOF_STUCK },
		{ TCP_STATE_FIN_WAIT2, PROOF_NOTHING },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		setup(state);
		look.state = cases[i].state;
		step_expect(PROOF_BEGUN, START);
		step_expect(PROOF_EARLY, START + 1);
		step_expect(cases[i].want, START + GRACE);
	}
}

/* Looks before the grace is over prove nothing, however many, and do not begin it anew. */
static void
test_early(void **state)
{
	(void)state;
	step_expect(PROOF_BEGUN, START);
	for (uint64_t i = 0; i < 30; i++)
		step_expect(PROOF_EARLY, START + i * NS_PER_S);
	step_expect(PROOF_EARLY, START + GRACE - 1);
	assert_true(proof.second.at.ns == 0);
	assert_true(proof_next(&proof, GRACE).ns == START + GRACE);
	step_expect(PROOF_STUCK, START + GRACE);
}

static void
test_bytes_acked(void **state)
{
	(void)state;
	step_expect(PROOF_BEGUN, START);
	look.progress.bytes_acked++;
	step_expect(PROOF_BEGUN, START + GRACE);
	baseline_expect(START + GRACE);
	step_expect(PROOF_EARLY, START + 2 * GRACE - 1);
	step_expect(PROOF_STUCK, START + 2 * GRACE);
}

static void
test_window(void **state)
{
	(void)state;
	step_expect(PROOF_BEGUN, START);
	look.progress.window_end++;
	step_expect(PROOF_BEGUN, START + 1);
	baseline_expect(START + 1);
	step_expect(PROOF_STUCK, START + 1 + GRACE);
}

/* A peer that takes back what it allowed has taken nothing (RFC 9293, 3.8.6); nor when it allows
 * that much again. */
static void
test_window_shrinks(void **state)
{
	(void)state;
	look.progress.window_end = 5000;
	step_expect(PROOF_BEGUN, START);
	look.progress.window_end = 1000;
	step_expect(PROOF_EARLY, START + GRACE / 2);
	look.progress.window_end = 5000;
	step_expect(PROOF_STUCK, START + GRACE);
	assert_true(proof.first.at.ns == START);
}

/* Bytes taken while the window shrinks by more: progress. */
static void
test_taken_while_the_window_shrinks(void **state)
{
	(void)state;
	look.progress.window_end = 5000;
	step_expect(PROOF_BEGUN, START);
	look.progress.window_end = 1001;
	look.progress.bytes_acked = 1001;
	step_expect(PROOF_BEGUN, START + GRACE);
}

static void
test_another_state(void **state)
{
	static const uint8_t states[] = { TCP_STATE_FIN_WAIT1, TCP_STATE_FIN_WAIT2,
		TCP_STATE_CLOSING, TCP_STATE_LAST_ACK };

	for (size_t i = 0; i < COUNT_OF(states); i++) {
		for (size_t j = 0; j < COUNT_OF(states); j++) {
			setup(state);
			look.state = states[i];
			step_expect(PROOF_BEGUN, START);
			look.state = states[j];
			if (i == j)
				continue;
			step_expect(PROOF_BEGUN, START + GRACE);
			baseline_expect(START + GRACE);
		}
	}
}

/* The rest of a look is evidence: a queue may grow shorter without an acknowledgement of data (its
 * FIN), timers run. */
static void
test_what_is_no_progress(void **state)
{
	const struct wire_progress before = look.progress;

	(void)state;
	step_expect(PROOF_BEGUN, START);
	look.progress = (struct wire_progress){ .bytes_acked = before.bytes_acked,
		.window_end = before.window_end,
		.send_queue = 1,
		.unacked = 9,
		.notsent = 9,
		.last_ack_ms = 1,
		.timer_ms = 77,
		.timer = 1,
		.retransmits = 15,
		.probes = 0,
		.backoff = 9 };
	step_expect(PROOF_STUCK, START + GRACE);
}

/* Less than 100 ms apart two looks prove nothing, whatever the rule says. */
static void
test_short_graces(void **state)
{
	const uint64_t graces[] = { 0, 1, 50 * NS_PER_MS, 100 * NS_PER_MS - 1, 100 * NS_PER_MS };

	for (size_t i = 0; i < COUNT_OF(graces); i++) {
		setup(state);
		assert_int_equal(take_at(START, graces[i]), PROOF_BEGUN);
		assert_true(proof_next(&proof, graces[i]).ns == START + 100 * NS_PER_MS);
		assert_int_equal(take_at(START, graces[i]), PROOF_EARLY);
		assert_int_equal(take_at(START + 100 * NS_PER_MS - 1, graces[i]), PROOF_EARLY);
		assert_int_equal(take_at(START + 100 * NS_PER_MS, graces[i]), PROOF_STUCK);
	}
	setup(state);
	take_at(START, 100 * NS_PER_MS + 1);
	assert_int_equal(take_at(START + 100 * NS_PER_MS, 100 * NS_PER_MS + 1), PROOF_EARLY);
}

/* Another grace, by a new policy in the middle: the new one counts. */
static void
test_another_grace(void **state)
{
	(void)state;
	step_expect(PROOF_BEGUN, START);
	assert_int_equal(take_at(START + NS_PER_S, 2 * NS_PER_S), PROOF_EARLY);
	assert_int_equal(take_at(START + 2 * NS_PER_S, 2 * NS_PER_S), PROOF_STUCK);
	assert_int_equal(take_at(START + 2 * NS_PER_S, 2 * GRACE), PROOF_EARLY);
}

/* Proved, but not acted on: it stays proved, or begins again. */
static void
test_after_the_proof(void **state)
{
	(void)state;
	step_expect(PROOF_BEGUN, START);
	step_expect(PROOF_STUCK, START + GRACE);
	step_expect(PROOF_STUCK, START + GRACE + 1);
	assert_true(proof.second.at.ns == START + GRACE + 1);
	look.progress.bytes_acked++;
	step_expect(PROOF_BEGUN, START + GRACE + 2);
	baseline_expect(START + GRACE + 2);
}

/* ---- hostile numbers ---- */

/* Counters of 64 bits do not come round: smaller is less, and never progress. */
static void
test_counters_that_go_back(void **state)
{
	(void)state;
	look.progress.bytes_acked = look.progress.window_end = UINT64_MAX;
	step_expect(PROOF_BEGUN, START);
	look.progress.bytes_acked = look.progress.window_end = 0;
	step_expect(PROOF_STUCK, START + GRACE);
	setup(state);
	look.progress.bytes_acked = look.progress.window_end = 0;
	step_expect(PROOF_BEGUN, START);
	look.progress.window_end = UINT64_MAX;
	step_expect(PROOF_BEGUN, START + GRACE);
}

/* A look from before the first one proves nothing. */
static void
test_time_goes_back(void **state)
{
	(void)state;
	step_expect(PROOF_BEGUN, START);
	step_expect(PROOF_EARLY, START - 1);
	step_expect(PROOF_EARLY, 1);
	step_expect(PROOF_EARLY, 0);
	assert_true(proof.first.at.ns == START);
}

/* Time 0 is "not taken": such looks never prove anything. */
static void
test_looks_at_no_time(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		step_expect(PROOF_BEGUN, 0);
	step_expect(PROOF_BEGUN, START);
	step_expect(PROOF_STUCK, START + GRACE);
}

/* The longest that a configuration can give. */
static void
test_longest_grace(void **state)
{
	const uint64_t grace = 366ull * 86400 * NS_PER_S;

	(void)state;
	assert_int_equal(take_at(START, grace), PROOF_BEGUN);
	assert_int_equal(take_at(START + grace - 1, grace), PROOF_EARLY);
	assert_true(proof_next(&proof, grace).ns == START + grace);
	assert_int_equal(take_at(START + grace, grace), PROOF_STUCK);
}

/* ---- fuzz ---- */

static void
random_move(void)
{
	static const uint8_t states[] = { TCP_STATE_FIN_WAIT1, TCP_STATE_FIN_WAIT2,
		TCP_STATE_CLOSING, TCP_STATE_LAST_ACK };

	switch (random_below(12)) {
	case 0:
		look.progress.bytes_acked += random_below(3);
		break;
	case 1:
		look.progress.window_end += random_below(5) - 2;
		break;
	case 2:
		look.state = states[random_below(COUNT_OF(states))];
		break;
	case 3:
		look.progress.send_queue = (uint32_t)random_next();
		break;
	default:
		break;
	}
}

/* Whatever was seen: what is proved did not move over the grace, between the two looks kept. */
static void
test_fuzz(void **state)
{
	uint64_t at = START, since = 0, proofs = 0;
	struct wire_sampled base = look;

	(void)state;
	random_start();
	for (unsigned n = 0; n < 200000; n++) {
		uint64_t grace = random_below(400) * NS_PER_MS;
		uint64_t least = grace < 100 * NS_PER_MS ? 100 * NS_PER_MS : grace;
		enum proof_step step, want;

		at += random_below(200) * NS_PER_MS;
		random_move();
		if (since == 0 || look.state != base.state ||
			look.progress.bytes_acked > base.progress.bytes_acked ||
			look.progress.window_end > base.progress.window_end) {
			since = at;
			base = look;
			want = PROOF_BEGUN;
		} else if (at - since < least) {
			want = PROOF_EARLY;
		} else {
			want = look.state == TCP_STATE_FIN_WAIT2 ? PROOF_NOTHING : PROOF_STUCK;
		}
		step = take_at(at, grace);
		assert_int_equal(step, want);
		assert_true(proof.first.at.ns == since);
		assert_true(step != PROOF_STUCK || proof.second.at.ns == at);
		proofs += step == PROOF_STUCK;
	}
	assert_true(proofs > 1000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_first_look, setup),
		cmocka_unit_test_setup(test_stuck, setup),
		cmocka_unit_test_setup(test_each_state, setup),
		cmocka_unit_test_setup(test_early, setup),
		cmocka_unit_test_setup(test_bytes_acked, setup),
		cmocka_unit_test_setup(test_window, setup),
		cmocka_unit_test_setup(test_window_shrinks, setup),
		cmocka_unit_test_setup(test_taken_while_the_window_shrinks, setup),
		cmocka_unit_test_setup(test_another_state, setup),
		cmocka_unit_test_setup(test_what_is_no_progress, setup),
		cmocka_unit_test_setup(test_short_graces, setup),
		cmocka_unit_test_setup(test_another_grace, setup),
		cmocka_unit_test_setup(test_after_the_proof, setup),
		cmocka_unit_test_setup(test_counters_that_go_back, setup),
		cmocka_unit_test_setup(test_time_goes_back, setup),
		cmocka_unit_test_setup(test_looks_at_no_time, setup),
		cmocka_unit_test_setup(test_longest_grace, setup),
		cmocka_unit_test_setup(test_fuzz, setup),
	};

	return cmocka_run_group_tests_name("proof", tests, NULL, NULL);
}
