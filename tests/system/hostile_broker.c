/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/spawn.h"
#include "proto/channel.h"
#include "proto/clock.h"
#include "proto/diag.h"
#include "proto/privs.h"
#include "proto/wire.h"

/*
 * A broker that lies. It starts the real reaper in a network namespace of its own, names it living
 * sockets, accept queues, listeners, other namespaces, duplicates and nonsense, and checks after
 *each lie that nothing but true orphans has ended. Root. Prints TAP, exits 0 when all is well.
 *
 *	hostile_broker LIBEXEC-FOLDER
 */

#define PATIENCE_MS 10000 /* nothing here takes that long: only a failure waits for it */
#define REAPER_UID  61199
#define MANY	    5000 /* more than the reaper's table has room for */

static const char *libexec;
static unsigned tests, failures;

__attribute__((format(printf, 2, 3))) static void
ok(bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%s %u - ", good ? "ok" : "not ok", ++tests);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	failures += !good;
}

static _Noreturn void
die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(99);
}

static int
must(int rc, const char *what)
{
	if (rc < 0)
		die(what);
	return rc;
}

static bool
readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, PATIENCE_MS) == 1;
}

/* ---- the reaper ---------------------------------------------------------------------------- */

struct reaper {
	pid_t pid;
	int fd;
	uint32_t seq_in, seq_out;
	struct wire_reaper_hello hello;
};

static void
packet_send(struct reaper *r, enum wire_type type, const void *records, size_t count)
{
	_Alignas(8) unsigned char packet[WIRE_PACKET_MAX];
	size_t len = wire_header_fill((struct wire_header *)packet, type, count, r->seq_out++);

	memcpy(packet + sizeof(struct wire_header), records, len - sizeof(struct wire_header));
	if (send(r->fd, packet, len, MSG_NOSIGNAL) < 0)
		die("send to the reaper");
}

/* One checked packet of any type. False at the end. *view holds until the next. */
static bool
packet_any(struct reaper *r, struct wire_view *view)
{
	static _Alignas(8) unsigned char packet[WIRE_PACKET_MAX];
	ssize_t n;

	if (!readable(r->fd)) {
		errno = ETIMEDOUT;
		die("the reaper says nothing");
	}
	n = recv(r->fd, packet, sizeof(packet), 0);
	if (n <= 0)
		return false;
	if (wire_check(packet, (size_t)n, WIRE_R2B, r->seq_in++, view) != WIRE_OK) {
		errno = EPROTO;
		die("the reaper broke the protocol");
	}
	return true;
}

/* One packet of one type. Returns the number of records, 0 at the end. */
static size_t
packet_recv(struct reaper *r, enum wire_type type, void *records, size_t size)
{
	struct wire_view view;

	if (!packet_any(r, &view))
		return 0;
	if (view.type != type || view.count * wire_record_size(type) > size) {
		printf("# expected %s, not %s\n", wire_type_name(type), wire_type_name(view.type));
		errno = EPROTO;
		die("the reaper broke the order");
	}
	memcpy(records, view.records, view.count * wire_record_size(type));
	return view.count;
}

static void
reaper_exec(int fd, const char *ceiling, const char *option)
{
	const char *const argv[] = { "--ceiling", ceiling, option, NULL };
	const struct fd_place place = { fd, ROLE_CHANNEL_FD };
	const struct role role = {
		.name = "reaper",
		.argv = argv,
		.ids = { REAPER_UID, REAPER_UID },
		.caps = CAP_BIT(CAP_NET_ADMIN),
		.bounding = CAP_BIT(CAP_NET_ADMIN),
		.fds = &place,
		.fd_count = 1,
	};

	spawn_become(&role, libexec, spawn_program_open(libexec, "reaper"));
}

static struct reaper
reaper_start(const char *ceiling, const char *option)
{
	struct reaper r = { 0 };
	int pair[2], room = 4 << 20;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
	must(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)),
		"SO_SNDBUFFORCE");
	must(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)),
		"SO_SNDBUFFORCE");
	r.fd = pair[0];
	r.pid = must(fork(), "fork");
	if (r.pid == 0)
		reaper_exec(pair[1], ceiling, option);
	close(pair[1]);
	if (packet_recv(&r, WIRE_R2B_HELLO, &r.hello, sizeof(r.hello)) != 1)
		die("no HELLO from the reaper");
	return r;
}

static void
hello_send(struct reaper *r, uint64_t limit)
{
	struct wire_broker_hello hello = { .destroy_limit = limit };

	memcpy(hello.build_id, r->hello.build_id, sizeof(hello.build_id));
	packet_send(r, WIRE_B2R_HELLO, &hello, 1);
}

static struct reaper
reaper_ready(const char *ceiling, const char *option)
{
	struct reaper r = reaper_start(ceiling, option);

	hello_send(&r, UINT64_MAX);
	return r;
}

/* Waits for its end and returns the exit status, or minus the signal. */
static int
reaper_wait(struct reaper *r)
{
	int status;

	must(waitpid(r->pid, &status, 0), "waitpid");
	close(r->fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void
reaper_stop(struct reaper *r, const char *what)
{
	shutdown(r->fd, SHUT_WR);
	ok(reaper_wait(r) == 0, "%s: exit 0 at the end of the channel", what);
}

static struct wire_result_record
ask(struct reaper *r, const struct wire_destroy *request)
{
	struct wire_result_record result = { 0 };

	packet_send(r, WIRE_B2R_DESTROY, request, 1);
	if (packet_recv(r, WIRE_R2B_RESULT, &result, sizeof(result)) != 1)
		die("the reaper ended");
	return result;
}

static void
expect(struct reaper *r, const struct wire_destroy *request, enum wire_result result, int error,
	const char *what)
{
	struct wire_result_record got = ask(r, request);

	ok(got.result == result && got.error == error && got.ghost == request->ghost &&
			got.cookie == request->cookie,
		"%s: %s (error %d, state %s, looks %u)", what, wire_result_name(got.result),
		got.error, tcp_state_name(got.state), got.tries);
}

/* Returns when the reaper has taken its first look at everything sent so far. */
static void
ping(struct reaper *r)
{
	struct wire_ping ping = { .nonce = 4711 };
	struct wire_pong pong = { 0 };

	packet_send(r, WIRE_B2R_PING, &ping, 1);
	if (packet_recv(r, WIRE_R2B_PONG, &pong, sizeof(pong)) != 1 || pong.nonce != ping.nonce)
		die("no PONG");
}

/* ---- sockets ------------------------------------------------------------------------------- */

struct pair {
	int listener, client, server;
};

static uint32_t
netns_now(void)
{
	struct stat st;

	must(stat("/proc/self/ns/net", &st), "stat /proc/self/ns/net");
	return (uint32_t)st.st_ino;
}

static void
loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING };
	int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");

	must(ioctl(fd, SIOCSIFFLAGS, &ifr), "loopback up");
	close(fd);
}

