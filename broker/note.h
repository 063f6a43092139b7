/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_NOTE_H
#define BROKER_NOTE_H

#include <stddef.h>

#include "ghosts.h"
#include "record.h"

/*
 * A note is what sinks other than the audit log are told about one of its records, and what a line
 * for people is made of. Every function that takes the note of a record takes NULL, too: there are
 * no sinks. Pure.
 */

/* An empty note of that action. */
void note_begin(struct wire_note *note, enum wire_action action, uint64_t sequence);

/* reason, rule, verdict: NULL where there is none. */
void note_words(struct wire_note *note, const char *reason, const char *rule, const char *verdict);

/* "success", "failure" or "unknown". */
void note_outcome(struct wire_note *note, const char *outcome);

/* errno, 0: none. */
void note_error(struct wire_note *note, int32_t error);

void note_owner(
	struct wire_note *note, const struct wire_owner *process, enum exit_class exit_class);

/* Only part of an owner is known, or the same of all. uid, unit: NULL where not. */
void note_owners(struct wire_note *note, const uint32_t *uid, const char *unit);

/* Which ghost it is and whose. */
void note_ghost(struct wire_note *note, const struct ghost *ghost);

/* What came of a request, or of what would have been one. */
void note_result(struct wire_note *note, const struct record_result *result);

/* How many ghosts of which batch; number 0: no batch. */
void note_count(struct wire_note *note, uint64_t count, uint64_t batch);

#define NOTE_TEXT_MAX 768u

/* One line for people. Names in it are as they are: any bytes. */
void note_text(const struct wire_note *note, char *out, size_t size);

#endif
