/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: reaper/tcp.c reaper/netlink.c reaper/dump.c proto/diag.c proto/wire.c proto/log.c | pkg: libmnl */
/* clang-format on */
/*
 * What the reaper reads from its netlink socket, by its own receive path: writev(), send(),
 * recvmmsg() and recvmsg() are below. The input is what is done (look and act, sample, dump), the
 * requests, and the datagrams that come. Nothing may be taken for an orphan, or for an
 * acknowledgement, that is not word for word in an answer of the kernel's to that question
 * (netlink_row.h reads it once more).
 */
#include "fuzz.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "netlink_row.h"
#include "reaper/dump.h"
#include "reaper/tcp.h"

#define NETNS	    4026531840u
#define FD	    77
#define TICKETS_MAX 16u
#define EVENTS_MAX  96u
#define SEQ_FIRST   1u

enum goal {
	GOAL_ACT,
	GOAL_ACT_PROVED,
	GOAL_RELEASED,
	GOAL_SAMPLED,
	GOAL_FOUND,
	GOAL_COMPLETE,
	GOALS,
};
FUZZ_GOALS(GOALS);

enum event_flags {
	EVENT_ERROR = 1 << 0,	   /* an errno, no datagram */
	EVENT_STRANGER = 1 << 1,   /* not from port 0 */
	EVENT_CUT = 1 << 2,	   /* MSG_TRUNC */
	EVENT_SHORT_NAME = 1 << 3, /* no whole address */
	EVENT_END = 1 << 4,	   /* nothing more to read for this question */
};

/* What has been read. */
static struct event {
	const uint8_t *data;
	size_t len;
} events[EVENTS_MAX];
static size_t event_count;
static struct input source;

int
mnl_socket_get_fd(const struct mnl_socket *nl)
{
	(void)nl;
	return FD;
}

/* ---- the kernel ------------------------------------------------------------------------------ */

ssize_t
writev(int fd, const struct iovec *iov, int count)
{
	ssize_t len = 0;

	if (fd != FD) /* libFuzzer's own files */
		return syscall(SYS_writev, fd, iov, count);
	for (int i = 0; i < count; i++)
		len += (ssize_t)iov[i].iov_len;
	return len;
}

ssize_t
send(int fd, const void *data, size_t len, int flags)
{
	(void)data;
	REQUIRE(fd == FD && flags == 0);
	return (ssize_t)len;
}

static int
no_more(int error)
{
	errno = error;
	return -1;
}

static int
message_deliver(struct msghdr *msg, unsigned flags, size_t len)
{
	struct sockaddr_nl *from = msg->msg_name;
	size_t room = msg->msg_iov[0].iov_len, n = len < room ? len : room;

	*from = (struct sockaddr_nl){ .nl_family = AF_NETLINK };
	msg->msg_flags = (flags & EVENT_CUT) != 0 || n < len ? MSG_TRUNC : 0;
	if ((flags & EVENT_STRANGER) != 0)
		from->nl_pid = 4711;
	if ((flags & EVENT_SHORT_NAME) != 0)
		msg->msg_namelen = 0;
	memcpy(msg->msg_iov[0].iov_base, source.at, n);
	if (msg->msg_flags == 0 && (flags & (EVENT_STRANGER | EVENT_SHORT_NAME)) == 0)
		events[event_count++] = (struct event){ source.at, n };
	source.at += len;
	source.left -= len;
	return (int)n;
}

/* One event: a byte of flags; then an errno, or a datagram behind its length. */
static int
message_receive(struct msghdr *msg)
{
	unsigned flags = (unsigned)input_number(&source, 1);
	size_t len;

	if (source.left == 0 || event_count == EVENTS_MAX || (flags & EVENT_END) != 0)
		return no_more(EAGAIN);
	if ((flags & EVENT_ERROR) != 0)
		return no_more((int)input_number(&source, 1) % 133 + 1);
	len = input_number(&source, 2);
	return message_deliver(msg, flags, len < source.left ? len : source.left);
}

