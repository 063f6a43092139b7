/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/quantity.c */
#include "tests/unit/unit.h"

#include "broker/quantity.h"
#include "proto/scalars.h"

#define MIN_NS	(60 * NS_PER_S)
#define HOUR_NS (3600 * NS_PER_S)
#define DAY_NS	(86400 * NS_PER_S)

static void
test_duration(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "0s", 0 },
		{ "0ms", 0 },
		{ "0d", 0 },
		{ "1ms", NS_PER_MS },
		{ "500ms", 500 * NS_PER_MS },
		{ "30s", 30 * NS_PER_S },
		{ "5min", 5 * MIN_NS },
		{ "2h", 2 * HOUR_NS },
		{ "1d", DAY_NS },
		{ "007s", 7 * NS_PER_S },
		{ "366d", 366 * DAY_NS },
		{ "31622400s", 366 * DAY_NS },
		{ "31622400000ms", 366 * DAY_NS },
	};
	uint64_t ns;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		ns = ~0ull;
		assert_true(duration_parse(good[i].text, &ns));
		assert_true(ns == good[i].ns);
	}
}

static void
test_duration_garbage(void **state)
{
	static const char *const bad[] = { "", "s", "ms", "5", "0", "5 s", " 5s", "5s ", "-5s",
		"+5s", "5.5s", "5,5s", "1e3s", "0x10s", "5S", "5sec", "5m", "5minutes", "5min5s",
		"5 min", "5h\n", "5us", "5ns", "5w", "5y", "367d", "8785h", "31622401s",
		"31622400001ms", "31622400000000001ms", "18446744073709551615s",
		"18446744073709551616s", "18446744073709552s", "99999999999999999999999999999999d",
		"infinity", "s5", "\xd9\xa5s", "5\xc2\xb5s" };
	uint64_t ns;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (duration_parse(bad[i], &ns))
			fail_msg("'%s' was taken for a duration", bad[i]);
	}
}

static void
test_duration_print(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "0s" },
		{ NS_PER_MS, "1ms" },
		{ NS_PER_S, "1s" },
		{ 1500 * NS_PER_MS, "1500ms" },
		{ 60 * NS_PER_S, "1min" },
		{ 90 * NS_PER_S, "90s" },
		{ 90 * MIN_NS, "90min" },
		{ 24 * HOUR_NS, "1d" },
		{ 36 * HOUR_NS, "36h" },
		{ 366 * DAY_NS, "366d" },
		{ 366 * DAY_NS - NS_PER_MS, "31622399999ms" },
	};
	char text[QUANTITY_TEXT];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		duration_print(cases[i].ns, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void
duration_round_trip(uint64_t ns)
{
	char text[QUANTITY_TEXT];
	uint64_t back;

	duration_print(ns, text);
	assert_true(strlen(text) < sizeof(text));
	assert_true(duration_parse(text, &back));
	assert_true(back == ns);
}

static void
test_duration_round_trip(void **state)
{
	static const uint64_t units[] = { NS_PER_MS, NS_PER_S, MIN_NS, HOUR_NS, DAY_NS };

	(void)state;
	random_start();
	for (size_t u = 0; u < COUNT_OF(units); u++) {
		uint64_t most = 366 * DAY_NS / units[u];

		for (uint64_t n = 0; n < 3000 && n <= most; n++) {
			duration_round_trip(n * units[u]);
			duration_round_trip((most - n) * units[u]);
			duration_round_trip(random_below(most + 1) * units[u]);
		}
	}
}

static void
test_rate(void **state)
{
	static const struct {
		const char *text;
		struct rate rate;
		uint64_t per_second;
	} good[] = {
		{ "1/s", { 1, NS_PER_S }, 1 },
		{ "50000/s", { 50000, NS_PER_S }, 50000 },
		{ "200000/min", { 200000, MIN_NS }, 3333 },
		{ "1000/h", { 1000, HOUR_NS }, 1 },
		{ "3600/h", { 3600, HOUR_NS }, 1 },
		{ "7199/h", { 7199, HOUR_NS }, 1 },
		{ "7200/h", { 7200, HOUR_NS }, 2 },
		{ "1/h", { 1, HOUR_NS }, 1 },
		{ "59/min", { 59, MIN_NS }, 1 },
		{ "1000000000/s", { 1000000000, NS_PER_S }, 1000000000 },
	};
	char text[QUANTITY_TEXT];
	struct rate rate;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_true(rate_parse(good[i].text, &rate));
		assert_true(rate.count == good[i].rate.count && rate.per_ns == good[i].rate.per_ns);
		assert_true(rate_per_second(&rate) == good[i].per_second);
		rate_print(&rate, text);
		assert_string_equal(text, good[i].text);
	}
}

static void
test_rate_garbage(void **state)
{
	static const char *const bad[] = { "", "/", "/s", "5", "5/", "5s", "0/s", "0/min", "-1/s",
		"+1/s", "1 /s", "1/ s", "1/s ", " 1/s", "1.5/s", "1/5s", "1/ms", "1/d", "1/S",
		"1/sec", "1/minute", "1//s", "1/s/s", "1000000001/s", "18446744073709551616/s",
		"18446744073709551617/h", "99999999999999999999999999999999/s", "unlimited",
		"1e3/s", "0x10/s" };
	struct rate rate;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (rate_parse(bad[i], &rate))
			fail_msg("'%s' was taken for a rate", bad[i]);
	}
}

static void
test_rate_round_trip(void **state)
{
	static const uint64_t spans[] = { NS_PER_S, MIN_NS, HOUR_NS };

	(void)state;
	random_start();
	for (unsigned i = 0; i < 10000; i++) {
		struct rate rate = { 1 + random_below(1000000000), spans[random_below(3)] }, back;
		char text[QUANTITY_TEXT];

		rate_print(&rate, text);
		assert_true(rate_parse(text, &back));
		assert_true(back.count == rate.count && back.per_ns == rate.per_ns);
	}
}

/* Short random texts of the characters quantities are made of: what is taken prints and parses
 * back. */
static void
test_fuzz(void **state)
{
	static const char letters[] = "0123456789smhdin/. -+";
	char text[12];
	struct rate rate;
	uint64_t ns;

	(void)state;
	random_start();
	for (unsigned i = 0; i < 300000; i++) {
		size_t len = random_below(sizeof(text));

		for (size_t c = 0; c < len; c++)
			text[c] = letters[random_below(sizeof(letters) - 1)];
		text[len] = '\0';
		if (duration_parse(text, &ns))
			duration_round_trip(ns);
		if (rate_parse(text, &rate))
			assert_true(rate.count >= 1 && rate.count <= 1000000000);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_duration_garbage),
		cmocka_unit_test(test_duration_print),
		cmocka_unit_test(test_duration_round_trip),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_rate_garbage),
		cmocka_unit_test(test_rate_round_trip),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests_name("quantity", tests, NULL, NULL);
}
