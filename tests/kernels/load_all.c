/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Loads the BPF object on the running kernel with the tracker's own code, makes processes die in
 * many ways, and looks at the records that come out. One static program: run.sh boots it under
 * every kernel of the matrix; it also runs as root on any machine (other processes' records are
 * ignored).
 */

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf/events.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "tracker/decode.h"
#include "tracker/load.h"

#define GHOST_UID  4242u
#define GHOST_COMM "gh\x1bst"

/* ---- the tracker's side ---- */

static struct tracker_bpf_side bpf;
static struct ring_buffer *ring;

static struct {
	struct decoded records[512];
	size_t count;
	unsigned bad;
} seen;

static int
record_received(void *context, void *data, size_t size)
{
	(void)context;
	if (seen.count == sizeof(seen.records) / sizeof(seen.records[0]))
		seen.bad++;
	else if (decode_record(data, size, &seen.records[seen.count]))
		seen.count++;
	else
		seen.bad++;
	return 0;
}

static void
ring_open(uint32_t bytes)
{
	load_programs(bytes, &bpf);
	ring = ring_buffer__new(bpf.ring_fd, record_received, NULL, NULL);
	if (ring == NULL)
		fatal("ring_buffer__new: %s", strerror(errno));
}

static const struct wire_owner *
owner_of(const struct decoded *d)
{
	return d->type == WIRE_T2B_ORPHAN ? &d->orphan.owner : &d->exit.owner;
}

/* Takes what is in the ring; a process that has been waited for has left all its records there.
 * Returns how many of `type` the process wrote since it was born, *last is the last of them. */
static unsigned
records_of(pid_t pid, enum wire_type type, const struct decoded **last)
{
	unsigned n = 0;

	ring_buffer__consume(ring);
	for (size_t i = 0; i < seen.count; i++) {
		if (seen.records[i].type != type ||
			owner_of(&seen.records[i])->tgid != (uint32_t)pid)
			continue;
		n++;
		if (last != NULL)
			*last = &seen.records[i];
	}
	return n;
}

static bool
full(void)
{
	return (bpf.features & WIRE_TRACKER_ORPHAN) != 0;
}

/* ---- verdicts ---- */

static unsigned passed, failed, skipped;

static bool
expect(bool good, const char *what, int line)
{
	if (!good) {
		failed++;
		printf("FAIL line %d: %s\n", line, what);
	}
	return good;
}

#define EXPECT(condition) expect((condition), #condition, __LINE__)

#define CHECK(condition)                                                                       \
	do {                                                                                   \
		if (!(condition)) {                                                            \
			printf("cannot run the test: line %d: %s: %s\n", __LINE__, #condition, \
				strerror(errno));                                              \
			exit(2);                                                               \
		}                                                                              \
	} while (0)

/* ---- processes and their sockets ---- */

struct report {
	uint64_t cookie, start_ticks;
	union {
		struct sockaddr sa;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} local;
};

enum network { NET_V4, NET_V6, NET_MAPPED };

struct ghost;
typedef void (*death_fn)(const struct ghost *g);

/* A process with a connection to us. */
struct ghost {
	enum network network;
	bool bound;	    /* to the device lo */
	bool peer_first;    /* we close first: CLOSE-WAIT before the death */
	bool no_fill;	    /* nothing is left unsent */
	const char *cgroup; /* directory to live in, or NULL */
	death_fn die;
	pid_t pid;
	int status;
	int fd;	       /* our end */
	int client;    /* the process's own end */
	uint16_t port; /* ours */
	struct report report;
};

static void
die_pause(const struct ghost *g)
{
	(void)g;
	for (;;)
		pause();
}

static void
die_exit0(const struct ghost *g)
{
	(void)g;
	_exit(0);
}

static void
die_exit3(const struct ghost *g)
{
	(void)g;
	_exit(3);
}

static void
die_segv(const struct ghost *g)
{
	(void)g;
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
}

static void
die_closed_exit0(const struct ghost *g)
{
	close(g->client);
	_exit(0);
}

