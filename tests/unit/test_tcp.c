/* SPDX-License-Identifier: Apache-2.0 */
/* links: reaper/tcp.c proto/diag.c proto/wire.c */
/* Links reaper/tcp.c, proto/diag.c, proto/wire.c. The kernel is played by netlink_exchange() and
 * dump_run() below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>

#include "reaper/dump.h"
#include "reaper/netlink.h"
#include "reaper/tcp.h"

#define NETNS  4026531840u
#define COOKIE 0x1007ull

/* clang-format off */
#define TUPLE { .family = AF_INET, .src_port = 5555, .dst_port = 48670, .netns = NETNS, \
	.src = { 127, 0, 0, 1 }, .dst = { 127, 0, 0, 1 } }
/* clang-format on */
static const struct wire_tuple tuple = TUPLE;

static const struct kind_scope scope = { .netns = NETNS, .selftest = WIRE_SELFTEST_PASSED };
/* A kernel that failed the self-test is asked, but nothing is done to it. */
static const struct kind_scope scope_watch = { .netns = NETNS,
	.selftest = WIRE_SELFTEST_FOREVER_ORPHAN };
static const struct kind_scope scope_tw = { .netns = NETNS, .time_wait = true };

static struct wire_destroy
request_make(uint8_t state)
{
	return (struct wire_destroy){ .states = TCP_STATES_ORPHAN,
		.ghost = 1,
		.cookie = COOKIE,
		.tuple = tuple,
		.state = state };
}

/* A full socket's row, as the kernel writes it: without a netns. */
static struct diag_row
row_make(uint8_t state)
{
	struct diag_row row = { .tuple = tuple, .cookie = COOKIE, .state = state };

	row.tuple.netns = 0;
	row.has_shutdown = true;
	row.shutdown = 3;
	row.timer = 1;
	return row;
}

static struct diag_row
mini_make(uint8_t state)
{
	struct diag_row row = row_make(state);

	row.has_shutdown = false;
	row.shutdown = 0;
	row.timer = 3;
	return row;
}

static bool
orphan_state(unsigned state)
{
	return state == TCP_STATE_FIN_WAIT1 || state == TCP_STATE_FIN_WAIT2 ||
	       state == TCP_STATE_CLOSING || state == TCP_STATE_LAST_ACK;
}

/* ---- validate -------------------------------------------------------------------------------- */

static void
test_validate(void **state)
{
	struct wire_destroy r = request_make(TCP_STATE_FIN_WAIT1);
	struct kind_scope bad = scope;

	(void)state;
	assert_int_equal(tcp_validate(&scope, &r), VERDICT_LOOK);
	r.tuple.netns++;
	assert_int_equal(tcp_validate(&scope, &r), VERDICT_OTHER_NETNS);
	r.tuple.netns = 0;
	assert_int_equal(tcp_validate(&scope, &r), VERDICT_OTHER_NETNS);
	r = request_make(TCP_STATE_FIN_WAIT1);
	r.tuple.family = AF_UNIX;
	assert_int_equal(tcp_validate(&scope, &r), VERDICT_INVALID);
	r = request_make(TCP_STATE_FIN_WAIT1);
	r.cookie = 0;
	assert_int_equal(tcp_validate(&scope, &r), VERDICT_INVALID);
	r.cookie = UINT64_MAX;
	assert_int_equal(tcp_validate(&scope, &r), VERDICT_INVALID);
	bad.selftest = WIRE_SELFTEST_FOREVER_ORPHAN;
	assert_int_equal(tcp_validate(&bad, &r), VERDICT_UNSUPPORTED);
	bad.selftest = WIRE_SELFTEST_NO_DESTROY;
	assert_int_equal(tcp_validate(&bad, &r), VERDICT_UNSUPPORTED);
}

/* ---- verdict --------------------------------------------------------------------------------- */

/* I1 once more, written down independently: when may a row ever be acted upon? */
static bool
may_act(const struct diag_row *row, bool time_wait, uint32_t states)
{
	if (row->state >= 32 || (states >> row->state & 1) == 0)
		return false;
	if (row->inode != 0 || row->mptcp)
		return false;
	if (row->timer == 3) /* a mini-socket */
		return !row->has_shutdown &&
		       (row->state == TCP_STATE_FIN_WAIT2 ||
			       (row->state == TCP_STATE_TIME_WAIT && time_wait));
	return orphan_state(row->state) && row->has_shutdown && row->shutdown == 3;
}

/* Traced before it is stored: the state before a close, or the one after it. */
static bool
may_be_closing(unsigned state)
{
	return orphan_state(state) || state == TCP_STATE_ESTABLISHED ||
	       state == TCP_STATE_CLOSE_WAIT || state == TCP_STATE_SYN_RECV;
}

static unsigned acts, looks;

