/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_BREAKER_H
#define BROKER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "keyed.h"
#include "proto/scalars.h"
#include "proto/wire.h"
#include "quantity.h"

/*
 * Makes a wrong policy survivable: a unit whose ghosts would be destroyed faster than unit_limit is
 * left alone for breaker_hold. Token buckets, one a unit; time is a parameter.
 */

#define BREAKER_KEY_LEN	  (WIRE_UNIT_LEN + 24)
#define BREAKER_UNITS_MAX 1024u
_Static_assert(BREAKER_KEY_LEN % 8 == 0, "keys are hashed by whole words");

struct ghost;
TAILQ_HEAD(ghost_group, ghost);

struct breaker_unit {
	char key[BREAKER_KEY_LEN]; /* zero behind the text: it is hashed as bytes */
	double tokens;
	mono_ns filled;			 /* when tokens was right */
	mono_ns open_until;		 /* 0: closed */
	struct ghost_group held;	 /* of the engine: what is left alone while it is open */
	TAILQ_ENTRY(breaker_unit) queue; /* closed: least recently used first; open: due first */
	UT_hash_handle hh;
};
TAILQ_HEAD(breaker_units, breaker_unit);

struct breaker {
	struct breaker_unit *by_key;
	struct breaker_units units, opened;
	unsigned count, open;
};

enum breaker_answer {
	BREAKER_PASS,
	BREAKER_TRIPPED, /* this one was too many: the unit has just opened */
	BREAKER_OPEN,
};

void breaker_init(struct breaker *b);

/* What stands for a ghost's unit: its name, "cgroup:ID" where it has none, "unknown" without an
 * owner. */
void breaker_key(const struct wire_owner *owner, char key[BREAKER_KEY_LEN]);

/* Asks for one destroy of the unit. Units above BREAKER_UNITS_MAX push out the one not heard of for
 * longest, never an open one; when all are open they end the hold that would end first, so that
 * names without number, which a hostile tracker can make up, take no memory without bound: close
 * what breaker_over() tells, every turn. Fatal when out of memory. *unit is the unit when it is
 * open, else undefined. */
enum breaker_answer breaker_take(struct breaker *b, const char *key, const struct rate *limit,
	uint64_t hold_ns, mono_ns now, struct breaker_unit **unit);

/* A unit whose hold is over, NULL when there is none. */
struct breaker_unit *breaker_over(const struct breaker *b, mono_ns now);

/* Closes an open unit: it is forgotten, and nothing may be in its group any more. */
void breaker_close(struct breaker *b, struct breaker_unit *unit);

/* When the next hold ends. False when none runs. */
bool breaker_next(const struct breaker *b, mono_ns *when);

#endif
