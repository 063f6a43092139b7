/* SPDX-License-Identifier: Apache-2.0 */
#include "orphans.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/log.h"

#define DUMP_TRIES 10

struct dump {
	struct orphans *list;
	uint32_t states;
	bool all;     /* not orphans only */
	uint32_t seq; /* of the question */
};

/* Un-accepted connections have inode 0, too, but never one of these states; a subflow of a closing
 * MPTCP socket may: it belongs to that. */
static bool
is_orphan(const struct diag_row *row, uint32_t states)
{
	return row->inode == 0 && row->state < 32 && (TCP_STATE_BIT(row->state) & states) != 0 &&
	       !row->mptcp;
}

static int
row_add(struct orphans *list, const struct diag_row *row)
{
	if ((list->count & (list->count - 1)) == 0) {
		size_t room = list->count == 0 ? 1 : 2 * list->count;
		struct diag_row *rows = realloc(list->rows, room * sizeof(*rows));

		if (rows == NULL)
			return -1;
		list->rows = rows;
	}
	list->rows[list->count++] = *row;
	return 0;
}

static int
on_message(const struct nlmsghdr *nlh, void *arg)
{
	struct dump *dump = arg;
	struct diag_row row;

	if (nlh->nlmsg_seq != dump->seq)
		return MNL_CB_OK; /* 0, which libmnl takes for any, is nobody's answer */
	if (!diag_parse(nlh, nlh->nlmsg_len, &row)) {
		errno = EBADMSG;
		return MNL_CB_ERROR;
	}
	if ((dump->all || is_orphan(&row, dump->states)) && row_add(dump->list, &row) < 0)
		return MNL_CB_ERROR;
	return MNL_CB_OK;
}

/* Nothing but whole messages. Without this libmnl's own walk could be led out of the buffer. */
static bool
datagram_whole(const void *data, int left)
{
	const struct nlmsghdr *msg = data;

	while (netlink_message_fits(msg, left))
		msg = mnl_nlmsg_next(msg, &left);
	return left <= 0;
}

static int
family_dump(struct mnl_socket *nl, struct dump *dump, uint16_t family, uint32_t seq)
{
	_Alignas(8) unsigned char buf[32768];
	unsigned port = mnl_socket_get_portid(nl);
	size_t len = diag_dump(buf, seq, family, dump->states);
	int more = MNL_CB_OK;

	dump->seq = seq;
	if (mnl_socket_sendto(nl, buf, len) < 0)
		return -1;
	while (more > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof(buf));

		if (n < 0)
			return -1;
		if (!datagram_whole(buf, (int)n)) {
			errno = EBADMSG;
			return -1;
		}
		more = mnl_cb_run(buf, (size_t)n, seq, port, on_message, dump);
	}
	return more;
}

/* Connected to the kernel, so that nobody else is heard (netlink_getsockbyportid()). */
static int
kernel_connect(struct mnl_socket *nl)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		return -1;
	return connect(mnl_socket_get_fd(nl), (const struct sockaddr *)&kernel, sizeof(kernel));
}

/* Both families on a socket of their own: what is left unread of an interrupted dump goes with it.
 * Returns -1 with errno, EINTR when the table moved under the dump (libmnl's word for
 * NLM_F_DUMP_INTR). */
static int
dump_once(struct dump *dump)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	int rc = -1, error;

	dump->list->count = 0;
	if (nl == NULL)
		return -1;
	if (kernel_connect(nl) == 0 && family_dump(nl, dump, AF_INET, 1) >= 0 &&
		family_dump(nl, dump, AF_INET6, 2) >= 0)
		rc = 0;
	error = errno;
	mnl_socket_close(nl);
	errno = error;
	return rc;
}

static int
list_make(struct dump *dump)
{
	struct orphans *list = dump->list;
	int rc = -1;

	*list = (struct orphans){ 0 };
	errno = EINTR;
	for (int i = 0; i < DUMP_TRIES && rc < 0 && errno == EINTR; i++)
		rc = dump_once(dump);
	if (rc == 0)
		return 0;
	log_error("cannot list the TCP sockets by sock_diag: %s%s",
		errno == EINTR ? "the table changed during each look" : strerror(errno),
		errno == ENOENT ? " (is the module tcp_diag loaded?)" : "");
	free(list->rows);
	list->rows = NULL;
	return -1;
}

int
orphans_list(struct orphans *list, uint32_t states)
{
	return list_make(&(struct dump){ .list = list, .states = states });
}

int
sockets_list(struct orphans *list, uint32_t states)
{
	return list_make(&(struct dump){ .list = list, .states = states, .all = true });
}
