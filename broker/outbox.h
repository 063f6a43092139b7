/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_OUTBOX_H
#define BROKER_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

/*
 * What is on its way to sinks other than the audit log: notes of the last records, one for each, in
 * order. A note goes out only when its record is in the file: no sink claims what the file does not
 * have. Nobody waits for a sink: one that is behind by more than there is room for loses the oldest
 * notes, which are counted, and told in one note in their place. Pure.
 */

#define OUTBOX_NOTES 4096u

struct outbox {
	struct wire_note *notes; /* OUTBOX_NOTES, the one with number n at n % OUTBOX_NOTES */
	uint64_t made;		 /* notes there have been */
	uint64_t written;	 /* those whose records are in the file */
};

/* Where one sink has got to. */
struct outlet {
	uint64_t next;	      /* number of the note that it gets next */
	uint64_t lost;	      /* notes that it did not get */
	uint64_t untold;      /* of these, those it does not know of */
	struct wire_note gap; /* the note that tells it */
	bool refused;	      /* it takes nothing; it is tried again with the next record */
	uint64_t refused_at;  /* written, when it did not */
};

/* Takes the memory. Fatal when there is none. */
void outbox_open(struct outbox *box);

/* Room for the note of the record that is being made; it counts with outbox_made(). */
struct wire_note *outbox_room(struct outbox *box);
void outbox_made(struct outbox *box);

/* All records so far are in the file. */
void outbox_written(struct outbox *box);

/* The next notes for this sink, up to max of them, one behind the other. Returns how many; 0: none.
 * One alone may be a note that others are missing. They stay the next until outlet_taken(). */
size_t outlet_next(const struct outbox *box, struct outlet *outlet, size_t max,
	const struct wire_note **notes);

/* The sink has taken so many of the notes that outlet_next() returned. */
void outlet_taken(struct outlet *outlet, size_t count);

/* The sink takes nothing: what waits for it is lost. It is tried again when there are more. */
void outlet_refused(const struct outbox *box, struct outlet *outlet);

#endif
