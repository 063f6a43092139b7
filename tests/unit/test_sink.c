/* SPDX-License-Identifier: Apache-2.0 */
/* links: sink/loop.c sink/text.c proto/channel.c proto/wire.c proto/limit.c proto/log.c */
#include "tests/unit/unit.h"

#include <sys/socket.h>
#include <time.h>

#include "proto/build_id.h"
#include "sink/loop.h"

/* The kernel's audit: keeps what is written, refuses or delays as it is told. */
static struct kernel {
	char texts[1024][96];
	unsigned count;
	unsigned refuse; /* so many from now on */
	int error;
	unsigned delay_ms; /* of each */
} kernel;

int
audit_write(struct audit *audit, const char *text, size_t len)
{
	const struct timespec delay = { .tv_nsec = kernel.delay_ms % 1000 * 1000000l,
		.tv_sec = kernel.delay_ms / 1000 };

	(void)audit;
	assert_int_equal(strlen(text), len);
	if (kernel.delay_ms != 0)
		nanosleep(&delay, NULL);
	if (kernel.refuse != 0) {
		kernel.refuse--;
		return kernel.error;
	}
	assert_true(kernel.count < COUNT_OF(kernel.texts));
	snprintf(kernel.texts[kernel.count++], sizeof(kernel.texts[0]), "%.95s", text);
	return 0;
}

static struct audit audit;
static int ends[2];
static struct channel near, broker;

/* What a test sends has to find room before anybody reads it. */
static int
setup(void **state)
{
	const int room = 212992; /* as much as whoever is not root may have */

	(void)state;
	kernel = (struct kernel){ 0 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	channel_open(&near, ends[0], "broker", WIRE_B2S);
	channel_open(&broker, ends[1], "sink", WIRE_S2B);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	close(ends[0]);
	if (broker.fd >= 0)
		close(broker.fd);
	return 0;
}

static void
greet(void)
{
	struct wire_sink_greeting greeting = { .boot_id = { 1 } };

	memcpy(greeting.build_id, build_id, sizeof(greeting.build_id));
	assert_int_equal(channel_send(&broker, WIRE_B2S_HELLO, &greeting, 1), 0);
}

/* Notes number first, first + 1, ... of one action, as packets. */
static void
notes_send(enum wire_action action, uint64_t first, unsigned count)
{
	struct wire_note notes[WIRE_NOTES_MAX];

	while (count > 0) {
		unsigned n = 0;

		for (; n < WIRE_NOTES_MAX && count > 0; count--)
			notes[n++] = (struct wire_note){ .action = (uint8_t)action,
				.sequence = first++ };
		assert_int_equal(channel_send(&broker, WIRE_B2S_NOTE, notes, n), 0);
	}
}

static void
gap_send(uint64_t count)
{
	const struct wire_note gap = { .action = WIRE_ACTION_SUPPRESSED, .count = count };

	assert_int_equal(channel_send(&broker, WIRE_B2S_NOTE, &gap, 1), 0);
}

/* Everything that was sent is there when it begins, and the broker has gone. */
static void
run_alone(void)
{
	close(broker.fd);
	broker.fd = -1;
	loop_run(&near, &audit);
}

static void
text_expect(unsigned i, const char *begin)
{
	if (i >= kernel.count || strncmp(kernel.texts[i], begin, strlen(begin)) != 0)
		fail_msg("message %u is '%s', expected '%s'", i,
			i < kernel.count ? kernel.texts[i] : "not there", begin);
}

/* ---- messages ---- */

static void
test_in_order(void **state)
{
	(void)state;
	greet();
	notes_send(WIRE_ACTION_LOG_OPEN, 1, 1);
	notes_send(WIRE_ACTION_DECIDE, 2, 100);
	notes_send(WIRE_ACTION_LOG_CLOSE, 102, 1);
	run_alone();
	assert_int_equal(kernel.count, 102);
	text_expect(0, "op=log-open seqno=1 uuid=01000000-0000-0000-0000-000000000000");
	text_expect(1, "op=decide seqno=2 ");
	text_expect(100, "op=decide seqno=101 ");
	text_expect(101, "op=log-close seqno=102 ");
}

/* What the kernel refuses is told as soon as it takes anything again, before what follows. */
static void
test_refused(void **state)
{
	(void)state;
	kernel.refuse = 3;
	kernel.error = EPERM;
	greet();
	notes_send(WIRE_ACTION_LOST, 1, 5);
	run_alone();
	assert_int_equal(kernel.count, 3);
	text_expect(0, "op=audit-suppressed count=3 ");
	text_expect(1, "op=lost seqno=4 ");
	text_expect(2, "op=lost seqno=5 ");
}

static void
test_refused_to_the_end(void **state)
{
	(void)state;
	greet();
	notes_send(WIRE_ACTION_LOST, 1, 1);
	run_alone();
	kernel.refuse = 0;
	assert_int_equal(kernel.count, 1);
	teardown(NULL);
	setup(NULL);
	kernel.refuse = 2;
	kernel.error = EPERM;
	greet();
	notes_send(WIRE_ACTION_LOST, 2, 2);
	run_alone(); /* the last word is how many are missing */
	assert_int_equal(kernel.count, 1);
	text_expect(0, "op=audit-suppressed count=2 ");
}

/* What the broker could not hand over is told with what was refused here. */
static void
test_broker_lost_some(void **state)
{
	(void)state;
	greet();
	notes_send(WIRE_ACTION_LOST, 1, 1);
	gap_send(7);
	notes_send(WIRE_ACTION_LOST, 9, 1);
	kernel.refuse = 1;
	kernel.error = EPERM;
	run_alone();
	assert_int_equal(kernel.count, 2);
	text_expect(0, "op=audit-suppressed count=8 ");
	text_expect(1, "op=lost seqno=9 ");
}

/* Ghosts are told of at a rate; the service's own records always are. */
static void
test_limit(void **state)
{
	(void)state;
	greet();
	notes_send(WIRE_ACTION_DESTROY, 1, LOOP_MESSAGES_PER_S + 100);
	notes_send(WIRE_ACTION_STOP, LOOP_MESSAGES_PER_S + 101, 1);
	run_alone();
	/* a slow machine gets some more, by the time that passes */
	assert_true(kernel.count >= LOOP_MESSAGES_PER_S + 1);
	text_expect(LOOP_MESSAGES_PER_S - 1, "op=destroy ");
	text_expect(kernel.count - 1, "op=stop ");
	if (kernel.count == LOOP_MESSAGES_PER_S + 2)
		text_expect(LOOP_MESSAGES_PER_S, "op=audit-suppressed count=100 ");
}

/* Nobody is left to wait for: a kernel that holds a message up gets no further one. */
static void
test_stalled(void **state)
{
	(void)state;
	kernel.delay_ms = 1050;
	greet();
	notes_send(WIRE_ACTION_LOST, 1, 40);
	run_alone();
	assert_int_equal(kernel.count, 1);
}

/* ---- with a broker ---- */

static struct wire_report report;

/* Waits for a report; false when the sink has ended. */
static bool
report_wait(void)
{
	struct wire_view view;

	if (channel_recv(&broker, &view) != CHANNEL_MESSAGE)
		return false;
	assert_int_equal(view.type, WIRE_S2B_REPORT);
	report = *(const struct wire_report *)view.records;
	return true;
}

/* The loop in a process of its own. */
static pid_t
sink_fork(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close(broker.fd);
		loop_run(&near, &audit);
		_exit(0);
	}
	return pid;
}

