/* SPDX-License-Identifier: Apache-2.0 */
/* links: reaper/dump.c proto/diag.c | pkg: libmnl */
/* Links reaper/dump.c, proto/diag.c. The kernel is played by send() and recvmsg() below. */
#include "tests/unit/unit.h"

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "reaper/dump.h"

#define FD     7
#define EVENTS 200
#define OTHER  0x80000000u /* a question's number that is not ours */

/* What one recvmsg(2) brings: an errno, or messages. */
struct event {
	int error;
	uint32_t pid; /* who sent it; 0 is the kernel */
	int flags;
	size_t len;
	_Alignas(8) unsigned char data[2048];
};

static struct {
	struct event events[EVENTS];
	size_t count, at;
	uint32_t seq; /* of the question */
	unsigned sent;
	int send_error;
	bool ready; /* the events come before the question: an old dump's */
} kernel;

int
mnl_socket_get_fd(const struct mnl_socket *nl)
{
	(void)nl;
	return FD;
}

ssize_t
send(int fd, const void *request, size_t len, int flags)
{
	const struct nlmsghdr *head = request;

	(void)flags;
	assert_int_equal(fd, FD);
	kernel.sent++;
	kernel.ready = true;
	kernel.seq = head->nlmsg_seq;
	if (kernel.send_error != 0) {
		errno = kernel.send_error;
		return -1;
	}
	return (ssize_t)len;
}

static int
again(void)
{
	errno = EAGAIN;
	return -1;
}

/* The questions' numbers are known only now. */
static void
messages_number(struct event *e)
{
	int left = (int)e->len;

	for (struct nlmsghdr *h = (struct nlmsghdr *)e->data; netlink_message_fits(h, left);
		h = mnl_nlmsg_next(h, &left))
		h->nlmsg_seq += kernel.seq;
}

ssize_t
recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct event *e = &kernel.events[kernel.at];
	struct sockaddr_nl *from = msg->msg_name;

	assert_int_equal(fd, FD);
	assert_int_equal(flags, MSG_DONTWAIT);
	assert_true(msg->msg_iov[0].iov_len >= 32768);
	if (kernel.at == kernel.count || !kernel.ready)
		return again();
	kernel.at++;
	if (e->error != 0) {
		errno = e->error;
		return -1;
	}
	messages_number(e);
	memcpy(msg->msg_iov[0].iov_base, e->data, e->len);
	*from = (struct sockaddr_nl){ .nl_family = AF_NETLINK, .nl_pid = e->pid };
	msg->msg_flags = e->flags;
	return (ssize_t)e->len;
}

/* ---- what the kernel says -------------------------------------------------------------------- */

static int
begin(void **state)
{
	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	return 0;
}

static struct event *
event_new(void)
{
	assert_true(kernel.count < EVENTS);
	return &kernel.events[kernel.count++];
}

static struct nlmsghdr *
message_add(struct event *e, uint16_t type, uint16_t flags, const void *body, size_t len)
{
	struct nlmsghdr *h = (struct nlmsghdr *)(e->data + e->len);

	*h = (struct nlmsghdr){ (uint32_t)(sizeof(*h) + len), type, flags, 0, 0 };
	memcpy(h + 1, body, len);
	e->len += (sizeof(*h) + len + 3) & ~(size_t)3;
	assert_true(e->len <= sizeof(e->data));
	return h;
}

static struct nlmsghdr *
row_add(struct event *e, uint32_t cookie)
{
	struct inet_diag_msg row = { .idiag_family = AF_INET,
		.idiag_state = TCP_STATE_FIN_WAIT1,
		.id.idiag_cookie = { cookie } };

	return message_add(e, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, &row, sizeof(row));
}

static struct nlmsghdr *
status_add(struct event *e, uint16_t type, int status)
{
	return message_add(e, type, NLM_F_MULTI, &status, sizeof(status));
}

static struct event *
rows_say(uint32_t first, unsigned count)
{
	struct event *e = event_new();

	for (unsigned i = 0; i < count; i++)
		row_add(e, first + i);
	return e;
}

static void
error_say(int error)
{
	event_new()->error = error;
}

static void
done_say(void)
{
	status_add(event_new(), NLMSG_DONE, 0);
}

/* ---- dumps ----------------------------------------------------------------------------------- */

static struct {
	uint64_t cookies[4096];
	unsigned count;
} seen;

static void
see(void *arg, const struct diag_row *row)
{
	assert_ptr_equal(arg, &seen);
	seen.cookies[seen.count++] = row->cookie;
}

