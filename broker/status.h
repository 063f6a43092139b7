/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_STATUS_H
#define BROKER_STATUS_H

#include "control.h"
#include "engine.h"
#include "metrics.h"
#include "sinks.h"

/* What `eghostctl status` and `eghostctl metrics` are made from. */
struct status {
	const struct engine *engine;
	const struct auditlog *log;
	const struct policy *policy;
	const struct control_counts *control;
	struct sink_look sinks[SINKS];
	const char *config; /* NULL: built-in policy */
	const char *kernel;
	unsigned selftest; /* enum wire_selftest; of no meaning unless reaper_here */
	const char *selftest_name;
	uint32_t tracker_features; /* the same, tracker_here */
	uint64_t uptime_ns, heartbeats, lines_held_back;
	wall_ns started, config_read;
	bool ready, tracker_here, reaper_here, config_bad;
};

/* One JSON object and a newline. Returns its length, 0 when size is too small. */
size_t status_print(const struct status *status, char *out, size_t size);

/* The same values as OpenMetrics text. */
size_t status_metrics_print(const struct status *status, char *out, size_t size);

#endif
