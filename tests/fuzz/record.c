/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c proto/log.c broker/chain.c broker/budget.c broker/keyed.c | pkg: jansson nettle */
/* clang-format on */
/*
 * Every kind of audit record, with the input's bytes wherever somebody else chooses them: names,
 * paths, addresses, numbers. Each is one line that a strict reader takes, and texts come back as
 * they were.
 */
#include "fuzz.h"

#include <jansson.h>
#include <sys/socket.h>

#include "broker/chain.h"
#include "broker/record.h"
#include "line.h"
#include "proto/log.h"

/* Each maker. */
FUZZ_GOALS(11);

static char line[RECORD_MAX], long_line[RECORD_BATCH_MAX];

static struct wire_owner
owner_take(struct input *in)
{
	struct wire_owner o;

	input_fill(in, &o, sizeof(o));
	/* What wire_check() has made sure of. */
	o.tgid = o.tgid % INT32_MAX + 1;
	o.exit_code &= 0xffff;
	o.flags &= WIRE_OWNER_OOM | WIRE_OWNER_UNIT_TRUNCATED;
	o.comm[WIRE_COMM_LEN - 1] = o.unit[WIRE_UNIT_LEN - 1] = '\0';
	return o;
}

static struct wire_tuple
tuple_take(struct input *in)
{
	struct wire_tuple t;

	input_fill(in, &t, sizeof(t));
	t.family = t.family == AF_INET6 ? AF_INET6 : AF_INET;
	return t;
}

/* A text of the input's, which ends at its first zero byte. Freed by the caller. */
static char *
text_take(struct input *in)
{
	size_t len = input_number(in, 2) % 1500;
	char *text = calloc(1, len + 1);

	REQUIRE(text != NULL);
	input_fill(in, text, len);
	return text;
}

static void
owner_require(json_t *record, const struct wire_owner *o)
{
	text_require(record, "process.name", o->comm, strlen(o->comm));
	if (o->unit[0] != '\0')
		text_require(record, "eghostbuster.unit", o->unit, strlen(o->unit));
	else
		REQUIRE(json_is_null(json_object_get(record, "eghostbuster.unit")));
	REQUIRE(json_integer_value(json_object_get(record, "process.pid")) == o->tgid);
}

static void
exit_make(struct input *in, const struct record_head *head)
{
	struct wire_owner o = owner_take(in);
	struct record_owner owner = { .process = &o,
		.entity_id = "0123456789abcdef",
		.exit = input_number(in, 1) % EXIT_CLASSES };
	json_t *record = line_read(line, record_exit(line, sizeof(line), head, &owner));

	owner_require(record, &o);
	json_decref(record);
}

static void
decide_make(struct input *in, const struct record_head *head)
{
	struct wire_owner o = owner_take(in);
	struct wire_tuple t = tuple_take(in);
	struct wire_progress seen[2];
	struct record_sample samples[2] = { { 0, &seen[0] }, { input_number(in, 8), &seen[1] } };
	unsigned what = (unsigned)input_number(in, 1);
	struct record_owner owner = { .process = (what & 1) != 0 ? &o : NULL,
		.entity_id = "0123456789abcdef",
		.exit = what / 4 % EXIT_CLASSES };
	struct record_ghost ghost = { .id = input_number(in, 8),
		.tuple = &t,
		.cookie = input_number(in, 8),
		.send_queue = (uint32_t)input_number(in, 4),
		.state = (uint8_t)input_number(in, 1),
		.age_ns = input_number(in, 8),
		.samples = (what & 2) != 0 ? samples : NULL };
	struct decision decision = { .verdict = what / 32 % 4, .reason = "owner-killed" };
	json_t *record;

	input_fill(in, seen, sizeof(seen));
	record =
		line_read(line, record_decide(line, sizeof(line), head, &owner, &ghost, &decision));
	if (owner.process != NULL)
		owner_require(record, &o);
	json_decref(record);
}

static void
destroy_make(struct input *in, const struct record_head *head)
{
	uint64_t id = input_number(in, 8);
	struct record_result r = { .result = wire_result_name((unsigned)input_number(in, 1)),
		.outcome = "success",
		.peer_notice = input_number(in, 1) % 2 == 0 ? NULL : "rst",
		.state = (uint8_t)input_number(in, 1),
		.error = (int32_t)input_number(in, 4),
		.latency_ns = input_number(in, 8),
		.look_to_act_ns = input_number(in, 8) };

	json_decref(line_read(line, record_destroy(line, sizeof(line), head, id, &r)));
}

