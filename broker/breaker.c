/* SPDX-License-Identifier: Apache-2.0 */
#include "breaker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/log.h"

void
breaker_init(struct breaker *b)
{
	*b = (struct breaker){ 0 };
	TAILQ_INIT(&b->units);
}

void
breaker_key(const struct wire_owner *owner, char key[BREAKER_KEY_LEN])
{
	if (owner == NULL)
		snprintf(key, BREAKER_KEY_LEN, "unknown");
	else if (owner->unit[0] != '\0')
		snprintf(key, BREAKER_KEY_LEN, "%s", owner->unit);
	else
		snprintf(key, BREAKER_KEY_LEN, "cgroup:%" PRIu64, owner->cgroup_id);
}

static void
unit_forget(struct breaker *b, struct breaker_unit *unit)
{
	TAILQ_REMOVE(&b->units, unit, queue);
	b->count--;
	free(unit);
}

/* With that many units open nobody is pushed out: each open one is what the breaker is for. */
static void
room_make(struct breaker *b)
{
	struct breaker_unit *unit;

	if (b->count < BREAKER_UNITS_MAX)
		return;
	TAILQ_FOREACH (unit, &b->units, queue) {
		if (unit->open_until.ns == 0) {
			unit_forget(b, unit);
			return;
		}
	}
}

static struct breaker_unit *
unit_make(struct breaker *b, const char *key, const struct rate *limit, mono_ns now)
{
	struct breaker_unit *unit;

	room_make(b);
	unit = calloc(1, sizeof(*unit));
	if (unit == NULL)
		fatal("out of memory for one more unit");
	snprintf(unit->key, sizeof(unit->key), "%s", key);
	unit->tokens = (double)limit->count;
	unit->filled = now;
	b->count++;
	return unit;
}

/* The most recently used are at the end, and the same unit is asked for again and again. */
static struct breaker_unit *
unit_use(struct breaker *b, const char *key, const struct rate *limit, mono_ns now)
{
	struct breaker_unit *unit;

	TAILQ_FOREACH_REVERSE(unit, &b->units, breaker_units, queue)
	{
		if (strcmp(unit->key, key) == 0)
			break;
	}
	if (unit == NULL)
		unit = unit_make(b, key, limit, now);
	else
		TAILQ_REMOVE(&b->units, unit, queue);
	TAILQ_INSERT_TAIL(&b->units, unit, queue);
	return unit;
}

/* limit->count tokens at most, limit->count more every limit->per_ns. */
static void
tokens_fill(struct breaker_unit *unit, const struct rate *limit, mono_ns now)
{
	double more =
		(double)(now.ns - unit->filled.ns) / (double)limit->per_ns * (double)limit->count;

	unit->tokens += more;
	if (unit->tokens > (double)limit->count)
		unit->tokens = (double)limit->count;
	unit->filled = now;
}

enum breaker_answer
breaker_take(
	struct breaker *b, const char *key, const struct rate *limit, uint64_t hold_ns, mono_ns now)
{
	struct breaker_unit *unit = unit_use(b, key, limit, now);

	if (unit->open_until.ns != 0)
		return BREAKER_OPEN;
	tokens_fill(unit, limit, now);
	if (unit->tokens >= 1) {
		unit->tokens -= 1;
		return BREAKER_PASS;
	}
	unit->open_until.ns = now.ns + (hold_ns == 0 ? 1 : hold_ns);
	b->open++;
	return BREAKER_TRIPPED;
}

bool
breaker_close(struct breaker *b, mono_ns now, struct breaker_unit *closed)
{
	struct breaker_unit *unit;

	if (b->open == 0)
		return false;
	TAILQ_FOREACH (unit, &b->units, queue) {
		if (unit->open_until.ns == 0 || unit->open_until.ns > now.ns)
			continue;
		*closed = *unit;
		b->open--;
		/* What was held back comes at once, and must not open it again by itself. */
		unit_forget(b, unit);
		return true;
	}
	return false;
}

bool
breaker_next(const struct breaker *b, mono_ns *when)
{
	const struct breaker_unit *unit;
	bool any = false;

	TAILQ_FOREACH (unit, &b->units, queue) {
		if (b->open == 0)
			break;
		if (unit->open_until.ns != 0 && (!any || unit->open_until.ns < when->ns)) {
			*when = unit->open_until;
			any = true;
		}
	}
	return any;
}
