/* SPDX-License-Identifier: Apache-2.0 */
/* links: reaper/netlink.c proto/diag.c proto/log.c | pkg: libmnl */
/* Links reaper/netlink.c, proto/diag.c, proto/log.c. The kernel is played by writev() and
 * recvmmsg() below. */
#include "tests/unit/unit.h"

#include <limits.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "reaper/netlink.h"

#define FD	 7
#define ANSWERS	 8
#define QUERIES	 3
#define FIRST	 100u
#define STRANGER 4711u

/* What recvmmsg(2) brings, all of it at once. */
static struct {
	struct {
		uint32_t pid; /* who sent it; 0 is the kernel */
		int flags;
		size_t len;
		_Alignas(8) unsigned char data[256];
	} answers[ANSWERS];
	unsigned count, at;
	int asked; /* questions sent */
} kernel;

int
mnl_socket_get_fd(const struct mnl_socket *nl)
{
	(void)nl;
	return FD;
}

ssize_t
writev(int fd, const struct iovec *iov, int count)
{
	assert_int_equal(fd, FD);
	assert_int_equal(iov[0].iov_len, DIAG_REQUEST_LEN);
	kernel.asked = count;
	return 1;
}

int
recvmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags, struct timespec *timeout)
{
	unsigned n = 0;

	(void)timeout;
	assert_int_equal(fd, FD);
	assert_int_equal(flags, MSG_DONTWAIT);
	for (; n < count && kernel.at < kernel.count; n++, kernel.at++) {
		struct msghdr *msg = &msgs[n].msg_hdr;
		struct sockaddr_nl from = { .nl_family = AF_NETLINK,
			.nl_pid = kernel.answers[kernel.at].pid };

		memcpy(msg->msg_name, &from, sizeof(from));
		memcpy(msg->msg_iov[0].iov_base, kernel.answers[kernel.at].data,
			kernel.answers[kernel.at].len);
		msgs[n].msg_len = (unsigned)kernel.answers[kernel.at].len;
		msg->msg_flags = kernel.answers[kernel.at].flags;
	}
	errno = EAGAIN;
	return n == 0 ? -1 : (int)n;
}

/* ---- what the kernel says -------------------------------------------------------------------- */

static void
say(uint32_t seq, uint16_t type, const void *body, size_t len)
{
	unsigned char *data = kernel.answers[kernel.count].data;
	struct nlmsghdr head = { (uint32_t)(sizeof(head) + len), type, 0, seq, 0 };

	assert_true(kernel.count < ANSWERS);
	memcpy(data, &head, sizeof(head));
	memcpy(data + sizeof(head), body, len);
	kernel.answers[kernel.count++].len = sizeof(head) + len;
}

static void
say_row(uint32_t seq, uint32_t cookie)
{
	struct inet_diag_msg row = { .idiag_family = AF_INET, .id.idiag_cookie = { cookie } };

	say(seq, SOCK_DIAG_BY_FAMILY, &row, sizeof(row));
}

static void
say_status(uint32_t seq, int status)
{
	say(seq, NLMSG_ERROR, &status, sizeof(status));
}

/* ---- questions ------------------------------------------------------------------------------- */

static struct netlink_query queries[QUERIES];

/* All but `left_out` are sent. */
static void
exchange(int left_out)
{
	static const struct wire_tuple tuple = { .family = AF_INET };
	struct netlink nl = { .seq = FIRST };

	for (int i = 0; i < QUERIES; i++)
		queries[i].len = i == left_out ? 0
					       : diag_exact(queries[i].request, SOCK_DIAG_BY_FAMILY,
							 0, (uint64_t)i + 1, &tuple);
	netlink_exchange(&nl, queries, QUERIES);
	assert_int_equal(nl.seq, FIRST + QUERIES);
	assert_int_equal(kernel.asked, left_out < 0 ? QUERIES : QUERIES - 1);
	memset(&kernel, 0, sizeof(kernel));
}

static void
expect(int i, int error, uint64_t cookie)
{
	assert_int_equal(queries[i].error, error);
	assert_int_equal(queries[i].has_row, cookie != 0);
	if (cookie != 0)
		assert_int_equal(queries[i].row.cookie, cookie);
}

static void
test_answers_by_number(void **state)
{
	(void)state;
	say_row(FIRST + 2, 33);
	say_status(FIRST + 1, -ENOENT);
	say_row(FIRST, 11);
	exchange(-1);
	expect(0, 0, 11);
	expect(1, ENOENT, 0);
	expect(2, 0, 33);
}

/* Another number, another sender, a part of a message, a second answer: none is one. */
static void
test_what_is_no_answer(void **state)
{
	(void)state;
	say_row(FIRST - 1, 9);
	say_row(FIRST + QUERIES, 9);
	say_row(0, 9);
	kernel.answers[kernel.count].pid = STRANGER;
	say_row(FIRST, 9);
	kernel.answers[kernel.count].flags = MSG_TRUNC;
	say_row(FIRST + 1, 9);
	say_row(FIRST + 2, 33);
	say_row(FIRST + 2, 9);
	exchange(-1);
	expect(0, ENOBUFS, 0);
	expect(1, ENOBUFS, 0);
	expect(2, 0, 33);
}

/* An answer to what was never asked. */
static void
test_a_question_that_is_not_sent(void **state)
{
	(void)state;
	say_row(FIRST, 11);
	say_row(FIRST + 1, 9);
	say_row(FIRST + 2, 33);
	exchange(1);
	expect(0, 0, 11);
	expect(1, EINVAL, 0);
	expect(2, 0, 33);
}

static void
test_odd_status(void **state)
{
	static const int odd[] = { 1, -4096, INT_MIN, INT_MAX };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(odd); i++) {
		say_status(FIRST, odd[i]);
		say(FIRST + 1, NLMSG_ERROR, "", 0);
		say_status(FIRST + 2, 0);
		exchange(-1);
		expect(0, EBADMSG, 0);
		expect(1, EBADMSG, 0);
		expect(2, 0, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers_by_number),
		cmocka_unit_test(test_what_is_no_answer),
		cmocka_unit_test(test_a_question_that_is_not_sent),
		cmocka_unit_test(test_odd_status),
	};

	return cmocka_run_group_tests_name("netlink", tests, NULL, NULL);
}
