/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Makes and ends processes as fast as the machine goes, and says what became of each:
 *
 *	fork_storm SECONDS SEED
 *
 * Workers use few pids over and over (clone3() with set_tid), so the next owner of a pid is there
 *while the records of the one before are still on their way. Every other worker's processes live in
 *a pid namespace, where they have other, smaller pids. A life has up to three connections, some of
 *them shut down by itself before its end, and ends in one of several ways; some leave a connection
 *to an heir, which is its owner then. A process of ours holds the other ends, the oldest are closed
 *when it has enough of them.
 *
 * Output, when the storm is over: a line "life PID DEATH NUMBER COOKIE[!]..." for each process that
 * ended, in each worker's own order; "!" when it had been shut down before. Then "end", and the
 *other ends stay open until standard input is closed.
 */

#define WORKERS	      4
#define PIDS	      8 /* of a worker */
#define CONNECTIONS   3
#define LIVES_MAX     (1u << 20) /* of a worker */
#define SINK_SOCKETS  4096
#define SINK_PORT     7
#define INNER_PID_MAX 300

enum death { DEATH_EXIT, DEATH_SIGNAL };

struct life {
	uint64_t cookies[CONNECTIONS];
	int32_t pid;
	uint8_t count;
	uint8_t closed; /* bit per connection */
	uint8_t death;
	uint8_t number; /* exit status or signal */
	bool asked;	/* the worker kills it, not it itself */
	_Atomic bool ready;
};

/* Shared by a worker and what it makes: children fill in what only they know. */
struct worker {
	uint32_t lives;
	struct life life[LIVES_MAX];
};

static uint64_t random_state;

static _Noreturn void
die(const char *what)
{
	perror(what);
	_exit(99);
}

/* splitmix64 */
static uint32_t
random_below(uint32_t n)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ z >> 31) % n);
}

static bool
time_is_over(time_t end)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec >= end;
}

/* ---- the other ends ---- */

static _Noreturn void
sink_main(int listener, int stop)
{
	static int sockets[SINK_SOCKETS];
	struct pollfd fds[] = { { .fd = stop, .events = POLLIN },
		{ .fd = listener, .events = POLLIN } };

	for (size_t next = 0;;) {
		if (poll(fds, 2, -1) < 0 || fds[0].revents)
			_exit(0);
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue; /* reset while it waited */
		if (sockets[next])
			close(sockets[next]);
		sockets[next] = fd;
		next = (next + 1) % SINK_SOCKETS;
	}
}

static void
sink_start(int stop)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(SINK_PORT) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), small = 4096;

	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (bind(listener, (struct sockaddr *)&sin, sizeof(sin)) || listen(listener, 4096))
		die("sink");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		sink_main(listener, stop);
	close(listener);
}

/* ---- one life ---- */

/* To one of many addresses, so that ports do not run out. */
static int
connection_make(struct life *life)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(SINK_PORT) };
	socklen_t len = sizeof(life->cookies[0]);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	sin.sin_addr.s_addr = htonl(0x7f000001u | random_below(0xffff) << 8);
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin))) {
		close(fd);
		return -1;
	}
	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &life->cookies[life->count++], &len);
	return fd;
}

static void
connections_make(struct life *life, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		int fd = connection_make(life);

		if (fd < 0)
			return;
		if (random_below(3) == 0 && send(fd, "some data", 9, MSG_NOSIGNAL) < 0)
			die("send");
		if (random_below(4) == 0 && shutdown(fd, SHUT_WR) == 0)
			life->closed |= (uint8_t)(1u << (life->count - 1));
	}
}

static _Noreturn void
life_end(struct life *life)
{
	if (life->death == DEATH_EXIT)
		_exit(life->number);
	if (life->asked)
		life->ready = true;
	else
		kill(getpid(), life->number);
	for (;;)
		pause();
}

/* In the initial namespace, whoever asks: /proc is of that. */
static pid_t
outer_pid(void)
{
	char text[32];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	if (n <= 0)
		die("/proc/self");
	text[n] = '\0';
	return (pid_t)atoi(text);
}

/* Its parent dies first, and says so by closing its end of the pipe. */
static _Noreturn void
heir_main(struct life *heir, int parent_lives)
{
	char byte;

	heir->pid = outer_pid();
	if (read(parent_lives, &byte, 1) != 0)
		die("read");
	life_end(heir);
}

/* All connections of a life that leaves an heir are the heir's. */
static void
heir_make(struct life *life, struct life *heir)
{
	int fds[2];

	connections_make(heir, 1 + random_below(CONNECTIONS));
	if (pipe(fds))
		die("pipe");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(fds[1]);
		heir_main(heir, fds[0]);
	}
	close(fds[0]);
	life_end(life);
}

