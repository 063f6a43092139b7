/* SPDX-License-Identifier: Apache-2.0 */
/* links: reaper/queue.c */
/* Links reaper/queue.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reaper/queue.h"

static struct queue queue;

static struct ticket *
put(uint64_t ghost, uint64_t due)
{
	struct ticket *t = queue_new(&queue);

	assert_non_null(t);
	t->request.ghost = ghost;
	t->due.ns = due;
	queue_put(&queue, t);
	return t;
}

static size_t
take(uint64_t now, struct ticket **tickets, size_t max)
{
	return queue_take(&queue, (mono_ns){ now }, tickets, max);
}

static int
setup(void **state)
{
	(void)state;
	queue_init(&queue);
	return 0;
}

static void
test_empty(void **state)
{
	struct ticket *t;
	mono_ns due;

	(void)state;
	assert_false(queue_next(&queue, &due));
	assert_int_equal(take(UINT64_MAX, &t, 1), 0);
	assert_int_equal(queue_room(&queue), QUEUE_MAX);
}

static void
test_order(void **state)
{
	struct ticket *t[8];
	mono_ns due;

	(void)state;
	put(1, 300);
	put(2, 100);
	put(3, 200);
	put(4, 100);
	assert_true(queue_next(&queue, &due) && due.ns == 100);
	assert_int_equal(take(99, t, 8), 0);
	assert_int_equal(take(200, t, 8), 3);
	assert_int_equal(t[0]->request.ghost, 2);
	assert_int_equal(t[1]->request.ghost, 4); /* the same time: first come, first served */
	assert_int_equal(t[2]->request.ghost, 3);
	assert_int_equal(take(300, t, 8), 1);
	assert_int_equal(t[0]->request.ghost, 1);
}

static void
test_first_come(void **state)
{
	struct ticket *t[1];

	(void)state;
	for (uint64_t i = 0; i < QUEUE_MAX; i++)
		put(i, 5);
	for (uint64_t i = 0; i < QUEUE_MAX; i++) {
		assert_int_equal(take(5, t, 1), 1);
		assert_int_equal(t[0]->request.ghost, i);
	}
}

static void
test_full(void **state)
{
	struct ticket *t[1];

	(void)state;
	for (uint64_t i = 0; i < QUEUE_MAX; i++)
		put(i, i);
	assert_int_equal(queue_room(&queue), 0);
	assert_null(queue_new(&queue));
	assert_int_equal(take(QUEUE_MAX, t, 1), 1);
	assert_null(queue_new(&queue)); /* taken is not given back */
	queue_free(&queue, t[0]);
	assert_int_equal(queue_room(&queue), 1);
	assert_int_equal(queue_new(&queue)->request.ghost, 0); /* all zero */
}

/* Random puts and takes: always in order of time, nothing lost, nothing twice. */
static void
test_random(void **state)
{
	uint32_t x = 88172645u;
	uint64_t sum_in = 0, sum_out = 0, now = 0;
	struct ticket *t[64];
	size_t n;

	(void)state;
	for (uint64_t i = 1; i <= 100000; i++) {
		x = x * 1664525u + 1013904223u;
		if (queue_room(&queue) > 0) {
			put(i, now + x % 1000);
			sum_in += i;
		}
		now += x % 3;
		n = take(now, t, x % 64);
		for (size_t k = 0; k < n; k++) {
			assert_true(t[k]->due.ns <= now &&
				    (k == 0 || t[k - 1]->due.ns <= t[k]->due.ns));
			sum_out += t[k]->request.ghost;
			queue_free(&queue, t[k]);
		}
	}
	while ((n = take(UINT64_MAX, t, 64)) > 0) {
		for (size_t k = 0; k < n; k++) {
			sum_out += t[k]->request.ghost;
			queue_free(&queue, t[k]);
		}
	}
	assert_true(sum_in == sum_out);
	assert_int_equal(queue_room(&queue), QUEUE_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_empty, setup),
		cmocka_unit_test_setup(test_order, setup),
		cmocka_unit_test_setup(test_first_come, setup),
		cmocka_unit_test_setup(test_full, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
