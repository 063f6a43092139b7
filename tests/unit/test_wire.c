/* SPDX-License-Identifier: Apache-2.0 */
/* links: proto/wire.c */
#include "tests/unit/unit.h"

#include <sys/socket.h>

#include "proto/wire.h"

#define SEQ 7u

/* ---- a correct record of each type ---- */

static struct wire_owner
some_owner(void)
{
	return (struct wire_owner){ .start_boottime = 1,
		.cgroup_id = 99,
		.tgid = 812,
		.uid = 33,
		.exit_code = 9,
		.flags = WIRE_OWNER_OOM,
		.comm = "nginx",
		.unit = "nginx.service" };
}

static struct wire_tuple
some_tuple(void)
{
	return (struct wire_tuple){ .family = AF_INET,
		.src_port = 5555,
		.dst_port = 48670,
		.netns = 4026531840u,
		.src = { 127, 0, 0, 1 },
		.dst = { 127, 0, 0, 2 } };
}

static void
tracker_hello_make(void *record)
{
	*(struct wire_tracker_hello *)record = (struct wire_tracker_hello){ .build_id = { 1 },
		.features = WIRE_TRACKER_EXIT | WIRE_TRACKER_ORPHAN | WIRE_TRACKER_STAMP,
		.heartbeat_ms = 1000 };
}

static void
exit_make(void *record)
{
	*(struct wire_exit *)record =
		(struct wire_exit){ .owner = some_owner(), .died_mono_ns = 5 };
}

static void
orphan_make(void *record)
{
	*(struct wire_orphan *)record = (struct wire_orphan){ .owner = some_owner(),
		.tuple = some_tuple(),
		.cookie = 0x1007,
		.born_mono_ns = 6,
		.send_queue = 100,
		.state = TCP_STATE_FIN_WAIT1 };
}

static void
lost_make(void *record)
{
	*(struct wire_lost *)record = (struct wire_lost){ 1, 2, 3 };
}

static void
heartbeat_make(void *record)
{
	*(struct wire_heartbeat *)record = (struct wire_heartbeat){ 1, 2, 3 };
}

static void
broker_hello_make(void *record)
{
	*(struct wire_broker_hello *)record = (struct wire_broker_hello){ { 1 }, 50000 };
}

static void
destroy_make(void *record)
{
	*(struct wire_destroy *)record = (struct wire_destroy){ .ghost = 42,
		.cookie = 0x1007,
		.tuple = some_tuple(),
		.states = TCP_STATES_RULE,
		.state = TCP_STATE_FIN_WAIT2 };
}

static void
sample_make(void *record)
{
	*(struct wire_sample *)record =
		(struct wire_sample){ .ghost = 42, .cookie = 0x1007, .tuple = some_tuple() };
}

static void
reconcile_make(void *record)
{
	*(struct wire_reconcile *)record = (struct wire_reconcile){ 3 };
}

static struct wire_progress
some_progress(void)
{
	return (struct wire_progress){ .bytes_acked = 1000,
		.window_end = 66535,
		.send_queue = 5000,
		.unacked = 3,
		.notsent = 600,
		.last_ack_ms = 250,
		.timer_ms = 190,
		.timer = 4,
		.retransmits = 1,
		.probes = 2,
		.backoff = 3 };
}

static void
sampled_make(void *record)
{
	*(struct wire_sampled *)record = (struct wire_sampled){ .ghost = 42,
		.cookie = 0x1007,
		.sampled_mono_ns = 8,
		.progress = some_progress(),
		.found = WIRE_FOUND_ORPHAN,
		.state = TCP_STATE_CLOSING,
		.mini = 0 };
}

static void
found_make(void *record)
{
	*(struct wire_found_record *)record = (struct wire_found_record){ .cookie = 0x1007,
		.tuple = some_tuple(),
		.progress = some_progress(),
		.state = TCP_STATE_LAST_ACK };
}

static void
found_end_make(void *record)
{
	*(struct wire_found_end *)record = (struct wire_found_end){
		.round = 3, .done_mono_ns = 9, .count = 12, .complete = 1
	};
}

static void
limit_make(void *record)
{
	*(struct wire_limit *)record = (struct wire_limit){ 50000 };
}

static void
ping_make(void *record)
{
	*(struct wire_ping *)record = (struct wire_ping){ 11 };
}

static void
reaper_hello_make(void *record)
{
	*(struct wire_reaper_hello *)record = (struct wire_reaper_hello){
		.build_id = { 1 }, .ceiling = 50000, .netns = 4026531840u, .time_wait = 1
	};
}

static void
result_make(void *record)
{
	*(struct wire_result_record *)record = (struct wire_result_record){ .ghost = 42,
		.cookie = 0x1007,
		.done_mono_ns = 9,
		.tries = 1,
		.result = WIRE_RESULT_DESTROYED,
		.state = TCP_STATE_FIN_WAIT1,
		.peer_notice = WIRE_NOTICE_RST };
}

static void
pong_make(void *record)
{
	*(struct wire_pong *)record = (struct wire_pong){ 11 };
}

static void
greeting_make(void *record)
{
	*(struct wire_sink_greeting *)record =
		(struct wire_sink_greeting){ .build_id = { 1 }, .boot_id = { 2 } };
}

static void
note_make(void *record)
{
	*(struct wire_note *)record = (struct wire_note){ .sequence = 18,
		.ghost = 42,
		.cookie = 0x1007,
		.latency_ns = 84000,
		.pid = 812,
		.uid = 33,
		.exit_code = 9,
		.send_queue = 3782145,
		.action = WIRE_ACTION_DESTROY,
		.outcome = WIRE_OUTCOME_SUCCESS,
		.state = TCP_STATE_FIN_WAIT1,
		.flags = WIRE_NOTE_UID | WIRE_NOTE_EXIT,
		.notice = WIRE_NOTICE_RST,
		.tuple = some_tuple(),
		.comm = "nginx",
		.unit = "nginx.service",
		.reason = "owner-killed",
		.verdict = "destroyed",
		.class = "kill",
		.rule = "all.of-them_1" };
}

static void
sink_hello_make(void *record)
{
	*(struct wire_sink_hello *)record = (struct wire_sink_hello){ .build_id = { 1 } };
}

static void
report_make(void *record)
{
	*(struct wire_report *)record =
		(struct wire_report){ .taken = 100, .lost = 3, .error = 11 };
}

/* The protocol's table once more, by hand. pads: the first and the number of bytes that must be
 * zero. */
