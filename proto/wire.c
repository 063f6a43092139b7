/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BIT(s) TCP_STATE_BIT(TCP_STATE_##s)

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

	if ((h->features & ~known) != 0 || h->heartbeat_ms == 0 ||
		h->heartbeat_ms > WIRE_HEARTBEAT_MAX_MS)
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

static bool
errno_valid(int32_t error)
{
	return error >= 0 && (uint32_t)error <= WIRE_ERRNO_MAX;
}

static bool
state_in(unsigned state, uint32_t set)
{
	return state <= TCP_STATE_NEW_SYN_RECV && (TCP_STATE_BIT(state) & set) != 0;
}

static bool
progress_none(const struct wire_progress *p)
{
	return all_zero((const uint8_t *)p, sizeof(*p));
}

/* A mini-socket counts nothing, and is a FIN-WAIT-2 or a TIME-WAIT; of a full one the window ends
 * not before what was acknowledged, and by not more than a window can be. */
static bool
progress_valid(const struct wire_progress *p, unsigned state, bool mini)
{
	struct wire_progress rest = *p;

	if (!mini)
		return p->timer != WIRE_TIMER_MINI && p->window_end >= p->bytes_acked &&
		       p->window_end - p->bytes_acked <= UINT32_MAX;
	rest.timer = 0;
	rest.timer_ms = 0;
	return p->timer == WIRE_TIMER_MINI && progress_none(&rest) &&
	       state_in(state, BIT(FIN_WAIT2) | BIT(TIME_WAIT));
}

/* What was found has to go with the state, and an error with its being none. */
static bool
sampled_agrees(const struct wire_sampled *s)
{
	bool nothing = s->state == 0 && s->mini == 0 && progress_none(&s->progress);

	if ((s->found == WIRE_FOUND_FAILED) != (s->error != 0))
		return false;
	switch ((enum wire_found)s->found) {
	case WIRE_FOUND_ORPHAN:
		return state_in(s->state, TCP_STATES_ORPHAN) &&
		       progress_valid(&s->progress, s->state, s->mini);
	case WIRE_FOUND_TIME_WAIT:
		return s->state == TCP_STATE_TIME_WAIT && s->mini == 1 &&
		       progress_valid(&s->progress, s->state, true);
	case WIRE_FOUND_HELD: /* by whom it is held does not matter, nor how it is doing */
		return true;
	case WIRE_FOUND_NOTHING:
	case WIRE_FOUND_FAILED:
		return nothing;
	}
	return false;
}

static enum wire_error
sampled_check(const void *record)
{
	const struct wire_sampled *s = record;

	if (s->pad != 0)
		return WIRE_ERR_PAD;
	if (s->found < WIRE_FOUND_ORPHAN || s->found > WIRE_FOUND_FAILED || s->mini > 1 ||
		s->state > TCP_STATE_NEW_SYN_RECV || !errno_valid(s->error))
		return WIRE_ERR_VALUE;
	return sampled_agrees(s) ? WIRE_OK : WIRE_ERR_VALUE;
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
	if (!cookie_valid(f->cookie) || f->mini > 1 || !state_in(f->state, TCP_STATES_ORPHAN) ||
		!progress_valid(&f->progress, f->state, f->mini))
		return WIRE_ERR_VALUE;
	return WIRE_OK;
}

static enum wire_error
found_end_check(const void *record)
{
	const struct wire_found_end *f = record;

	if (!all_zero(f->pad, sizeof(f->pad)))
		return WIRE_ERR_PAD;
	if (f->complete > 1 || !errno_valid(f->error) || (f->complete == 1 && f->error != 0))
		return WIRE_ERR_VALUE;
	return WIRE_OK;
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
	if (r->state > TCP_STATE_NEW_SYN_RECV || r->peer_notice > WIRE_NOTICE_RST ||
		!errno_valid(r->error))
		return WIRE_ERR_VALUE;
	return (r->result == WIRE_RESULT_FAILED) == (r->error != 0) ? WIRE_OK : WIRE_ERR_VALUE;
}

/* Zero-terminated, and nothing in it that a format could take for something else. */
static bool
word_valid(const char *word, size_t size)
{
	size_t len = strnlen(word, size);

	for (size_t i = 0; i < len; i++) {
		char c = word[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '_' || c == '.' || c == '-'))
			return false;
	}
	return len < size;
}

static bool
note_texts_valid(const struct wire_note *n)
{
	return text_terminated(n->comm, sizeof(n->comm)) &&
	       text_terminated(n->unit, sizeof(n->unit)) &&
	       word_valid(n->reason, sizeof(n->reason)) &&
	       word_valid(n->verdict, sizeof(n->verdict)) &&
	       word_valid(n->class, sizeof(n->class)) && word_valid(n->rule, sizeof(n->rule));
}

