/* SPDX-License-Identifier: Apache-2.0 */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"

uint32_t
netns_now(void)
{
	struct stat st;

	must(stat("/proc/self/ns/net", &st), "stat /proc/self/ns/net");
	return (uint32_t)st.st_ino;
}

void
loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING };
	int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");

	must(ioctl(fd, SIOCSIFFLAGS, &ifr), "loopback up");
	close(fd);
}

const char *const flavour_names[] = { "IPv4", "IPv6", "v4-mapped IPv6", "bound to a device" };

int
socket_make(enum flavour flavour)
{
	int family = flavour == IPV6 || flavour == MAPPED ? AF_INET6 : AF_INET, size = 4096;
	int fd = must(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	must(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), "SO_RCVBUF");
	must(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), "SO_SNDBUF");
	if (flavour == ON_DEVICE)
		must(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), "SO_BINDTODEVICE");
	return fd;
}

socklen_t
address_make(enum flavour flavour, struct sockaddr_storage *ss)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	if (flavour == IPV6 || flavour == MAPPED) {
		in6->sin6_family = AF_INET6;
		must(inet_pton(AF_INET6, flavour == IPV6 ? "::1" : "::ffff:127.0.0.1",
			     &in6->sin6_addr),
			"inet_pton");
		return sizeof(*in6);
	}
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(*in);
}

/* A listener and a client that is connected to it, not accepted yet. */
struct pair
pair_queued(enum flavour flavour)
{
	struct sockaddr_storage ss;
	socklen_t len = address_make(flavour, &ss);
	struct pair p = { socket_make(flavour), socket_make(flavour), -1 };

	must(bind(p.listener, (struct sockaddr *)&ss, len), "bind");
	must(listen(p.listener, 8), "listen");
	must(getsockname(p.listener, (struct sockaddr *)&ss, &len), "getsockname");
	must(connect(p.client, (struct sockaddr *)&ss, len), "connect");
	return p;
}

struct pair
pair_make(enum flavour flavour)
{
	struct pair p = pair_queued(flavour);

	p.server = must(accept4(p.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	return p;
}

void
pair_close(struct pair *p)
{
	int *const fds[] = { &p->client, &p->server, &p->listener };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

bool
one_way(int from, int to)
{
	char c = 'x';

	return send(from, &c, 1, MSG_NOSIGNAL) == 1 && readable(to) && recv(to, &c, 1, 0) == 1 &&
	       c == 'x';
}

bool
alive(const struct pair *p)
{
	return one_way(p->client, p->server) && one_way(p->server, p->client);
}

static uint16_t
endpoint_read(const struct sockaddr_storage *ss, uint8_t address[16])
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;

	memset(address, 0, 16);
	if (ss->ss_family == AF_INET) {
		memcpy(address, &in->sin_addr, 4);
		return ntohs(in->sin_port);
	}
	memcpy(address, &in6->sin6_addr, 16);
	return ntohs(in6->sin6_port);
}

/* A request that describes fd as the ghost it is not (yet). */
struct wire_destroy
request_for(int fd, uint8_t state)
{
	static uint64_t ghost;
	struct wire_destroy d = { .ghost = ++ghost,
		.state = state,
		.states = TCP_STATES_ORPHAN,
		.tuple.netns = netns_now() };
	struct sockaddr_storage local = { 0 }, remote = { 0 };
	socklen_t llen = sizeof(local), rlen = sizeof(remote), clen = sizeof(d.cookie);
	char device[IFNAMSIZ] = "";
	socklen_t dlen = sizeof(device);

	must(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &d.cookie, &clen), "SO_COOKIE");
	must(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &dlen), "SO_BINDTODEVICE");
	must(getsockname(fd, (struct sockaddr *)&local, &llen), "getsockname");
	d.tuple.family = local.ss_family;
	d.tuple.src_port = endpoint_read(&local, d.tuple.src);
	if (getpeername(fd, (struct sockaddr *)&remote, &rlen) == 0)
		d.tuple.dst_port = endpoint_read(&remote, d.tuple.dst);
	if (dlen > 0)
		d.tuple.ifindex = if_nametoindex(device);
	return d;
}

/* ---- the kernel's own view, without the reaper ------------------------------------------------
 */

