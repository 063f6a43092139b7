/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_JSON_H
#define BROKER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/scalars.h"

/*
 * A writer for flat JSON objects of fixed member order, one a line. Pure. Members are appended in
 * the order of the calls; names are ours and need no escaping. When the buffer is too small the
 * object is marked overflown, nothing is written past its end and json_end() returns 0.
 */
struct json {
	char *out;
	size_t size, used;
	bool overflow;
	bool first; /* no member yet at this level */
};

void json_begin(struct json *j, char *out, size_t size);

/* Readers keep an integer in 64 bits with a sign (jansson, ECS's `long`), and refuse the whole
 * record for a larger one. Nothing that is counted here comes that far, only what a peer makes up:
 * it is written as the largest there is. */
#define JSON_INTEGER_MAX ((uint64_t)INT64_MAX)
void json_u64(struct json *j, const char *name, uint64_t value);
void json_bool(struct json *j, const char *name, bool value);
void json_null(struct json *j, const char *name);
/* Text of our own: ASCII without quotes, backslashes or control bytes. */
void json_word(struct json *j, const char *name, const char *word);
/* Bytes somebody else chose. UTF-8 is kept; control characters (C0, DEL, C1) become \u00NN; a byte
 * that is no UTF-8 becomes \ufffd, and a second member NAME_hex then holds all the bytes. */
void json_text(struct json *j, const char *name, const char *bytes, size_t len);
/* "0x1007" */
void json_hex(struct json *j, const char *name, uint64_t value);
/* The number as a string, as ECS wants ids: "33". */
void json_id(struct json *j, const char *name, uint64_t value);
/* "127.0.0.1". inet_ntop(3) goes through printf(3): it took a tenth of a record's time. */
void json_ipv4(struct json *j, const char *name, const uint8_t address[4]);
/* RFC 3339, UTC, nanoseconds. */
void json_time(struct json *j, const char *name, wall_ns t);

void json_object_begin(struct json *j, const char *name);
void json_object_end(struct json *j);
/* An array of objects: json_element_begin(), members, json_object_end() for each. */
void json_array_begin(struct json *j, const char *name);
void json_element_begin(struct json *j);
/* An array of strings: "0x1007"; "17", or "17-1040" when first and last differ. */
void json_element_hex(struct json *j, uint64_t value);
void json_element_range(struct json *j, uint64_t first, uint64_t last);
void json_array_end(struct json *j);

/* Closes the object and the line. Returns its length with the newline, 0 after an overflow. */
size_t json_end(struct json *j);

#endif
