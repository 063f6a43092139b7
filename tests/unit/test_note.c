/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/note.c broker/record.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c broker/budget.c broker/keyed.c proto/log.c */
/* clang-format on */
#include "tests/unit/unit.h"

#include <sys/socket.h>

#include "broker/note.h"

static char out[RECORD_BATCH_MAX], text[NOTE_TEXT_MAX];
static struct wire_note note;
static const struct record_head head = { { 1795334462123456789u }, 17, &note };
static struct owner owner;
static struct record_owner record_owner;
static struct ghost ghost;
static struct record_ghost record_ghost;
static struct rule rule = { .name = "killed" };
static struct decision decision;

static int
setup(void **state)
{
	(void)state;
	owner = (struct owner){ .process = { .start_boottime = 1,
					.tgid = 812,
					.uid = 33,
					.exit_code = 9,
					.comm = "nginx",
					.unit = "nginx.service" },
		.exit = EXIT_KILL };
	record_owner = (struct record_owner){ &owner.process, "0123456789abcdef", EXIT_KILL };
	ghost = (struct ghost){ .id = 42,
		.cookie = 0x1007,
		.tuple = { .family = AF_INET,
			.src_port = 5555,
			.dst_port = 48670,
			.netns = 4026531840u,
			.src = { 127, 0, 0, 1 },
			.dst = { 127, 0, 0, 2 } },
		.send_queue = 3782145,
		.state = TCP_STATE_FIN_WAIT1,
		.exit = EXIT_KILL,
		.owner = &owner };
	record_ghost = (struct record_ghost){
		.id = 42, .tuple = &ghost.tuple, .cookie = 0x1007, .state = TCP_STATE_FIN_WAIT1
	};
	decision = (struct decision){ VERDICT_DESTROY, "owner-killed", &rule, 0, false };
	memset(&note, 0xff, sizeof(note));
	return 0;
}

/* What a sink would be handed: every note passes the check at its end of the channel. */
static void
note_expect(enum wire_action action, const char *line)
{
	static _Alignas(8) unsigned char packet[WIRE_PACKET_MAX];
	size_t len = wire_header_fill((struct wire_header *)packet, WIRE_B2S_NOTE, 1, 0);
	struct wire_view view;

	memcpy(packet + sizeof(struct wire_header), &note, sizeof(note));
	assert_string_equal(
		wire_error_text(wire_check(packet, len, WIRE_B2S, 0, &view)), "correct");
	assert_int_equal(note.action, action);
	assert_int_equal(note.sequence, 17);
	note_text(&note, text, sizeof(text));
	assert_string_equal(text, line);
}

/* ---- ghosts ---- */

static void
test_exit(void **state)
{
	(void)state;
	record_exit(out, RECORD_MAX, &head, &record_owner);
	note_expect(
		WIRE_ACTION_EXIT, "died and left ghosts: nginx[812] of nginx.service (SIGKILL)");
	assert_string_equal(note.reason, "owner-killed");
	assert_string_equal(note.class, "kill");
	assert_int_equal(note.flags, WIRE_NOTE_UID | WIRE_NOTE_EXIT);
	assert_true(note.pid == 812 && note.uid == 33 && note.exit_code == 9);
	assert_int_equal(note.tuple.family, 0);
}

#define NGINX                                                                                   \
	"nginx[812] of nginx.service (SIGKILL): 127.0.0.1:5555 -> 127.0.0.2:48670 fin-wait-1, " \
	"3.6 MiB unsent"

