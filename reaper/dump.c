/* SPDX-License-Identifier: Apache-2.0 */
#include "dump.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* netlink_recvmsg() lets a dump fill as much as its reader has room for, up to 32 KiB. */
#define DATAGRAM_MAX 32768u

/* Errors and strays that one dump survives: none of them can keep the reaper for ever. */
#define MISHAPS_MAX 64

struct dump {
	uint32_t seq;
	void (*take)(void *arg, const struct diag_row *row); /* NULL throws everything away */
	void *arg;
	bool done;
	unsigned mishaps;
	struct dump_end end;
};

static void
went_wrong(struct dump *d, int error)
{
	if (d->end.error == 0)
		d->end.error = error;
	d->end.complete = false;
}

/* The number behind NLMSG_ERROR or NLMSG_DONE as an errno. */
static int
status_read(const struct nlmsghdr *msg)
{
	int status;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(status))
		return EBADMSG;
	memcpy(&status, mnl_nlmsg_get_payload(msg), sizeof(status));
	return netlink_errno(status);
}

static void
row_take(struct dump *d, const struct nlmsghdr *msg)
{
	struct diag_row row;

	if (diag_parse(msg, msg->nlmsg_len, &row))
		d->take(d->arg, &row);
	else
		went_wrong(d, EBADMSG);
}

static void
end_take(struct dump *d, const struct nlmsghdr *msg)
{
	int error = status_read(msg);

	/* An acknowledgement was not asked for, and ends no dump. */
	if (error == 0 && msg->nlmsg_type == NLMSG_ERROR)
		error = EBADMSG;
	if (error != 0)
		went_wrong(d, error);
	d->done = true;
}

static void
message_take(struct dump *d, const struct nlmsghdr *msg)
{
	if (d->take == NULL || msg->nlmsg_seq != d->seq || d->done)
		return;
	if ((msg->nlmsg_flags & NLM_F_DUMP_INTR) != 0)
		d->end.complete = false;
	switch (msg->nlmsg_type) {
	case NLMSG_NOOP:
		break;
	case NLMSG_ERROR:
	case NLMSG_DONE:
		end_take(d, msg);
		break;
	case NLMSG_OVERRUN:
		went_wrong(d, ENOBUFS);
		break;
	default:
		row_take(d, msg);
	}
}

static void
datagram_take(struct dump *d, const void *data, size_t len)
{
	const struct nlmsghdr *msg = data;
	int left = (int)len;

	for (; netlink_message_fits(msg, left); msg = mnl_nlmsg_next(msg, &left))
		message_take(d, msg);
	if (left > 0)
		went_wrong(d, EBADMSG);
}

/* Reads one datagram. Returns 0, or the errno: EBADMSG for one that is cut or not the kernel's. */
static int
datagram_read(int fd, struct dump *d)
{
	static _Alignas(8) unsigned char buffer[DATAGRAM_MAX];
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { buffer, sizeof(buffer) };
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1
	};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);

	if (n < 0)
		return errno;
	if (msg.msg_namelen != sizeof(from) || from.nl_pid != 0) {
		d->mishaps++; /* no part of the answer, so nothing is missing */
		return 0;
	}
	if ((msg.msg_flags & MSG_TRUNC) != 0)
		return EMSGSIZE;
	datagram_take(d, buffer, (size_t)n);
	return 0;
}

/* Until the end is told, or nothing is left to read. */
static void
collect(int fd, struct dump *d)
{
	while (!d->done && d->mishaps < MISHAPS_MAX) {
		int error = datagram_read(fd, d);

		if (error == EAGAIN)
			break;
		if (error == 0)
			continue;
		d->mishaps++;
		if (error != EINTR)
			went_wrong(d, error);
	}
	/* netlink_dump() had no memory for the next datagram, and will not try again by itself. */
	if (!d->done)
		went_wrong(d, ENOBUFS);
}

static int
question_send(int fd, void *request, size_t len)
{
	ssize_t n;

	do
		n = send(fd, request, len, 0); /* connected to the kernel: no address */
	while (n < 0 && errno == EINTR);
	return n < 0 ? errno : 0;
}

struct dump_end
dump_run(struct netlink *nl, void *request, size_t len,
	void (*take)(void *arg, const struct diag_row *row), void *arg)
{
	struct dump old = { 0 };
	struct dump d = { .take = take, .arg = arg, .end = { .complete = true } };
	int fd = mnl_socket_get_fd(nl->socket), error;

	d.seq = nl->seq++;
	if (nl->seq == 0)
		nl->seq = 1;
	collect(fd, &old);
	memcpy((unsigned char *)request + offsetof(struct nlmsghdr, nlmsg_seq), &d.seq,
		sizeof(d.seq));
	error = question_send(fd, request, len);
	if (error != 0)
		went_wrong(&d, error);
	else
		collect(fd, &d);
	return d.end;
}
