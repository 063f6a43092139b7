/* SPDX-License-Identifier: Apache-2.0 */
/* links: proto/diag.c */
/* Links proto/diag.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/diag.h"

#define COOKIE 0x1122334455667788ull

static const struct wire_tuple tuple_v4 = {
	.family = AF_INET,
	.src_port = 5555,
	.dst_port = 48670,
	.ifindex = 7,
	.src = { 127, 0, 0, 1 },
	.dst = { 10, 1, 2, 3 },
};

struct request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

/* ---- builder --------------------------------------------------------------------------------- */

static void
test_exact_look(void **state)
{
	struct request r;

	(void)state;
	assert_int_equal(diag_exact(&r, SOCK_DIAG_BY_FAMILY, 42, COOKIE, &tuple_v4), sizeof(r));
	assert_int_equal(r.head.nlmsg_len, sizeof(r));
	assert_int_equal(r.head.nlmsg_type, SOCK_DIAG_BY_FAMILY);
	assert_int_equal(r.head.nlmsg_flags, NLM_F_REQUEST);
	assert_int_equal(r.head.nlmsg_seq, 42);
	assert_int_equal(r.body.sdiag_family, AF_INET);
	assert_int_equal(r.body.sdiag_protocol, IPPROTO_TCP);
	assert_int_equal(ntohs(r.body.id.idiag_sport), 5555);
	assert_int_equal(ntohs(r.body.id.idiag_dport), 48670);
	assert_int_equal(r.body.id.idiag_if, 7);
	assert_int_equal(r.body.id.idiag_cookie[0], 0x55667788);
	assert_int_equal(r.body.id.idiag_cookie[1], 0x11223344);
	assert_memory_equal(r.body.id.idiag_src, tuple_v4.src, 16);
	assert_memory_equal(r.body.id.idiag_dst, tuple_v4.dst, 16);
}

/* A look that a proof compares: the same, and tcp_info with it. */
static void
test_exact_info(void **state)
{
	struct request plain, r;

	(void)state;
	assert_int_equal(diag_exact(&plain, SOCK_DIAG_BY_FAMILY, 7, COOKIE, &tuple_v4), sizeof(r));
	assert_int_equal(plain.body.idiag_ext, 0);
	assert_int_equal(diag_exact_info(&r, 7, COOKIE, &tuple_v4), sizeof(r));
	assert_int_equal(r.body.idiag_ext, 1 << (INET_DIAG_INFO - 1));
	r.body.idiag_ext = 0;
	assert_memory_equal(&r, &plain, sizeof(r));
	assert_int_equal(diag_exact_info(&r, 7, 0, &tuple_v4), 0);
	assert_int_equal(diag_exact_info(&r, 7, UINT64_MAX, &tuple_v4), 0);
}

