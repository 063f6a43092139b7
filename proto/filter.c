/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

#ifdef EGB_INTRUDER
#include "tests/variants/intruder.h"
#endif
#ifdef EGB_FILTER_STRICT
#include "tests/variants/strict.h"
#define ACTION_OTHERWISE SCMP_ACT_TRAP
#else
#define ACTION_OTHERWISE SCMP_ACT_KILL_PROCESS
#endif

static const struct filter_rule common_rules[] = {
	/* Clocks are read without a system call where the vDSO can; elsewhere (hpet, Xen) it makes
	   one. Negative ids would be other processes' CPU time. */
	{ SCMP_SYS(clock_gettime), 1, { FILTER_MASK(0, ~15ull, 0) } },
	{ SCMP_SYS(gettimeofday), 1, { FILTER_EQ(1, 0) } },
	FILTER_ALLOW(exit_group),
	{ SCMP_SYS(write), 1, { FILTER_EQ(0, STDERR_FILENO) } },
	/* Is there room on standard error? */
	{ SCMP_SYS(ppoll), 2, { FILTER_EQ(1, 1), FILTER_EQ(3, 0) } },
#ifdef EGB_SANITIZE
	/* The sanitizers' run-time has its own memory, and asks who and where it is before it
	   reports. */
	{ SCMP_SYS(mmap), 2,
		{ FILTER_MASK(2, PROT_EXEC, 0), FILTER_MASK(3, MAP_ANONYMOUS, MAP_ANONYMOUS) } },
	{ SCMP_SYS(mprotect), 1, { FILTER_MASK(2, PROT_EXEC, 0) } },
	FILTER_ALLOW(munmap),
	FILTER_ALLOW(brk),
	FILTER_ALLOW(madvise),
	FILTER_ALLOW(futex),
	FILTER_ALLOW(getpid),
	FILTER_ALLOW(gettid),
	FILTER_ALLOW(sched_yield),
	FILTER_ALLOW(sigaltstack),
	FILTER_ALLOW(rt_sigaction),
	FILTER_ALLOW(rt_sigprocmask),
	FILTER_ALLOW(readlink),
	FILTER_ALLOW(getrlimit),
	FILTER_ALLOW(prlimit64),
#endif
};

const struct filter_group filter_common =
	FILTER_GROUP("time, exit, one line on standard error", common_rules);

const struct filter_rule filter_memory_rules[FILTER_MEMORY_RULES] = {
	{ SCMP_SYS(mmap), 2,
		{ FILTER_EQ(2, PROT_READ | PROT_WRITE),
			FILTER_EQ(3, MAP_PRIVATE | MAP_ANONYMOUS) } },
	FILTER_ALLOW(munmap),
	{ SCMP_SYS(mremap), 1, { FILTER_EQ(3, MREMAP_MAYMOVE) } },
	FILTER_ALLOW(brk),
};

static const struct filter_rule *
rule_next(const struct filter_group *groups, size_t count, size_t *g, size_t *r)
{
	for (; *g < count; (*g)++, *r = 0) {
		if (*r < groups[*g].count)
			return &groups[*g].rules[(*r)++];
	}
	return NULL;
}

/* True when `syscall` has a rule with arguments and one without: the second would void the first.
 */
static int
rule_voided(const struct filter_group *groups, size_t count, int syscall)
{
	const struct filter_rule *rule;
	size_t g = 0, r = 0;
	int bare = 0, filtered = 0;

	while ((rule = rule_next(groups, count, &g, &r)) != NULL) {
		if (rule->syscall != syscall)
			continue;
		bare |= rule->argc == 0;
		filtered |= rule->argc != 0;
	}
	return bare && filtered;
}

static int
rules_add(scmp_filter_ctx ctx, const struct filter_group *groups, size_t count)
{
	const struct filter_rule *rule;
	size_t g = 0, r = 0;

	while ((rule = rule_next(groups, count, &g, &r)) != NULL) {
		int rc;

		if (rule->syscall == __NR_SCMP_ERROR || rule_voided(groups, count, rule->syscall))
			return -1;
		rc = seccomp_rule_add_array(
			ctx, SCMP_ACT_ALLOW, rule->syscall, rule->argc, rule->args);
		/* A call this architecture lacks cannot be made either. */
		if (rc < 0 && rc != -EDOM && rc != -EEXIST)
			return -1;
	}
	return 0;
}

#define GROUPS_MAX 8

scmp_filter_ctx
filter_build(const struct filter_group *groups, size_t count)
{
	struct filter_group all[GROUPS_MAX];
	scmp_filter_ctx ctx;

	if (count + 1 > GROUPS_MAX)
		return NULL;
	all[0] = filter_common;
	memcpy(all + 1, groups, count * sizeof(*groups));
	ctx = seccomp_init(ACTION_OTHERWISE);
	if (ctx == NULL)
		return NULL;
	if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) < 0 ||
		seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1) < 0 ||
		rules_add(ctx, all, count + 1) < 0) {
		seccomp_release(ctx);
		return NULL;
	}
	return ctx;
}

void
filter_install(const struct filter_group *groups, size_t count)
{
	scmp_filter_ctx ctx = filter_build(groups, count);

	if (ctx == NULL)
		fatal("the system call filter cannot be built");
#ifdef EGB_FILTER_STRICT
	strict_prepare();
#endif
	if (seccomp_load(ctx) < 0)
		fatal("the kernel did not take the system call filter");
		/* ctx stays: free() might give memory back to the kernel, and not every role may.
		 */
#ifdef EGB_INTRUDER
	intruder_act();
#endif
}