static void
start_make(struct input *in, const struct record_head *head)
{
	char *kernel = text_take(in), *config = text_take(in);
	struct record_start start = { .version = "0.1.0",
		.build_id = "00",
		.bpf_object = "00",
		.mode = "enforce",
		.boot_id = "7c9d3f0e-4b0a-4c55-9d4e-0d4a0f8b7a11",
		.kernel = kernel,
		.selftest = "passed",
		.config = config,
		.tracker_features = (uint32_t)input_number(in, 4),
		.destroy_ceiling = input_number(in, 8) };
	json_t *record;

	kernel[strnlen(kernel, 64)] = '\0'; /* as long as uname(2) has it */
	record = line_read(line, record_start(line, sizeof(line), head, &start));
	text_require(record, "host.os.kernel", kernel, strlen(kernel));
	text_require(record, "eghostbuster.config", config, strnlen(config, 400));
	json_decref(record);
	free(config);
	free(kernel);
}

static void
counts_make(struct input *in, const struct record_head *head)
{
	static const char *const sinks[RECORD_SINKS_MAX] = { "linux_audit", "journald" };
	struct record_counts counts;
	struct record_reconcile reconcile = { .reason = "lost" };

	input_fill(in, &counts, sizeof(counts));
	for (unsigned i = 0; i < RECORD_SINKS_MAX; i++)
		counts.sinks[i].name = counts.sinks[i].sent % 2 == 0 ? sinks[i] : NULL;
	reconcile.found = counts.ghosts;
	reconcile.round = counts.destroyed;
	reconcile.error = (int32_t)input_number(in, 4);
	json_decref(line_read(line, record_stop(line, sizeof(line), head, "terminated", &counts)));
	json_decref(line_read(line, record_lost(line, sizeof(line), head, &counts)));
	json_decref(line_read(line, record_reconcile(line, sizeof(line), head, &reconcile)));
}

static void
reload_make(struct input *in, const struct record_head *head)
{
	char *config = text_take(in), *error = text_take(in);
	json_t *record = line_read(
		line, record_config_reload(line, sizeof(line), head, config, "observe", error));

	text_require(record, "eghostbuster.config", config, strnlen(config, 400));
	text_require(record, "error.message", error, strnlen(error, 400));
	json_decref(record);
	free(error);
	free(config);
}

static void
breaker_make(struct input *in, const struct record_head *head)
{
	struct wire_owner o = owner_take(in);
	struct record_breaker breaker = { .key = o.unit,
		.open = input_number(in, 1) % 2 == 0,
		.hold_ns = input_number(in, 8),
		.held_back = input_number(in, 8) };
	json_t *record = line_read(line, record_breaker(line, sizeof(line), head, &breaker));

	text_require(record, "eghostbuster.unit", o.unit, strlen(o.unit));
	json_decref(record);
}

static void
open_make(struct input *in, const struct record_head *head)
{
	char *previous = text_take(in);
	struct record_log_open open = { .reason = "start",
		.previous = previous,
		.sequence = input_number(in, 8),
		.hash = chain_origin,
		.unclean = input_number(in, 1) % 2 == 0,
		.torn_bytes = input_number(in, 8) };
	json_t *record = line_read(line, record_log_open(line, sizeof(line), head, &open));
	json_t *member = json_object_get(record, "eghostbuster.log.previous");

	text_require(member, "file", previous, strnlen(previous, 400));
	json_decref(record);
	free(previous);
}

/* Up to so many numbers as a record may hold; the input's come again when it is short. */
static size_t
numbers_take(struct input *in, uint64_t numbers[RECORD_GHOSTS_MAX])
{
	size_t count = input_number(in, 2) % RECORD_GHOSTS_MAX + 1;
	unsigned how = (unsigned)input_number(in, 1), given = how / 2;

	for (size_t i = 0; i < count; i++) {
		numbers[i] = i <= given ? input_number(in, 8) : numbers[i - given - 1];
		if (how % 2 == 1 && i > 0)
			numbers[i] = numbers[i - 1] + 1;
	}
	return count;
}

