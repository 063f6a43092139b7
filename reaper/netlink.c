/* SPDX-License-Identifier: Apache-2.0 */
#include "netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/log.h"
#include "proto/clock.h"

/* An answer with every attribute of 6.18 is about 400 bytes; the kernel's skb for it is charged
 * with up to 4 KiB. SO_RCVBUFFORCE doubles the number it is given. */
#define ANSWER_MAX  2048u
#define RCVBUF	    (512 * 1024)
#define RCVBUF_NEED (NETLINK_BATCH_MAX * 4096)

/* Rounds of recvmmsg(2) for one exchange: answers, a few strays, a few overruns. */
#define ROUNDS_MAX 16

static int
fd_fix(int fd, int want)
{
	int rc;

	if (fd == want)
		return fd;
	rc = dup3(fd, want, O_CLOEXEC);
	close(fd);
	return rc;
}

static void
room_make(const struct mnl_socket *socket)
{
	int want = RCVBUF, on = 1, have = 0;
	socklen_t len = sizeof(have);
	int fd = mnl_socket_get_fd(socket);

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &want, sizeof(want)) < 0)
		fatal("cannot make room for the kernel's answers: %s", strerror(errno));
	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &have, &len) < 0 || have < (int)RCVBUF_NEED)
		fatal("room for the kernel's answers is %d bytes, needed are %u", have,
			RCVBUF_NEED);
	/* Errors without a copy of the question: less to read. */
	if (mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &on, sizeof(on)) < 0)
		fatal("cannot ask for short acknowledgements: %s", strerror(errno));
}

void
netlink_open(struct netlink *nl, int want)
{
	/* Connected to the kernel, so that other senders are turned away
	 * (netlink_getsockbyportid()). */
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0)
		fatal("no NETLINK_SOCK_DIAG (module inet_diag): %s", strerror(errno));
	fd = fd_fix(fd, want);
	*nl = (struct netlink){ .socket = fd < 0 ? NULL : mnl_socket_fdopen(fd), .seq = 1 };
	if (nl->socket == NULL)
		fatal("cannot open the netlink socket: %s", strerror(errno));
	if (mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
		connect(fd, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		fatal("cannot connect the netlink socket to the kernel: %s", strerror(errno));
	room_make(nl->socket);
}

static void
query_answer(struct netlink_query *q, int error, mono_ns now)
{
	q->answered = true;
	q->error = error;
	q->read = now;
}

static void
message_take(const struct nlmsghdr *msg, struct netlink_query *q, mono_ns now)
{
	if (msg->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *err = mnl_nlmsg_get_payload(msg);
		bool whole = mnl_nlmsg_get_payload_len(msg) >= sizeof(err->error);

		query_answer(q, whole ? netlink_errno(err->error) : EBADMSG, now);
		return;
	}
	q->has_row = diag_parse(msg, msg->nlmsg_len, &q->row);
	query_answer(q, q->has_row ? 0 : EBADMSG, now);
}

/* The messages of one datagram. Sequence numbers are consecutive from `first`; any other, and a
 * second answer to the same question, is not for us. Returns the number of questions answered. */
static size_t
datagram_take(
	const void *data, size_t len, uint32_t first, struct netlink_query *queries, size_t count)
{
	const struct nlmsghdr *msg = data;
	mono_ns now = clock_now();
	int left = (int)len;
	size_t taken = 0;

	for (; netlink_message_fits(msg, left); msg = mnl_nlmsg_next(msg, &left)) {
		uint32_t i = msg->nlmsg_seq - first;

		if (i >= count || queries[i].len == 0 || queries[i].answered)
			continue;
		message_take(msg, &queries[i], now);
		taken++;
	}
	return taken;
}

/* One recvmmsg(2). Returns -1 with errno, or the number of questions answered in *taken. */
static int
answers_read(int fd, uint32_t first, struct netlink_query *queries, size_t count, size_t *taken)
{
	static _Alignas(8) unsigned char buffers[NETLINK_BATCH_MAX][ANSWER_MAX];
	static struct mmsghdr msgs[NETLINK_BATCH_MAX];
	static struct sockaddr_nl from[NETLINK_BATCH_MAX];
	static struct iovec iov[NETLINK_BATCH_MAX];
	int n;

	for (size_t i = 0; i < count; i++) {
		iov[i] = (struct iovec){ buffers[i], ANSWER_MAX };
		msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &from[i],
			.msg_namelen = sizeof(from[i]),
			.msg_iov = &iov[i],
			.msg_iovlen = 1,
		};
	}
	n = recvmmsg(fd, msgs, (unsigned)count, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		const struct msghdr *hdr = &msgs[i].msg_hdr;

		/* The kernel is port 0, and nobody else can be. A cut message is no answer. */
		if (hdr->msg_namelen != sizeof(from[i]) || from[i].nl_pid != 0 ||
			(hdr->msg_flags & MSG_TRUNC) != 0)
			continue;
		*taken += datagram_take(buffers[i], msgs[i].msg_len, first, queries, count);
	}
	return n < 0 ? -1 : 0;
}

/* Until all is answered or nothing is left. ENOBUFS says that at least one answer was dropped: the
 * others are still queued behind it, as they are after any other error. */
static void
answers_collect(struct netlink *nl, uint32_t first, struct netlink_query *queries, size_t count,
	size_t expected)
{
	int fd = mnl_socket_get_fd(nl->socket);
	size_t taken = 0;

	for (int round = 0; taken < expected && round < ROUNDS_MAX; round++) {
		if (answers_read(fd, first, queries, count, &taken) == 0)
			continue;
		if (errno == EAGAIN)
			break;
		if (errno == ENOBUFS)
			nl->overruns++;
	}
}

static ssize_t
questions_send(const struct netlink *nl, const struct iovec *iov, size_t count)
{
	ssize_t n;

	/* Connected to the kernel: by a call that cannot name another receiver. */
	do
		n = writev(mnl_socket_get_fd(nl->socket), iov, (int)count);
	while (n < 0 && errno == EINTR);
	return n;
}

/* Numbers the questions. Returns the number to be sent. */
static size_t
questions_prepare(uint32_t first, struct netlink_query *queries, size_t count, struct iovec *iov)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		struct netlink_query *q = &queries[i];
		uint32_t seq = first + (uint32_t)i;

		q->asked = q->answered = q->has_row = false;
		if (q->len == 0)
			continue;
		memcpy(q->request + offsetof(struct nlmsghdr, nlmsg_seq), &seq, sizeof(seq));
		iov[n++] = (struct iovec){ q->request, q->len };
	}
	return n;
}

/* The questions that nobody answered, and why. */
static void
silence_record(struct netlink_query *queries, size_t count, int error)
{
	mono_ns now = clock_now();

	for (size_t i = 0; i < count; i++) {
		if (queries[i].answered)
			continue;
		queries[i].error = queries[i].len == 0 ? EINVAL : error;
		queries[i].read = now;
	}
}

void
netlink_exchange(struct netlink *nl, struct netlink_query *queries, size_t count)
{
	struct iovec iov[NETLINK_BATCH_MAX];
	uint32_t first = nl->seq;
	size_t n;

	nl->seq += (uint32_t)count;
	n = questions_prepare(first, queries, count, iov);
	nl->sent = clock_now();
	if (n > 0 && questions_send(nl, iov, n) < 0) {
		silence_record(queries, count, errno);
		return;
	}
	for (size_t i = 0; i < count; i++)
		queries[i].asked = queries[i].len != 0;
	answers_collect(nl, first, queries, count, n);
	silence_record(queries, count, ENOBUFS);
}
