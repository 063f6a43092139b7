/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_CHAIN_H
#define BROKER_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The chain that joins the records of an audit log (DESIGN 8). Pure: used by the broker, which
 * makes it, and by `eghostctl verify`, which follows it.
 *
 * A record's `event.hash` is the SHA-256, in lower-case hex, over the 64 hex digits of the record
 * before it and the exact bytes of its own line up to, and without, the comma that begins the hash
 * member. The first record of all follows chain_origin. So with a shell, for one line:
 *
 *	printf %s "$previous${line%,\"event.hash\"*}" | sha256sum
 *
 * Without a key whoever can write the file can make a chain anew: it shows faults and clumsy hands,
 * and with a head kept elsewhere everything.
 */

#define CHAIN_DIGITS 64u
#define CHAIN_LEN    (CHAIN_DIGITS + 1) /* and a zero */

/* What CHAIN_MEMBER_LEN bytes chain_append() adds to a line: ,"event.hash":"<64>" */
#define CHAIN_MEMBER_LEN (15u + CHAIN_DIGITS + 1u)

/* 64 zeros. */
extern const char chain_origin[CHAIN_LEN];

/* hash: of the previous record; becomes this one's. body: the line up to the hash member. */
void chain_next(char hash[CHAIN_LEN], const char *body, size_t len);

/* Takes a whole record ("{...}\n", len bytes, with room for CHAIN_MEMBER_LEN more), appends its
 * hash member and moves `hash` on. Returns the new length. */
size_t chain_append(char hash[CHAIN_LEN], char *line, size_t len);

/* Where the parts of a record are that every record has. */
struct chain_line {
	uint64_t sequence;
	const char *action; /* not zero-terminated */
	size_t action_len;
	size_t body_len;  /* bytes before the hash member */
	const char *hash; /* 64 digits */
};

/* Reads one line without its newline. False when it is no record: its first members are not
 * @timestamp, event.sequence and event.action, or its last is not event.hash. */
bool chain_line_read(const char *line, size_t len, struct chain_line *out);

/* True when the record's action is this. */
bool chain_action_is(const struct chain_line *line, const char *action);

/* The hash that a `log-open` says it follows (body: the line up to its hash member). False when it
 * says that it is the first of all: then `hash` is chain_origin. */
bool chain_previous_hash(const char *body, size_t len, char hash[CHAIN_LEN]);

/* The lines of a file's end, the last one first. */
struct chain_walk {
	const char *bytes, *end; /* end: of the next line */
	bool whole;
	size_t torn;  /* bytes behind the last line: a record that was cut off */
	bool unended; /* the last line is a record that lacks but its newline */
};

/* bytes: the end of a file; `whole` when it is all of it, else the first line of it, which may have
 * lost its beginning, does not count. */
void chain_walk_begin(struct chain_walk *w, const char *bytes, size_t len, bool whole);

/* False when there is no other line. */
bool chain_walk_line(struct chain_walk *w, const char **line, size_t *len);

/* No log comes that far: a line with a larger number is not one to go on from. Behind it there is
 * room for all that a run may write, in the integer of any reader. */
#define CHAIN_SEQUENCE_MAX ((uint64_t)INT64_MAX / 2)

/* How a file ends. */
struct chain_tail {
	bool found; /* a record is there; else the next ones are not known */
	uint64_t sequence;
	char hash[CHAIN_LEN];
	bool closed;  /* it is `log-close`, and nothing stands behind it */
	bool foreign; /* lines that are no records stand behind it */
	size_t torn;  /* bytes behind the last line: a record that was cut off */
	bool unended; /* the last record lacks but its newline */
};

/* bytes: the file's end, as much of it as the largest record and another need; `whole` when it is
 * all of the file. Lines in it that are no records are passed over: verifying tells of them. */
void chain_tail_read(const char *bytes, size_t len, bool whole, struct chain_tail *out);

#endif
