/* SPDX-License-Identifier: Apache-2.0 */
#include "diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define DIAG_ROW_LEN	(sizeof(struct nlmsghdr) + sizeof(struct inet_diag_msg))
#define COOKIE_NONE	0ull	   /* never given out */
#define COOKIE_ANY	UINT64_MAX /* INET_DIAG_NOCOOKIE twice: "any socket" */
#define ATTRIBUTE_TYPE	0x3fffu	   /* NLA_TYPE_MASK, which is negative: two bits above are flags */
#define ATTRIBUTE_ALIGN 4u	   /* NLA_ALIGNTO */
#define INFO_BIT	(1u << (INET_DIAG_INFO - 1))
#define FIELD_END(s, f) (offsetof(struct s, f) + sizeof(((struct s *)0)->f))

struct request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

_Static_assert(sizeof(struct request) == DIAG_REQUEST_LEN, "DIAG_REQUEST_LEN");
_Static_assert(sizeof(((struct inet_diag_sockid *)0)->idiag_src) == 16, "address of a tuple");

static size_t
request_write(void *buf, const struct request *request)
{
	memcpy(buf, request, sizeof(*request));
	return sizeof(*request);
}

static bool
family_known(uint16_t family)
{
	return family == AF_INET || family == AF_INET6;
}

static void
sockid_fill(struct inet_diag_sockid *id, uint64_t cookie, const struct wire_tuple *tuple)
{
	id->idiag_sport = htons(tuple->src_port);
	id->idiag_dport = htons(tuple->dst_port);
	id->idiag_if = tuple->ifindex;
	id->idiag_cookie[0] = (uint32_t)cookie;
	id->idiag_cookie[1] = (uint32_t)(cookie >> 32);
	memcpy(id->idiag_src, tuple->src, sizeof(id->idiag_src));
	memcpy(id->idiag_dst, tuple->dst, sizeof(id->idiag_dst));
}

static size_t
exact_write(void *buf, uint16_t message, uint8_t extensions, uint32_t seq, uint64_t cookie,
	const struct wire_tuple *tuple)
{
	struct request r = {
		.head = { .nlmsg_len = sizeof(r), .nlmsg_type = message, .nlmsg_seq = seq },
		.body = {
			.sdiag_family = (uint8_t)tuple->family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_ext = extensions,
		},
	};

	if (cookie == COOKIE_NONE || cookie == COOKIE_ANY || !family_known(tuple->family))
		return 0;
	if (message != SOCK_DIAG_BY_FAMILY && message != SOCK_DESTROY)
		return 0;
	r.head.nlmsg_flags = NLM_F_REQUEST;
	if (message == SOCK_DESTROY)
		r.head.nlmsg_flags |= NLM_F_ACK;
	sockid_fill(&r.body.id, cookie, tuple);
	return request_write(buf, &r);
}

size_t
diag_exact(
	void *buf, uint16_t message, uint32_t seq, uint64_t cookie, const struct wire_tuple *tuple)
{
	return exact_write(buf, message, 0, seq, cookie, tuple);
}

size_t
diag_exact_info(void *buf, uint32_t seq, uint64_t cookie, const struct wire_tuple *tuple)
{
	return exact_write(buf, SOCK_DIAG_BY_FAMILY, INFO_BIT, seq, cookie, tuple);
}

size_t
diag_dump(void *buf, uint32_t seq, uint16_t family, uint32_t states)
{
	struct request r = {
		.head = {
			.nlmsg_len = sizeof(r),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			.nlmsg_seq = seq,
		},
		.body = {
			.sdiag_family = (uint8_t)family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_ext = INFO_BIT,
			.idiag_states = states,
		},
	};

	return family_known(family) ? request_write(buf, &r) : 0;
}

static void
row_fill(struct diag_row *row, const struct inet_diag_msg *msg)
{
	*row = (struct diag_row){
		.tuple = {
			.family = msg->idiag_family,
			.src_port = ntohs(msg->id.idiag_sport),
			.dst_port = ntohs(msg->id.idiag_dport),
			.ifindex = msg->id.idiag_if,
		},
		.cookie = msg->id.idiag_cookie[0] | (uint64_t)msg->id.idiag_cookie[1] << 32,
		.inode = msg->idiag_inode,
		.uid = msg->idiag_uid,
		.send_queue = msg->idiag_wqueue,
		.recv_queue = msg->idiag_rqueue,
		.timer_ms = msg->idiag_expires,
		.state = msg->idiag_state,
		.timer = msg->idiag_timer,
		.retrans = msg->idiag_retrans,
	};
	/* Of an IPv4 address only four bytes are compared, whatever the kernel puts behind them. */
	memcpy(row->tuple.src, msg->id.idiag_src, msg->idiag_family == AF_INET ? 4 : 16);
	memcpy(row->tuple.dst, msg->id.idiag_dst, msg->idiag_family == AF_INET ? 4 : 16);
}

