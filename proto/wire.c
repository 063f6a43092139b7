/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool
all_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

static bool
text_terminated(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

static enum wire_error
tuple_check(const struct wire_tuple *t)
{
	if (t->pad != 0)
		return WIRE_ERR_PAD;
	if (t->family == AF_INET6)
		return WIRE_OK;
	if (t->family != AF_INET)
		return WIRE_ERR_VALUE;
	if (!all_zero(t->src + 4, 12) || !all_zero(t->dst + 4, 12))
		return WIRE_ERR_PAD;
	return WIRE_OK;
}

static enum wire_error
owner_check(const struct wire_owner *o)
{
	const uint32_t flags = WIRE_OWNER_OOM | WIRE_OWNER_UNIT_TRUNCATED;

	if (o->tgid == 0 || o->tgid > INT32_MAX || o->start_boottime == 0)
		return WIRE_ERR_VALUE;
	if (o->exit_code > 0xffff || (o->flags & ~flags) != 0)
		return WIRE_ERR_VALUE;
	if (!text_terminated(o->comm, sizeof(o->comm)) ||
		!text_terminated(o->unit, sizeof(o->unit)))
		return WIRE_ERR_VALUE;
	return WIRE_OK;
}

/* 0 was never given out, and ~0 is INET_DIAG_NOCOOKIE: "any socket". */
static bool
cookie_valid(uint64_t cookie)
{
	return cookie != 0 && cookie != UINT64_MAX;
}

static enum wire_error
tracker_hello_check(const void *record)
{
	const struct wire_tracker_hello *h = record;
	const uint32_t known = WIRE_TRACKER_EXIT | WIRE_TRACKER_ORPHAN | WIRE_TRACKER_STAMP;

	if ((h->features & ~known) != 0 || h->heartbeat_ms == 0)
		return WIRE_ERR_VALUE;
	return WIRE_OK;
}

static enum wire_error
exit_check(const void *record)
{
	const struct wire_exit *e = record;

	return owner_check(&e->owner);
}

static enum wire_error
orphan_check(const void *record)
{
	const uint32_t born =
		TCP_STATE_BIT(TCP_STATE_FIN_WAIT1) | TCP_STATE_BIT(TCP_STATE_LAST_ACK);
	const struct wire_orphan *o = record;
	enum wire_error err = owner_check(&o->owner);
	uint32_t states;

	if (err == WIRE_OK)
		err = tuple_check(&o->tuple);
	if (err != WIRE_OK)
		return err;
	if (!all_zero(o->pad, sizeof(o->pad)))
		return WIRE_ERR_PAD;
	if (!cookie_valid(o->cookie))
		return WIRE_ERR_VALUE;
	if ((o->flags & ~WIRE_ORPHAN_CLOSED) != 0 || o->state > TCP_STATE_NEW_SYN_RECV)
		return WIRE_ERR_VALUE;
	states = (o->flags & WIRE_ORPHAN_CLOSED) != 0 ? TCP_STATES_ORPHAN : born;
	return (TCP_STATE_BIT(o->state) & states) != 0 ? WIRE_OK : WIRE_ERR_VALUE;
}

static enum wire_error
any_check(const void *record)
{
	(void)record;
	return WIRE_OK;
}

static enum wire_error
destroy_check(const void *record)
{
	const struct wire_destroy *d = record;
	enum wire_error err = tuple_check(&d->tuple);

	if (err != WIRE_OK)
		return err;
	if (!all_zero(d->pad, sizeof(d->pad)))
		return WIRE_ERR_PAD;
	if ((d->flags & ~WIRE_DESTROY_PROVED) != 0)
		return WIRE_ERR_VALUE;
	if (d->flags == 0 && !all_zero((const uint8_t *)&d->seen, sizeof(d->seen)))
		return WIRE_ERR_PAD;
	if (!cookie_valid(d->cookie) || (d->states & ~TCP_STATES_RULE) != 0)
		return WIRE_ERR_VALUE;
	if (d->state == 0 || d->state > TCP_STATE_NEW_SYN_RECV)
		return WIRE_ERR_VALUE;
	return WIRE_OK;
}

static enum wire_error
sample_check(const void *record)
{
	const struct wire_sample *s = record;

	return cookie_valid(s->cookie) ? tuple_check(&s->tuple) : WIRE_ERR_VALUE;
}

static enum wire_error
sampled_check(const void *record)
{
	const struct wire_sampled *s = record;

	if (s->pad != 0)
		return WIRE_ERR_PAD;
	if (s->found < WIRE_FOUND_ORPHAN || s->found > WIRE_FOUND_FAILED || s->error < 0 ||
		s->mini > 1)
		return WIRE_ERR_VALUE;
	if (s->found == WIRE_FOUND_ORPHAN &&
		(s->state > TCP_STATE_NEW_SYN_RECV ||
			(TCP_STATE_BIT(s->state) & TCP_STATES_ORPHAN) == 0))
		return WIRE_ERR_VALUE;
	return s->state > TCP_STATE_NEW_SYN_RECV ? WIRE_ERR_VALUE : WIRE_OK;
}

static enum wire_error
found_check(const void *record)
{
	const struct wire_found_record *f = record;
	enum wire_error err = tuple_check(&f->tuple);

	if (err != WIRE_OK)
		return err;
	if (!all_zero(f->pad, sizeof(f->pad)))
		return WIRE_ERR_PAD;
	if (!cookie_valid(f->cookie) || f->mini > 1 || f->state > TCP_STATE_NEW_SYN_RECV ||
		(TCP_STATE_BIT(f->state) & TCP_STATES_ORPHAN) == 0)
		return WIRE_ERR_VALUE;
	return WIRE_OK;
}

static enum wire_error
found_end_check(const void *record)
{
	const struct wire_found_end *f = record;

	if (!all_zero(f->pad, sizeof(f->pad)))
		return WIRE_ERR_PAD;
	return f->complete > 1 || f->error < 0 ? WIRE_ERR_VALUE : WIRE_OK;
}

static enum wire_error
reaper_hello_check(const void *record)
{
	const struct wire_reaper_hello *h = record;

	if (!all_zero(h->pad, sizeof(h->pad)))
		return WIRE_ERR_PAD;
	if (h->selftest > WIRE_SELFTEST_NO_DESTROY || h->time_wait > 1 || h->netns == 0)
		return WIRE_ERR_VALUE;
	return WIRE_OK;
}

static enum wire_error
result_check(const void *record)
{
	const struct wire_result_record *r = record;

	if (!all_zero(r->pad, sizeof(r->pad)))
		return WIRE_ERR_PAD;
	if (r->result < WIRE_RESULT_DESTROYED || r->result > WIRE_RESULT_FAILED)
		return WIRE_ERR_VALUE;
	if (r->state > TCP_STATE_NEW_SYN_RECV || r->peer_notice > WIRE_NOTICE_RST || r->error < 0)
		return WIRE_ERR_VALUE;
	return WIRE_OK;
}

static const struct wire_kind {
	enum wire_type type;
	enum wire_direction dir;
	size_t size; /* of one record */
	size_t max;  /* records in one packet */
	const char *name;
	enum wire_error (*record_check)(const void *record);
} kinds[] = {
	{ WIRE_T2B_HELLO, WIRE_T2B, sizeof(struct wire_tracker_hello), 1, "tracker HELLO",
		tracker_hello_check },
	{ WIRE_T2B_EXIT, WIRE_T2B, sizeof(struct wire_exit), WIRE_BATCH_MAX, "EXIT", exit_check },
	{ WIRE_T2B_ORPHAN, WIRE_T2B, sizeof(struct wire_orphan), WIRE_BATCH_MAX, "ORPHAN",
		orphan_check },
	{ WIRE_T2B_LOST, WIRE_T2B, sizeof(struct wire_lost), 1, "LOST", any_check },
	{ WIRE_T2B_HEARTBEAT, WIRE_T2B, sizeof(struct wire_heartbeat), 1, "HEARTBEAT", any_check },
	{ WIRE_B2R_HELLO, WIRE_B2R, sizeof(struct wire_broker_hello), 1, "broker HELLO",
		any_check },
	{ WIRE_B2R_DESTROY, WIRE_B2R, sizeof(struct wire_destroy), WIRE_BATCH_MAX, "DESTROY",
		destroy_check },
	{ WIRE_B2R_LIMIT, WIRE_B2R, sizeof(struct wire_limit), 1, "LIMIT", any_check },
	{ WIRE_B2R_PING, WIRE_B2R, sizeof(struct wire_ping), 1, "PING", any_check },
	{ WIRE_B2R_SAMPLE, WIRE_B2R, sizeof(struct wire_sample), WIRE_BATCH_MAX, "SAMPLE",
		sample_check },
	{ WIRE_B2R_RECONCILE, WIRE_B2R, sizeof(struct wire_reconcile), 1, "RECONCILE", any_check },
	{ WIRE_R2B_HELLO, WIRE_R2B, sizeof(struct wire_reaper_hello), 1, "reaper HELLO",
		reaper_hello_check },
	{ WIRE_R2B_RESULT, WIRE_R2B, sizeof(struct wire_result_record), WIRE_BATCH_MAX, "RESULT",
		result_check },
	{ WIRE_R2B_PONG, WIRE_R2B, sizeof(struct wire_pong), 1, "PONG", any_check },
	{ WIRE_R2B_SAMPLED, WIRE_R2B, sizeof(struct wire_sampled), WIRE_BATCH_MAX, "SAMPLED",
		sampled_check },
	{ WIRE_R2B_FOUND, WIRE_R2B, sizeof(struct wire_found_record), WIRE_BATCH_MAX, "FOUND",
		found_check },
	{ WIRE_R2B_FOUND_END, WIRE_R2B, sizeof(struct wire_found_end), 1, "FOUND_END",
		found_end_check },
};

static const struct wire_kind *
kind_find(unsigned type)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if ((unsigned)kinds[i].type == type)
			return &kinds[i];
	}
	return NULL;
}

