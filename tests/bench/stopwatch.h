/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_BENCH_STOPWATCH_H
#define TESTS_BENCH_STOPWATCH_H

#include <stddef.h>
#include <stdint.h>

/* Times of ghosts in this network namespace, taken in the kernel (stopwatch.bpf.c). Needs root. */

/* CLOCK_MONOTONIC; gone_ns is 0 while it is still there. */
struct life {
	uint64_t cookie, born_ns, gone_ns;
};

/* Loads and attaches, until the process ends. fatal() on failure. */
void stopwatch_open(void);

/* Forgets what it has. Only while no ghost is there. */
void stopwatch_reset(void);

/* So many were born, so many are gone, since. A peer's end counts as gone when it is closed. */
unsigned stopwatch_born(void);
unsigned stopwatch_gone(void);

/* The ghosts in the order of their birth. Returns how many, at most max. */
size_t stopwatch_read(struct life *lives, size_t max);

#endif
