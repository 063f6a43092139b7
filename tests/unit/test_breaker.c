/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/breaker.c proto/log.c broker/keyed.c */
#include "tests/unit/unit.h"

#include "broker/breaker.h"
#include "tests/unit/breaker_free.h"

#define START (1000 * NS_PER_S)
#define HOLD  (300 * NS_PER_S)

static struct breaker breaker;
static struct rate limit;
static mono_ns now;

/* Ten at once, and one more every second. */
static int
setup(void **state)
{
	(void)state;
	breaker_init(&breaker);
	limit = (struct rate){ 10, 10 * NS_PER_S };
	now.ns = START;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	breaker_free(&breaker);
	return 0;
}

static enum breaker_answer
take(const char *key)
{
	struct breaker_unit *unit;

	return breaker_take(&breaker, key, &limit, HOLD, now, &unit);
}

/* Closes one unit whose hold is over by then, and copies its name. */
static bool
close_one(mono_ns when, char key[BREAKER_KEY_LEN])
{
	struct breaker_unit *unit = breaker_over(&breaker, when);

	if (unit == NULL)
		return false;
	assert_true(unit->open_until.ns != 0 && unit->open_until.ns <= when.ns);
	memcpy(key, unit->key, BREAKER_KEY_LEN);
	breaker_close(&breaker, unit);
	return true;
}

static void
pass_expect(const char *key, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(take(key), BREAKER_PASS);
}

/* So many pass, and the next is too many. */
static void
trip_expect(const char *key, unsigned count)
{
	pass_expect(key, count);
	assert_int_equal(take(key), BREAKER_TRIPPED);
}

/* ---- keys ---- */

static void
test_keys(void **state)
{
	struct wire_owner owner = { .cgroup_id = 4711, .unit = "nginx.service" };
	char key[BREAKER_KEY_LEN];

	(void)state;
	breaker_key(&owner, key);
	assert_string_equal(key, "nginx.service");
	owner.unit[0] = '\0';
	breaker_key(&owner, key);
	assert_string_equal(key, "cgroup:4711");
	owner.cgroup_id = UINT64_MAX;
	breaker_key(&owner, key);
	assert_string_equal(key, "cgroup:18446744073709551615");
	owner.cgroup_id = 0;
	breaker_key(&owner, key);
	assert_string_equal(key, "cgroup:0");
	breaker_key(NULL, key);
	assert_string_equal(key, "unknown");
}

/* The longest names differ in their last byte, and are different units. */
static void
test_long_keys(void **state)
{
	struct wire_owner owner = { 0 };
	char a[BREAKER_KEY_LEN], b[BREAKER_KEY_LEN];

	(void)state;
	memset(owner.unit, 0xff, sizeof(owner.unit) - 1);
	breaker_key(&owner, a);
	assert_int_equal(strlen(a), WIRE_UNIT_LEN - 1);
	owner.unit[WIRE_UNIT_LEN - 2] = 'b';
	breaker_key(&owner, b);
	assert_string_not_equal(a, b);
	trip_expect(a, 10);
	pass_expect(b, 10);
}

/* ---- the bucket ---- */

static void
test_full_at_first(void **state)
{
	(void)state;
	trip_expect("a", 10);
	assert_int_equal(take("a"), BREAKER_OPEN);
	trip_expect("b", 10); /* each unit has its own */
	assert_int_equal(breaker.open, 2);
	assert_int_equal(breaker.count, 2);
}

static void
test_fills_with_time(void **state)
{
	(void)state;
	pass_expect("a", 10);
	for (unsigned i = 0; i < 100; i++) {
		now.ns += NS_PER_S;
		pass_expect("a", 1);
	}
	now.ns += NS_PER_S - 1;
	trip_expect("a", 0);
}

/* Many small steps make what one large one does. */
static void
test_small_steps(void **state)
{
	unsigned passed = 0;

	(void)state;
	limit = (struct rate){ 1000, NS_PER_S };
	pass_expect("a", 900);
	for (unsigned i = 0; i < 100000; i++) { /* 10 s: 10000 more */
		now.ns += 100000;
		if (i % 10 == 9) {
			assert_int_equal(take("a"), BREAKER_PASS);
			passed++;
		}
	}
	assert_int_equal(passed, 10000);
	trip_expect("a", 100);
}

/* However long nobody asks: it is never more than full. */
static void
test_long_idle(void **state)
{
	const uint64_t idle[] = { 10 * NS_PER_S, 3600 * NS_PER_S, 366 * 86400 * NS_PER_S,
		UINT64_MAX / 2 };

	for (size_t i = 0; i < COUNT_OF(idle); i++) {
		teardown(state);
		setup(state);
		pass_expect("a", 10);
		now.ns += idle[i];
		trip_expect("a", 10);
	}
}

static void
test_extreme_limits(void **state)
{
	(void)state;
	limit = (struct rate){ 1, 3600 * NS_PER_S };
	pass_expect("a", 1);
	now.ns += 3600 * NS_PER_S;
	pass_expect("a", 1);
	now.ns += 3600 * NS_PER_S - NS_PER_S;
	trip_expect("a", 0);
	limit = (struct rate){ 1000000000, NS_PER_S };
	pass_expect("b", 200000);
	now.ns += 1;
	pass_expect("b", 200000);
}