static enum wire_error
header_check(const struct wire_header *h, size_t len, uint32_t expected_seq)
{
	if (h->magic != WIRE_MAGIC)
		return WIRE_ERR_MAGIC;
	if (h->version != WIRE_VERSION)
		return WIRE_ERR_VERSION;
	if (h->length != len)
		return WIRE_ERR_LENGTH;
	if (h->seq != expected_seq)
		return WIRE_ERR_SEQ;
	return WIRE_OK;
}

enum wire_error
wire_check(const void *packet, size_t len, enum wire_direction dir, uint32_t expected_seq,
	struct wire_view *view)
{
	const struct wire_header *header = packet;
	const struct wire_kind *kind;
	const uint8_t *record;
	enum wire_error err;
	size_t body, count;

	if (len < sizeof(*header))
		return WIRE_ERR_SHORT;
	err = header_check(header, len, expected_seq);
	if (err != WIRE_OK)
		return err;
	kind = kind_find(header->type);
	if (kind == NULL)
		return WIRE_ERR_TYPE;
	if (kind->dir != dir)
		return WIRE_ERR_DIRECTION;
	body = len - sizeof(*header);
	count = body / kind->size;
	if (body % kind->size != 0 || count == 0 || count > kind->max)
		return WIRE_ERR_SIZE;
	record = (const uint8_t *)packet + sizeof(*header);
	for (size_t i = 0; i < count; i++) {
		err = kind->record_check(record + i * kind->size);
		if (err != WIRE_OK)
			return err;
	}
	*view = (struct wire_view){ .type = kind->type, .count = count, .records = record };
	return WIRE_OK;
}

