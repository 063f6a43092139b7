/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that live and are silent. Each line of standard input says how many there are to be;
 * the answer is "ok" when there are. All end with standard input.
 *
 *	live
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ends.h"
#include "proto/log.h"

#define WORKERS	 8
#define FD_SPARE 64u

static struct {
	int client, server;
} * pairs;
static unsigned made;

static void
pair_add(int listener, const struct sockaddr_in *at)
{
	pairs[made].client = ends_connect(at, 0);
	pairs[made].server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (pairs[made].server < 0)
		fatal("accept: %s", strerror(errno));
	made++;
}

static void
pair_drop(void)
{
	made--;
	ends_reset_at_close(pairs[made].client);
	close(pairs[made].client);
	close(pairs[made].server);
}

static _Noreturn void
worker_main(int orders, unsigned most)
{
	struct sockaddr_in at;
	int listener = ends_listen(&at, false);
	unsigned wanted;

	pairs = calloc(most, sizeof(*pairs));
	if (pairs == NULL)
		fatal("out of memory");
	while (read(orders, &wanted, sizeof(wanted)) == sizeof(wanted)) {
		if (wanted > most)
			fatal("no room for %u connections", wanted);
		while (made < wanted)
			pair_add(listener, &at);
		while (made > wanted)
			pair_drop();
		if (write(orders, &wanted, sizeof(wanted)) != sizeof(wanted))
			fatal("cannot answer: %s", strerror(errno));
	}
	while (made > 0)
		pair_drop();
	_exit(0);
}

static int
worker_start(unsigned most)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		fatal("socketpair: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		fatal("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		worker_main(pair[1], most);
	}
	close(pair[1]);
	return pair[0];
}

static void
order(const int worker[WORKERS], unsigned count)
{
	unsigned answer;

	for (unsigned i = 0; i < WORKERS; i++) {
		unsigned share = count / WORKERS + (i < count % WORKERS);

		if (write(worker[i], &share, sizeof(share)) != sizeof(share))
			fatal("cannot order: %s", strerror(errno));
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		if (read(worker[i], &answer, sizeof(answer)) != sizeof(answer))
			fatal("a worker has failed");
	}
}

int
main(void)
{
	int worker[WORKERS];
	char line[32];

	log_open("live", false);
	log_plain();
	for (unsigned i = 0; i < WORKERS; i++)
		worker[i] = worker_start((ends_room() - FD_SPARE) / 2);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		order(worker, (unsigned)strtoul(line, NULL, 10));
		puts("ok");
		fflush(stdout);
	}
	return 0;
}
