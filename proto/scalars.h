/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_SCALARS_H
#define PROTO_SCALARS_H

#include <stdint.h>

/*
 * Numbers that are all "just 64 bits" and must never be taken for one another each get a type of
 * their own; the compiler then refuses the mix-up. On the wire they travel as plain uint64_t.
 */

/* Nanoseconds of CLOCK_MONOTONIC (what bpf_ktime_get_ns() returns). Ages and latencies. */
typedef struct {
	uint64_t ns;
} mono_ns;

/* Nanoseconds of CLOCK_REALTIME since 1970. Only for the time stamp of an audit record. */
typedef struct {
	uint64_t ns;
} wall_ns;

/* A process for ever: pids are reused, (tgid, start) is not. start is task_struct.start_boottime,
 * nanoseconds of CLOCK_BOOTTIME at the creation of the thread group's leader. */
struct proc_id {
	uint64_t start_boottime;
	uint32_t tgid;
};

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

#endif
