/* SPDX-License-Identifier: Apache-2.0 */
/* links: reaper/work.c reaper/queue.c proto/limit.c proto/wire.c proto/log.c */
/* Links reaper/work.c and what it works with. The kind of resource is played by `fake` below. */
#include "tests/unit/unit.h"

#include "proto/clock.h"
#include "reaper/work.h"

#define CALLS 256

/* What the kind was asked, in order: 'L' or 'A' with the number of tickets. */
static struct {
	char what[CALLS];
	size_t count[CALLS];
	unsigned calls;
	enum verdict look; /* what it answers */
	enum verdict validate;
} asked;

static void
note(char what, size_t count)
{
	assert_true(asked.calls < CALLS && count >= 1 && count <= WIRE_BATCH_MAX);
	asked.what[asked.calls] = what;
	asked.count[asked.calls++] = count;
}

static enum verdict
fake_validate(const struct kind_scope *scope, const struct wire_destroy *request)
{
	(void)scope;
	(void)request;
	return asked.validate;
}

static void
fake_look(struct netlink *nl, const struct kind_scope *scope, struct ticket *const *tickets,
	size_t count)
{
	(void)nl;
	(void)scope;
	note('L', count);
	for (size_t i = 0; i < count; i++) {
		tickets[i]->looked = clock_now();
		tickets[i]->result.tries++;
		tickets[i]->verdict = asked.look;
	}
}

static void
fake_release(struct netlink *nl, struct ticket *const *tickets, size_t count)
{
	(void)nl;
	note('A', count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(tickets[i]->verdict, VERDICT_ACT);
		tickets[i]->verdict = VERDICT_RELEASED;
	}
}

static const struct kind fake = {
	.name = "fake",
	.validate = fake_validate,
	.still_ghost = fake_look,
	.release = fake_release,
};

static struct work work;

static void
work_start(uint64_t ceiling)
{
	memset(&asked, 0, sizeof(asked));
	asked.look = VERDICT_ACT;
	asked.validate = VERDICT_LOOK;
	work = (struct work){ .kind = &fake };
	limit_init(&work.limit, ceiling, clock_now());
	queue_init(&work.queue);
}

static void
add(unsigned count, bool proved)
{
	static uint64_t ghost;

	for (unsigned i = 0; i < count; i++) {
		struct wire_destroy d = { .ghost = ++ghost,
			.flags = proved ? WIRE_DESTROY_PROVED : 0 };

		work_add(&work, &d, (mono_ns){ 1 });
	}
}

static size_t
results_of(struct wire_result_record *records)
{
	size_t results = 0;

	work_batch(&work, clock_now(), records, &results);
	return results;
}

static void
test_batch(void **state)
{
	struct wire_result_record records[WIRE_BATCH_MAX];

	(void)state;
	work_start(1000);
	add(WIRE_BATCH_MAX, false);
	assert_int_equal(results_of(records), WIRE_BATCH_MAX);
	assert_int_equal(asked.calls, 2);
	assert_memory_equal(asked.what, "LA", 2);
	assert_true(asked.count[0] == WIRE_BATCH_MAX && asked.count[1] == WIRE_BATCH_MAX);
}

/* Nothing comes between a proved ticket's look and its act. */
static void
test_proved_one_by_one(void **state)
{
	struct wire_result_record records[WIRE_BATCH_MAX];

	(void)state;
	work_start(1000);
	add(3, true);
	assert_int_equal(results_of(records), 3);
	assert_int_equal(asked.calls, 6);
	assert_memory_equal(asked.what, "LALALA", 6);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(asked.count[i], 1);
}

