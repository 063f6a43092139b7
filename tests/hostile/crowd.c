/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sockets.h"
#include "tap.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define HALVES	   24u /* half-closed by a living process */
#define LISTENERS  24u
#define ELSEWHERE  16u
#define DATAGRAMS  8u
#define MULTIPATHS 4u
#define REQUESTS   4u /* of TCP_DEFER_ACCEPT: no data yet, so no socket yet */
#define QUEUES	   2u
#define BACKLOG	   16 /* one more finds room */
#define CALLERS	   (BACKLOG + 8)
#define WAITING	   (QUEUES * (BACKLOG + 1))

#define DEFER_S 600

struct queue {
	int listener, callers[CALLERS];
	struct sockaddr_storage at;
	socklen_t at_len;
};

static struct {
	struct pair *live, halves[HALVES], elsewhere[ELSEWHERE], datagrams[DATAGRAMS],
		multipaths[MULTIPATHS], orphans[CROWD_ORPHANS_MAX];
	struct pair listeners[LISTENERS]; /* client -1: each look makes one */
	struct pair requests[REQUESTS];
	struct queue queues[QUEUES];
	struct wire_destroy ghosts[CROWD_ORPHANS_MAX];
	struct target others[ELSEWHERE * 2 + DATAGRAMS * 2];
	unsigned live_count, orphan_count, other_count, multipath_count;
	uint64_t waiting[WAITING + 1]; /* cookies of what is to be accepted */
	unsigned waiting_count;
} crowd;

/* ---- making ---------------------------------------------------------------------------------- */

static void
listener_drop(struct pair *p)
{
	close(p->listener);
	p->listener = -1;
}

static void
lives_make(unsigned count)
{
	crowd.live_count = count;
	crowd.live = calloc(count, sizeof(crowd.live[0]));
	if (crowd.live == NULL)
		die("calloc");
	for (unsigned i = 0; i < count; i++) {
		crowd.live[i] = pair_make((enum flavour)(i % FLAVOURS));
		listener_drop(&crowd.live[i]);
	}
}

/* FIN-WAIT-1 at a closed window, FIN-WAIT-2; the other ends in ESTABLISHED and CLOSE-WAIT. */
static void
halves_make(void)
{
	for (unsigned i = 0; i < HALVES; i++) {
		crowd.halves[i] = pair_make((enum flavour)(i % FLAVOURS));
		listener_drop(&crowd.halves[i]);
		if (i % 2 == 0)
			fill(crowd.halves[i].client);
		must(shutdown(crowd.halves[i].client, SHUT_WR), "shutdown");
	}
}

static void
listeners_make(void)
{
	for (unsigned i = 0; i < LISTENERS; i++) {
		enum flavour flavour = (enum flavour)(i % FLAVOURS);
		struct sockaddr_storage ss;
		socklen_t len = address_make(flavour, &ss);
		int fd = socket_make(flavour);

		if (i >= LISTENERS / 2 && ss.ss_family == AF_INET)
			((struct sockaddr_in *)&ss)->sin_addr.s_addr = htonl(INADDR_ANY);
		if (i >= LISTENERS / 2 && flavour == IPV6)
			((struct sockaddr_in6 *)&ss)->sin6_addr = in6addr_any;
		must(bind(fd, (struct sockaddr *)&ss, len), "bind");
		must(listen(fd, 64), "listen");
		crowd.listeners[i] = (struct pair){ fd, -1, -1 };
	}
}

/* Some of those who wait have said something, some have closed their end: ESTABLISHED and
 * CLOSE-WAIT, all without an inode. The rest of the callers find no room. */
static void
queue_make(struct queue *q, enum flavour flavour)
{
	q->at_len = address_make(flavour, &q->at);
	q->listener = socket_make(flavour);
	must(bind(q->listener, (struct sockaddr *)&q->at, q->at_len), "bind");
	must(listen(q->listener, BACKLOG), "listen");
	must(getsockname(q->listener, (struct sockaddr *)&q->at, &q->at_len), "getsockname");
	for (unsigned i = 0; i < CALLERS; i++) {
		bool room = i <= BACKLOG;

		q->callers[i] = socket_make(flavour);
		if (!room)
			must(fcntl(q->callers[i], F_SETFL, O_NONBLOCK), "O_NONBLOCK");
		if (connect(q->callers[i], (struct sockaddr *)&q->at, q->at_len) < 0 && room)
			die("connect to an accept queue");
		if (room && i % 3 == 1)
			must((int)send(q->callers[i], "x", 1, MSG_NOSIGNAL), "send");
		if (room && i % 3 == 2)
			must(shutdown(q->callers[i], SHUT_WR), "shutdown");
	}
}

