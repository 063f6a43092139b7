/* SPDX-License-Identifier: Apache-2.0 */
#include "outbox.h"

#include <stdlib.h>

#include "proto/log.h"

void
outbox_open(struct outbox *box)
{
	*box = (struct outbox){ .notes = calloc(OUTBOX_NOTES, sizeof(box->notes[0])) };
	if (box->notes == NULL)
		fatal("out of memory for records on their way to other sinks");
}

struct wire_note *
outbox_room(struct outbox *box)
{
	return &box->notes[box->made % OUTBOX_NOTES];
}

void
outbox_made(struct outbox *box)
{
	box->made++;
}

void
outbox_written(struct outbox *box)
{
	box->written = box->made;
}

static void
lose(struct outlet *outlet, uint64_t count)
{
	outlet->next += count;
	outlet->lost += count;
	outlet->untold += count;
}

/* The place of one more note is its for the asking. */
static void
overtaken_lose(const struct outbox *box, struct outlet *outlet)
{
	if (box->made - outlet->next >= OUTBOX_NOTES)
		lose(outlet, box->made - outlet->next - (OUTBOX_NOTES - 1));
}

static size_t
smaller(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

size_t
outlet_next(
	const struct outbox *box, struct outlet *outlet, size_t max, const struct wire_note **notes)
{
	size_t at;

	overtaken_lose(box, outlet);
	if (outlet->refused && outlet->refused_at == box->written)
		return 0;
	if (outlet->untold != 0) {
		outlet->gap = (struct wire_note){ .action = WIRE_ACTION_SUPPRESSED,
			.count = outlet->untold };
		*notes = &outlet->gap;
		return 1;
	}
	if (outlet->next >= box->written)
		return 0;
	at = outlet->next % OUTBOX_NOTES;
	*notes = &box->notes[at];
	return smaller(box->written - outlet->next, smaller(OUTBOX_NOTES - at, max));
}

void
outlet_taken(struct outlet *outlet, size_t count)
{
	outlet->refused = false;
	if (outlet->untold != 0)
		outlet->untold -= outlet->gap.count;
	else
		outlet->next += count;
}

void
outlet_refused(const struct outbox *box, struct outlet *outlet)
{
	if (outlet->next < box->written)
		lose(outlet, box->written - outlet->next);
	outlet->refused = true;
	outlet->refused_at = box->written;
}