static void
test_decide(void **state)
{
	(void)state;
	record_decide(out, RECORD_MAX, &head, &record_owner, &record_ghost, &decision);
	note_ghost(&note, &ghost);
	note_expect(WIRE_ACTION_DECIDE, "to be busted " NGINX "; owner-killed, rule killed");
	assert_string_equal(note.verdict, "destroy");
	assert_string_equal(note.rule, "killed");
	assert_true(note.ghost == 42 && note.cookie == 0x1007 && note.outcome == 0);
	decision = (struct decision){ VERDICT_REPORT, "no-rule", NULL, 0, false };
	record_decide(out, RECORD_MAX, &head, &record_owner, &record_ghost, &decision);
	note_ghost(&note, &ghost);
	note_expect(WIRE_ACTION_DECIDE, "left alone " NGINX "; no-rule");
}

static void
test_unknown_owner(void **state)
{
	(void)state;
	ghost.owner = NULL;
	ghost.exit = record_owner.exit = EXIT_UNKNOWN;
	record_owner.process = NULL;
	record_decide(out, RECORD_MAX, &head, &record_owner, &record_ghost, &decision);
	note_ghost(&note, &ghost);
	note_expect(WIRE_ACTION_DECIDE,
		"to be busted unknown process: 127.0.0.1:5555 -> 127.0.0.2:48670 fin-wait-1, "
		"3.6 MiB unsent; owner-killed, rule killed");
	assert_true(note.flags == 0 && note.pid == 0 && note.comm[0] == '\0');
	assert_string_equal(note.class, "unknown");
}

static void
test_destroy(void **state)
{
	struct record_result result = { .result = "destroyed",
		.outcome = "success",
		.peer_notice = "rst",
		.state = TCP_STATE_FIN_WAIT2,
		.latency_ns = 84000,
		.look_to_act_ns = 12000 };

	(void)state;
	record_destroy(out, RECORD_MAX, &head, 42, &result);
	note_ghost(&note, &ghost);
	assert_int_equal(note.state, TCP_STATE_FIN_WAIT2); /* as the reaper saw it */
	note.state = TCP_STATE_FIN_WAIT1;
	note_expect(WIRE_ACTION_DESTROY, "busted " NGINX "; destroyed in 84 us, peer notice rst");
	assert_true(note.outcome == WIRE_OUTCOME_SUCCESS && note.latency_ns == 84000);
	result =
		(struct record_result){ .result = "failed", .outcome = "unknown", .error = ENOENT };
	record_destroy(out, RECORD_MAX, &head, 42, &result);
	note_ghost(&note, &ghost);
	note_expect(WIRE_ACTION_DESTROY, "not busted " NGINX "; failed: ENOENT");
	assert_true(note.outcome == WIRE_OUTCOME_UNKNOWN && note.error == ENOENT);
	result = (struct record_result){ .result = "observed", .outcome = "unknown" };
	record_destroy(out, RECORD_MAX, &head, 42, &result);
	note_ghost(&note, &ghost);
	note_expect(WIRE_ACTION_DESTROY, "would bust " NGINX);
}

static void
test_causes(void **state)
{
	(void)state;
	record_owner.exit = EXIT_OOM;
	record_exit(out, RECORD_MAX, &head, &record_owner);
	note_expect(WIRE_ACTION_EXIT,
		"died and left ghosts: nginx[812] of nginx.service (out of memory, SIGKILL)");
	record_owner.exit = EXIT_CLOSED;
	owner.process.exit_code = 3 << 8;
	owner.process.unit[0] = '\0';
	record_exit(out, RECORD_MAX, &head, &record_owner);
	note_expect(WIRE_ACTION_EXIT,
		"died and left ghosts: nginx[812] (closed before, exit status 3)");
}

/* ---- batches ---- */

static struct budget_account account = { .key = { .kind = BUDGET_UID, .uid = 33 } };