static const struct kind {
	enum wire_type type;
	enum wire_direction dir;
	size_t size, max;
	void (*make)(void *record);
	struct {
		size_t at, len;
	} pads[3];
} kinds[] = {
	{ WIRE_T2B_HELLO, WIRE_T2B, 24, 1, tracker_hello_make, { { 0 } } },
	{ WIRE_T2B_EXIT, WIRE_T2B, 152, 64, exit_make, { { 0 } } },
	{ WIRE_T2B_ORPHAN, WIRE_T2B, 216, 64, orphan_make, { { 150, 2 }, { 214, 2 } } },
	{ WIRE_T2B_LOST, WIRE_T2B, 24, 1, lost_make, { { 0 } } },
	{ WIRE_T2B_HEARTBEAT, WIRE_T2B, 24, 1, heartbeat_make, { { 0 } } },
	{ WIRE_B2R_HELLO, WIRE_B2R, 24, 1, broker_hello_make, { { 0 } } },
	/* what was seen is a pad where nothing was proved */
	{ WIRE_B2R_DESTROY, WIRE_B2R, 112, 64, destroy_make,
		{ { 22, 2 }, { 64, 40 }, { 110, 2 } } },
	{ WIRE_B2R_SAMPLE, WIRE_B2R, 64, 64, sample_make, { { 22, 2 } } },
	{ WIRE_B2R_RECONCILE, WIRE_B2R, 8, 1, reconcile_make, { { 0 } } },
	{ WIRE_B2R_LIMIT, WIRE_B2R, 8, 1, limit_make, { { 0 } } },
	{ WIRE_B2R_PING, WIRE_B2R, 8, 1, ping_make, { { 0 } } },
	{ WIRE_R2B_HELLO, WIRE_R2B, 32, 1, reaper_hello_make, { { 30, 2 } } },
	{ WIRE_R2B_RESULT, WIRE_R2B, 48, 64, result_make, { { 46, 2 } } },
	{ WIRE_R2B_PONG, WIRE_R2B, 8, 1, pong_make, { { 0 } } },
	{ WIRE_R2B_SAMPLED, WIRE_R2B, 72, 64, sampled_make, { { 71, 1 } } },
	{ WIRE_R2B_FOUND, WIRE_R2B, 104, 64, found_make, { { 14, 2 }, { 98, 6 } } },
	{ WIRE_R2B_FOUND_END, WIRE_R2B, 32, 1, found_end_make, { { 25, 7 } } },
	{ WIRE_B2S_HELLO, WIRE_B2S, 32, 1, greeting_make, { { 0 } } },
	{ WIRE_B2S_NOTE, WIRE_B2S, 424, 32, note_make, { { 73, 7 }, { 86, 2 } } },
	{ WIRE_S2B_HELLO, WIRE_S2B, 16, 1, sink_hello_make, { { 0 } } },
	{ WIRE_S2B_REPORT, WIRE_S2B, 24, 1, report_make, { { 20, 4 } } },
};

static const struct kind *
kind_of(unsigned type)
{
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		if ((unsigned)kinds[i].type == type)
			return &kinds[i];
	}
	return NULL;
}

/* ---- packets ---- */

static _Alignas(8) uint8_t packet[WIRE_PACKET_MAX + 2 * WIRE_RECORD_MAX];

static struct wire_header *
header(void)
{
	return (struct wire_header *)packet;
}

static uint8_t *
record_at(const struct kind *k, size_t i)
{
	return packet + sizeof(struct wire_header) + i * k->size;
}

/* A packet of count correct records: also of more than are allowed. Returns its length. */
static size_t
packet_make(const struct kind *k, size_t count)
{
	size_t len = sizeof(struct wire_header) + count * k->size;

	*header() = (struct wire_header){ .magic = WIRE_MAGIC,
		.version = WIRE_VERSION,
		.type = (uint16_t)k->type,
		.length = (uint32_t)len,
		.seq = SEQ };
	for (size_t i = 0; i < count; i++)
		k->make(record_at(k, i));
	return len;
}

static enum wire_error
check(size_t len, enum wire_direction dir)
{
	struct wire_view view;

	return wire_check(packet, len, dir, SEQ, &view);
}

static void
test_each_type(void **state)
{
	struct wire_view view;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		const struct kind *k = &kinds[i];

		for (size_t count = 1; count <= k->max; count++) {
			size_t len = packet_make(k, count);

			assert_int_equal(wire_check(packet, len, k->dir, SEQ, &view), WIRE_OK);
			assert_int_equal(view.type, k->type);
			assert_int_equal(view.count, count);
			assert_ptr_equal(view.records, packet + 16);
		}
	}
}

/* Each of the 65,536 types in each direction. */
static void
test_type_and_direction(void **state)
{
	const enum wire_direction dirs[] = { WIRE_T2B, WIRE_B2R, WIRE_R2B, WIRE_B2S, WIRE_S2B };

	(void)state;
	for (unsigned type = 0; type <= UINT16_MAX; type++) {
		const struct kind *k = kind_of(type);
		size_t len = packet_make(k != NULL ? k : &kinds[0], 1);

		header()->type = (uint16_t)type;
		for (size_t d = 0; d < COUNT_OF(dirs); d++) {
			enum wire_error want = k == NULL	   ? WIRE_ERR_TYPE
					       : k->dir == dirs[d] ? WIRE_OK
								   : WIRE_ERR_DIRECTION;

			assert_int_equal(check(len, dirs[d]), want);
		}
	}
}

static void
test_shorter_than_a_header(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		for (size_t len = 0; len < sizeof(struct wire_header); len++) {
			packet_make(&kinds[i], 1);
			header()->length = (uint32_t)len;
			assert_int_equal(check(len, kinds[i].dir), WIRE_ERR_SHORT);
		}
	}
}

static void
test_magic_and_version(void **state)
{
	const struct kind *k = kind_of(WIRE_B2R_PING);

	(void)state;
	for (unsigned bit = 0; bit < 32; bit++) {
		size_t len = packet_make(k, 1);

		header()->magic ^= 1u << bit;
		assert_int_equal(check(len, k->dir), WIRE_ERR_MAGIC);
	}
	for (unsigned version = 0; version <= UINT16_MAX; version++) {
		size_t len = packet_make(k, 1);

		header()->version = (uint16_t)version;
		assert_int_equal(check(len, k->dir), version == 1 ? WIRE_OK : WIRE_ERR_VERSION);
	}
}

/* The header's length and the packet's must be the same, whichever of them is right. */
static void
test_length(void **state)
{
	const uint32_t wrong[] = { 0, 1, 15, 16, 23, 25, 32, 0x18000000, UINT32_MAX };
	const struct kind *k = kind_of(WIRE_B2R_PING);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		size_t len = packet_make(k, 1);

		header()->length = wrong[i];
		assert_int_equal(check(len, k->dir), WIRE_ERR_LENGTH);
	}
	for (size_t len = 16; len < 48; len++) {
		packet_make(k, 1);
		assert_int_equal(check(len, k->dir), len == 24 ? WIRE_OK : WIRE_ERR_LENGTH);
	}
}

static void
test_seq(void **state)
{
	const struct kind *k = kind_of(WIRE_B2R_PING);
	size_t len = packet_make(k, 1);
	struct wire_view view;

	(void)state;
	for (unsigned bit = 0; bit < 32; bit++)
		assert_int_equal(
			wire_check(packet, len, k->dir, SEQ ^ 1u << bit, &view), WIRE_ERR_SEQ);
	assert_int_equal(wire_check(packet, len, k->dir, SEQ + 1, &view), WIRE_ERR_SEQ);
	assert_int_equal(wire_check(packet, len, k->dir, SEQ - 1, &view), WIRE_ERR_SEQ);
	header()->seq = UINT32_MAX;
	assert_int_equal(wire_check(packet, len, k->dir, UINT32_MAX, &view), WIRE_OK);
	assert_int_equal(wire_check(packet, len, k->dir, 0, &view), WIRE_ERR_SEQ);
}

