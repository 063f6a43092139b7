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

#define FILTER_ARGS_MAX 6

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
/* An int the C library may have sign-extended: the kernel takes the lower half only. */
#define FILTER_INT(arg, value) FILTER_MASK(arg, 0xffffffff, (uint32_t)(value))
/* send(2) with these flags only, recv(2) likewise: nobody is named, no file descriptor attached. */
#define FILTER_SEND(fd_arg, flags)                                                    \
	{                                                                             \
		SCMP_SYS(sendto), 4,                                                  \
		{                                                                     \
			fd_arg, FILTER_EQ(3, flags), FILTER_EQ(4, 0), FILTER_EQ(5, 0) \
		}                                                                     \
	}
#define FILTER_RECV(fd_arg, flags)                                                    \
	{                                                                             \
		SCMP_SYS(recvfrom), 4,                                                \
		{                                                                     \
			fd_arg, FILTER_EQ(3, flags), FILTER_EQ(4, 0), FILTER_EQ(5, 0) \
		}                                                                     \
	}
#define FILTER_GROUP(text, table)                                   \
	{                                                           \
		(text), (table), sizeof(table) / sizeof((table)[0]) \
	}

/* What every role needs: time, exit, writing the log line. Not in it, though a C library might be
 * thought to need them: rt_sigreturn (no role has a signal handler), restart_syscall (none waits by
 * a call that is restarted through it), futex (one thread), mprotect, madvise. */
extern const struct filter_group filter_common;

/* For roles that allocate memory after their start, as malloc() asks for it and gives it back:
 * never executable, never of a file. */
#define FILTER_MEMORY_RULES 4
extern const struct filter_rule filter_memory_rules[FILTER_MEMORY_RULES];

/* Builds the context without loading it (for tests that simulate it). NULL on failure. The caller
 * releases it with seccomp_release(). */
scmp_filter_ctx filter_build(const struct filter_group *groups, size_t count);

/* Loads filter_common and groups for this process, for good. fatal() on failure. */
void filter_install(const struct filter_group *groups, size_t count);

#endif
