/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Makes ghosts and lets their peers read on at a random moment around the destroy. One round: a
 * connection whose peer does not read, a process that dies of it, and then the race between the
 * service and the peer. The moment is drawn around the time when the service may act; in every
 * second round it is a few microseconds after the service has written its decision to the audit
 * log, which it does before the request leaves.
 *
 *	race ROUNDS PARALLEL SEED GRACE_MS SNDBUF AUDIT-LOG exit|kill
 *
 * Prints a line for every round, which test_race.py holds against the records. Times are in ns of
 * CLOCK_MONOTONIC, 0 where there was none:
 *
 *	round COOKIE WAY DIES RESUMES RESUMED GREW ENDS BEFORE RECEIVED SENT END
 *
 * WAY: by the clock or by the log. DIES: the owner is about to die. RESUMES, RESUMED: before and
 * after the first read. GREW: a byte has been read that was not there before the peer read on, so
 * the sender had made progress by then. BEFORE: bytes that were there. END: eof, reset, hung,
 * corrupt.
 */

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

#define PARALLEL_MAX 256
#define RCVBUF	     16384
#define SPIN_NS	     (150 * NS_PER_US) /* how long a reader that has resumed waits for more */
#define DECIDED_NS   (60 * NS_PER_US)  /* it resumes at most that long after the decision */
#define BEFORE_NS    (4 * NS_PER_MS)   /* or so long before or after the usual time of the act */
#define AFTER_NS     (2 * NS_PER_MS)
#define LATE_NS	     (5 * NS_PER_S) /* no decision comes any more */
#define HUNG_NS	     (60 * NS_PER_S)
#define LOG_BYTES    (1 << 20)

enum way { BY_CLOCK, BY_LOG };
static const char *const way_names[] = { "clock", "log" };

struct round {
	bool running;
	int peer;
	enum way way;
	uint64_t cookie;
	int fd;			   /* the owner's end of the connection */
	int go;			   /* the owner's end of a pipe: a byte lets it die */
	volatile uint64_t dies;	   /* written by the owner, the last thing it does */
	uint64_t began, resume_at; /* resume_at: 0 when it has resumed */
	uint64_t resumes, resumed, grew;
	size_t before, received, sent;
	_Alignas(16) unsigned char stack[16384]; /* of the owner */
};

static struct {
	unsigned rounds, parallel, begun, ended, running;
	uint64_t usual_ns; /* from the death to the reset, on average */
	int sndbuf;
	bool by_kill;
	uint64_t random;
	int epoll, listener, inotify, log;
	struct round round[PARALLEL_MAX];
	char text[LOG_BYTES]; /* the end of the audit log, from the last whole line on */
	size_t text_len;
} race;

static _Noreturn void
die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* xorshift64*: the same rounds for the same seed. */
static uint64_t
random_below(uint64_t limit)
{
	race.random ^= race.random >> 12;
	race.random ^= race.random << 25;
	race.random ^= race.random >> 27;
	return (race.random * 0x2545f4914f6cdd1dull >> 11) % limit;
}

/* As in actor.c. */
static unsigned char
pattern(size_t position)
{
	return (unsigned char)(position * 31 + position / 251);
}

/* ---- a connection and its owner ---- */

static void
option(int fd, int name, int value)
{
	if (setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)))
		die("setsockopt");
}

static void
listener_open(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };

	race.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	option(race.listener, SO_RCVBUF, RCVBUF);
	if (bind(race.listener, (struct sockaddr *)&in, sizeof(in)) || listen(race.listener, 16))
		die("listen");
}

static int
connection_open(int *peer)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	option(fd, SO_SNDBUF, race.sndbuf);
	if (getsockname(race.listener, (struct sockaddr *)&in, &len) ||
		(connect(fd, (struct sockaddr *)&in, len) && errno != EINPROGRESS))
		die("connect");
	*peer = accept4(race.listener, NULL, NULL, SOCK_NONBLOCK);
	if (*peer < 0)
		die("accept");
	return fd;
}

/* Everything that fits has arrived, and more waits behind a closed window. */
static bool
window_is_closed(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		die("TCP_INFO");
	return info.tcpi_unacked == 0 && info.tcpi_notsent_bytes > 0;
}

static size_t
connection_fill(int fd, int peer)
{
	unsigned char chunk[8192];
	const int at_once = 1;
	size_t sent = 0;

	do {
		ssize_t n;

		do {
			for (size_t i = 0; i < sizeof(chunk); i++)
				chunk[i] = pattern(sent + i);
			n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);
			if (n > 0)
				sent += (size_t)n;
		} while (n > 0);
		if (setsockopt(peer, IPPROTO_TCP, TCP_QUICKACK, &at_once, sizeof(at_once)))
			die("TCP_QUICKACK");
	} while (!window_is_closed(fd));
	return sent;
}

