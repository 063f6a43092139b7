/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the system calls of processes, by their names.
 *
 *	calls PID...
 *
 * Each line of standard input is answered by one of JSON, an object for each process: what it has
 * called since the line before.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "calls.h"
#include "proto/log.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "calls.skel.h"
#pragma GCC diagnostic pop

static void
process_print(__u64 counts[CALLS_NUMBERS_MAX])
{
	const char *comma = "";

	printf("{");
	for (int nr = 0; nr < CALLS_NUMBERS_MAX; nr++) {
		__u64 count = __atomic_exchange_n(&counts[nr], 0, __ATOMIC_RELAXED);
		char *name;

		if (count == 0)
			continue;
		name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);
		printf("%s\"%s\":%llu", comma, name != NULL ? name : "?",
			(unsigned long long)count);
		comma = ",";
		free(name);
	}
	printf("}");
}

int
main(int argc, char **argv)
{
	struct calls_bpf *skel = calls_bpf__open();
	char line[32];

	log_open("calls", false);
	log_plain();
	if (argc < 2 || argc - 1 > CALLS_PROCESSES_MAX || skel == NULL)
		fatal("usage: calls PID..., at most %d", CALLS_PROCESSES_MAX);
	for (int i = 1; i < argc; i++)
		((volatile int *)skel->rodata->tgids)[i - 1] = (int)strtol(argv[i], NULL, 10);
	if (calls_bpf__load(skel) < 0 || calls_bpf__attach(skel) < 0)
		fatal("cannot count system calls: %s", strerror(errno));
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		printf("[");
		for (int i = 1; i < argc; i++) {
			printf(i == 1 ? "" : ",");
			process_print(skel->bss->counts[i - 1]);
		}
		printf("]\n");
		fflush(stdout);
	}
	return 0;
}
