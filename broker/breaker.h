/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_BREAKER_H
#define BROKER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proto/scalars.h"
#include "proto/wire.h"
#include "quantity.h"

/*
 * Makes a wrong policy survivable: a unit whose ghosts would be destroyed faster than unit_limit is
 * left alone for breaker_hold. Token buckets, one a unit; time is a parameter.
 */

#define BREAKER_KEY_LEN	  (WIRE_UNIT_LEN + 24)
#define BREAKER_UNITS_MAX 1024u

struct breaker_unit {
	char key[BREAKER_KEY_LEN];
	double tokens;
	mono_ns filled;			 /* when tokens was right */
	mono_ns open_until;		 /* 0: closed */
	TAILQ_ENTRY(breaker_unit) queue; /* least recently used first */
};

struct breaker {
	TAILQ_HEAD(breaker_units, breaker_unit) units;
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
 * longest, never an open one. Fatal when out of memory. */
enum breaker_answer breaker_take(struct breaker *b, const char *key, const struct rate *limit,
	uint64_t hold_ns, mono_ns now);

/* Closes one unit whose hold is over and copies what it was. False when there is none. */
bool breaker_close(struct breaker *b, mono_ns now, struct breaker_unit *closed);

/* When the next hold ends. False when none runs. */
bool breaker_next(const struct breaker *b, mono_ns *when);

#endif