static void
death_choose(struct life *life)
{
	static const struct life deaths[] = {
		{ .death = DEATH_EXIT, .number = 0 },
		{ .death = DEATH_EXIT, .number = 7 },
		{ .death = DEATH_SIGNAL, .number = SIGKILL },
		{ .death = DEATH_SIGNAL, .number = SIGKILL },
		{ .death = DEATH_SIGNAL, .number = SIGTERM },
		{ .death = DEATH_SIGNAL, .number = SIGSEGV },
	};
	const struct life *chosen = &deaths[random_below(sizeof(deaths) / sizeof(deaths[0]))];

	*life = (struct life){ .death = chosen->death, .number = chosen->number };
	life->asked = life->death == DEATH_SIGNAL && random_below(2);
}

static _Noreturn void
life_main(struct life *life, struct life *heir)
{
	if (heir != NULL)
		heir_make(life, heir);
	connections_make(life, random_below(CONNECTIONS + 1));
	life_end(life);
}

/* ---- workers ---- */

/* fork() with those pids, in the worker's namespace and around it, when they are free. A worker
 * without a namespace of its own says inner = 0. */
static pid_t
fork_as(pid_t inner, pid_t outer)
{
	pid_t want[2] = { inner, outer };
	struct clone_args args = { .exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)(inner ? want : want + 1),
		.set_tid_size = inner ? 2 : 1 };
	pid_t pid = outer ? (pid_t)syscall(SYS_clone3, &args, sizeof(args)) : -1;

	if (pid < 0) /* somebody else has it by now */
		pid = fork();
	return pid;
}

/* One at a time: the pid of a process that has been waited for is free at once. */
static void
worker_step(struct worker *w, bool inner)
{
	static pid_t outer_pids[PIDS];
	unsigned slot = random_below(PIDS);
	struct life *life = &w->life[w->lives], *heir = NULL;
	uint64_t seed = random_state ^ 0x5bd1e995u * (w->lives + 1u);

	death_choose(life);
	if (random_below(8) == 0) {
		heir = life + 1;
		death_choose(heir);
		heir->asked = false;
	}
	pid_t pid = fork_as(inner ? (pid_t)(INNER_PID_MAX - PIDS + slot) : 0, outer_pids[slot]);
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		random_state = seed;
		life->pid = outer_pid();
		life_main(life, heir);
	}
	while (life->asked && !life->ready)
		sched_yield();
	if (life->asked)
		kill(pid, life->number);
	while (wait(NULL) > 0)
		; /* the heir, too: this is its subreaper */
	outer_pids[slot] = life->pid;
	w->lives += heir ? 2 : 1;
}

static void
worker_run(struct worker *w, time_t end, bool inner)
{
	while (!time_is_over(end) && w->lives + 2 < LIVES_MAX)
		worker_step(w, inner);
	_exit(0);
}

/* The first process of a pid namespace is where its orphans go, and ends it by its own end. */
static void
namespace_enter(void)
{
	int status = 0;

	if (unshare(CLONE_NEWPID))
		die("pid namespace");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		return;
	waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
}

static pid_t
worker_start(struct worker *w, unsigned number, time_t end)
{
	bool inner = number % 2;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	random_state += number * 0x632be59bd9b4e019u;
	if (inner)
		namespace_enter();
	else
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	worker_run(w, end, inner);
	return 0;
}

static void
lives_print(const struct worker *w)
{
	for (uint32_t i = 0; i < w->lives; i++) {
		const struct life *life = &w->life[i];

		printf("life %d %s %u", life->pid, life->death == DEATH_EXIT ? "exit" : "signal",
			life->number);
		for (unsigned c = 0; c < life->count; c++)
			printf(" %#llx%s", (unsigned long long)life->cookies[c],
				life->closed >> c & 1 ? "!" : "");
		printf("\n");
	}
}

/* Waits for the workers only: the sink is a child, too. */
static int
storm(struct worker *workers, time_t seconds)
{
	pid_t pids[WORKERS];
	struct timespec now;
	int status, bad = 0;

	clock_gettime(CLOCK_MONOTONIC, &now);
	for (unsigned i = 0; i < WORKERS; i++)
		pids[i] = worker_start(&workers[i], i, now.tv_sec + seconds);
	for (unsigned i = 0; i < WORKERS; i++) {
		if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
			bad = 1;
	}
	return bad;
}

int
main(int argc, char **argv)
{
	const struct rlimit no_core = { 0, 0 };
	size_t size = sizeof(struct worker) * WORKERS;
	struct worker *workers = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (argc != 3 || workers == MAP_FAILED)
		return 2;
	random_state = strtoull(argv[2], NULL, 0);
	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit */
	sink_start(STDIN_FILENO);
	if (storm(workers, atol(argv[1])))
		return 1;
	for (unsigned i = 0; i < WORKERS; i++)
		lives_print(&workers[i]);
	printf("end\n");
	fflush(stdout);
	wait(NULL); /* for the sink */
	return 0;
}
