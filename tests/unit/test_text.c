/* SPDX-License-Identifier: Apache-2.0 */
/* links: sink/text.c proto/wire.c */
#include "tests/unit/unit.h"

#include <ctype.h>
#include <sys/socket.h>

#include "sink/text.h"

static const uint8_t boot_id[WIRE_BOOT_ID_LEN] = { 0x4e, 0xa1, 0x81, 0x60, 0x5b, 0x3b, 0x48, 0xf2,
	0xa7, 0xd7, 0x7f, 0xb5, 0xac, 0x53, 0xfd, 0xd8 };
#define UUID "uuid=4ea18160-5b3b-48f2-a7d7-7fb5ac53fdd8"

static char out[TEXT_MAX + 1];
static struct wire_note note;

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
		.send_queue = 3782145,
		.action = WIRE_ACTION_DESTROY,
		.outcome = WIRE_OUTCOME_SUCCESS,
		.state = TCP_STATE_FIN_WAIT1,
		.flags = WIRE_NOTE_UID | WIRE_NOTE_EXIT,
		.notice = WIRE_NOTICE_RST,
		.tuple = { .family = AF_INET,
			.src_port = 443,
			.dst_port = 40112,
			.src = { 192, 0, 2, 1 },
			.dst = { 198, 51, 100, 7 } },
		.comm = "nginx",
		.unit = "nginx.service",
		.verdict = "destroyed",
		.class = "kill" };
	return 0;
}

static void
text_expect(const char *want)
{
	size_t len = text_format(&note, boot_id, out);

	assert_string_equal(out, want);
	assert_int_equal(len, strlen(want));
}

#define SOCKET	"laddr=192.0.2.1 lport=443 addr=198.51.100.7 rport=40112 proto=6 "
#define WORKER	"opid=812 ocomm=\"nginx\" ouid=33 sig=9 unit=\"nginx.service\" "
#define NUMBERS "seqno=18 " UUID

static void
test_destroy(void **state)
{
	(void)state;
	text_expect("op=destroy " SOCKET WORKER "reason=destroyed state=fin-wait-1 " NUMBERS
		    " res=success");
	strcpy(note.verdict, "refused-live");
	note.outcome = WIRE_OUTCOME_FAILURE;
	text_expect("op=destroy " SOCKET WORKER "reason=refused-live state=fin-wait-1 " NUMBERS
		    " res=failed");
	strcpy(note.verdict, "observed");
	note.outcome = WIRE_OUTCOME_UNKNOWN;
	text_expect(
		"op=destroy " SOCKET WORKER "reason=observed state=fin-wait-1 " NUMBERS " res=?");
}

static void
test_decide(void **state)
{
	(void)state;
	note.action = WIRE_ACTION_DECIDE;
	note.outcome = WIRE_OUTCOME_NONE;
	strcpy(note.verdict, "report");
	strcpy(note.reason, "owner-finished");
	note.exit_code = 0;
	text_expect("op=decide-report " SOCKET
		    "opid=812 ocomm=\"nginx\" ouid=33 unit=\"nginx.service\" "
		    "reason=owner-finished state=fin-wait-1 " NUMBERS " res=success");
}

static void
test_ipv6(void **state)
{
	(void)state;
	note.tuple.family = AF_INET6;
	memset(note.tuple.src, 0xfe, 16);
	memset(note.tuple.dst, 0, 15);
	note.tuple.dst[15] = 1;
	text_expect("op=destroy laddr=fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe lport=443 addr=::1 "
		    "rport=40112 proto=6 " WORKER "reason=destroyed state=fin-wait-1 " NUMBERS
		    " res=success");
}

/* Nothing is said of what is not known. */
static void
test_bare(void **state)
{
	(void)state;
	note = (struct wire_note){ .action = WIRE_ACTION_EXIT, .sequence = 1 };
	text_expect("op=exit seqno=1 " UUID " res=success");
	note = (struct wire_note){ .action = WIRE_ACTION_SUPPRESSED, .count = 7 };
	text_expect("op=audit-suppressed count=7 " UUID " res=failed");
	note = (struct wire_note){ .action = WIRE_ACTION_DESTROY,
		.sequence = 2,
		.batch = 3,
		.count = 1024,
		.flags = WIRE_NOTE_UID };
	text_expect("op=destroy ouid=0 count=1024 seqno=2 " UUID " res=success");
}