/* A SOCK_DESTROY must never be a dump, and always be acknowledged. */
static void
test_exact_destroy(void **state)
{
	struct request r;

	(void)state;
	assert_int_equal(diag_exact(&r, SOCK_DESTROY, 1, COOKIE, &tuple_v4), sizeof(r));
	assert_int_equal(r.head.nlmsg_type, SOCK_DESTROY);
	assert_int_equal(r.head.nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
}

static void
test_exact_refuses(void **state)
{
	struct wire_tuple odd = tuple_v4;
	struct request r, untouched;

	(void)state;
	memset(&r, 0xa5, sizeof(r));
	untouched = r;
	assert_int_equal(diag_exact(&r, SOCK_DESTROY, 1, 0, &tuple_v4), 0);
	assert_int_equal(diag_exact(&r, SOCK_DESTROY, 1, UINT64_MAX, &tuple_v4), 0);
	assert_int_equal(diag_exact(&r, SOCK_DIAG_BY_FAMILY, 1, 0, &tuple_v4), 0);
	assert_int_equal(diag_exact(&r, SOCK_DIAG_BY_FAMILY, 1, UINT64_MAX, &tuple_v4), 0);
	assert_int_equal(diag_exact(&r, NLMSG_DONE, 1, COOKIE, &tuple_v4), 0);
	odd.family = AF_UNIX;
	assert_int_equal(diag_exact(&r, SOCK_DESTROY, 1, COOKIE, &odd), 0);
	odd.family = 256 + AF_INET; /* must not be cut to eight bits first */
	assert_int_equal(diag_exact(&r, SOCK_DESTROY, 1, COOKIE, &odd), 0);
	assert_memory_equal(&r, &untouched, sizeof(r));
}

/* Half of INET_DIAG_NOCOOKIE is an ordinary cookie. */
static void
test_exact_half_nocookie(void **state)
{
	struct request r;

	(void)state;
	assert_int_equal(diag_exact(&r, SOCK_DESTROY, 1, 0xffffffffull, &tuple_v4), sizeof(r));
	assert_int_equal(r.body.id.idiag_cookie[1], 0);
}

static void
test_dump(void **state)
{
	struct request r;

	(void)state;
	assert_int_equal(diag_dump(&r, 9, AF_INET6, TCP_STATES_ORPHAN), sizeof(r));
	assert_int_equal(r.head.nlmsg_type, SOCK_DIAG_BY_FAMILY);
	assert_int_equal(r.head.nlmsg_flags, NLM_F_REQUEST | NLM_F_DUMP);
	assert_int_equal(r.body.sdiag_family, AF_INET6);
	assert_int_equal(r.body.idiag_states, TCP_STATES_ORPHAN);
	assert_int_equal(diag_dump(&r, 9, AF_UNSPEC, TCP_STATES_ORPHAN), 0);
}

/* ---- parser ---------------------------------------------------------------------------------- */

struct answer {
	_Alignas(8) uint8_t bytes[1024];
	size_t len;
};

static void
answer_begin(struct answer *a)
{
	struct nlmsghdr head = { .nlmsg_type = SOCK_DIAG_BY_FAMILY };
	struct inet_diag_msg msg = {
		.idiag_family = AF_INET,
		.idiag_state = TCP_STATE_FIN_WAIT1,
		.idiag_timer = 4,
		.idiag_retrans = 2,
		.id = {
			.idiag_sport = htons(5555),
			.idiag_dport = htons(48670),
			.idiag_if = 7,
			.idiag_cookie = { 0x55667788, 0x11223344 },
		},
		.idiag_expires = 200,
		.idiag_rqueue = 3,
		.idiag_wqueue = 8193,
		.idiag_uid = 33,
		.idiag_inode = 4711,
	};

	memset(a, 0, sizeof(*a));
	memset(msg.id.idiag_src, 0xee, 16); /* what is behind an IPv4 address must not matter */
	memset(msg.id.idiag_dst, 0xee, 16);
	memcpy(msg.id.idiag_src, tuple_v4.src, 4);
	memcpy(msg.id.idiag_dst, tuple_v4.dst, 4);
	memcpy(a->bytes, &head, sizeof(head));
	memcpy(a->bytes + sizeof(head), &msg, sizeof(msg));
	a->len = sizeof(head) + sizeof(msg);
}

static void
answer_attribute(struct answer *a, uint16_t type, const void *value, size_t len)
{
	struct nlattr head = { (uint16_t)(sizeof(head) + len), type };

	memcpy(a->bytes + a->len, &head, sizeof(head));
	memcpy(a->bytes + a->len + sizeof(head), value, len);
	a->len += (sizeof(head) + len + 3) & ~(size_t)3;
}

/* From a heap copy of exactly that size, so that a sanitizer sees every byte read beyond it. */
static bool
parse_copy(const struct answer *a, size_t len, uint32_t claimed, struct diag_row *row)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	bool good;

	assert_non_null(copy);
	memcpy(copy, a->bytes, len);
	if (len >= sizeof(claimed))
		memcpy(copy, &claimed, sizeof(claimed));
	good = diag_parse(copy, len, row);
	free(copy);
	return good;
}

static bool
parse(const struct answer *a, struct diag_row *row)
{
	return parse_copy(a, a->len, (uint32_t)a->len, row);
}

static void
answer_full(struct answer *a)
{
	const struct {
		struct nlattr head;
		char name[8];
	} ulp = { { 4 + 6, INET_ULP_INFO_NAME }, "mptcp" };
	struct tcp_info info = {
		.tcpi_retransmits = 4,
		.tcpi_probes = 5,
		.tcpi_backoff = 6,
		.tcpi_unacked = 3,
		.tcpi_last_ack_recv = 1234,
		.tcpi_notsent_bytes = 600,
		.tcpi_bytes_acked = 0x123456789aull,
		.tcpi_snd_wnd = 65535,
	};

	answer_begin(a);
	answer_attribute(a, INET_DIAG_SHUTDOWN, "\3", 1);
	answer_attribute(a, INET_DIAG_INFO, &info, sizeof(info));
	answer_attribute(a, INET_DIAG_ULP_INFO | NLA_F_NESTED, &ulp, sizeof(ulp));
}