static void
check_one(const struct diag_row *row, const struct wire_destroy *r, const struct kind_scope *s)
{
	bool time_wait = s->time_wait;
	enum verdict v = tcp_verdict(s, r, row);

	looks++;
	acts += v == VERDICT_ACT;
	if (v == VERDICT_ACT)
		assert_true(may_act(row, time_wait, r->states));
	if (row->inode != 0)
		assert_int_equal(v,
			may_be_closing(row->state) && !row->mptcp ? VERDICT_RETRY : VERDICT_LIVE);
	else if (row->state == TCP_STATE_CLOSE && !row->mptcp)
		assert_int_equal(v, VERDICT_GONE);
	else if (!orphan_state(row->state) && row->state != TCP_STATE_TIME_WAIT)
		assert_int_equal(v, VERDICT_LIVE);
}

/* The claim's state is chosen so that nothing is refused for being stale. */
static void
check_claims(const struct diag_row *row)
{
	const uint8_t claims[] = { TCP_STATE_FIN_WAIT1, TCP_STATE_LAST_ACK, TCP_STATE_ESTABLISHED };

	for (size_t c = 0; c < sizeof(claims); c++) {
		struct wire_destroy r = request_make(claims[c]);

		check_one(row, &r, &scope);
		check_one(row, &r, &scope_tw);
		r.states = TCP_STATES_RULE;
		check_one(row, &r, &scope);
		check_one(row, &r, &scope_tw);
		r.states = TCP_STATE_BIT(TCP_STATE_LAST_ACK);
		check_one(row, &r, &scope_tw);
	}
}

/* Every state (and a few that do not exist) x inode x timer x shutdown x subflow. */
static void
test_verdict_all(void **state)
{
	const uint32_t inodes[] = { 0, 1, UINT32_MAX };

	(void)state;
	for (unsigned s = 0; s < 256; s++) {
		for (unsigned bits = 0; bits < 3 * 6 * 5 * 2; bits++) {
			struct diag_row row = row_make((uint8_t)s);

			row.inode = inodes[bits % 3];
			row.timer = (uint8_t)(bits / 3 % 6);
			row.has_shutdown = bits / 18 % 5 < 4;
			row.shutdown = (uint8_t)(bits / 18 % 5 % 4);
			row.mptcp = bits / 90 != 0;
			check_claims(&row);
		}
	}
	assert_true(acts > 0 && acts < looks / 1000);
}

static void
expect(const struct diag_row *row, uint8_t claim, enum verdict verdict)
{
	struct wire_destroy r = request_make(claim);

	assert_int_equal(tcp_verdict(&scope, &r, row), verdict);
}

static void
test_verdict_orphans(void **state)
{
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);

	(void)state;
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_ACT);
	row = row_make(TCP_STATE_FIN_WAIT2);
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_ACT);
	row = mini_make(TCP_STATE_FIN_WAIT2);
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_ACT);
	row = row_make(TCP_STATE_CLOSING);
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_ACT);
	row = row_make(TCP_STATE_LAST_ACK);
	expect(&row, TCP_STATE_LAST_ACK, VERDICT_ACT);
	expect(&row, TCP_STATE_CLOSE_WAIT, VERDICT_ACT);
}

static void
test_verdict_time_wait(void **state)
{
	struct diag_row row = mini_make(TCP_STATE_TIME_WAIT);
	struct wire_destroy r = request_make(TCP_STATE_FIN_WAIT1);

	(void)state;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_GONE);
	assert_int_equal(tcp_verdict(&scope_tw, &r, &row), VERDICT_GONE);
	r.states = TCP_STATES_RULE;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_GONE);
	assert_int_equal(tcp_verdict(&scope_tw, &r, &row), VERDICT_ACT);
}

/* A rule for where it was does not speak for where it is now. */
static void
test_verdict_moved(void **state)
{
	struct diag_row row = mini_make(TCP_STATE_FIN_WAIT2);
	struct wire_destroy r = request_make(TCP_STATE_FIN_WAIT1);

	(void)state;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_ACT);
	r.states = TCP_STATE_BIT(TCP_STATE_FIN_WAIT1);
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_MOVED);
	row = row_make(TCP_STATE_FIN_WAIT1);
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_ACT);
	r.states = 0;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_MOVED);
}

/* The accept queue as it was seen on 6.18: inode 0, shutdown 0 or 1. */
static void
test_verdict_accept_queue(void **state)
{
	struct diag_row row = row_make(TCP_STATE_ESTABLISHED);

	(void)state;
	row.shutdown = 0;
	expect(&row, TCP_STATE_ESTABLISHED, VERDICT_LIVE);
	row.state = TCP_STATE_CLOSE_WAIT;
	row.shutdown = 1;
	expect(&row, TCP_STATE_CLOSE_WAIT, VERDICT_LIVE);
	row.state = TCP_STATE_SYN_RECV;
	row.has_shutdown = false;
	expect(&row, TCP_STATE_SYN_RECV, VERDICT_LIVE);
}

static void
test_verdict_not_closed(void **state)
{
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);

	(void)state;
	row.shutdown = 2; /* shutdown(SHUT_WR) on something without an inode: a subflow */
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_LIVE);
	row.shutdown = 3;
	row.mptcp = true;
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_LIVE);
	row.inode = 1;
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_LIVE);
	row.mptcp = false;
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_RETRY);
}