/* The rest is the parent's to close. */
static bool
keep_two(unsigned a, unsigned b)
{
	unsigned low = a < b ? a : b, high = a < b ? b : a;
	const unsigned ranges[][2] = { { 3, low - 1 }, { low + 1, high - 1 }, { high + 1, ~0u } };

	for (int i = 0; i < 3; i++) {
		if (ranges[i][0] <= ranges[i][1] && close_range(ranges[i][0], ranges[i][1], 0))
			return false;
	}
	return true;
}

/* Shares the parent's memory: with nothing to unmap it comes straight to its files. */
static int
owner_main(void *arg)
{
	struct round *r = arg;
	char byte;

	if (!keep_two((unsigned)r->fd, (unsigned)r->go) || read(r->go, &byte, 1) != 1)
		return 1;
	r->dies = now();
	if (race.by_kill)
		kill(getpid(), SIGKILL);
	return 0; /* an exit(2) of the only thread */
}

/* A process to which alone the connection belongs; it dies at once. */
static void
owner_start(struct round *r)
{
	int go[2];

	if (pipe(go))
		die("pipe");
	r->go = go[0];
	if (clone(owner_main, r->stack + sizeof(r->stack), CLONE_VM | SIGCHLD, r) < 0)
		die("clone");
	close(r->fd);
	if (write(go[1], "x", 1) != 1)
		die("write");
	close(go[0]);
	close(go[1]);
}

/* ---- rounds ---- */

static uint64_t
resume_time(enum way way, uint64_t began)
{
	if (way == BY_LOG)
		return began + LATE_NS;
	return began + race.usual_ns - BEFORE_NS + random_below(BEFORE_NS + AFTER_NS);
}

static void
round_begin(struct round *r)
{
	socklen_t len = sizeof(r->cookie);
	struct epoll_event event = { .events = 0, .data.ptr = r }; /* errors come unasked */

	memset(r, 0, offsetof(struct round, stack));
	r->running = true;
	r->fd = connection_open(&r->peer);
	r->sent = connection_fill(r->fd, r->peer);
	if (getsockopt(r->fd, SOL_SOCKET, SO_COOKIE, &r->cookie, &len) ||
		epoll_ctl(race.epoll, EPOLL_CTL_ADD, r->peer, &event))
		die("round_begin");
	r->way = race.begun++ % 2 ? BY_LOG : BY_CLOCK;
	race.running++;
	owner_start(r);
	r->began = now();
	r->resume_at = resume_time(r->way, r->began);
}

static void
round_end(struct round *r, const char *how)
{
	printf("round %llu %s %llu %llu %llu %llu %llu %zu %zu %zu %s\n",
		(unsigned long long)r->cookie, way_names[r->way], (unsigned long long)r->dies,
		(unsigned long long)r->resumes, (unsigned long long)r->resumed,
		(unsigned long long)r->grew, (unsigned long long)now(), r->before, r->received,
		r->sent, how);
	/* An owner that has just been made may still hold it: closing it would not take it off. */
	if (epoll_ctl(race.epoll, EPOLL_CTL_DEL, r->peer, NULL))
		die("EPOLL_CTL_DEL");
	close(r->peer);
	r->running = false;
	race.ended++;
	race.running--;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* Returns what recv() did; whatever came is checked and counted. */
static ssize_t
round_recv(struct round *r)
{
	unsigned char data[65536];
	ssize_t n = recv(r->peer, data, sizeof(data), 0);

	for (ssize_t i = 0; i < n; i++) {
		if (data[i] != pattern(r->received + (size_t)i)) {
			round_end(r, "corrupt");
			return -1;
		}
	}
	if (n > 0)
		r->received += (size_t)n;
	if (r->grew == 0 && r->resumes != 0 && r->received > r->before)
		r->grew = now();
	return n;
}

static void
round_cut(struct round *r)
{
	race.usual_ns += (now() - r->began) / 16 - race.usual_ns / 16;
	round_end(r, "reset");
}

/* Reads what there is; waits a moment for more, because the race is on. */
static void
round_read(struct round *r, uint64_t spin_ns)
{
	uint64_t until = now() + spin_ns;

	do {
		ssize_t n = round_recv(r);

		if (r->resumed == 0 && r->resumes != 0)
			r->resumed = now();
		if (!r->running)
			return;
		if (n > 0)
			until = now() + spin_ns;
		else if (n == 0)
			round_end(r, "eof");
		else if (errno != EAGAIN)
			round_cut(r);
	} while (r->running && now() < until);
}

static void
round_resume(struct round *r)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = r };
	int there;

	r->resume_at = 0;
	if (ioctl(r->peer, FIONREAD, &there))
		die("FIONREAD");
	r->before = (size_t)there;
	r->resumes = now();
	round_read(r, SPIN_NS);
	if (r->running && epoll_ctl(race.epoll, EPOLL_CTL_MOD, r->peer, &event))
		die("epoll_ctl");
}