static void
test_parse_bare(void **state)
{
	struct answer a;
	struct diag_row row;

	(void)state;
	answer_begin(&a);
	assert_true(parse(&a, &row));
	assert_memory_equal(&row.tuple, &tuple_v4, sizeof(tuple_v4));
	assert_true(row.cookie == COOKIE);
	assert_int_equal(row.inode, 4711);
	assert_int_equal(row.uid, 33);
	assert_int_equal(row.send_queue, 8193);
	assert_int_equal(row.recv_queue, 3);
	assert_int_equal(row.timer_ms, 200);
	assert_int_equal(row.state, TCP_STATE_FIN_WAIT1);
	assert_int_equal(row.timer, 4);
	assert_int_equal(row.retrans, 2);
	assert_false(row.has_shutdown || row.has_info || row.has_window || row.mptcp);
}

static void
test_parse_attributes(void **state)
{
	struct answer a;
	struct diag_row row;

	(void)state;
	answer_full(&a);
	assert_true(parse(&a, &row));
	assert_true(row.has_shutdown && row.has_info && row.mptcp);
	assert_int_equal(row.shutdown, 3);
	assert_int_equal(row.unacked, 3);
	assert_int_equal(row.last_ack_ms, 1234);
	assert_int_equal(row.retransmits, 4);
	assert_int_equal(row.probes, 5);
	assert_int_equal(row.backoff, 6);
	assert_int_equal(row.notsent, 600);
	assert_true(row.has_window && row.bytes_acked == 0x123456789aull);
	assert_int_equal(row.send_window, 65535);
}

#define INFO_END(f) (offsetof(struct tcp_info, f) + sizeof(((struct tcp_info *)0)->f))

/* A tcp_info of every length, all ones: a field is there whole or not at all, and what lies behind
 * the kernel's end is not read. Newer kernels send more than this header knows. */
static void
test_parse_info_lengths(void **state)
{
	uint8_t ones[sizeof(struct tcp_info) + 64];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	memset(ones + offsetof(struct tcp_info, tcpi_bytes_acked) + 4, 0, 4);
	for (size_t len = 0; len <= sizeof(ones); len++) {
		bool info = len >= INFO_END(tcpi_last_ack_recv);
		bool notsent = len >= INFO_END(tcpi_notsent_bytes);
		bool window = len >= INFO_END(tcpi_snd_wnd);
		struct answer a;
		struct diag_row row;

		answer_begin(&a);
		answer_attribute(&a, INET_DIAG_INFO, ones, len);
		assert_true(parse(&a, &row));
		assert_int_equal(row.has_info, info);
		assert_int_equal(row.unacked, info ? UINT32_MAX : 0);
		assert_int_equal(row.last_ack_ms, info ? UINT32_MAX : 0);
		assert_int_equal(row.retransmits, info ? UINT8_MAX : 0);
		assert_int_equal(row.probes, info ? UINT8_MAX : 0);
		assert_int_equal(row.backoff, info ? UINT8_MAX : 0);
		assert_int_equal(row.notsent, notsent ? UINT32_MAX : 0);
		assert_int_equal(row.has_window, window);
		assert_true(row.bytes_acked == (window ? UINT32_MAX : 0));
		assert_int_equal(row.send_window, window ? UINT32_MAX : 0);
	}
}

/* bytes_acked + snd_wnd is where the window ends: a number, or nothing is known of it. */
static void
test_parse_window_without_end(void **state)
{
	struct tcp_info info = { .tcpi_bytes_acked = UINT64_MAX - 1000, .tcpi_snd_wnd = 1000 };
	struct answer a;
	struct diag_row row;

	(void)state;
	for (unsigned over = 0; over < 2; over++) {
		info.tcpi_bytes_acked += over;
		answer_begin(&a);
		answer_attribute(&a, INET_DIAG_INFO, &info, sizeof(info));
		assert_true(parse(&a, &row));
		assert_true(row.has_info);
		assert_int_equal(row.has_window, over == 0);
		assert_true(row.bytes_acked == (over == 0 ? UINT64_MAX - 1000 : 0));
		assert_int_equal(row.send_window, over == 0 ? 1000 : 0);
	}
}