static void
test_the_service(void **state)
{
	(void)state;
	note = (struct wire_note){
		.action = WIRE_ACTION_START, .sequence = 2, .verdict = "enforce"
	};
	text_expect("op=start state=enforce seqno=2 " UUID " res=success");
	note = (struct wire_note){ .action = WIRE_ACTION_CONFIG_RELOAD,
		.sequence = 3,
		.verdict = "observe",
		.outcome = WIRE_OUTCOME_FAILURE };
	text_expect("op=config-reload state=observe seqno=3 " UUID " res=failed");
	note = (struct wire_note){ .action = WIRE_ACTION_BREAKER,
		.sequence = 4,
		.verdict = "open",
		.reason = "over-limit",
		.unit = "cgroup:7" };
	text_expect(
		"op=breaker-open unit=\"cgroup:7\" reason=over-limit seqno=4 " UUID " res=success");
}

/* ---- names of any bytes ---- */

static void
hex_of(const char *text, char *hex)
{
	for (; *text != '\0'; text++)
		hex += sprintf(hex, "%02X", (unsigned char)*text);
}

/* Quoted where it is plain; a byte that would end the value, the message or the record makes it
 * hexadecimal, all of it. */
static void
test_each_byte(void **state)
{
	char hex[2 * WIRE_COMM_LEN], want[64];

	(void)state;
	for (int byte = 1; byte < 256; byte++) {
		bool plain = byte > 0x20 && byte < 0x7f && byte != '"' && byte != '\'';

		note = (struct wire_note){
			.action = WIRE_ACTION_EXIT, .sequence = 1, .comm = { 'a', (char)byte, 'b' }
		};
		text_format(&note, boot_id, out);
		hex_of(note.comm, hex);
		if (plain)
			snprintf(want, sizeof(want), " ocomm=\"%s\" ", note.comm);
		else
			snprintf(want, sizeof(want), " ocomm=%s ", hex);
		if (strstr(out, want) == NULL)
			fail_msg("%s is not in %s", want, out);
	}
}

/* Whatever the names are: one line of plain bytes, in which each key is there once. */
static void
text_holds(void)
{
	size_t len = text_format(&note, boot_id, out);

	assert_true(len < TEXT_MAX && strlen(out) == len);
	for (size_t i = 0; i < len; i++)
		assert_true(isprint((unsigned char)out[i]) && out[i] != '\'');
	assert_ptr_equal(strstr(out, "op="), out);
	assert_non_null(strstr(out, " res="));
	assert_null(strstr(strstr(out, " res=") + 1, " res="));
	assert_null(strchr(strstr(out, " res=") + 1, ' '));
}

static void
test_hostile_names(void **state)
{
	const char *forged = "x\" res=1 op=\"";

	(void)state;
	random_start();
	for (unsigned n = 0; n < 20000; n++) {
		random_fill(note.comm, sizeof(note.comm) - 1);
		random_fill(note.unit, sizeof(note.unit) - 1);
		text_holds();
	}
	memset(note.comm, 0, sizeof(note.comm));
	snprintf(note.comm, sizeof(note.comm), "%s", forged);
	snprintf(note.unit, sizeof(note.unit), "%s", forged);
	text_holds();
}

/* The longest of everything. */
static void
test_it_fits(void **state)
{
	(void)state;
	memset(&note, 0xff, sizeof(note));
	note.action = WIRE_ACTION_DECIDE;
	note.outcome = WIRE_OUTCOME_UNKNOWN;
	note.state = TCP_STATE_NEW_SYN_RECV;
	note.tuple.family = AF_INET6;
	memset(note.verdict, 'v', sizeof(note.verdict));
	memset(note.reason, 'r', sizeof(note.reason));
	note.comm[WIRE_COMM_LEN - 1] = note.unit[WIRE_KEY_LEN - 1] = '\0';
	note.verdict[WIRE_WORD_LEN - 1] = note.reason[WIRE_WORD_LEN - 1] = '\0';
	text_holds();
	assert_non_null(strstr(out, " res=?"));
	assert_true(strlen(out) < TEXT_MAX - 200);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_destroy, setup),
		cmocka_unit_test_setup(test_decide, setup),
		cmocka_unit_test_setup(test_ipv6, setup),
		cmocka_unit_test_setup(test_bare, setup),
		cmocka_unit_test_setup(test_the_service, setup),
		cmocka_unit_test_setup(test_each_byte, setup),
		cmocka_unit_test_setup(test_hostile_names, setup),
		cmocka_unit_test_setup(test_it_fits, setup),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
