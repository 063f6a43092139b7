/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <sys/socket.h>

#include "proto/channel.h"
#include "netlink.h"

static const struct filter_rule channel_rules[] = {
	{ SCMP_SYS(recvmsg), 2, { FILTER_EQ(0, ROLE_CHANNEL_FD), FILTER_EQ(2, 0) } },
	FILTER_SEND(FILTER_EQ(0, ROLE_CHANNEL_FD), CHANNEL_SEND_FLAGS),
	/* Waiting is in the common rules: for one descriptor, or for a retry. */
};

/* By calls that name no receiver: the sockets are connected to the kernel. With CAP_NET_ADMIN a
 * netlink message may go to any process that listens. */
static const struct filter_rule kernel_rules[] = {
	{ SCMP_SYS(writev), 1, { FILTER_EQ(0, NETLINK_FD) } },
	{ SCMP_SYS(recvmmsg), 3,
		{ FILTER_EQ(0, NETLINK_FD), FILTER_EQ(3, MSG_DONTWAIT), FILTER_EQ(4, 0) } },
};

static const struct filter_rule dump_rules[] = {
	FILTER_SEND(FILTER_EQ(0, NETLINK_DUMP_FD), 0),
	{ SCMP_SYS(recvmsg), 2, { FILTER_EQ(0, NETLINK_DUMP_FD), FILTER_EQ(2, MSG_DONTWAIT) } },
};

const struct filter_group reaper_filter[REAPER_FILTER_GROUPS] = {
	FILTER_GROUP("the broker: one packet in or out", channel_rules),
	FILTER_GROUP("the kernel: questions in one call, answers in one call", kernel_rules),
	FILTER_GROUP("the kernel: a dump, datagram by datagram", dump_rules),
};
