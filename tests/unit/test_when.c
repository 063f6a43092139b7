/* SPDX-License-Identifier: Apache-2.0 */
/* links: ctl/when.c */
#include "tests/unit/unit.h"

#include <time.h>

#include "ctl/when.h"

/* 2026-11-22 12:34:56 in the time zone of the tests: an hour east of Greenwich. */
#define NOW    1795347296000000000ll
#define SECOND 1000000000ll
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)
#define TODAY  (NOW - (12 * 3600 + 34 * 60 + 56) * SECOND)

static int
group_setup(void **state)
{
	(void)state;
	setenv("TZ", "XXX-1", 1);
	tzset();
	return 0;
}

static void
expect(const char *text, when_ns wanted)
{
	when_ns when = 0;

	if (!when_parse(text, NOW, &when))
		fail_msg("'%s' was not understood", text);
	if (when != wanted)
		fail_msg("'%s' is %lld, expected %lld", text, (long long)when, (long long)wanted);
}

static void
test_dates(void **state)
{
	(void)state;
	expect("2026-11-22 12:34:56", NOW);
	expect("2026-11-22T12:34:56", NOW);
	expect("2026-11-22T11:34:56Z", NOW);
	expect("2026-11-22T11:34:56.25Z", NOW + SECOND / 4);
	expect("2026-11-22 12:34", NOW - 56 * SECOND);
	expect("2026-11-22", TODAY);
	expect("08:15", TODAY + 8 * HOUR + 15 * 60 * SECOND);
	expect("08:15:01", TODAY + 8 * HOUR + (15 * 60 + 1) * SECOND);
}

static void
test_words(void **state)
{
	(void)state;
	expect("now", NOW);
	expect("today", TODAY);
	expect("yesterday", TODAY - DAY);
	expect("tomorrow", TODAY + DAY);
	expect("@1795347296", NOW);
	expect("@0.5", SECOND / 2);
}

static void
test_relative(void **state)
{
	(void)state;
	expect("-2h", NOW - 2 * HOUR);
	expect("+5m", NOW + 300 * SECOND);
	expect("-1h30min", NOW - 5400 * SECOND);
	expect("-1h 30 min", NOW - 5400 * SECOND);
	expect("3 days ago", NOW - 3 * DAY);
	expect("1.5h ago", NOW - 3 * HOUR / 2);
	expect("1w 1s ago", NOW - 7 * DAY - SECOND);
	expect("-250ms", NOW - SECOND / 4);
}

static void
test_nonsense(void **state)
{
	static const char *const texts[] = { "", " ", "soon", "2026-13-01", "2026-02-30",
		"2026-11-22 25:00", "2026-11-22x", "12", "-", "-2", "-2q", "2h", "-2h ago", "@",
		"@x", "@1x", "2 ago", "ago", "-99999999999999h", "2026-11-22T11:34:56.Z" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		when_ns when;

		if (when_parse(texts[i], NOW, &when))
			fail_msg("'%s' was understood as %lld", texts[i], (long long)when);
	}
}

static void
test_records(void **state)
{
	char text[48];
	when_ns when;

	(void)state;
	assert_true(when_parse_record("2026-11-22T11:34:56.123456789Z", &when));
	assert_int_equal(when, NOW + 123456789);
	when_print(when, text, sizeof(text));
	assert_string_equal(text, "Nov 22 12:34:56.123");
	assert_false(when_parse_record("2026-11-22T11:34:56.123456789", &when));
	assert_false(when_parse_record("2026-11-22", &when));
	assert_false(when_parse_record("yesterday", &when));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_relative),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_records),
	};

	return cmocka_run_group_tests_name("when", tests, group_setup, NULL);
}