static void
test_verdict_stale(void **state)
{
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);

	(void)state;
	expect(&row, TCP_STATE_LAST_ACK, VERDICT_STALE);
	expect(&row, TCP_STATE_FIN_WAIT2, VERDICT_STALE);
	expect(&row, TCP_STATE_LISTEN, VERDICT_STALE);
	expect(&row, 0, VERDICT_STALE);
	expect(&row, 255, VERDICT_STALE);
	row.tuple.dst[3]++;
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_STALE);
	row = row_make(TCP_STATE_FIN_WAIT1);
	row.tuple.ifindex++;
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_STALE);
	row = row_make(TCP_STATE_FIN_WAIT1);
	row.cookie++;
	expect(&row, TCP_STATE_FIN_WAIT1, VERDICT_STALE);
}

/* ---- proved ---------------------------------------------------------------------------------- */

/* A request that says: seen twice, and it stood still. And a row that says so, too. */
static struct wire_destroy
proved_make(uint8_t state, struct diag_row *row)
{
	struct wire_destroy r = request_make(state);

	*row = row_make(state);
	row->timer = 4;
	row->has_info = row->has_window = true;
	row->bytes_acked = 1000;
	row->send_window = 500;
	r.flags = WIRE_DESTROY_PROVED;
	r.seen = tcp_progress(row);
	return r;
}

static void
test_proved_still(void **state)
{
	const uint8_t states[] = { TCP_STATE_FIN_WAIT1, TCP_STATE_FIN_WAIT2, TCP_STATE_CLOSING,
		TCP_STATE_LAST_ACK };

	(void)state;
	for (size_t i = 0; i < sizeof(states); i++) {
		struct diag_row row;
		struct wire_destroy r = proved_make(states[i], &row);

		assert_true(r.seen.bytes_acked == 1000 && r.seen.window_end == 1500);
		assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_ACT);
		/* What only shows that the peer lives, or that we try. */
		row.send_queue += 10;
		row.unacked++;
		row.notsent++;
		row.last_ack_ms = 0;
		row.timer = 1;
		row.timer_ms++;
		row.retransmits++;
		row.probes++;
		row.backoff++;
		assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_ACT);
		row.send_window = 0; /* a window that shrinks is no progress */
		assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_ACT);
	}
}

static void
test_proved_moved(void **state)
{
	struct diag_row row, now;
	struct wire_destroy r = proved_make(TCP_STATE_FIN_WAIT1, &row);

	(void)state;
	now = row;
	now.bytes_acked++;
	assert_int_equal(tcp_verdict(&scope, &r, &now), VERDICT_MOVED);
	now.send_window = 0; /* taken, and the window shut behind it */
	assert_int_equal(tcp_verdict(&scope, &r, &now), VERDICT_MOVED);
	now = row;
	now.send_window++;
	assert_int_equal(tcp_verdict(&scope, &r, &now), VERDICT_MOVED);
	/* Without a proof the same rows are none of the reaper's business. */
	r.flags = 0;
	assert_int_equal(tcp_verdict(&scope, &r, &now), VERDICT_ACT);
}

/* Exactly the state of the sample: what the policy would destroy there, too, is to be proved again.
 */
static void
test_proved_other_state(void **state)
{
	struct diag_row row;
	struct wire_destroy r = proved_make(TCP_STATE_FIN_WAIT1, &row);

	(void)state;
	row.state = TCP_STATE_CLOSING;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_MOVED);
	row.state = TCP_STATE_FIN_WAIT2;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_MOVED);
	row.state = TCP_STATE_LAST_ACK;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_STALE);
	row = mini_make(TCP_STATE_FIN_WAIT2);
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_MOVED);
	row = mini_make(TCP_STATE_TIME_WAIT);
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_GONE);
	r.states = TCP_STATES_RULE;
	assert_int_equal(tcp_verdict(&scope_tw, &r, &row), VERDICT_MOVED);
}

static void
test_proved_mini(void **state)
{
	struct diag_row row = mini_make(TCP_STATE_FIN_WAIT2), full;
	struct wire_destroy r = proved_make(TCP_STATE_FIN_WAIT2, &full);

	(void)state;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_MOVED); /* it was a full one */
	r.seen = tcp_progress(&row);
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_ACT);
	assert_int_equal(tcp_verdict(&scope, &r, &full), VERDICT_MOVED);
}

static void
test_proved_without_counters(void **state)
{
	struct diag_row row;
	struct wire_destroy r = proved_make(TCP_STATE_FIN_WAIT1, &row);

	(void)state;
	row.has_window = false;
	row.bytes_acked = row.send_window = 0;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_BLIND);
	memset(&r.seen, 0, sizeof(r.seen));
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_BLIND);
}

