/* SPDX-License-Identifier: Apache-2.0 */
#include "tcp.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "netlink.h"

#define SHUTDOWN_BOTH 3 /* RCV_SHUTDOWN | SEND_SHUTDOWN; __tcp_close() sets it before all else */
#define TIMER_MINI    3 /* inet_twsk_diag_fill(): TIME-WAIT, or FIN-WAIT-2 in a mini-socket */

#define BIT(s) TCP_STATE_BIT(TCP_STATE_##s)

static bool
state_in(unsigned state, uint32_t set)
{
	return state < 32 && (TCP_STATE_BIT(state) & set) != 0;
}

/* Where a socket that was last seen in `state` may have come to since (RFC 9293, figure 5). */
static uint32_t
states_after(unsigned state)
{
	static const uint32_t after[] = {
		[TCP_STATE_ESTABLISHED] = TCP_STATES_ORPHAN | BIT(TIME_WAIT),
		[TCP_STATE_SYN_RECV] = TCP_STATES_ORPHAN | BIT(TIME_WAIT),
		[TCP_STATE_FIN_WAIT1] =
			BIT(FIN_WAIT1) | BIT(FIN_WAIT2) | BIT(CLOSING) | BIT(TIME_WAIT),
		[TCP_STATE_FIN_WAIT2] = BIT(FIN_WAIT2) | BIT(TIME_WAIT),
		[TCP_STATE_TIME_WAIT] = BIT(TIME_WAIT),
		[TCP_STATE_CLOSE_WAIT] = BIT(LAST_ACK),
		[TCP_STATE_LAST_ACK] = BIT(LAST_ACK),
		[TCP_STATE_CLOSING] = BIT(CLOSING) | BIT(TIME_WAIT),
	};

	return state < sizeof(after) / sizeof(after[0]) ? after[state] : 0;
}

static bool
as_described(const struct kind_scope *scope, const struct wire_destroy *request,
	const struct diag_row *row)
{
	struct wire_tuple tuple = row->tuple;

	/* The answer does not name its namespace: it is the netlink socket's, ours. */
	tuple.netns = scope->netns;
	return row->cookie == request->cookie && wire_tuple_equal(&tuple, &request->tuple) &&
	       state_in(row->state, states_after(request->state));
}

static bool
is_mini(const struct diag_row *row)
{
	return row->timer == TIMER_MINI && !row->has_shutdown &&
	       state_in(row->state, BIT(FIN_WAIT2) | BIT(TIME_WAIT));
}

static bool
is_closed_full(const struct diag_row *row)
{
	return row->timer != TIMER_MINI && row->has_shutdown && row->shutdown == SHUTDOWN_BOTH &&
	       state_in(row->state, TCP_STATES_ORPHAN);
}

enum verdict
tcp_validate(const struct kind_scope *scope, const struct wire_destroy *request)
{
	if (scope->selftest != WIRE_SELFTEST_PASSED)
		return VERDICT_UNSUPPORTED;
	if (request->cookie == 0 || request->cookie == UINT64_MAX)
		return VERDICT_INVALID;
	if (request->tuple.family != AF_INET && request->tuple.family != AF_INET6)
		return VERDICT_INVALID;
	if (request->tuple.netns != scope->netns)
		return VERDICT_OTHER_NETNS;
	return VERDICT_LOOK;
}

enum verdict
tcp_verdict(const struct kind_scope *scope, const struct wire_destroy *request,
	const struct diag_row *row)
{
	if (row->mptcp)
		return VERDICT_LIVE;
	if (row->inode != 0)
		return state_in(row->state, TCP_STATES_ORPHAN) ? VERDICT_RETRY : VERDICT_LIVE;
	if (!is_mini(row) && !is_closed_full(row))
		return VERDICT_LIVE;
	if (!as_described(scope, request, row))
		return VERDICT_STALE;
	if (row->state == TCP_STATE_TIME_WAIT)
		return scope->time_wait && state_in(row->state, request->states) ? VERDICT_ACT
										 : VERDICT_GONE;
	return state_in(row->state, request->states) ? VERDICT_ACT : VERDICT_MOVED;
}

enum wire_peer_notice
tcp_peer_notice(const struct diag_row *row)
{
	if (!is_mini(row) && state_in(row->state, BIT(FIN_WAIT1) | BIT(FIN_WAIT2)))
		return WIRE_NOTICE_RST;
	return WIRE_NOTICE_NONE;
}

/* One static array for looks and acts: they never overlap, and it is too big for the stack. */
static struct netlink_query queries[WIRE_BATCH_MAX];

static void
exchange(struct netlink *nl, uint16_t message, struct ticket *const *tickets, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct wire_destroy *r = &tickets[i]->request;

		queries[i].len = diag_exact(queries[i].request, message, 0, r->cookie, &r->tuple);
	}
	netlink_exchange(nl, queries, count);
}

static void
row_record(struct ticket *t, const struct diag_row *row)
{
	t->found = true;
	t->result.send_queue = row->send_queue;
	t->result.state = row->state;
	t->result.timer = row->timer;
	t->result.peer_notice = (uint8_t)tcp_peer_notice(row);
}

static enum verdict
look_read(const struct kind_scope *scope, struct ticket *t, const struct netlink_query *q)
{
	if (q->error == ENOENT && t->found)
		return VERDICT_GONE;
	t->result.error = q->error;
	if (q->error == 0 && !q->has_row)
		t->result.error = EBADMSG;
	if (t->result.error != 0)
		return VERDICT_FAILED;
	row_record(t, &q->row);
	return tcp_verdict(scope, &t->request, &q->row);
}

static void
tcp_still_ghost(struct netlink *nl, const struct kind_scope *scope, struct ticket *const *tickets,
	size_t count)
{
	exchange(nl, SOCK_DIAG_BY_FAMILY, tickets, count);
	for (size_t i = 0; i < count; i++) {
		struct ticket *t = tickets[i];

		t->looked = queries[i].read;
		t->result.tries++;
		t->result.done_mono_ns = queries[i].read.ns;
		t->verdict = look_read(scope, t, &queries[i]);
	}
}

static enum verdict
ack_read(struct ticket *t, const struct netlink_query *q)
{
	/* An answer with a row would be an answer to another kind of question. */
	t->result.error = q->has_row ? EBADMSG : q->error;
	if (t->result.error == 0)
		return VERDICT_RELEASED;
	if (t->result.error != ENOENT)
		return VERDICT_FAILED;
	t->result.error = 0; /* it was there when we looked: it went by itself */
	return VERDICT_GONE;
}

static void
tcp_release(struct netlink *nl, struct ticket *const *tickets, size_t count)
{
	exchange(nl, SOCK_DESTROY, tickets, count);
	for (size_t i = 0; i < count; i++) {
		struct ticket *t = tickets[i];

		t->result.look_to_act_ns = nl->sent.ns - t->looked.ns;
		t->result.done_mono_ns = queries[i].read.ns;
		t->verdict = ack_read(t, &queries[i]);
	}
}

const struct kind kind_tcp = {
	.name = "tcp",
	.validate = tcp_validate,
	.still_ghost = tcp_still_ghost,
	.release = tcp_release,
};