/* The stamp, read back through the map: its key is a socket's descriptor. */
static bool
stamp_is_mine(int fd)
{
	struct event_stamp stamp;
	struct bpf_map_info info;
	uint32_t id = 0, len;

	while (bpf_map_get_next_id(id, &id) == 0) {
		int map = bpf_map_get_fd_by_id(id);

		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		if (map >= 0 && bpf_obj_get_info_by_fd(map, &info, &len) == 0 &&
			info.type == BPF_MAP_TYPE_SK_STORAGE && strcmp(info.name, "stamps") == 0 &&
			bpf_map_lookup_elem(map, &fd, &stamp) == 0 &&
			stamp.tgid == (uint32_t)getpid() && stamp.when_mono_ns != 0)
			return true;
		if (map >= 0)
			close(map);
	}
	return false;
}

static void
die_shutdown_exit0(const struct ghost *g)
{
	CHECK(shutdown(g->client, SHUT_WR) == 0);
	_exit(stamp_is_mine(g->client) ? 0 : 9);
}

static int
socket_for(enum network network)
{
	int fd = socket(network == NET_V4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	return fd;
}

static socklen_t
address_for(enum network network, bool client, uint16_t port, struct report *out)
{
	memset(&out->local, 0, sizeof(out->local));
	if (network == NET_V4) {
		out->local.v4.sin_family = AF_INET;
		out->local.v4.sin_port = htons(port);
		out->local.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(out->local.v4);
	}
	out->local.v6.sin6_family = AF_INET6;
	out->local.v6.sin6_port = htons(port);
	if (network == NET_V6)
		out->local.v6.sin6_addr = in6addr_loopback;
	else if (client)
		CHECK(inet_pton(AF_INET6, "::ffff:127.0.0.1", &out->local.v6.sin6_addr) == 1);
	return sizeof(out->local.v6);
}

static uint64_t
start_ticks(void)
{
	char text[1024];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	char *field;

	CHECK(n > 0);
	close(fd);
	text[n] = '\0';
	field = strrchr(text, ')');
	for (int i = 2; i < 22; i++)
		field = strchr(field + 1, ' ');
	return strtoull(field, NULL, 10);
}

static void
fill(int fd)
{
	static const char bytes[65536];

	CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
}

static void
cgroup_join(const char *dir)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0 && write(fd, "0", 1) == 1);
	close(fd);
}

/* In the new process: connect, fill, report, and die when told to. */
static _Noreturn void
ghost_live(struct ghost *g, int out, int go)
{
	struct report target, *r = &g->report;
	socklen_t len = address_for(g->network, true, g->port, &target);
	struct pollfd hup = { .events = POLLRDHUP };
	char byte;

	if (g->cgroup != NULL)
		cgroup_join(g->cgroup);
	hup.fd = g->client = socket_for(g->network);
	if (g->bound)
		CHECK(setsockopt(g->client, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0);
	CHECK(connect(g->client, &target.local.sa, len) == 0);
	len = sizeof(r->cookie);
	CHECK(getsockopt(g->client, SOL_SOCKET, SO_COOKIE, &r->cookie, &len) == 0);
	len = sizeof(r->local);
	CHECK(getsockname(g->client, &r->local.sa, &len) == 0);
	if (g->peer_first)
		CHECK(poll(&hup, 1, -1) == 1);
	if (!g->no_fill)
		fill(g->client);
	r->start_ticks = start_ticks();
	prctl(PR_SET_NAME, GHOST_COMM);
	if (g->die != die_shutdown_exit0)
		CHECK(setresuid(GHOST_UID, GHOST_UID, GHOST_UID) == 0);
	CHECK(write(out, r, sizeof(*r)) == sizeof(*r));
	CHECK(read(go, &byte, 1) == 1);
	g->die(g);
	_exit(8);
}

static int
ghost_listen(struct ghost *g)
{
	int fd = socket_for(g->network), size = 4096;
	struct report self;
	socklen_t len = address_for(g->network, false, 0, &self);

	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) == 0);
	CHECK(bind(fd, &self.local.sa, len) == 0 && listen(fd, 4) == 0);
	len = sizeof(self.local);
	CHECK(getsockname(fd, &self.local.sa, &len) == 0);
	g->port = ntohs(g->network == NET_V4 ? self.local.v4.sin_port : self.local.v6.sin6_port);
	return fd;
}

