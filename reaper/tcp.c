/* SPDX-License-Identifier: Apache-2.0 */
#include "tcp.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "dump.h"
#include "netlink.h"

#define SHUTDOWN_BOTH 3 /* RCV_SHUTDOWN | SEND_SHUTDOWN; __tcp_close() sets it before all else */
/* inet_twsk_diag_fill(): TIME-WAIT, or FIN-WAIT-2 in a mini-socket */
#define TIMER_MINI WIRE_TIMER_MINI

#define BIT(s) TCP_STATE_BIT(TCP_STATE_##s)

/* tcp_set_state() traces the transition before it stores the new state, and sock_orphan() comes
 * later still: a close that is under way shows the old state or the new one, with an inode. */
#define STATES_CLOSING_UNDER_WAY \
	(TCP_STATES_ORPHAN | BIT(ESTABLISHED) | BIT(CLOSE_WAIT) | BIT(SYN_RECV))

static bool
state_in(unsigned state, uint32_t set)
{
	return state < 32 && (TCP_STATE_BIT(state) & set) != 0;
}

/* The answer does not name its namespace: it is the netlink socket's, ours. */
static struct wire_tuple
tuple_of(const struct kind_scope *scope, const struct diag_row *row)
{
	struct wire_tuple tuple = row->tuple;

	tuple.netns = scope->netns;
	return tuple;
}