/* Counters of another socket: more was acknowledged then than now. */
static void
test_proved_by_another(void **state)
{
	struct diag_row row;
	struct wire_destroy r = proved_make(TCP_STATE_FIN_WAIT1, &row);

	(void)state;
	r.seen.bytes_acked++;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_STALE);
	r.seen.bytes_acked = r.seen.window_end = UINT64_MAX;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_STALE);
}

/* A proof opens no door: what is live stays live. */
static void
test_proved_live(void **state)
{
	struct diag_row row;
	struct wire_destroy r = proved_make(TCP_STATE_FIN_WAIT1, &row);

	(void)state;
	row.inode = 1;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_RETRY);
	row.state = TCP_STATE_ESTABLISHED;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_RETRY);
	row.inode = 0;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_LIVE);
	row.state = TCP_STATE_FIN_WAIT1;
	row.mptcp = true;
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_LIVE);
	row.mptcp = false;
	r.states = TCP_STATE_BIT(TCP_STATE_CLOSING);
	assert_int_equal(tcp_verdict(&scope, &r, &row), VERDICT_MOVED);
}

/* ---- samples and finds ----------------------------------------------------------------------- */

static const struct wire_sample sample = { .ghost = 1, .cookie = COOKIE, .tuple = TUPLE };

static void
test_progress(void **state)
{
	struct diag_row row = mini_make(TCP_STATE_FIN_WAIT2);
	struct wire_progress p;

	(void)state;
	row.timer_ms = 4711;
	row.send_queue = 3;
	row.bytes_acked = 9;
	p = tcp_progress(&row);
	assert_true(p.timer == 3 && p.timer_ms == 4711);
	p.timer = 0;
	p.timer_ms = 0;
	assert_memory_equal(&p, &(struct wire_progress){ 0 }, sizeof(p));
	row = row_make(TCP_STATE_FIN_WAIT1);
	row.bytes_acked = UINT32_MAX;
	row.send_window = UINT32_MAX;
	row.send_queue = 3;
	row.unacked = 4;
	row.notsent = 5;
	row.last_ack_ms = 6;
	row.timer_ms = 7;
	row.retransmits = 8;
	row.probes = 9;
	row.backoff = 10;
	p = tcp_progress(&row);
	assert_true(p.bytes_acked == UINT32_MAX && p.window_end == 2ull * UINT32_MAX);
	assert_true(p.send_queue == 3 && p.unacked == 4 && p.notsent == 5 && p.last_ack_ms == 6);
	assert_true(p.timer_ms == 7 && p.timer == 1 && p.retransmits == 8 && p.probes == 9 &&
		    p.backoff == 10);
}

static unsigned orphans;

/* A sample says ORPHAN, and a dump FOUND, exactly where a request for any state may act. */
static void
check_found(const struct diag_row *row)
{
	bool orphan = may_act(row, false, TCP_STATES_ORPHAN);
	bool time_wait = may_act(row, true, TCP_STATE_BIT(TCP_STATE_TIME_WAIT));
	struct wire_found_record record;
	int error = -1;
	enum wire_found found = tcp_found(&scope, &sample, row, &error);

	orphans += orphan;
	assert_int_equal(found, orphan	    ? WIRE_FOUND_ORPHAN
				: time_wait ? WIRE_FOUND_TIME_WAIT
					    : WIRE_FOUND_HELD);
	assert_int_equal(error, 0);
	assert_int_equal(tcp_record(&scope, row, &record), orphan);
}

static void
test_found_all(void **state)
{
	const uint32_t inodes[] = { 0, 1, UINT32_MAX };

	(void)state;
	for (unsigned s = 0; s < 256; s++) {
		for (unsigned bits = 0; bits < 3 * 6 * 5 * 2; bits++) {
			struct diag_row row = row_make((uint8_t)s);

			row.inode = inodes[bits % 3];
			row.timer = (uint8_t)(bits / 3 % 6);
			row.has_shutdown = bits / 18 % 5 < 4;
			row.shutdown = (uint8_t)(bits / 18 % 5 % 4);
			row.mptcp = bits / 90 != 0;
			row.has_window = true;
			check_found(&row);
		}
	}
	/* four states with five timers, shut down in both directions; and one mini-socket */
	assert_int_equal(orphans, 4 * 5 + 1);
}

static void
test_found_another(void **state)
{
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1), other;
	int error;

	(void)state;
	row.has_window = true;
	other = row;
	other.cookie++;
	assert_int_equal(tcp_found(&scope, &sample, &other, &error), WIRE_FOUND_FAILED);
	assert_int_equal(error, ESTALE);
	other = row;
	other.tuple.ifindex++;
	assert_int_equal(tcp_found(&scope, &sample, &other, &error), WIRE_FOUND_FAILED);
	assert_int_equal(error, ESTALE);
	other = mini_make(TCP_STATE_TIME_WAIT);
	other.tuple.src_port++;
	assert_int_equal(tcp_found(&scope, &sample, &other, &error), WIRE_FOUND_FAILED);
	assert_int_equal(error, ESTALE);
	other.inode = 1;
	assert_int_equal(tcp_found(&scope, &sample, &other, &error), WIRE_FOUND_HELD);
	row.has_window = false; /* two such samples would look like no progress */
	assert_int_equal(tcp_found(&scope, &sample, &row, &error), WIRE_FOUND_FAILED);
	assert_int_equal(error, ENODATA);
}

