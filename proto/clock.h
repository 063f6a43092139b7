/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_CLOCK_H
#define PROTO_CLOCK_H

#include <time.h>

#include "proto/scalars.h"

/* Now, on CLOCK_MONOTONIC: the clock of the tracker's time stamps, and one nobody can set. */
static inline mono_ns
clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (mono_ns){ (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec };
}

/* The time of day, which may be set. */
static inline wall_ns
clock_wall(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (wall_ns){ (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec };
}

#endif
