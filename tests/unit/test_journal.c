/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/journal.c broker/note.c broker/record.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c broker/budget.c broker/keyed.c proto/log.c */
/* clang-format on */
#include "tests/unit/unit.h"

#include <ctype.h>
#include <endian.h>
#include <sys/socket.h>

#include "broker/journal.h"

static char out[JOURNAL_ENTRY_MAX];
static struct wire_note note;

/* An entry as journald reads it. */
static struct field {
	char name[65];
	const char *value;
	size_t len;
	bool binary;
} fields[64];
static unsigned field_count;

static void
name_take(const char *from, size_t len)
{
	struct field *f = &fields[field_count++];

	assert_true(field_count <= COUNT_OF(fields) && len > 0 && len < sizeof(f->name));
	memcpy(f->name, from, len);
	f->name[len] = '\0';
	for (size_t i = 0; i < len; i++)
		assert_true(isupper((unsigned char)from[i]) || isdigit((unsigned char)from[i]) ||
			    (i > 0 && from[i] == '_'));
	for (unsigned i = 0; i + 1 < field_count; i++)
		assert_string_not_equal(fields[i].name, f->name);
}

static void
entry_read(void)
{
	const char *at = out, *end = out + journal_entry(&note, out);

	assert_true(end > out && end <= out + sizeof(out));
	for (field_count = 0; at < end;) {
		const char *eol = memchr(at, '\n', (size_t)(end - at)), *is;
		uint64_t len;

		assert_non_null(eol);
		is = memchr(at, '=', (size_t)(eol - at));
		name_take(at, (size_t)((is != NULL ? is : eol) - at));
		if (is != NULL) {
			fields[field_count - 1].value = is + 1;
			fields[field_count - 1].len = (size_t)(eol - is) - 1;
			at = eol + 1;
			continue;
		}
		memcpy(&len, eol + 1, sizeof(len));
		fields[field_count - 1].binary = true;
		fields[field_count - 1].value = eol + 9;
		fields[field_count - 1].len = (size_t)le64toh(len);
		at = eol + 9 + le64toh(len);
		assert_true(at < end && *at == '\n');
		at++;
	}
}

static const struct field *
find(const char *name)
{
	for (unsigned i = 0; i < field_count; i++) {
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	}
	return NULL;
}

static void
expect(const char *name, const char *value)
{
	const struct field *f = find(name);

	if (f == NULL || f->len != strlen(value) || memcmp(f->value, value, f->len) != 0)
		fail_msg("%s is %.*s, expected %s", name, f == NULL ? 0 : (int)f->len,
			f == NULL ? "" : f->value, value);
}

static int
setup(void **state)
{
	(void)state;
	note = (struct wire_note){ .sequence = 18,
		.ghost = 42,
		.cookie = 0x1007,
		.latency_ns = 84000,
		.pid = 812,
		.uid = 33,
		.exit_code = 9,
		.send_queue = 100,
		.action = WIRE_ACTION_DESTROY,
		.outcome = WIRE_OUTCOME_SUCCESS,
		.state = TCP_STATE_FIN_WAIT1,
		.flags = WIRE_NOTE_UID | WIRE_NOTE_EXIT,
		.notice = WIRE_NOTICE_RST,
		.tuple = { .family = AF_INET,
			.src_port = 443,
			.dst_port = 40112,
			.netns = 4026531840u,
			.src = { 192, 0, 2, 1 },
			.dst = { 198, 51, 100, 7 } },
		.comm = "nginx",
		.unit = "nginx.service",
		.verdict = "destroyed",
		.class = "kill" };
	return 0;
}

