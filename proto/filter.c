/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

#define ARG_NO_PROT_EXEC(n)   FILTER_MASK(n, PROT_EXEC, 0)
#define ARG_ANONYMOUS_ONLY(n) FILTER_MASK(n, MAP_ANONYMOUS, MAP_ANONYMOUS)

static const struct filter_rule common_rules[] = {
	{ SCMP_SYS(mmap), 2, { ARG_NO_PROT_EXEC(2), ARG_ANONYMOUS_ONLY(3) } },
	FILTER_ALLOW(mremap),
	FILTER_ALLOW(munmap),
	{ SCMP_SYS(mprotect), 1, { ARG_NO_PROT_EXEC(2) } },
	FILTER_ALLOW(madvise),
	FILTER_ALLOW(brk),
	FILTER_ALLOW(futex),
	/* Clocks are read without a system call where the vDSO can; elsewhere (hpet, Xen) it makes
	   one. */
	FILTER_ALLOW(clock_gettime),
	FILTER_ALLOW(gettimeofday),
	FILTER_ALLOW(rt_sigreturn),
	FILTER_ALLOW(restart_syscall),
	FILTER_ALLOW(exit),
	FILTER_ALLOW(exit_group),
	FILTER_ALLOW(close),
	{ SCMP_SYS(write), 1, { FILTER_EQ(0, STDERR_FILENO) } },
	{ SCMP_SYS(ppoll), 1, { FILTER_EQ(1, 1) } }, /* is there room on standard error? */
#ifdef EGB_SANITIZE
	/* The sanitizers' run-time asks who and where it is before it reports. */
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

const struct filter_group filter_common = FILTER_GROUP(
	"memory without PROT_EXEC, time, exit, one line on standard error", common_rules);

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
	ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
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
	if (seccomp_load(ctx) < 0)
		fatal("the kernel did not take the system call filter");
	seccomp_release(ctx);
}