ssize_t
recvmsg(int fd, struct msghdr *msg, int flags)
{
	REQUIRE(fd == FD && flags == MSG_DONTWAIT);
	return message_receive(msg);
}

int
recvmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags, struct timespec *timeout)
{
	unsigned n = 0;
	int len = 0;

	REQUIRE(fd == FD && flags == MSG_DONTWAIT && timeout == NULL);
	while (n < count && (len = message_receive(&msgs[n].msg_hdr)) >= 0)
		msgs[n++].msg_len = (unsigned)len;
	return n == 0 ? -1 : (int)n;
}

/* ---- what has been answered, read once more ---------------------------------------------------
 */

/* The first message of the kernel's for question seq. NULL: none. */
static const uint8_t *
answer_find(uint32_t seq, size_t *len)
{
	for (size_t i = 0; i < event_count; i++) {
		size_t left = events[i].len, step;

		for (const uint8_t *at = events[i].data; message_whole(at, left, len);
			at += step, left -= step) {
			if (message_seq(at) == seq)
				return at;
			step = message_step(*len, left);
		}
	}
	return NULL;
}

/* Is there a row of this cookie and state in answer to question seq? */
static bool
dumped(uint32_t seq, const struct wire_found_record *f)
{
	size_t len, step;

	for (size_t i = 0; i < event_count; i++) {
		size_t left = events[i].len;

		for (const uint8_t *at = events[i].data; message_whole(at, left, &len);
			at += step, left -= step) {
			if (message_seq(at) == seq &&
				row_is_orphan(at, len, f->cookie, &f->tuple) &&
				row_state(at) == f->state)
				return true;
			step = message_step(len, left);
		}
	}
	return false;
}

/* ---- look and act ---------------------------------------------------------------------------- */

static const struct kind_scope scope = { .netns = NETNS, .selftest = WIRE_SELFTEST_PASSED };

/* A request that the wire checker lets through. */
static struct wire_destroy
request_take(struct input *in)
{
	struct wire_destroy r;

	input_fill(in, &r, sizeof(r));
	r.tuple.family = r.tuple.family == AF_INET6 ? AF_INET6 : AF_INET;
	r.tuple.netns = NETNS;
	r.tuple.pad = 0;
	if (r.tuple.family == AF_INET) {
		memset(r.tuple.src + 4, 0, 12);
		memset(r.tuple.dst + 4, 0, 12);
	}
	r.flags &= WIRE_DESTROY_PROVED;
	r.states &= TCP_STATES_RULE;
	if (r.flags == 0)
		memset(&r.seen, 0, sizeof(r.seen));
	return r;
}

static void
look_require(const struct ticket *t, uint32_t seq)
{
	size_t len;
	const uint8_t *answer = answer_find(seq, &len);

	REQUIRE(t->result.error >= 0 && t->result.state <= TCP_STATE_NEW_SYN_RECV);
	if (t->verdict != VERDICT_ACT)
		return;
	REACHED(GOAL_ACT);
	REQUIRE(answer != NULL);
	REQUIRE(row_is_orphan(answer, len, t->request.cookie, &t->request.tuple));
	REQUIRE((TCP_STATE_BIT(row_state(answer)) & t->request.states) != 0);
	REQUIRE(row_state(answer) != TCP_STATE_TIME_WAIT);
	if ((t->request.flags & WIRE_DESTROY_PROVED) == 0)
		return;
	REACHED(GOAL_ACT_PROVED);
	REQUIRE(row_is_stuck(answer, len, &t->request.seen));
}

static void
act_require(const struct ticket *t, uint32_t seq)
{
	size_t len;
	const uint8_t *answer = answer_find(seq, &len);

	REQUIRE(t->result.error >= 0);
	if (t->verdict != VERDICT_RELEASED)
		return;
	REACHED(GOAL_RELEASED);
	REQUIRE(answer != NULL && message_is_ack(answer, len));
}