enum flavour { IPV4, IPV6, MAPPED, ON_DEVICE, FLAVOURS };

static const char *const flavour_names[] = { "IPv4", "IPv6", "v4-mapped IPv6",
	"bound to a device" };

static int
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

static socklen_t
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
static struct pair
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

static struct pair
pair_make(enum flavour flavour)
{
	struct pair p = pair_queued(flavour);

	p.server = must(accept4(p.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	return p;
}

static void
pair_close(struct pair *p)
{
	int *const fds[] = { &p->client, &p->server, &p->listener };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

static bool
one_way(int from, int to)
{
	char c = 'x';

	return send(from, &c, 1, MSG_NOSIGNAL) == 1 && readable(to) && recv(to, &c, 1, 0) == 1 &&
	       c == 'x';
}

static bool
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
static struct wire_destroy
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

/* Reads one datagram of a dump. Returns true when it was the last. */
static bool
dump_read(int fd, const struct wire_tuple *tuple, struct diag_row *found)
{
	static _Alignas(8) unsigned char buf[65536];
	ssize_t n = must((int)recv(fd, buf, sizeof(buf), 0), "dump");

	for (struct nlmsghdr *h = (struct nlmsghdr *)buf; NLMSG_OK(h, (size_t)n);
		h = NLMSG_NEXT(h, n)) {
		struct diag_row row;

		if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
			return true;
		if (diag_parse(h, h->nlmsg_len, &row) && row_matches(&row, tuple))
			*found = row;
	}
	return false;
}

/* The socket at the other end of tuple, in any state but LISTEN. cookie 0 when there is none. */
static struct diag_row
far_end(const struct wire_tuple *tuple)
{
	_Alignas(4) unsigned char request[DIAG_REQUEST_LEN];
	struct diag_row found = { 0 };
	int fd = must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), "netlink");
	size_t len = diag_dump(request, 1, tuple->family, 0xfff & ~TCP_STATE_BIT(TCP_STATE_LISTEN));

	must((int)send(fd, request, len, 0), "dump request");
	while (!dump_read(fd, tuple, &found))
		continue;
	close(fd);
	return found;
}

static struct wire_tuple
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
static unsigned
state_of(const struct wire_destroy *d)
{
	struct wire_tuple peer = reversed(&d->tuple);
	struct diag_row row = far_end(&peer);

	return row.cookie == d->cookie ? row.state : 0;
}

/* ---- ghosts -------------------------------------------------------------------------------- */

static void
fill(int fd)
{
	static const char zeros[4096];

	while (send(fd, zeros, sizeof(zeros), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		continue;
}

/* An orphan in FIN-WAIT-1 that waits at a closed window; the peer lives on in p->server. */
static struct wire_destroy
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

static int
drained_error(int fd)
{
	char buf[65536];
	ssize_t n = 0;

	while (readable(fd) && (n = recv(fd, buf, sizeof(buf), 0)) > 0)
		continue;
	return n < 0 ? errno : 0;
}

static void
test_orphans(struct reaper *r)
{
	for (enum flavour f = IPV4; f < FLAVOURS; f++) {
		struct pair p;
		struct wire_destroy d = orphan_make(&p, f);
		struct wire_result_record got = ask(r, &d);

		ok(got.result == WIRE_RESULT_DESTROYED && got.state == TCP_STATE_FIN_WAIT1 &&
				got.peer_notice == WIRE_NOTICE_RST && got.send_queue > 0 &&
				got.look_to_act_ns > 0 && got.done_mono_ns > 0,
			"orphan, %s: %s, send queue %u, look to act %llu ns", flavour_names[f],
			wire_result_name(got.result), got.send_queue,
			(unsigned long long)got.look_to_act_ns);
		ok(state_of(&d) == 0 && drained_error(p.server) == ECONNRESET,
			"orphan, %s: gone, and the peer sees ECONNRESET", flavour_names[f]);
		expect(r, &d, WIRE_RESULT_FAILED, ENOENT, "the same once more");
		pair_close(&p);
	}
}

static void
silent_end(struct reaper *r, const struct wire_destroy *d, unsigned state, const char *what)
{
	struct wire_result_record got = ask(r, d);

	ok(got.result == WIRE_RESULT_DESTROYED && got.state == state &&
			got.peer_notice == WIRE_NOTICE_NONE && state_of(d) == 0,
		"%s: %s in state %s, peer notice %u", what, wire_result_name(got.result),
		tcp_state_name(got.state), got.peer_notice);
}

static void
test_silent_states(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy d;

	fill(p.server);
	d = request_for(p.server, TCP_STATE_LAST_ACK);
	shutdown(p.client, SHUT_WR);
	readable(p.server);
	close(p.server);
	p.server = -1;
	silent_end(r, &d, TCP_STATE_LAST_ACK, "LAST-ACK");
	pair_close(&p);

	d = orphan_make(&p, IPV4);
	shutdown(p.server, SHUT_WR);
	silent_end(r, &d, TCP_STATE_CLOSING, "CLOSING");
	pair_close(&p);

	p = pair_make(IPV4);
	d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	close(p.client);
	p.client = -1;
	/* The peer's acknowledgement may be delayed; every look at the kernel gives it time. */
	for (int i = 0; i < 10000 && state_of(&d) == TCP_STATE_FIN_WAIT1; i++)
		continue;
	silent_end(r, &d, TCP_STATE_FIN_WAIT2, "FIN-WAIT-2 in a mini-socket");
	pair_close(&p);
}

static struct wire_destroy
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

static void
test_time_wait(struct reaper *r)
{
	struct wire_destroy d = time_wait_make();
	struct reaper permitted = reaper_ready("1000", "--time-wait");

	expect(r, &d, WIRE_RESULT_GONE, 0, "TIME-WAIT, allowed by the request only");
	ok(state_of(&d) == TCP_STATE_TIME_WAIT,
		"TIME-WAIT, allowed by the request only: untouched");
	d.states = TCP_STATES_ORPHAN;
	expect(&permitted, &d, WIRE_RESULT_GONE, 0, "TIME-WAIT, allowed by argv only");
	ok(state_of(&d) == TCP_STATE_TIME_WAIT, "TIME-WAIT, allowed by argv only: untouched");
	d.states = TCP_STATES_RULE;
	silent_end(&permitted, &d, TCP_STATE_TIME_WAIT, "TIME-WAIT, allowed by both");
	reaper_stop(&permitted, "--time-wait");
}

/* ---- what must survive ---------------------------------------------------------------------- */

static void
test_live(struct reaper *r)
{
	for (enum flavour f = IPV4; f < FLAVOURS; f++) {
		struct pair p = pair_make(f);
		struct wire_destroy c = request_for(p.client, TCP_STATE_FIN_WAIT1);
		struct wire_destroy s = request_for(p.server, TCP_STATE_LAST_ACK);

		expect(r, &c, WIRE_RESULT_REFUSED_LIVE, 0, "living client");
		expect(r, &s, WIRE_RESULT_REFUSED_LIVE, 0, "living server");
		ok(alive(&p), "living pair, %s: still talks", flavour_names[f]);
		pair_close(&p);
	}
}

static void
test_accept_queue(struct reaper *r)
{
	struct pair p = pair_queued(IPV4);
	struct wire_destroy c = request_for(p.client, TCP_STATE_FIN_WAIT1), s = c;

	s.tuple = reversed(&c.tuple);
	s.cookie = far_end(&c.tuple).cookie;
	expect(r, &s, WIRE_RESULT_REFUSED_LIVE, 0, "accept queue, ESTABLISHED");
	shutdown(p.client, SHUT_WR);
	ok(state_of(&s) == TCP_STATE_CLOSE_WAIT, "accept queue: now in CLOSE-WAIT");
	s.state = TCP_STATE_LAST_ACK;
	expect(r, &s, WIRE_RESULT_REFUSED_LIVE, 0, "accept queue, CLOSE-WAIT");
	p.server = must(accept4(p.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	ok(one_way(p.server, p.client), "accept queue: accepted afterwards, and talks");
	pair_close(&p);
}

static void
test_listener(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy vanished = request_for(p.server, TCP_STATE_FIN_WAIT1);
	struct wire_destroy l = request_for(p.listener, TCP_STATE_FIN_WAIT1);

	close(p.client);
	p.client = -1;
	drained_error(p.server);
	close(p.server);
	p.server = -1;
	expect(r, &l, WIRE_RESULT_REFUSED_LIVE, 0, "listener by its own cookie");
	expect(r, &vanished, WIRE_RESULT_FAILED, ENOENT,
		"vanished child, whose tuple finds the listener");
	vanished.cookie = l.cookie;
	expect(r, &vanished, WIRE_RESULT_REFUSED_LIVE, 0,
		"vanished child's tuple, the listener's cookie");
	pair_close(&p);

	p = pair_queued(IPV4);
	l = request_for(p.listener, TCP_STATE_FIN_WAIT1);
	expect(r, &l, WIRE_RESULT_REFUSED_LIVE, 0, "listener with a full queue");
	p.server = must(accept4(p.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	ok(alive(&p), "listener: still accepts");
	pair_close(&p);
}

static void
test_wrong_claims(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = orphan_make(&p, IPV4), lie;

	lie = d;
	lie.cookie++;
	expect(r, &lie, WIRE_RESULT_FAILED, ENOENT, "orphan, another cookie");
	lie = d;
	lie.tuple.src_port++;
	expect(r, &lie, WIRE_RESULT_FAILED, ENOENT, "orphan, another port");
	lie = d;
	lie.tuple.ifindex = if_nametoindex("lo");
	expect(r, &lie, WIRE_RESULT_FAILED, ESTALE, "orphan, a device it is not bound to");
	lie = d;
	lie.state = TCP_STATE_LAST_ACK;
	expect(r, &lie, WIRE_RESULT_FAILED, ESTALE, "orphan, a state it never was in");
	lie = d;
	lie.tuple.netns++;
	expect(r, &lie, WIRE_RESULT_OTHER_NETNS, 0, "orphan, another namespace");
	ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "orphan of five lies: untouched");
	expect(r, &d, WIRE_RESULT_DESTROYED, 0, "orphan, the truth");
	pair_close(&p);
}

static void
test_other_netns(struct reaper *r)
{
	int home = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "open netns");
	struct pair p;
	struct wire_destroy d;

	must(unshare(CLONE_NEWNET), "unshare");
	loopback_up();
	d = orphan_make(&p, IPV4);
	expect(r, &d, WIRE_RESULT_OTHER_NETNS, 0, "an orphan of another namespace");
	d.tuple.netns = r->hello.netns;
	expect(r, &d, WIRE_RESULT_FAILED, ENOENT, "an orphan of another namespace, called ours");
	ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "an orphan of another namespace: untouched");
	pair_close(&p);
	must(setns(home, CLONE_NEWNET), "setns");
	close(home);
}

/* ---- closes that are under way ----------------------------------------------------------------
 */

static void
test_outrun(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	struct wire_result_record got = { 0 };

	fill(p.client);
	shutdown(p.client, SHUT_WR);
	packet_send(r, WIRE_B2R_DESTROY, &d, 1);
	ping(r);
	close(p.client);
	p.client = -1;
	packet_recv(r, WIRE_R2B_RESULT, &got, sizeof(got));
	ok(got.result == WIRE_RESULT_DESTROYED && got.tries > 1,
		"an event that outran its close: %s at look %u", wire_result_name(got.result),
		got.tries);
	pair_close(&p);
}

/* A half-closed socket of a living process looks like a close under way, for a second at most. */
static void
test_half_closed(struct reaper *r)
{
	struct pair p = pair_make(IPV4), q;
	struct wire_destroy live = request_for(p.client, TCP_STATE_FIN_WAIT1);
	struct wire_destroy ghost = orphan_make(&q, IPV4);
	struct wire_result_record got = { 0 };

	shutdown(p.client, SHUT_WR);
	packet_send(r, WIRE_B2R_DESTROY, &live, 1);
	ping(r);
	expect(r, &ghost, WIRE_RESULT_DESTROYED, 0, "an orphan behind a close under way");
	packet_recv(r, WIRE_R2B_RESULT, &got, sizeof(got));
	ok(got.ghost == live.ghost && got.result == WIRE_RESULT_REFUSED_LIVE && got.tries > 10,
		"half-closed by a living process: %s at look %u", wire_result_name(got.result),
		got.tries);
	ok(one_way(p.server, p.client), "half-closed by a living process: still hears its peer");
	pair_close(&p);
	pair_close(&q);
}

/* ---- samples --------------------------------------------------------------------------------- */

static struct wire_sample
sample_for(const struct wire_destroy *d)
{
	return (struct wire_sample){ .ghost = d->ghost, .cookie = d->cookie, .tuple = d->tuple };
}

static struct wire_sampled
sample(struct reaper *r, const struct wire_destroy *d)
{
	struct wire_sample question = sample_for(d);
	struct wire_sampled answer = { 0 };

	packet_send(r, WIRE_B2R_SAMPLE, &question, 1);
	if (packet_recv(r, WIRE_R2B_SAMPLED, &answer, sizeof(answer)) != 1)
		die("the reaper ended");
	return answer;
}

static void
expect_sample(struct reaper *r, const struct wire_destroy *d, enum wire_found found, int error,
	unsigned state, const char *what)
{
	struct wire_sampled got = sample(r, d);

	ok(got.found == found && got.error == error && got.state == state &&
			got.ghost == d->ghost && got.cookie == d->cookie && got.sampled_mono_ns > 0,
		"sample of %s: found %u, error %d, state %s", what, got.found, got.error,
		tcp_state_name(got.state));
}

/* An orphan with much more to send than its peer has room for. */
static struct wire_destroy
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

static void
read_some(int fd)
{
	char buf[65536];

	must((int)recv(fd, buf, sizeof(buf), MSG_DONTWAIT), "recv");
}

/* Samples until the ghost has moved on from *before. */
static struct wire_sampled
sample_moved(struct reaper *r, const struct wire_destroy *d, const struct wire_progress *before)
{
	struct wire_sampled now;

	do
		now = sample(r, d);
	while (now.found == WIRE_FOUND_ORPHAN && !wire_progress_made(before, &now.progress));
	return now;
}

/* Samples until two in a row are the same: the peer's window is closed again. */
static struct wire_sampled
sample_still(struct reaper *r, const struct wire_destroy *d)
{
	struct wire_sampled before, now = sample(r, d);

	do {
		before = now;
		now = sample(r, d);
	} while (wire_progress_made(&before.progress, &now.progress) ||
		 now.progress.timer != 4 /* zero window */);
	return now;
}

static void
test_sample_orphans(struct reaper *r)
{
	for (enum flavour f = IPV4; f < FLAVOURS; f++) {
		struct pair p;
		struct wire_destroy d = orphan_make(&p, f);
		struct wire_sampled s = sample(r, &d);

		ok(s.found == WIRE_FOUND_ORPHAN && s.state == TCP_STATE_FIN_WAIT1 && s.mini == 0 &&
				s.progress.bytes_acked > 0 && s.progress.send_queue > 0 &&
				s.progress.window_end >= s.progress.bytes_acked,
			"sample of an orphan, %s: acked %llu, window end %llu, queue %u",
			flavour_names[f], (unsigned long long)s.progress.bytes_acked,
			(unsigned long long)s.progress.window_end, s.progress.send_queue);
		ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "sample of an orphan: untouched");
		pair_close(&p);
		expect_sample(r, &d, WIRE_FOUND_NOTHING, 0, 0, "what is gone");
	}
}

static void
test_sample_held(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy c = request_for(p.client, TCP_STATE_FIN_WAIT1), s;
	struct wire_destroy l = request_for(p.listener, TCP_STATE_FIN_WAIT1);

	expect_sample(r, &c, WIRE_FOUND_HELD, 0, TCP_STATE_ESTABLISHED, "a living client");
	expect_sample(r, &l, WIRE_FOUND_HELD, 0, TCP_STATE_LISTEN, "a listener");
	ok(alive(&p), "sampled living pair: still talks");
	shutdown(p.client, SHUT_WR);
	readable(p.server);
	expect_sample(r, &c, WIRE_FOUND_HELD, 0, state_of(&c), "a half-closed client");
	pair_close(&p);

	p = pair_queued(IPV4);
	c = s = request_for(p.client, TCP_STATE_FIN_WAIT1);
	s.tuple = reversed(&c.tuple);
	s.cookie = far_end(&c.tuple).cookie;
	expect_sample(r, &s, WIRE_FOUND_HELD, 0, TCP_STATE_ESTABLISHED, "an accept queue");
	shutdown(p.client, SHUT_WR);
	expect_sample(r, &s, WIRE_FOUND_HELD, 0, TCP_STATE_CLOSE_WAIT, "the same in CLOSE-WAIT");
	p.server = must(accept4(p.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	ok(one_way(p.server, p.client), "sampled accept queue: accepted afterwards, and talks");
	pair_close(&p);
}

static struct wire_destroy
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

static void
test_sample_others(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = mini_make(&p), lie;
	struct wire_sampled s = sample(r, &d);

	ok(s.found == WIRE_FOUND_ORPHAN && s.state == TCP_STATE_FIN_WAIT2 && s.mini == 1 &&
			s.progress.timer == 3 && s.progress.bytes_acked == 0,
		"sample of a mini-socket: found %u, state %s, mini %u", s.found,
		tcp_state_name(s.state), s.mini);
	pair_close(&p);
	d = time_wait_make();
	expect_sample(r, &d, WIRE_FOUND_TIME_WAIT, 0, TCP_STATE_TIME_WAIT, "TIME-WAIT");
	d = orphan_make(&p, IPV4);
	lie = d;
	lie.cookie++;
	expect_sample(r, &lie, WIRE_FOUND_NOTHING, 0, 0, "another cookie");
	lie = d;
	lie.tuple.dst_port++;
	expect_sample(r, &lie, WIRE_FOUND_NOTHING, 0, 0, "another port");
	lie = d;
	lie.tuple.ifindex = if_nametoindex("lo");
	expect_sample(r, &lie, WIRE_FOUND_FAILED, ESTALE, 0, "a device it is not bound to");
	lie = d;
	lie.tuple.netns++;
	expect_sample(r, &lie, WIRE_FOUND_FAILED, EXDEV, 0, "another namespace");
	pair_close(&p);
}

/* One packet in, one packet out, in its order, and behind what was asked before. */
static void
test_sample_batch(struct reaper *r)
{
	struct pair p, q;
	struct wire_destroy first = orphan_make(&p, IPV4), second = orphan_make(&q, IPV4);
	struct wire_sample questions[WIRE_BATCH_MAX];
	struct wire_sampled answers[WIRE_BATCH_MAX];
	struct wire_result_record result;
	unsigned good = 0;

	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++) {
		questions[i] = sample_for(i % 2 == 0 ? &first : &second);
		questions[i].ghost = i;
		questions[i].cookie += i % 4 == 3;
	}
	packet_send(r, WIRE_B2R_DESTROY, &first, 1);
	packet_send(r, WIRE_B2R_SAMPLE, questions, WIRE_BATCH_MAX);
	packet_recv(r, WIRE_R2B_RESULT, &result, sizeof(result));
	if (packet_recv(r, WIRE_R2B_SAMPLED, answers, sizeof(answers)) != WIRE_BATCH_MAX)
		die("not all samples answered");
	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++)
		good += answers[i].ghost == i &&
			answers[i].found == (i % 4 == 1 ? WIRE_FOUND_ORPHAN : WIRE_FOUND_NOTHING);
	ok(good == WIRE_BATCH_MAX, "a batch of samples behind a destroy: %u as expected", good);
	pair_close(&p);
	pair_close(&q);
}

#define SAMPLE_PACKETS 300

/* A flood is answered in its order, and costs nothing of the rate. */
static void
test_sample_flood(void)
{
	struct reaper r = reaper_ready("1", NULL);
	struct wire_sample questions[WIRE_BATCH_MAX];
	struct wire_sampled answers[WIRE_BATCH_MAX];
	struct pair p;
	struct wire_destroy d = orphan_make(&p, IPV4);
	unsigned good = 0;

	for (unsigned n = 0; n < SAMPLE_PACKETS; n++) {
		for (unsigned i = 0; i < WIRE_BATCH_MAX; i++) {
			questions[i] = sample_for(&d);
			questions[i].ghost = n * WIRE_BATCH_MAX + i;
		}
		packet_send(&r, WIRE_B2R_SAMPLE, questions, WIRE_BATCH_MAX);
	}
	for (unsigned n = 0; n < SAMPLE_PACKETS; n++) {
		size_t count = packet_recv(&r, WIRE_R2B_SAMPLED, answers, sizeof(answers));

		for (unsigned i = 0; i < count; i++)
			good += answers[i].ghost == n * WIRE_BATCH_MAX + i &&
				answers[i].found == WIRE_FOUND_ORPHAN;
	}
	ok(good == SAMPLE_PACKETS * WIRE_BATCH_MAX, "a flood of samples: %u in their order", good);
	expect(&r, &d, WIRE_RESULT_DESTROYED, 0, "a destroy behind it, at 1 per second");
	pair_close(&p);
	reaper_stop(&r, "a flood of samples");
}

/* ---- proved ---------------------------------------------------------------------------------- */

static struct wire_destroy
proved(const struct wire_destroy *d, const struct wire_sampled *seen)
{
	struct wire_destroy request = *d;

	request.flags = WIRE_DESTROY_PROVED;
	request.state = seen->state;
	request.seen = seen->progress;
	return request;
}

static void
test_proved_still(struct reaper *r)
{
	for (enum flavour f = IPV4; f < FLAVOURS; f++) {
		struct pair p;
		struct wire_destroy d = orphan_make(&p, f), request;
		struct wire_sampled seen = sample_still(r, &d);

		request = proved(&d, &seen);
		expect(r, &request, WIRE_RESULT_DESTROYED, 0, "proved, and nothing moved");
		ok(state_of(&d) == 0 && drained_error(p.server) == ECONNRESET,
			"proved, %s: gone, and the peer sees ECONNRESET", flavour_names[f]);
		pair_close(&p);
	}
}

static void
test_proved_moved(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = big_orphan_make(&p), request;
	struct wire_sampled first = sample_still(r, &d), now;

	read_some(p.server);
	now = sample_moved(r, &d, &first.progress);
	ok(now.found == WIRE_FOUND_ORPHAN && now.state == TCP_STATE_FIN_WAIT1,
		"the peer read something: acked %llu, then %llu",
		(unsigned long long)first.progress.bytes_acked,
		(unsigned long long)now.progress.bytes_acked);
	request = proved(&d, &first);
	expect(r, &request, WIRE_RESULT_REFUSED_PROGRESS, 0, "proved, but the peer read something");
	ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "proved, but moved: untouched");
	memset(&request.seen, 0, sizeof(request.seen));
	expect(r, &request, WIRE_RESULT_REFUSED_PROGRESS, 0, "proved by nothing");
	memset(&request.seen, 0xff, sizeof(request.seen));
	request.seen.timer = 4;
	expect(r, &request, WIRE_RESULT_FAILED, ESTALE, "proved by what cannot have been");
	now = sample_still(r, &d);
	request = proved(&d, &now);
	expect(r, &request, WIRE_RESULT_DESTROYED, 0, "proved again, with a new sample");
	pair_close(&p);
}

static void
test_proved_other_state(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = orphan_make(&p, IPV4), request;
	struct wire_sampled seen = sample_still(r, &d);

	request = proved(&d, &seen);
	shutdown(p.server, SHUT_WR);
	expect(r, &request, WIRE_RESULT_REFUSED_PROGRESS, 0, "proved in FIN-WAIT-1, now CLOSING");
	ok(state_of(&d) == TCP_STATE_CLOSING, "proved in another state: untouched");
	seen = sample(r, &d);
	request = proved(&d, &seen);
	expect(r, &request, WIRE_RESULT_DESTROYED, 0, "proved in CLOSING");
	pair_close(&p);

	d = mini_make(&p);
	seen = sample(r, &d);
	request = proved(&d, &seen);
	request.seen.timer = 2;
	expect(r, &request, WIRE_RESULT_REFUSED_PROGRESS, 0, "proved when it was a full socket");
	request = proved(&d, &seen);
	expect(r, &request, WIRE_RESULT_DESTROYED, 0, "proved as a mini-socket");
	pair_close(&p);
}

static void
test_proved_live(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1), request;
	struct wire_sampled seen = sample(r, &d);
	struct wire_result_record got = { 0 };

	request = proved(&d, &seen);
	expect(r, &request, WIRE_RESULT_REFUSED_LIVE, 0, "a living client, proved");
	ok(alive(&p), "a living client, proved: still talks");
	fill(p.client);
	shutdown(p.client, SHUT_WR);
	seen = sample_still(r, &d);
	request = proved(&d, &seen);
	packet_send(r, WIRE_B2R_DESTROY, &request, 1);
	ping(r);
	close(p.client);
	p.client = -1;
	packet_recv(r, WIRE_R2B_RESULT, &got, sizeof(got));
	ok(seen.found == WIRE_FOUND_HELD && got.result == WIRE_RESULT_DESTROYED && got.tries > 1,
		"proved before its close: %s at look %u", wire_result_name(got.result), got.tries);
	pair_close(&p);
}

#define PROVED 256

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Reads PROVED results. Returns how many were destroyed, and their times from look to act. */
static unsigned
times_read(struct reaper *r, uint64_t ns[PROVED])
{
	struct wire_result_record results[WIRE_BATCH_MAX];
	unsigned n = 0, destroyed = 0;

	while (n < PROVED) {
		size_t count = packet_recv(r, WIRE_R2B_RESULT, results, sizeof(results));

		if (count == 0)
			die("the reaper ended");
		for (size_t i = 0; i < count; i++) {
			destroyed += results[i].result == WIRE_RESULT_DESTROYED;
			ns[n++] = results[i].look_to_act_ns;
		}
	}
	qsort(ns, PROVED, sizeof(ns[0]), by_value);
	return destroyed;
}

/* In full batches: one by one, each is acted upon at once. */
static void
test_proved_quick(struct reaper *r)
{
	static struct pair pairs[PROVED];
	static struct wire_destroy requests[PROVED];
	uint64_t ns[PROVED];
	unsigned destroyed;

	for (unsigned i = 0; i < PROVED; i++)
		requests[i] = orphan_make(&pairs[i], IPV4);
	for (unsigned i = 0; i < PROVED; i++) {
		struct wire_sampled seen = sample_still(r, &requests[i]);

		requests[i] = proved(&requests[i], &seen);
	}
	for (unsigned i = 0; i < PROVED; i += WIRE_BATCH_MAX)
		packet_send(r, WIRE_B2R_DESTROY, &requests[i], WIRE_BATCH_MAX);
	destroyed = times_read(r, ns);
	ok(destroyed == PROVED && ns[PROVED * 99 / 100] < 1000000,
		"%u proved: look to act %llu ns, p99 %llu ns, at most %llu ns", destroyed,
		(unsigned long long)ns[PROVED / 2], (unsigned long long)ns[PROVED * 99 / 100],
		(unsigned long long)ns[PROVED - 1]);
	for (unsigned i = 0; i < PROVED; i++)
		pair_close(&pairs[i]);
}

/* ---- reconcile ------------------------------------------------------------------------------- */

#define ORPHANS 600

static struct {
	struct wire_found_record records[2 * ORPHANS];
	size_t count;
	struct wire_found_end end;
} found;

static void
reconcile_send(struct reaper *r, uint64_t round)
{
	struct wire_reconcile record = { round };

	packet_send(r, WIRE_B2R_RECONCILE, &record, 1);
}

/* Reads FOUND records until their end. */
static void
found_read(struct reaper *r)
{
	struct wire_view view;

	found.count = 0;
	while (packet_any(r, &view) && view.type == WIRE_R2B_FOUND) {
		if (found.count + view.count > 2 * ORPHANS)
			die("too many orphans found");
		memcpy(&found.records[found.count], view.records,
			view.count * sizeof(found.records[0]));
		found.count += view.count;
	}
	if (view.type != WIRE_R2B_FOUND_END)
		die("no FOUND_END");
	found.end = *(const struct wire_found_end *)view.records;
}

static unsigned
found_times(const struct wire_destroy *d)
{
	unsigned n = 0;

	for (size_t i = 0; i < found.count; i++)
		n += found.records[i].cookie == d->cookie &&
		     wire_tuple_equal(&found.records[i].tuple, &d->tuple);
	return n;
}

static bool
found_whole(uint64_t round, size_t count)
{
	return found.end.round == round && found.end.complete == 1 && found.end.error == 0 &&
	       found.end.count == found.count && found.count == count && found.end.done_mono_ns > 0;
}

static struct pair ghosts[ORPHANS];
static struct wire_destroy ghost_requests[ORPHANS];

static void
ghosts_make(void)
{
	for (unsigned i = 0; i < ORPHANS; i++) {
		ghost_requests[i] = orphan_make(&ghosts[i], (enum flavour)(i % FLAVOURS));
		close(ghosts[i].listener);
		ghosts[i].listener = -1;
	}
}

static unsigned
ghosts_found(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ORPHANS; i++)
		n += found_times(&ghost_requests[i]) == 1;
	return n;
}

