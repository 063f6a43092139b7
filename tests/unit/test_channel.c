/* SPDX-License-Identifier: Apache-2.0 */
/* links: proto/channel.c proto/wire.c proto/log.c */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/channel.h"
#include "proto/log.h"

/* `near` is what is tested, `far` its peer; ends[1] is also written to without channel.c. */
static int ends[2];
static struct channel near, far;

static int
setup(void **state)
{
	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	channel_open(&near, ends[0], "reaper", WIRE_R2B);
	channel_open(&far, ends[1], "broker", WIRE_B2R);
	return 0;
}

static void
end_close(int i)
{
	if (ends[i] >= 0)
		close(ends[i]);
	ends[i] = -1;
}

static int
teardown(void **state)
{
	(void)state;
	end_close(0);
	end_close(1);
	return 0;
}

static int
keep_setup(void **state)
{
	return stderr_keep() < 0 ? -1 : setup(state);
}

static int
keep_teardown(void **state)
{
	stderr_give_back();
	return teardown(state);
}

static void
pong_send(uint64_t nonce)
{
	const struct wire_pong pong = { nonce };

	assert_int_equal(channel_send(&far, WIRE_R2B_PONG, &pong, 1), 0);
}

static void
pong_expect(uint64_t nonce)
{
	struct wire_view view;

	assert_int_equal(channel_recv(&near, &view), CHANNEL_MESSAGE);
	assert_int_equal(view.type, WIRE_R2B_PONG);
	assert_int_equal(view.count, 1);
	assert_int_equal(((const struct wire_pong *)view.records)->nonce, nonce);
}

static void
test_both_ways(void **state)
{
	const struct wire_ping ping = { 5 };
	struct wire_view view;

	(void)state;
	for (uint64_t i = 0; i < 100; i++) {
		pong_send(i);
		pong_send(i + 1000);
		pong_expect(i);
		pong_expect(i + 1000);
		assert_int_equal(channel_recv(&near, &view), CHANNEL_EMPTY);
		assert_int_equal(channel_send(&near, WIRE_B2R_PING, &ping, 1), 0);
		assert_int_equal(channel_recv(&far, &view), CHANNEL_MESSAGE);
		assert_int_equal(view.type, WIRE_B2R_PING);
	}
	assert_int_equal(near.seq_in, 200);
	assert_int_equal(near.seq_out, 100);
}

static void
results_make(struct wire_result_record *results, size_t count)
{
	for (size_t i = 0; i < count; i++)
		results[i] = (struct wire_result_record){ .ghost = i, .result = WIRE_RESULT_GONE };
}

static void
test_batches(void **state)
{
	struct wire_result_record results[WIRE_BATCH_MAX];
	struct wire_view view;

	(void)state;
	results_make(results, WIRE_BATCH_MAX);
	for (size_t count = 1; count <= WIRE_BATCH_MAX; count++) {
		assert_int_equal(channel_send(&far, WIRE_R2B_RESULT, results, count), 0);
		assert_int_equal(channel_recv(&near, &view), CHANNEL_MESSAGE);
		assert_int_equal(view.count, count);
		assert_memory_equal(view.records, results, count * sizeof(results[0]));
	}
}

/* A peer the service can do without: what it breaks ends the talk, and nothing else. */
static void
test_spare(void **state)
{
	struct wire_view view;

	(void)state;
	near.spare = true;
	pong_send(1);
	pong_expect(1);
	assert_int_equal(send(ends[1], "rubbish", 7, 0), 7);
	assert_int_equal(channel_recv(&near, &view), CHANNEL_EOF);
	assert_int_equal(stderr_count("the reaper broke the protocol: shorter than a header"), 1);
}

static void
test_seq_wraps(void **state)
{
	(void)state;
	near.seq_in = far.seq_out = UINT32_MAX - 1;
	for (uint64_t i = 0; i < 4; i++) {
		pong_send(i);
		pong_expect(i);
	}
	assert_int_equal(near.seq_in, 2);
}

static void
test_eof(void **state)
{
	struct wire_view view;

	(void)state;
	pong_send(1);
	end_close(1);
	pong_expect(1); /* what was sent before the end still arrives */
	assert_int_equal(channel_recv(&near, &view), CHANNEL_EOF);
	assert_int_equal(channel_recv(&near, &view), CHANNEL_EOF);
}

/* A peer that dies with packets unread makes an ECONNRESET of the EOF. */
static void
test_eof_with_unread(void **state)
{
	const struct wire_ping ping = { 5 };
	struct wire_view view;

	(void)state;
	assert_int_equal(channel_send(&near, WIRE_B2R_PING, &ping, 1), 0);
	end_close(1);
	assert_int_equal(channel_recv(&near, &view), CHANNEL_EOF);
}

/* No correct packet is empty; and what would be an empty packet is what EOF looks like. */
static void
test_empty_packet(void **state)
{
	struct wire_view view;

	(void)state;
	assert_int_equal(send(ends[1], "", 0, 0), 0);
	assert_int_equal(channel_recv(&near, &view), CHANNEL_EOF);
}