static void
test_record(void **state)
{
	struct wire_found_record want, record;
	struct diag_row row = row_make(TCP_STATE_CLOSING);

	(void)state;
	row.bytes_acked = 5;
	row.send_window = 6;
	memset(&record, 0xa5, sizeof(record));
	assert_true(tcp_record(&scope, &row, &record));
	memset(&want, 0, sizeof(want));
	want.cookie = COOKIE;
	want.tuple = tuple; /* with our netns, which the row does not tell */
	want.state = TCP_STATE_CLOSING;
	want.progress.bytes_acked = 5;
	want.progress.window_end = 11;
	want.progress.timer = 1;
	assert_memory_equal(&record, &want, sizeof(want));
	row = mini_make(TCP_STATE_FIN_WAIT2);
	assert_true(tcp_record(&scope, &row, &record) && record.mini == 1);
	row.cookie = UINT64_MAX;
	assert_false(tcp_record(&scope, &row, &record));
	row.cookie = 0;
	assert_false(tcp_record(&scope, &row, &record));
	row = mini_make(TCP_STATE_TIME_WAIT);
	assert_false(tcp_record(&scope, &row, &record));
	assert_false(tcp_record(&scope_tw, &row, &record));
}

static void
test_peer_notice(void **state)
{
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);

	(void)state;
	assert_int_equal(tcp_peer_notice(&row), WIRE_NOTICE_RST);
	row = row_make(TCP_STATE_FIN_WAIT2);
	assert_int_equal(tcp_peer_notice(&row), WIRE_NOTICE_RST);
	row = mini_make(TCP_STATE_FIN_WAIT2);
	assert_int_equal(tcp_peer_notice(&row), WIRE_NOTICE_NONE);
	row = mini_make(TCP_STATE_TIME_WAIT);
	assert_int_equal(tcp_peer_notice(&row), WIRE_NOTICE_NONE);
	row = row_make(TCP_STATE_LAST_ACK);
	assert_int_equal(tcp_peer_notice(&row), WIRE_NOTICE_NONE);
	row = row_make(TCP_STATE_CLOSING);
	assert_int_equal(tcp_peer_notice(&row), WIRE_NOTICE_NONE);
}

/* ---- with a kernel that answers as told ------------------------------------------------------ */

static struct {
	int error;
	bool has_row;
	struct diag_row row;
	uint16_t asked; /* message type of the last question */
	bool asked_info;
	size_t count, sent;
	bool unheard; /* the question does not get through */
} kernel;

void
netlink_exchange(struct netlink *nl, struct netlink_query *queries, size_t count)
{
	nl->sent.ns = 1000;
	kernel.count = count;
	for (size_t i = 0; i < count; i++) {
		const struct nlmsghdr *head = (const struct nlmsghdr *)queries[i].request;
		const struct inet_diag_req_v2 *body = (const void *)(head + 1);

		queries[i].read.ns = 1100 + i;
		queries[i].has_row = false;
		queries[i].asked = !kernel.unheard && queries[i].len != 0;
		queries[i].answered = kernel.error != ENOBUFS;
		queries[i].error = EINVAL;
		if (queries[i].len == 0)
			continue;
		assert_int_equal(queries[i].len, DIAG_REQUEST_LEN);
		kernel.sent++;
		kernel.asked = head->nlmsg_type;
		kernel.asked_info = body->idiag_ext != 0;
		queries[i].error = kernel.error;
		queries[i].has_row = kernel.has_row;
		queries[i].row = kernel.row;
	}
}

#define DUMPED 150 /* rows of each family */

static struct {
	unsigned calls;
	uint8_t families[4];
	struct dump_end ends[2];
} dumps;

/* Of each three rows one is an orphan, one held, one a mini-socket in FIN-WAIT-2. */
struct dump_end
dump_run(struct netlink *nl, void *request, size_t len,
	void (*take)(void *arg, const struct diag_row *row), void *arg)
{
	const struct inet_diag_req_v2 *body = (const void *)((const struct nlmsghdr *)request + 1);

	(void)nl;
	assert_int_equal(len, DIAG_REQUEST_LEN);
	assert_int_equal(body->idiag_states, 0xa30);
	assert_int_equal(body->idiag_ext, 1 << (INET_DIAG_INFO - 1));
	dumps.families[dumps.calls] = body->sdiag_family;
	for (unsigned i = 0; i < DUMPED; i++) {
		struct diag_row row =
			i % 3 == 2 ? mini_make(TCP_STATE_FIN_WAIT2) : row_make(TCP_STATE_FIN_WAIT1);

		row.inode = i % 3 == 1;
		row.cookie = (dumps.calls + 1) * 1000 + i;
		take(arg, &row);
	}
	return dumps.ends[dumps.calls++];
}