/* What looks like a ghost to somebody who looks at the state only, or the inode only. */
struct bystanders {
	struct pair live, live6, half, queue;
	int more[4]; /* clients until the accept queue is full */
};

static void
bystanders_make(struct bystanders *b)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	b->live = pair_make(IPV4);
	b->live6 = pair_make(IPV6);
	b->half = pair_make(MAPPED);
	fill(b->half.client);
	shutdown(b->half.client, SHUT_WR);
	b->queue = pair_queued(IPV4);
	must(listen(b->queue.listener, 3), "listen");
	must(getsockname(b->queue.listener, (struct sockaddr *)&ss, &len), "getsockname");
	for (unsigned i = 0; i < 4; i++) {
		b->more[i] = must(
			socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
		(void)connect(b->more[i], (struct sockaddr *)&ss, len);
	}
	shutdown(b->more[0], SHUT_WR); /* in the queue, in CLOSE-WAIT */
	time_wait_make();
}

static void
bystanders_check(struct bystanders *b)
{
	int heard;

	ok(alive(&b->live) && alive(&b->live6), "reconcile: the living still talk");
	ok(one_way(b->half.server, b->half.client), "reconcile: the half-closed hears its peer");
	b->queue.server = must(accept4(b->queue.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	heard = must(accept4(b->queue.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	ok(alive(&b->queue) && one_way(heard, b->more[0]),
		"reconcile: the accept queue is accepted, and talks");
	close(heard);
	pair_close(&b->live);
	pair_close(&b->live6);
	pair_close(&b->half);
	pair_close(&b->queue);
	for (unsigned i = 0; i < 4; i++)
		close(b->more[i]);
}

static void
found_details(void)
{
	unsigned good = 0;

	for (size_t i = 0; i < found.count; i++) {
		const struct wire_found_record *f = &found.records[i];

		good += f->mini == 1
				? f->state == TCP_STATE_FIN_WAIT2 && f->progress.timer == 3
				: f->state == TCP_STATE_FIN_WAIT1 && f->progress.send_queue > 0 &&
					  f->progress.bytes_acked > 0;
	}
	ok(good == found.count, "reconcile: %u records with state and progress", good);
}

static void
test_found(struct reaper *r)
{
	struct bystanders b;
	struct wire_destroy mini;
	struct wire_result_record result;
	uint64_t asked_at;
	struct pair p;
	unsigned n;

	reconcile_send(r, 1);
	found_read(r);
	ok(found_whole(1, 0), "reconcile: nothing in an empty namespace");
	bystanders_make(&b);
	reconcile_send(r, 2);
	found_read(r);
	ok(found_whole(2, 0), "reconcile: nothing among bystanders, %zu", found.count);
	ghosts_make();
	mini = mini_make(&p);
	asked_at = clock_now().ns;
	reconcile_send(r, UINT64_MAX);
	found_read(r);
	n = ghosts_found();
	ok(found_whole(UINT64_MAX, ORPHANS + 1) && n == ORPHANS && found_times(&mini) == 1,
		"reconcile: %u of %u orphans and a mini-socket, %zu in all, in %llu us", n, ORPHANS,
		found.count, (unsigned long long)(found.end.done_mono_ns - asked_at) / 1000);
	found_details();
	packet_send(r, WIRE_B2R_DESTROY, &ghost_requests[0], 1);
	reconcile_send(r, 4);
	packet_recv(r, WIRE_R2B_RESULT, &result, sizeof(result));
	found_read(r);
	ok(result.result == WIRE_RESULT_DESTROYED && found_whole(4, ORPHANS) &&
			found_times(&ghost_requests[0]) == 0,
		"reconcile: what was destroyed before is not found");
	bystanders_check(&b);
	pair_close(&p);
}

/* FOUND records can be asked for as they are. */
static void
test_found_destroyed(struct reaper *r)
{
	unsigned total = 0, destroyed = 0;

	/* A delayed acknowledgement is progress, too. */
	for (unsigned i = 1; i < ORPHANS; i++)
		sample_still(r, &ghost_requests[i]);
	reconcile_send(r, 5);
	found_read(r);
	for (size_t i = 0; i < found.count; i++) {
		const struct wire_found_record *f = &found.records[i];
		struct wire_destroy d = { .cookie = f->cookie,
			.tuple = f->tuple,
			.states = TCP_STATES_ORPHAN,
			.state = f->state,
			.flags = WIRE_DESTROY_PROVED,
			.seen = f->progress };

		total++;
		destroyed += ask(r, &d).result == WIRE_RESULT_DESTROYED;
	}
	ok(total == ORPHANS - 1 && destroyed == total, "reconcile: %u of %u found were destroyed",
		destroyed, total);
	for (unsigned i = 0; i < ORPHANS; i++)
		pair_close(&ghosts[i]);
}

#define ROUNDS 12

/* Ten a second at most; the rest wait for their turn, and what is behind them with them. What is to
 * be looked at again does not. */
static void
test_reconcile_flood(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	uint64_t done[ROUNDS], result_at = 0;
	struct wire_view view;
	unsigned n = 0;

	shutdown(p.client, SHUT_WR);
	packet_send(r, WIRE_B2R_DESTROY, &d, 1);
	for (unsigned i = 0; i < ROUNDS; i++)
		reconcile_send(r, 100 + i);
	while (n < ROUNDS && packet_any(r, &view)) {
		const struct wire_found_end *end = view.records;
		const struct wire_result_record *result = view.records;

		if (view.type == WIRE_R2B_FOUND_END && end->round == 100 + n)
			done[n++] = end->done_mono_ns;
		else if (view.type == WIRE_R2B_RESULT)
			result_at = result->done_mono_ns;
	}
	ping(r);
	ok(n == ROUNDS && done[10] - done[0] >= 1000000000 && done[11] - done[1] >= 1000000000,
		"a flood of %u rounds: all in order, ten in %llu ms", n,
		(unsigned long long)(done[10] - done[0]) / 1000000);
	ok(result_at > done[0] && result_at < done[ROUNDS - 1],
		"a flood of rounds: a retry is not held up by it");
	ok(one_way(p.server, p.client), "a flood of rounds: the half-closed hears its peer");
	pair_close(&p);
}

static void
test_reconcile(void)
{
	const struct rlimit many = { 4 * ORPHANS, 4 * ORPHANS };
	int home = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "open netns");
	struct reaper r;

	must(setrlimit(RLIMIT_NOFILE, &many), "RLIMIT_NOFILE");
	must(unshare(CLONE_NEWNET), "unshare");
	loopback_up();
	r = reaper_ready("100000", NULL);
	test_found(&r);
	test_found_destroyed(&r);
	reaper_stop(&r, "reconcile");
	r = reaper_ready("100000", NULL);
	test_reconcile_flood(&r);
	reaper_stop(&r, "a flood of rounds");
	must(setns(home, CLONE_NEWNET), "setns");
	close(home);
}

/* ---- numbers --------------------------------------------------------------------------------- */

struct tally {
	unsigned by_result[WIRE_RESULT_FAILED + 1];
	unsigned total, packets;
};

static void
tally_read(struct reaper *r, struct tally *t, unsigned total)
{
	struct wire_result_record results[WIRE_BATCH_MAX];

	while (t->total < total) {
		size_t n = packet_recv(r, WIRE_R2B_RESULT, results, sizeof(results));

		if (n == 0)
			return;
		for (size_t i = 0; i < n; i++)
			t->by_result[results[i].result]++;
		t->total += (unsigned)n;
		t->packets++;
	}
}

static void
test_batch(struct reaper *r)
{
	struct pair pairs[WIRE_BATCH_MAX];
	struct wire_destroy requests[WIRE_BATCH_MAX];
	struct tally t = { 0 };

	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++)
		requests[i] = orphan_make(&pairs[i], IPV4);
	packet_send(r, WIRE_B2R_DESTROY, requests, WIRE_BATCH_MAX);
	tally_read(r, &t, WIRE_BATCH_MAX);
	ok(t.by_result[WIRE_RESULT_DESTROYED] == WIRE_BATCH_MAX && t.packets == 1,
		"a batch: %u destroyed, answered in %u packets", t.by_result[WIRE_RESULT_DESTROYED],
		t.packets);
	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++)
		pair_close(&pairs[i]);
}

static void
test_duplicates(struct reaper *r)
{
	struct wire_destroy requests[WIRE_BATCH_MAX];
	struct tally t = { 0 };
	struct pair p;

	requests[0] = orphan_make(&p, IPV4);
	for (unsigned i = 1; i < WIRE_BATCH_MAX; i++)
		requests[i] = requests[0];
	packet_send(r, WIRE_B2R_DESTROY, requests, WIRE_BATCH_MAX);
	tally_read(r, &t, WIRE_BATCH_MAX);
	ok(t.by_result[WIRE_RESULT_DESTROYED] == 1 &&
			t.by_result[WIRE_RESULT_GONE] == WIRE_BATCH_MAX - 1,
		"one orphan %u times: %u destroyed, %u gone", WIRE_BATCH_MAX,
		t.by_result[WIRE_RESULT_DESTROYED], t.by_result[WIRE_RESULT_GONE]);
	pair_close(&p);
}

/* More requests than the table has room for, all of which have to be retried. */
static void
test_flood(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy requests[WIRE_BATCH_MAX];
	struct tally t = { 0 };

	shutdown(p.client, SHUT_WR);
	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++)
		requests[i] = request_for(p.client, TCP_STATE_FIN_WAIT1);
	for (unsigned sent = 0; sent < MANY; sent += WIRE_BATCH_MAX)
		packet_send(r, WIRE_B2R_DESTROY, requests, WIRE_BATCH_MAX);
	tally_read(r, &t, MANY);
	tally_read(r, &t, (MANY + WIRE_BATCH_MAX - 1) / WIRE_BATCH_MAX * WIRE_BATCH_MAX);
	ok(t.by_result[WIRE_RESULT_REFUSED_LIVE] == t.total, "a flood of %u: %u refused", t.total,
		t.by_result[WIRE_RESULT_REFUSED_LIVE]);
	ok(one_way(p.server, p.client), "a flood: the socket still hears its peer");
	ping(r);
	pair_close(&p);
}