static void
batch_make(struct input *in, const struct record_head *head)
{
	static uint64_t ghosts[RECORD_GHOSTS_MAX], cookies[RECORD_GHOSTS_MAX];
	struct wire_owner o = owner_take(in);
	unsigned what = (unsigned)input_number(in, 1);
	struct budget_account account = { .key.kind = what % BUDGET_KINDS };
	struct record_batch batch = { .number = input_number(in, 8),
		.account = &account,
		.rule = "killed",
		.reason = "owner-killed",
		.proved = (what & 4) != 0,
		.exits = input_number(in, 8),
		.owner = { .process = (what & 8) != 0 ? &o : NULL,
			.entity_id = "0123456789abcdef",
			.exit = what / 32 % EXIT_CLASSES },
		.uid = &o.uid,
		.unit = (what & 16) != 0 ? o.unit : NULL,
		.ghosts = ghosts,
		.cookies = cookies };
	size_t count = numbers_take(in, ghosts);
	json_t *record;

	batch.count = numbers_take(in, cookies);
	if (count < batch.count)
		batch.count = count;
	record = line_read(long_line, record_batch(long_line, sizeof(long_line), head, &batch));
	if (batch.owner.process != NULL)
		owner_require(record, &o);
	else if (batch.unit != NULL)
		text_require(record, "eghostbuster.unit", o.unit, strlen(o.unit));
	REQUIRE(json_array_size(json_object_get(record, "eghostbuster.batch.cookies")) ==
		batch.count);
	json_decref(record);
}

static void
left_make(struct input *in, const struct record_head *head)
{
	struct wire_owner o = owner_take(in);
	struct budget_account account = { .key = { .kind = input_number(in, 1) % BUDGET_KINDS,
						  .uid = input_number(in, 8) } };
	struct budget_left left = { .rule = "killed", .ruled = true };
	struct record_left batch = { .number = input_number(in, 8),
		.account = &account,
		.left = &left,
		.verdict = VERDICT_REPORT };
	json_t *record;

	memcpy(account.key.unit, o.unit, sizeof(o.unit));
	left.count = input_number(in, 8);
	left.first = input_number(in, 8);
	left.last = input_number(in, 8);
	input_fill(in, left.classes, sizeof(left.classes));
	record = line_read(line, record_left(line, sizeof(line), head, &batch));
	if (account.key.kind == BUDGET_UNIT && o.unit[0] != '\0')
		text_require(record, "eghostbuster.unit", o.unit, strlen(o.unit));
	json_decref(record);
}

static void
batch_result_make(struct input *in, const struct record_head *head)
{
	static struct record_outcome others[RECORD_GHOSTS_MAX];
	static uint64_t ghosts[RECORD_GHOSTS_MAX];
	size_t count = numbers_take(in, ghosts);
	struct record_batch_result r = { .number = input_number(in, 8),
		.destroyed = input_number(in, 8),
		.latency_max_ns = input_number(in, 8),
		.others = others,
		.count = count };

	for (size_t i = 0; i < count; i++) {
		unsigned result = (unsigned)input_number(in, 1) % WIRE_RESULT_FAILED + 1;

		others[i] = (struct record_outcome){ .result = wire_result_name(result),
			.outcome = "unknown",
			.error = (int32_t)(input_number(in, 2) % (WIRE_ERRNO_MAX + 1)),
			.ghost = ghosts[i] };
	}
	json_decref(
		line_read(long_line, record_batch_result(long_line, sizeof(long_line), head, &r)));
}

/* The same bytes in a line for people. */
static void
text_say(struct input *in)
{
	char *text = text_take(in), safe[64];

	text_escape(text, strlen(text), safe, sizeof(safe));
	REQUIRE(strlen(safe) < sizeof(safe));
	for (const char *p = safe; *p != '\0'; p++)
		REQUIRE(*p >= 0x20 && *p < 0x7f);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const makers[])(struct input *, const struct record_head *) = { exit_make,
		decide_make, destroy_make, start_make, counts_make, reload_make, breaker_make,
		open_make, batch_make, left_make, batch_result_make };
	struct input in = { data, size };
	size_t what = input_number(&in, 1) % (sizeof(makers) / sizeof(makers[0]));
	struct record_head head = { .time = { input_number(&in, 8) },
		.sequence = input_number(&in, 8) };

	makers[what](&in, &head);
	REACHED(what);
	text_say(&in);
	return 0;
}