static void
test_destroy(void **state)
{
	static const char *const want[][2] = {
		{ "MESSAGE",
			"busted nginx[812] of nginx.service (SIGKILL): 192.0.2.1:443 -> "
			"198.51.100.7:40112 fin-wait-1, 100 bytes unsent; destroyed in 84 us, peer "
			"notice rst" },
		{ "PRIORITY", "6" },
		{ "SYSLOG_IDENTIFIER", "eghostbuster" },
		{ "MESSAGE_ID", "65df1f6868a6403ca76354f63e6c4517" },
		{ "EGHOSTBUSTER_ACTION", "destroy" },
		{ "EGHOSTBUSTER_SEQUENCE", "18" },
		{ "EGHOSTBUSTER_RESULT", "destroyed" },
		{ "EGHOSTBUSTER_OUTCOME", "success" },
		{ "EGHOSTBUSTER_GHOST", "42" },
		{ "EGHOSTBUSTER_PID", "812" },
		{ "EGHOSTBUSTER_COMM", "nginx" },
		{ "EGHOSTBUSTER_UID", "33" },
		{ "EGHOSTBUSTER_UNIT", "nginx.service" },
		{ "EGHOSTBUSTER_EXIT_CLASS", "kill" },
		{ "EGHOSTBUSTER_EXIT_SIGNAL", "9" },
		{ "EGHOSTBUSTER_LOCAL_ADDRESS", "192.0.2.1" },
		{ "EGHOSTBUSTER_LOCAL_PORT", "443" },
		{ "EGHOSTBUSTER_REMOTE_ADDRESS", "198.51.100.7" },
		{ "EGHOSTBUSTER_REMOTE_PORT", "40112" },
		{ "EGHOSTBUSTER_NETNS", "4026531840" },
		{ "EGHOSTBUSTER_COOKIE", "0x1007" },
		{ "EGHOSTBUSTER_STATE", "fin-wait-1" },
		{ "EGHOSTBUSTER_SEND_QUEUE", "100" },
		{ "EGHOSTBUSTER_LATENCY_NS", "84000" },
		{ "EGHOSTBUSTER_PEER_NOTICE", "rst" },
	};

	(void)state;
	entry_read();
	for (size_t i = 0; i < COUNT_OF(want); i++)
		expect(want[i][0], want[i][1]);
	assert_int_equal(field_count, COUNT_OF(want));
}

static void
test_others(void **state)
{
	(void)state;
	note.outcome = WIRE_OUTCOME_FAILURE;
	note.error = EPERM;
	note.latency_ns = 0;
	strcpy(note.verdict, "failed");
	entry_read();
	expect("PRIORITY", "4");
	expect("EGHOSTBUSTER_OUTCOME", "failure");
	expect("ERRNO", "1");
	assert_null(find("EGHOSTBUSTER_LATENCY_NS"));
	note = (struct wire_note){ .action = WIRE_ACTION_DECIDE,
		.sequence = 1,
		.batch = 3,
		.count = 9,
		.verdict = "report",
		.reason = "several",
		.exit_code = 3 << 8,
		.flags = WIRE_NOTE_EXIT,
		.rule = "finished" };
	entry_read();
	expect("MESSAGE", "batch 3: 9 ghosts, report; several, rule finished");
	expect("EGHOSTBUSTER_VERDICT", "report");
	expect("EGHOSTBUSTER_REASON", "several");
	expect("EGHOSTBUSTER_RULE", "finished");
	expect("EGHOSTBUSTER_BATCH", "3");
	expect("EGHOSTBUSTER_COUNT", "9");
	expect("EGHOSTBUSTER_EXIT_STATUS", "3");
	assert_null(find("EGHOSTBUSTER_UID"));
	assert_null(find("EGHOSTBUSTER_LOCAL_ADDRESS"));
	note = (struct wire_note){ .action = WIRE_ACTION_SUPPRESSED, .count = 5 };
	entry_read();
	expect("MESSAGE", "5 records are missing here: see the audit log");
	expect("PRIORITY", "4");
	assert_null(find("EGHOSTBUSTER_SEQUENCE"));
}

/* Each action has a name of its own for whoever looks for it, and verdicts are called what they
 * are. */