#define GHOSTS 20

static void
limit_send(struct reaper *r, uint64_t limit)
{
	struct wire_limit record = { limit };

	packet_send(r, WIRE_B2R_LIMIT, &record, 1);
}

static struct tally
ghosts_ask(struct reaper *r, struct pair *pairs, struct wire_destroy *requests)
{
	struct tally t = { 0 };

	for (unsigned i = 0; i < GHOSTS; i++)
		requests[i] = orphan_make(&pairs[i], IPV4);
	packet_send(r, WIRE_B2R_DESTROY, requests, GHOSTS);
	tally_read(r, &t, GHOSTS);
	return t;
}

static void
ghosts_close(struct pair *pairs)
{
	for (unsigned i = 0; i < GHOSTS; i++)
		pair_close(&pairs[i]);
}

static void
test_rate(void)
{
	struct reaper r = reaper_ready("5", NULL);
	struct wire_destroy requests[GHOSTS];
	struct pair pairs[GHOSTS];
	struct tally t;

	for (unsigned i = 0; i < 100; i++)
		limit_send(&r, UINT64_MAX);
	t = ghosts_ask(&r, pairs, requests);
	ok(t.by_result[WIRE_RESULT_DESTROYED] == 5 && t.by_result[WIRE_RESULT_REFUSED_RATE] == 15,
		"ceiling 5, limit raised a hundred times: %u destroyed, %u refused",
		t.by_result[WIRE_RESULT_DESTROYED], t.by_result[WIRE_RESULT_REFUSED_RATE]);
	ok(state_of(&requests[GHOSTS - 1]) == TCP_STATE_FIN_WAIT1, "the last one is untouched");
	ghosts_close(pairs);
	reaper_stop(&r, "ceiling 5");

	r = reaper_start("1000", NULL);
	hello_send(&r, 0);
	t = ghosts_ask(&r, pairs, requests);
	ok(t.by_result[WIRE_RESULT_REFUSED_RATE] == GHOSTS, "limit 0: %u refused",
		t.by_result[WIRE_RESULT_REFUSED_RATE]);
	ghosts_close(pairs);
	reaper_stop(&r, "limit 0");
}

