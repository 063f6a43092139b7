/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c broker/budget.c broker/keyed.c proto/log.c | pkg: jansson */
/* clang-format on */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#define json_null jansson_null /* another function of this name: broker/json.h */
#include <jansson.h>
#undef json_null

#include "broker/record.h"

static char out[RECORD_MAX + 1];

static const struct record_head head = { { 1795334462123456789u }, 17, NULL };
static struct wire_owner process;
static struct record_owner owner;
static struct wire_tuple tuple;
static struct record_ghost ghost;
static struct rule rule;
static struct decision decision;
static struct record_result result;
static struct wire_progress progress[2];
static struct record_sample samples[2];

/* The example of the documentation. */
static int
setup(void **state)
{
	(void)state;
	process = (struct wire_owner){ .start_boottime = 1,
		.tgid = 812,
		.uid = 33,
		.exit_code = 9,
		.comm = "nginx",
		.unit = "nginx.service" };
	owner = (struct record_owner){ &process, "0123456789abcdef", EXIT_KILL };
	tuple = (struct wire_tuple){ .family = AF_INET,
		.src_port = 5555,
		.dst_port = 48670,
		.netns = 4026531840u,
		.src = { 127, 0, 0, 1 },
		.dst = { 127, 0, 0, 2 } };
	ghost = (struct record_ghost){ .id = 42,
		.tuple = &tuple,
		.cookie = 0x1007,
		.send_queue = 3782145,
		.state = TCP_STATE_FIN_WAIT1,
		.age_ns = 1999999 };
	rule = (struct rule){ .name = "killed" };
	decision = (struct decision){ VERDICT_DESTROY, "owner-killed", &rule, 0, false };
	progress[0] = (struct wire_progress){ .bytes_acked = 1000,
		.window_end = 1001,
		.send_queue = 3782145,
		.unacked = 1,
		.notsent = 3782144,
		.last_ack_ms = 2,
		.timer_ms = 3,
		.timer = 4,
		.retransmits = 5,
		.probes = 6,
		.backoff = 7 };
	progress[1] = progress[0];
	progress[1].timer = 1;
	samples[0] = (struct record_sample){ 5 * NS_PER_MS, &progress[0] };
	samples[1] = (struct record_sample){ 30005 * NS_PER_MS, &progress[1] };
	result = (struct record_result){ .result = "destroyed",
		.outcome = "success",
		.peer_notice = "rst",
		.state = TCP_STATE_FIN_WAIT1,
		.latency_ns = 84000,
		.look_to_act_ns = 12000 };
	return 0;
}

static void
line_expect(size_t len, const char *want)
{
	assert_true(len > 0 && len <= RECORD_MAX);
	out[len] = '\0';
	assert_string_equal(out, want);
}

#define HEAD(action)                                                                        \
	"{\"@timestamp\":\"2026-11-22T08:01:02.123456789Z\",\"event.sequence\":17,\"event." \
	"action\":"                                                                         \
	"\"" action "\""
#define NGINX                                                                               \
	",\"process.pid\":812,\"process.entity_id\":\"0123456789abcdef\",\"process.name\":" \
	"\"nginx\","                                                                        \
	"\"user.id\":\"33\",\"eghostbuster.unit\":\"nginx.service\""
#define KILLED ",\"eghostbuster.exit.class\":\"kill\",\"eghostbuster.exit.signal\":9"
#define SOCKET                                                                                    \
	",\"network.transport\":\"tcp\",\"network.type\":\"ipv4\",\"source.ip\":\"127.0.0.1\","   \
	"\"source.port\":5555,\"destination.ip\":\"127.0.0.2\",\"destination.port\":48670,"       \
	"\"eghostbuster.socket.cookie\":\"0x1007\",\"eghostbuster.socket.state\":\"fin-wait-1\"," \
	"\"eghostbuster.socket.netns\":4026531840,\"eghostbuster.socket.send_queue\":3782145"
#define PROOF ",\"eghostbuster.proof\":{\"inode\":0,\"age_ms\":1,\"stuck\":null}"

/* ---- exact bytes ---- */

static void
test_exit(void **state)
{
	(void)state;
	line_expect(record_exit(out, RECORD_MAX, &head, &owner),
		HEAD("exit") ",\"event.reason\":\"owner-killed\"" NGINX KILLED "}\n");
}

