/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crowd.h"
#include "tap.h"

/*
 * The host that hostile peers aim at, in the network namespace it is started in. Writes what there
 *is to aim at to a file, says "ready", and does what it is told, one word a line:
 *
 *	check	is everybody as before?		"ok" or "not ok"
 *	left	how many orphans are left?	a number
 *	accept	accept who waits, and talk	"ok" or "not ok"
 *
 *	host LIVE ORPHANS TARGETS-FILE
 */

static void
targets_write(const char *path)
{
	static struct target targets[TARGETS_MAX];
	size_t count = crowd_targets(targets, TARGETS_MAX), len = count * sizeof(targets[0]);
	int fd = must(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), path);

	if (write(fd, targets, len) != (ssize_t)len)
		die("writing the targets");
	close(fd);
	printf("# %zu targets\n", count);
}

static void
order_obey(const char *order)
{
	if (strcmp(order, "check\n") == 0)
		puts(crowd_unharmed() ? "ok" : "not ok");
	else if (strcmp(order, "accept\n") == 0)
		puts(crowd_accept_all() ? "ok" : "not ok");
	else if (strcmp(order, "left\n") == 0)
		printf("%u\n", crowd_orphans_left());
	else
		puts("not ok: no such order");
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	char order[64];

	if (argc != 4) {
		fprintf(stderr, "usage: host LIVE ORPHANS TARGETS-FILE\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	crowd_make((unsigned)strtoul(argv[1], NULL, 10), (unsigned)strtoul(argv[2], NULL, 10));
	crowd_describe();
	targets_write(argv[3]);
	puts(crowd_unharmed() ? "ready" : "not ok: harmed before anything was done");
	fflush(stdout);
	while (fgets(order, sizeof(order), stdin) != NULL)
		order_obey(order);
	return 0;
}