/* A new policy's limit counts from now on: a larger one fills faster, a smaller one cuts. */
static void
test_another_limit(void **state)
{
	(void)state;
	pass_expect("a", 5);
	limit = (struct rate){ 2, 10 * NS_PER_S };
	trip_expect("a", 2);
	limit = (struct rate){ 10, 10 * NS_PER_S };
	pass_expect("b", 10);
	limit = (struct rate){ 100, 10 * NS_PER_S };
	now.ns += NS_PER_S;
	trip_expect("b", 10);
}

/* ---- open, hold, closed ---- */

static void
test_hold(void **state)
{
	char closed[BREAKER_KEY_LEN];
	mono_ns when;

	(void)state;
	assert_false(breaker_next(&breaker, &when));
	pass_expect("a", 10);
	assert_false(breaker_next(&breaker, &when));
	trip_expect("a", 0);
	assert_true(breaker_next(&breaker, &when));
	assert_true(when.ns == START + HOLD);
	for (unsigned i = 0; i < 50; i++) {
		now.ns += 5 * NS_PER_S; /* tokens or not */
		assert_int_equal(take("a"), BREAKER_OPEN);
		assert_false(close_one(now, closed));
	}
	assert_true(breaker_next(&breaker, &when));
	assert_true(when.ns == START + HOLD); /* asking does not make it longer */
	now.ns = START + HOLD - 1;
	assert_false(close_one(now, closed));
	now.ns++;
	assert_true(close_one(now, closed));
	assert_string_equal(closed, "a");
	assert_false(close_one(now, closed));
	assert_false(breaker_next(&breaker, &when));
	assert_int_equal(breaker.open, 0);
	trip_expect("a", 10); /* from the start */
}

static void
test_hold_of_nothing(void **state)
{
	char closed[BREAKER_KEY_LEN];

	(void)state;
	pass_expect("a", 10);
	assert_int_equal(
		breaker_take(&breaker, "a", &limit, 0, now, &(struct breaker_unit *){ NULL }),
		BREAKER_TRIPPED);
	assert_int_equal(take("a"), BREAKER_OPEN);
	now.ns++;
	assert_true(close_one(now, closed));
}

/* Each at its own time. */
static void
test_many_holds(void **state)
{
	char closed[BREAKER_KEY_LEN];
	mono_ns when;
	char key[8];

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		snprintf(key, sizeof(key), "u%u", i);
		trip_expect(key, 10);
		now.ns += NS_PER_S;
	}
	pass_expect("other", 1);
	take("u0"); /* the order of use is not the order of holds */
	for (unsigned i = 0; i < 5; i++) {
		assert_true(breaker_next(&breaker, &when));
		assert_true(when.ns == START + i * NS_PER_S + HOLD);
		assert_true(close_one(when, closed));
		snprintf(key, sizeof(key), "u%u", i);
		assert_string_equal(closed, key);
		assert_false(close_one(when, closed));
	}
	assert_false(breaker_next(&breaker, &when));
	assert_int_equal(breaker.count, 1);
	pass_expect("other", 9);
}

static void
test_all_over_at_once(void **state)
{
	char closed[BREAKER_KEY_LEN];
	unsigned n = 0;
	char key[8];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "u%u", i);
		trip_expect(key, 10);
	}
	now.ns += 10 * HOLD;
	while (close_one(now, closed))
		n++;
	assert_int_equal(n, 100);
	assert_true(breaker.count == 0 && breaker.open == 0);
}

/* ---- bounds ---- */

static enum breaker_answer
take_number(unsigned i)
{
	char key[16];

	snprintf(key, sizeof(key), "u%u", i);
	return take(key);
}

/* The one not heard of for longest goes: and is a new unit when it comes back. */
static void
test_units_are_bounded(void **state)
{
	(void)state;
	limit = (struct rate){ 1, 3600 * NS_PER_S };
	for (unsigned i = 0; i < BREAKER_UNITS_MAX; i++)
		assert_int_equal(take_number(i), BREAKER_PASS);
	assert_int_equal(breaker.count, BREAKER_UNITS_MAX);
	assert_int_equal(take_number(BREAKER_UNITS_MAX), BREAKER_PASS); /* in place of u0 */
	assert_int_equal(breaker.count, BREAKER_UNITS_MAX);
	assert_int_equal(take_number(1), BREAKER_TRIPPED); /* still known */
	assert_int_equal(take_number(0), BREAKER_PASS);	   /* in place of u2: u1 is open */
	assert_int_equal(take_number(3), BREAKER_TRIPPED);
	assert_int_equal(take_number(2), BREAKER_PASS);
	assert_int_equal(breaker.count, BREAKER_UNITS_MAX);
	for (unsigned i = 0; i < 100000; i++)
		take_number(10000 + i);
	assert_int_equal(breaker.count, BREAKER_UNITS_MAX);
	assert_int_equal(breaker.open, 2);
}