/* Every length from a bare header to one record too many: only whole records pass. */
static void
test_whole_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		const struct kind *k = &kinds[i];
		size_t most = packet_make(k, k->max + 1);

		for (size_t len = 16; len <= most; len++) {
			size_t count = (len - 16) / k->size;
			bool whole = (len - 16) % k->size == 0 && count >= 1 && count <= k->max;

			header()->length = (uint32_t)len;
			assert_int_equal(check(len, k->dir), whole ? WIRE_OK : WIRE_ERR_SIZE);
		}
	}
}

static void
pad_bits_try(const struct kind *k, size_t at, size_t len)
{
	const size_t where[] = { 0, k->max / 2, k->max - 1 };

	for (size_t bit = 0; bit < 8 * len; bit++) {
		for (size_t w = 0; w < COUNT_OF(where); w++) {
			size_t total = packet_make(k, k->max);

			record_at(k, where[w])[at + bit / 8] ^= (uint8_t)(1u << (bit % 8));
			assert_int_equal(check(total, k->dir), WIRE_ERR_PAD);
		}
	}
}

/* Every bit of every pad, in the first record, one in the middle and the last. */
static void
test_pads(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		for (size_t p = 0; p < COUNT_OF(kinds[i].pads); p++)
			pad_bits_try(&kinds[i], kinds[i].pads[p].at, kinds[i].pads[p].len);
	}
}

/* The bytes behind an IPv4 address are pads, too; IPv6 uses all sixteen. */
static void
test_tuple_address(void **state)
{
	const struct kind *users[] = { kind_of(WIRE_T2B_ORPHAN), kind_of(WIRE_B2R_DESTROY),
		kind_of(WIRE_B2R_SAMPLE), kind_of(WIRE_R2B_FOUND), kind_of(WIRE_B2S_NOTE) };
	const size_t tuple_at[] = { offsetof(struct wire_orphan, tuple),
		offsetof(struct wire_destroy, tuple), offsetof(struct wire_sample, tuple),
		offsetof(struct wire_found_record, tuple), offsetof(struct wire_note, tuple) };

	(void)state;
	for (size_t u = 0; u < COUNT_OF(users); u++) {
		for (size_t bit = 0; bit < 8 * 32; bit++) {
			size_t len = packet_make(users[u], 1);
			struct wire_tuple *t = (void *)(record_at(users[u], 0) + tuple_at[u]);

			/* dst stands right behind src */
			((uint8_t *)t)[offsetof(struct wire_tuple, src) + bit / 8] ^=
				(uint8_t)(1u << (bit % 8));
			assert_int_equal(check(len, users[u]->dir),
				bit / 8 % 16 < 4 ? WIRE_OK : WIRE_ERR_PAD);
			t->family = AF_INET6;
			assert_int_equal(check(len, users[u]->dir), WIRE_OK);
		}
	}
}

static void
test_tuple_family(void **state)
{
	const struct kind *users[] = { kind_of(WIRE_B2R_DESTROY), kind_of(WIRE_B2R_SAMPLE),
		kind_of(WIRE_R2B_FOUND) };
	const size_t family_at[] = { offsetof(struct wire_destroy, tuple.family),
		offsetof(struct wire_sample, tuple.family),
		offsetof(struct wire_found_record, tuple.family) };

	(void)state;
	for (unsigned n = 0; n <= UINT16_MAX * COUNT_OF(users); n++) {
		const struct kind *k = users[n % COUNT_OF(users)];
		uint16_t family = (uint16_t)(n / COUNT_OF(users));
		size_t len = packet_make(k, 1);

		memcpy(record_at(k, 0) + family_at[n % COUNT_OF(users)], &family, sizeof(family));
		assert_int_equal(check(len, k->dir),
			family == AF_INET || family == AF_INET6 ? WIRE_OK : WIRE_ERR_VALUE);
	}
}

/* Where something was proved, any sample may have been seen. */
static void
test_proved(void **state)
{
	const struct kind *k = kind_of(WIRE_B2R_DESTROY);
	size_t len = packet_make(k, 1);
	struct wire_destroy *d = (struct wire_destroy *)record_at(k, 0);

	(void)state;
	d->flags = WIRE_DESTROY_PROVED;
	assert_int_equal(check(len, k->dir), WIRE_OK);
	d->seen = some_progress();
	assert_int_equal(check(len, k->dir), WIRE_OK);
	memset(&d->seen, 0xff, sizeof(d->seen));
	assert_int_equal(check(len, k->dir), WIRE_OK);
	d->flags = 0;
	assert_int_equal(check(len, k->dir), WIRE_ERR_PAD);
}

/* ---- closed value sets and ranges ---- */

#define FIELD(s, f) offsetof(struct s, f), sizeof(((struct s *)0)->f)
#define OWNER(s, f) offsetof(struct s, owner.f), sizeof(((struct s *)0)->owner.f)

