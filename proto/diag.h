/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_DIAG_H
#define PROTO_DIAG_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

/*
 * sock_diag messages, built and read. Pure: buffers in, values out. The reaper sends them with
 * CAP_NET_ADMIN, eghostctl with nothing.
 */

/* One row of inet_diag's answer. */
struct diag_row {
	struct wire_tuple tuple; /* netns is left 0: the answer does not say */
	uint64_t cookie;
	uint32_t inode; /* 0: no process can reach it, or nobody has accepted it yet */
	uint32_t uid;	/* meaningless for an orphan before 6.17 (sock_i_uid() said 0) */
	uint32_t send_queue;
	uint32_t recv_queue;
	uint32_t timer_ms; /* until the timer fires */
	uint8_t state;	   /* enum tcp_state */
	uint8_t timer; /* 0 none, 1 RTO, 2 keepalive or FIN-WAIT-2, 3 mini-socket, 4 zero window */
	uint8_t retrans;
	bool has_shutdown;    /* full sockets only */
	uint8_t shutdown;     /* 3 for every full-socket orphan */
	bool has_info;	      /* full sockets only, when asked for: the six below */
	uint32_t last_ack_ms; /* tcp_info.tcpi_last_ack_recv */
	uint32_t unacked;     /* tcp_info.tcpi_unacked, segments */
	uint32_t notsent;     /* tcp_info.tcpi_notsent_bytes; 0 from a kernel that has no such */
	uint8_t retransmits;  /* tcp_info.tcpi_retransmits */
	uint8_t probes;	      /* tcp_info.tcpi_probes */
	uint8_t backoff;      /* tcp_info.tcpi_backoff */
	bool has_window;      /* the two below: a tcp_info of 5.4 or later, whole */
	uint64_t bytes_acked; /* tcp_info.tcpi_bytes_acked */
	uint32_t send_window; /* tcp_info.tcpi_snd_wnd, bytes */
	bool mptcp;	      /* INET_DIAG_ULP_INFO names mptcp: a subflow, never to be touched */
};

#define DIAG_REQUEST_LEN 72u /* nlmsghdr + inet_diag_req_v2, for diag_exact() */

/* Writes an exact request to buf (at least DIAG_REQUEST_LEN bytes, aligned to 4) and returns its
 * length. message: SOCK_DIAG_BY_FAMILY (a look) or SOCK_DESTROY (an act; always acknowledged).
 * Never without a cookie: {~0,~0} is INET_DIAG_NOCOOKIE and would match a listener with the same
 * port (inet_diag_find_one_icsk(), 5.8 ... 7.3). Returns 0 for cookie 0 and ~0. */
size_t diag_exact(
	void *buf, uint16_t message, uint32_t seq, uint64_t cookie, const struct wire_tuple *tuple);

/* The same look, and the kernel's tcp_info with it. It takes the socket's lock for a moment. */
size_t diag_exact_info(void *buf, uint32_t seq, uint64_t cookie, const struct wire_tuple *tuple);

/* Writes a dump request for one family and a set of states (bits 1 << enum tcp_state; an explicit
 * mask, since 6.8 has a pseudo-state above TCP_CLOSING). Same buffer rules. */
size_t diag_dump(void *buf, uint32_t seq, uint16_t family, uint32_t states);

/* True when a whole message is at msg, with left bytes to go. libmnl's mnl_nlmsg_ok() compares as
 * int (1.0.5): a length of 2 GiB or more is below everything. */
static inline bool
netlink_message_fits(const struct nlmsghdr *msg, int left)
{
	return left >= (int)sizeof(*msg) && msg->nlmsg_len >= sizeof(*msg) &&
	       msg->nlmsg_len <= (unsigned)left;
}

/* Reads the inet_diag_msg in a netlink message of len bytes (from its nlmsghdr). False when it is
 * too short or its attributes do not parse. */
bool diag_parse(const void *nlmsg, size_t len, struct diag_row *row);

#endif