static void
test_parse_other_ulp(void **state)
{
	const struct {
		struct nlattr head;
		char name[4];
	} tls = { { 4 + 4, INET_ULP_INFO_NAME }, "tls" };
	struct answer a;
	struct diag_row row;

	(void)state;
	answer_begin(&a);
	answer_attribute(&a, INET_DIAG_ULP_INFO, &tls, sizeof(tls));
	assert_true(parse(&a, &row));
	assert_false(row.mptcp);
}

/* Cut anywhere, with the length honest or not: nothing beyond the end is read or believed. */
static void
test_parse_truncated(void **state)
{
	const size_t rows = sizeof(struct nlmsghdr) + sizeof(struct inet_diag_msg);
	struct answer a;
	struct diag_row row;

	(void)state;
	answer_full(&a);
	for (size_t len = 0; len < a.len; len++) {
		bool whole = parse_copy(&a, len, (uint32_t)len, &row);

		assert_false(whole && (len < rows || row.mptcp));
		assert_false(parse_copy(&a, len, (uint32_t)a.len, &row));
	}
	assert_false(parse_copy(&a, a.len, 0, &row));
	assert_false(parse_copy(&a, a.len, UINT32_MAX, &row));
}

static void
test_parse_broken_attributes(void **state)
{
	const size_t rows = sizeof(struct nlmsghdr) + sizeof(struct inet_diag_msg);
	const uint16_t lengths[] = { 0, 1, 3, 6, 0xffff };
	struct answer a;
	struct diag_row row;

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		answer_begin(&a);
		answer_attribute(&a, INET_DIAG_SHUTDOWN, "", 0);
		memcpy(a.bytes + rows, &lengths[i], sizeof(lengths[i]));
		assert_false(parse(&a, &row));
	}
	answer_begin(&a);
	answer_attribute(&a, INET_DIAG_SHUTDOWN, "", 0);
	assert_false(parse(&a, &row)); /* present, but empty */
	answer_begin(&a);
	answer_attribute(&a, INET_DIAG_ULP_INFO, "\377\377\1\0", 4);
	assert_false(parse(&a, &row)); /* the nested one reaches beyond its parent */
}

static void
test_parse_other_messages(void **state)
{
	const uint16_t types[] = { NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, SOCK_DESTROY };
	struct answer a;
	struct diag_row row;

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		answer_full(&a);
		memcpy(a.bytes + offsetof(struct nlmsghdr, nlmsg_type), &types[i],
			sizeof(types[i]));
		assert_false(parse(&a, &row));
	}
	answer_full(&a);
	a.bytes[sizeof(struct nlmsghdr) + offsetof(struct inet_diag_msg, idiag_family)] = AF_UNIX;
	assert_false(parse(&a, &row));
}

static uint32_t
random_next(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/* One to four bytes changed at random behind the header: any answer will do, but no crash. */
static void
test_parse_garbage(void **state)
{
	uint32_t x = 2463534242u;
	struct answer full;
	struct diag_row row;

	(void)state;
	answer_full(&full);
	for (unsigned i = 0; i < 200000; i++) {
		struct answer a = full;

		for (uint32_t n = random_next(&x) % 4 + 1; n > 0; n--) {
			size_t at = 16 + random_next(&x) % (a.len - 16);

			a.bytes[at] = (uint8_t)random_next(&x);
		}
		parse(&a, &row);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact_look),
		cmocka_unit_test(test_exact_info),
		cmocka_unit_test(test_exact_destroy),
		cmocka_unit_test(test_exact_refuses),
		cmocka_unit_test(test_exact_half_nocookie),
		cmocka_unit_test(test_dump),
		cmocka_unit_test(test_parse_bare),
		cmocka_unit_test(test_parse_attributes),
		cmocka_unit_test(test_parse_info_lengths),
		cmocka_unit_test(test_parse_window_without_end),
		cmocka_unit_test(test_parse_other_ulp),
		cmocka_unit_test(test_parse_truncated),
		cmocka_unit_test(test_parse_broken_attributes),
		cmocka_unit_test(test_parse_other_messages),
		cmocka_unit_test(test_parse_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
