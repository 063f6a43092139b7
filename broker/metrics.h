/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_METRICS_H
#define BROKER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "ghosts.h"
#include "histogram.h"
#include "json.h"
#include "proto/wire.h"

/*
 * What the service counts and how it is, for `eghostctl metrics` and `eghostctl status`. Pure:
 * values in, text out. One table (metrics.c) has the name, kind, labels and explanation of each,
 * and its place in `status`.
 */

enum { METRICS_RESULTS = WIRE_RESULT_FAILED + 1, METRICS_FOUND = WIRE_FOUND_FAILED + 1 };

/* Everything is a number, so that the table can point at it: what is so is 1, what is not 0. */
struct metrics {
	const char *version, *build_id, *kernel;
	uint64_t start_time_ns, ready;
	uint64_t up_tracker, up_broker, up_reaper;
	uint64_t enforce, observe;
	uint64_t orphan_events, exit_events, heartbeats, repeated;
	uint64_t lost_orphans, lost_exits, lost_stamps;
	uint64_t tracked, tracked_max, processes;
	uint64_t ghosts, adopted;
	uint64_t undecided, waiting, sampling, batched, decided, requested, held_back, left_alone;
	uint64_t ordered, reported, ignored;
	uint64_t results[METRICS_RESULTS], observed;
	uint64_t turned_away, not_ours, nothing_outstanding, ever_held_back;
	uint64_t expired, evicted;
	uint64_t looks[METRICS_FOUND];
	struct histogram latency, look_to_act;
	uint64_t rounds, rounds_failed;
	uint64_t breaker_open, breaker_opened;
	uint64_t batches, ever_batched;
	uint64_t destroy_limit;
	uint64_t records, records_lost, record_sequence, seal_epoch, log_writable, log_failures,
		log_pending;
	uint64_t linux_audit_sent, linux_audit_lost, journald_sent, journald_lost;
	uint64_t rules, config_good, config_time_ns;
	uint64_t test_events, test_destroy, test_ends;
	uint64_t answered, unknown, denied, crowded, cut_off;
	uint64_t lines_held_back;
};

/* The most that metrics_print() writes, whatever the values. */
#define METRICS_TEXT_MAX (32u << 10)

/* OpenMetrics text. Returns its length, 0 when size is too small. */
size_t metrics_print(const struct metrics *m, char *out, size_t size);

/* The members of one object of `status` ("pending", "since_start", "lost"), as the table has
 * them. */
void metrics_members_put(struct json *j, const struct metrics *m, const char *object);

#endif