/* ---- broken protocol --------------------------------------------------------------------------
 */

static void
dies(struct reaper *r, const char *what)
{
	int status = reaper_wait(r);

	ok(status == 1, "%s: exit %d", what, status);
}

static void
test_violations(void)
{
	struct reaper r = reaper_start("10", NULL);
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	struct wire_broker_hello stranger = { .destroy_limit = 1 };

	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	dies(&r, "a request before HELLO");
	r = reaper_ready("10", NULL);
	hello_send(&r, 1);
	dies(&r, "a second HELLO");
	r = reaper_start("10", NULL);
	packet_send(&r, WIRE_B2R_HELLO, &stranger, 1);
	dies(&r, "a HELLO of another build");
	for (int i = 0; i < 2; i++) {
		d.cookie = i == 0 ? UINT64_MAX : 0;
		r = reaper_ready("10", NULL);
		packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
		dies(&r, i == 0 ? "cookie ~0, which means any" : "cookie 0");
	}
	d.cookie = 1;
	d.seen.bytes_acked = 1;
	r = reaper_ready("10", NULL);
	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	dies(&r, "a sample, but nothing proved");
	memset(&d.seen, 0, sizeof(d.seen));
	r = reaper_ready("10", NULL);
	r.seq_out++;
	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	dies(&r, "a gap in the numbers");
	r = reaper_ready("10", NULL);
	must((int)send(r.fd, &d, sizeof(d), MSG_NOSIGNAL), "send");
	dies(&r, "a packet without a header");
	ok(alive(&p), "the living pair named in all of them: still talks");
	pair_close(&p);
}

