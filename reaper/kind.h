/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_KIND_H
#define REAPER_KIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/scalars.h"
#include "proto/wire.h"

/*
 * A kind of resource is one file that fills in one struct kind. A reaper process serves one kind,
 * with that kind's capabilities and filter. The rest of reaper/ (queue, retries, rate, results) is
 * common.
 */

enum verdict {
	VERDICT_LOOK,	     /* nothing against it so far: take the second look */
	VERDICT_ACT,	     /* a ghost, seen just now: release it */
	VERDICT_RETRY,	     /* may be in the middle of becoming one: look again soon */
	VERDICT_BUSY,	     /* the kernel had no room for question or answer: ask again soon */
	VERDICT_LIVE,	     /* somebody can reach it: never */
	VERDICT_GONE,	     /* found once, and nothing to release any more */
	VERDICT_MOVED,	     /* a ghost still, but not where the broker wants it released */
	VERDICT_RELEASED,    /* the kernel acknowledged */
	VERDICT_RATE,	     /* over this reaper's own limit */
	VERDICT_OTHER_NETNS, /* not ours to look at */
	VERDICT_UNSUPPORTED, /* this kernel failed the self-test */
	VERDICT_STALE,	     /* found, but not what the broker described */
	VERDICT_BLIND,	     /* this kernel does not tell what a proof needs */
	VERDICT_INVALID,     /* a request that must not be sent */
	VERDICT_FAILED,	     /* the kernel said so: ticket.result.error */
};

/* What this process may do. Fixed before the first request. */
struct kind_scope {
	uint32_t netns;	  /* inode number of its own network namespace */
	bool time_wait;	  /* argv allows TIME-WAIT */
	uint8_t selftest; /* enum wire_selftest; unless PASSED all requests are unsupported */
};

/* A request on its way. */
struct ticket {
	struct wire_destroy request; /* the broker's word */
	struct wire_result_record result;
	enum verdict verdict;
	bool found; /* a look of this ticket has found the resource */
	bool acted; /* the kernel was told to release it, and its answer was lost */
	mono_ns due;
	uint64_t order; /* among those due at the same time */
	mono_ns first_look;
	mono_ns asked;	/* just before the last look was asked for */
	mono_ns looked; /* when the last look's answer was read */
};

struct netlink;

/* Where found resources go, 1 ... WIRE_BATCH_MAX at a time. */
struct sink {
	void (*take)(void *arg, const struct wire_found_record *records, size_t count);
	void *arg;
};

struct kind {
	const char *name;

	/* Pure. VERDICT_LOOK, or the reason why the request is not even looked at. */
	enum verdict (*validate)(
		const struct kind_scope *scope, const struct wire_destroy *request);

	/* Looks at count (1 ... WIRE_BATCH_MAX) resources at once. Sets verdict, found, looked and
	 * the result's evidence of each. */
	void (*still_ghost)(struct netlink *nl, const struct kind_scope *scope,
		struct ticket *const *tickets, size_t count);

	/* Releases count resources, of which the last still_ghost() said VERDICT_ACT. Sets verdict,
	 * the times and the error of each. */
	void (*release)(struct netlink *nl, struct ticket *const *tickets, size_t count);

	/* A look without an act at count (1 ... WIRE_BATCH_MAX) resources, whatever the self-test
	 * said. Fills in an answer for each. */
	void (*sample)(struct netlink *nl, const struct kind_scope *scope,
		const struct wire_sample *samples, struct wire_sampled *answers, size_t count);

	/* Gives sink every ghost there is, on a socket for dumps. Fills in the number, the error
	 * and whether that was all. */
	void (*reconcile)(struct netlink *dumps, const struct kind_scope *scope,
		const struct sink *sink, struct wire_found_end *end);
};

extern const struct kind kind_tcp;

#endif