static void
test_decide(void **state)
{
	(void)state;
	line_expect(record_decide(out, RECORD_MAX, &head, &owner, &ghost, &decision),
		HEAD("decide") ",\"event.reason\":\"owner-killed\",\"rule.name\":\"killed\","
			       "\"eghostbuster.verdict\":\"destroy\",\"eghostbuster.ghost\":"
			       "42" NGINX KILLED SOCKET PROOF "}\n");
}

static void
test_destroy(void **state)
{
	(void)state;
	line_expect(record_destroy(out, RECORD_MAX, &head, 42, &result),
		HEAD("destroy") ",\"event.outcome\":\"success\",\"eghostbuster.ghost\":42,"
				"\"eghostbuster.result\":\"destroyed\",\"eghostbuster.peer_"
				"notice\":\"rst\","
				"\"eghostbuster.latency_ns\":84000,\"eghostbuster.look_to_act_ns\":"
				"12000,"
				"\"eghostbuster.socket.state\":\"fin-wait-1\"}\n");
}

#define SAMPLE(age, timer)                                                                     \
	"{\"age_ms\":" age ",\"bytes_acked\":1000,\"window_end\":1001,\"send_queue\":3782145," \
	"\"unacked\":1,\"notsent\":3782144,\"last_ack_ms\":2,\"timer\":\"" timer "\","         \
	"\"timer_ms\":3,\"retransmits\":5,\"probes\":6,\"backoff\":7}"

/* Proved by two looks. */
static void
test_decide_proved(void **state)
{
	(void)state;
	ghost.samples = samples;
	ghost.age_ns = 30006 * NS_PER_MS;
	line_expect(record_decide(out, RECORD_MAX, &head, &owner, &ghost, &decision),
		HEAD("decide") ",\"event.reason\":\"owner-killed\",\"rule.name\":\"killed\","
			       "\"eghostbuster.verdict\":\"destroy\",\"eghostbuster.ghost\":"
			       "42" NGINX KILLED SOCKET
			       ",\"eghostbuster.proof\":{\"inode\":0,\"age_ms\":30006,"
			       "\"stuck\":true,\"interval_ms\":30000,\"samples\":[" SAMPLE("5",
				       "zero-window") "," SAMPLE("30005", "retransmit") "]}}\n");
}

static void
test_reconcile(void **state)
{
	struct record_reconcile reconcile = {
		.reason = "start", .round = 1, .found = 5, .adopted = 3, .forgotten = 2
	};

	(void)state;
	line_expect(record_reconcile(out, RECORD_MAX, &head, &reconcile),
		HEAD("reconcile") ",\"event.outcome\":\"success\",\"event.reason\":\"start\","
				  "\"eghostbuster.reconcile.round\":1,"
				  "\"eghostbuster.reconcile.found\":5,"
				  "\"eghostbuster.reconcile.adopted\":3,"
				  "\"eghostbuster.reconcile.forgotten\":2}\n");
	reconcile.error = ENOBUFS;
	reconcile.reason = "periodic";
	out[record_reconcile(out, RECORD_MAX, &head, &reconcile)] = '\0';
	assert_non_null(strstr(out, ",\"event.outcome\":\"failure\",\"event.reason\":"
				    "\"periodic\","));
	assert_non_null(strstr(out, "\"eghostbuster.reconcile.forgotten\":2,\"error.code\":"
				    "\"ENOBUFS\"}\n"));
}

static void
test_breaker(void **state)
{
	struct record_breaker breaker = {
		.key = "a \"b\".service", .open = true, .hold_ns = 300 * NS_PER_S, .held_back = 9
	};

	(void)state;
	line_expect(record_breaker(out, RECORD_MAX, &head, &breaker),
		HEAD("breaker") ",\"event.reason\":\"over-limit\",\"eghostbuster.unit\":"
				"\"a \\\"b\\\".service\",\"eghostbuster.breaker\":\"open\","
				"\"eghostbuster.breaker.hold_ms\":300000}\n");
	breaker.open = false;
	line_expect(record_breaker(out, RECORD_MAX, &head, &breaker),
		HEAD("breaker") ",\"event.reason\":\"hold-over\",\"eghostbuster.unit\":"
				"\"a \\\"b\\\".service\",\"eghostbuster.breaker\":\"closed\","
				"\"eghostbuster.breaker.held_back\":9}\n");
}

