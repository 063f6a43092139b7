/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef TESTS_BENCH_MARKS_H
#define TESTS_BENCH_MARKS_H

#include <linux/types.h>

/* What the stopwatch's programs leave for stopwatch.c to read, in mapped memory. */

#define MARKS_MAX (1u << 17)

struct mark {
	__u64 cookie;
	__u64 mono_ns;
};

#endif