static void
test_sample_violations(void)
{
	const uint64_t cookies[] = { 0, UINT64_MAX };
	struct wire_sample s = { .tuple.family = AF_INET };
	struct reaper r = reaper_start("10", NULL);

	reconcile_send(&r, 1);
	dies(&r, "RECONCILE before HELLO");
	r = reaper_start("10", NULL);
	s.cookie = 1;
	packet_send(&r, WIRE_B2R_SAMPLE, &s, 1);
	dies(&r, "SAMPLE before HELLO");
	for (size_t i = 0; i < 2; i++) {
		s.cookie = cookies[i];
		r = reaper_ready("10", NULL);
		packet_send(&r, WIRE_B2R_SAMPLE, &s, 1);
		dies(&r, i == 0 ? "SAMPLE of cookie 0" : "SAMPLE of cookie ~0, which means any");
	}
}

static void
test_fd_passing(void)
{
	struct reaper r = reaper_ready("10", NULL);
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct wire_header header;
	struct wire_ping record = { 1 };
	struct iovec iov[] = { { &header, sizeof(header) }, { &record, sizeof(record) } };
	struct msghdr msg = { .msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = &control,
		.msg_controllen = sizeof(control.space) };

	wire_header_fill(&header, WIRE_B2R_PING, 1, r.seq_out);
	memcpy(CMSG_DATA(&control.head), &r.fd, sizeof(r.fd));
	must((int)sendmsg(r.fd, &msg, 0), "sendmsg");
	dies(&r, "a passed descriptor");
}

