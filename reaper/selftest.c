/* SPDX-License-Identifier: Apache-2.0 */
#include "selftest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/log.h"
#include "proto/clock.h"
#include "tcp.h"

#define BUFFER_BYTES 4096 /* the kernel raises it to its minimum */
#define TIMER_RTO    1	  /* idiag_timer, as inet_sk_diag_fill() sets it */
#define TIMER_PROBE  4	  /* icsk_pending == ICSK_TIME_PROBE0: the peer's window is closed */

struct probe {
	struct netlink *nl;
	uint32_t netns;
	mono_ns deadline;
	int listener, client, server;
	uint64_t cookie;
	struct wire_tuple tuple;
};

/* What is left of SELFTEST_MS, in milliseconds, at most `most`. */
static int
time_left(const struct probe *p, int most)
{
	mono_ns now = clock_now();
	uint64_t left = now.ns < p->deadline.ns ? (p->deadline.ns - now.ns) / NS_PER_MS : 0;

	return left < (uint64_t)most ? (int)left : most;
}

static bool
ready(const struct probe *p, int fd, short events, int most)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	return poll(&pfd, 1, time_left(p, most)) == 1;
}

static void
address_loopback(int family, struct sockaddr_storage *ss, socklen_t *len)
{
	memset(ss, 0, sizeof(*ss));
	if (family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;

		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		*len = sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_addr = in6addr_loopback;
		*len = sizeof(*in6);
	}
}

/* Small buffers, so that a few kilobytes close the window; accepted sockets inherit them. */
static int
stream_socket(int family)
{
	int size = BUFFER_BYTES;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
		fatal("self-test: cannot size a socket's buffers: %s", strerror(errno));
	return fd;
}

static void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void
probe_close(struct probe *p)
{
	fd_close(&p->client);
	fd_close(&p->server);
	fd_close(&p->listener);
}

static int
listen_on(struct probe *p, int family, struct sockaddr_storage *ss, socklen_t *len)
{
	address_loopback(family, ss, len);
	p->listener = stream_socket(family);
	if (p->listener < 0 || bind(p->listener, (struct sockaddr *)ss, *len) < 0 ||
		listen(p->listener, 1) < 0)
		return -1;
	return getsockname(p->listener, (struct sockaddr *)ss, len);
}

static int
connect_to(struct probe *p, int family, const struct sockaddr_storage *ss, socklen_t len)
{
	p->client = stream_socket(family);
	if (p->client < 0)
		return -1;
	if (connect(p->client, (const struct sockaddr *)ss, len) < 0 && errno != EINPROGRESS)
		return -1;
	if (!ready(p, p->listener, POLLIN, SELFTEST_MS)) {
		errno = ETIMEDOUT;
		return -1;
	}
	p->server = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return p->server < 0 ? -1 : 0;
}

/* A connected pair. Returns 0, or -1 with errno and nothing open. */
static int
pair_open(struct probe *p, int family)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int saved;

	if (listen_on(p, family, &ss, &len) == 0 && connect_to(p, family, &ss, len) == 0)
		return 0;
	saved = errno;
	probe_close(p);
	errno = saved;
	return -1;
}

union address {
	struct sockaddr_in6 in6; /* the largest is the one that {0} clears */
	struct sockaddr_in in;
	struct sockaddr any;
};

static uint16_t
address_read(const union address *from, uint8_t address[16])
{
	memset(address, 0, 16);
	if (from->any.sa_family == AF_INET) {
		memcpy(address, &from->in.sin_addr, sizeof(from->in.sin_addr));
		return ntohs(from->in.sin_port);
	}
	memcpy(address, &from->in6.sin6_addr, sizeof(from->in6.sin6_addr));
	return ntohs(from->in6.sin6_port);
}

static void
identity_read(struct probe *p, int family)
{
	union address local = { 0 }, remote = { 0 };
	socklen_t local_len = sizeof(local), remote_len = sizeof(remote);
	socklen_t cookie_len = sizeof(p->cookie);

	if (getsockname(p->client, &local.any, &local_len) < 0 ||
		getpeername(p->client, &remote.any, &remote_len) < 0 ||
		getsockopt(p->client, SOL_SOCKET, SO_COOKIE, &p->cookie, &cookie_len) < 0)
		fatal("self-test: cannot tell its own socket's identity: %s", strerror(errno));
	p->tuple.family = (uint16_t)family;
	p->tuple.netns = p->netns;
	p->tuple.src_port = address_read(&local, p->tuple.src);
	p->tuple.dst_port = address_read(&remote, p->tuple.dst);
}

/* Asks one question about the probe's client. Returns the kernel's errno. */
static int
ask(struct probe *p, uint16_t message, uint64_t cookie, struct diag_row *row)
{
	static struct netlink_query q;

	q.len = diag_exact(q.request, message, 0, cookie, &p->tuple);
	netlink_exchange(p->nl, &q, 1);
	if (q.error == 0 && q.has_row != (row != NULL))
		return EBADMSG;
	if (q.error == 0 && row != NULL)
		*row = q.row;
	return q.error;
}

static int
look(struct probe *p, struct diag_row *row)
{
	return ask(p, SOCK_DIAG_BY_FAMILY, p->cookie, row);
}

