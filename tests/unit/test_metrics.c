/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/metrics.c broker/histogram.c broker/json.c */
/* What is written is held to the letter by a reader of OpenMetrics, tests/system/test_metrics.py.
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "broker/control.h"
#include "broker/metrics.h"
#include "proto/scalars.h"

static struct metrics m;
static char out[METRICS_TEXT_MAX];

#define FIRST offsetof(struct metrics, start_time_ns)
#define WORDS ((sizeof(struct metrics) - FIRST) / sizeof(uint64_t))

static void
words_set(uint64_t value)
{
	for (size_t i = 0; i < WORDS; i++)
		memcpy((char *)&m + FIRST + i * sizeof(value), &value, sizeof(value));
}

static int
begin(void **state)
{
	(void)state;
	m = (struct metrics){ .version = "0.1.0", .build_id = "00ff", .kernel = "6.1.0" };
	return 0;
}

static bool
has(const char *text)
{
	return strstr(out, text) != NULL;
}

static void
test_text(void **state)
{
	size_t len;

	(void)state;
	m.start_time_ns = 1700000000000000042ull;
	m.enforce = 1;
	m.results[WIRE_RESULT_GONE] = 7;
	m.log_pending = 9;
	histogram_add(&m.latency, 84000);
	histogram_add(&m.latency, 700 * NS_PER_S);
	len = metrics_print(&m, out, sizeof(out));
	assert_int_equal(len, strlen(out));
	assert_true(has("# TYPE eghostbuster_build_info gauge\n"));
	assert_true(has("\neghostbuster_build_info{version=\"0.1.0\",build_id=\"00ff\","
			"kernel=\"6.1.0\"} 1\n"));
	assert_true(has("# UNIT eghostbuster_start_time_seconds seconds\n"));
	assert_true(has("\neghostbuster_start_time_seconds 1700000000.000000042\n"));
	assert_true(has("\neghostbuster_mode{mode=\"enforce\"} 1\n"));
	assert_true(has("# TYPE eghostbuster_reaps counter\n"));
	assert_true(has("\neghostbuster_reaps_total{object=\"tcp\",result=\"gone\"} 7\n"));
	assert_true(has("# UNIT eghostbuster_audit_pending_bytes bytes\n"));
	assert_true(has("_latency_seconds_bucket{le=\"5e-05\"} 0\n"));
	assert_true(has("_latency_seconds_bucket{le=\"0.0001\"} 1\n"));
	assert_true(has("_latency_seconds_bucket{le=\"600.0\"} 1\n"));
	assert_true(has("_latency_seconds_bucket{le=\"+Inf\"} 2\n"));
	assert_true(has("_latency_seconds_count 2\n"));
	assert_true(has("_latency_seconds_sum 700.000084000\n"));
	assert_string_equal(out + len - strlen("\n# EOF\n"), "\n# EOF\n");
}

/* No number is counted and not shown. There is no result and no finding 0. */
static void
test_every_number_is_shown(void **state)
{
	static char before[METRICS_TEXT_MAX];

	(void)state;
	metrics_print(&m, before, sizeof(before));
	for (size_t i = 0; i < WORDS; i++) {
		uint64_t *word = (uint64_t *)((char *)&m + FIRST + i * sizeof(*word));

		*word = 1;
		metrics_print(&m, out, sizeof(out));
		if (strcmp(before, out) == 0 && word != &m.results[0] && word != &m.looks[0])
			fail_msg("number %zu of struct metrics is not shown", i);
		*word = 0;
	}
}

/* Whatever the numbers, it is within its limit, and that within the control socket's. */
static void
test_length(void **state)
{
	char kernel[66] = { 0 };
	size_t len, empty;

	(void)state;
	empty = metrics_print(&m, out, sizeof(out));
	words_set(UINT64_MAX);
	memset(kernel, '\\', sizeof(kernel) - 1);
	m.kernel = kernel;
	len = metrics_print(&m, out, sizeof(out));
	assert_true(len > empty);
	_Static_assert(METRICS_TEXT_MAX <= CONTROL_ANSWER_MAX, "an answer");
	for (size_t size = 0; size <= len; size += size < 64 || size > len - 64 ? 1 : 61) {
		memset(out, '#', sizeof(out));
		assert_int_equal(metrics_print(&m, out, size), 0);
		assert_int_equal(out[size], '#');
	}
	assert_int_equal(metrics_print(&m, out, len + 1), len);
}

static void
test_labels_are_escaped(void **state)
{
	(void)state;
	m.kernel = "6.1\"\\\n\x1b[31m\xff";
	metrics_print(&m, out, sizeof(out));
	assert_true(has(",kernel=\"6.1\\\"\\\\??[31m?\"} 1\n"));
}

static void
test_members_of_status(void **state)
{
	struct json j;

	(void)state;
	m.lost_orphans = 1;
	m.lost_exits = 2;
	m.lost_stamps = 3;
	m.results[WIRE_RESULT_REFUSED_LIVE] = 4;
	json_begin(&j, out, sizeof(out));
	metrics_members_put(&j, &m, "lost");
	out[json_end(&j)] = '\0';
	assert_string_equal(out, "{\"lost\":{\"orphans\":1,\"exits\":2,\"stamps\":3}}\n");
	json_begin(&j, out, sizeof(out));
	metrics_members_put(&j, &m, "since_start");
	out[json_end(&j)] = '\0';
	assert_true(has("\"refused_live\":4,"));
}

static void
test_bounds(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
		struct histogram h = { 0 };

		assert_true(i == 0 || histogram_bounds[i].ns > histogram_bounds[i - 1].ns);
		histogram_add(&h, histogram_bounds[i].ns);
		histogram_add(&h, histogram_bounds[i].ns + 1);
		assert_int_equal(h.counts[i], 1);
		assert_int_equal(h.counts[i + 1], 1);
		assert_int_equal(h.sum_ns, 2 * histogram_bounds[i].ns + 1);
		assert_true(strtod(histogram_bounds[i].seconds, NULL) ==
			    (double)histogram_bounds[i].ns / (double)NS_PER_S);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_text, begin),
		cmocka_unit_test_setup(test_every_number_is_shown, begin),
		cmocka_unit_test_setup(test_length, begin),
		cmocka_unit_test_setup(test_labels_are_escaped, begin),
		cmocka_unit_test_setup(test_members_of_status, begin),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
