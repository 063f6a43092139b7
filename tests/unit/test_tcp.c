/* SPDX-License-Identifier: Apache-2.0 */
/* links: reaper/tcp.c proto/diag.c proto/wire.c */
/* Links reaper/tcp.c, proto/diag.c, proto/wire.c. The kernel is played by netlink_exchange() below.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>

#include "reaper/netlink.h"
#include "reaper/tcp.h"

#define NETNS  4026531840u
#define COOKIE 0x1007ull

static const struct wire_tuple tuple = {
	.family = AF_INET,
	.src_port = 5555,
	.dst_port = 48670,
	.netns = NETNS,
	.src = { 127, 0, 0, 1 },
	.dst = { 127, 0, 0, 1 },
};

static const struct kind_scope scope = { .netns = NETNS, .selftest = WIRE_SELFTEST_PASSED };
static const struct kind_scope scope_tw = { .netns = NETNS, .time_wait = true };

static struct wire_destroy
request_make(uint8_t state)
{
	return (struct wire_destroy){
		.states = TCP_STATES_ORPHAN,
		.ghost = 1, .cookie = COOKIE, .tuple = tuple, .state = state
	};
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
	if (row->timer == 3)
		return !row->has_shutdown &&
		       (row->state == TCP_STATE_FIN_WAIT2 ||
			       (row->state == TCP_STATE_TIME_WAIT && time_wait));
	return orphan_state(row->state) && row->has_shutdown && row->shutdown == 3;
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
		assert_int_equal(
			v, orphan_state(row->state) && !row->mptcp ? VERDICT_RETRY : VERDICT_LIVE);
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
	size_t count;
} kernel;

void
netlink_exchange(struct netlink *nl, struct netlink_query *queries, size_t count)
{
	nl->sent.ns = 1000;
	kernel.count = count;
	for (size_t i = 0; i < count; i++) {
		const struct nlmsghdr *head = (const struct nlmsghdr *)queries[i].request;

		assert_int_equal(queries[i].len, DIAG_REQUEST_LEN);
		kernel.asked = head->nlmsg_type;
		queries[i].error = kernel.error;
		queries[i].has_row = kernel.has_row;
		queries[i].row = kernel.row;
		queries[i].read.ns = 900 + i;
	}
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
	assert_true(t.found && t.looked.ns == 900);
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
	const int errors[] = { EPERM, ENOBUFS, EINVAL, EBADMSG };
	struct diag_row row = row_make(TCP_STATE_FIN_WAIT1);

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct ticket t = ticket_make();

		t.found = true; /* found before or not: no answer is no answer */
		look(&t, errors[i], NULL);
		assert_int_equal(t.verdict, VERDICT_FAILED);
		assert_int_equal(t.result.error, errors[i]);
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
	act(&t, ENOENT, false);
	assert_int_equal(t.verdict, VERDICT_GONE);
	assert_int_equal(t.result.error, 0);
	act(&t, EPERM, false);
	assert_int_equal(t.verdict, VERDICT_FAILED);
	assert_int_equal(t.result.error, EPERM);
	act(&t, ENOBUFS, false);
	assert_int_equal(t.verdict, VERDICT_FAILED);
	act(&t, 0, true);
	assert_int_equal(t.verdict, VERDICT_FAILED);
	assert_int_equal(t.result.error, EBADMSG);
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
		assert_true(tickets[i].looked.ns == 900 + i);
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
		cmocka_unit_test(test_peer_notice),
		cmocka_unit_test(test_look_found),
		cmocka_unit_test(test_look_not_found),
		cmocka_unit_test(test_look_failed),
		cmocka_unit_test(test_act_answers),
		cmocka_unit_test(test_whole_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