/* Runs a process through its whole life. Its records are in the ring when this returns. */
static void
ghost_run(struct ghost *g)
{
	int out[2], go[2], listener = ghost_listen(g);

	CHECK(pipe2(out, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0);
	fflush(stdout);
	g->pid = fork();
	CHECK(g->pid >= 0);
	if (g->pid == 0) {
		close(listener);
		ghost_live(g, out[1], go[0]);
	}
	g->fd = accept(listener, NULL, NULL);
	CHECK(g->fd >= 0);
	close(listener);
	if (g->peer_first)
		CHECK(shutdown(g->fd, SHUT_WR) == 0);
	CHECK(read(out[0], &g->report, sizeof(g->report)) == sizeof(g->report));
	if (g->die == die_pause)
		CHECK(kill(g->pid, SIGKILL) == 0);
	else
		CHECK(write(go[1], "", 1) == 1);
	CHECK(waitpid(g->pid, &g->status, 0) == g->pid);
	close(out[0]), close(out[1]), close(go[0]), close(go[1]);
}

static void
ghost_forget(struct ghost *g)
{
	/* Unread data: closing answers with a reset, which ends the orphan. */
	close(g->fd);
}

/* ---- what a record must say ---- */

static void
owner_expect(const struct ghost *g, const struct wire_owner *o)
{
	uint64_t tick = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);

	EXPECT(o->exit_code == (uint32_t)g->status);
	EXPECT(o->uid == (g->die == die_shutdown_exit0 ? 0 : GHOST_UID));
	EXPECT(strcmp(o->comm, GHOST_COMM) == 0);
	EXPECT(o->start_boottime / tick == g->report.start_ticks);
	EXPECT((o->flags & WIRE_OWNER_OOM) == 0);
}

static void
tuple_expect(const struct ghost *g, const struct wire_tuple *t)
{
	const struct report *r = &g->report;
	struct stat netns;

	CHECK(stat("/proc/self/ns/net", &netns) == 0);
	EXPECT(t->netns == netns.st_ino);
	EXPECT(t->ifindex == (g->bound ? 1 : 0));
	EXPECT(t->dst_port == g->port);
	if (g->network == NET_V4) {
		EXPECT(t->family == AF_INET);
		EXPECT(t->src_port == ntohs(r->local.v4.sin_port));
		EXPECT(memcmp(t->src, &r->local.v4.sin_addr, 4) == 0);
		EXPECT(memcmp(t->dst, "\x7f\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0", 16) == 0);
		return;
	}
	EXPECT(t->family == AF_INET6);
	EXPECT(t->src_port == ntohs(r->local.v6.sin6_port));
	EXPECT(memcmp(t->src, &r->local.v6.sin6_addr, 16) == 0);
	EXPECT(memcmp(t->dst, &r->local.v6.sin6_addr, 16) == 0); /* the same host */
}

static void
orphan_expect(const struct ghost *g)
{
	const struct decoded *d = NULL;

	if (!full()) {
		EXPECT(records_of(g->pid, WIRE_T2B_ORPHAN, NULL) == 0);
		return;
	}
	if (!EXPECT(records_of(g->pid, WIRE_T2B_ORPHAN, &d) == 1))
		return;
	EXPECT(d->orphan.cookie == g->report.cookie);
	EXPECT(d->orphan.state == (g->peer_first ? TCP_STATE_LAST_ACK : TCP_STATE_FIN_WAIT1));
	EXPECT((d->orphan.send_queue > 0) == !g->no_fill);
	EXPECT(d->orphan.born_mono_ns != 0);
	owner_expect(g, &d->orphan.owner);
	tuple_expect(g, &d->orphan.tuple);
}

static void
exit_expect(const struct ghost *g, unsigned count)
{
	const struct decoded *d = NULL;

	if (!EXPECT(records_of(g->pid, WIRE_T2B_EXIT, &d) == count) || count == 0)
		return;
	EXPECT(d->exit.died_mono_ns != 0);
	owner_expect(g, &d->exit.owner);
}

static void
ghost_expect(struct ghost *g, int status, unsigned exits)
{
	ghost_run(g);
	EXPECT(g->status == status);
	exit_expect(g, exits);
	orphan_expect(g);
	ghost_forget(g);
}

/* ---- the tests ---- */

static void
test_killed(void)
{
	static const enum network networks[] = { NET_V4, NET_V6, NET_MAPPED };

	for (int i = 0; i < 12; i++) {
		struct ghost g = { .network = networks[i % 3],
			.bound = (i / 3) % 2 != 0,
			.peer_first = i >= 6,
			.die = die_pause };

		ghost_expect(&g, SIGKILL, 1);
	}
}