static const struct value {
	enum wire_type type;
	size_t at, len;
	uint64_t value;
	bool good;
} values[] = {
	{ WIRE_T2B_HELLO, FIELD(wire_tracker_hello, features), 0, true },
	{ WIRE_T2B_HELLO, FIELD(wire_tracker_hello, features), 7, true },
	{ WIRE_T2B_HELLO, FIELD(wire_tracker_hello, features), 8, false },
	{ WIRE_T2B_HELLO, FIELD(wire_tracker_hello, features), 1u << 31, false },
	{ WIRE_T2B_HELLO, FIELD(wire_tracker_hello, heartbeat_ms), 0, false },
	{ WIRE_T2B_HELLO, FIELD(wire_tracker_hello, heartbeat_ms), 1, true },
	{ WIRE_T2B_HELLO, FIELD(wire_tracker_hello, heartbeat_ms), 5000, true },
	{ WIRE_T2B_HELLO, FIELD(wire_tracker_hello, heartbeat_ms), 5001, false },
	{ WIRE_T2B_HELLO, FIELD(wire_tracker_hello, heartbeat_ms), UINT32_MAX, false },

	{ WIRE_T2B_EXIT, OWNER(wire_exit, start_boottime), 0, false },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, start_boottime), UINT64_MAX, true },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, tgid), 0, false },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, tgid), 1, true },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, tgid), INT32_MAX, true },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, tgid), 1u << 31, false },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, tgid), UINT32_MAX, false },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, uid), UINT32_MAX, true },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, exit_code), 0, true },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, exit_code), 0xffff, true },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, exit_code), 0x10000, false },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, flags), 0, true },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, flags), 3, true },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, flags), 4, false },
	{ WIRE_T2B_EXIT, OWNER(wire_exit, flags), 1u << 31, false },

	{ WIRE_T2B_ORPHAN, OWNER(wire_orphan, start_boottime), 0, false },
	{ WIRE_T2B_ORPHAN, OWNER(wire_orphan, tgid), 0, false },
	{ WIRE_T2B_ORPHAN, OWNER(wire_orphan, tgid), 1u << 31, false },
	{ WIRE_T2B_ORPHAN, OWNER(wire_orphan, exit_code), 0x10000, false },
	{ WIRE_T2B_ORPHAN, OWNER(wire_orphan, flags), 4, false },
	{ WIRE_T2B_ORPHAN, FIELD(wire_orphan, cookie), 0, false },
	{ WIRE_T2B_ORPHAN, FIELD(wire_orphan, cookie), 1, true },
	{ WIRE_T2B_ORPHAN, FIELD(wire_orphan, cookie), UINT64_MAX - 1, true },
	{ WIRE_T2B_ORPHAN, FIELD(wire_orphan, cookie), UINT64_MAX, false },
	{ WIRE_T2B_ORPHAN, FIELD(wire_orphan, cookie), UINT32_MAX, true },
	{ WIRE_T2B_ORPHAN, FIELD(wire_orphan, cookie), (uint64_t)UINT32_MAX << 32, true },
	{ WIRE_T2B_ORPHAN, FIELD(wire_orphan, send_queue), UINT32_MAX, true },
	{ WIRE_T2B_ORPHAN, FIELD(wire_orphan, born_mono_ns), UINT64_MAX, true },

	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, cookie), 0, false },
	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, cookie), 1, true },
	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, cookie), UINT64_MAX - 1, true },
	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, cookie), UINT64_MAX, false },
	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, states), 0, true },
	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, states), 0xa70, true },
	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, states), 1u << 1, false },
	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, states), 1u << 10, false },
	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, states), 1u << 31, false },
	{ WIRE_B2R_DESTROY, FIELD(wire_destroy, ghost), 0, true },

	{ WIRE_B2R_SAMPLE, FIELD(wire_sample, cookie), 0, false },
	{ WIRE_B2R_SAMPLE, FIELD(wire_sample, cookie), 1, true },
	{ WIRE_B2R_SAMPLE, FIELD(wire_sample, cookie), UINT64_MAX - 1, true },
	{ WIRE_B2R_SAMPLE, FIELD(wire_sample, cookie), UINT64_MAX, false },
	{ WIRE_B2R_SAMPLE, FIELD(wire_sample, ghost), 0, true },
	{ WIRE_B2R_SAMPLE, FIELD(wire_sample, ghost), UINT64_MAX, true },
	{ WIRE_B2R_RECONCILE, FIELD(wire_reconcile, round), 0, true },
	{ WIRE_B2R_RECONCILE, FIELD(wire_reconcile, round), UINT64_MAX, true },

	{ WIRE_R2B_HELLO, FIELD(wire_reaper_hello, netns), 0, false },
	{ WIRE_R2B_HELLO, FIELD(wire_reaper_hello, netns), 1, true },
	{ WIRE_R2B_HELLO, FIELD(wire_reaper_hello, time_wait), 0, true },
	{ WIRE_R2B_HELLO, FIELD(wire_reaper_hello, time_wait), 2, false },
	{ WIRE_R2B_HELLO, FIELD(wire_reaper_hello, time_wait), 0xff, false },

	{ WIRE_R2B_RESULT, FIELD(wire_result_record, error), 0, true },
	{ WIRE_R2B_RESULT, FIELD(wire_result_record, error), INT32_MAX, false },
	{ WIRE_R2B_RESULT, FIELD(wire_result_record, error), UINT32_MAX, false },
	{ WIRE_R2B_RESULT, FIELD(wire_result_record, error), 1u << 31, false },
	{ WIRE_R2B_RESULT, FIELD(wire_result_record, peer_notice), 0, true },
	{ WIRE_R2B_RESULT, FIELD(wire_result_record, peer_notice), 2, false },
	{ WIRE_R2B_RESULT, FIELD(wire_result_record, peer_notice), 0xff, false },

	{ WIRE_R2B_SAMPLED, FIELD(wire_sampled, error), 0, true },
	{ WIRE_R2B_SAMPLED, FIELD(wire_sampled, error), 1, false },
	{ WIRE_R2B_SAMPLED, FIELD(wire_sampled, error), 1u << 31, false },
	{ WIRE_R2B_SAMPLED, FIELD(wire_sampled, error), UINT32_MAX, false },
	{ WIRE_R2B_SAMPLED, FIELD(wire_sampled, cookie), 0, true },
	{ WIRE_R2B_SAMPLED, FIELD(wire_sampled, progress.bytes_acked), UINT64_MAX, false },
	{ WIRE_R2B_FOUND, FIELD(wire_found_record, cookie), 0, false },
	{ WIRE_R2B_FOUND, FIELD(wire_found_record, cookie), 1, true },
	{ WIRE_R2B_FOUND, FIELD(wire_found_record, cookie), UINT64_MAX - 1, true },
	{ WIRE_R2B_FOUND, FIELD(wire_found_record, cookie), UINT64_MAX, false },
	{ WIRE_R2B_FOUND, FIELD(wire_found_record, progress.window_end), UINT64_MAX, false },
	{ WIRE_R2B_FOUND_END, FIELD(wire_found_end, error), 1, false },
	{ WIRE_R2B_FOUND_END, FIELD(wire_found_end, error), 1u << 31, false },
	{ WIRE_R2B_FOUND_END, FIELD(wire_found_end, count), UINT32_MAX, true },
	{ WIRE_R2B_FOUND_END, FIELD(wire_found_end, round), UINT64_MAX, true },

	{ WIRE_B2S_NOTE, FIELD(wire_note, sequence), 0, false },
	{ WIRE_B2S_NOTE, FIELD(wire_note, sequence), UINT64_MAX, true },
	{ WIRE_B2S_NOTE, FIELD(wire_note, count), 0, true },
	{ WIRE_B2S_NOTE, FIELD(wire_note, cookie), 0, true },
	{ WIRE_B2S_NOTE, FIELD(wire_note, cookie), UINT64_MAX, false },
	{ WIRE_B2S_NOTE, FIELD(wire_note, pid), 0, true },
	{ WIRE_B2S_NOTE, FIELD(wire_note, pid), INT32_MAX, true },
	{ WIRE_B2S_NOTE, FIELD(wire_note, pid), 1u << 31, false },
	{ WIRE_B2S_NOTE, FIELD(wire_note, uid), UINT32_MAX, true },
	{ WIRE_B2S_NOTE, FIELD(wire_note, exit_code), 0xffff, true },
	{ WIRE_B2S_NOTE, FIELD(wire_note, exit_code), 0x10000, false },
	{ WIRE_B2S_NOTE, FIELD(wire_note, error), 4095, true },
	{ WIRE_B2S_NOTE, FIELD(wire_note, error), 4096, false },
	{ WIRE_B2S_NOTE, FIELD(wire_note, error), UINT32_MAX, false },
	{ WIRE_B2S_NOTE, FIELD(wire_note, tuple.family), AF_INET6, true },
	{ WIRE_B2S_NOTE, FIELD(wire_note, tuple.family), AF_UNIX, false },
	{ WIRE_S2B_REPORT, FIELD(wire_report, error), 0, true },
	{ WIRE_S2B_REPORT, FIELD(wire_report, error), 4095, true },
	{ WIRE_S2B_REPORT, FIELD(wire_report, error), 4096, false },
	{ WIRE_S2B_REPORT, FIELD(wire_report, error), UINT32_MAX, false },
	{ WIRE_S2B_REPORT, FIELD(wire_report, taken), UINT64_MAX, true },
};

static void
test_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(values); i++) {
		const struct value *v = &values[i];
		const struct kind *k = kind_of(v->type);
		size_t len = packet_make(k, k->max);
		enum wire_error err;

		memcpy(record_at(k, k->max - 1) + v->at, &v->value, v->len);
		err = check(len, k->dir);
		if (err != (v->good ? WIRE_OK : WIRE_ERR_VALUE))
			fail_msg("row %zu, type %d: %s", i, v->type, wire_error_text(err));
	}
}