static void
prove_lookup(struct probe *p)
{
	struct diag_row row;
	int error = look(p, &row);

	if (error == ENOENT)
		fatal("self-test: the kernel has no diag handler for TCP (it does not find a "
		      "living "
		      "socket): load inet_diag and tcp_diag, before kernel.modules_disabled=1");
	if (error != 0)
		fatal("self-test: looking up a living TCP socket: %s", strerror(error));
	if (row.cookie != p->cookie || row.state != TCP_STATE_ESTABLISHED || row.inode == 0)
		fatal("self-test: the kernel describes a living TCP socket as state %s inode %u",
			tcp_state_name(row.state), row.inode);
	error = ask(p, SOCK_DIAG_BY_FAMILY, p->cookie ^ (1ull << 63), &row);
	if (error != ENOENT)
		fatal("self-test: a wrong cookie is answered with \"%s\" instead of ENOENT",
			error == 0 ? "here it is" : strerror(error));
}

/* The kernel probes a closed window, or sends again and again what the peer has no room for: older
 * kernels' tcp_data_queue() drops that without closing the window (seen with 6.1). */
static bool
is_stuck(const struct diag_row *row)
{
	return row->timer == TIMER_PROBE || (row->timer == TIMER_RTO && row->retrans > 1);
}

/* Writes until the peer takes no more, as the kernel itself sees it. */
static void
window_close(struct probe *p)
{
	static const char zeros[BUFFER_BYTES];
	struct diag_row row = { 0 };

	while (time_left(p, 1) > 0) {
		while (send(p->client, zeros, sizeof(zeros), MSG_NOSIGNAL) > 0)
			continue;
		if (errno != EAGAIN)
			fatal("self-test: filling a loopback connection: %s", strerror(errno));
		if (look(p, &row) == 0 && is_stuck(&row))
			return;
		ready(p, p->client, POLLOUT, 1);
	}
	fatal("self-test: a loopback peer that does not read still takes more after %d ms",
		SELFTEST_MS);
}

/* Closes the client and checks that what is left is what the reaper would destroy. */
static void
orphan_make(struct probe *p)
{
	struct kind_scope scope = { .netns = p->netns, .selftest = WIRE_SELFTEST_PASSED };
	struct wire_destroy request = {
		.cookie = p->cookie,
		.tuple = p->tuple,
		.states = TCP_STATES_ORPHAN,
		.state = TCP_STATE_FIN_WAIT1,
	};
	struct diag_row row = { 0 };
	int error;

	window_close(p);
	fd_close(&p->client);
	error = look(p, &row);
	/* tcp_check_oom(): above tcp_max_orphans a close ends in a reset, and leaves no orphan. */
	if (error == ENOENT)
		fatal("self-test: the kernel kept no orphan: more than net.ipv4.tcp_max_orphans "
		      "now?");
	if (error != 0)
		fatal("self-test: looking up its own orphan: %s", strerror(error));
	if (tcp_verdict(&scope, &request, &row) != VERDICT_ACT || row.state != TCP_STATE_FIN_WAIT1)
		fatal("self-test: its own orphan is in state %s with inode %u, shutdown %u",
			tcp_state_name(row.state), row.inode, row.shutdown);
}

static enum wire_selftest
prove_destroy(struct probe *p)
{
	struct diag_row row;
	int error = ask(p, SOCK_DESTROY, p->cookie, NULL);

	if (error == EOPNOTSUPP)
		return WIRE_SELFTEST_NO_DESTROY;
	if (error == EPERM)
		fatal("self-test: no CAP_NET_ADMIN over this network namespace");
	if (error != 0)
		fatal("self-test: destroying its own orphan: %s", strerror(error));
	error = look(p, &row);
	if (error == 0)
		return WIRE_SELFTEST_FOREVER_ORPHAN;
	if (error != ENOENT)
		fatal("self-test: looking for the destroyed orphan: %s", strerror(error));
	return WIRE_SELFTEST_PASSED;
}

/* A peer that closes with data unread sends a reset. That ends an orphan SOCK_DESTROY did not. */
static void
orphan_clean(struct probe *p)
{
	struct diag_row row;

	probe_close(p);
	while (look(p, &row) == 0 && time_left(p, 1) > 0)
		poll(NULL, 0, 1);
	if (look(p, &row) == 0)
		log_warning("self-test: its own orphan is still there in state %s",
			tcp_state_name(row.state));
}

static void
verdict_explain(enum wire_selftest verdict)
{
	if (verdict == WIRE_SELFTEST_FOREVER_ORPHAN)
		log_warning("observing only: SOCK_DESTROY leaves orphans for ever on this kernel; "
			    "fixed in Linux 6.11, 6.10.8, 6.6.84 and 6.1.132");
	else if (verdict == WIRE_SELFTEST_NO_DESTROY)
		log_warning("observing only: this kernel cannot destroy sockets "
			    "(CONFIG_INET_DIAG_DESTROY is off)");
	else
		log_debug("self-test passed: look-up by cookie and SOCK_DESTROY work");
}

/* A pair on 127.0.0.1, or on ::1 where there is no IPv4. Returns the family. */
static int
pair_open_any(struct probe *p)
{
	int error;

	if (pair_open(p, AF_INET) == 0)
		return AF_INET;
	error = errno;
	if (pair_open(p, AF_INET6) < 0)
		fatal("self-test: no connection over 127.0.0.1 (%s) or ::1 (%s): is loopback up?",
			strerror(error), strerror(errno));
	return AF_INET6;
}

enum wire_selftest
selftest_run(struct netlink *nl, uint32_t netns)
{
	struct probe p = { .nl = nl, .netns = netns, .listener = -1, .client = -1, .server = -1 };
	enum wire_selftest verdict;

	p.deadline.ns = clock_now().ns + SELFTEST_MS * NS_PER_MS;
	identity_read(&p, pair_open_any(&p));
	prove_lookup(&p);
	orphan_make(&p);
	verdict = prove_destroy(&p);
	orphan_clean(&p);
	verdict_explain(verdict);
	return verdict;
}