static void
test_send_to_nobody(void **state)
{
	const struct wire_ping ping = { 5 };

	(void)state;
	end_close(1); /* and no SIGPIPE, which would end this program */
	assert_int_equal(channel_send(&near, WIRE_B2R_PING, &ping, 1), -1);
	assert_true(errno == EPIPE || errno == ECONNRESET);
	assert_int_equal(near.seq_out, 0);
}

/* Until the socket is full: results of ghosts 0, 1, 2, ... Returns how many. */
static uint64_t
fill(void)
{
	struct wire_result_record result = { .result = WIRE_RESULT_GONE };

	while (channel_send(&far, WIRE_R2B_RESULT, &result, 1) == 0)
		result.ghost++;
	assert_int_equal(errno, EAGAIN);
	return result.ghost;
}

static uint64_t
drain(void)
{
	struct wire_view view;
	uint64_t n = 0;

	while (channel_recv(&near, &view) == CHANNEL_MESSAGE) {
		assert_int_equal(((const struct wire_result_record *)view.records)->ghost, n);
		n++;
	}
	return n;
}

static void
test_full_uses_no_number(void **state)
{
	(void)state;
	for (unsigned round = 1; round <= 3; round++) {
		uint32_t before = far.seq_out;
		uint64_t sent = fill();

		assert_true(sent > 0);
		assert_int_equal(far.seq_out, before + sent);
		assert_int_equal(fill(), 0); /* still full */
		assert_int_equal(far.seq_out, before + sent);
		assert_int_equal(drain(), sent); /* a gap would be fatal */
	}
}

/* ---- what ends the receiver ---- */

static struct wire_pong pong = { 1 };

static void
raw_send(uint32_t magic, uint16_t version, uint16_t type, uint32_t seq)
{
	struct {
		struct wire_header header;
		struct wire_pong pong;
	} packet = { { magic, version, type, sizeof(packet), seq }, { 1 } };

	if (send(ends[1], &packet, sizeof(packet), 0) != sizeof(packet))
		_exit(99);
}

static void
receive(void)
{
	struct wire_view view;

	while (channel_recv(&near, &view) == CHANNEL_MESSAGE)
		;
}

static void
bad_magic(void *arg)
{
	(void)arg;
	raw_send(WIRE_MAGIC ^ 1, WIRE_VERSION, WIRE_R2B_PONG, 0);
	receive();
}

static void
bad_version(void *arg)
{
	(void)arg;
	raw_send(WIRE_MAGIC, WIRE_VERSION + 1, WIRE_R2B_PONG, 0);
	receive();
}

static void
unknown_type(void *arg)
{
	(void)arg;
	raw_send(WIRE_MAGIC, WIRE_VERSION, 999, 0);
	receive();
}

static void
wrong_direction(void *arg)
{
	(void)arg;
	raw_send(WIRE_MAGIC, WIRE_VERSION, WIRE_B2R_PING, 0);
	receive();
}

static void
seq_gap(void *arg)
{
	(void)arg;
	raw_send(WIRE_MAGIC, WIRE_VERSION, WIRE_R2B_PONG, 0);
	raw_send(WIRE_MAGIC, WIRE_VERSION, WIRE_R2B_PONG, 2);
	receive();
}

static void
seq_repeated(void *arg)
{
	(void)arg;
	raw_send(WIRE_MAGIC, WIRE_VERSION, WIRE_R2B_PONG, 0);
	raw_send(WIRE_MAGIC, WIRE_VERSION, WIRE_R2B_PONG, 0);
	receive();
}

static void
too_short(void *arg)
{
	(void)arg;
	if (send(ends[1], "x", 1, 0) != 1)
		_exit(99);
	receive();
}

static void
too_long(void *arg)
{
	static const char packet[WIRE_PACKET_MAX + 1];

	(void)arg;
	if (send(ends[1], packet, sizeof(packet), 0) != sizeof(packet))
		_exit(99);
	receive();
}

static void
bad_value(void *arg)
{
	const struct wire_result_record result = { .result = WIRE_RESULT_FAILED + 1 };

	(void)arg;
	if (channel_send(&far, WIRE_R2B_RESULT, &result, 1) < 0)
		_exit(99);
	receive();
}

/* len bytes of a correct packet, with a descriptor. */
static void
send_with_fd(size_t len)
{
	struct {
		struct wire_header header;
		struct wire_pong pong;
	} packet = { { WIRE_MAGIC, WIRE_VERSION, WIRE_R2B_PONG, sizeof(packet), 0 }, { 1 } };
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &packet, len };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	*cmsg = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS
	};
	memcpy(CMSG_DATA(cmsg), &ends[1], sizeof(int));
	if (sendmsg(ends[1], &msg, 0) != (ssize_t)len)
		_exit(99);
}

static void
fd_attached(void *arg)
{
	(void)arg;
	send_with_fd(sizeof(struct wire_header) + sizeof(struct wire_pong));
	receive();
}

