/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <sys/socket.h>

#include "audit.h"
#include "proto/channel.h"

static const struct filter_rule channel_rules[] = {
	{ SCMP_SYS(recvmsg), 2, { FILTER_EQ(0, ROLE_CHANNEL_FD), FILTER_EQ(2, 0) } },
	FILTER_SEND(FILTER_EQ(0, ROLE_CHANNEL_FD), CHANNEL_SEND_FLAGS),
	/* Waiting is in the common rules: for one descriptor, and for the time. */
};

/* By calls that name no receiver: the socket is connected to the kernel. */
static const struct filter_rule kernel_rules[] = {
	FILTER_SEND(FILTER_EQ(0, AUDIT_FD), 0),
	FILTER_RECV(FILTER_EQ(0, AUDIT_FD), MSG_DONTWAIT),
};

const struct filter_group sink_filter[SINK_FILTER_GROUPS] = {
	FILTER_GROUP("the broker: one packet in or out", channel_rules),
	FILTER_GROUP("the kernel's audit: a message out, its acknowledgement in", kernel_rules),
};
