/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ghost at a time: a process with one connection whose peer does not read is killed, and the
 * next one is made when its socket is gone.
 *
 *	single
 *
 * Each line of standard input is a number of ghosts; the answer is one line with the nanoseconds
 * from FIN-WAIT-1 to the end of each.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"
#include "proto/clock.h"
#include "proto/log.h"
#include "stopwatch.h"

#define GHOSTS_MAX 4096u
/* What was woken by the making has gone back to sleep. */
#define SETTLE_MS   1
#define PATIENCE_NS (5 * NS_PER_S)

static int listener;
static struct sockaddr_in at;

static pid_t
victim_make(int *peer)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready) < 0)
		fatal("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		fatal("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ends_connect(&at, ENDS_BYTES);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		fatal("a victim has failed");
	close(ready[0]);
	*peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*peer < 0)
		fatal("accept: %s", strerror(errno));
	return pid;
}

/* Looks seldom: whoever ends the ghost has the machine to himself. */
static void
gone_wait(void)
{
	mono_ns begin = clock_now();

	do
		poll(NULL, 0, SETTLE_MS);
	while (stopwatch_gone() == 0 && clock_now().ns - begin.ns < PATIENCE_NS);
}

static uint64_t
ghost_time(void)
{
	struct life life = { 0 };
	pid_t pid;
	int peer;

	pid = victim_make(&peer);
	poll(NULL, 0, SETTLE_MS);
	stopwatch_reset();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	gone_wait();
	if (stopwatch_read(&life, 1) != 1 || life.gone_ns == 0)
		fatal("a ghost is not gone after %llu s", PATIENCE_NS / NS_PER_S);
	close(peer);
	return life.gone_ns - life.born_ns;
}

static void
block_run(unsigned count)
{
	static uint64_t times[GHOSTS_MAX];

	if (count > GHOSTS_MAX)
		fatal("at most %u ghosts at a time", GHOSTS_MAX);
	for (unsigned i = 0; i < count; i++)
		times[i] = ghost_time();
	for (unsigned i = 0; i < count; i++)
		printf(i == 0 ? "%llu" : " %llu", (unsigned long long)times[i]);
	printf("\n");
	fflush(stdout);
}

int
main(void)
{
	char line[32];

	log_open("single", false);
	log_plain();
	stopwatch_open();
	listener = ends_listen(&at, true);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL)
		block_run((unsigned)strtoul(line, NULL, 10));
	return 0;
}
