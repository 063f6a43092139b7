/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_NETLINK_ROW_H
#define TESTS_FUZZ_NETLINK_ROW_H

/*
 * A second, plain reading of netlink messages, to hold the product's against: it says what must be
 * there before something may be called an orphan, stuck, or done.
 */

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/wire.h"

/* At `at` there is a message that is all within left bytes; its length. */
static inline bool
message_whole(const uint8_t *at, size_t left, size_t *len)
{
	uint32_t n;

	if (left < sizeof(struct nlmsghdr))
		return false;
	memcpy(&n, at, sizeof(n));
	*len = n;
	return n >= sizeof(struct nlmsghdr) && n <= left;
}

/* To the next one: lengths are rounded up to 4. */
static inline size_t
message_step(size_t len, size_t left)
{
	size_t step = (len + 3) / 4 * 4;

	return step < left ? step : left;
}

static inline uint32_t
message_seq(const uint8_t *at)
{
	struct nlmsghdr head;

	memcpy(&head, at, sizeof(head));
	return head.nlmsg_seq;
}

static inline bool
message_is_ack(const uint8_t *at, size_t len)
{
	struct nlmsghdr head;
	int error;

	memcpy(&head, at, sizeof(head));
	if (head.nlmsg_type != NLMSG_ERROR || len < sizeof(head) + sizeof(error))
		return false;
	memcpy(&error, at + sizeof(head), sizeof(error));
	return error == 0;
}

/* What the attributes say. */
struct row_facts {
	bool broken; /* an attribute that does not fit */
	bool mptcp;
	int shutdown;	      /* -1: not said */
	struct tcp_info info; /* whole, or all zero */
	bool has_info;
};

static inline void
attributes_read(const uint8_t *at, size_t left, bool nested, struct row_facts *facts)
{
	while (left > 0 && !facts->broken) {
		struct nlattr attr;
		const uint8_t *value = at + sizeof(attr);
		size_t len, step;

		facts->broken = left < sizeof(attr);
		if (facts->broken)
			return;
		memcpy(&attr, at, sizeof(attr));
		facts->broken = attr.nla_len < sizeof(attr) || attr.nla_len > left;
		if (facts->broken)
			return;
		len = attr.nla_len - sizeof(attr);
		attr.nla_type &= 0x3fff;
		if (nested && (attr.nla_type == INET_ULP_INFO_MPTCP ||
				      (attr.nla_type == INET_ULP_INFO_NAME && len >= 5 &&
					      memcmp(value, "mptcp", 5) == 0)))
			facts->mptcp = true;
		else if (!nested && attr.nla_type == INET_DIAG_ULP_INFO)
			attributes_read(value, len, true, facts);
		else if (!nested && attr.nla_type == INET_DIAG_SHUTDOWN && len > 0)
			facts->shutdown = value[0];
		else if (!nested && attr.nla_type == INET_DIAG_INFO &&
			 len >= offsetof(struct tcp_info, tcpi_snd_wnd) + 4) {
			memset(&facts->info, 0, sizeof(facts->info));
			memcpy(&facts->info, value,
				len < sizeof(facts->info) ? len : sizeof(facts->info));
			facts->has_info = true;
		}
		step = message_step(attr.nla_len, left);
		at += step;
		left -= step;
	}
}

static inline struct row_facts
row_facts(const uint8_t *at, size_t len)
{
	const size_t head = sizeof(struct nlmsghdr) + sizeof(struct inet_diag_msg);
	struct row_facts facts = { .shutdown = -1 };

	attributes_read(at + head, len - head, false, &facts);
	return facts;
}

static inline struct inet_diag_msg
row_message(const uint8_t *at)
{
	struct inet_diag_msg msg;

	memcpy(&msg, at + sizeof(struct nlmsghdr), sizeof(msg));
	return msg;
}

static inline uint8_t
row_state(const uint8_t *at)
{
	return row_message(at).idiag_state;
}

static inline bool
row_is_socket(const struct inet_diag_msg *msg, uint64_t cookie, const struct wire_tuple *t)
{
	const size_t len = t->family == AF_INET ? 4 : 16;
	const uint32_t words[2] = { (uint32_t)cookie, (uint32_t)(cookie >> 32) };

	return msg->idiag_family == t->family && memcmp(msg->id.idiag_cookie, words, 8) == 0 &&
	       msg->id.idiag_sport == htons(t->src_port) &&
	       msg->id.idiag_dport == htons(t->dst_port) && msg->id.idiag_if == t->ifindex &&
	       memcmp(msg->id.idiag_src, t->src, len) == 0 &&
	       memcmp(msg->id.idiag_dst, t->dst, len) == 0;
}

static inline bool
row_is_mini(const struct inet_diag_msg *msg)
{
	return msg->idiag_timer == 3;
}

/* A row of that very socket, which nobody can reach. */
static inline bool
row_is_orphan(const uint8_t *at, size_t len, uint64_t cookie, const struct wire_tuple *tuple)
{
	struct inet_diag_msg msg;
	struct row_facts facts;
	struct nlmsghdr head;

	if (len < sizeof(head) + sizeof(msg) || cookie == 0 || cookie == UINT64_MAX)
		return false;
	memcpy(&head, at, sizeof(head));
	msg = row_message(at);
	facts = row_facts(at, len);
	if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY || facts.broken || facts.mptcp)
		return false;
	if (msg.idiag_inode != 0 || !row_is_socket(&msg, cookie, tuple))
		return false;
	if (row_is_mini(&msg))
		return facts.shutdown < 0 && msg.idiag_state == TCP_STATE_FIN_WAIT2;
	return facts.shutdown == 3 && msg.idiag_state < 32 &&
	       (TCP_STATE_BIT(msg.idiag_state) & TCP_STATES_ORPHAN) != 0;
}

/* Nothing acknowledged and nothing more allowed since it was seen. */
static inline bool
row_is_stuck(const uint8_t *at, size_t len, const struct wire_progress *seen)
{
	struct inet_diag_msg msg = row_message(at);
	struct row_facts facts = row_facts(at, len);

	if (row_is_mini(&msg))
		return seen->timer == 3;
	return facts.has_info && facts.info.tcpi_bytes_acked == seen->bytes_acked &&
	       facts.info.tcpi_bytes_acked + facts.info.tcpi_snd_wnd <= seen->window_end;
}

#endif