static void
test_batch(void **state)
{
	static const uint64_t ghosts[] = { 7, 8 }, cookies[] = { 1, 2 };
	const uint32_t uid = 33;
	struct record_batch batch = { .number = 3,
		.account = &account,
		.rule = "killed",
		.reason = "owner-killed",
		.owner = { .exit = EXIT_KILL },
		.uid = &uid,
		.unit = "a.service",
		.ghosts = ghosts,
		.cookies = cookies,
		.count = 2 };

	(void)state;
	record_batch(out, RECORD_BATCH_MAX, &head, &batch);
	note_expect(WIRE_ACTION_DECIDE, "batch 3: 2 ghosts, destroy; owner-killed, rule killed");
	assert_true(note.pid == 0 && note.uid == 33 && note.flags == WIRE_NOTE_UID);
	assert_string_equal(note.unit, "a.service");
	assert_string_equal(note.class, "kill");
	batch.owner.process = &owner.process;
	batch.owner.entity_id = "0123456789abcdef";
	record_batch(out, RECORD_BATCH_MAX, &head, &batch);
	assert_true(note.pid == 812);
}

static void
test_left(void **state)
{
	struct budget_left left = { .count = 9, .first = 1, .last = 20, .classes = { 9 } };
	const struct record_left record = { 4, &account, &left, VERDICT_REPORT };

	(void)state;
	record_left(out, RECORD_MAX, &head, &record);
	note_expect(WIRE_ACTION_DECIDE, "batch 4: 9 ghosts, report; several");
	assert_true(note.uid == 33 && note.flags == WIRE_NOTE_UID);
}

static void
test_batch_result(void **state)
{
	struct record_outcome others[] = { { "gone", "success", 0, 8 },
		{ "failed", "failure", EPERM, 7 }, { "failed", "failure", EPERM, 9 } };
	struct record_batch_result result = { .number = 3, .destroyed = 5, .others = others };

	(void)state;
	record_batch_result(out, RECORD_BATCH_MAX, &head, &result);
	note_expect(WIRE_ACTION_DESTROY, "batch 3: 5 ghosts, destroyed");
	assert_int_equal(note.outcome, WIRE_OUTCOME_SUCCESS);
	result.count = 3;
	record_batch_result(out, RECORD_BATCH_MAX, &head, &result);
	note_expect(WIRE_ACTION_DESTROY, "batch 3: 8 ghosts, several");
	assert_int_equal(note.outcome, WIRE_OUTCOME_FAILURE);
	result.destroyed = 0;
	record_batch_result(out, RECORD_BATCH_MAX, &head, &result);
	note_expect(WIRE_ACTION_DESTROY, "batch 3: 3 ghosts, several");
	result.count = 2; /* in order by now: both failed */
	record_batch_result(out, RECORD_BATCH_MAX, &head, &result);
	note_expect(WIRE_ACTION_DESTROY, "batch 3: 2 ghosts, failed");
}

/* ---- the service ---- */

static void
test_start_and_stop(void **state)
{
	struct record_start start = { .version = "1",
		.build_id = "00",
		.bpf_object = "00",
		.mode = "observe",
		.why_observe = "kernel-forever-orphan",
		.kernel = "6",
		.boot_id = "x",
		.selftest = "forever-orphan" };
	struct record_counts counts = { 0 };

	(void)state;
	record_start(out, RECORD_MAX, &head, &start);
	note_expect(WIRE_ACTION_START, "start observe: kernel-forever-orphan");
	record_stop(out, RECORD_MAX, &head, "ordered", &counts);
	note_expect(WIRE_ACTION_STOP, "stop: ordered");
}

