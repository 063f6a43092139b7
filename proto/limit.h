/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_LIMIT_H
#define PROTO_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/scalars.h"

/*
 * What a role does of one thing at most, whatever it is told (I2): the reaper's destroys and dumps,
 * the sink's messages. A token bucket: `rate` tokens per second, room for one second's worth. Pure:
 * time is a parameter.
 *
 * In any time t at most ceiling * (t + 1 s) tokens are given.
 */

#define LIMIT_CEILING_MAX 10000000u /* per second; above it a ceiling is no ceiling */

struct limit {
	uint64_t ceiling; /* from argv, for good */
	uint64_t rate;	  /* min(ceiling, what a peer says) */
	uint64_t credit;  /* in billionths of a token */
	mono_ns settled;  /* credit is right for this time */
};

/* A full bucket. ceiling: per second, cut to LIMIT_CEILING_MAX; 0 lets nothing through. */
void limit_init(struct limit *l, uint64_t ceiling, mono_ns now);

/* The broker's configured limit per second. It can lower the rate below the ceiling and raise it
 * back to it, never above. 0 stops everything. Never adds credit, however often it is called. */
void limit_set(struct limit *l, uint64_t rate, mono_ns now);

/* Takes one token. False when there is none. */
bool limit_take(struct limit *l, mono_ns now);

/* Nanoseconds from `now` until limit_take() will find a token: 0 when there is one, UINT64_MAX when
 * there never will be. */
uint64_t limit_wait(const struct limit *l, mono_ns now);

#endif
