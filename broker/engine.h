/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_ENGINE_H
#define BROKER_ENGINE_H

#include "auditlog.h"
#include "breaker.h"
#include "ghosts.h"
#include "policy.h"
#include "proto/channel.h"

/*
 * From an orphan's birth, or its discovery, to its result: decide, prove, record, request, record.
 * No event loop and no clock in here: the loop says what came in and what time it is, and calls
 * engine_turn() once per turn.
 *
 *	engine.c	what comes in, and the turn
 *	decide.c	what is to be done with a ghost, and the records that say so
 *	requests.c	what is asked of the reaper
 *	results.c	what it answers
 *	adopt.c		comparing the table with the kernel's own
 */

/* Why nothing is requested, whatever the rules say. */
enum engine_hold {
	HOLD_NONE,
	HOLD_OBSERVE, /* asked for, or the kernel cannot be trusted with a request */
};

/* Looks at the whole network namespace, so that no loss of an event is the loss of a ghost (I4). */
struct adoption {
	uint64_t round;		 /* of the last RECONCILE sent, or of the one that runs */
	bool running;		 /* FOUND_END is still to come */
	bool wanted;		 /* one is due at `due` */
	const char *reason;	 /* of the one that runs */
	const char *next_reason; /* of the one that is wanted */
	mono_ns due;
	mono_ns ended; /* when the last one did */
	uint64_t found, adopted;
};

struct engine {
	struct policy *policy;
	struct auditlog *log;
	struct channel *reaper;
	struct ghosts ghosts;
	struct breaker breaker;
	struct adoption adoption;
	struct record_counts counts;
	bool lost_news; /* counts.lost_* have moved since the last `lost` record */
	mono_ns lost_recorded;
	uint64_t repeated; /* orphans reported while their cookie was in hand */
	uint64_t exits;	   /* EXIT records taken note of */
	uint32_t netns;	   /* the reaper's: ghosts elsewhere are never requested */
	enum engine_hold hold;
	bool blocked; /* the reaper's channel was full at the end of the last turn */
};

void engine_init(struct engine *e, struct policy *policy, struct auditlog *log,
	struct channel *reaper, const char *boot_id);

/* The service is ready: ghosts older than it are looked for. */
void engine_start(struct engine *e, mono_ns now);

/* Each takes one checked message's records. */
void engine_orphans(struct engine *e, const struct wire_orphan *orphans, size_t count, mono_ns now);
/* Losses are recorded once a second at most, and at the stop; a reconcile follows. Fatal when the
 * counters went back or nothing was lost: then somebody plays with them. */
void engine_lost(struct engine *e, const struct wire_lost *lost, mono_ns now);
/* Fatal when an answer answers no request or contradicts itself. */
void engine_results(
	struct engine *e, const struct wire_result_record *results, size_t count, mono_ns now);
void engine_samples(
	struct engine *e, const struct wire_sampled *samples, size_t count, mono_ns now);
void engine_found(
	struct engine *e, const struct wire_found_record *found, size_t count, mono_ns now);
void engine_found_end(struct engine *e, const struct wire_found_end *end, mono_ns now);

/* Decides what is fresh or due, writes the log, sends what is decided and written. True when
 * requests are left that the reaper's channel had no room for. */
bool engine_turn(struct engine *e, mono_ns now);

/* When something is due: nanoseconds from now, or false when nothing is. */
bool engine_next_due(const struct engine *e, mono_ns now, uint64_t *in_ns);

/* Records losses that have not been, whatever the time. */
void engine_lost_record(struct engine *e);

/* The policy or the mode has been replaced: ghosts not yet requested are decided anew, also those
 * that were left alone. */
void engine_policy_changed(struct engine *e);

/* True when no ghost is fresh, decided or sent: an ordered stop may end. */
bool engine_idle(const struct engine *e);

/* True when the table is full of what cannot be forgotten: read nothing from the tracker. */
bool engine_full(const struct engine *e);

#endif
