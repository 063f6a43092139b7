/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WATCH_H
#define TESTS_WATCH_H

/* What watch.c tells watch.bpf.c: the rules of all roles, flat. Shared with BPF: no headers. */

#define WATCH_RULES_MAX 160
#define WATCH_ARGS_MAX	6

enum watch_role { WATCH_TRACKER, WATCH_REAPER, WATCH_BROKER, WATCH_CHECK, WATCH_SINK, WATCH_ROLES };

/* value & mask == wanted is all the comparison that the tables use. */
struct watch_argument {
	unsigned int at;
	unsigned int pad;
	unsigned long long mask, wanted;
};

struct watch_rule {
	int syscall;
	unsigned int role;
	unsigned int argc;
	unsigned int pad;
	struct watch_argument args[WATCH_ARGS_MAX];
};

#endif
