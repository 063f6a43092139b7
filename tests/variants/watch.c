/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch COMMAND...: runs COMMAND and reports which rules of the roles' system call filters its
 * descendants have used. A rule that nothing uses is a gift to whoever captures the role: it needs
 * a reason, in `unused`, or the exit status is 3. COMMAND's own status is not passed on.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/filter.h"
#include "reaper/filter.h"
#include "sink/filter.h"
#include "tests/variants/watch.h"
#include "tracker/filter.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "watch.skel.h"
#pragma GCC diagnostic pop

#define STATUS_UNUSED 3
#define ANY_ROLE      WATCH_ROLES

static const char *const role_names[WATCH_ROLES] = { "tracker", "reaper", "broker", "check",
	"sink" };

/* Rules that may go unused here, and why they are there. */
static const struct exception {
	int syscall;
	enum watch_role role;
	bool common; /* only the rule that all roles have */
	const char *reason;
} unused[] = {
	{ SCMP_SYS(clock_gettime), ANY_ROLE, true, "where the vDSO cannot read the clock" },
	{ SCMP_SYS(gettimeofday), ANY_ROLE, true, "where the vDSO cannot read the clock" },
	{ SCMP_SYS(write), WATCH_TRACKER, true, "fatal() has to say why" },
	{ SCMP_SYS(ppoll), WATCH_TRACKER, true, "fatal() has to say why" },
	{ SCMP_SYS(write), WATCH_SINK, true, "fatal() has to say why" },
	{ SCMP_SYS(epoll_pwait2), WATCH_BROKER, false, "libevent 2.2" },
	{ SCMP_SYS(munmap), WATCH_BROKER, false, "free() of what malloc() mapped" },
	{ SCMP_SYS(mremap), WATCH_BROKER, false, "realloc() of what malloc() mapped" },
	{ SCMP_SYS(mremap), WATCH_CHECK, false, "realloc() of what malloc() mapped" },
	{ SCMP_SYS(brk), WATCH_CHECK, false, "malloc() of what is too small to map" },
};

static struct origin {
	const char *why;
	const struct filter_rule *rule;
} origins[WATCH_RULES_MAX];

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "watch: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct watch_argument
argument_of(const struct scmp_arg_cmp *arg)
{
	struct watch_argument a = { .at = arg->arg };

	if (arg->op == SCMP_CMP_EQ) {
		a.mask = ~0ull;
		a.wanted = arg->datum_a;
	} else if (arg->op == SCMP_CMP_MASKED_EQ) {
		a.mask = arg->datum_a;
		a.wanted = arg->datum_b;
	} else {
		fprintf(stderr, "watch: a comparison of kind %d\n", arg->op);
		exit(1);
	}
	return a;
}

static void
rules_add(struct watch_bpf *skel, enum watch_role role, const struct filter_group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		const struct filter_rule *rule = &group->rules[i];
		unsigned n = skel->rodata->rule_count++;
		struct watch_rule *to = (struct watch_rule *)&skel->rodata->rules[n];

		if (n >= WATCH_RULES_MAX) {
			fprintf(stderr, "watch: more rules than WATCH_RULES_MAX\n");
			exit(1);
		}
		origins[n] = (struct origin){ group->why, rule };
		to->syscall = rule->syscall;
		to->role = role;
		to->argc = rule->argc;
		for (unsigned a = 0; a < rule->argc; a++)
			to->args[a] = argument_of(&rule->args[a]);
	}
}

static void
tables_add(struct watch_bpf *skel)
{
	const struct {
		const struct filter_group *groups;
		size_t count;
	} tables[WATCH_ROLES] = {
		[WATCH_TRACKER] = { tracker_filter, tracker_filter_count },
		[WATCH_REAPER] = { reaper_filter, REAPER_FILTER_GROUPS },
		[WATCH_BROKER] = { broker_filter, BROKER_FILTER_GROUPS },
		[WATCH_CHECK] = { check_filter, CHECK_FILTER_GROUPS },
		[WATCH_SINK] = { sink_filter, SINK_FILTER_GROUPS },
	};

	for (unsigned role = 0; role < WATCH_ROLES; role++) {
		rules_add(skel, (enum watch_role)role, &filter_common);
		for (size_t i = 0; i < tables[role].count; i++)
			rules_add(skel, (enum watch_role)role, &tables[role].groups[i]);
	}
}

static const char *
excuse(unsigned role, int nr, const char *why)
{
	bool common = why == filter_common.why;

	for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++) {
		if (unused[i].syscall == nr && common == unused[i].common &&
			(unused[i].role == ANY_ROLE || unused[i].role == role))
			return unused[i].reason;
	}
	return NULL;
}

static void
rule_print(const struct watch_rule *rule, const struct origin *origin)
{
	char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, rule->syscall);

	printf("%s, \"%s\": %s", role_names[rule->role], origin->why, name != NULL ? name : "?");
	for (unsigned i = 0; i < rule->argc; i++)
		printf(" [%u] & %#llx == %#llx", rule->args[i].at, rule->args[i].mask,
			rule->args[i].wanted);
	printf("\n");
	free(name);
}

/* Returns how many rules nobody used and nothing excuses. A call this architecture lacks (negative)
 * is no rule. */
static unsigned
report(const struct watch_bpf *skel)
{
	unsigned idle = 0, excused = 0, seen = 0;
	unsigned long long calls = 0;

	for (unsigned i = 0; i < skel->rodata->rule_count; i++) {
		const struct watch_rule *rule = (const struct watch_rule *)&skel->rodata->rules[i];

		calls += skel->bss->used[i];
		if (skel->bss->used[i] != 0 || rule->syscall < 0) {
			seen++;
		} else if (excuse(rule->role, rule->syscall, origins[i].why) != NULL) {
			excused++;
		} else {
			idle++;
			printf("never used: ");
			rule_print(rule, &origins[i]);
		}
	}
	printf("filter rules: %u used, by %llu calls, %u unused with a reason, %u without\n", seen,
		calls, excused, idle);
	return idle;
}

static void
command_run(char **argv)
{
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], argv);
		die(argv[0]);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		die("running the command");
}

int
main(int argc, char **argv)
{
	struct watch_bpf *skel;

	if (argc < 2) {
		fprintf(stderr, "usage: watch COMMAND...\n");
		return 2;
	}
	skel = watch_bpf__open();
	if (skel == NULL)
		die("the BPF object");
	tables_add(skel);
	skel->rodata->root_tgid = getpid();
	if (watch_bpf__load(skel) < 0 || watch_bpf__attach(skel) < 0)
		die("loading the BPF program");
	command_run(argv + 1);
	return report(skel) != 0 ? STATUS_UNUSED : 0;
}
