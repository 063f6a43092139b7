/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_QUANTITY_H
#define BROKER_QUANTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Durations and rates as people write them. Pure. */

#define QUANTITY_TEXT 32 /* bytes enough for any quantity printed */

/* "0s", "500ms", "30s", "5min", "2h", "1d": one number, one unit, at most 366 days. A bare number
 * is an error (of what?), as is a fraction. Returns false when text is none. */
bool duration_parse(const char *text, uint64_t *ns);

/* The shortest form that parses back to the same value (to a millisecond). */
void duration_print(uint64_t ns, char out[QUANTITY_TEXT]);

/* So many per span of time. */
struct rate {
	uint64_t count;
	uint64_t per_ns; /* a second, a minute or an hour */
};

/* "50000/s", "200000/min", "1000/h"; count 1 ... 1 000 000 000. */
bool rate_parse(const char *text, struct rate *rate);
void rate_print(const struct rate *rate, char out[QUANTITY_TEXT]);

/* The rate as whole events per second, rounded down, never less than 1. */
uint64_t rate_per_second(const struct rate *rate);

#endif
