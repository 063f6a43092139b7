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
	bool interrupted;
};

/* Un-accepted connections have inode 0, too, but never one of these states; a subflow of a closing MPTCP
 * socket may: it belongs to that. */
static bool
is_orphan(const struct diag_row *row, uint32_t states)
{
	return row->inode == 0 && (TCP_STATE_BIT(row->state) & states) != 0 && !row->mptcp;
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

	if ((nlh->nlmsg_flags & NLM_F_DUMP_INTR) != 0)
		dump->interrupted = true;
	if (!diag_parse(nlh, nlh->nlmsg_len, &row)) {
		errno = EBADMSG;
		return MNL_CB_ERROR;
	}
	if (is_orphan(&row, dump->states) && row_add(dump->list, &row) < 0)
		return MNL_CB_ERROR;
	return MNL_CB_OK;
}

static int
family_dump(struct mnl_socket *nl, struct dump *dump, uint16_t family, uint32_t seq)
{
	_Alignas(8) unsigned char buf[32768];
	unsigned port = mnl_socket_get_portid(nl);
	size_t len = diag_dump(buf, seq, family, dump->states);
	int more = MNL_CB_OK;

	if (mnl_socket_sendto(nl, buf, len) < 0)
		return -1;
	while (more > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof(buf));

		if (n < 0)
			return -1;
		more = mnl_cb_run(buf, (size_t)n, seq, port, on_message, dump);
		if (more < 0 && errno == EINTR) { /* libmnl's word for NLM_F_DUMP_INTR */
			dump->interrupted = true;
			more = MNL_CB_OK;
		}
	}
	return more;
}

/* Both families, again from the start while the table moved under the dump. */
static int
dump_all(struct mnl_socket *nl, struct dump *dump)
{
	uint32_t seq = 0;

	for (int i = 0; i < DUMP_TRIES; i++) {
		dump->list->count = 0;
		dump->interrupted = false;
		if (family_dump(nl, dump, AF_INET, ++seq) < 0 || family_dump(nl, dump, AF_INET6, ++seq) < 0)
			return -1;
		if (!dump->interrupted)
			return 0;
	}
	log_warning("the table of sockets changed during each of %d looks: the list may be incomplete",
		DUMP_TRIES);
	return 0;
}

int
orphans_list(struct orphans *list, uint32_t states)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	struct dump dump = { .list = list, .states = states };
	int ret = -1;

	*list = (struct orphans){ 0 };
	if (nl == NULL || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 || dump_all(nl, &dump) < 0)
		log_error("cannot list the TCP sockets by sock_diag: %s%s", strerror(errno),
			errno == ENOENT ? " (is the module tcp_diag loaded?)" : "");
	else
		ret = 0;
	if (nl != NULL)
		mnl_socket_close(nl);
	return ret;
}