static void
sink_end(pid_t pid)
{
	int status;

	close(broker.fd);
	broker.fd = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Over the rate nothing is lost: it waits in the channel, and the broker hears of each. */
static void
test_paced(void **state)
{
	const unsigned count = LOOP_MESSAGES_PER_S + 100;
	struct timespec begun, ended;
	pid_t pid;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	pid = sink_fork();
	greet();
	notes_send(WIRE_ACTION_DESTROY, 1, count);
	do
		assert_true(report_wait());
	while (report.taken + report.lost < count);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_int_equal(report.taken, count);
	assert_int_equal(report.error, 0);
	assert_true(ended.tv_sec * 1000 + ended.tv_nsec / 1000000 >=
		    begun.tv_sec * 1000 + begun.tv_nsec / 1000000 + 199);
	sink_end(pid);
}

static void
test_reports(void **state)
{
	pid_t pid;

	(void)state;
	kernel.refuse = 2;
	kernel.error = ECONNREFUSED;
	pid = sink_fork();
	greet();
	notes_send(WIRE_ACTION_LOG_OPEN, 1, 1);
	assert_true(report_wait());
	assert_true(report.taken == 0 && report.lost == 1 && report.error == ECONNREFUSED);
	notes_send(WIRE_ACTION_START, 2, 1); /* refused before it is tried: the gap is */
	notes_send(WIRE_ACTION_LOST, 3, 1);
	assert_true(report_wait());
	assert_true(report.taken == 1 && report.lost == 2 && report.error == 0);
	sink_end(pid);
}

/* ---- what must not be ---- */

static void
run(void *arg)
{
	(void)arg;
	loop_run(&near, &audit);
}

static void
broken_expect(const char *part)
{
	char said[512];

	assert_int_equal(child_run(run, NULL, said, sizeof(said)), 1);
	assert_one_line(said, part);
}

static void
test_no_greeting(void **state)
{
	(void)state;
	notes_send(WIRE_ACTION_LOST, 1, 1);
	broken_expect("NOTE before HELLO");
}

static void
test_two_greetings(void **state)
{
	(void)state;
	greet();
	greet();
	broken_expect("a second HELLO");
}

static void
test_another_build(void **state)
{
	const struct wire_sink_greeting greeting = { .build_id = { 1 } };

	(void)state;
	assert_int_equal(channel_send(&broker, WIRE_B2S_HELLO, &greeting, 1), 0);
	broken_expect("of another build");
}

static void
test_bad_note(void **state)
{
	const struct wire_note bad = { .action = WIRE_ACTION_LOST, .sequence = 1, .reason = "a b" };

	(void)state;
	greet();
	assert_int_equal(channel_send(&broker, WIRE_B2S_NOTE, &bad, 1), 0);
	broken_expect("a field out of its range");
}

static void
test_hello(void **state)
{
	struct wire_view view;

	(void)state;
	loop_hello(&near);
	assert_int_equal(channel_recv(&broker, &view), CHANNEL_MESSAGE);
	assert_int_equal(view.type, WIRE_S2B_HELLO);
	assert_memory_equal(view.records, build_id, WIRE_BUILD_ID_LEN);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hello, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused_to_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broker_lost_some, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_paced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_greeting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_greetings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_build, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_note, setup, teardown),
	};

	return cmocka_run_group_tests_name("sink", tests, NULL, NULL);
}