/* Nothing was destroyed: no notice and no latency. Not looked at: no state. */
static void
test_destroy_not(void **state)
{
	(void)state;
	result = (struct record_result){ .result = "observed", .outcome = "unknown" };
	line_expect(record_destroy(out, RECORD_MAX, &head, 42, &result),
		HEAD("destroy") ",\"event.outcome\":\"unknown\",\"eghostbuster.ghost\":42,"
				"\"eghostbuster.result\":\"observed\"}\n");
	result =
		(struct record_result){ .result = "failed", .outcome = "unknown", .error = ENOENT };
	line_expect(record_destroy(out, RECORD_MAX, &head, 42, &result),
		HEAD("destroy") ",\"event.outcome\":\"unknown\",\"eghostbuster.ghost\":42,"
				"\"eghostbuster.result\":\"failed\",\"error.code\":\"ENOENT\"}\n");
	result.error = 4095; /* an errno without a name */
	line_expect(record_destroy(out, RECORD_MAX, &head, 42, &result),
		HEAD("destroy") ",\"event.outcome\":\"unknown\",\"eghostbuster.ghost\":42,"
				"\"eghostbuster.result\":\"failed\",\"error.code\":\"4095\"}\n");
}

/* An owner nobody saw, a ghost no rule covers. */
static void
test_decide_unknown(void **state)
{
	(void)state;
	owner = (struct record_owner){ .exit = EXIT_UNKNOWN };
	decision = (struct decision){ .verdict = VERDICT_REPORT, .reason = "no-rule" };
	line_expect(record_decide(out, RECORD_MAX, &head, &owner, &ghost, &decision),
		HEAD("decide") ",\"event.reason\":\"no-rule\",\"rule.name\":null,"
			       "\"eghostbuster.verdict\":\"report\",\"eghostbuster.ghost\":42,"
			       "\"eghostbuster.exit.class\":\"unknown\"" SOCKET PROOF "}\n");
}

static void
test_exit_statuses(void **state)
{
	(void)state;
	process.exit_code = 3 << 8;
	process.unit[0] = '\0';
	owner.exit = EXIT_ERROR;
	line_expect(record_exit(out, RECORD_MAX, &head, &owner),
		HEAD("exit") ",\"event.reason\":\"owner-failed\",\"process.pid\":812,"
			     "\"process.entity_id\":\"0123456789abcdef\",\"process.name\":"
			     "\"nginx\","
			     "\"user.id\":\"33\",\"eghostbuster.unit\":null,"
			     "\"eghostbuster.exit.class\":\"error\",\"process.exit_code\":3}\n");
	process.exit_code = 11 | 0x80;
	process.flags = WIRE_OWNER_UNIT_TRUNCATED;
	owner.exit = EXIT_CRASH;
	record_exit(out, RECORD_MAX, &head, &owner);
	assert_non_null(
		strstr(out, "\"eghostbuster.unit\":null,\"eghostbuster.unit_truncated\":true,"));
	assert_non_null(strstr(
		out, "\"eghostbuster.exit.class\":\"crash\",\"eghostbuster.exit.signal\":11}"));
}

