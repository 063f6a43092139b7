/* SPDX-License-Identifier: Apache-2.0 */
/* Prints "ROLE CALL" for every system call that a role's filter allows. */
#include <stdio.h>
#include <stdlib.h>

#include "broker/filter.h"
#include "proto/filter.h"
#include "reaper/filter.h"
#include "sink/filter.h"
#include "tracker/filter.h"

static void
print_group(const char *role, const struct filter_group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		char *name =
			seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, group->rules[i].syscall);

		if (name != NULL)
			printf("%s %s\n", role, name);
		free(name);
	}
}

static void
print_role(const char *role, const struct filter_group *groups, size_t count)
{
	print_group(role, &filter_common);
	for (size_t i = 0; i < count; i++)
		print_group(role, &groups[i]);
}

int
main(void)
{
	print_role("tracker", tracker_filter, tracker_filter_count);
	print_role("reaper", reaper_filter, REAPER_FILTER_GROUPS);
	print_role("broker", broker_filter, BROKER_FILTER_GROUPS);
	print_role("sink", sink_filter, SINK_FILTER_GROUPS);
	print_role("config", check_filter, CHECK_FILTER_GROUPS);
	return 0;
}
