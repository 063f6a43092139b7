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
	keyed_start();
	*b = (struct breaker){ 0 };
	TAILQ_INIT(&b->units);
	TAILQ_INIT(&b->opened);
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

/* The table's macros shift and subtract hash values in plain int. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"

static struct breaker_unit *
unit_find(const struct breaker *b, const char *key)
{
	struct breaker_unit *unit, probe = { 0 };

	memccpy(probe.key, key, '\0', sizeof(probe.key) - 1);
	HASH_FIND(hh, b->by_key, probe.key, sizeof(probe.key), unit);
	return unit;
}

static void
unit_insert(struct breaker *b, struct breaker_unit *unit)
{
	HASH_ADD(hh, b->by_key, key, sizeof(unit->key), unit);
	TAILQ_INSERT_TAIL(&b->units, unit, queue);
	b->count++;
}

static void
unit_forget(struct breaker *b, struct breaker_unit *unit)
{
	HASH_DELETE(hh, b->by_key, unit);
	TAILQ_REMOVE(unit->open_until.ns == 0 ? &b->units : &b->opened, unit, queue);
	b->count--;
	free(unit);
}

#pragma GCC diagnostic pop

/* Room for one more. With that many units open the hold that would end first ends now:
 * breaker_close() makes the room. */
static void
room_make(struct breaker *b, mono_ns now)
{
	struct breaker_unit *first = TAILQ_FIRST(&b->opened);

	if (b->count < BREAKER_UNITS_MAX)
		return;
	if (!TAILQ_EMPTY(&b->units))
		unit_forget(b, TAILQ_FIRST(&b->units));
	else if (first->open_until.ns > now.ns)
		first->open_until = now;
}

static struct breaker_unit *
allocate(void)
{
	struct breaker_unit *unit = calloc(1, sizeof(*unit));

	if (unit == NULL)
		fatal("out of memory for one more unit");
	return unit;
}

static struct breaker_unit *
unit_make(struct breaker *b, const char *key, const struct rate *limit, mono_ns now)
{
	struct breaker_unit *unit;

	room_make(b, now);
	unit = allocate();
	memccpy(unit->key, key, '\0', sizeof(unit->key) - 1);
	TAILQ_INIT(&unit->held);
	unit->tokens = (double)limit->count;
	unit->filled = now;
	unit_insert(b, unit);
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

/* In order of their end; a policy's change may make a later hold the shorter one. */
static void
unit_open(struct breaker *b, struct breaker_unit *unit, mono_ns until)
{
	struct breaker_unit *before = TAILQ_LAST(&b->opened, breaker_units);

	TAILQ_REMOVE(&b->units, unit, queue);
	unit->open_until = until;
	while (before != NULL && before->open_until.ns > until.ns)
		before = TAILQ_PREV(before, breaker_units, queue);
	if (before == NULL)
		TAILQ_INSERT_HEAD(&b->opened, unit, queue);
	else
		TAILQ_INSERT_AFTER(&b->opened, before, unit, queue);
	b->open++;
}

enum breaker_answer
breaker_take(struct breaker *b, const char *key, const struct rate *limit, uint64_t hold_ns,
	mono_ns now, struct breaker_unit **unit)
{
	struct breaker_unit *u = unit_find(b, key);

	if (u == NULL)
		u = unit_make(b, key, limit, now);
	*unit = u;
	if (u->open_until.ns != 0)
		return BREAKER_OPEN;
	TAILQ_REMOVE(&b->units, u, queue);
	TAILQ_INSERT_TAIL(&b->units, u, queue);
	tokens_fill(u, limit, now);
	if (u->tokens >= 1) {
		u->tokens -= 1;
		return BREAKER_PASS;
	}
	unit_open(b, u, (mono_ns){ now.ns + (hold_ns == 0 ? 1 : hold_ns) });
	return BREAKER_TRIPPED;
}

struct breaker_unit *
breaker_over(const struct breaker *b, mono_ns now)
{
	struct breaker_unit *first = TAILQ_FIRST(&b->opened);

	return first != NULL && first->open_until.ns <= now.ns ? first : NULL;
}

/* What was held back comes at once, and must not open it again by itself: it is a new unit then. */
void
breaker_close(struct breaker *b, struct breaker_unit *unit)
{
	b->open--;
	unit_forget(b, unit);
}

bool
breaker_next(const struct breaker *b, mono_ns *when)
{
	const struct breaker_unit *first = TAILQ_FIRST(&b->opened);

	if (first == NULL)
		return false;
	*when = first->open_until;
	return true;
}
