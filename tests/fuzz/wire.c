/* SPDX-License-Identifier: Apache-2.0 */
/* links: proto/wire.c */
/*
 * A packet as a role receives it. The input is one byte (direction, and whether the header is made
 * right), the expected sequence number and the packet. What is accepted is read as receivers read
 * it: every text has an end, every value a name.
 */
#include "fuzz.h"

#include <sys/socket.h>

#include "proto/wire.h"

#define HEAD_RIGHT 0x80u

/* Packets of each kind that has something to be walked. */
static const enum wire_type types[] = { WIRE_T2B_EXIT, WIRE_T2B_ORPHAN, WIRE_B2R_DESTROY,
	WIRE_B2R_SAMPLE, WIRE_R2B_RESULT, WIRE_R2B_SAMPLED, WIRE_R2B_FOUND, WIRE_R2B_FOUND_END,
	WIRE_B2S_NOTE };
#define TYPES (sizeof(types) / sizeof(types[0]))
FUZZ_GOALS(TYPES);

static bool
is_named(const char *name)
{
	return name != NULL && name[0] != '?';
}

static void
owner_walk(const struct wire_owner *o)
{
	REQUIRE(strlen(o->comm) < WIRE_COMM_LEN && strlen(o->unit) < WIRE_UNIT_LEN);
	REQUIRE(o->tgid != 0 && o->tgid <= INT32_MAX && o->exit_code <= 0xffff);
	REQUIRE(o->start_boottime != 0);
}

static void
socket_walk(const struct wire_tuple *t, uint64_t cookie)
{
	char text[WIRE_ENDPOINT_TEXT];

	REQUIRE(cookie != 0 && cookie != UINT64_MAX);
	REQUIRE(t->family == AF_INET || t->family == AF_INET6);
	wire_endpoint_text(t->family, t->src, t->src_port, text);
	REQUIRE(strchr(text, ':') != NULL);
	wire_endpoint_text(t->family, t->dst, t->dst_port, text);
	REQUIRE(wire_tuple_equal(t, t));
}

static void
orphan_walk(const struct wire_orphan *o)
{
	owner_walk(&o->owner);
	socket_walk(&o->tuple, o->cookie);
	REQUIRE(is_named(tcp_state_name(o->state)));
	REQUIRE((TCP_STATE_BIT(o->state) & TCP_STATES_ORPHAN) != 0);
}

static void
destroy_walk(const struct wire_destroy *d)
{
	socket_walk(&d->tuple, d->cookie);
	REQUIRE(is_named(tcp_state_name(d->state)));
	REQUIRE((d->states & ~TCP_STATES_RULE) == 0);
}

static void
sampled_walk(const struct wire_sampled *s)
{
	REQUIRE(s->error >= 0 && s->mini <= 1);
	REQUIRE(s->state == 0 || is_named(tcp_state_name(s->state)));
	REQUIRE(s->found != WIRE_FOUND_ORPHAN ||
		(TCP_STATE_BIT(s->state) & TCP_STATES_ORPHAN) != 0);
	REQUIRE(!wire_progress_made(&s->progress, &s->progress));
}

static void
found_walk(const struct wire_found_record *f)
{
	socket_walk(&f->tuple, f->cookie);
	REQUIRE((TCP_STATE_BIT(f->state) & TCP_STATES_ORPHAN) != 0 && f->mini <= 1);
}

static void
result_walk(const struct wire_result_record *r)
{
	REQUIRE(is_named(wire_result_name(r->result)) && r->error >= 0);
	REQUIRE(r->state == 0 || is_named(tcp_state_name(r->state)));
	REQUIRE(r->peer_notice == WIRE_NOTICE_NONE || r->peer_notice == WIRE_NOTICE_RST);
}

static void
note_walk(const struct wire_note *n)
{
	REQUIRE(is_named(wire_action_name(n->action)));
	REQUIRE(strlen(n->comm) < WIRE_COMM_LEN && strlen(n->unit) < WIRE_KEY_LEN);
	REQUIRE(strlen(n->reason) < WIRE_WORD_LEN && strlen(n->verdict) < WIRE_WORD_LEN);
	REQUIRE(strlen(n->class) < WIRE_WORD_LEN && strlen(n->rule) < WIRE_RULE_LEN);
	REQUIRE(n->tuple.family == 0 || wire_tuple_equal(&n->tuple, &n->tuple));
}

static void
record_walk(enum wire_type type, const void *record)
{
	switch (type) {
	case WIRE_T2B_EXIT:
		owner_walk(&((const struct wire_exit *)record)->owner);
		break;
	case WIRE_T2B_ORPHAN:
		orphan_walk(record);
		break;
	case WIRE_B2R_DESTROY:
		destroy_walk(record);
		break;
	case WIRE_B2R_SAMPLE:
		socket_walk(&((const struct wire_sample *)record)->tuple,
			((const struct wire_sample *)record)->cookie);
		break;
	case WIRE_R2B_SAMPLED:
		sampled_walk(record);
		break;
	case WIRE_R2B_FOUND:
		found_walk(record);
		break;
	case WIRE_R2B_RESULT:
		result_walk(record);
		break;
	case WIRE_B2S_NOTE:
		note_walk(record);
		break;
	default:
		break;
	}
}

/* One packet is right for one peer and one sequence number, and as we would have made it. */
static void
view_walk(const struct wire_view *view, const uint8_t *packet, size_t len, enum wire_direction dir,
	uint32_t seq)
{
	size_t size = wire_record_size(view->type);
	struct wire_header head;
	struct wire_view other;

	REQUIRE(view->count >= 1 && view->count <= WIRE_BATCH_MAX);
	REQUIRE(len <= WIRE_PACKET_MAX && len == sizeof(head) + view->count * size);
	REQUIRE(view->records == packet + sizeof(head));
	REQUIRE(strcmp(wire_type_name(view->type), "unknown type") != 0);
	REQUIRE(wire_header_fill(&head, view->type, view->count, seq) == len);
	REQUIRE(memcmp(&head, packet, sizeof(head)) == 0);
	for (enum wire_direction d = WIRE_T2B; d <= WIRE_S2B; d++)
		REQUIRE((wire_check(packet, len, d, seq, &other) == WIRE_OK) == (d == dir));
	REQUIRE(wire_check(packet, len, dir, seq + 1, &other) == WIRE_ERR_SEQ);
	for (size_t i = 0; i < TYPES; i++) {
		if (view->type == types[i])
			REACHED(i);
	}
	for (size_t i = 0; i < view->count; i++)
		record_walk(view->type, packet + sizeof(head) + i * size);
}

static void
head_mend(uint8_t *packet, size_t len, uint32_t seq)
{
	struct wire_header head;

	if (len < sizeof(head))
		return;
	memcpy(&head, packet, sizeof(head));
	head.magic = WIRE_MAGIC;
	head.version = WIRE_VERSION;
	head.length = (uint32_t)len;
	head.seq = seq;
	memcpy(packet, &head, sizeof(head));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);
	uint32_t seq = (uint32_t)input_number(&in, 4);
	enum wire_direction dir = (how & ~HEAD_RIGHT) % 5;
	size_t len = in.left;
	uint8_t *packet = input_copy(&in, &len);
	struct wire_view view;
	enum wire_error error;

	if ((how & HEAD_RIGHT) != 0)
		head_mend(packet, len, seq);
	error = wire_check(packet, len, dir, seq, &view);
	REQUIRE(is_named(wire_error_text(error)));
	if (error == WIRE_OK)
		view_walk(&view, packet, len, dir, seq);
	free(packet);
	return 0;
}