static struct ticket
ticket_make(void)
{
	return (struct ticket){ .request = request_make(TCP_STATE_FIN_WAIT1) };
}

static void
look(struct ticket *t, int error, const struct diag_row *row)
{
	struct netlink nl = { 0 };

	kernel.error = error;
	kernel.has_row = row != NULL;
	if (row != NULL)
		kernel.row = *row;
	kind_tcp.still_ghost(&nl, &scope, &t, 1);
	assert_int_equal(kernel.asked, SOCK_DIAG_BY_FAMILY);
}

static void
act(struct ticket *t, int error, bool has_row)
{
	struct netlink nl = { 0 };

	kernel.error = error;
	kernel.has_row = has_row;
	kind_tcp.release(&nl, &t, 1);
	assert_int_equal(kernel.asked, SOCK_DESTROY);
}

static void
test_look_found(void **state)
{
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);
	struct ticket t = ticket_make();

	(void)state;
	row.send_queue = 77;
	look(&t, 0, &row);
	assert_int_equal(t.verdict, VERDICT_ACT);
	assert_true(t.found && t.asked.ns == 1000 && t.looked.ns == 1100);
	assert_int_equal(t.result.send_queue, 77);
	assert_int_equal(t.result.state, TCP_STATE_FIN_WAIT1);
	assert_int_equal(t.result.timer, 1);
	assert_int_equal(t.result.tries, 1);
	assert_int_equal(t.result.peer_notice, WIRE_NOTICE_RST);
}

/* ENOENT alone proves nothing; after one find it means gone. */
static void
test_look_not_found(void **state)
{
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);
	struct ticket t = ticket_make();

	(void)state;
	look(&t, ENOENT, NULL);
	assert_int_equal(t.verdict, VERDICT_FAILED);
	assert_int_equal(t.result.error, ENOENT);
	t = ticket_make();
	row.inode = 1;
	look(&t, 0, &row);
	assert_int_equal(t.verdict, VERDICT_RETRY);
	look(&t, ENOENT, NULL);
	assert_int_equal(t.verdict, VERDICT_GONE);
	assert_int_equal(t.result.error, 0);
	assert_int_equal(t.result.tries, 2);
}

static void
test_look_failed(void **state)
{
	const int errors[] = { EPERM, EINVAL, EBADMSG };
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct ticket t = ticket_make();

		t.found = true; /* found before or not: no answer is no answer */
		look(&t, errors[i], NULL);
		assert_int_equal(t.verdict, VERDICT_FAILED);
		assert_int_equal(t.result.error, errors[i]);
	}
	const int passing[] = { ENOBUFS, ENOMEM, EAGAIN };

	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
		struct ticket t = ticket_make();

		look(&t, passing[i], NULL);
		assert_int_equal(t.verdict, VERDICT_BUSY);
		assert_int_equal(t.result.error, passing[i]);
		assert_false(t.acted);
	}
	struct ticket t = ticket_make();

	look(&t, 0, NULL); /* an acknowledgement is not a row */
	assert_int_equal(t.verdict, VERDICT_FAILED);
	assert_int_equal(t.result.error, EBADMSG);
	t = ticket_make();
	row.cookie++;
	look(&t, 0, &row); /* nor is another socket's row */
	assert_int_equal(t.verdict, VERDICT_STALE);
}

static void
test_act_answers(void **state)
{
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);
	struct ticket t = ticket_make();

	(void)state;
	look(&t, 0, &row);
	act(&t, 0, false);
	assert_int_equal(t.verdict, VERDICT_RELEASED);
	assert_true(t.result.look_to_act_ns == 100);
	act(&t, ENOENT, false); /* gone, or a mini-socket by now: another look tells */
	assert_int_equal(t.verdict, VERDICT_RETRY);
	assert_int_equal(t.result.error, 0);
	act(&t, EPERM, false);
	assert_int_equal(t.verdict, VERDICT_FAILED);
	assert_int_equal(t.result.error, EPERM);
	act(&t, 0, true);
	assert_int_equal(t.verdict, VERDICT_FAILED);
	assert_int_equal(t.result.error, EBADMSG);
}

/* A question that never left is asked again, and has done nothing; one whose answer was lost has.
 */
static void
test_act_without_an_answer(void **state)
{
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);
	struct ticket t = ticket_make();

	(void)state;
	look(&t, 0, &row);
	kernel.unheard = true;
	act(&t, ENOBUFS, false);
	assert_int_equal(t.verdict, VERDICT_BUSY);
	look(&t, ENOENT, NULL);
	assert_int_equal(t.verdict, VERDICT_GONE);

	kernel.unheard = false;
	t = ticket_make();
	look(&t, 0, &row);
	act(&t, ENOBUFS, false);
	assert_int_equal(t.verdict, VERDICT_BUSY);
	look(&t, 0, &row); /* it is there: nothing has been done after all */
	assert_int_equal(t.verdict, VERDICT_ACT);
	look(&t, ENOENT, NULL);
	assert_int_equal(t.verdict, VERDICT_RELEASED);
	assert_int_equal(t.result.error, 0);
	assert_int_equal(t.result.peer_notice, WIRE_NOTICE_RST);
}