static bool
note_numbers_valid(const struct wire_note *n)
{
	bool suppressed = n->action == WIRE_ACTION_SUPPRESSED;

	if (n->action < WIRE_ACTION_START || n->action > WIRE_ACTION_SUPPRESSED ||
		n->outcome > WIRE_OUTCOME_UNKNOWN)
		return false;
	if (suppressed != (n->sequence == 0) || (suppressed && n->count == 0))
		return false;
	return n->cookie != UINT64_MAX && n->pid <= INT32_MAX && n->exit_code <= 0xffff &&
	       errno_valid(n->error) && n->state <= TCP_STATE_NEW_SYN_RECV &&
	       n->notice <= WIRE_NOTICE_RST;
}

static enum wire_error
note_check(const void *record)
{
	const struct wire_note *n = record;
	const uint8_t flags = WIRE_NOTE_UID | WIRE_NOTE_EXIT;

	if (!all_zero(n->pad, sizeof(n->pad)))
		return WIRE_ERR_PAD;
	if (((n->flags & WIRE_NOTE_UID) == 0 && n->uid != 0) ||
		((n->flags & WIRE_NOTE_EXIT) == 0 && n->exit_code != 0))
		return WIRE_ERR_PAD;
	if ((n->flags & ~flags) != 0 || !note_numbers_valid(n) || !note_texts_valid(n))
		return WIRE_ERR_VALUE;
	if (n->tuple.family != 0)
		return tuple_check(&n->tuple);
	return all_zero((const uint8_t *)&n->tuple, sizeof(n->tuple)) ? WIRE_OK : WIRE_ERR_PAD;
}

static enum wire_error
report_check(const void *record)
{
	const struct wire_report *r = record;

	if (!all_zero(r->pad, sizeof(r->pad)))
		return WIRE_ERR_PAD;
	return errno_valid(r->error) ? WIRE_OK : WIRE_ERR_VALUE;
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
	{ WIRE_B2S_HELLO, WIRE_B2S, sizeof(struct wire_sink_greeting), 1, "broker HELLO",
		any_check },
	{ WIRE_B2S_NOTE, WIRE_B2S, sizeof(struct wire_note), WIRE_NOTES_MAX, "NOTE", note_check },
	{ WIRE_S2B_HELLO, WIRE_S2B, sizeof(struct wire_sink_hello), 1, "sink HELLO", any_check },
	{ WIRE_S2B_REPORT, WIRE_S2B, sizeof(struct wire_report), 1, "REPORT", report_check },
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

bool
wire_note_of_ghosts(const struct wire_note *note)
{
	return note->action == WIRE_ACTION_EXIT || note->action == WIRE_ACTION_DECIDE ||
	       note->action == WIRE_ACTION_DESTROY;
}

const char *
wire_action_name(unsigned action)
{
	static const char *const names[] = {
		[WIRE_ACTION_START] = "start",
		[WIRE_ACTION_STOP] = "stop",
		[WIRE_ACTION_EXIT] = "exit",
		[WIRE_ACTION_DECIDE] = "decide",
		[WIRE_ACTION_DESTROY] = "destroy",
		[WIRE_ACTION_LOST] = "lost",
		[WIRE_ACTION_RECONCILE] = "reconcile",
		[WIRE_ACTION_BREAKER] = "breaker",
		[WIRE_ACTION_CONFIG_RELOAD] = "config-reload",
		[WIRE_ACTION_LOG_OPEN] = "log-open",
		[WIRE_ACTION_LOG_CLOSE] = "log-close",
		[WIRE_ACTION_SUPPRESSED] = "suppressed",
	};

	return NAME_OF(names, action);
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

uint32_t
tcp_states_after(unsigned state)
{
	static const uint32_t after[] = {
		[TCP_STATE_ESTABLISHED] = TCP_STATES_ORPHAN | BIT(TIME_WAIT),
		[TCP_STATE_SYN_RECV] = TCP_STATES_ORPHAN | BIT(TIME_WAIT),
		[TCP_STATE_FIN_WAIT1] =
			BIT(FIN_WAIT1) | BIT(FIN_WAIT2) | BIT(CLOSING) | BIT(TIME_WAIT),
		[TCP_STATE_FIN_WAIT2] = BIT(FIN_WAIT2) | BIT(TIME_WAIT),
		[TCP_STATE_TIME_WAIT] = BIT(TIME_WAIT),
		[TCP_STATE_CLOSE_WAIT] = BIT(LAST_ACK),
		[TCP_STATE_LAST_ACK] = BIT(LAST_ACK),
		[TCP_STATE_CLOSING] = BIT(CLOSING) | BIT(TIME_WAIT),
	};

	return state < sizeof(after) / sizeof(after[0]) ? after[state] : 0;
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
