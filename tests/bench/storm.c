/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes with many connections whose peers do not read are killed at once, and the time is taken
 * until the last socket is gone. Who ends them: the service, if it runs in this network namespace,
 * or a rival.
 *
 *	storm PROCESSES CONNECTIONS RIVAL [CGROUP]
 *
 * CONNECTIONS: of each process. RIVAL: see rival.c, or "none". CGROUP: a folder of the unified
 * hierarchy; all die in it by one order. One line of JSON says what came of it; times are in
 * nanoseconds since the order.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"
#include "proto/clock.h"
#include "proto/log.h"
#include "rival.h"
#include "stopwatch.h"

#define PROCESSES_MAX (sizeof(((struct victims *)0)->pidfd) / sizeof(int))
#define TICK_MS	      5
#define TICKS_MAX     6000 /* half a minute */
#define SETTLE_MS     300
#define LEFT_NS	      (500 * NS_PER_MS) /* a rival that has ended leaves what is there then */
#define POINTS	      200

static struct {
	struct victims victims;
	pid_t pid[PROCESSES_MAX], peer[PROCESSES_MAX], rival_pid;
	struct target *targets; /* shared memory */
	const struct rival *rival;
	const char *cgroup;
	int ready[2];
	mono_ns killed, dead;
	uint64_t rival_cpu_ns;
	struct {
		uint64_t at_ns;
		long pages;
	} memory[TICKS_MAX];
	unsigned ticks;
} storm;

/* ---- making ---- */

static void
ready_tell(void)
{
	if (write(storm.ready[1], "", 1) != 1)
		fatal("cannot tell that all is ready");
}

static pid_t
child_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fatal("fork: %s", strerror(errno));
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static _Noreturn void
peer_main(int listener)
{
	for (size_t i = 0; i < storm.victims.each_count; i++) {
		if (accept4(listener, NULL, NULL, SOCK_CLOEXEC) < 0)
			fatal("accept: %s", strerror(errno));
	}
	close(listener);
	ready_tell();
	for (;;)
		pause();
}

static void
cgroup_write(const char *name, const char *text)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", storm.cgroup, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fatal("cannot write to %s: %s", path, strerror(errno));
	close(fd);
}

static _Noreturn void
victim_main(const struct sockaddr_in *to, struct target *targets)
{
	if (storm.cgroup != NULL)
		cgroup_write("cgroup.procs", "0");
	for (size_t i = 0; i < storm.victims.each_count; i++)
		targets[i] = ends_target(ends_connect(to, ENDS_BYTES));
	ready_tell();
	for (;;)
		pause();
}

static void
victim_make(unsigned i)
{
	struct sockaddr_in at;
	int listener = ends_listen(&at, true);

	storm.peer[i] = child_fork();
	if (storm.peer[i] == 0)
		peer_main(listener);
	close(listener);
	storm.pid[i] = child_fork();
	if (storm.pid[i] == 0)
		victim_main(&at, storm.targets + i * storm.victims.each_count);
	storm.victims.pidfd[i] = (int)syscall(SYS_pidfd_open, storm.pid[i], 0);
	if (storm.victims.pidfd[i] < 0)
		fatal("pidfd_open: %s", strerror(errno));
}

static void
ready_wait(unsigned count)
{
	char byte;

	for (unsigned i = 0; i < count; i++) {
		if (read(storm.ready[0], &byte, 1) != 1)
			fatal("a process of the storm has failed");
	}
}

static void
storm_make(void)
{
	size_t size = storm.victims.count * storm.victims.each_count * sizeof(struct target);

	storm.targets = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (storm.targets == MAP_FAILED || pipe(storm.ready) < 0)
		fatal("cannot make the storm: %s", strerror(errno));
	storm.victims.targets = storm.targets;
	for (unsigned i = 0; i < storm.victims.count; i++)
		victim_make(i);
	/* Whoever fails closes its end: the last is ours. */
	close(storm.ready[1]);
	ready_wait(2 * storm.victims.count);
}

static void
rival_start(void)
{
	if (storm.rival == NULL)
		return;
	storm.rival_pid = child_fork();
	if (storm.rival_pid > 0)
		return;
	if (storm.rival->prepare != NULL)
		storm.rival->prepare(&storm.victims);
	rival_run(storm.rival, &storm.victims);
}

/* ---- the storm ---- */

