/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_ENGINE_H
#define BROKER_ENGINE_H

#include "auditlog.h"
#include "ghosts.h"
#include "policy.h"
#include "proto/channel.h"

/*
 * From an orphan's birth to its result: decide, record, request, record. No event loop and no clock
 * in here: the loop says what came in and what time it is, and calls engine_turn() once per turn.
 */

/* Why nothing is requested, whatever the rules say. */
enum engine_hold {
	HOLD_NONE,
	HOLD_OBSERVE, /* asked for, or the kernel cannot be trusted with a request */
};

struct engine {
	struct policy *policy;
	struct auditlog *log;
	struct channel *reaper;
	struct ghosts ghosts;
	struct record_counts counts;
	bool lost_news; /* counts.lost_* have moved since the last `lost` record */
	mono_ns lost_recorded;
	uint64_t repeated; /* orphans reported while their cookie was in hand */
	uint64_t exits;	   /* EXIT records taken note of */
	uint32_t netns;	   /* the reaper's: ghosts elsewhere are never requested */
	enum engine_hold hold;
};

void engine_init(struct engine *e, struct policy *policy, struct auditlog *log,
	struct channel *reaper, const char *boot_id);

/* Each takes one checked message's records. */
void engine_orphans(struct engine *e, const struct wire_orphan *orphans, size_t count, mono_ns now);
/* Losses are recorded once a second at most, and at the stop. Fatal when the counters went back or
 * nothing was lost: then somebody plays with them. */
void engine_lost(struct engine *e, const struct wire_lost *lost);
/* Fatal when a result answers no request or contradicts itself. */
void engine_results(
	struct engine *e, const struct wire_result_record *results, size_t count, mono_ns now);

/* Decides what is fresh or due, writes the log, sends what is decided and written. True when
 * requests are left that the reaper's channel had no room for. */
bool engine_turn(struct engine *e, mono_ns now);

/* When the next grace ends: nanoseconds from now, or false when none runs. */
bool engine_next_due(const struct engine *e, mono_ns now, uint64_t *in_ns);

/* Records losses that have not been, whatever the time. */
void engine_lost_record(struct engine *e);

/* The policy or the mode has been replaced: ghosts not yet requested are decided anew. */
void engine_policy_changed(struct engine *e);

/* True when no ghost is fresh, decided or sent: an ordered stop may end. */
bool engine_idle(const struct engine *e);

/* True when the table is full: read nothing from the tracker. */
bool engine_full(const struct engine *e);

#endif
