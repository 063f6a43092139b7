/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/outbox.c proto/log.c */
#include "tests/unit/unit.h"

#include "broker/outbox.h"

static struct outbox box;
static struct outlet outlet;
static uint64_t sequence; /* of the last note made */

static int
setup(void **state)
{
	(void)state;
	outbox_open(&box);
	outlet = (struct outlet){ 0 };
	sequence = 0;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	free(box.notes);
	return 0;
}

static void
make(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		*outbox_room(&box) =
			(struct wire_note){ .action = WIRE_ACTION_LOST, .sequence = ++sequence };
		outbox_made(&box);
	}
}

/* Takes notes as a sink does, `max` at a time, until there are none. Returns how many; they follow
 * `first` without a gap. */
static uint64_t
take_all(uint64_t first, size_t max)
{
	const struct wire_note *notes;
	uint64_t taken = 0;
	size_t n;

	while ((n = outlet_next(&box, &outlet, max, &notes)) != 0) {
		assert_true(n <= max);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(notes[i].sequence, first + taken++);
		outlet_taken(&outlet, n);
	}
	return taken;
}

static void
gap_expect(uint64_t count)
{
	const struct wire_note *notes;

	assert_int_equal(outlet_next(&box, &outlet, 32, &notes), 1);
	assert_int_equal(notes->action, WIRE_ACTION_SUPPRESSED);
	assert_int_equal(notes->sequence, 0);
	assert_int_equal(notes->count, count);
}

/* Nothing goes out that the file does not have. */
static void
test_written_first(void **state)
{
	const struct wire_note *notes;

	(void)state;
	make(3);
	assert_int_equal(outlet_next(&box, &outlet, 32, &notes), 0);
	outbox_written(&box);
	make(2);
	assert_int_equal(take_all(1, 32), 3);
	outbox_written(&box);
	assert_int_equal(take_all(4, 32), 2);
	assert_int_equal(outlet.lost, 0);
}

/* What was offered and not taken is offered again. */
static void
test_not_taken(void **state)
{
	const struct wire_note *notes;

	(void)state;
	make(40);
	outbox_written(&box);
	assert_int_equal(outlet_next(&box, &outlet, 32, &notes), 32);
	assert_int_equal(outlet_next(&box, &outlet, 32, &notes), 32);
	assert_int_equal(notes->sequence, 1);
	outlet_taken(&outlet, 1);
	assert_int_equal(take_all(2, 32), 39);
}

/* Notes wrap around the end of their memory; those of one packet lie one behind the other. */
static void
test_round_and_round(void **state)
{
	uint64_t taken = 0;

	(void)state;
	random_start();
	while (taken < 10 * OUTBOX_NOTES) {
		make((unsigned)random_below(OUTBOX_NOTES - 1));
		outbox_written(&box);
		taken += take_all(taken + 1, 1 + random_below(40));
		assert_int_equal(taken, sequence);
	}
	assert_int_equal(outlet.lost, 0);
}

/* Whoever is behind loses the oldest, and is told how many, once, before the next. */
static void
test_behind(void **state)
{
	const unsigned kept = OUTBOX_NOTES - 1;

	(void)state;
	make(kept + 10);
	outbox_written(&box);
	gap_expect(10);
	make(5); /* before it has taken that */
	outbox_written(&box);
	gap_expect(15);
	outlet_taken(&outlet, 1);
	assert_int_equal(outlet.lost, 15);
	assert_int_equal(take_all(16, 32), kept);
	assert_int_equal(outlet.lost, 15);
}

/* What cannot be written has no sink, and goes when there is no room for more. */
static void
test_unwritten_overtaken(void **state)
{
	const struct wire_note *notes;
	const unsigned kept = OUTBOX_NOTES - 1;

	(void)state;
	make(2 * kept);
	gap_expect(kept); /* they are lost, written or not */
	outlet_taken(&outlet, 1);
	assert_int_equal(outlet_next(&box, &outlet, 32, &notes), 0);
	outbox_written(&box);
	assert_int_equal(take_all(kept + 1, 32), kept);
}

/* One that takes nothing is not asked again before there is something new. */
static void
test_refused(void **state)
{
	const struct wire_note *notes;

	(void)state;
	make(7);
	outbox_written(&box);
	outlet_refused(&box, &outlet);
	assert_int_equal(outlet.lost, 7);
	assert_int_equal(outlet_next(&box, &outlet, 32, &notes), 0);
	make(1);
	assert_int_equal(outlet_next(&box, &outlet, 32, &notes), 0);
	outbox_written(&box);
	gap_expect(7);
	outlet_refused(&box, &outlet);
	assert_int_equal(outlet.lost, 8);
	assert_int_equal(outlet_next(&box, &outlet, 32, &notes), 0);
	make(1);
	outbox_written(&box);
	gap_expect(8);
	outlet_taken(&outlet, 1);
	assert_int_equal(take_all(9, 32), 1);
	assert_int_equal(outlet.lost, 8);
}

/* Two sinks know nothing of each other. */
static void
test_two(void **state)
{
	struct outlet slow = { 0 }, quick = { 0 };

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		make(OUTBOX_NOTES / 2);
		outbox_written(&box);
		outlet = quick;
		assert_int_equal(take_all(round * (OUTBOX_NOTES / 2) + 1, 32), OUTBOX_NOTES / 2);
		quick = outlet;
	}
	outlet = slow;
	gap_expect(OUTBOX_NOTES / 2 + 1);
	assert_int_equal(quick.lost, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_written_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_round_and_round, setup, teardown),
		cmocka_unit_test_setup_teardown(test_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unwritten_overtaken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two, setup, teardown),
	};

	return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