static struct dump_end
dump(void)
{
	static struct netlink nl = { .seq = 1 };
	const struct wire_tuple any = { .family = AF_INET };
	_Alignas(4) unsigned char request[DIAG_REQUEST_LEN];
	size_t len = diag_dump(request, 0, any.family, TCP_STATES_ORPHAN);
	uint32_t before = nl.seq;
	struct dump_end end;

	seen.count = 0;
	end = dump_run(&nl, request, len, see, &seen);
	assert_int_equal(kernel.sent, 1);
	assert_int_equal(kernel.seq, before);
	assert_int_not_equal(nl.seq, before);
	return end;
}

static void
expect(int error, bool complete, unsigned rows)
{
	struct dump_end end = dump();

	assert_int_equal(end.error, error);
	assert_int_equal(end.complete, complete);
	assert_int_equal(seen.count, rows);
	for (unsigned i = 0; i < rows; i++)
		assert_int_equal(seen.cookies[i], 100 + i);
}

static void
test_whole(void **state)
{
	(void)state;
	rows_say(100, 5);
	rows_say(105, 1);
	status_add(rows_say(106, 2), NLMSG_DONE, 0);
	expect(0, true, 8);
	assert_int_equal(kernel.at, kernel.count);
}

static void
test_empty(void **state)
{
	(void)state;
	done_say();
	expect(0, true, 0);
}

/* The table changed under the dump: said with any message, the rows are good all the same. */
static void
test_interrupted(void **state)
{
	(void)state;
	rows_say(100, 2);
	row_add(event_new(), 102)->nlmsg_flags |= NLM_F_DUMP_INTR;
	rows_say(103, 1);
	done_say();
	expect(0, false, 4);
	begin(NULL);
	rows_say(100, 2);
	status_add(event_new(), NLMSG_DONE, 0)->nlmsg_flags |= NLM_F_DUMP_INTR;
	expect(0, false, 2);
}

/* Something was dropped; what is behind it still counts. */
static void
test_no_room(void **state)
{
	(void)state;
	rows_say(100, 2);
	error_say(ENOBUFS);
	rows_say(102, 2);
	done_say();
	expect(ENOBUFS, false, 4);
	begin(NULL);
	rows_say(100, 2);
	status_add(event_new(), NLMSG_OVERRUN, 0);
	done_say();
	expect(ENOBUFS, false, 2);
}

static void
test_interrupted_call(void **state)
{
	(void)state;
	rows_say(100, 2);
	error_say(EINTR);
	rows_say(102, 1);
	done_say();
	expect(0, true, 3);
}

/* The kernel had no memory to go on, and says nothing: the end is missing. */
static void
test_silence(void **state)
{
	(void)state;
	expect(ENOBUFS, false, 0);
	begin(NULL);
	rows_say(100, 3);
	expect(ENOBUFS, false, 3);
}

static void
test_error_answer(void **state)
{
	const int errors[] = { EPERM, EBUSY, ENOENT, EOPNOTSUPP };

	for (size_t i = 0; i < COUNT_OF(errors); i++) {
		begin(state);
		rows_say(100, 1);
		status_add(event_new(), NLMSG_ERROR, -errors[i]);
		rows_say(101, 1); /* behind the end: nobody's */
		expect(errors[i], false, 1);
	}
	begin(state);
	rows_say(100, 1);
	status_add(event_new(), NLMSG_DONE, -ENOMEM); /* the dump's own end, since 4.15 */
	expect(ENOMEM, false, 1);
}

static void
test_odd_status(void **state)
{
	const int odd[] = { 1, INT32_MAX, INT32_MIN, -65536 };

	for (size_t i = 0; i < COUNT_OF(odd); i++) {
		begin(state);
		status_add(event_new(), i % 2 == 0 ? NLMSG_ERROR : NLMSG_DONE, odd[i]);
		expect(EBADMSG, false, 0);
	}
	begin(state);
	status_add(event_new(), NLMSG_ERROR, 0); /* an acknowledgement nobody asked for */
	expect(EBADMSG, false, 0);
	begin(state);
	message_add(event_new(), NLMSG_DONE, 0, "", 0);
	expect(EBADMSG, false, 0);
}

static void
test_send_fails(void **state)
{
	(void)state;
	kernel.send_error = ENOBUFS;
	done_say();
	expect(ENOBUFS, false, 0);
	assert_int_equal(kernel.at, 0);
}

/* Whoever is not the kernel is not heard, whatever they say, and nothing is missing for it. */
static void
test_strangers(void **state)
{
	(void)state;
	rows_say(100, 2);
	rows_say(900, 5)->pid = 4711;
	status_add(event_new(), NLMSG_ERROR, -EPERM);
	kernel.events[kernel.count - 1].pid = 1;
	status_add(event_new(), NLMSG_DONE, 0);
	kernel.events[kernel.count - 1].pid = UINT32_MAX;
	rows_say(102, 1);
	done_say();
	expect(0, true, 3);
}

