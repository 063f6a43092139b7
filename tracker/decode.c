/* SPDX-License-Identifier: Apache-2.0 */
#include "decode.h"

#include <string.h>
#include <sys/socket.h>

#include "bpf/events.h"

_Static_assert(EVENT_COMM_LEN == WIRE_COMM_LEN, "comm");
_Static_assert(EVENT_UNIT_LEN == WIRE_UNIT_LEN, "unit");

/* wait(2)'s status is 16 bits wide. */
#define EXIT_CODE_MAX 0xffffu

static void
text_copy(char *out, const char *in, size_t size)
{
	size_t len = strnlen(in, size - 1);

	memcpy(out, in, len);
	memset(out + len, 0, size - len);
}

static bool
owner_decode(const struct event_owner *in, struct wire_owner *out)
{
	const uint32_t known = EVENT_OWNER_OOM | EVENT_OWNER_UNIT_TRUNCATED;

	if (in->tgid == 0 || in->tgid > INT32_MAX || in->start_boottime == 0)
		return false;
	if (in->exit_code > EXIT_CODE_MAX || (in->flags & ~known) != 0)
		return false;
	out->start_boottime = in->start_boottime;
	out->cgroup_id = in->cgroup_id;
	out->tgid = in->tgid;
	out->uid = in->uid;
	out->exit_code = in->exit_code;
	if ((in->flags & EVENT_OWNER_OOM) != 0)
		out->flags |= WIRE_OWNER_OOM;
	if ((in->flags & EVENT_OWNER_UNIT_TRUNCATED) != 0)
		out->flags |= WIRE_OWNER_UNIT_TRUNCATED;
	text_copy(out->comm, in->comm, sizeof(out->comm));
	text_copy(out->unit, in->unit, sizeof(out->unit));
	return true;
}

static bool
tuple_decode(const struct event_orphan *in, struct wire_tuple *out)
{
	size_t len = in->family == AF_INET6 ? 16 : 4;

	if (in->family != AF_INET && in->family != AF_INET6)
		return false;
	out->family = in->family;
	out->src_port = in->src_port;
	out->dst_port = in->dst_port;
	out->ifindex = in->ifindex;
	out->netns = in->netns;
	memcpy(out->src, in->src, len);
	memcpy(out->dst, in->dst, len);
	return true;
}

static bool
exit_decode(const void *data, size_t size, struct wire_exit *out)
{
	struct event_exit in;

	if (size != sizeof(in))
		return false;
	memcpy(&in, data, sizeof(in));
	out->died_mono_ns = in.died_mono_ns;
	return owner_decode(&in.owner, &out->owner);
}

/* A death leads to FIN-WAIT-1 or LAST-ACK; a FIN ordered before may have got further. */
static bool
state_allowed(uint8_t state, uint8_t flags)
{
	if (flags == EVENT_ORPHAN_CLOSED)
		return state < 32 && (TCP_STATE_BIT(state) & TCP_STATES_ORPHAN) != 0;
	return flags == 0 && (state == TCP_STATE_FIN_WAIT1 || state == TCP_STATE_LAST_ACK);
}

static bool
orphan_decode(const void *data, size_t size, struct wire_orphan *out)
{
	struct event_orphan in;

	if (size != sizeof(in))
		return false;
	memcpy(&in, data, sizeof(in));
	if (in.cookie == 0 || in.cookie == UINT64_MAX)
		return false;
	if (!state_allowed(in.state, in.flags))
		return false;
	out->cookie = in.cookie;
	out->born_mono_ns = in.born_mono_ns;
	out->send_queue = in.send_queue;
	out->state = in.state;
	if ((in.flags & EVENT_ORPHAN_CLOSED) != 0)
		out->flags |= WIRE_ORPHAN_CLOSED;
	return tuple_decode(&in, &out->tuple) && owner_decode(&in.owner, &out->owner);
}

bool
decode_record(const void *data, size_t size, struct decoded *out)
{
	uint32_t kind;

	if (size < sizeof(kind))
		return false;
	memcpy(&kind, data, sizeof(kind));
	memset(out, 0, sizeof(*out));
	switch (kind) {
	case EVENT_EXIT:
		out->type = WIRE_T2B_EXIT;
		return exit_decode(data, size, &out->exit);
	case EVENT_ORPHAN:
		out->type = WIRE_T2B_ORPHAN;
		return orphan_decode(data, size, &out->orphan);
	default:
		return false;
	}
}