static void
test_open_units_stay(void **state)
{
	char closed[BREAKER_KEY_LEN];
	mono_ns when;
	unsigned n = 0;

	(void)state;
	limit = (struct rate){ 1, 3600 * NS_PER_S };
	for (unsigned i = 0; i < BREAKER_UNITS_MAX; i++) {
		take_number(i);
		assert_int_equal(take_number(i), BREAKER_TRIPPED);
	}
	assert_int_equal(breaker.open, BREAKER_UNITS_MAX);
	assert_false(close_one(now, closed));
	assert_int_equal(take_number(0), BREAKER_OPEN);
	assert_true(breaker_next(&breaker, &when));
	while (close_one(when, closed))
		n++;
	assert_int_equal(n, BREAKER_UNITS_MAX);
	assert_int_equal(breaker.count, 0);
}

/* Names without number, each of a unit over its limit: the hold that would end first is cut short,
 * and no more is kept than a turn's worth above the most. */
static void
test_open_units_are_bounded(void **state)
{
	char closed[BREAKER_KEY_LEN];

	(void)state;
	limit = (struct rate){ 1, 3600 * NS_PER_S };
	for (unsigned i = 0; i < 4 * BREAKER_UNITS_MAX; i++) {
		now.ns++;
		take_number(i);
		assert_int_equal(take_number(i), BREAKER_TRIPPED);
		while (close_one(now, closed))
			assert_int_equal(strtoul(closed + 1, NULL, 10), i - BREAKER_UNITS_MAX);
		assert_true(breaker.count <= BREAKER_UNITS_MAX);
		assert_int_equal(breaker.count, breaker.open);
	}
	assert_int_equal(take_number(4 * BREAKER_UNITS_MAX - 1), BREAKER_OPEN);
}

/* ---- fuzz: against a simple model in whole numbers ---- */

#define UNITS 40u

static struct {
	uint64_t tokens; /* in nanoseconds of a second per token */
	uint64_t filled, until;
} model[UNITS];

static enum breaker_answer
model_take(unsigned i)
{
	if (model[i].until != 0) {
		return BREAKER_OPEN;
	}
	model[i].tokens += now.ns - model[i].filled;
	if (model[i].tokens > 16 * NS_PER_S)
		model[i].tokens = 16 * NS_PER_S;
	model[i].filled = now.ns;
	if (model[i].tokens >= NS_PER_S) {
		model[i].tokens -= NS_PER_S;
		return BREAKER_PASS;
	}
	model[i].until = now.ns + HOLD;
	return BREAKER_TRIPPED;
}

static void
model_close(void)
{
	char closed[BREAKER_KEY_LEN];
	unsigned over = 0;

	for (unsigned i = 0; i < UNITS; i++)
		over += model[i].until != 0 && model[i].until <= now.ns;
	for (; over > 0; over--) {
		unsigned i;

		assert_true(close_one(now, closed));
		i = (unsigned)strtoul(closed + 1, NULL, 10);
		assert_true(model[i].until != 0 && model[i].until <= now.ns);
		model[i].until = 0;
		model[i].tokens = 16 * NS_PER_S;
	}
	assert_false(close_one(now, closed));
}

static void
test_fuzz(void **state)
{
	unsigned answers[3] = { 0 };

	(void)state;
	random_start();
	limit = (struct rate){ 16, 16 * NS_PER_S };
	for (unsigned i = 0; i < UNITS; i++) {
		memset(&model[i], 0, sizeof(model[i]));
		model[i].tokens = 16 * NS_PER_S;
		model[i].filled = now.ns;
	}
	for (unsigned n = 0; n < 200000; n++) {
		unsigned i = (unsigned)(random_below(UNITS) * random_below(UNITS) / UNITS);
		enum breaker_answer answer;

		if (random_below(8) == 0) /* 128ths of the span: exact in floating point */
			now.ns += random_below(4) * 125 * NS_PER_MS;
		model_close();
		answer = take_number(i);
		assert_int_equal(answer, model_take(i));
		answers[answer]++;
	}
	assert_true(answers[BREAKER_PASS] > 1000 && answers[BREAKER_TRIPPED] > 10 &&
		    answers[BREAKER_OPEN] > 1000);
}

#define WITH_BREAKER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_BREAKER(test_keys),
		WITH_BREAKER(test_long_keys),
		WITH_BREAKER(test_full_at_first),
		WITH_BREAKER(test_fills_with_time),
		WITH_BREAKER(test_small_steps),
		WITH_BREAKER(test_long_idle),
		WITH_BREAKER(test_extreme_limits),
		WITH_BREAKER(test_another_limit),
		WITH_BREAKER(test_hold),
		WITH_BREAKER(test_hold_of_nothing),
		WITH_BREAKER(test_many_holds),
		WITH_BREAKER(test_all_over_at_once),
		WITH_BREAKER(test_units_are_bounded),
		WITH_BREAKER(test_open_units_stay),
		WITH_BREAKER(test_open_units_are_bounded),
		WITH_BREAKER(test_fuzz),
	};

	return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