static void
requests_make(void)
{
	const int seconds = DEFER_S;

	for (unsigned i = 0; i < REQUESTS; i++) {
		struct sockaddr_storage ss;
		socklen_t len = address_make(IPV4, &ss);
		struct pair p = { socket_make(IPV4), socket_make(IPV4), -1 };

		must(setsockopt(
			     p.listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)),
			"TCP_DEFER_ACCEPT");
		must(bind(p.listener, (struct sockaddr *)&ss, len), "bind");
		must(listen(p.listener, 8), "listen");
		must(getsockname(p.listener, (struct sockaddr *)&ss, &len), "getsockname");
		must(connect(p.client, (struct sockaddr *)&ss, len), "connect");
		crowd.requests[i] = p;
	}
}

/* A pair of `type` and `protocol` on IPv4, both bound where the two given sockets are, or anywhere.
 */
static struct pair
pair_at(int type, int protocol, const struct wire_tuple *like)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in from = to;
	socklen_t len = sizeof(to);
	struct pair p = { -1, socket(AF_INET, type | SOCK_CLOEXEC, protocol),
		socket(AF_INET, type | SOCK_CLOEXEC, protocol) };
	int one = 1;

	if (p.client < 0 || p.server < 0)
		return p;
	if (like != NULL) {
		to.sin_port = htons(like->dst_port);
		from.sin_port = htons(like->src_port);
	}
	setsockopt(p.client, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	must(bind(p.server, (struct sockaddr *)&to, len), "bind");
	must(bind(p.client, (struct sockaddr *)&from, len), "bind");
	must(getsockname(p.server, (struct sockaddr *)&to, &len), "getsockname");
	must(getsockname(p.client, (struct sockaddr *)&from, &len), "getsockname");
	if (type == SOCK_STREAM) {
		p.listener = p.server;
		must(listen(p.listener, 8), "listen");
	}
	must(connect(p.client, (struct sockaddr *)&to, len), "connect");
	if (type == SOCK_STREAM) {
		p.server = must(accept4(p.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
		listener_drop(&p);
	} else {
		must(connect(p.server, (struct sockaddr *)&from, len), "connect");
	}
	return p;
}

static void
other_add(int fd, uint32_t netns)
{
	struct wire_destroy d = request_for(fd, TCP_STATE_FIN_WAIT1);
	struct target *t = &crowd.others[crowd.other_count++];

	*t = (struct target){ .tuple = d.tuple,
		.cookie = d.cookie,
		.kind = TARGET_ELSEWHERE,
		.state = TCP_STATE_ESTABLISHED };
	t->tuple.netns = netns;
}

/* The same addresses and ports as some of the living, in a namespace of their own. */
static void
elsewhere_make(void)
{
	int home = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "open netns");
	uint32_t netns = netns_now();
	struct wire_tuple like[ELSEWHERE];

	for (unsigned i = 0; i < ELSEWHERE; i++)
		like[i] = request_for(crowd.live[i * FLAVOURS].client, TCP_STATE_FIN_WAIT1).tuple;
	must(unshare(CLONE_NEWNET), "unshare");
	loopback_up();
	for (unsigned i = 0; i < ELSEWHERE; i++) {
		crowd.elsewhere[i] = pair_at(SOCK_STREAM, 0, &like[i]);
		other_add(crowd.elsewhere[i].client, netns);
		other_add(crowd.elsewhere[i].server, netns);
	}
	must(setns(home, CLONE_NEWNET), "setns");
	close(home);
}

/* UDP has cookies, too; and where the kernel has MPTCP, its subflows are rows of the TCP dump. */
static void
others_make(void)
{
	uint32_t netns = netns_now();

	for (unsigned i = 0; i < DATAGRAMS; i++) {
		crowd.datagrams[i] = pair_at(SOCK_DGRAM, 0, NULL);
		other_add(crowd.datagrams[i].client, netns);
		other_add(crowd.datagrams[i].server, netns);
	}
	for (unsigned i = 0; i < MULTIPATHS; i++) {
		struct pair p = pair_at(SOCK_STREAM, IPPROTO_MPTCP, NULL);

		if (p.client >= 0)
			crowd.multipaths[crowd.multipath_count++] = p;
	}
}

static void
orphans_make(unsigned count)
{
	crowd.orphan_count = count;
	for (unsigned i = 0; i < count; i++) {
		crowd.ghosts[i] = orphan_make(&crowd.orphans[i], IPV4);
		listener_drop(&crowd.orphans[i]);
	}
}

/* ---- the accept queue ------------------------------------------------------------------------ */

static uint16_t
port_of(const struct sockaddr_storage *ss)
{
	return ntohs(ss->ss_family == AF_INET ? ((const struct sockaddr_in *)ss)->sin_port
					      : ((const struct sockaddr_in6 *)ss)->sin6_port);
}

struct waiters {
	uint64_t cookies[WAITING + 1];
	unsigned count;
};

static void
waiter_take(void *arg, const struct diag_row *row)
{
	struct waiters *w = arg;

	for (unsigned i = 0; i < QUEUES; i++) {
		if (row->inode == 0 && row->tuple.src_port == port_of(&crowd.queues[i].at) &&
			w->count <= WAITING)
			w->cookies[w->count++] = row->cookie;
	}
}

/* What has neither been accepted nor gone. */
static struct waiters
waiters_now(void)
{
	const uint32_t states =
		TCP_STATE_BIT(TCP_STATE_ESTABLISHED) | TCP_STATE_BIT(TCP_STATE_CLOSE_WAIT);
	struct waiters w = { .count = 0 };

	rows_dump(AF_INET, states, waiter_take, &w);
	rows_dump(AF_INET6, states, waiter_take, &w);
	return w;
}

static unsigned
waiters_kept(void)
{
	struct waiters w = waiters_now();
	unsigned kept = 0;

	for (unsigned i = 0; i < crowd.waiting_count; i++) {
		for (unsigned k = 0; k < w.count; k++)
			kept += w.cookies[k] == crowd.waiting[i];
	}
	return kept;
}

void
crowd_make(unsigned live, unsigned orphans)
{
	const struct rlimit many = { 20000, 20000 };
	struct waiters w;

	must(setrlimit(RLIMIT_NOFILE, &many), "RLIMIT_NOFILE");
	if (live < ELSEWHERE * FLAVOURS || orphans > CROWD_ORPHANS_MAX) {
		errno = EINVAL;
		die("the size of the crowd");
	}
	lives_make(live);
	halves_make();
	listeners_make();
	for (unsigned i = 0; i < QUEUES; i++)
		queue_make(&crowd.queues[i], i % 2 == 0 ? IPV4 : IPV6);
	requests_make();
	elsewhere_make();
	others_make();
	orphans_make(orphans);
	for (unsigned i = 0; i < 8; i++)
		time_wait_make();
	w = waiters_now();
	if (w.count != WAITING) {
		errno = EPROTO;
		die("the accept queues are not full");
	}
	memcpy(crowd.waiting, w.cookies, sizeof(crowd.waiting));
	crowd.waiting_count = w.count;
}

/* ---- who is there ---------------------------------------------------------------------------- */

struct collection {
	struct target *out;
	size_t count, max;
	uint32_t netns;
};

static bool
is_ghost(uint64_t cookie)
{
	for (unsigned i = 0; i < crowd.orphan_count; i++) {
		if (crowd.ghosts[i].cookie == cookie)
			return true;
	}
	return false;
}

static void
target_take(void *arg, const struct diag_row *row)
{
	struct collection *c = arg;
	struct target *t = &c->out[c->count];

	if (c->count == c->max)
		return;
	*t = (struct target){ .tuple = row->tuple,
		.cookie = row->cookie,
		.kind = is_ghost(row->cookie) ? TARGET_ORPHAN : TARGET_BYSTANDER,
		.state = row->state };
	t->tuple.netns = c->netns;
	c->count++;
}

size_t
crowd_targets(struct target *out, size_t max)
{
	struct collection c = { .out = out, .max = max, .netns = netns_now() };

	rows_dump(AF_INET, 0x1ffe, target_take, &c);
	rows_dump(AF_INET6, 0x1ffe, target_take, &c);
	for (unsigned i = 0; i < crowd.other_count && c.count < max; i++)
		out[c.count++] = crowd.others[i];
	return c.count;
}

unsigned
crowd_orphans_left(void)
{
	static struct target targets[TARGETS_MAX];
	size_t count = crowd_targets(targets, TARGETS_MAX);
	unsigned left = 0;

	for (size_t i = 0; i < count; i++)
		left += targets[i].kind == TARGET_ORPHAN;
	return left;
}

void
crowd_describe(void)
{
	printf("# %u living connections, %u half-closed, %u listeners, %u waiting to be accepted "
	       "in %u "
	       "full queues, %u requests, %u pairs elsewhere with the same addresses, %u of UDP, "
	       "%u of "
	       "MPTCP, %u orphans\n",
		crowd.live_count, HALVES, LISTENERS, crowd.waiting_count, QUEUES, REQUESTS,
		ELSEWHERE, DATAGRAMS, crowd.multipath_count, crowd.orphan_count);
}

/* ---- how they are ---------------------------------------------------------------------------- */

static unsigned
pairs_alive(const struct pair *pairs, unsigned count)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++)
		n += alive(&pairs[i]);
	return n;
}

