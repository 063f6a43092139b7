/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <sys/socket.h>

#include "proto/channel.h"

static const struct filter_rule channel_rules[] = {
	FILTER_SEND(FILTER_EQ(0, ROLE_CHANNEL_FD), CHANNEL_SEND_FLAGS),
	{ SCMP_SYS(recvmsg), 2, { FILTER_EQ(0, ROLE_CHANNEL_FD), FILTER_EQ(2, 0) } },
};

static const struct filter_rule wait_rules[] = {
	{ SCMP_SYS(ppoll), 2, { FILTER_EQ(1, 2), FILTER_EQ(3, 0) } },
};

const struct filter_group tracker_filter[] = {
	FILTER_GROUP("messages to the broker and its end", channel_rules),
	FILTER_GROUP("waiting for the ring buffer and the broker", wait_rules),
};

const size_t tracker_filter_count = sizeof(tracker_filter) / sizeof(tracker_filter[0]);
