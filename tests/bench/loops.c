/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the innocent do all day, COUNT times, as fast as one processor goes.
 *
 *	loops connect|exec|threads COUNT
 *
 * connect: a connection is made, a byte sent and read, and both ends closed; exec: a process is
 *made, becomes another program, and ends; threads: a process of eight threads is made and ends. One
 *line says how long it took: nanoseconds by the clock, and of processor time, with children.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"
#include "proto/clock.h"
#include "proto/log.h"

#define THREADS 8

extern char **environ;

static char *self;

/* ---- connect ---- */

static int listener;
static struct sockaddr_in at;

static void
connect_prepare(void)
{
	listener = ends_listen(&at, false);
}

/* The client closes in order; the other end then resets what is left, which would be a TIME-WAIT
 * for a minute otherwise. */
static void
connect_once(void)
{
	int client = ends_connect(&at, 1);
	int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char byte;

	if (server < 0 || recv(server, &byte, 1, 0) != 1)
		fatal("the connection has failed: %s", strerror(errno));
	close(client);
	ends_reset_at_close(server);
	close(server);
}

/* ---- exec ---- */

static void
child_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0 || status != 0)
		fatal("a child has failed");
}

static void
exec_once(void)
{
	char *const argv[] = { self, NULL };
	pid_t pid;

	errno = posix_spawn(&pid, self, NULL, NULL, argv, environ);
	if (errno != 0)
		fatal("cannot start a process: %s", strerror(errno));
	child_wait(pid);
}

/* ---- threads ---- */

static void *
thread_main(void *arg)
{
	return arg;
}

static _Noreturn void
threads_main(void)
{
	pthread_t thread[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		if (pthread_create(&thread[i], NULL, thread_main, NULL) != 0)
			_exit(1);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	_exit(0);
}

static void
threads_once(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fatal("fork: %s", strerror(errno));
	if (pid == 0)
		threads_main();
	child_wait(pid);
}

/* ---- all ---- */

static void
nothing(void)
{
}

static const struct loop {
	const char *name;
	void (*prepare)(void);
	void (*once)(void);
} loops[] = {
	{ "connect", connect_prepare, connect_once },
	{ "exec", nothing, exec_once },
	{ "threads", nothing, threads_once },
};

static uint64_t
cpu_of(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_S +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

/* Always the same processor: moving from one to the other is what differs most between two runs. */
static void
processor_choose(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fatal("cannot choose a processor: %s", strerror(errno));
}

static void
loop_run(const struct loop *loop, unsigned long count)
{
	uint64_t cpu = cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN);
	mono_ns begin;

	loop->prepare();
	loop->once();
	begin = clock_now();
	for (unsigned long i = 0; i < count; i++)
		loop->once();
	printf("%llu %llu\n", (unsigned long long)(clock_now().ns - begin.ns),
		(unsigned long long)(cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN) - cpu));
}

int
main(int argc, char **argv)
{
	/* What "exec" starts. */
	if (argc == 1)
		return 0;
	log_open("loops", false);
	log_plain();
	self = argv[0];
	processor_choose();
	for (size_t i = 0; argc == 3 && i < sizeof(loops) / sizeof(loops[0]); i++) {
		if (strcmp(loops[i].name, argv[1]) == 0) {
			loop_run(&loops[i], strtoul(argv[2], NULL, 10));
			return 0;
		}
	}
	log_error("usage: loops connect|exec|threads COUNT");
	return 2;
}