/* ---- the decisions, as soon as they are in the log ---- */

static void
log_open(const char *path)
{
	race.log = open(path, O_RDONLY | O_CLOEXEC);
	race.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

	if (race.log < 0 || lseek(race.log, 0, SEEK_END) < 0 ||
		inotify_add_watch(race.inotify, path, IN_MODIFY) < 0 ||
		epoll_ctl(race.epoll, EPOLL_CTL_ADD, race.inotify, &event))
		die(path);
}

static void
cookie_decided(uint64_t cookie)
{
	for (unsigned i = 0; i < race.parallel; i++) {
		struct round *r = &race.round[i];

		if (!r->running || r->cookie != cookie || r->way != BY_LOG || r->resume_at == 0)
			continue;
		uint64_t at = now() + random_below(DECIDED_NS);
		while (now() < at)
			;
		round_resume(r);
	}
}

/* Returns the cookie that a line decides to destroy, or 0. */
static uint64_t
line_read(const char *line)
{
	static const char member[] = "\"eghostbuster.socket.cookie\":\"";
	const char *cookie = strstr(line, member);

	if (!cookie || !strstr(line, "\"event.action\":\"decide\"") ||
		!strstr(line, "\"eghostbuster.verdict\":\"destroy\""))
		return 0;
	return strtoull(cookie + sizeof(member) - 1, NULL, 16);
}

/* Whole lines, the last one first: its request is the last that is dealt with. */
static void
lines_read(char *text, size_t len)
{
	while (len > 0) {
		char *newline = memrchr(text, '\n', len - 1);
		char *line = newline ? newline + 1 : text;

		text[len - 1] = '\0';
		uint64_t cookie = line_read(line);
		if (cookie)
			cookie_decided(cookie);
		len = (size_t)(line - text);
	}
}

static void
log_read(void)
{
	char events[4096];
	ssize_t n;

	while (read(race.inotify, events, sizeof(events)) > 0)
		;
	while ((n = read(race.log, race.text + race.text_len, sizeof(race.text) - race.text_len)) >
		0)
		race.text_len += (size_t)n;
	const char *end = memrchr(race.text, '\n', race.text_len);
	size_t whole = end ? (size_t)(end + 1 - race.text) : 0;

	lines_read(race.text, whole);
	race.text_len -= whole;
	memmove(race.text, race.text + whole, race.text_len);
}

/* ---- the loop ---- */

static void
event_handle(const struct epoll_event *event)
{
	struct round *r = event->data.ptr;

	if (r == NULL)
		log_read();
	else if (r->running) /* when it has not resumed: reads the rest, and the reset */
		round_read(r, 0);
}

/* Starts, resumes and gives up what is due; returns when the next is. */
static uint64_t
timers_run(void)
{
	uint64_t next = now() + NS_PER_S;

	for (unsigned i = 0; i < race.parallel; i++) {
		struct round *r = &race.round[i];

		if (!r->running && race.begun < race.rounds)
			round_begin(r);
		if (r->running && r->resume_at != 0 && r->resume_at <= now())
			round_resume(r);
		if (r->running && now() > r->began + HUNG_NS)
			round_end(r, "hung");
		if (r->running && r->resume_at != 0 && r->resume_at < next)
			next = r->resume_at;
		if (!r->running && (race.begun < race.rounds || race.running == 0))
			next = 0;
	}
	return next;
}

static void
loop(void)
{
	struct epoll_event events[16];

	while (race.ended < race.rounds) {
		uint64_t next = timers_run(), at = now();
		uint64_t left = next > at ? next - at : 0;
		struct timespec timeout = { (time_t)(left / NS_PER_S), (long)(left % NS_PER_S) };
		int n = epoll_pwait2(race.epoll, events, 16, &timeout, NULL);

		if (n < 0 && errno != EINTR)
			die("epoll_pwait2");
		for (int i = 0; i < n; i++)
			event_handle(&events[i]);
	}
}

int
main(int argc, char **argv)
{
	if (argc != 8)
		return 2;
	race.rounds = (unsigned)atoi(argv[1]);
	race.parallel = (unsigned)atoi(argv[2]);
	race.random = strtoull(argv[3], NULL, 0) | 1;
	race.usual_ns = strtoull(argv[4], NULL, 0) * NS_PER_MS;
	race.sndbuf = atoi(argv[5]);
	race.by_kill = strcmp(argv[7], "kill") == 0;
	if (race.rounds == 0 || race.parallel == 0 || race.parallel > PARALLEL_MAX)
		return 2;
	race.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (race.epoll < 0)
		die("race");
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	listener_open();
	log_open(argv[6]);
	loop();
	return 0;
}
