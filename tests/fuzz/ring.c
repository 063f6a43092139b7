/* SPDX-License-Identifier: Apache-2.0 */
/* links: tracker/decode.c proto/wire.c */
/*
 * A record of the ring buffer. One byte of the input moves it away from its alignment; the rest is
 * the record. What decode_record() accepts the broker accepts, too.
 */
#include "fuzz.h"

#include "proto/wire.h"
#include "tracker/decode.h"

#define SEQ 7u
FUZZ_GOALS(2);

static void
decoded_send(const struct decoded *d)
{
	size_t size = wire_record_size(d->type), len;
	_Alignas(8) uint8_t packet[sizeof(struct wire_header) + WIRE_RECORD_MAX] = { 0 };
	struct wire_header head;
	struct wire_view view;

	REQUIRE(d->type == WIRE_T2B_EXIT || d->type == WIRE_T2B_ORPHAN);
	REACHED(d->type == WIRE_T2B_ORPHAN);
	len = wire_header_fill(&head, d->type, 1, SEQ);
	REQUIRE(len == sizeof(head) + size && len <= sizeof(packet));
	memcpy(packet, &head, sizeof(head));
	memcpy(packet + sizeof(head), &d->exit, size);
	REQUIRE(wire_check(packet, len, WIRE_T2B, SEQ, &view) == WIRE_OK);
	REQUIRE(view.type == d->type && view.count == 1);
}

static void
text_filled(const char *text, size_t size)
{
	for (size_t i = strnlen(text, size); i < size; i++)
		REQUIRE(text[i] == '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	size_t skew = input_number(&in, 1) % 8, len = in.left;
	uint8_t *room = malloc(skew + len);
	struct decoded d;

	REQUIRE(room != NULL || skew + len == 0);
	memset(&d, 0xa5, sizeof(d)); /* every byte of the wire record is set, pads to zero */
	input_fill(&in, room + skew, len);
	if (decode_record(room + skew, len, &d)) {
		const struct wire_owner *o =
			d.type == WIRE_T2B_EXIT ? &d.exit.owner : &d.orphan.owner;

		decoded_send(&d);
		text_filled(o->comm, sizeof(o->comm));
		text_filled(o->unit, sizeof(o->unit));
	}
	free(room);
	return 0;
}
