/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_RECORD_H
#define CTL_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "when.h"

/*
 * One audit record as read from a log. Members may be missing or of another type than they should:
 * whoever wrote the line, eghostctl only shows it.
 */
struct record {
	json_t *root;
	const char *text; /* the line, without its newline */
	size_t len;
	const char *action; /* "" when there is none */
	when_ns when;	    /* 0 when it does not say */
	uint64_t run;	    /* which run of the service made it, from 1 in the order of the log */
};

/* False when the line is no JSON object. The record holds until record_free(); text stays the
 * caller's. */
bool record_parse(struct record *r, const char *text, size_t len);
void record_free(struct record *r);

bool record_is(const struct record *r, const char *action);

/* NULL when the member is not there or no string. */
const char *record_text(const struct record *r, const char *name);
/* False when the member is not there or no number. */
bool record_number(const struct record *r, const char *name, uint64_t *value);
/*
 * What joins a decision and its results within a run: a ghost's number, or a batch's (told apart
 * from ghosts' by the highest bit). 0 when the record is about neither.
 */
#define RECORD_BATCH_BIT (1ull << 63)
uint64_t record_subject(const struct record *r);

/* True when the record speaks of this ghost: alone, or among others in a batch. */
bool record_about(const struct record *r, uint64_t ghost);

/* Of a batch the ghost whose socket has this cookie; 0 when there is none. */
uint64_t record_ghost_of_cookie(const struct record *r, const char *cookie);

/* What a batch's result record says of one of its ghosts that no earlier one has named: those that
 * are not named were destroyed, once all have a result. NULL: nothing yet. The text need not be
 * ours. */
const char *record_result_of(const struct record *r, uint64_t ghost);

/* True when the record's socket, or one of its batch, has this cookie, as records spell it. */
bool record_has_cookie(const struct record *r, const char *cookie);

/* How many ghosts a decision is about. */
uint64_t record_ghosts(const struct record *r);

/* How many ghosts have this result, by this record. */
uint64_t record_results(const struct record *r, const char *result);

/* 0 when the member is not there. */
uint64_t record_count(const struct record *r, const char *name);

#endif