static void
test_the_rest(void **state)
{
	const struct record_counts counts = {
		.lost_orphans = 1, .lost_exits = 20, .lost_stamps = 300
	};
	const struct record_reconcile reconcile = { .reason = "lost", .adopted = 6, .error = EIO };
	const struct record_breaker open = { .key = "a.service", .open = true };
	const struct record_breaker closed = { .key = "a.service", .held_back = 11 };
	const struct record_log_open log_open = { .reason = "rotated" };

	(void)state;
	record_lost(out, RECORD_MAX, &head, &counts);
	note_expect(WIRE_ACTION_LOST, "lost");
	assert_int_equal(note.count, 321);
	record_reconcile(out, RECORD_MAX, &head, &reconcile);
	note_expect(WIRE_ACTION_RECONCILE, "reconcile: lost: EIO");
	assert_int_equal(note.count, 6);
	record_breaker(out, RECORD_MAX, &head, &open);
	note_expect(WIRE_ACTION_BREAKER, "breaker open: over-limit, a.service");
	record_breaker(out, RECORD_MAX, &head, &closed);
	note_expect(WIRE_ACTION_BREAKER, "breaker closed: hold-over, a.service");
	assert_int_equal(note.count, 11);
	record_config_reload(out, RECORD_MAX, &head, "/x", "enforce", NULL);
	note_expect(WIRE_ACTION_CONFIG_RELOAD, "config-reload enforce");
	record_config_reload(out, RECORD_MAX, &head, "/x", "enforce", "bad");
	note_expect(WIRE_ACTION_CONFIG_RELOAD, "config-reload enforce failed");
	record_log_open(out, RECORD_MAX, &head, &log_open);
	note_expect(WIRE_ACTION_LOG_OPEN, "log-open: rotated");
	record_log_close(out, RECORD_MAX, &head, "stop");
	note_expect(WIRE_ACTION_LOG_CLOSE, "log-close: stop");
}

/* ---- anything ---- */

/* Names of any bytes, as long as can be. */
static void
test_hostile_names(void **state)
{
	struct record_breaker breaker = { .open = true };
	char key[BREAKER_KEY_LEN];

	(void)state;
	for (int byte = 1; byte < 256; byte++) {
		memset(owner.process.comm, byte, WIRE_COMM_LEN - 1);
		memset(owner.process.unit, byte, WIRE_UNIT_LEN - 1);
		record_decide(out, RECORD_MAX, &head, &record_owner, &record_ghost, &decision);
		note_ghost(&note, &ghost);
		note_text(&note, text, sizeof(text));
		note_expect(WIRE_ACTION_DECIDE, text);
		assert_memory_equal(note.comm, owner.process.comm, WIRE_COMM_LEN);
		assert_memory_equal(note.unit, owner.process.unit, WIRE_UNIT_LEN);
		assert_non_null(strstr(text, "unsent; owner-killed, rule killed"));
		memset(key, byte, sizeof(key));
		key[sizeof(key) - 1] = '\0';
		breaker.key = key;
		record_breaker(out, RECORD_MAX, &head, &breaker);
		note_expect(WIRE_ACTION_BREAKER, (note_text(&note, text, sizeof(text)), text));
		assert_string_equal(note.unit, key);
	}
}

/* Without other sinks there is no note, and nothing to fill in. */
static void
test_no_note(void **state)
{
	const struct record_head alone = { { 1 }, 1, NULL };
	const struct record_result result = { .result = "gone", .outcome = "success" };

	(void)state;
	assert_true(record_exit(out, RECORD_MAX, &alone, &record_owner) > 0);
	assert_true(record_destroy(out, RECORD_MAX, &alone, 1, &result) > 0);
	note_ghost(NULL, &ghost);
	note_owners(NULL, NULL, NULL);
	note_count(NULL, 1, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_exit, setup),
		cmocka_unit_test_setup(test_decide, setup),
		cmocka_unit_test_setup(test_unknown_owner, setup),
		cmocka_unit_test_setup(test_destroy, setup),
		cmocka_unit_test_setup(test_causes, setup),
		cmocka_unit_test_setup(test_batch, setup),
		cmocka_unit_test_setup(test_left, setup),
		cmocka_unit_test_setup(test_batch_result, setup),
		cmocka_unit_test_setup(test_start_and_stop, setup),
		cmocka_unit_test_setup(test_the_rest, setup),
		cmocka_unit_test_setup(test_hostile_names, setup),
		cmocka_unit_test_setup(test_no_note, setup),
	};

	return cmocka_run_group_tests_name("note", tests, NULL, NULL);
}