static void
test_stop(void)
{
	struct reaper r = reaper_ready("10", NULL);
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	struct wire_result_record got = { 0 };

	shutdown(p.client, SHUT_WR);
	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	shutdown(r.fd, SHUT_WR);
	packet_recv(&r, WIRE_R2B_RESULT, &got, sizeof(got));
	ok(got.result == WIRE_RESULT_REFUSED_LIVE,
		"an ordered stop: the request in hand is answered");
	ok(reaper_wait(&r) == 0, "an ordered stop: exit 0");

	r = reaper_ready("10", NULL);
	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	ping(&r);
	close(r.fd);
	r.fd = -1;
	ok(reaper_wait(&r) == 0, "a vanished broker: exit 0, with a request in hand");
	pair_close(&p);
}

/* A kernel that failed the self-test: nothing is ever asked of it. */
static void
test_unsupported(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = orphan_make(&p, IPV4);

	expect(r, &d, WIRE_RESULT_UNSUPPORTED, 0,
		"an orphan on a kernel that failed the self-test");
	ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "an orphan on such a kernel: untouched");
	expect_sample(r, &d, WIRE_FOUND_ORPHAN, 0, TCP_STATE_FIN_WAIT1, "it, all the same");
	reconcile_send(r, 1);
	found_read(r);
	ok(found_times(&d) == 1, "an orphan on such a kernel: found by reconcile");
	pair_close(&p);
	reaper_stop(r, "after that");
}

