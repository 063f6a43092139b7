/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * A user who makes ghosts as fast as the machine goes:
 *
 *	flood SECONDS UID DEATH CGROUP...
 *
 * Workers make one process after the other, in one of the control groups after the other, which
 * opens connections, writes more than its peer takes, and ends: DEATH is "kill" or "exit". A
 *process of ours holds the other ends and never reads; the oldest are closed when it has enough of
 *them.
 *
 * Output, when the time is over: "made N", and the other ends stay open until standard input is
 * closed.
 */

#define WORKERS	     3
#define CONNECTIONS  64 /* of a process */
#define BYTES	     8000
#define SINK_PORT    9
#define SINK_RESERVE 64

static _Noreturn void
die(const char *what)
{
	perror(what);
	_exit(99);
}

/* ---- the other ends ---- */

static size_t
sockets_max(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_max - SINK_RESERVE;
}

static _Noreturn void
sink_main(int listener, int stop)
{
	size_t most = sockets_max(), next = 0;
	int *sockets = calloc(most, sizeof(*sockets));
	struct pollfd fds[] = { { .fd = stop, .events = POLLIN },
		{ .fd = listener, .events = POLLIN } };

	if (sockets == NULL)
		die("memory");
	for (;;) {
		if (poll(fds, 2, -1) < 0 || fds[0].revents)
			_exit(0);
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue; /* reset while it waited */
		if (sockets[next])
			close(sockets[next]);
		sockets[next] = fd;
		next = (next + 1) % most;
	}
}

static void
sink_start(int stop)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(SINK_PORT) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), least = 1;

	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	if (bind(listener, (struct sockaddr *)&sin, sizeof(sin)) || listen(listener, 4096))
		die("sink");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		sink_main(listener, stop);
	close(listener);
}

/* ---- ghosts ---- */

/* To one of many addresses, so that ports do not run out. Returns whether it will be a ghost. */
static bool
connection_make(uint32_t number)
{
	static const char data[BYTES];
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(SINK_PORT) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	sin.sin_addr.s_addr = htonl(0x7f000001u | (number % 0xffff) << 8);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof(sin)))
		return false;
	return send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

static _Noreturn void
life_main(const char *cgroup, uid_t uid, bool killed, uint64_t *made, uint32_t number)
{
	char pid[16];
	int fd = open(cgroup, O_WRONLY);

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (fd < 0 || write(fd, pid, strlen(pid)) < 0)
		die(cgroup);
	close(fd);
	if (setuid(uid))
		die("setuid");
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		*made += connection_make(number * CONNECTIONS + i);
	if (killed)
		raise(SIGKILL);
	_exit(0);
}

static bool
time_is_over(time_t end)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec >= end;
}

static _Noreturn void
worker_main(char **cgroups, size_t count, uid_t uid, bool killed, time_t end, uint64_t *made)
{
	uint32_t number = (uint32_t)getpid() * 1000;

	for (; !time_is_over(end); number++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0)
			life_main(cgroups[number % count], uid, killed, made, number);
		waitpid(pid, NULL, 0);
	}
	_exit(0);
}

static void
flood(time_t seconds, uid_t uid, bool killed, char **cgroups, size_t count, uint64_t *made)
{
	struct timespec now;
	pid_t pids[WORKERS];

	clock_gettime(CLOCK_MONOTONIC, &now);
	for (unsigned i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			die("fork");
		if (pids[i] == 0)
			worker_main(cgroups, count, uid, killed, now.tv_sec + seconds, &made[i]);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		waitpid(pids[i], NULL, 0);
}

int
main(int argc, char **argv)
{
	uint64_t *made = mmap(NULL, WORKERS * sizeof(*made), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;

	if (argc < 5 || made == MAP_FAILED)
		return 2;
	sink_start(STDIN_FILENO);
	flood(atol(argv[1]), (uid_t)atol(argv[2]), strcmp(argv[3], "kill") == 0, argv + 4,
		(size_t)argc - 4, made);
	for (unsigned i = 0; i < WORKERS; i++)
		sum += made[i];
	printf("made %llu\n", (unsigned long long)sum);
	fflush(stdout);
	wait(NULL); /* for the sink */
	return 0;
}