/* Every value of a one-byte field: good are those whose bit is set in the mask. */
static void
byte_try(enum wire_type type, size_t at, uint32_t good_mask)
{
	const struct kind *k = kind_of(type);

	for (unsigned v = 0; v < 256; v++) {
		size_t len = packet_make(k, k->max);
		bool good = v < 32 && (good_mask >> v & 1) != 0;

		record_at(k, k->max - 1)[at] = (uint8_t)v;
		assert_int_equal(check(len, k->dir), good ? WIRE_OK : WIRE_ERR_VALUE);
	}
}

static void
test_one_byte_sets(void **state)
{
	(void)state;
	byte_try(WIRE_T2B_ORPHAN, offsetof(struct wire_orphan, flags), 0x3);
	byte_try(WIRE_B2R_DESTROY, offsetof(struct wire_destroy, state), 0x1ffe);
	byte_try(WIRE_B2R_DESTROY, offsetof(struct wire_destroy, flags), 0x3);
	byte_try(WIRE_R2B_HELLO, offsetof(struct wire_reaper_hello, selftest), 0x7);
	byte_try(WIRE_R2B_HELLO, offsetof(struct wire_reaper_hello, time_wait), 0x3);
	byte_try(WIRE_R2B_RESULT, offsetof(struct wire_result_record, result), 0x0fe);
	byte_try(WIRE_R2B_RESULT, offsetof(struct wire_result_record, state), 0x1fff);
	byte_try(WIRE_R2B_RESULT, offsetof(struct wire_result_record, peer_notice), 0x3);
	byte_try(WIRE_R2B_SAMPLED, offsetof(struct wire_sampled, found), 0x0a);
	byte_try(WIRE_R2B_SAMPLED, offsetof(struct wire_sampled, mini), 0x1);
	byte_try(WIRE_R2B_FOUND, offsetof(struct wire_found_record, state), 0xa30);
	byte_try(WIRE_R2B_FOUND, offsetof(struct wire_found_record, mini), 0x1);
	byte_try(WIRE_R2B_FOUND_END, offsetof(struct wire_found_end, complete), 0x3);
	/* 12, which says that records are missing, is no record's: it has no number */
	byte_try(WIRE_B2S_NOTE, offsetof(struct wire_note, action), 0xffe);
	byte_try(WIRE_B2S_NOTE, offsetof(struct wire_note, outcome), 0xf);
	byte_try(WIRE_B2S_NOTE, offsetof(struct wire_note, state), 0x1fff);
	byte_try(WIRE_B2S_NOTE, offsetof(struct wire_note, notice), 0x3);
}

enum looks { LOOK_NONE, LOOK_FULL, LOOK_MINI, LOOKS };

static void
progress_put(struct wire_progress *p, enum looks looks)
{
	static const struct wire_progress progress[LOOKS] = {
		[LOOK_MINI] = { .timer_ms = 190, .timer = 3 },
	};

	*p = looks == LOOK_FULL ? some_progress() : progress[looks];
}

/* What goes with what, said once more: found, state, kind of socket, error. */
static bool
sampled_good(unsigned found, unsigned s, unsigned mini, enum looks looks, int error)
{
	bool full_ok = mini == 0 && (looks == LOOK_FULL || looks == LOOK_NONE);
	bool mini_ok = mini == 1 && looks == LOOK_MINI && (s == 5 || s == 6);

	if (found == 1)
		return error == 0 && (s == 4 || s == 5 || s == 9 || s == 11) &&
		       (full_ok || mini_ok);
	if (found == 3)
		return error == 0 && s <= 12 && mini <= 1;
	if (found == 4)
		return error == 0 && s == 6 && mini_ok;
	return (found == 2 || found == 5) && (error != 0) == (found == 5) && s == 0 && mini == 0 &&
	       looks == LOOK_NONE;
}

static void
sampled_try(unsigned found, unsigned s, unsigned mini, enum looks looks)
{
	static const int errors[] = { 0, 1, 4095, 4096 };
	const struct kind *k = kind_of(WIRE_R2B_SAMPLED);

	for (size_t i = 0; i < COUNT_OF(errors); i++) {
		size_t len = packet_make(k, 1);
		struct wire_sampled *r = (struct wire_sampled *)record_at(k, 0);
		bool good = errors[i] < 4096 && sampled_good(found, s, mini, looks, errors[i]);

		r->found = (uint8_t)found;
		r->state = (uint8_t)s;
		r->mini = (uint8_t)mini;
		r->error = errors[i];
		progress_put(&r->progress, looks);
		assert_int_equal(check(len, k->dir), good ? WIRE_OK : WIRE_ERR_VALUE);
	}
}

static void
test_sampled_states(void **state)
{
	(void)state;
	for (unsigned found = 0; found < 8; found++) {
		for (unsigned s = 0; s < 256; s++) {
			for (unsigned mini = 0; mini < 3; mini++) {
				for (enum looks looks = 0; looks < LOOKS; looks++)
					sampled_try(found, s, mini, looks);
			}
		}
	}
}

static void
test_found_states(void **state)
{
	const struct kind *k = kind_of(WIRE_R2B_FOUND);

	(void)state;
	for (unsigned s = 0; s < 256; s++) {
		for (unsigned mini = 0; mini < 3; mini++) {
			for (enum looks looks = 0; looks < LOOKS; looks++) {
				size_t len = packet_make(k, 1);
				struct wire_found_record *r =
					(struct wire_found_record *)record_at(k, 0);

				r->state = (uint8_t)s;
				r->mini = (uint8_t)mini;
				progress_put(&r->progress, looks);
				assert_int_equal(check(len, k->dir),
					sampled_good(1, s, mini, looks, 0) ? WIRE_OK
									   : WIRE_ERR_VALUE);
			}
		}
	}
}

/* A window ends where it begins at the least, and is no longer than TCP can say. */
static void
test_windows(void **state)
{
	static const struct {
		uint64_t acked, end;
		bool good;
	} cases[] = {
		{ 0, 0, true },
		{ 7, 7, true },
		{ 7, 6, false },
		{ 7, 7 + (uint64_t)UINT32_MAX, true },
		{ 7, 8 + (uint64_t)UINT32_MAX, false },
		{ UINT64_MAX, UINT64_MAX, true },
		{ UINT64_MAX, 0, false },
	};
	const struct kind *k = kind_of(WIRE_R2B_FOUND);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t len = packet_make(k, 1);
		struct wire_found_record *r = (struct wire_found_record *)record_at(k, 0);

		r->progress.bytes_acked = cases[i].acked;
		r->progress.window_end = cases[i].end;
		assert_int_equal(check(len, k->dir), cases[i].good ? WIRE_OK : WIRE_ERR_VALUE);
	}
}

