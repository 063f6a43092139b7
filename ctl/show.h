/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_SHOW_H
#define CTL_SHOW_H

#include <stdio.h>

#include "record.h"

/* Records for a reader or a program. Text that others chose never reaches a terminal raw. */

enum show_format {
	SHOW_SHORT, /* a line each */
	SHOW_FULL,  /* all members, one a line */
	SHOW_JSON,  /* the line as it is in the log */
	SHOW_CSV,   /* fixed columns, RFC 4180 */
};
#define SHOW_FORMATS "short full json csv"

/* name: one of SHOW_FORMATS. */
enum show_format show_format_of(const char *name);

/* Colours where out is a terminal and NO_COLOR (no-color.org) is not set; when: one of
 * SHOW_COLORS. */
#define SHOW_COLORS "auto always never"
void show_color(const char *when, FILE *out);

/* What stands before the first record: the names of the columns. */
void show_begin(FILE *out, enum show_format format);
void show_record(FILE *out, enum show_format format, const struct record *r);

/* "42 bytes", "3.6 MiB"; "84 us", "1.2 s". */
void show_bytes(uint64_t bytes, char *out, size_t size);
void show_duration(uint64_t ns, char *out, size_t size);

/* A member's text, escaped for a terminal; `missing` when it has none. Valid until the sixteenth
 * next call. */
const char *show_text(const struct record *r, const char *name, const char *missing);

/* "nginx[812] of nginx.service (SIGKILL)" */
void show_owner(const struct record *r, char *out, size_t size);

/* "127.0.0.1:80 -> [::1]:4711" */
void show_addresses(const struct record *r, char *out, size_t size);

/* The escape sequence that begins a colour, or "" where there are none. */
enum show_tint { TINT_NONE, TINT_GOOD, TINT_BAD, TINT_WARN, TINT_DIM, TINT_BOLD };
const char *show_tint(enum show_tint tint);

#endif
