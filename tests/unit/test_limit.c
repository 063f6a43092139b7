/* SPDX-License-Identifier: Apache-2.0 */
/* links: proto/limit.c */
/* Links proto/limit.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/limit.h"

#define START 5000000000ull

static mono_ns
at(uint64_t ns)
{
	return (mono_ns){ START + ns };
}

/* Takes until refused, at most `most`. */
static unsigned
take_all(struct limit *l, mono_ns now, unsigned most)
{
	unsigned n = 0;

	while (n < most && limit_take(l, now))
		n++;
	return n;
}

static void
test_starts_full(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 100, at(0));
	assert_int_equal(take_all(&l, at(0), 1000), 100);
	assert_false(limit_take(&l, at(0)));
}

static void
test_refills_evenly(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 100, at(0));
	take_all(&l, at(0), 1000);
	assert_false(limit_take(&l, at(NS_PER_S / 100 - 1)));
	assert_true(limit_take(&l, at(NS_PER_S / 100)));
	assert_false(limit_take(&l, at(NS_PER_S / 100)));
	assert_int_equal(take_all(&l, at(NS_PER_S / 100 + NS_PER_S / 2), 1000), 50);
}

static void
test_holds_one_second(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 100, at(0));
	assert_int_equal(take_all(&l, at(3600 * NS_PER_S), 1000), 100);
	assert_int_equal(take_all(&l, (mono_ns){ UINT64_MAX }, 1000), 100);
}

/* Asked a thousand times a second, a bucket must not lose the fractions. */
static void
test_fractions_add_up(void **state)
{
	struct limit l;
	unsigned n = 0;

	(void)state;
	limit_init(&l, 7, at(0));
	take_all(&l, at(0), 1000);
	for (uint64_t ms = 1; ms <= 10000; ms++)
		n += limit_take(&l, at(ms * NS_PER_MS));
	assert_int_equal(n, 70);
}

static void
test_broker_only_lowers(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 100, at(0));
	limit_set(&l, UINT64_MAX, at(0));
	assert_int_equal(l.rate, 100);
	limit_set(&l, 10, at(0));
	assert_int_equal(take_all(&l, at(0), 1000), 10);
	limit_set(&l, 100, at(0));
	assert_int_equal(l.rate, 100);
	assert_int_equal(take_all(&l, at(0), 1000), 0);
	assert_int_equal(take_all(&l, at(NS_PER_S), 1000), 100);
}

static void
test_repeating_gives_nothing(void **state)
{
	struct limit l;
	unsigned n = 0;

	(void)state;
	limit_init(&l, 5, at(0));
	for (unsigned i = 0; i < 1000; i++) {
		limit_set(&l, i % 2 == 0 ? 0 : UINT64_MAX, at(i));
		n += take_all(&l, at(i), 1000);
	}
	assert_int_equal(n, 0); /* the first 0 took what was there */
}

static void
test_zero_stops(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 100, at(0));
	limit_set(&l, 0, at(0));
	assert_false(limit_take(&l, at(0)));
	assert_false(limit_take(&l, at(3600 * NS_PER_S)));
	limit_init(&l, 0, at(0));
	limit_set(&l, UINT64_MAX, at(0));
	assert_false(limit_take(&l, at(3600 * NS_PER_S)));
}

/* Asking how long changes nothing, and the answer is exact. */
static void
test_wait(void **state)
{
	const uint64_t rates[] = { 1, 3, 5, 7, 1000, LIMIT_CEILING_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct limit l;
		uint64_t wait;

		limit_init(&l, rates[i], at(0));
		assert_true(limit_wait(&l, at(0)) == 0);
		take_all(&l, at(0), LIMIT_CEILING_MAX);
		wait = limit_wait(&l, at(0));
		assert_true(wait > 0 && wait == limit_wait(&l, at(0)));
		assert_true(limit_wait(&l, at(wait - 1)) == 1);
		assert_false(limit_take(&l, at(wait - 1)));
		assert_true(limit_wait(&l, at(wait)) == 0);
		assert_true(limit_take(&l, at(wait)));
	}
	struct limit none;

	limit_init(&none, 0, at(0));
	assert_true(limit_wait(&none, at(3600 * NS_PER_S)) == UINT64_MAX);
}

static void
test_absurd_ceiling(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, UINT64_MAX, at(0));
	assert_int_equal(l.ceiling, LIMIT_CEILING_MAX);
	take_all(&l, at(0), LIMIT_CEILING_MAX);
	assert_false(limit_take(&l, at(0)));
	assert_int_equal(take_all(&l, at(NS_PER_MS), LIMIT_CEILING_MAX), LIMIT_CEILING_MAX / 1000);
}

static void
test_time_going_back(void **state)
{
	struct limit l;

	(void)state;
	limit_init(&l, 10, at(NS_PER_S));
	assert_int_equal(take_all(&l, at(0), 1000), 10);
	assert_int_equal(take_all(&l, at(NS_PER_S), 1000), 0);
	assert_int_equal(take_all(&l, at(2 * NS_PER_S), 1000), 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts_full),
		cmocka_unit_test(test_refills_evenly),
		cmocka_unit_test(test_holds_one_second),
		cmocka_unit_test(test_fractions_add_up),
		cmocka_unit_test(test_broker_only_lowers),
		cmocka_unit_test(test_repeating_gives_nothing),
		cmocka_unit_test(test_zero_stops),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_absurd_ceiling),
		cmocka_unit_test(test_time_going_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