static long
memory_read(void)
{
	static int fd = -1;
	char text[1024], *mem;
	ssize_t n;

	if (fd < 0)
		fd = open("/proc/net/sockstat", O_RDONLY | O_CLOEXEC);
	n = pread(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	mem = strstr(text, "TCP:");
	mem = mem != NULL ? strstr(mem, " mem ") : NULL;
	if (mem == NULL)
		fatal("/proc/net/sockstat does not tell TCP's memory");
	return strtol(mem + 5, NULL, 10);
}

static void
memory_note(void)
{
	if (storm.ticks == TICKS_MAX)
		return;
	storm.memory[storm.ticks].pages = memory_read();
	storm.memory[storm.ticks++].at_ns = clock_now().ns - storm.killed.ns;
}

static void
storm_kill(void)
{
	storm.killed = clock_now();
	if (storm.cgroup != NULL) {
		cgroup_write("cgroup.kill", "1");
		return;
	}
	for (unsigned i = 0; i < storm.victims.count; i++)
		kill(storm.pid[i], SIGKILL);
}

static bool
rival_ended(void)
{
	siginfo_t info = { 0 };

	return storm.rival_pid != 0 &&
	       waitid(P_PID, (id_t)storm.rival_pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid != 0;
}

/* Whether the rival has ended, and nothing more has come of it. */
static bool
rival_leaves(void)
{
	static mono_ns since;

	if (since.ns == 0 && rival_ended())
		since = clock_now();
	return since.ns != 0 && clock_now().ns - since.ns > LEFT_NS;
}

/* Until all are gone, the rival has left some, or half a minute has passed. */
static void
storm_watch(void)
{
	struct pollfd fds[PROCESSES_MAX];
	unsigned alive = storm.victims.count;
	size_t all = storm.victims.count * storm.victims.each_count;

	for (unsigned i = 0; i < storm.victims.count; i++)
		fds[i] = (struct pollfd){ .fd = storm.victims.pidfd[i], .events = POLLIN };
	do {
		if (poll(fds, storm.victims.count, TICK_MS) > 0) {
			for (unsigned i = 0; i < storm.victims.count; i++) {
				if (fds[i].revents != 0) {
					fds[i].fd = -1;
					alive--;
				}
			}
			if (alive == 0)
				storm.dead = clock_now();
		}
		memory_note();
	} while (stopwatch_gone() < all && !rival_leaves() && storm.ticks < TICKS_MAX);
}

/* What it has used of the processors. */
static void
rival_end(void)
{
	struct rusage u;
	int status;

	if (storm.rival_pid == 0)
		return;
	if (stopwatch_gone() < storm.victims.count * storm.victims.each_count)
		kill(storm.rival_pid, SIGKILL);
	if (wait4(storm.rival_pid, &status, 0, &u) < 0)
		fatal("wait4: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		fatal("the rival has failed: status %d", status);
	storm.rival_cpu_ns = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_S +
			     (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

/* ---- what came of it ---- */

static int
by_end(const void *a, const void *b)
{
	const struct life *x = a, *y = b;

	return x->gone_ns < y->gone_ns ? -1 : x->gone_ns > y->gone_ns;
}

static uint64_t
since_kill(uint64_t ns)
{
	return ns > storm.killed.ns ? ns - storm.killed.ns : 0;
}

/* How many are gone, and when. */
static void
curve_print(const struct life *lives, size_t count)
{
	size_t step = count / POINTS + 1;
	const char *comma = "";

	printf(",\"gone_at\":[");
	for (size_t i = 0; i < count; i += step, comma = ",")
		printf("%s[%zu,%llu]", comma, i + 1,
			(unsigned long long)since_kill(lives[i].gone_ns));
	if (count != 0)
		printf("%s[%zu,%llu]", comma, count,
			(unsigned long long)since_kill(lives[count - 1].gone_ns));
	printf("]");
}

static void
memory_print(void)
{
	const char *comma = "";
	unsigned step = storm.ticks / POINTS + 1;

	printf(",\"memory_pages\":[");
	for (unsigned i = 0; i < storm.ticks; i += step, comma = ",")
		printf("%s[%llu,%ld]", comma, (unsigned long long)storm.memory[i].at_ns,
			storm.memory[i].pages);
	printf("]");
}

static void
storm_print(void)
{
	size_t all = storm.victims.count * storm.victims.each_count, gone = 0;
	struct life *lives = calloc(all, sizeof(*lives));
	size_t born;

	if (lives == NULL)
		fatal("out of memory for %zu lives", all);
	born = stopwatch_read(lives, all);
	qsort(lives, born, sizeof(*lives), by_end);
	while (gone < born && lives[born - 1 - gone].gone_ns != 0)
		gone++;
	printf("{\"made\":%zu,\"born\":%zu,\"gone\":%zu,\"dead_ns\":%llu,\"rival_cpu_ns\":%llu",
		all, born, gone, (unsigned long long)since_kill(storm.dead.ns),
		(unsigned long long)storm.rival_cpu_ns);
	curve_print(lives + born - gone, gone);
	memory_print();
	printf("}\n");
	free(lives);
}

/* Not by SIGKILL: a peer that a reset has not reached would be one more ghost that is destroyed at
 * once, and counted with the storm's. */
static void
storm_end(void)
{
	for (unsigned i = 0; i < storm.victims.count; i++)
		kill(storm.peer[i], SIGTERM);
	while (wait(NULL) > 0)
		continue;
}

static bool
arguments_read(int argc, char **argv)
{
	if (argc != 4 && argc != 5)
		return false;
	storm.victims.count = (unsigned)strtoul(argv[1], NULL, 10);
	storm.victims.each_count = strtoul(argv[2], NULL, 10);
	storm.rival = rival_find(argv[3]);
	storm.cgroup = argv[4];
	return storm.victims.count != 0 && storm.victims.count <= PROCESSES_MAX &&
	       storm.victims.each_count != 0 &&
	       (storm.rival != NULL || strcmp(argv[3], "none") == 0);
}

int
main(int argc, char **argv)
{
	log_open("storm", false);
	log_plain();
	if (!arguments_read(argc, argv)) {
		log_error("usage: storm PROCESSES CONNECTIONS RIVAL [CGROUP]");
		return 2;
	}
	if (storm.victims.each_count + 64 > ends_room())
		fatal("a process may have %u descriptors only", ends_room());
	stopwatch_open();
	storm_make();
	rival_start();
	poll(NULL, 0, SETTLE_MS);
	stopwatch_reset();
	memory_read();
	storm_kill();
	storm_watch();
	rival_end();
	storm_print();
	storm_end();
	return 0;
}