static void
test_actions(void **state)
{
	char ids[WIRE_ACTION_SUPPRESSED + 1][33];

	(void)state;
	for (unsigned action = 1; action <= WIRE_ACTION_SUPPRESSED; action++) {
		const struct field *id;

		note.action = (uint8_t)action;
		entry_read();
		expect("EGHOSTBUSTER_ACTION", wire_action_name(action));
		id = find("MESSAGE_ID");
		assert_true(id != NULL && id->len == 32);
		snprintf(ids[action], sizeof(ids[action]), "%.32s", id->value);
		assert_int_equal(strspn(ids[action], "0123456789abcdef"), 32);
		for (unsigned other = 1; other < action; other++)
			assert_string_not_equal(ids[other], ids[action]);
		assert_int_equal(find("EGHOSTBUSTER_MODE") != NULL,
			action == WIRE_ACTION_START || action == WIRE_ACTION_CONFIG_RELOAD);
		assert_int_equal(
			find("EGHOSTBUSTER_BREAKER") != NULL, action == WIRE_ACTION_BREAKER);
		assert_int_equal(
			find("EGHOSTBUSTER_VERDICT") != NULL, action == WIRE_ACTION_DECIDE);
		assert_int_equal(
			find("EGHOSTBUSTER_RESULT") != NULL, action == WIRE_ACTION_DESTROY);
	}
}

/* Other people's bytes come back as they are, and are nothing but a value. */
static void
test_hostile_names(void **state)
{
	const char *forged = "x\nPRIORITY=0\n";

	(void)state;
	random_start();
	for (unsigned n = 0; n < 20000; n++) {
		const struct field *message;

		random_fill(note.comm, sizeof(note.comm) - 1);
		random_fill(note.unit, sizeof(note.unit) - 1);
		entry_read();
		expect("PRIORITY", "6");
		if (note.comm[0] != '\0')
			expect("EGHOSTBUSTER_COMM", note.comm);
		message = find("MESSAGE");
		assert_true(message != NULL && message->binary);
		for (size_t i = 0; i < message->len; i++)
			assert_true(isprint((unsigned char)message->value[i]));
	}
	memset(note.comm, 0, sizeof(note.comm));
	strcpy(note.comm, forged);
	entry_read();
	expect("EGHOSTBUSTER_COMM", forged);
	assert_true(find("EGHOSTBUSTER_COMM")->binary && find("EGHOSTBUSTER_UNIT")->binary);
	expect("PRIORITY", "6");
}

/* The longest of everything. */
static void
test_it_fits(void **state)
{
	(void)state;
	memset(&note, 0xff, sizeof(note));
	note.action = WIRE_ACTION_DESTROY;
	note.outcome = WIRE_OUTCOME_FAILURE;
	note.state = TCP_STATE_NEW_SYN_RECV;
	note.error = 4095;
	note.tuple.family = AF_INET6;
	note.batch = 0;
	memset(note.verdict, 'v', sizeof(note.verdict));
	memset(note.reason, 'r', sizeof(note.reason));
	memset(note.class, 'c', sizeof(note.class));
	memset(note.rule, 'u', sizeof(note.rule));
	note.comm[WIRE_COMM_LEN - 1] = note.unit[WIRE_KEY_LEN - 1] = '\0';
	note.verdict[WIRE_WORD_LEN - 1] = note.reason[WIRE_WORD_LEN - 1] = '\0';
	note.class[WIRE_WORD_LEN - 1] = note.rule[WIRE_RULE_LEN - 1] = '\0';
	entry_read();
	expect("EGHOSTBUSTER_SEND_QUEUE", "4294967295");
	expect("EGHOSTBUSTER_LATENCY_NS", "18446744073709551615");
	expect("EGHOSTBUSTER_PEER_NOTICE", "none");
	assert_true(journal_entry(&note, out) < JOURNAL_ENTRY_MAX - 500);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_destroy, setup),
		cmocka_unit_test_setup(test_others, setup),
		cmocka_unit_test_setup(test_actions, setup),
		cmocka_unit_test_setup(test_hostile_names, setup),
		cmocka_unit_test_setup(test_it_fits, setup),
	};

	return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