/* An error goes with a failure, and is one that the kernel has. */
static void
test_errors(void **state)
{
	static const int32_t errors[] = { INT32_MIN, -1, 0, 1, 2, 4095, 4096, INT32_MAX };
	const struct kind *results = kind_of(WIRE_R2B_RESULT), *ends = kind_of(WIRE_R2B_FOUND_END);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(errors); i++) {
		bool known = errors[i] >= 0 && errors[i] <= 4095;

		for (unsigned result = 1; result <= 8; result++) {
			size_t len = packet_make(results, 1);
			struct wire_result_record *r =
				(struct wire_result_record *)record_at(results, 0);

			r->error = errors[i];
			r->result = (uint8_t)result;
			assert_int_equal(check(len, results->dir),
				known && (errors[i] != 0) == (result == 8) ? WIRE_OK
									   : WIRE_ERR_VALUE);
		}
		for (unsigned complete = 0; complete <= 1; complete++) {
			size_t len = packet_make(ends, 1);
			struct wire_found_end *r = (struct wire_found_end *)record_at(ends, 0);

			r->error = errors[i];
			r->complete = (uint8_t)complete;
			assert_int_equal(check(len, ends->dir),
				known && (errors[i] == 0 || complete == 0) ? WIRE_OK
									   : WIRE_ERR_VALUE);
		}
	}
}

static void
test_states_after(void **state)
{
	(void)state;
	for (unsigned s = 0; s < 300; s++) {
		uint32_t after = tcp_states_after(s);
		bool stays = s == 4 || s == 5 || s == 6 || s == 9 || s == 11;

		assert_true(s < 32 ? ((after >> s & 1) != 0) == stays : after == 0);
		assert_int_equal(after & ~TCP_STATES_RULE, 0);
	}
	assert_int_equal(tcp_states_after(TCP_STATE_LAST_ACK), TCP_STATE_BIT(TCP_STATE_LAST_ACK));
	assert_int_equal(tcp_states_after(TCP_STATE_CLOSING),
		TCP_STATE_BIT(TCP_STATE_CLOSING) | TCP_STATE_BIT(TCP_STATE_TIME_WAIT));
	assert_int_equal(tcp_states_after(TCP_STATE_LISTEN), 0);
}

/* Born in FIN-WAIT-1 or LAST-ACK; closed before the death, it may be on its way in any orphan's
 * state. */
static void
test_orphan_states(void **state)
{
	const struct kind *k = kind_of(WIRE_T2B_ORPHAN);

	(void)state;
	for (unsigned flags = 0; flags < 256; flags++) {
		for (unsigned s = 0; s < 256; s++) {
			size_t len = packet_make(k, 1);
			struct wire_orphan *o = (struct wire_orphan *)record_at(k, 0);
			bool born = s == TCP_STATE_FIN_WAIT1 || s == TCP_STATE_LAST_ACK;
			bool moved = s == TCP_STATE_FIN_WAIT2 || s == TCP_STATE_CLOSING;
			bool good = (flags <= 1 && born) || (flags == WIRE_ORPHAN_CLOSED && moved);

			o->flags = (uint8_t)flags;
			o->state = (uint8_t)s;
			assert_int_equal(check(len, k->dir), good ? WIRE_OK : WIRE_ERR_VALUE);
		}
	}
}

/* What says how many records are missing has their number and none of its own. */
static void
test_suppressed(void **state)
{
	const struct kind *k = kind_of(WIRE_B2S_NOTE);
	size_t len = packet_make(k, 1);
	struct wire_note *n = (struct wire_note *)record_at(k, 0);

	(void)state;
	*n = (struct wire_note){ .action = WIRE_ACTION_SUPPRESSED, .count = 1 };
	assert_int_equal(check(len, k->dir), WIRE_OK);
	n->sequence = 1;
	assert_int_equal(check(len, k->dir), WIRE_ERR_VALUE);
	n->sequence = n->count = 0;
	assert_int_equal(check(len, k->dir), WIRE_ERR_VALUE);
}

/* What is not known is zero. */
static void
test_note_unknown(void **state)
{
	const struct kind *k = kind_of(WIRE_B2S_NOTE);
	struct wire_note *n = (struct wire_note *)record_at(k, 0);

	(void)state;
	for (unsigned flags = 0; flags < 256; flags++) {
		size_t len = packet_make(k, 1);

		n->flags = (uint8_t)flags;
		assert_int_equal(check(len, k->dir), flags == 3		 ? WIRE_OK
						     : (flags & 3u) == 3 ? WIRE_ERR_VALUE
									 : WIRE_ERR_PAD);
		n->uid = n->exit_code = 0;
		assert_int_equal(check(len, k->dir), flags <= 3 ? WIRE_OK : WIRE_ERR_VALUE);
	}
	for (size_t bit = 0; bit < 8 * sizeof(n->tuple); bit++) {
		size_t len = packet_make(k, 1);

		memset(&n->tuple, 0, sizeof(n->tuple));
		assert_int_equal(check(len, k->dir), WIRE_OK);
		((uint8_t *)&n->tuple)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_int_equal(check(len, k->dir) == WIRE_OK, n->tuple.family == AF_INET);
	}
}

static void
word_try(size_t at, size_t size)
{
	const struct kind *k = kind_of(WIRE_B2S_NOTE);
	size_t len = packet_make(k, k->max);
	char *word = (char *)record_at(k, k->max - 1) + at;

	for (int c = 1; c < 256; c++) {
		const char *good = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789_.-";

		memset(word, 0, size);
		word[size - 2] = (char)c;
		assert_int_equal(check(len, k->dir), WIRE_OK); /* behind the end */
		memset(word, 'x', size - 2);
		assert_int_equal(
			check(len, k->dir), strchr(good, c) != NULL ? WIRE_OK : WIRE_ERR_VALUE);
	}
	memset(word, 'x', size);
	assert_int_equal(check(len, k->dir), WIRE_ERR_VALUE);
}

static void
test_words(void **state)
{
	(void)state;
	word_try(offsetof(struct wire_note, reason), WIRE_WORD_LEN);
	word_try(offsetof(struct wire_note, verdict), WIRE_WORD_LEN);
	word_try(offsetof(struct wire_note, class), WIRE_WORD_LEN);
	word_try(offsetof(struct wire_note, rule), WIRE_RULE_LEN);
}

static void
text_try(enum wire_type type, size_t at, size_t size)
{
	const struct kind *k = kind_of(type);
	size_t len = packet_make(k, k->max);
	char *text = (char *)record_at(k, k->max - 1) + at;

	memset(text, 'x', size);
	assert_int_equal(check(len, k->dir), WIRE_ERR_VALUE);
	text[size - 1] = '\0'; /* as long as can be */
	assert_int_equal(check(len, k->dir), WIRE_OK);
	memset(text, 0xff, size);
	text[0] = '\0'; /* empty, old bytes behind */
	assert_int_equal(check(len, k->dir), WIRE_OK);
}

static void
test_unterminated_text(void **state)
{
	(void)state;
	text_try(WIRE_T2B_EXIT, offsetof(struct wire_exit, owner.comm), WIRE_COMM_LEN);
	text_try(WIRE_T2B_EXIT, offsetof(struct wire_exit, owner.unit), WIRE_UNIT_LEN);
	text_try(WIRE_T2B_ORPHAN, offsetof(struct wire_orphan, owner.comm), WIRE_COMM_LEN);
	text_try(WIRE_T2B_ORPHAN, offsetof(struct wire_orphan, owner.unit), WIRE_UNIT_LEN);
	text_try(WIRE_B2S_NOTE, offsetof(struct wire_note, comm), WIRE_COMM_LEN);
	text_try(WIRE_B2S_NOTE, offsetof(struct wire_note, unit), WIRE_KEY_LEN);
}

/* ---- making headers, names ---- */