/* Only a proved look asks for tcp_info: it takes the socket's lock. */
static void
test_look_asks_for(void **state)
{
	struct diag_row row, still;
	struct ticket t = ticket_make();

	(void)state;
	t.request = proved_make(TCP_STATE_FIN_WAIT1, &row);
	still = row;
	look(&t, 0, &row);
	assert_true(kernel.asked_info);
	assert_int_equal(t.verdict, VERDICT_ACT);
	act(&t, 0, false);
	assert_false(kernel.asked_info);
	row.bytes_acked++;
	look(&t, 0, &row);
	assert_int_equal(t.verdict, VERDICT_MOVED);
	t.request.flags = 0;
	look(&t, 0, &still);
	assert_false(kernel.asked_info);
}

static void
test_unknown_state(void **state)
{
	struct diag_row row = row_make(13); /* BOUND-INACTIVE, since 6.8, or what comes next */
	struct wire_sampled answer;
	struct netlink nl = { 0 };
	struct ticket t = ticket_make();

	(void)state;
	look(&t, 0, &row);
	assert_int_equal(t.verdict, VERDICT_LIVE);
	assert_int_equal(t.result.state, 0);
	kind_tcp.sample(&nl, &scope, &sample, &answer, 1);
	assert_int_equal(answer.found, WIRE_FOUND_HELD);
	assert_int_equal(answer.state, 0);
}

static struct wire_sampled
sampled(int error, const struct diag_row *row)
{
	struct wire_sampled answer;
	struct netlink nl = { 0 };

	kernel.error = error;
	kernel.has_row = row != NULL;
	if (row != NULL)
		kernel.row = *row;
	memset(&answer, 0xa5, sizeof(answer));
	kind_tcp.sample(&nl, &scope_watch, &sample, &answer, 1);
	assert_true(answer.ghost == 1 && answer.cookie == COOKIE && answer.sampled_mono_ns == 1100);
	assert_int_equal(answer.pad, 0);
	assert_int_equal(kernel.asked, SOCK_DIAG_BY_FAMILY);
	assert_true(kernel.asked_info);
	return answer;
}

static void
test_sample(void **state)
{
	const struct wire_progress none = { 0 };
	struct wire_sampled a;
	struct diag_row row;

	(void)state;
	proved_make(TCP_STATE_CLOSING, &row);
	a = sampled(0, &row);
	assert_true(a.found == WIRE_FOUND_ORPHAN && a.error == 0 && a.mini == 0);
	assert_int_equal(a.state, TCP_STATE_CLOSING);
	assert_true(a.progress.bytes_acked == 1000 && a.progress.window_end == 1500);
	row = mini_make(TCP_STATE_FIN_WAIT2);
	a = sampled(0, &row);
	assert_true(a.found == WIRE_FOUND_ORPHAN && a.mini == 1);
	row.state = TCP_STATE_TIME_WAIT;
	a = sampled(0, &row);
	assert_true(a.found == WIRE_FOUND_TIME_WAIT && a.mini == 1);
	row = row_make(TCP_STATE_ESTABLISHED);
	a = sampled(0, &row);
	assert_true(a.found == WIRE_FOUND_HELD && a.state == TCP_STATE_ESTABLISHED);
	a = sampled(ENOENT, NULL);
	assert_true(a.found == WIRE_FOUND_NOTHING && a.error == 0 && a.state == 0);
	a = sampled(ENOBUFS, NULL);
	assert_true(a.found == WIRE_FOUND_FAILED && a.error == ENOBUFS && a.state == 0);
	a = sampled(0, NULL); /* an acknowledgement is no row */
	assert_true(a.found == WIRE_FOUND_FAILED && a.error == EBADMSG);
	proved_make(TCP_STATE_CLOSING, &row);
	row.cookie++;
	a = sampled(0, &row);
	assert_true(a.found == WIRE_FOUND_FAILED && a.error == ESTALE && a.state == 0);
	assert_memory_equal(&a.progress, &none, sizeof(none));
}

/* A whole batch, every second one of another namespace: not even asked about. */
static void
test_sample_batch(void **state)
{
	struct wire_sample samples[WIRE_BATCH_MAX];
	struct wire_sampled answers[WIRE_BATCH_MAX];
	struct netlink nl = { 0 };

	(void)state;
	for (size_t i = 0; i < WIRE_BATCH_MAX; i++) {
		samples[i] = sample;
		samples[i].ghost = 100 + i;
		samples[i].tuple.netns += i % 2;
	}
	kernel.error = ENOENT;
	kernel.has_row = false;
	kernel.sent = 0;
	kind_tcp.sample(&nl, &scope, samples, answers, WIRE_BATCH_MAX);
	assert_int_equal(kernel.sent, WIRE_BATCH_MAX / 2);
	for (size_t i = 0; i < WIRE_BATCH_MAX; i++) {
		assert_true(answers[i].ghost == 100 + i);
		assert_int_equal(
			answers[i].found, i % 2 == 0 ? WIRE_FOUND_NOTHING : WIRE_FOUND_FAILED);
		assert_int_equal(answers[i].error, i % 2 == 0 ? 0 : EXDEV);
	}
}

