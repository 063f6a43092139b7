/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <stdbool.h>

#include "tests/variants/watch.h"

/*
 * Every system call that a role makes behind its filter, held against the role's rules. The
 * tracepoint comes after the filter (syscall_trace_enter(), 5.8 ... 6.18): what is killed is not
 * seen.
 */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#if defined(__TARGET_ARCH_arm64)
struct pt_regs {
	unsigned long long regs[31];
	unsigned long long orig_x0;
};
#else
struct pt_regs {
	unsigned long di, si, dx, r10, r8, r9;
};
#endif
struct seccomp {
	int mode;
};
struct task_struct {
	struct seccomp seccomp;
	struct task_struct *real_parent;
	int tgid;
	char comm[16];
};
#pragma clang attribute pop

#define ANCESTORS_MAX 8

const volatile struct watch_rule rules[WATCH_RULES_MAX];
const volatile unsigned int rule_count;
const volatile int root_tgid; /* whose descendants are watched */
unsigned long long used[WATCH_RULES_MAX];

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline unsigned int
role_of(const char *comm)
{
	if (comm[0] != 'e' || comm[1] != 'g' || comm[2] != 'h' || comm[3] != 'o' ||
		comm[4] != 's' || comm[5] != 't' || comm[6] != '-')
		return WATCH_ROLES;
	switch (comm[7]) {
	case 't':
		return WATCH_TRACKER;
	case 'r':
		return WATCH_REAPER;
	case 'b':
		return WATCH_BROKER;
	case 'c':
		return WATCH_CHECK;
	case 's':
		return WATCH_SINK;
	default:
		return WATCH_ROLES;
	}
}

static __always_inline bool
is_ours(struct task_struct *task)
{
	for (int i = 0; i < ANCESTORS_MAX && task; i++) {
		if (task->tgid == root_tgid)
			return true;
		task = task->real_parent;
	}
	return false;
}

static __always_inline void
arguments_read(struct pt_regs *regs, unsigned long long args[WATCH_ARGS_MAX])
{
#if defined(__TARGET_ARCH_arm64)
	args[0] = regs->orig_x0;
	args[1] = regs->regs[1];
	args[2] = regs->regs[2];
	args[3] = regs->regs[3];
	args[4] = regs->regs[4];
	args[5] = regs->regs[5];
#else
	args[0] = regs->di;
	args[1] = regs->si;
	args[2] = regs->dx;
	args[3] = regs->r10;
	args[4] = regs->r8;
	args[5] = regs->r9;
#endif
}

static __always_inline bool
argument_fits(const volatile struct watch_argument *a, const unsigned long long args[])
{
	unsigned long long value = 0;

	/* A variable index into the stack would cost the verifier its view of it. */
	for (unsigned int i = 0; i < WATCH_ARGS_MAX; i++) {
		if (i == a->at)
			value = args[i];
	}
	return (value & a->mask) == a->wanted;
}

static __noinline int
rule_fits(unsigned int i, unsigned long long args[WATCH_ARGS_MAX])
{
	if (i >= WATCH_RULES_MAX)
		return 0;
	for (unsigned int n = 0; n < WATCH_ARGS_MAX; n++) {
		if (n < rules[i].argc && !argument_fits(&rules[i].args[n], args))
			return 0;
	}
	return 1;
}

struct call {
	unsigned long long args[WATCH_ARGS_MAX];
	unsigned int role;
	int syscall;
};

static int
rule_try(unsigned int i, struct call *call)
{
	if (i >= WATCH_RULES_MAX || i >= rule_count)
		return 1;
	if (rules[i].role == call->role && rules[i].syscall == call->syscall &&
		rule_fits(i, call->args))
		__sync_fetch_and_add(&used[i], 1);
	return 0;
}

SEC("tp_btf/sys_enter")
int
BPF_PROG(on_sys_enter, struct pt_regs *regs, long id)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
	struct call call = { .syscall = (int)id, .role = role_of(task->comm) };

	if (call.role == WATCH_ROLES || task->seccomp.mode != 2 || !is_ours(task))
		return 0;
	arguments_read(regs, call.args);
	bpf_loop(WATCH_RULES_MAX, rule_try, &call, 0);
	return 0;
}