static void
test_header_fill(void **state)
{
	struct wire_header h;

	(void)state;
	for (unsigned type = 0; type <= 300; type++) {
		const struct kind *k = kind_of(type);
		size_t max = k == NULL ? 0 : k->max;

		for (size_t count = 0; count <= WIRE_BATCH_MAX + 1; count++) {
			bool good = count >= 1 && count <= max;
			size_t len = wire_header_fill(&h, (enum wire_type)type, count, 5);

			assert_int_equal(len, good ? 16 + count * k->size : 0);
			if (good)
				assert_true(h.magic == WIRE_MAGIC && h.version == 1 &&
					    h.type == type && h.length == len && h.seq == 5);
		}
		assert_int_equal(wire_record_size((enum wire_type)type), k == NULL ? 0 : k->size);
	}
	assert_int_equal(wire_header_fill(&h, WIRE_B2R_DESTROY, SIZE_MAX, 5), 0);
	assert_int_equal(wire_header_fill(&h, WIRE_B2R_DESTROY, SIZE_MAX / 112 + 2, 5), 0);
}

static void
test_names(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 1000; type++)
		assert_int_equal(
			kind_of(type) == NULL, strcmp(wire_type_name(type), "unknown type") == 0);
	for (unsigned i = 0; i < 1000; i++) {
		bool error = i <= WIRE_ERR_VALUE;
		bool result = i >= WIRE_RESULT_DESTROYED && i <= WIRE_RESULT_FAILED;
		bool action = i >= WIRE_ACTION_START && i <= WIRE_ACTION_SUPPRESSED;

		assert_int_equal(strcmp(wire_error_text((enum wire_error)i), "?") != 0, error);
		assert_int_equal(strcmp(wire_result_name(i), "?") != 0, result);
		assert_int_equal(strcmp(wire_action_name(i), "?") != 0, action);
	}
	assert_string_equal(wire_action_name(WIRE_ACTION_CONFIG_RELOAD), "config-reload");
	assert_string_equal(wire_result_name(WIRE_RESULT_REFUSED_LIVE), "refused-live");
	assert_string_equal(wire_result_name(WIRE_RESULT_OTHER_NETNS), "other-netns");
}

static void
test_state_names(void **state)
{
	(void)state;
	for (unsigned s = 0; s < 1000; s++) {
		if (s >= TCP_STATE_ESTABLISHED && s <= TCP_STATE_NEW_SYN_RECV)
			assert_int_equal(tcp_state_by_name(tcp_state_name(s)), s);
		else
			assert_string_equal(tcp_state_name(s), "?");
	}
	assert_string_equal(tcp_state_name(UINT32_MAX), "?");
	assert_string_equal(tcp_state_name(TCP_STATE_FIN_WAIT1), "fin-wait-1");
	assert_int_equal(tcp_state_by_name("?"), 0);
	assert_int_equal(tcp_state_by_name(""), 0);
	assert_int_equal(tcp_state_by_name("fin-wait-11"), 0);
	assert_int_equal(tcp_state_by_name("LAST-ACK"), 0);
}

static void
test_tuple_equal(void **state)
{
	const struct wire_tuple a = some_tuple();

	(void)state;
	assert_true(wire_tuple_equal(&a, &a));
	for (size_t bit = 0; bit < 8 * sizeof(a); bit++) {
		struct wire_tuple b = a;
		bool pad = bit / 8 >= offsetof(struct wire_tuple, pad) &&
			   bit / 8 < offsetof(struct wire_tuple, ifindex);

		((uint8_t *)&b)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_int_equal(wire_tuple_equal(&a, &b), pad);
	}
}

/* ---- progress ---- */

static void
test_progress_made(void **state)
{
	const struct wire_progress before = some_progress();
	struct wire_progress after = before;

	(void)state;
	assert_false(wire_progress_made(&before, &after));
	after.bytes_acked++;
	assert_true(wire_progress_made(&before, &after));
	after = before;
	after.window_end++;
	assert_true(wire_progress_made(&before, &after));
	/* The right edge may not move left, says the RFC; the peer may do it all the same. */
	after.window_end = before.window_end - 1000;
	assert_false(wire_progress_made(&before, &after));
	after.window_end = 0;
	assert_false(wire_progress_made(&before, &after));
	after.bytes_acked++; /* taken while shrinking: taken */
	assert_true(wire_progress_made(&before, &after));
	/* What was taken out of a window that stays closed moves its end along. */
	after = before;
	after.bytes_acked += 100;
	after.window_end += 100;
	assert_true(wire_progress_made(&before, &after));
	after = before;
	after.bytes_acked = UINT64_MAX;
	assert_true(wire_progress_made(&before, &after));
	assert_false(wire_progress_made(&after, &before));
}

/* Everything else is evidence: the peer's acknowledgements alone only show that it lives. */
static void
test_progress_evidence(void **state)
{
	const struct wire_progress before = some_progress();

	(void)state;
	for (size_t bit = 8 * offsetof(struct wire_progress, send_queue); bit < 8 * sizeof(before);
		bit++) {
		struct wire_progress after = before;

		((uint8_t *)&after)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_false(wire_progress_made(&before, &after));
	}
}

/* ---- fuzz ---- */

/* What every accepted record must be, written down from the header's comments, not from wire.c. */

static void
owner_holds(const struct wire_owner *o)
{
	assert_true(o->tgid >= 1 && o->tgid <= 0x7fffffff);
	assert_true(o->start_boottime != 0);
	assert_true(o->exit_code < 65536 && o->flags < 4);
	assert_true(strnlen(o->comm, 16) < 16 && strnlen(o->unit, 96) < 96);
}

static void
tuple_holds(const struct wire_tuple *t)
{
	static const uint8_t none[12];

	assert_true(t->family == 2 || t->family == 10);
	assert_int_equal(t->pad, 0);
	if (t->family == 2)
		assert_true(memcmp(t->src + 4, none, 12) == 0 && memcmp(t->dst + 4, none, 12) == 0);
}

static void
orphan_holds(const struct wire_orphan *o)
{
	owner_holds(&o->owner);
	tuple_holds(&o->tuple);
	assert_true(o->cookie + 1 >= 2);
	assert_true(o->state == 4 || o->state == 9 ||
		    (o->flags == 1 && (o->state == 5 || o->state == 11)));
	assert_true(o->flags < 2 && (o->pad[0] | o->pad[1]) == 0);
}

static void
destroy_holds(const struct wire_destroy *d)
{
	static const struct wire_progress none;

	tuple_holds(&d->tuple);
	assert_true(d->cookie + 1 >= 2);
	assert_true((d->states & ~0xa70u) == 0 && d->state >= 1 && d->state <= 12);
	assert_true(d->flags <= 1 && (d->pad[0] | d->pad[1]) == 0);
	if (d->flags == 0)
		assert_memory_equal(&d->seen, &none, sizeof(none));
}

static void
sample_holds(const struct wire_sample *s)
{
	tuple_holds(&s->tuple);
	assert_true(s->cookie + 1 >= 2);
}

static bool
state_of_orphan(unsigned s)
{
	return s == 4 || s == 5 || s == 9 || s == 11;
}

static void
sampled_holds(const struct wire_sampled *s)
{
	assert_true(s->found >= 1 && s->found <= 5 && s->error >= 0 && s->mini <= 1);
	assert_true(s->pad == 0 && s->state <= 12);
	assert_true(s->found != 1 || state_of_orphan(s->state));
	assert_true(s->error <= 4095 && (s->error != 0) == (s->found == 5));
}