static bool
listener_accepts(struct pair *p)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	const struct linger at_once = { 1, 0 };
	bool good;

	must(getsockname(p->listener, (struct sockaddr *)&ss, &len), "getsockname");
	p->client = must(socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	if (connect(p->client, (struct sockaddr *)&ss, len) < 0)
		return false;
	p->server = must(accept4(p->listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	good = alive(p);
	/* Neither an orphan nor a TIME-WAIT is left of it. */
	must(setsockopt(p->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), "SO_LINGER");
	close(p->client);
	close(p->server);
	p->client = p->server = -1;
	return good;
}

static bool
same(const char *what, unsigned now, unsigned before)
{
	if (now != before)
		printf("# harmed: of %u %s %u are left\n", before, what, now);
	return now == before;
}

bool
crowd_unharmed(void)
{
	unsigned heard = 0, accepting = 0;
	bool good = true;

	for (unsigned i = 0; i < HALVES; i++)
		heard += one_way(crowd.halves[i].server, crowd.halves[i].client);
	for (unsigned i = 0; i < LISTENERS; i++)
		accepting += listener_accepts(&crowd.listeners[i]);
	good &= same("living", pairs_alive(crowd.live, crowd.live_count), crowd.live_count);
	good &= same("half-closed", heard, HALVES);
	good &= same("listeners", accepting, LISTENERS);
	good &= same("waiting to be accepted", waiters_kept(), crowd.waiting_count);
	good &= same("elsewhere", pairs_alive(crowd.elsewhere, ELSEWHERE), ELSEWHERE);
	good &= same("of UDP", pairs_alive(crowd.datagrams, DATAGRAMS), DATAGRAMS);
	good &= same("of MPTCP", pairs_alive(crowd.multipaths, crowd.multipath_count),
		crowd.multipath_count);
	fflush(stdout);
	return good;
}

/* In order of their coming, so caller and accepted belong together. */
static unsigned
queue_accept(struct queue *q)
{
	unsigned good = 0;

	for (unsigned i = 0; i <= BACKLOG; i++) {
		struct pair p = { -1, q->callers[i], -1 };

		p.server = accept4(q->listener, NULL, NULL, SOCK_CLOEXEC);
		if (p.server < 0)
			return good;
		if (i % 3 == 1)
			must((int)recv(p.server, (char[1]){ 0 }, 1, 0), "recv");
		good += i % 3 == 2 ? one_way(p.server, p.client) : alive(&p);
	}
	return good;
}

bool
crowd_accept_all(void)
{
	unsigned accepted = 0, begun = 0;
	bool all;

	for (unsigned i = 0; i < QUEUES; i++)
		accepted += queue_accept(&crowd.queues[i]);
	for (unsigned i = 0; i < REQUESTS; i++) {
		struct pair *p = &crowd.requests[i];

		if (send(p->client, "x", 1, MSG_NOSIGNAL) != 1 || !readable(p->listener))
			continue;
		p->server = must(accept4(p->listener, NULL, NULL, SOCK_CLOEXEC), "accept");
		begun += recv(p->server, (char[1]){ 0 }, 1, 0) == 1 && alive(p);
	}
	all = same("waiting, accepted", accepted, WAITING);
	return same("requests", begun, REQUESTS) && all;
}