size_t
wire_header_fill(struct wire_header *header, enum wire_type type, size_t count, uint32_t seq)
{
	const struct wire_kind *kind = kind_find(type);
	size_t length;

	if (kind == NULL || count == 0 || count > kind->max)
		return 0;
	length = sizeof(*header) + count * kind->size;
	*header = (struct wire_header){
		.magic = WIRE_MAGIC,
		.version = WIRE_VERSION,
		.type = (uint16_t)type,
		.length = (uint32_t)length,
		.seq = seq,
	};
	return length;
}

size_t
wire_record_size(enum wire_type type)
{
	const struct wire_kind *kind = kind_find(type);

	return kind == NULL ? 0 : kind->size;
}

const char *
wire_type_name(unsigned type)
{
	const struct wire_kind *kind = kind_find(type);

	return kind == NULL ? "unknown type" : kind->name;
}

#define NAME_OF(table, i) \
	((i) < sizeof(table) / sizeof((table)[0]) && (table)[i] ? (table)[i] : "?")

const char *
wire_error_text(enum wire_error error)
{
	static const char *const texts[] = {
		[WIRE_OK] = "correct",
		[WIRE_ERR_SHORT] = "shorter than a header",
		[WIRE_ERR_MAGIC] = "wrong magic number",
		[WIRE_ERR_VERSION] = "another protocol version",
		[WIRE_ERR_LENGTH] = "header's length is not the packet's",
		[WIRE_ERR_SEQ] = "sequence number out of order",
		[WIRE_ERR_TYPE] = "unknown message type",
		[WIRE_ERR_DIRECTION] = "a message this peer may not send",
		[WIRE_ERR_SIZE] = "not a whole number of records",
		[WIRE_ERR_PAD] = "padding that is not zero",
		[WIRE_ERR_VALUE] = "a field out of its range",
	};

	return NAME_OF(texts, (size_t)error);
}