static void
found_holds(const struct wire_found_record *f)
{
	tuple_holds(&f->tuple);
	assert_true(f->cookie + 1 >= 2 && f->mini <= 1 && state_of_orphan(f->state));
	for (size_t i = 0; i < sizeof(f->pad); i++)
		assert_int_equal(f->pad[i], 0);
}

static void
found_end_holds(const struct wire_found_end *f)
{
	assert_true(f->complete <= 1 && f->error >= 0 && f->error <= 4095);
	assert_true(f->error == 0 || f->complete == 0);
	for (size_t i = 0; i < sizeof(f->pad); i++)
		assert_int_equal(f->pad[i], 0);
}

static void
result_holds(const struct wire_result_record *r)
{
	assert_true(r->error >= 0 && r->error <= 4095 && r->result >= 1 && r->result <= 8);
	assert_true((r->error != 0) == (r->result == 8));
	assert_true(r->state <= 12 && r->peer_notice <= 1 && (r->pad[0] | r->pad[1]) == 0);
}

static void
note_holds(const struct wire_note *n)
{
	assert_true(n->action >= 1 && n->action <= 12 && n->outcome <= 3 && n->flags <= 3);
	assert_true((n->action == 12) == (n->sequence == 0));
	assert_true(n->state <= 12 && n->notice <= 1 && n->error >= 0 && n->error <= 4095);
	assert_true(n->pid <= 0x7fffffff && n->exit_code < 65536 && n->cookie + 1 >= 1);
	assert_true(strnlen(n->comm, 16) < 16 && strnlen(n->unit, 120) < 120);
	assert_true(strnlen(n->reason, 32) < 32 && strnlen(n->rule, 64) < 64);
	assert_true(strpbrk(n->reason, "\"' =\n") == NULL && strpbrk(n->rule, "\"' =\n") == NULL);
	if (n->tuple.family != 0)
		tuple_holds(&n->tuple);
}

static void
hello_holds(const struct wire_view *view)
{
	const struct wire_tracker_hello *t = view->records;
	const struct wire_reaper_hello *r = view->records;

	if (view->type == WIRE_T2B_HELLO)
		assert_true(t->features < 8 && t->heartbeat_ms != 0 && t->heartbeat_ms <= 5000);
	else
		assert_true(r->selftest <= 2 && r->time_wait <= 1 && r->netns != 0 &&
			    (r->pad[0] | r->pad[1]) == 0);
}

static void
record_holds(const struct wire_view *view, size_t i)
{
	if (view->type == WIRE_T2B_EXIT)
		owner_holds(&((const struct wire_exit *)view->records)[i].owner);
	else if (view->type == WIRE_T2B_ORPHAN)
		orphan_holds(&((const struct wire_orphan *)view->records)[i]);
	else if (view->type == WIRE_B2R_DESTROY)
		destroy_holds(&((const struct wire_destroy *)view->records)[i]);
	else if (view->type == WIRE_R2B_RESULT)
		result_holds(&((const struct wire_result_record *)view->records)[i]);
	else if (view->type == WIRE_B2R_SAMPLE)
		sample_holds(&((const struct wire_sample *)view->records)[i]);
	else if (view->type == WIRE_R2B_SAMPLED)
		sampled_holds(&((const struct wire_sampled *)view->records)[i]);
	else if (view->type == WIRE_R2B_FOUND)
		found_holds(&((const struct wire_found_record *)view->records)[i]);
	else if (view->type == WIRE_R2B_FOUND_END)
		found_end_holds(view->records);
	else if (view->type == WIRE_B2S_NOTE)
		note_holds(&((const struct wire_note *)view->records)[i]);
	else if (view->type == WIRE_S2B_REPORT)
		assert_true(((const struct wire_report *)view->records)->error >= 0);
	else if (view->type == WIRE_T2B_HELLO || view->type == WIRE_R2B_HELLO)
		hello_holds(view);
}

static void
accepted_holds(
	const uint8_t *bytes, size_t len, enum wire_direction dir, const struct wire_view *view)
{
	const struct wire_header *h = (const struct wire_header *)bytes;
	const struct kind *k = kind_of(view->type);

	assert_true(h->magic == 0x31474745 && h->version == 1 && h->length == len && h->seq == SEQ);
	assert_true(k != NULL && h->type == (unsigned)k->type && k->dir == dir);
	assert_true(view->count >= 1 && view->count <= k->max);
	assert_int_equal(len, 16 + view->count * k->size);
	assert_ptr_equal(view->records, bytes + 16);
	for (size_t i = 0; i < view->count; i++)
		record_holds(view, i);
}

/* Nothing but random bytes, or a correct packet with up to three changes. */
static size_t
packet_fuzz(enum wire_direction *dir)
{
	const struct kind *k = &kinds[random_below(COUNT_OF(kinds))];
	size_t len = packet_make(k, 1 + random_below(random_below(4) == 0 ? k->max : 1));
	const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff };

	*dir = random_below(20) != 0 ? k->dir : (enum wire_direction)random_below(5);
	if (random_below(10) == 0) {
		len = random_below(WIRE_PACKET_MAX + 1);
		random_fill(packet, len);
		return len;
	}
	for (uint64_t n = random_below(4); n > 0; n--) {
		size_t at = random_below(3) == 0 ? random_below(len) : 16 + random_below(len - 16);

		packet[at] = random_below(2) == 0 ? odd[random_below(5)] : (uint8_t)random_next();
	}
	if (random_below(20) == 0)
		header()->length = (uint32_t)(len = random_below(len + 1));
	return len;
}

/* Each packet is checked in memory of exactly its size, so that a sanitizer sees a read behind it.
 */
static void
test_fuzz(void **state)
{
	size_t accepted = 0, refused = 0;

	(void)state;
	random_start();
	for (unsigned n = 0; n < 200000; n++) {
		enum wire_direction dir;
		size_t len = packet_fuzz(&dir);
		uint8_t *bytes = malloc(len + (len == 0));
		struct wire_view view;

		assert_non_null(bytes);
		memcpy(bytes, packet, len);
		if (wire_check(bytes, len, dir, SEQ, &view) == WIRE_OK) {
			accepted_holds(bytes, len, dir, &view);
			accepted++;
		} else {
			refused++;
		}
		free(bytes);
	}
	assert_true(accepted > 10000 && refused > 10000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_type),
		cmocka_unit_test(test_type_and_direction),
		cmocka_unit_test(test_shorter_than_a_header),
		cmocka_unit_test(test_magic_and_version),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_seq),
		cmocka_unit_test(test_whole_records),
		cmocka_unit_test(test_pads),
		cmocka_unit_test(test_tuple_address),
		cmocka_unit_test(test_tuple_family),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_one_byte_sets),
		cmocka_unit_test(test_orphan_states),
		cmocka_unit_test(test_proved),
		cmocka_unit_test(test_sampled_states),
		cmocka_unit_test(test_found_states),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_states_after),
		cmocka_unit_test(test_progress_made),
		cmocka_unit_test(test_progress_evidence),
		cmocka_unit_test(test_suppressed),
		cmocka_unit_test(test_note_unknown),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_unterminated_text),
		cmocka_unit_test(test_header_fill),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_state_names),
		cmocka_unit_test(test_tuple_equal),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
