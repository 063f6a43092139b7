/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_WHEN_H
#define CTL_WHEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Points in time, as people type them and as records spell them. Pure but for the time zone. */

/* Nanoseconds since 1970, UTC. */
typedef int64_t when_ns;

/*
 * The grammar of journalctl's --since: "2026-11-22 08:00:05", with less at the end ("2026-11-22",
 * "08:00"), "2026-11-22T08:00:05Z" (UTC), "now", "today", "yesterday", "tomorrow", "@1700000000",
 * and relative to now: "-2h", "-1h30min", "+5m", "3 days ago". Local time where not said. False
 * when the text is none of these.
 */
bool when_parse(const char *text, when_ns now, when_ns *when);

/* "2026-11-22T08:01:02.123456789Z", as in @timestamp. False when it is not. */
bool when_parse_record(const char *text, when_ns *when);

/* "Nov 22 08:01:02.123", local time. */
void when_print(when_ns when, char *out, size_t size);

#endif