/* Nor do they keep the reaper for ever. */
static void
test_flood_of_strangers(void **state)
{
	(void)state;
	for (unsigned i = 0; i < EVENTS; i++)
		rows_say(900, 1)->pid = 4711;
	expect(ENOBUFS, false, 0);
	assert_true(kernel.at < EVENTS);
	begin(NULL);
	for (unsigned i = 0; i < EVENTS; i++)
		error_say(EINTR);
	expect(ENOBUFS, false, 0);
	assert_true(kernel.at < EVENTS);
}

/* An answer to another question: an older dump, or nobody's. */
static void
test_other_numbers(void **state)
{
	struct event *e;

	(void)state;
	e = event_new();
	row_add(e, 900)->nlmsg_seq = OTHER;
	status_add(e, NLMSG_DONE, 0)->nlmsg_seq = OTHER;
	row_add(e, 100);
	status_add(e, NLMSG_ERROR, -EPERM)->nlmsg_seq = OTHER;
	done_say();
	expect(0, true, 1);
}

/* What an earlier dump left is read and thrown away before the question is sent. */
static void
test_leftovers(void **state)
{
	(void)state;
	kernel.ready = true;
	kernel.seq = OTHER;
	rows_say(900, 9);
	error_say(ENOBUFS);
	rows_say(909, 9);
	done_say();
	expect(ENOBUFS, false, 0); /* our own question is met with silence */
	assert_int_equal(kernel.at, 4);
}

/* Also what answers no question at all: the kernel's own news have number 0. */
static void
test_leftover_news(void **state)
{
	(void)state;
	kernel.ready = true;
	kernel.seq = 0;
	rows_say(900, 9);
	done_say();
	rows_say(909, 9);
	expect(ENOBUFS, false, 0);
	assert_int_equal(kernel.at, 3);
}

static void
test_cut(void **state)
{
	(void)state;
	rows_say(100, 2);
	rows_say(900, 2)->flags = MSG_TRUNC;
	done_say();
	expect(EMSGSIZE, false, 2);
	begin(NULL);
	rows_say(100, 2)->len -= 4; /* the last row reaches behind the end */
	done_say();
	expect(EBADMSG, false, 1);
}

static void
test_bad_rows(void **state)
{
	struct event *e;

	(void)state;
	e = rows_say(100, 1);
	message_add(e, SOCK_DIAG_BY_FAMILY, 0, "1234567", 8); /* too short for a row */
	row_add(e, 101);
	message_add(e, 4711, 0, "1234567", 8); /* no message we know */
	message_add(e, NLMSG_NOOP, 0, "", 0);
	row_add(e, 102);
	done_say();
	expect(EBADMSG, false, 3);
	begin(NULL);
	message_add(event_new(), NLMSG_NOOP, 0, "", 0);
	done_say();
	expect(0, true, 0);
}

/* Bytes changed at random: any end will do, but no crash and no endless reading. */
static void
test_garbage(void **state)
{
	(void)state;
	random_start();
	for (unsigned n = 0; n < 3000; n++) {
		begin(NULL);
		for (unsigned i = 0; i < 5; i++) {
			struct event *e = rows_say(100, 4);

			for (uint64_t k = random_below(6); k > 0; k--)
				e->data[random_below(e->len)] = (uint8_t)random_next();
		}
		done_say();
		dump();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_whole, begin),
		cmocka_unit_test_setup(test_empty, begin),
		cmocka_unit_test_setup(test_interrupted, begin),
		cmocka_unit_test_setup(test_no_room, begin),
		cmocka_unit_test_setup(test_interrupted_call, begin),
		cmocka_unit_test_setup(test_silence, begin),
		cmocka_unit_test_setup(test_error_answer, begin),
		cmocka_unit_test_setup(test_odd_status, begin),
		cmocka_unit_test_setup(test_send_fails, begin),
		cmocka_unit_test_setup(test_strangers, begin),
		cmocka_unit_test_setup(test_flood_of_strangers, begin),
		cmocka_unit_test_setup(test_other_numbers, begin),
		cmocka_unit_test_setup(test_leftovers, begin),
		cmocka_unit_test_setup(test_leftover_news, begin),
		cmocka_unit_test_setup(test_cut, begin),
		cmocka_unit_test_setup(test_bad_rows, begin),
		cmocka_unit_test_setup(test_garbage, begin),
	};

	return cmocka_run_group_tests_name("dump", tests, NULL, NULL);
}