struct attribute {
	uint16_t type;
	const uint8_t *value;
	size_t len;
};

/* Takes the next attribute from *at (*left bytes). Returns 1, 0 at the end, -1 when it does not
 * fit. */
static int
attribute_next(const uint8_t **at, size_t *left, struct attribute *attr)
{
	struct nlattr head;
	size_t step;

	if (*left == 0)
		return 0;
	if (*left < sizeof(head))
		return -1;
	memcpy(&head, *at, sizeof(head));
	if (head.nla_len < sizeof(head) || head.nla_len > *left)
		return -1;
	attr->type = (uint16_t)(head.nla_type & ATTRIBUTE_TYPE);
	attr->value = *at + sizeof(head);
	attr->len = head.nla_len - sizeof(head);
	step = ((size_t)head.nla_len + ATTRIBUTE_ALIGN - 1) & ~(size_t)(ATTRIBUTE_ALIGN - 1);
	if (step > *left)
		step = *left;
	*at += step;
	*left -= step;
	return 1;
}

static bool
shutdown_read(const struct attribute *attr, struct diag_row *row)
{
	if (attr->len < sizeof(row->shutdown))
		return false;
	row->has_shutdown = true;
	row->shutdown = attr->value[0];
	return true;
}

/* tcp_info grows from kernel to kernel: what an older one does not have is not an error. */
static bool
info_read(const struct attribute *attr, struct diag_row *row)
{
	struct tcp_info info = { 0 };

	if (attr->len < FIELD_END(tcp_info, tcpi_last_ack_recv))
		return true;
	memcpy(&info, attr->value, attr->len < sizeof(info) ? attr->len : sizeof(info));
	row->has_info = true;
	row->last_ack_ms = info.tcpi_last_ack_recv;
	row->unacked = info.tcpi_unacked;
	row->retransmits = info.tcpi_retransmits;
	row->probes = info.tcpi_probes;
	row->backoff = info.tcpi_backoff;
	if (attr->len >= FIELD_END(tcp_info, tcpi_notsent_bytes))
		row->notsent = info.tcpi_notsent_bytes;
	/* Both or none: half of what a proof compares would prove too much, and so would a sum that
	 * has no room. */
	row->has_window = attr->len >= FIELD_END(tcp_info, tcpi_snd_wnd) &&
			  info.tcpi_bytes_acked <= UINT64_MAX - info.tcpi_snd_wnd;
	if (row->has_window) {
		row->bytes_acked = info.tcpi_bytes_acked;
		row->send_window = info.tcpi_snd_wnd;
	}
	return true;
}

static bool
ulp_read(const struct attribute *attr, struct diag_row *row)
{
	static const char mptcp[] = "mptcp";
	const uint8_t *at = attr->value;
	size_t left = attr->len;
	struct attribute inner;
	int rc;

	while ((rc = attribute_next(&at, &left, &inner)) == 1) {
		if (inner.type == INET_ULP_INFO_MPTCP)
			row->mptcp = true;
		if (inner.type == INET_ULP_INFO_NAME && inner.len >= sizeof(mptcp) - 1 &&
			memcmp(inner.value, mptcp, sizeof(mptcp) - 1) == 0)
			row->mptcp = true;
	}
	return rc == 0;
}

static bool
attribute_read(const struct attribute *attr, struct diag_row *row)
{
	switch (attr->type) {
	case INET_DIAG_SHUTDOWN:
		return shutdown_read(attr, row);
	case INET_DIAG_INFO:
		return info_read(attr, row);
	case INET_DIAG_ULP_INFO:
		return ulp_read(attr, row);
	default:
		return true;
	}
}

bool
diag_parse(const void *nlmsg, size_t len, struct diag_row *row)
{
	struct nlmsghdr head;
	struct inet_diag_msg msg;
	struct attribute attr;
	const uint8_t *at;
	size_t left;
	int rc;

	if (len < DIAG_ROW_LEN)
		return false;
	memcpy(&head, nlmsg, sizeof(head));
	if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY || head.nlmsg_len < DIAG_ROW_LEN ||
		head.nlmsg_len > len)
		return false;
	memcpy(&msg, (const uint8_t *)nlmsg + sizeof(head), sizeof(msg));
	if (!family_known(msg.idiag_family))
		return false;
	row_fill(row, &msg);
	at = (const uint8_t *)nlmsg + DIAG_ROW_LEN;
	left = head.nlmsg_len - DIAG_ROW_LEN;
	while ((rc = attribute_next(&at, &left, &attr)) == 1) {
		if (!attribute_read(&attr, row))
			return false;
	}
	return rc == 0;
}
