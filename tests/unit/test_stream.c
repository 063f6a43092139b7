/* SPDX-License-Identifier: Apache-2.0 */
/* links: tracker/stream.c tracker/decode.c proto/channel.c proto/wire.c proto/log.c */
#include "tests/unit/unit.h"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "bpf/events.h"
#include "proto/channel.h"
#include "proto/clock.h"
#include "tracker/stream.h"

/*
 * The tracker's loop. The kernel's ring buffer is played here: each turn reads what the test has
 * put there, and the broker reads what came of it.
 */

#define RING_FD	     77
#define HEARTBEAT_MS 1000
#define TURNS_MAX    8

static const struct turn {
	unsigned exits, orphans; /* records in the ring, by turns while there are both */
	bool beat;		 /* the time for a heartbeat has come */
} * turns;
static unsigned turn_count, turn_now;

static struct {
	bool ring;	  /* was among what the loop waited for */
	uint64_t at_most; /* nanoseconds */
} waits[TURNS_MAX + 1];

static ring_buffer_sample_fn received;
static void *received_by;
static struct stream stream;
static struct channel near, far;
static struct event_drops drops[EVENT_DROP_SLOTS], told;
static const struct tracker_bpf_side side = { .ring_fd = RING_FD, .drops = drops, .told = &told };

/* ---- the kernel's part ---- */

struct ring_buffer *
ring_buffer__new(int fd, ring_buffer_sample_fn take, void *ctx, const struct ring_buffer_opts *opts)
{
	static char ring;

	(void)opts;
	assert_int_equal(fd, RING_FD);
	received = take;
	received_by = ctx;
	return (struct ring_buffer *)&ring;
}

static int
record_give(bool orphan)
{
	const struct event_owner owner = { .tgid = 812, .start_boottime = 5, .exit_code = 9 };
	struct event_exit exit_event = { .kind = EVENT_EXIT, .died_mono_ns = 1, .owner = owner };
	struct event_orphan orphan_event = { .kind = EVENT_ORPHAN,
		.born_mono_ns = 1,
		.cookie = 0x1007,
		.family = AF_INET,
		.state = TCP_STATE_FIN_WAIT1,
		.owner = owner };

	return orphan ? received(received_by, &orphan_event, sizeof(orphan_event))
		      : received(received_by, &exit_event, sizeof(exit_event));
}

int
ring_buffer__consume(struct ring_buffer *ring)
{
	unsigned exits = 0, orphans = 0;

	(void)ring;
	if (turn_now > turn_count)
		return 0;
	exits = turns[turn_now - 1].exits;
	orphans = turns[turn_now - 1].orphans;
	while (exits + orphans > 0) {
		bool orphan = orphans >= exits;

		assert_int_equal(record_give(orphan), 0);
		orphans -= orphan;
		exits -= !orphan;
	}
	return 0;
}

/* In place of the C library's. Behind the last turn the broker stops. */
int
ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	(void)mask;
	if (n != 2)
		return (int)syscall(SYS_ppoll, fds, n, timeout, NULL, 0);
	assert_true(turn_now <= TURNS_MAX);
	waits[turn_now].ring = fds[0].fd == RING_FD;
	waits[turn_now].at_most = (uint64_t)timeout->tv_sec * NS_PER_S + (uint64_t)timeout->tv_nsec;
	assert_true(fds[1].fd == near.fd && fds[1].events == POLLIN);
	fds[0].revents = POLLIN;
	fds[1].revents = turn_now == turn_count ? POLLIN : 0;
	if (turn_now < turn_count && turns[turn_now].beat)
		stream.next_ns = clock_now().ns;
	if (turn_now++ == turn_count)
		assert_int_equal(shutdown(far.fd, SHUT_WR), 0);
	return 1;
}

/* What a C library that checks calls it by where the compiler knows the array's size. */
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
	size_t size);

int
__ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
	size_t size)
{
	assert_true(n * sizeof(*fds) <= size);
	return ppoll(fds, n, timeout, mask);
}