static void
fd_with_nothing(void *arg)
{
	(void)arg;
	send_with_fd(0);
	receive();
}

static void
no_records(void *arg)
{
	(void)arg;
	channel_send(&near, WIRE_B2R_PING, &pong, 0);
}

static void
two_where_one_is_most(void *arg)
{
	const struct wire_ping pings[2] = { { 1 }, { 2 } };

	(void)arg;
	channel_send(&near, WIRE_B2R_PING, pings, 2);
}

static void
no_socket_any_more(void *arg)
{
	(void)arg;
	close(near.fd);
	receive();
}

static const struct {
	void (*act)(void *);
	const char *line;
} fatal_cases[] = {
	{ bad_magic, "the reaper broke the protocol: wrong magic number (packet 0, 24 bytes)" },
	{ bad_version, "the reaper broke the protocol: another protocol version" },
	{ unknown_type, "the reaper broke the protocol: unknown message type" },
	{ wrong_direction, "the reaper broke the protocol: a message this peer may not send" },
	{ seq_gap, "the reaper broke the protocol: sequence number out of order (packet 1" },
	{ seq_repeated, "the reaper broke the protocol: sequence number out of order (packet 1" },
	{ too_short, "the reaper broke the protocol: shorter than a header" },
	{ too_long, "the reaper broke the protocol: an oversized packet or a file descriptor" },
	{ bad_value, "the reaper broke the protocol: a field out of its range" },
	{ fd_attached, "the reaper broke the protocol: an oversized packet or a file descriptor" },
	{ fd_with_nothing, "the reaper broke the protocol: an oversized packet or a file descr" },
	{ no_records, "this is a bug" },
	{ two_where_one_is_most, "2 records of PING do not make a packet: this is a bug" },
	{ no_socket_any_more, "receiving from the reaper: Bad file descriptor" },
};

static void
test_fatal(void **state)
{
	char text[4096];

	for (size_t i = 0; i < COUNT_OF(fatal_cases); i++) {
		assert_int_equal(child_run(fatal_cases[i].act, NULL, text, sizeof(text)), 1);
		assert_one_line(text, fatal_cases[i].line);
		teardown(state); /* the pair was the child's, too */
		assert_int_equal(setup(state), 0);
	}
}

/* ---- what is no channel ---- */

static void
open_try(void *arg)
{
	channel_open(&near, *(int *)arg, "broker", WIRE_B2R);
}

static void
by_hand_expect(int fd)
{
	char text[4096];

	assert_int_equal(child_run(open_try, &fd, text, sizeof(text)), 2);
	assert_one_line(text, "by hand");
	if (fd >= 0)
		close(fd);
}

static void
pair_by_hand_expect(int type)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, pair), 0);
	by_hand_expect(pair[0]);
	close(pair[1]);
}

static void
test_started_by_hand(void **state)
{
	struct sockaddr_un any = { .sun_family = AF_UNIX };
	int pipe_fds[2], listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	by_hand_expect(pipe_fds[0]);
	by_hand_expect(pipe_fds[1]);
	by_hand_expect(open("/dev/null", O_RDWR));
	by_hand_expect(-1);
	by_hand_expect(1000);
	pair_by_hand_expect(SOCK_STREAM);
	pair_by_hand_expect(SOCK_DGRAM);
	by_hand_expect(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	by_hand_expect(socket(AF_INET, SOCK_STREAM, 0));
	assert_int_equal(bind(listener, (struct sockaddr *)&any, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(listener, 1), 0);
	by_hand_expect(listener);
}

static void
test_open_is_fresh(void **state)
{
	struct channel ch;

	(void)state;
	memset(&ch, 0xff, sizeof(ch));
	channel_open(&ch, ends[0], "tracker", WIRE_T2B);
	assert_int_equal(ch.fd, ends[0]);
	assert_int_equal(ch.seq_in, 0);
	assert_int_equal(ch.seq_out, 0);
	assert_int_equal(ch.in, WIRE_T2B);
	assert_string_equal(ch.peer, "tracker");
}

/* A pair whose other end is gone already is a channel at its end, not a start by hand. */
static void
test_open_after_the_peer(void **state)
{
	struct wire_view view;

	(void)state;
	end_close(1);
	channel_open(&near, ends[0], "tracker", WIRE_T2B);
	assert_int_equal(channel_recv(&near, &view), CHANNEL_EOF);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PAIR(test_both_ways),
		WITH_PAIR(test_batches),
		cmocka_unit_test_setup_teardown(test_spare, keep_setup, keep_teardown),
		WITH_PAIR(test_seq_wraps),
		WITH_PAIR(test_eof),
		WITH_PAIR(test_eof_with_unread),
		WITH_PAIR(test_empty_packet),
		WITH_PAIR(test_send_to_nobody),
		WITH_PAIR(test_full_uses_no_number),
		WITH_PAIR(test_fatal),
		WITH_PAIR(test_started_by_hand),
		WITH_PAIR(test_open_is_fresh),
		WITH_PAIR(test_open_after_the_peer),
	};

	return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
