/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_VERIFY_H
#define CTL_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/chain.h"
#include "broker/seal.h"

/*
 * Follows the chain through the lines of an audit log and finds the first place where it breaks.
 * Pure: lines come in, in order; what it is about is said at the end. See broker/chain.h for what a
 * chain without a key cannot show. With the key of broker/seal.h it follows the seals, too, and
 * finds what somebody has made anew, hashes and all.
 */

enum fault_kind {
	FAULT_NONE,
	FAULT_EDITED,	 /* a record is not what was written */
	FAULT_MISSING,	 /* records are gone */
	FAULT_REORDERED, /* a record stands elsewhere */
	FAULT_REPEATED,	 /* a record stands here once more */
	FAULT_FOREIGN,	 /* a line that nobody wrote as a record, or another log's record */
	FAULT_BEGINNING, /* the first file does not begin with `log-open` */
	FAULT_SEAL,	 /* a seal is not by this key, or not of these records */
	FAULT_SEALED,	 /* an epoch is used once more */
	FAULT_CUT,	 /* seals are gone, and so is what they were of */
	FAULT_UNSEALED,	 /* records that should be behind a seal's protection are not */
	FAULT_HEAD,	 /* no record has the hash that was expected */
};

struct place {
	const char *file;
	uint64_t line;
};

struct fault {
	enum fault_kind kind;
	struct place place;
	uint64_t sequence;	  /* of the record that should be there */
	uint64_t missing_to;	  /* MISSING: the last that is gone; SEAL: the one with the seal */
	uint64_t epoch, epoch_to; /* SEAL, SEALED: of the seal; CUT: the first and the last gone */
	struct place moved;	  /* REORDERED: where it stands now; line 0: not seen */
};

/* Something to be looked at once more when the next record is known. */
struct suspect {
	bool held;
	bool record; /* it reads like one */
	bool torn;   /* the end of a file, without a newline */
	struct place place;
	size_t len;
	uint64_t sequence;
	char hash[CHAIN_LEN]; /* its hash as stated */
};

/* What was found of seals. Without a key only `count`. */
struct verify_seals {
	bool asked; /* there is a key */
	uint64_t count;
	struct seal_key key; /* of the next epoch */
	bool found;
	uint64_t first_epoch, last_epoch, first_record, last_record;
	uint64_t bare;		/* records since the last seal */
	uint64_t bare_sequence; /* the first of them */
	struct place bare_place;
	bool at_origin; /* nothing was before the first record: a log of its own */
};

struct verify {
	struct verify_seals seals;
	const char *expect_head; /* 64 digits, NULL: none is expected */
	uint64_t expect_found;	 /* the number of the record that has it, 0: none yet */
	bool begun;
	uint64_t first, last;	/* numbers of the first and the last good record */
	char hash[CHAIN_LEN];	/* of the last good record */
	char before[CHAIN_LEN]; /* the hash the first one goes back to */
	bool closed;		/* the last record is `log-close` */
	bool rotated;		/* and says that the log goes on in another file */
	size_t torn;		/* bytes cut off at the very end */
	uint64_t records;
	uint64_t crashes; /* `log-open` that says the run before was cut off */
	struct suspect suspect;
	struct fault fault; /* the first */
};

/* root: root 0 of the seals (broker/seal.h), NULL: they are only counted. */
void verify_begin(struct verify *v, const char *expect_head, const uint8_t *root);

/* One line without its newline; torn: it had none. */
void verify_line(struct verify *v, const char *line, size_t len, bool torn, struct place place);

/* After the last. True when the chain is whole (v->closed tells whether it is closed). */
bool verify_end(struct verify *v);

/* "edited", "missing" ... */
const char *fault_name(enum fault_kind kind);

#endif
