/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_FILTER_H
#define PROTO_FILTER_H

#include <seccomp.h>
#include <stddef.h>

/*
 * A role's system calls as data. Anything not in the tables kills the process
 * (SECCOMP_RET_KILL_PROCESS, which the kernel also logs). Two rules for one call are OR: an
 * unconditional one voids a filtered one, so filter_install() refuses such a table.
 */

#define FILTER_ARGS_MAX 3

struct filter_rule {
	int syscall; /* SCMP_SYS(name) */
	unsigned argc;
	struct scmp_arg_cmp args[FILTER_ARGS_MAX];
};

struct filter_group {
	const char *why; /* one line for the reader */
	const struct filter_rule *rules;
	size_t count;
};

#define FILTER_ALLOW(name)         \
	{                          \
		SCMP_SYS(name), 0, \
		{                  \
			{          \
				0  \
			}          \
		}                  \
	}
#define FILTER_EQ(arg, value)                                \
	{                                                    \
		(arg), SCMP_CMP_EQ, (scmp_datum_t)(value), 0 \
	}
#define FILTER_MASK(arg, mask, value)                      \
	{                                                  \
		(arg), SCMP_CMP_MASKED_EQ, (mask), (value) \
	}
#define FILTER_GROUP(text, table)                                   \
	{                                                           \
		(text), (table), sizeof(table) / sizeof((table)[0]) \
	}

/* What every role needs: memory without PROT_EXEC, time, exit, writing the log line. */
extern const struct filter_group filter_common;

/* Builds the context without loading it (for tests that simulate it). NULL on failure. The caller
 * releases it with seccomp_release(). */
scmp_filter_ctx filter_build(const struct filter_group *groups, size_t count);

/* Loads filter_common and groups for this process, for good. fatal() on failure. */
void filter_install(const struct filter_group *groups, size_t count);

#endif