/* ---- the test's ---- */

static int
setup(void **state)
{
	int ends[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	channel_open(&near, ends[0], "broker", WIRE_T2B);
	channel_open(&far, ends[1], "tracker", WIRE_T2B);
	memset(drops, 0, sizeof(drops));
	turn_now = 0;
	stream_open(&stream, &near, &side, HEARTBEAT_MS);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	close(near.fd);
	close(far.fd);
	return 0;
}

static void
run(const struct turn *script, unsigned count)
{
	turns = script;
	turn_count = count;
	stream_run(&stream);
	assert_int_equal(turn_now, count + 1);
}

static void
expect(enum wire_type type, size_t count)
{
	struct wire_view view;

	assert_int_equal(channel_recv(&far, &view), CHANNEL_MESSAGE);
	assert_int_equal(view.type, type);
	assert_int_equal(view.count, count);
}

static void
expect_no_more(void)
{
	struct wire_view view;

	assert_int_equal(channel_recv(&far, &view), CHANNEL_EMPTY);
}

/* Whatever else died meanwhile, an orphan is told at once, and all of a turn in one packet. */
static void
test_orphans_at_once(void **state)
{
	static const struct turn script[] = { { .exits = 3, .orphans = 3 }, { .orphans = 1 } };

	(void)state;
	run(script, 2);
	expect(WIRE_T2B_ORPHAN, 3);
	expect(WIRE_T2B_ORPHAN, 1);
	expect(WIRE_T2B_EXIT, 3); /* the stop */
	expect_no_more();
}

static void
test_exits_wait_for_the_heartbeat(void **state)
{
	static const struct turn script[] = { { .exits = 1 }, { .exits = 1 },
		{ .exits = 1, .beat = true }, { .exits = 1 } };
	struct wire_view view;

	(void)state;
	run(script, 4);
	expect(WIRE_T2B_EXIT, 3);
	assert_int_equal(channel_recv(&far, &view), CHANNEL_MESSAGE);
	assert_int_equal(view.type, WIRE_T2B_HEARTBEAT);
	assert_int_equal(((const struct wire_heartbeat *)view.records)->exits, 3);
	expect(WIRE_T2B_EXIT, 1);
	expect_no_more();
}

static void
test_full_packets(void **state)
{
	static const struct turn script[] = { { .exits = 65, .orphans = 65 } };

	(void)state;
	run(script, 1);
	expect(WIRE_T2B_ORPHAN, 64);
	expect(WIRE_T2B_EXIT, 64);
	expect(WIRE_T2B_ORPHAN, 1);
	expect(WIRE_T2B_EXIT, 1);
	expect_no_more();
}

/* Behind a round of many the ring is left alone for less than a millisecond, and its end is still
 * heard of the broker; behind one of few nothing is waited for. */
static void
test_storm(void **state)
{
	static const struct turn script[] = { { .orphans = 3 }, { .orphans = 4 }, { .orphans = 30 },
		{ .orphans = 1 } };

	(void)state;
	run(script, 4);
	assert_true(waits[0].ring && waits[0].at_most > NS_PER_MS);
	assert_true(waits[1].ring && waits[1].at_most > NS_PER_MS);
	assert_true(!waits[2].ring && waits[2].at_most > 0 && waits[2].at_most < NS_PER_MS);
	assert_true(!waits[3].ring && waits[3].at_most > 0 && waits[3].at_most < NS_PER_MS);
	assert_true(waits[4].ring && waits[4].at_most > NS_PER_MS);
}

/* A loss is told behind what was not lost. */
static void
test_lost(void **state)
{
	static const struct turn script[] = { { .orphans = 2 } };

	(void)state;
	drops[3].orphan = 4;
	run(script, 1);
	expect(WIRE_T2B_ORPHAN, 2);
	expect(WIRE_T2B_LOST, 1);
	expect_no_more();
	assert_int_equal(told.orphan, 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_orphans_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exits_wait_for_the_heartbeat, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_packets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
