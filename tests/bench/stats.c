/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long BPF programs run, by the kernel's own statistics (BPF_ENABLE_STATS), which are on for as
 * long as this runs.
 *
 *	stats ID...
 *
 * Each line of standard input is answered by one of JSON: of each program, and of two beside them
 * that do nothing, name, calls and nanoseconds so far, and sizes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "proto/log.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "stats.skel.h"
#pragma GCC diagnostic pop

#define PROGRAMS_MAX 16

static void
program_print(int fd, const char *comma)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		fatal("cannot examine a BPF program: %s", strerror(errno));
	printf("%s{\"name\":\"%s\",\"calls\":%llu,\"ns\":%llu,\"xlated\":%u,\"jited\":%u}", comma,
		info.name, (unsigned long long)info.run_cnt, (unsigned long long)info.run_time_ns,
		info.xlated_prog_len, info.jited_prog_len);
}

int
main(int argc, char **argv)
{
	struct stats_bpf *skel = stats_bpf__open_and_load();
	int fds[PROGRAMS_MAX], count = 0;
	char line[32];

	log_open("stats", false);
	log_plain();
	if (skel == NULL || stats_bpf__attach(skel) < 0 || bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		fatal("cannot have the kernel count: %s", strerror(errno));
	fds[count++] = bpf_program__fd(skel->progs.no_state);
	fds[count++] = bpf_program__fd(skel->progs.no_exit);
	for (int i = 1; i < argc && count < PROGRAMS_MAX; i++) {
		fds[count] = bpf_prog_get_fd_by_id((uint32_t)strtoul(argv[i], NULL, 10));
		if (fds[count++] < 0)
			fatal("no BPF program %s: %s", argv[i], strerror(errno));
	}
	while (fgets(line, sizeof(line), stdin) != NULL) {
		printf("[");
		for (int i = 0; i < count; i++)
			program_print(fds[i], i == 0 ? "" : ",");
		printf("]\n");
		fflush(stdout);
	}
	return 0;
}