static struct {
	unsigned packets, records;
	uint64_t last;
} heard;

static void
hear(void *arg, const struct wire_found_record *records, size_t count)
{
	assert_ptr_equal(arg, &heard);
	assert_true(count >= 1 && count <= WIRE_BATCH_MAX);
	heard.packets++;
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(records[i].cookie % 1000 % 3 == 1, 0);
		assert_int_equal(records[i].mini, records[i].cookie % 1000 % 3 == 2);
		assert_true(heard.records == 0 || records[i].cookie > heard.last);
		heard.last = records[i].cookie;
		heard.records++;
	}
}

static struct wire_found_end
reconcile(struct dump_end v4, struct dump_end v6)
{
	const struct sink sink = { hear, &heard };
	struct wire_found_end end = { .round = 3 };
	struct netlink nl = { 0 };

	memset(&heard, 0, sizeof(heard));
	memset(&dumps, 0, sizeof(dumps));
	dumps.ends[0] = v4;
	dumps.ends[1] = v6;
	kind_tcp.reconcile(&nl, &scope_watch, &sink, &end);
	assert_int_equal(dumps.calls, 2);
	assert_int_equal(dumps.families[0], AF_INET);
	assert_int_equal(dumps.families[1], AF_INET6);
	assert_int_equal(end.count, 2 * (DUMPED - DUMPED / 3));
	assert_int_equal(heard.records, end.count);
	assert_int_equal(heard.packets, (end.count + WIRE_BATCH_MAX - 1) / WIRE_BATCH_MAX);
	return end;
}

static void
test_reconcile(void **state)
{
	const struct dump_end whole = { 0, true }, moved = { 0, false };
	const struct dump_end full = { ENOBUFS, false }, busy = { EBUSY, false };
	struct wire_found_end end;

	(void)state;
	end = reconcile(whole, whole);
	assert_true(end.complete == 1 && end.error == 0 && end.round == 3);
	end = reconcile(moved, whole);
	assert_true(end.complete == 0 && end.error == 0);
	end = reconcile(whole, moved);
	assert_true(end.complete == 0 && end.error == 0);
	end = reconcile(full, whole);
	assert_true(end.complete == 0 && end.error == ENOBUFS);
	end = reconcile(whole, full);
	assert_true(end.complete == 0 && end.error == ENOBUFS);
	end = reconcile(full, busy); /* the first error is told, and the second family asked */
	assert_true(end.complete == 0 && end.error == ENOBUFS);
}

static void
test_whole_batch(void **state)
{
	struct ticket tickets[WIRE_BATCH_MAX], *all[WIRE_BATCH_MAX];
	struct netlink nl = { 0 };

	(void)state;
	for (size_t i = 0; i < WIRE_BATCH_MAX; i++) {
		tickets[i] = ticket_make();
		all[i] = &tickets[i];
	}
	kernel.error = 0;
	kernel.has_row = true;
	kernel.row = row_make(TCP_STATE_FIN_WAIT1);
	kind_tcp.still_ghost(&nl, &scope, all, WIRE_BATCH_MAX);
	assert_int_equal(kernel.count, WIRE_BATCH_MAX);
	for (size_t i = 0; i < WIRE_BATCH_MAX; i++) {
		assert_int_equal(tickets[i].verdict, VERDICT_ACT);
		assert_true(tickets[i].looked.ns == 1100 + i);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_validate),
		cmocka_unit_test(test_verdict_all),
		cmocka_unit_test(test_verdict_orphans),
		cmocka_unit_test(test_verdict_time_wait),
		cmocka_unit_test(test_verdict_moved),
		cmocka_unit_test(test_verdict_accept_queue),
		cmocka_unit_test(test_verdict_not_closed),
		cmocka_unit_test(test_verdict_stale),
		cmocka_unit_test(test_proved_still),
		cmocka_unit_test(test_proved_moved),
		cmocka_unit_test(test_proved_other_state),
		cmocka_unit_test(test_proved_mini),
		cmocka_unit_test(test_proved_without_counters),
		cmocka_unit_test(test_proved_by_another),
		cmocka_unit_test(test_proved_live),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_found_all),
		cmocka_unit_test(test_found_another),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_peer_notice),
		cmocka_unit_test(test_look_found),
		cmocka_unit_test(test_look_not_found),
		cmocka_unit_test(test_look_failed),
		cmocka_unit_test(test_act_answers),
		cmocka_unit_test(test_act_without_an_answer),
		cmocka_unit_test(test_look_asks_for),
		cmocka_unit_test(test_unknown_state),
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_sample_batch),
		cmocka_unit_test(test_reconcile),
		cmocka_unit_test(test_whole_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