static void
test_all(struct reaper *r)
{
	test_live(r);
	test_accept_queue(r);
	test_listener(r);
	test_other_netns(r);
	test_orphans(r);
	test_silent_states(r);
	test_time_wait(r);
	test_wrong_claims(r);
	test_sample_orphans(r);
	test_sample_held(r);
	test_sample_others(r);
	test_sample_batch(r);
	test_proved_still(r);
	test_proved_moved(r);
	test_proved_other_state(r);
	test_proved_live(r);
	test_proved_quick(r);
	test_outrun(r);
	test_half_closed(r);
	test_batch(r);
	test_duplicates(r);
	test_flood(r);
	reaper_stop(r, "after all that");
	test_rate();
	test_stop();
	test_sample_flood();
	test_reconcile();
}

int
main(int argc, char **argv)
{
	struct reaper r;

	if (argc != 2) {
		fprintf(stderr, "usage: hostile_broker LIBEXEC-FOLDER\n");
		return 2;
	}
	libexec = argv[1];
	signal(SIGPIPE, SIG_IGN);
	must(unshare(CLONE_NEWNET), "unshare (root is needed)");
	loopback_up();
	r = reaper_ready("100000", NULL);
	ok(r.hello.netns == netns_now() && r.hello.ceiling == 100000 && r.hello.time_wait == 0,
		"HELLO: self-test %u, ceiling %llu", r.hello.selftest,
		(unsigned long long)r.hello.ceiling);
	if (r.hello.selftest == WIRE_SELFTEST_PASSED)
		test_all(&r);
	else
		test_unsupported(&r);
	test_violations();
	test_sample_violations();
	test_fd_passing();
	printf("1..%u\n", tests);
	return failures == 0 ? 0 : 1;
}