static bool
row_matches(const struct diag_row *row, const struct wire_tuple *tuple)
{
	return row->tuple.src_port == tuple->dst_port && row->tuple.dst_port == tuple->src_port;
}

typedef void (*row_taker)(void *arg, const struct diag_row *row);

/* Reads one datagram of a dump. Returns true when it was the last. */
static bool
dump_read(int fd, row_taker take, void *arg)
{
	static _Alignas(8) unsigned char buf[65536];
	ssize_t n = must((int)recv(fd, buf, sizeof(buf), 0), "dump");

	for (struct nlmsghdr *h = (struct nlmsghdr *)buf; NLMSG_OK(h, (size_t)n);
		h = NLMSG_NEXT(h, n)) {
		struct diag_row row;

		if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
			return true;
		if (diag_parse(h, h->nlmsg_len, &row))
			take(arg, &row);
	}
	return false;
}

void
rows_dump(uint16_t family, uint32_t states, row_taker take, void *arg)
{
	_Alignas(4) unsigned char request[DIAG_REQUEST_LEN];
	int fd = must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), "netlink");
	size_t len = diag_dump(request, 1, family, states);

	must((int)send(fd, request, len, 0), "dump request");
	while (!dump_read(fd, take, arg))
		continue;
	close(fd);
}

struct search {
	const struct wire_tuple *tuple;
	struct diag_row found;
};

static void
search_take(void *arg, const struct diag_row *row)
{
	struct search *search = arg;

	if (row_matches(row, search->tuple))
		search->found = *row;
}

struct diag_row
far_end(const struct wire_tuple *tuple)
{
	struct search search = { .tuple = tuple };

	rows_dump(tuple->family, 0xfff & ~TCP_STATE_BIT(TCP_STATE_LISTEN), search_take, &search);
	return search.found;
}

struct wire_tuple
reversed(const struct wire_tuple *t)
{
	struct wire_tuple r = *t;

	r.src_port = t->dst_port;
	r.dst_port = t->src_port;
	memcpy(r.src, t->dst, sizeof(r.src));
	memcpy(r.dst, t->src, sizeof(r.dst));
	return r;
}

/* The kernel's state of the socket a request names, 0 when it is gone. */
unsigned
state_of(const struct wire_destroy *d)
{
	struct wire_tuple peer = reversed(&d->tuple);
	struct diag_row row = far_end(&peer);

	return row.cookie == d->cookie ? row.state : 0;
}

/* ---- ghosts -------------------------------------------------------------------------------- */

void
fill(int fd)
{
	static const char zeros[4096];

	while (send(fd, zeros, sizeof(zeros), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		continue;
}

/* An orphan in FIN-WAIT-1 that waits at a closed window; the peer lives on in p->server. */
struct wire_destroy
orphan_make(struct pair *p, enum flavour flavour)
{
	struct wire_destroy d;

	*p = pair_make(flavour);
	fill(p->client);
	d = request_for(p->client, TCP_STATE_FIN_WAIT1);
	close(p->client);
	p->client = -1;
	return d;
}

int
drained_error(int fd)
{
	char buf[65536];
	ssize_t n = 0;

	while (readable(fd) && (n = recv(fd, buf, sizeof(buf), 0)) > 0)
		continue;
	return n < 0 ? errno : 0;
}

struct wire_destroy
time_wait_make(void)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1);

	close(p.client);
	p.client = -1;
	readable(p.server);
	pair_close(&p);
	d.states = TCP_STATES_RULE;
	return d;
}

/* An orphan with much more to send than its peer has room for. */
struct wire_destroy
big_orphan_make(struct pair *p)
{
	struct wire_destroy d;
	int size = 1 << 18;

	*p = pair_make(IPV4);
	must(setsockopt(p->client, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), "SO_SNDBUF");
	fill(p->client);
	d = request_for(p->client, TCP_STATE_FIN_WAIT1);
	close(p->client);
	p->client = -1;
	return d;
}

struct wire_destroy
mini_make(struct pair *p)
{
	struct wire_destroy d;

	*p = pair_make(IPV4);
	d = request_for(p->client, TCP_STATE_FIN_WAIT1);
	close(p->client);
	p->client = -1;
	for (int i = 0; i < 10000 && state_of(&d) == TCP_STATE_FIN_WAIT1; i++)
		continue;
	return d;
}