static void
look_and_act(struct netlink *nl, struct input *in, size_t count)
{
	static struct ticket tickets[TICKETS_MAX];
	struct ticket *asked[TICKETS_MAX], *acts[TICKETS_MAX];
	size_t n = 0, act = 0;
	uint32_t seq = nl->seq;

	for (size_t i = 0; i < count; i++) {
		tickets[i] = (struct ticket){ .request = request_take(in) };
		if (kind_tcp.validate(&scope, &tickets[i].request) == VERDICT_LOOK)
			asked[n++] = &tickets[i];
	}
	source = *in;
	if (n > 0)
		kind_tcp.still_ghost(nl, &scope, asked, n);
	for (size_t i = 0; i < n; i++) {
		look_require(asked[i], seq + (uint32_t)i);
		if (asked[i]->verdict == VERDICT_ACT)
			acts[act++] = asked[i];
	}
	event_count = 0;
	seq = nl->seq;
	if (act > 0)
		kind_tcp.release(nl, acts, act);
	for (size_t i = 0; i < act; i++)
		act_require(acts[i], seq + (uint32_t)i);
}

/* ---- samples and dumps ----------------------------------------------------------------------- */

/* What goes to the broker is what the broker takes. */
static void
records_require(enum wire_type type, const void *records, size_t count)
{
	static _Alignas(8) uint8_t packet[WIRE_PACKET_MAX];
	struct wire_header head;
	struct wire_view view;
	size_t len = wire_header_fill(&head, type, count, 0);

	REQUIRE(len > sizeof(head) && len <= sizeof(packet));
	memcpy(packet, &head, sizeof(head));
	memcpy(packet + sizeof(head), records, len - sizeof(head));
	REQUIRE(wire_check(packet, len, WIRE_R2B, 0, &view) == WIRE_OK);
}

static void
sample(struct netlink *nl, struct input *in, size_t count)
{
	struct wire_sample samples[TICKETS_MAX] = { 0 };
	struct wire_sampled answers[TICKETS_MAX];
	size_t len;

	for (size_t i = 0; i < count; i++) {
		struct wire_destroy r = request_take(in);

		samples[i] = (struct wire_sample){ i, r.cookie, r.tuple };
	}
	source = *in;
	kind_tcp.sample(nl, &scope, samples, answers, count);
	records_require(WIRE_R2B_SAMPLED, answers, count);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *answer = answer_find(SEQ_FIRST + (uint32_t)i, &len);

		REQUIRE(answers[i].cookie == samples[i].cookie && answers[i].ghost == i);
		if (answers[i].found != WIRE_FOUND_ORPHAN)
			continue;
		REACHED(GOAL_SAMPLED);
		REQUIRE(answer != NULL);
		REQUIRE(row_is_orphan(answer, len, samples[i].cookie, &samples[i].tuple));
		REQUIRE(row_state(answer) == answers[i].state);
	}
}

static void
found_require(void *arg, const struct wire_found_record *records, size_t count)
{
	(void)arg;
	REACHED(GOAL_FOUND);
	records_require(WIRE_R2B_FOUND, records, count);
	for (size_t i = 0; i < count; i++) {
		REQUIRE(records[i].tuple.netns == NETNS);
		REQUIRE(dumped(SEQ_FIRST, &records[i]) || dumped(SEQ_FIRST + 1, &records[i]));
	}
}

static void
reconcile(struct netlink *nl, const struct input *in)
{
	const struct sink sink = { .take = found_require };
	struct wire_found_end end = { 0 };

	source = *in;
	kind_tcp.reconcile(nl, &scope, &sink, &end);
	records_require(WIRE_R2B_FOUND_END, &end, 1);
	REQUIRE(end.complete == 0 || end.error == 0);
	if (end.complete == 1)
		REACHED(GOAL_COMPLETE);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct netlink nl = { .seq = SEQ_FIRST };
	unsigned what = (unsigned)input_number(&in, 1);
	size_t count = input_number(&in, 1) % TICKETS_MAX + 1;

	event_count = 0;
	switch (what % 3) {
	case 0:
		look_and_act(&nl, &in, count);
		break;
	case 1:
		sample(&nl, &in, count);
		break;
	default:
		reconcile(&nl, &in);
	}
	return 0;
}
