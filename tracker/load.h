/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_LOAD_H
#define TRACKER_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kept.h"

struct event_drops;

/* The BPF side, running. What is needed of it afterwards needs no bpf() call: the ring buffer's
 * descriptor to map and to poll, and mapped counters. */
struct tracker_bpf_side {
	uint32_t features; /* enum wire_tracker_features */
	int ring_fd;
	const struct event_drops *drops; /* EVENT_DROP_SLOTS of them, written by the kernel */
	struct event_drops *told; /* how much of it was reported, by whatever run; the sums only */
	uint32_t netns;
	struct kept kept; /* all of it, to be handed over */
};

/* Loads what this kernel can run - everything from 5.13 on, below that only the exit program - and
 * attaches it, until the process ends. ring_bytes: a power of two and a multiple of the page size.
 * Needs CAP_BPF and CAP_PERFMON; before 5.11 also room under RLIMIT_MEMLOCK. fatal() on failure. */
void load_programs(uint32_t ring_bytes, struct tracker_bpf_side *side);

/* Goes on with what another run has loaded (kept_take()). False, having said why, when that cannot
 * be gone on with. Needs no capability. */
bool load_kept(uint32_t ring_bytes, struct tracker_bpf_side *side);

#endif
