/* SPDX-License-Identifier: Apache-2.0 */
/* links: tracker/decode.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/events.h"
#include "tracker/decode.h"

/* What the BPF programs might write: strings with the ring's old bytes behind them. */
static struct event_owner
some_owner(void)
{
	struct event_owner o = { .start_boottime = 123456789012345,
		.cgroup_id = 42,
		.tgid = 812,
		.uid = 33,
		.exit_code = 0x8b,
		.flags = EVENT_OWNER_OOM };

	memset(o.comm, 'x', sizeof(o.comm));
	memset(o.unit, 'y', sizeof(o.unit));
	memcpy(o.comm, "nginx", sizeof("nginx"));
	memcpy(o.unit, "nginx.service", sizeof("nginx.service"));
	return o;
}

static struct event_exit
some_exit(void)
{
	return (struct event_exit){ .kind = EVENT_EXIT, .died_mono_ns = 77, .owner = some_owner() };
}

static struct event_orphan
some_orphan(uint16_t family)
{
	struct event_orphan e = { .kind = EVENT_ORPHAN,
		.send_queue = 3782145,
		.born_mono_ns = 99,
		.cookie = 0x1007,
		.ifindex = 3,
		.netns = 4026531840u,
		.family = family,
		.src_port = 5555,
		.dst_port = 48670,
		.state = TCP_STATE_LAST_ACK,
		.owner = some_owner() };

	memset(e.src, 0xa1, sizeof(e.src));
	memset(e.dst, 0xb2, sizeof(e.dst));
	return e;
}

static void
assert_owner(const struct wire_owner *o)
{
	static const char zeros[WIRE_UNIT_LEN];

	assert_int_equal(o->start_boottime, 123456789012345);
	assert_int_equal(o->cgroup_id, 42);
	assert_int_equal(o->tgid, 812);
	assert_int_equal(o->uid, 33);
	assert_int_equal(o->exit_code, 0x8b);
	assert_int_equal(o->flags, WIRE_OWNER_OOM);
	assert_string_equal(o->comm, "nginx");
	assert_string_equal(o->unit, "nginx.service");
	assert_memory_equal(o->comm + 5, zeros, sizeof(o->comm) - 5);
	assert_memory_equal(o->unit + 13, zeros, sizeof(o->unit) - 13);
}

static void
test_exit(void **state)
{
	struct event_exit e = some_exit();
	struct decoded d;

	(void)state;
	assert_true(decode_record(&e, sizeof(e), &d));
	assert_int_equal(d.type, WIRE_T2B_EXIT);
	assert_int_equal(d.exit.died_mono_ns, 77);
	assert_owner(&d.exit.owner);
}

static void
test_orphan_v4(void **state)
{
	static const uint8_t zeros[12];
	struct event_orphan e = some_orphan(AF_INET);
	struct decoded d;

	(void)state;
	memset(&d, 0xff, sizeof(d));
	assert_true(decode_record(&e, sizeof(e), &d));
	assert_int_equal(d.type, WIRE_T2B_ORPHAN);
	assert_int_equal(d.orphan.cookie, 0x1007);
	assert_int_equal(d.orphan.born_mono_ns, 99);
	assert_int_equal(d.orphan.send_queue, 3782145);
	assert_int_equal(d.orphan.state, TCP_STATE_LAST_ACK);
	assert_memory_equal(d.orphan.pad, zeros, sizeof(d.orphan.pad));
	assert_int_equal(d.orphan.tuple.family, AF_INET);
	assert_int_equal(d.orphan.tuple.src_port, 5555);
	assert_int_equal(d.orphan.tuple.dst_port, 48670);
	assert_int_equal(d.orphan.tuple.pad, 0);
	assert_int_equal(d.orphan.tuple.ifindex, 3);
	assert_int_equal(d.orphan.tuple.netns, 4026531840u);
	assert_memory_equal(d.orphan.tuple.src, e.src, 4);
	assert_memory_equal(d.orphan.tuple.dst, e.dst, 4);
	/* Whatever the record has behind an IPv4 address, the wire has zeros. */
	assert_memory_equal(d.orphan.tuple.src + 4, zeros, 12);
	assert_memory_equal(d.orphan.tuple.dst + 4, zeros, 12);
	assert_owner(&d.orphan.owner);
}

