/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_ENGINE_H
#define BROKER_ENGINE_H

#include "auditlog.h"
#include "batch.h"
#include "breaker.h"
#include "budget.h"
#include "ghosts.h"
#include "histogram.h"
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
 *	batch.c		records that speak of many ghosts, of whoever is over a budget (budget.c)
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
	mono_ns asked;		 /* when the one that runs was */
	unsigned failures;	 /* rounds in a row that were not complete */
	bool wanted;		 /* one is due at `due` */
	const char *reason;	 /* of the one that runs */
	const char *next_reason; /* of the one that is wanted */
	mono_ns due;
	mono_ns ended;	   /* when the last one did */
	uint64_t pause_ns; /* at least so long after that until the next */
	uint64_t found, adopted;
};

/* For whoever looks on: nothing is decided by these. They only grow. */
struct engine_stats {
	uint64_t orphan_events;
	uint64_t ordered; /* decisions to destroy that are recorded */
	uint64_t results[WIRE_RESULT_FAILED + 1];
	uint64_t turned_away; /* by the reaper's rate limit, each time */
	uint64_t not_ours, nothing_outstanding;
	uint64_t looks[WIRE_FOUND_FAILED + 1];
	struct histogram latency, look_to_act; /* of what was destroyed */
	uint64_t rounds_failed;
	uint64_t breaker_opened;
};

struct engine {
	struct policy *policy;
	struct auditlog *log;
	struct channel *reaper;
	struct ghosts ghosts;
	struct breaker breaker;
	struct budget budget;
	struct batches batches;
	struct bucket requests; /* what the reaper's rate limit has left for us */
	struct adoption adoption;
	struct record_counts counts;
	struct engine_stats stats;
	bool lost_news; /* counts.lost_* have moved since the last `lost` record */
	mono_ns lost_recorded;
	uint64_t repeated; /* orphans reported while their cookie was in hand */
	uint64_t exits;	   /* EXIT records taken note of */
	uint32_t netns;	   /* the reaper's: ghosts elsewhere are never requested */
	uint64_t ceiling;  /* the reaper's: destroys per second, whatever the policy says */
	enum engine_hold hold;
	bool blocked; /* the reaper's channel was full at the end of the last turn */
};

void engine_init(struct engine *e, struct policy *policy, struct auditlog *log,
	struct channel *reaper, const char *boot_id);

/* The service is ready: ghosts older than it are looked for. */
void engine_start(struct engine *e, mono_ns now);

/* Each takes one checked message's records. */
void engine_orphans(struct engine *e, const struct wire_orphan *orphans, size_t count, mono_ns now);
/* Losses are recorded once a second at most, and at the end; a reconcile follows. Fatal when the
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

/* True when the reaper owes the answer to a request, a sample or a reconcile for longer than
 * ANSWER_PATIENCE_NS: then it is not what it should be, however lively it is otherwise. */
bool engine_overdue(const struct engine *e, mono_ns now);

/* All that can be in hand takes the reaper some seconds; a retry of its own, one. */
#define ANSWER_PATIENCE_NS (60 * NS_PER_S)

/* Sockets destroyed per second at most: the lower of the policy's limit and the reaper's own. */
uint64_t engine_destroy_limit(const struct engine *e);

/* Decides what is fresh or due, writes the log, sends what is decided and written. True when
 * requests are left that the reaper's channel had no room for. */
bool engine_turn(struct engine *e, mono_ns now);

/* When something is due: nanoseconds from now, or false when nothing is. */
bool engine_next_due(const struct engine *e, mono_ns now, uint64_t *in_ns);

/* The policy or the mode has been replaced: ghosts not yet requested are decided anew, also those
 * that were left alone. */
void engine_policy_changed(struct engine *e);

/* The service is told to stop: from now on no record waits for more ghosts. */
void engine_drain(struct engine *e);

/* True when no ghost is fresh, batched, decided or sent: an ordered stop may end. */
bool engine_idle(const struct engine *e);

/* The end: fills in the counts, and records what batches have no result for, and losses that have
 * not been. */
void engine_end(struct engine *e, mono_ns now);

#endif