static void
test_exit0_leaves_an_orphan_and_no_exit(void)
{
	struct ghost g = { .die = die_exit0 };

	ghost_expect(&g, 0, 0);
}

static void
test_exit3(void)
{
	struct ghost g = { .die = die_exit3 };

	ghost_expect(&g, 3 << 8, 1);
}

static void
test_segv(void)
{
	struct ghost g = { .die = die_segv };

	ghost_expect(&g, SIGSEGV, 1);
}

static void
test_nothing_unsent(void)
{
	struct ghost g = { .die = die_pause, .no_fill = true };

	ghost_expect(&g, SIGKILL, 1);
}

static void
test_own_close_is_no_orphan_and_no_stamp(void)
{
	struct ghost g = { .die = die_closed_exit0 };

	ghost_run(&g);
	EXPECT(g.status == 0);
	EXPECT(records_of(g.pid, WIRE_T2B_ORPHAN, NULL) == 0);
	exit_expect(&g, 0);
	ghost_forget(&g);
}

static void
test_own_shutdown_is_stamped(void)
{
	struct ghost g = { .die = die_shutdown_exit0 };
	const struct decoded *d = NULL;

	if (!full()) {
		skipped++;
		return;
	}
	ghost_run(&g);
	EXPECT(g.status == 0);
	EXPECT(records_of(g.pid, WIRE_T2B_ORPHAN, &d) == 1);
	EXPECT(d != NULL && d->orphan.flags == WIRE_ORPHAN_CLOSED);
	EXPECT(d != NULL && d->orphan.state == TCP_STATE_FIN_WAIT1);
	exit_expect(&g, 1);
	ghost_forget(&g);
}

/* Two ends, one of them shared with us: our copy keeps it alive. */
static void
test_shared_socket_is_no_orphan(void)
{
	struct ghost g = { .network = NET_V4 };
	int listener = ghost_listen(&g), status;
	struct report target;
	socklen_t len = address_for(NET_V4, true, g.port, &target);
	int fd = socket_for(NET_V4);

	CHECK(connect(fd, &target.local.sa, len) == 0);
	fill(fd);
	g.pid = fork();
	if (g.pid == 0)
		_exit(3);
	CHECK(waitpid(g.pid, &status, 0) == g.pid);
	EXPECT(records_of(g.pid, WIRE_T2B_ORPHAN, NULL) == 0);
	EXPECT(records_of(g.pid, WIRE_T2B_EXIT, NULL) == 1);
	close(listener);
	close(fd);
}

static void *
private_thread(void *argument)
{
	const struct ghost *g = argument;
	struct report target;
	socklen_t len = address_for(NET_V4, true, g->port, &target);

	/* The socket is closed by this thread's exit, not by the process's. */
	CHECK(syscall(SYS_unshare, CLONE_FILES) == 0);
	int fd = socket_for(NET_V4);
	CHECK(connect(fd, &target.local.sa, len) == 0);
	fill(fd);
	syscall(SYS_exit, 3);
	return NULL;
}