static void
test_orphan_v6(void **state)
{
	struct event_orphan e = some_orphan(AF_INET6);
	struct decoded d;

	(void)state;
	assert_true(decode_record(&e, sizeof(e), &d));
	assert_int_equal(d.orphan.tuple.family, AF_INET6);
	assert_memory_equal(d.orphan.tuple.src, e.src, 16);
	assert_memory_equal(d.orphan.tuple.dst, e.dst, 16);
}

static void
test_strings_without_an_end(void **state)
{
	struct event_exit e = some_exit();
	struct decoded d;

	(void)state;
	memset(e.owner.comm, 'c', sizeof(e.owner.comm));
	memset(e.owner.unit, 'u', sizeof(e.owner.unit));
	e.owner.flags = EVENT_OWNER_UNIT_TRUNCATED;
	assert_true(decode_record(&e, sizeof(e), &d));
	assert_int_equal(strlen(d.exit.owner.comm), WIRE_COMM_LEN - 1);
	assert_int_equal(strlen(d.exit.owner.unit), WIRE_UNIT_LEN - 1);
	assert_int_equal(d.exit.owner.flags, WIRE_OWNER_UNIT_TRUNCATED);
}

/* Every length but the right one, from exact allocations, so that a sanitizer sees a read beyond.
 */
static void
lengths_refused(const void *record, size_t right)
{
	for (size_t len = 0; len <= right + 8; len++) {
		unsigned char *copy = calloc(1, len + 1);
		struct decoded d;

		assert_non_null(copy);
		memcpy(copy + 1, record, len < right ? len : right);
		assert_int_equal(decode_record(copy + 1, len, &d), len == right);
		free(copy);
	}
}

static void
test_lengths(void **state)
{
	struct event_exit e = some_exit();
	struct event_orphan o = some_orphan(AF_INET);

	(void)state;
	lengths_refused(&e, sizeof(e));
	lengths_refused(&o, sizeof(o));
}

static void
test_kinds(void **state)
{
	static const uint32_t kinds[] = { 0, 3, 4, 0xff, 0x100, 0x10000, 0x1000000, UINT32_MAX };
	struct event_exit e = some_exit();
	struct event_orphan o = some_orphan(AF_INET);
	struct decoded d;

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		e.kind = o.kind = kinds[i];
		assert_false(decode_record(&e, sizeof(e), &d));
		assert_false(decode_record(&o, sizeof(o), &d));
	}
	/* One kind's number on the other's record. */
	e.kind = EVENT_ORPHAN;
	o.kind = EVENT_EXIT;
	assert_false(decode_record(&e, sizeof(e), &d));
	assert_false(decode_record(&o, sizeof(o), &d));
}

#define REFUSED(kind, argument, change)                         \
	do {                                                    \
		struct event_##kind e = some_##kind argument;   \
		struct decoded d;                               \
		e.change;                                       \
		assert_false(decode_record(&e, sizeof(e), &d)); \
	} while (0)

static void
test_values(void **state)
{
	(void)state;
	REFUSED(exit, (), owner.tgid = 0);
	REFUSED(exit, (), owner.tgid = 0x80000000u);
	REFUSED(exit, (), owner.start_boottime = 0);
	REFUSED(exit, (), owner.exit_code = 0x10000);
	REFUSED(exit, (), owner.flags = 4);
	REFUSED(orphan, (AF_INET), owner.tgid = 0);
	REFUSED(orphan, (AF_INET), cookie = 0);
	REFUSED(orphan, (AF_INET), cookie = UINT64_MAX);
	REFUSED(orphan, (AF_INET), family = AF_UNIX);
	REFUSED(orphan, (AF_INET), state = TCP_STATE_ESTABLISHED);
	REFUSED(orphan, (AF_INET), state = TCP_STATE_CLOSE_WAIT);
	REFUSED(orphan, (AF_INET), state = 0);
	REFUSED(orphan, (AF_INET), state = TCP_STATE_FIN_WAIT2);
	REFUSED(orphan, (AF_INET), flags = 2);
	REFUSED(orphan, (AF_INET), flags = 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit),
		cmocka_unit_test(test_orphan_v4),
		cmocka_unit_test(test_orphan_v6),
		cmocka_unit_test(test_strings_without_an_end),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