/* Mixed: the unproved in one batch, and one answer to all, in their order. */
static void
test_mixed(void **state)
{
	struct wire_result_record records[WIRE_BATCH_MAX];

	(void)state;
	work_start(1000);
	add(1, true);
	add(10, false);
	add(1, true);
	add(5, false);
	assert_int_equal(results_of(records), 17);
	assert_int_equal(asked.calls, 6);
	assert_memory_equal(asked.what, "LALALA", 6);
	assert_true(asked.count[0] == 15 && asked.count[1] == 15);
	for (unsigned i = 2; i < 6; i++)
		assert_int_equal(asked.count[i], 1);
	for (unsigned i = 0; i < 17; i++) {
		assert_int_equal(records[i].result, WIRE_RESULT_DESTROYED);
		assert_int_equal(records[i].ghost, records[0].ghost + i);
	}
}

static void
test_proved_takes_tokens(void **state)
{
	struct wire_result_record records[WIRE_BATCH_MAX];
	unsigned refused = 0;

	(void)state;
	work_start(1);
	add(5, true);
	assert_int_equal(results_of(records), 5);
	for (unsigned i = 0; i < 5; i++)
		refused += records[i].result == WIRE_RESULT_REFUSED_RATE;
	assert_int_equal(refused, 4);
	assert_memory_equal(asked.what, "LALLLL", 6);
}

/* What was proved and moved costs no token. */
static void
test_moved(void **state)
{
	struct wire_result_record records[WIRE_BATCH_MAX];

	(void)state;
	work_start(1);
	asked.look = VERDICT_MOVED;
	add(5, true);
	assert_int_equal(results_of(records), 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(records[i].result, WIRE_RESULT_REFUSED_PROGRESS);
	assert_int_equal(asked.calls, 5);
	assert_true(limit_take(&work.limit, clock_now()));
}

static void
test_answers(void **state)
{
	const struct {
		enum verdict verdict;
		enum wire_result result;
		int error;
	} rows[] = {
		{ VERDICT_LIVE, WIRE_RESULT_REFUSED_LIVE, 0 },
		{ VERDICT_GONE, WIRE_RESULT_GONE, 0 },
		{ VERDICT_MOVED, WIRE_RESULT_REFUSED_PROGRESS, 0 },
		{ VERDICT_STALE, WIRE_RESULT_FAILED, ESTALE },
		{ VERDICT_BLIND, WIRE_RESULT_FAILED, ENODATA },
		{ VERDICT_ACT, WIRE_RESULT_DESTROYED, 0 },
	};
	struct wire_result_record records[WIRE_BATCH_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		work_start(1000);
		asked.look = rows[i].verdict;
		add(1, i % 2 == 0);
		assert_int_equal(results_of(records), 1);
		assert_int_equal(records[0].result, rows[i].result);
		assert_int_equal(records[0].error, rows[i].error);
	}
}

static void
test_invalid(void **state)
{
	struct wire_result_record records[WIRE_BATCH_MAX];

	(void)state;
	work_start(1000);
	asked.validate = VERDICT_OTHER_NETNS;
	add(2, true);
	add(2, false);
	assert_int_equal(results_of(records), 4);
	assert_int_equal(asked.calls, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(records[i].result, WIRE_RESULT_OTHER_NETNS);
}

static void
retry_after(enum verdict verdict)
{
	struct wire_result_record records[WIRE_BATCH_MAX];
	mono_ns due, before;

	work_start(1000);
	asked.look = verdict;
	add(1, true);
	add(1, false);
	before = clock_now();
	assert_int_equal(results_of(records), 0);
	assert_true(queue_next(&work.queue, &due) && due.ns > before.ns);
	asked.look = VERDICT_ACT;
	while (asked.what[asked.calls > 0 ? asked.calls - 1 : 0] == 'L')
		results_of(records);
	assert_true(records[0].tries >= 2);
}

/* Still held, or the kernel had no room: put back, and due later, proved or not. */
static void
test_retry(void **state)
{
	(void)state;
	retry_after(VERDICT_RETRY);
	retry_after(VERDICT_BUSY);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_proved_one_by_one),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_proved_takes_tokens),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_retry),
	};

	return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
