/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "bpf/kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "tests/bench/calls.h"

/* Counts the system calls of a few processes. */

const volatile int tgids[CALLS_PROCESSES_MAX];
__u64 counts[CALLS_PROCESSES_MAX][CALLS_NUMBERS_MAX];

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sys_enter")
int
BPF_PROG(on_sys_enter, void *regs, long id)
{
	int tgid = bpf_get_current_task_btf()->tgid;

	for (int i = 0; i < CALLS_PROCESSES_MAX; i++) {
		if (tgids[i] == tgid && id >= 0 && id < CALLS_NUMBERS_MAX)
			__sync_fetch_and_add(&counts[i][id], 1);
	}
	return 0;
}
