/* SPDX-License-Identifier: Apache-2.0 */
/* links: ctl/orphans.c proto/diag.c proto/log.c | pkg: libmnl */
/*
 * What `eghostctl scan` reads from its netlink sockets, which are played: a datagram of the input
 * behind its flags and its length for each read. What is listed is word for word in a message that
 * came (netlink_row.h reads it once more).
 */
#include "fuzz.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctl/orphans.h"
#include "netlink_row.h"

#define SOCKET	   ((struct mnl_socket *)&source)
#define PORT	   4711u
#define FD	   77
#define EVENTS_MAX 96u

#define EVENT_ERROR 1u /* an errno, no datagram */

/* A list with and without rows, an error. */
FUZZ_GOALS(3);

static struct input source;
static struct event {
	const uint8_t *data;
	size_t len;
} events[EVENTS_MAX];
static size_t event_count;
static bool open_now, connected;

struct mnl_socket *
mnl_socket_open2(int bus, int flags)
{
	REQUIRE(!open_now && bus == NETLINK_SOCK_DIAG && flags == SOCK_CLOEXEC);
	open_now = true;
	connected = false;
	return SOCKET;
}

int
mnl_socket_bind(struct mnl_socket *nl, unsigned groups, pid_t pid)
{
	REQUIRE(nl == SOCKET && groups == 0 && pid == MNL_SOCKET_AUTOPID);
	return 0;
}

int
mnl_socket_get_fd(const struct mnl_socket *nl)
{
	REQUIRE(nl == SOCKET);
	return FD;
}

/* To the kernel: from then on it is the only one who is heard. */
int
connect(int fd, const struct sockaddr *address, socklen_t len)
{
	const struct sockaddr_nl *to = (const void *)address;

	REQUIRE(fd == FD && len == sizeof(*to) && to->nl_family == AF_NETLINK);
	REQUIRE(to->nl_pid == 0 && to->nl_groups == 0);
	connected = true;
	return 0;
}

unsigned
mnl_socket_get_portid(const struct mnl_socket *nl)
{
	REQUIRE(nl == SOCKET);
	return PORT;
}

ssize_t
mnl_socket_sendto(const struct mnl_socket *nl, const void *request, size_t len)
{
	(void)request;
	REQUIRE(nl == SOCKET && connected);
	return (ssize_t)len;
}

ssize_t
mnl_socket_recvfrom(const struct mnl_socket *nl, void *out, size_t size)
{
	unsigned flags = (unsigned)input_number(&source, 1);
	size_t len = input_number(&source, 2);

	REQUIRE(nl == SOCKET && open_now && connected);
	if ((flags & EVENT_ERROR) != 0 || source.left == 0 || event_count == EVENTS_MAX) {
		errno = (int)len % 133 + 1;
		return -1;
	}
	if (len > source.left)
		len = source.left;
	if (len > size)
		len = size;
	events[event_count++] = (struct event){ source.at, len };
	return (ssize_t)input_fill(&source, out, len);
}

int
mnl_socket_close(struct mnl_socket *nl)
{
	REQUIRE(nl == SOCKET && open_now);
	open_now = false;
	return 0;
}

/* What is said on standard error is not looked at here. */
ssize_t
write(int fd, const void *data, size_t len)
{
	return fd == STDERR_FILENO ? (ssize_t)len : syscall(SYS_write, fd, data, len);
}

static bool
message_shows(const uint8_t *at, size_t len, const struct diag_row *row)
{
	struct row_facts facts;
	struct inet_diag_msg msg;
	struct nlmsghdr head;

	if (len < sizeof(head) + sizeof(msg))
		return false;
	memcpy(&head, at, sizeof(head));
	msg = row_message(at);
	facts = row_facts(at, len);
	return (head.nlmsg_seq == 1 || head.nlmsg_seq == 2) && !facts.broken && !facts.mptcp &&
	       (head.nlmsg_pid == PORT || head.nlmsg_pid == 0) && msg.idiag_inode == 0 &&
	       msg.idiag_state == row->state && row_is_socket(&msg, row->cookie, &row->tuple);
}

static bool
row_came(const struct diag_row *row)
{
	size_t len, step;

	for (size_t i = 0; i < event_count; i++) {
		size_t left = events[i].len;

		for (const uint8_t *at = events[i].data; message_whole(at, left, &len);
			at += step, left -= step) {
			if (message_shows(at, len, row))
				return true;
			step = message_step(len, left);
		}
	}
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct orphans list;

	source = (struct input){ data, size };
	event_count = 0;
	if (orphans_list(&list, TCP_STATES_ORPHAN) < 0) {
		REACHED(2);
	} else {
		REACHED(list.count != 0);
		for (size_t i = 0; i < list.count; i++) {
			const struct diag_row *row = &list.rows[i];

			REQUIRE(row->state < 32);
			REQUIRE((TCP_STATE_BIT(row->state) & TCP_STATES_ORPHAN) != 0);
			REQUIRE(row_came(row));
		}
		free(list.rows);
	}
	REQUIRE(!open_now);
	return 0;
}