static void
test_addresses(void **state)
{
	static const struct {
		const char *dst, *want;
	} cases[] = {
		{ "::1", "\"ipv6\",\"source.ip\":\"::\",\"source.port\":0,\"destination.ip\":\"::"
			 "1\"" },
		{ "::ffff:10.0.0.1", "\"destination.ip\":\"::ffff:10.0.0.1\"" },
		{ "2001:db8::5", "\"destination.ip\":\"2001:db8::5\"" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		tuple = (struct wire_tuple){ .family = AF_INET6, .dst_port = 65535, .ifindex = 7 };
		assert_int_equal(inet_pton(AF_INET6, cases[i].dst, tuple.dst), 1);
		out[record_decide(out, RECORD_MAX, &head, &owner, &ghost, &decision)] = '\0';
		assert_non_null(strstr(out, cases[i].want));
		assert_non_null(strstr(out, ",\"destination.port\":65535,"));
		assert_non_null(strstr(out, ",\"eghostbuster.socket.ifindex\":7,"));
	}
}

static void
test_start(void **state)
{
	struct record_start start = { .version = "0.1.0",
		.build_id = "00ff",
		.bpf_object = "ff00",
		.mode = "enforce",
		.boot_id = "7c9d3f0e-4b0a-4c55-9d4e-0d4a0f8b7a11",
		.kernel = "6.1.0",
		.selftest = "passed",
		.tracker_features = 7,
		.netns = 4026531840u,
		.destroy_ceiling = 50000 };

	(void)state;
	line_expect(record_start(out, RECORD_MAX, &head, &start),
		HEAD("start") ",\"agent.version\":\"0.1.0\",\"eghostbuster.build_id\":\"00ff\","
			      "\"eghostbuster.bpf_object.sha256\":\"ff00\","
			      "\"eghostbuster.mode\":\"enforce\","
			      "\"host.boot.id\":\"7c9d3f0e-4b0a-4c55-9d4e-0d4a0f8b7a11\","
			      "\"host.os.kernel\":\"6.1.0\","
			      "\"eghostbuster.selftest\":\"passed\",\"eghostbuster.config\":null,"
			      "\"eghostbuster.tracker_features\":7,"
			      "\"eghostbuster.socket.netns\":4026531840,"
			      "\"eghostbuster.destroy_ceiling\":50000}\n");
	start.why_observe = "asked";
	start.config = "/etc/a \"b\"";
	record_start(out, RECORD_MAX, &head, &start);
	assert_non_null(strstr(out, ",\"event.reason\":\"asked\","));
	assert_non_null(strstr(out, ",\"eghostbuster.config\":\"/etc/a \\\"b\\\"\","));
}

#define LOST                                                                \
	",\"eghostbuster.lost.orphans\":10,\"eghostbuster.lost.exits\":11," \
	"\"eghostbuster.lost.stamps\":12}\n"

static void
test_stop_and_lost(void **state)
{
	const struct record_counts counts = { .ghosts = 1,
		.destroyed = 2,
		.gone = 3,
		.refused = 4,
		.failed = 5,
		.observed = 6,
		.reported = 7,
		.ignored = 8,
		.waiting = 9,
		.expired = 15,
		.adopted = 16,
		.evicted = 17,
		.held_back = 18,
		.unanswered = 13,
		.unsent = 14,
		.batched = 19,
		.lost_orphans = 10,
		.lost_exits = 11,
		.lost_stamps = 12 };

	(void)state;
	line_expect(record_stop(out, RECORD_MAX, &head, "ordered", &counts),
		HEAD("stop") ",\"event.reason\":\"ordered\",\"eghostbuster.count.ghosts\":1,"
			     "\"eghostbuster.count.destroyed\":2,\"eghostbuster.count.gone\":3,"
			     "\"eghostbuster.count.refused\":4,\"eghostbuster.count.failed\":5,"
			     "\"eghostbuster.count.observed\":6,\"eghostbuster.count.reported\":7,"
			     "\"eghostbuster.count.ignored\":8,\"eghostbuster.count.waiting\":9,"
			     "\"eghostbuster.count.expired\":15,"
			     "\"eghostbuster.count.adopted\":16,"
			     "\"eghostbuster.count.evicted\":17,"
			     "\"eghostbuster.count.held_back\":18,"
			     "\"eghostbuster.count.unanswered\":13,\"eghostbuster.count.unsent\":"
			     "14,\"eghostbuster.count.batched\":19" LOST);
	line_expect(record_lost(out, RECORD_MAX, &head, &counts), HEAD("lost") LOST);
}

#define OUTCOME(outcome)	",\"event.outcome\":\"" outcome "\""
#define MODE(mode)		",\"eghostbuster.mode\":\"" mode "\""
#define ERROR(text)		",\"error.message\":\"" text "\""
#define RELOADED(outcome, mode) OUTCOME(outcome) ",\"eghostbuster.config\":\"etc\"" MODE(mode)

static void
test_log_and_reload(void **state)
{
	const struct record_log_open first = { .reason = "start" };
	const struct record_log_open crashed = { .reason = "start",
		.previous = "audit.jsonl.1",
		.sequence = 16,
		.hash = "00ff",
		.unclean = true,
		.torn_bytes = 7,
		.sealed = true };

	(void)state;
	line_expect(record_log_close(out, RECORD_MAX, &head, "rotated"),
		HEAD("log-close") ",\"event.reason\":\"rotated\"}\n");
	line_expect(record_log_open(out, RECORD_MAX, &head, &first),
		HEAD("log-open") ",\"event.reason\":\"start\",\"eghostbuster.log.previous\":null"
				 ",\"eghostbuster.log.unclean\":false"
				 ",\"eghostbuster.log.sealed\":false}\n");
	line_expect(record_log_open(out, RECORD_MAX, &head, &crashed),
		HEAD("log-open") ",\"event.reason\":\"start\",\"eghostbuster.log.previous\":{"
				 "\"file\":\"audit.jsonl.1\",\"sequence\":16,\"hash\":\"00ff\"}"
				 ",\"eghostbuster.log.unclean\":true"
				 ",\"eghostbuster.log.torn_bytes\":7"
				 ",\"eghostbuster.log.sealed\":true}\n");
	line_expect(record_config_reload(out, RECORD_MAX, &head, "etc", "enforce", NULL),
		HEAD("config-reload") RELOADED("success", "enforce") "}\n");
	line_expect(record_config_reload(out, RECORD_MAX, &head, "etc", "observe", "etc:1: x"),
		HEAD("config-reload") RELOADED("failure", "observe") ERROR("etc:1: x") "}\n");
	line_expect(record_config_reload(out, RECORD_MAX, &head, NULL, "observe", "x"),
		HEAD("config-reload") OUTCOME("failure") MODE("observe") ERROR("x") "}\n");
}

/* ---- the worst there is ---- */

static json_t *
parsed(size_t len)
{
	json_error_t error;
	json_t *object;

	assert_in_range(len, 3, RECORD_MAX);
	assert_int_equal(out[len - 1], '\n');
	assert_null(memchr(out, '\n', len - 1));
	object = json_loadb(out, len, JSON_REJECT_DUPLICATES, &error);
	if (object == NULL)
		fail_msg("%s: %.*s", error.text, (int)len, out);
	return object;
}

static const char *
text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	if (text == NULL)
		fail_msg("no text %s in %s", name, out);
	return text;
}