static bool
is_named(const struct kind_scope *scope, uint64_t cookie, const struct wire_tuple *named,
	const struct diag_row *row)
{
	struct wire_tuple tuple = tuple_of(scope, row);

	return row->cookie == cookie && wire_tuple_equal(&tuple, named);
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

/* 0 is never given out, and ~0 is INET_DIAG_NOCOOKIE. */
static bool
is_cookie(uint64_t cookie)
{
	return cookie != 0 && cookie != UINT64_MAX;
}

static bool
is_proved(const struct wire_destroy *request)
{
	return (request->flags & WIRE_DESTROY_PROVED) != 0;
}

enum verdict
tcp_validate(const struct kind_scope *scope, const struct wire_destroy *request)
{
	if (scope->selftest != WIRE_SELFTEST_PASSED)
		return VERDICT_UNSUPPORTED;
	if (!is_cookie(request->cookie))
		return VERDICT_INVALID;
	if (request->tuple.family != AF_INET && request->tuple.family != AF_INET6)
		return VERDICT_INVALID;
	if (request->tuple.netns != scope->netns)
		return VERDICT_OTHER_NETNS;
	return VERDICT_LOOK;
}

/* Nobody can reach it any more: I1 but for the policy's states. */
static bool
is_orphan(const struct diag_row *row)
{
	return !row->mptcp && row->inode == 0 && (is_mini(row) || is_closed_full(row));
}

/* Of an orphan in a state that the request names: has it moved since the second sample? */
static enum verdict
proved_verdict(const struct wire_destroy *request, const struct diag_row *row)
{
	struct wire_progress now = tcp_progress(row);
	bool mini = is_mini(row);

	if (row->state != request->state || mini != (request->seen.timer == TIMER_MINI))
		return VERDICT_MOVED;
	if (mini)
		return VERDICT_ACT;
	if (!row->has_window)
		return VERDICT_BLIND;
	/* It only grows: that sample was another socket's. */
	if (now.bytes_acked < request->seen.bytes_acked)
		return VERDICT_STALE;
	return wire_progress_made(&request->seen, &now) ? VERDICT_MOVED : VERDICT_ACT;
}

enum verdict
tcp_verdict(const struct kind_scope *scope, const struct wire_destroy *request,
	const struct diag_row *row)
{
	if (row->mptcp)
		return VERDICT_LIVE;
	if (row->inode != 0)
		return state_in(row->state, STATES_CLOSING_UNDER_WAY) ? VERDICT_RETRY
								      : VERDICT_LIVE;
	if (row->state == TCP_STATE_CLOSE)
		return VERDICT_GONE;
	if (!is_orphan(row))
		return VERDICT_LIVE;
	if (!is_named(scope, request->cookie, &request->tuple, row) ||
		!state_in(row->state, tcp_states_after(request->state)))
		return VERDICT_STALE;
	if (row->state == TCP_STATE_TIME_WAIT && !scope->time_wait)
		return VERDICT_GONE;
	if (!state_in(row->state, request->states))
		return row->state == TCP_STATE_TIME_WAIT ? VERDICT_GONE : VERDICT_MOVED;
	return is_proved(request) ? proved_verdict(request, row) : VERDICT_ACT;
}

enum wire_found
tcp_found(const struct kind_scope *scope, const struct wire_sample *sample,
	const struct diag_row *row, int *error)
{
	*error = 0;
	if (!is_orphan(row))
		return WIRE_FOUND_HELD;
	if (!is_named(scope, sample->cookie, &sample->tuple, row))
		*error = ESTALE;
	else if (!is_mini(row) && !row->has_window)
		*error = ENODATA;
	if (*error != 0)
		return WIRE_FOUND_FAILED;
	return row->state == TCP_STATE_TIME_WAIT ? WIRE_FOUND_TIME_WAIT : WIRE_FOUND_ORPHAN;
}

struct wire_progress
tcp_progress(const struct diag_row *row)
{
	if (is_mini(row))
		return (struct wire_progress){ .timer = row->timer, .timer_ms = row->timer_ms };
	return (struct wire_progress){
		.bytes_acked = row->bytes_acked,
		.window_end = row->bytes_acked + row->send_window,
		.send_queue = row->send_queue,
		.unacked = row->unacked,
		.notsent = row->notsent,
		.last_ack_ms = row->last_ack_ms,
		.timer_ms = row->timer_ms,
		.timer = row->timer,
		.retransmits = row->retransmits,
		.probes = row->probes,
		.backoff = row->backoff,
	};
}

bool
tcp_record(const struct kind_scope *scope, const struct diag_row *row,
	struct wire_found_record *record)
{
	if (!is_orphan(row) || row->state == TCP_STATE_TIME_WAIT || !is_cookie(row->cookie))
		return false;
	*record = (struct wire_found_record){
		.cookie = row->cookie,
		.tuple = tuple_of(scope, row),
		.progress = tcp_progress(row),
		.state = row->state,
		.mini = is_mini(row),
	};
	return true;
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

static size_t
question_write(void *buf, uint16_t message, const struct wire_destroy *r)
{
	if (message == SOCK_DIAG_BY_FAMILY && is_proved(r))
		return diag_exact_info(buf, 0, r->cookie, &r->tuple);
	return diag_exact(buf, message, 0, r->cookie, &r->tuple);
}

static void
exchange(struct netlink *nl, uint16_t message, struct ticket *const *tickets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		queries[i].len = question_write(queries[i].request, message, &tickets[i]->request);
	netlink_exchange(nl, queries, count);
}

/* Of a look, which is answered by a row or an error. */
static int
look_error(const struct netlink_query *q)
{
	return q->error == 0 && !q->has_row ? EBADMSG : q->error;
}

/* A state that a newer kernel may have is none of the protocol's. */
static uint8_t
state_of(const struct diag_row *row)
{
	return row->state <= TCP_STATE_NEW_SYN_RECV ? row->state : 0;
}

static void
row_record(struct ticket *t, const struct diag_row *row)
{
	t->found = true;
	t->result.send_queue = row->send_queue;
	t->result.state = state_of(row);
	t->result.timer = row->timer;
	t->result.peer_notice = (uint8_t)tcp_peer_notice(row);
}

/* The kernel's, or the socket's, want of memory: it passes. */
static bool
is_passing(int error)
{
	return error == ENOBUFS || error == ENOMEM || error == EAGAIN;
}

/* Nobody else ends an orphan between our act and the next look: the act's answer was lost, the act
 * was not. */
static enum verdict
not_found(struct ticket *t)
{
	if (!t->acted)
		return VERDICT_GONE;
	t->result.error = 0;
	return VERDICT_RELEASED;
}

static enum verdict
look_read(const struct kind_scope *scope, struct ticket *t, const struct netlink_query *q)
{
	if (q->error == ENOENT && t->found)
		return not_found(t);
	t->result.error = look_error(q);
	if (t->result.error != 0)
		return is_passing(t->result.error) ? VERDICT_BUSY : VERDICT_FAILED;
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

		t->asked = nl->sent;
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
	if (is_passing(t->result.error)) {
		t->acted |= q->asked && !q->answered;
		return VERDICT_BUSY;
	}
	if (t->result.error != ENOENT)
		return VERDICT_FAILED;
	/* It was there when we looked. tcp_abort() says so, too, of a socket that has become a
	 * mini-socket meanwhile, which is still there (FIN-WAIT-2): only another look can tell. */
	t->result.error = 0;
	return VERDICT_RETRY;
}

static void
tcp_release(struct netlink *nl, struct ticket *const *tickets, size_t count)
{
	exchange(nl, SOCK_DESTROY, tickets, count);
	for (size_t i = 0; i < count; i++) {
		struct ticket *t = tickets[i];

		t->result.look_to_act_ns = queries[i].read.ns - t->asked.ns;
		t->result.done_mono_ns = queries[i].read.ns;
		t->verdict = ack_read(t, &queries[i]);
	}
}

static void
sampled_read(const struct kind_scope *scope, const struct wire_sample *sample,
	const struct netlink_query *q, struct wire_sampled *answer)
{
	answer->found = WIRE_FOUND_FAILED;
	answer->error = look_error(q);
	if (answer->error == ENOENT) {
		answer->found = WIRE_FOUND_NOTHING;
		answer->error = 0;
	}
	if (answer->error != 0 || answer->found == WIRE_FOUND_NOTHING)
		return;
	answer->found = (uint8_t)tcp_found(scope, sample, &q->row, &answer->error);
	if (answer->found == WIRE_FOUND_FAILED)
		return;
	answer->state = state_of(&q->row);
	answer->mini = is_mini(&q->row);
	answer->progress = tcp_progress(&q->row);
}

static void
tcp_sample(struct netlink *nl, const struct kind_scope *scope, const struct wire_sample *samples,
	struct wire_sampled *answers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		bool ours = samples[i].tuple.netns == scope->netns;

		queries[i].len = ours ? diag_exact_info(queries[i].request, 0, samples[i].cookie,
						&samples[i].tuple)
				      : 0;
	}
	netlink_exchange(nl, queries, count);
	for (size_t i = 0; i < count; i++) {
		answers[i] = (struct wire_sampled){
			.ghost = samples[i].ghost,
			.cookie = samples[i].cookie,
			.sampled_mono_ns = queries[i].read.ns,
		};
		/* What was not asked has no answer, whatever came in. */
		if (samples[i].tuple.netns != scope->netns)
			queries[i].error = EXDEV;
		else if (!is_cookie(samples[i].cookie))
			queries[i].error = EINVAL;
		sampled_read(scope, &samples[i], &queries[i], &answers[i]);
	}
}

/* A dump on its way to the broker. */
struct finder {
	const struct kind_scope *scope;
	const struct sink *sink;
	struct wire_found_end *end;
	size_t count;
	struct wire_found_record records[WIRE_BATCH_MAX];
};

static void
finder_flush(struct finder *f)
{
	if (f->count > 0)
		f->sink->take(f->sink->arg, f->records, f->count);
	f->end->count += (uint32_t)f->count;
	f->count = 0;
}

static void
finder_take(void *arg, const struct diag_row *row)
{
	struct finder *f = arg;

	if (!tcp_record(f->scope, row, &f->records[f->count]))
		return;
	if (++f->count == WIRE_BATCH_MAX)
		finder_flush(f);
}

static void
tcp_reconcile(struct netlink *dumps, const struct kind_scope *scope, const struct sink *sink,
	struct wire_found_end *end)
{
	static const uint16_t families[] = { AF_INET, AF_INET6 };
	static struct finder finder;

	finder = (struct finder){ .scope = scope, .sink = sink, .end = end };
	end->complete = 1;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		_Alignas(4) unsigned char request[DIAG_REQUEST_LEN];
		size_t len = diag_dump(request, 0, families[i], TCP_STATES_ORPHAN);
		struct dump_end part = dump_run(dumps, request, len, finder_take, &finder);

		if (end->error == 0)
			end->error = part.error;
		end->complete &= part.complete;
	}
	finder_flush(&finder);
}

const struct kind kind_tcp = {
	.name = "tcp",
	.validate = tcp_validate,
	.still_ghost = tcp_still_ghost,
	.release = tcp_release,
	.sample = tcp_sample,
	.reconcile = tcp_reconcile,
};