const char *
wire_result_name(unsigned result)
{
	static const char *const names[] = {
		[WIRE_RESULT_DESTROYED] = "destroyed",
		[WIRE_RESULT_GONE] = "gone",
		[WIRE_RESULT_REFUSED_LIVE] = "refused-live",
		[WIRE_RESULT_REFUSED_PROGRESS] = "refused-progress",
		[WIRE_RESULT_REFUSED_RATE] = "refused-rate",
		[WIRE_RESULT_OTHER_NETNS] = "other-netns",
		[WIRE_RESULT_UNSUPPORTED] = "unsupported",
		[WIRE_RESULT_FAILED] = "failed",
	};

	return NAME_OF(names, result);
}

static const char *const state_names[] = {
	[TCP_STATE_ESTABLISHED] = "established",
	[TCP_STATE_SYN_SENT] = "syn-sent",
	[TCP_STATE_SYN_RECV] = "syn-recv",
	[TCP_STATE_FIN_WAIT1] = "fin-wait-1",
	[TCP_STATE_FIN_WAIT2] = "fin-wait-2",
	[TCP_STATE_TIME_WAIT] = "time-wait",
	[TCP_STATE_CLOSE] = "close",
	[TCP_STATE_CLOSE_WAIT] = "close-wait",
	[TCP_STATE_LAST_ACK] = "last-ack",
	[TCP_STATE_LISTEN] = "listen",
	[TCP_STATE_CLOSING] = "closing",
	[TCP_STATE_NEW_SYN_RECV] = "new-syn-recv",
};

const char *
tcp_state_name(unsigned state)
{
	return NAME_OF(state_names, state);
}

unsigned
tcp_state_by_name(const char *name)
{
	for (unsigned s = 1; s < sizeof(state_names) / sizeof(state_names[0]); s++) {
		if (strcmp(state_names[s], name) == 0)
			return s;
	}
	return 0;
}

const char *
tcp_timer_name(unsigned timer)
{
	static const char *const names[] = { "none", "retransmit", "keepalive", "mini-socket",
		"zero-window" };

	return NAME_OF(names, timer);
}

void
wire_endpoint_text(
	uint16_t family, const uint8_t address[16], uint16_t port, char out[WIRE_ENDPOINT_TEXT])
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(family, address, text, sizeof(text));
	snprintf(out, WIRE_ENDPOINT_TEXT, family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, port);
}

bool
wire_progress_made(const struct wire_progress *before, const struct wire_progress *after)
{
	return after->bytes_acked > before->bytes_acked || after->window_end > before->window_end;
}

bool
wire_tuple_equal(const struct wire_tuple *a, const struct wire_tuple *b)
{
	return a->family == b->family && a->src_port == b->src_port && a->dst_port == b->dst_port &&
	       a->ifindex == b->ifindex && a->netns == b->netns &&
	       memcmp(a->src, b->src, sizeof(a->src)) == 0 &&
	       memcmp(a->dst, b->dst, sizeof(a->dst)) == 0;
}