static json_int_t
number_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	if (!json_is_integer(value))
		fail_msg("no number %s in %s", name, out);
	return json_integer_value(value);
}

/* Names of the one byte that costs most, everything else as long as it gets. */
static void
hostile_make(int byte)
{
	memset(&process, 0xff, sizeof(process));
	memset(process.comm, byte, sizeof(process.comm) - 1);
	memset(process.unit, byte, sizeof(process.unit) - 1);
	process.comm[sizeof(process.comm) - 1] = process.unit[sizeof(process.unit) - 1] = '\0';
	process.exit_code = 0xff;
	memset(&tuple, 0xff, sizeof(tuple));
	tuple.family = AF_INET6;
	memset(rule.name, 'n', sizeof(rule.name) - 1);
	ghost.id = ghost.cookie = ghost.age_ns = INT64_MAX;
	ghost.send_queue = UINT32_MAX;
	ghost.state = TCP_STATE_NEW_SYN_RECV;
	memset(progress, 0xff, sizeof(progress));
	for (unsigned i = 0; i < 2; i++) {
		progress[i].bytes_acked = progress[i].window_end = INT64_MAX;
		progress[i].timer = 4;
		samples[i].age_ns = i * (uint64_t)INT64_MAX;
	}
	ghost.samples = samples;
}

/* The longest key of a unit. */
static void
hostile_breaker_fits(const struct record_head *late)
{
	struct record_breaker breaker = { .key = process.unit, .held_back = INT64_MAX };
	json_t *object = parsed(record_breaker(out, RECORD_MAX, late, &breaker));

	assert_int_equal(number_of(object, "eghostbuster.breaker.held_back"), INT64_MAX);
	json_decref(object);
	breaker.open = true;
	breaker.hold_ns = UINT64_MAX;
	json_decref(parsed(record_breaker(out, RECORD_MAX, late, &breaker)));
}

