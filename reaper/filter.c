/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include "proto/channel.h"
#include "netlink.h"

static const struct filter_rule channel_rules[] = {
	{ SCMP_SYS(recvmsg), 1, { FILTER_EQ(0, ROLE_CHANNEL_FD) } },
	{ SCMP_SYS(sendmsg), 1, { FILTER_EQ(0, ROLE_CHANNEL_FD) } },
	{ SCMP_SYS(ppoll), 1, { FILTER_EQ(1, 1) } },
};

static const struct filter_rule kernel_rules[] = {
	{ SCMP_SYS(sendmsg), 1, { FILTER_EQ(0, NETLINK_FD) } },
	{ SCMP_SYS(recvmmsg), 1, { FILTER_EQ(0, NETLINK_FD) } },
};

static const struct filter_rule dump_rules[] = {
	{ SCMP_SYS(sendmsg), 1, { FILTER_EQ(0, NETLINK_DUMP_FD) } },
	{ SCMP_SYS(recvmsg), 1, { FILTER_EQ(0, NETLINK_DUMP_FD) } },
};

const struct filter_group reaper_filter[REAPER_FILTER_GROUPS] = {
	FILTER_GROUP(
		"the broker: one packet in or out, waiting for it or for a retry", channel_rules),
	FILTER_GROUP("the kernel: questions in one call, answers in one call", kernel_rules),
	FILTER_GROUP("the kernel: a dump, datagram by datagram", dump_rules),
};