static pid_t
thread_scene(struct ghost *g, int ready, int go)
{
	pid_t pid = fork();
	pthread_t thread;
	char byte;

	if (pid != 0)
		return pid;
	CHECK(pthread_create(&thread, NULL, private_thread, g) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(write(ready, "", 1) == 1);
	CHECK(read(go, &byte, 1) == 1);
	_exit(0);
}

static void
test_thread_exit_in_a_living_process(void)
{
	struct ghost g = { .network = NET_V4 };
	int listener = ghost_listen(&g), ready[2], go[2], fd, status;
	struct pollfd hup = { .events = POLLRDHUP };
	char byte;

	CHECK(pipe2(ready, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0);
	g.pid = thread_scene(&g, ready[1], go[0]);
	hup.fd = fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0 && read(ready[0], &byte, 1) == 1);
	/* Read all, up to the FIN: the thread's close has happened. */
	static char sink[65536];
	while (read(fd, sink, sizeof(sink)) > 0)
		;
	EXPECT(poll(&hup, 1, -1) == 1);
	EXPECT(records_of(g.pid, WIRE_T2B_ORPHAN, NULL) == 0);
	EXPECT(records_of(g.pid, WIRE_T2B_EXIT, NULL) == 0);
	CHECK(write(go[1], "", 1) == 1 && waitpid(g.pid, &status, 0) == g.pid);
	EXPECT(records_of(g.pid, WIRE_T2B_ORPHAN, NULL) == 0);
	EXPECT(records_of(g.pid, WIRE_T2B_EXIT, NULL) == 0);
	close(fd), close(listener);
	close(ready[0]), close(ready[1]), close(go[0]), close(go[1]);
}

struct leader {
	pthread_t main;
	int ready, go;
};

static void *
survivor(void *argument)
{
	struct leader *l = argument;
	char byte;

	CHECK(pthread_join(l->main, NULL) == 0);
	CHECK(write(l->ready, "", 1) == 1);
	CHECK(read(l->go, &byte, 1) == 1);
	_exit(5);
}

static void
test_leader_gone_first(void)
{
	int ready[2], go[2], status;
	const struct decoded *d = NULL;
	char byte;
	pid_t pid;

	CHECK(pipe2(ready, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		static struct leader l; /* outlives the leader's stack */
		pthread_t thread;

		l = (struct leader){ pthread_self(), ready[1], go[0] };
		CHECK(pthread_create(&thread, NULL, survivor, &l) == 0);
		pthread_exit(NULL);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	EXPECT(records_of(pid, WIRE_T2B_EXIT, NULL) == 0);
	CHECK(write(go[1], "", 1) == 1 && waitpid(pid, &status, 0) == pid);
	EXPECT(status == 5 << 8);
	if (EXPECT(records_of(pid, WIRE_T2B_EXIT, &d) == 1))
		EXPECT(d->exit.owner.exit_code == 5 << 8);
	close(ready[0]), close(ready[1]), close(go[0]), close(go[1]);
}

/* Where the v2 hierarchy is mounted, or NULL. */
static const char *
cgroup_root(void)
{
	static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	char path[512];

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", places[i]);
		if (access(path, W_OK) == 0)
			return places[i];
	}
	return NULL;
}

/* A ghost that lives in root/outer/inner. */
static void
unit_expect(const char *root, const char *outer, const char *inner, const char *unit, bool cut)
{
	char parent[512], dir[512];
	const struct decoded *d = NULL;
	struct stat st;

	snprintf(parent, sizeof(parent), "%s/%s", root, outer);
	snprintf(dir, sizeof(dir), "%s/%s/%s", root, outer, inner);
	CHECK((mkdir(parent, 0755) == 0 || errno == EEXIST) &&
		(mkdir(dir, 0755) == 0 || errno == EEXIST) && stat(dir, &st) == 0);
	struct ghost g = { .die = die_pause, .cgroup = dir };
	ghost_expect(&g, SIGKILL, 1);
	if (EXPECT(records_of(g.pid, WIRE_T2B_ORPHAN, &d) == 1)) {
		const struct wire_owner *o = &d->orphan.owner;

		EXPECT(strcmp(o->unit, unit) == 0);
		EXPECT(((o->flags & WIRE_OWNER_UNIT_TRUNCATED) != 0) == cut);
		EXPECT(o->cgroup_id == st.st_ino);
	}
	CHECK(rmdir(dir) == 0 && rmdir(parent) == 0);
}

static void
test_unit(void)
{
	const char *root = cgroup_root();
	char name[160], cut[96];

	if (root == NULL || !full()) {
		skipped++;
		return;
	}
	unit_expect(root, "km-a.service", "init", "km-a.service", false);
	unit_expect(root, "km-a.service", "b.scope", "b.scope", false);
	unit_expect(root, "km-a.scope", ".scope", "km-a.scope", false);
	unit_expect(root, "km.slice", "b.scopes", "", false);
	memset(name, 'x', sizeof(name));
	strcpy(name + 87, ".service");
	unit_expect(root, name, "b", name, false);
	memset(name, 'x', sizeof(name));
	strcpy(name + 120, ".service");
	memset(cut, 'x', sizeof(cut) - 1);
	cut[sizeof(cut) - 1] = '\0';
	unit_expect(root, name, "b", cut, true);
}

static bool
file_write(const char *dir, const char *name, const char *text)
{
	char path[512];
	int fd;
	bool good;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	good = fd >= 0 && write(fd, text, strlen(text)) > 0;
	if (fd >= 0)
		close(fd);
	return good;
}

static void
die_hungry(const struct ghost *g)
{
	(void)g;
	for (;;) {
		char *p = mmap(
			NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		memset(p, 1, 1 << 20);
	}
}

static void
test_oom(void)
{
	const char *root = cgroup_root();
	const struct decoded *d = NULL;
	char dir[512];

	if (root == NULL || !file_write(root, "cgroup.subtree_control", "+memory")) {
		skipped++;
		return;
	}
	snprintf(dir, sizeof(dir), "%s/km-oom.service", root);
	CHECK(mkdir(dir, 0755) == 0 && file_write(dir, "memory.max", "16777216"));
	file_write(dir, "memory.swap.max", "0");
	struct ghost g = { .die = die_hungry, .cgroup = dir };
	ghost_run(&g);
	EXPECT(g.status == SIGKILL);
	if (EXPECT(records_of(g.pid, WIRE_T2B_EXIT, &d) == 1))
		EXPECT((d->exit.owner.flags & WIRE_OWNER_OOM) != 0);
	if (full() && EXPECT(records_of(g.pid, WIRE_T2B_ORPHAN, &d) == 1))
		EXPECT((d->orphan.owner.flags & WIRE_OWNER_OOM) != 0);
	ghost_forget(&g);
	CHECK(rmdir(dir) == 0);
}

/* In a process of its own, which loads a second set with the smallest ring and does not read it. */
static _Noreturn void
drops_scene(void)
{
	unsigned kept = 0;
	uint64_t lost = 0;
	pid_t pids[64];
	int status;

	seen.count = 0;
	ring_open((uint32_t)sysconf(_SC_PAGESIZE));
	for (int i = 0; i < 64; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(3);
		CHECK(waitpid(pids[i], &status, 0) == pids[i]);
	}
	for (int i = 0; i < 64; i++)
		kept += records_of(pids[i], WIRE_T2B_EXIT, NULL);
	for (int i = 0; i < EVENT_DROP_SLOTS; i++)
		lost += bpf.drops[i].exit;
	/* More than ours may have been lost on a busy machine. */
	EXPECT(kept < 64 && kept + lost >= 64);
	_exit(failed != 0);
}

static void
test_drops_are_counted(void)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		failed = 0;
		drops_scene();
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	EXPECT(status == 0);
}

static void
test_features(void)
{
	struct utsname name;
	unsigned major = 0, minor = 0;

	CHECK(uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2);
	printf("kernel %s: %s\n", name.release, full() ? "exits, orphans, stamps" : "exits only");
	EXPECT(full() == (major > 5 || (major == 5 && minor >= 13)));
	EXPECT((bpf.features & WIRE_TRACKER_EXIT) != 0);
	EXPECT(((bpf.features & WIRE_TRACKER_STAMP) != 0) == full());
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "the feature set is this kernel's", test_features },
	{ "SIGKILL: IPv4, IPv6, mapped; bound or not; FIN-WAIT-1 and LAST-ACK", test_killed },
	{ "exit(0): a clean orphan, no EXIT", test_exit0_leaves_an_orphan_and_no_exit },
	{ "exit(3)", test_exit3 },
	{ "SIGSEGV", test_segv },
	{ "nothing unsent", test_nothing_unsent },
	{ "close() of one's own: no record", test_own_close_is_no_orphan_and_no_stamp },
	{ "shutdown() of one's own: a stamp, an EXIT, an orphan that says so",
		test_own_shutdown_is_stamped },
	{ "a shared socket is no orphan", test_shared_socket_is_no_orphan },
	{ "a thread with private files exits: no record", test_thread_exit_in_a_living_process },
	{ "the leader goes first: one EXIT, at the end", test_leader_gone_first },
	{ "the unit's name", test_unit },
	{ "the OOM killer", test_oom },
	{ "drops are counted", test_drops_are_counted },
};

int
main(void)
{
	struct rlimit lim = { RLIM_INFINITY, RLIM_INFINITY }, no_core = { 0, 0 };

	setvbuf(stdout, NULL, _IOLBF, 0);
	log_open("load_all", true);
	setrlimit(RLIMIT_MEMLOCK, &lim);
	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGPIPE, SIG_IGN);
	ring_open(TRACKER_RING_BYTES_DEFAULT);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		unsigned before = failed, skips = skipped;

		tests[i].run();
		if (failed == before && skipped == skips)
			passed++;
		printf("%s %s\n",
			failed != before   ? "not ok"
			: skipped != skips ? "skip"
					   : "ok",
			tests[i].name);
	}
	EXPECT(seen.bad == 0);
	printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	return failed != 0;
}