static void
hostile_fits(int byte)
{
	const struct record_head late = { { UINT64_MAX }, INT64_MAX, NULL };
	json_t *object;

	hostile_make(byte);
	json_decref(parsed(record_exit(out, RECORD_MAX, &late, &owner)));
	hostile_breaker_fits(&late);
	object = parsed(record_decide(out, RECORD_MAX, &late, &owner, &ghost, &decision));
	assert_int_equal(number_of(object, "process.pid"), UINT32_MAX);
	assert_int_equal(number_of(object, "eghostbuster.ghost"), INT64_MAX);
	assert_string_equal(text_of(object, "user.id"), "4294967295");
	assert_string_equal(text_of(object, "eghostbuster.socket.cookie"), "0x7fffffffffffffff");
	assert_string_equal(
		text_of(object, "destination.ip"), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	assert_int_equal(json_array_size(json_object_get(
				 json_object_get(object, "eghostbuster.proof"), "samples")),
		2);
	assert_int_equal(json_object_get(object, "process.name_hex") != NULL, byte >= 0x80);
	if (byte >= 0x80)
		assert_int_equal(
			strlen(text_of(object, "eghostbuster.unit_hex")), 2 * (WIRE_UNIT_LEN - 1));
	json_decref(object);
}

static void
test_hostile_names_fit(void **state)
{
	(void)state;
	for (int byte = 1; byte < 256; byte++) {
		setup(NULL);
		hostile_fits(byte);
	}
}

/* The longest line of a configuration, in an error about it, and paths as long as people make them.
 */
static void
test_hostile_reload_fits(void **state)
{
	char path[256], error[512];

	(void)state;
	memset(path, '/', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	for (int byte = 1; byte < 256; byte++) {
		memset(error, 'e', sizeof(error) - 1);
		memset(error, byte, 198);
		error[sizeof(error) - 1] = '\0';
		json_decref(parsed(
			record_config_reload(out, RECORD_MAX, &head, path, "enforce", error)));
	}
}

/* Random owners and ghosts, read back and compared. */
static void
test_read_back(void **state)
{
	(void)state;
	random_start();
	for (unsigned n = 0; n < 2000; n++) {
		const char *hex = NULL;
		json_t *object;

		random_fill(process.comm, sizeof(process.comm) - 1);
		random_fill(process.unit, random_below(sizeof(process.unit)));
		process.tgid = (uint32_t)random_below(INT32_MAX);
		process.uid = (uint32_t)random_next();
		process.exit_code = (uint32_t)random_below(0x10000);
		owner.exit = exit_classify(process.exit_code, false);
		tuple.src_port = (uint16_t)random_next();
		ghost.send_queue = (uint32_t)random_next();
		object = parsed(record_decide(out, RECORD_MAX, &head, &owner, &ghost, &decision));
		assert_int_equal(number_of(object, "process.pid"), process.tgid);
		assert_int_equal(strtoull(text_of(object, "user.id"), NULL, 10), process.uid);
		assert_int_equal(number_of(object, "source.port"), tuple.src_port);
		assert_int_equal(
			number_of(object, "eghostbuster.socket.send_queue"), ghost.send_queue);
		assert_string_equal(
			text_of(object, "eghostbuster.exit.class"), exit_class_name(owner.exit));
		hex = json_string_value(json_object_get(object, "process.name_hex"));
		if (hex == NULL)
			assert_string_equal(text_of(object, "process.name"), process.comm);
		else
			assert_int_equal(strlen(hex), 2 * strlen(process.comm));
		json_decref(object);
	}
}

/* Too little room: 0, and nothing behind it. */
static void
test_borders(void **state)
{
	size_t whole = record_decide(out, RECORD_MAX, &head, &owner, &ghost, &decision);

	(void)state;
	for (size_t size = 0; size <= whole; size++) {
		char *small = malloc(size + 1);

		assert_non_null(small);
		small[size] = '#';
		assert_int_equal(record_decide(small, size, &head, &owner, &ghost, &decision),
			size < whole ? 0 : whole);
		assert_int_equal(small[size], '#');
		free(small);
	}
}

static void
test_error_name(void **state)
{
	(void)state;
	assert_null(error_name(0));
	assert_string_equal(error_name(ENOENT), "ENOENT");
	assert_null(error_name(4095));
	assert_null(error_name(INT32_MAX));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_exit, setup),
		cmocka_unit_test_setup(test_decide, setup),
		cmocka_unit_test_setup(test_decide_proved, setup),
		cmocka_unit_test_setup(test_reconcile, setup),
		cmocka_unit_test_setup(test_breaker, setup),
		cmocka_unit_test_setup(test_destroy, setup),
		cmocka_unit_test_setup(test_destroy_not, setup),
		cmocka_unit_test_setup(test_decide_unknown, setup),
		cmocka_unit_test_setup(test_exit_statuses, setup),
		cmocka_unit_test_setup(test_addresses, setup),
		cmocka_unit_test_setup(test_start, setup),
		cmocka_unit_test_setup(test_stop_and_lost, setup),
		cmocka_unit_test_setup(test_log_and_reload, setup),
		cmocka_unit_test_setup(test_hostile_names_fit, setup),
		cmocka_unit_test_setup(test_hostile_reload_fits, setup),
		cmocka_unit_test_setup(test_read_back, setup),
		cmocka_unit_test_setup(test_borders, setup),
		cmocka_unit_test_setup(test_error_name, setup),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
