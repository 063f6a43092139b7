/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/fds.h"
#include "proto/log.h"

#define PATIENCE_MS 1000

/* ---- taking it up ------------------------------------------------------------------------------
 */

static bool
map_is(int fd, uint32_t type, uint32_t value_size, uint32_t max_entries, const char *what)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) == 0 && info.type == type &&
		info.value_size == value_size && info.max_entries == max_entries)
		return true;
	log_warning("what was kept as the %s is something else (map type %u, %u entries of %u "
		    "bytes): the programs are loaded anew",
		what, info.type, info.max_entries, info.value_size);
	return false;
}

static bool
link_is(int fd, const char *what)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) == 0 && info.prog_id != 0 &&
		(info.type == BPF_LINK_TYPE_TRACING || info.type == BPF_LINK_TYPE_RAW_TRACEPOINT))
		return true;
	log_warning("what was kept as the link of the %s program is something else: the programs "
		    "are loaded anew",
		what);
	return false;
}

static bool
counters_map(struct kept *kept, size_t size)
{
	kept->counters =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, kept->fds[KEPT_COUNTERS], 0);
	if (kept->counters != MAP_FAILED)
		return true;
	log_warning("cannot map the loss counters that were kept: %s; the programs are loaded anew",
		strerror(errno));
	return false;
}

bool
kept_take(struct kept *kept, uint32_t ring_bytes, size_t bss_size, bool state)
{
	for (int i = 0; i < KEPT_PARTS; i++)
		kept->fds[i] = TRACKER_FD_KEPT + i;
	if (!state)
		kept->fds[KEPT_STATE] = -1;
	return map_is(kept->fds[KEPT_RING], BPF_MAP_TYPE_RINGBUF, 0, ring_bytes, "ring buffer") &&
	       map_is(kept->fds[KEPT_COUNTERS], BPF_MAP_TYPE_ARRAY, (uint32_t)bss_size, 1,
		       "loss counters") &&
	       link_is(kept->fds[KEPT_EXIT], "exit") &&
	       (!state || link_is(kept->fds[KEPT_STATE], "socket state")) &&
	       counters_map(kept, bss_size);
}

/* ---- handing it over ---------------------------------------------------------------------------
 */

static bool
store_send(const char *text, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		*CMSG_FIRSTHDR(&msg) = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(int)),
		};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof(fd));
	}
	return sendmsg(TRACKER_FD_NOTIFY, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* A manager with much to do gets a moment; whatever it does, the start is not held up. */
static bool
store_send_patiently(const char *text, int fd)
{
	struct pollfd manager = { .fd = TRACKER_FD_NOTIFY, .events = POLLOUT };

	return store_send(text, fd) ||
	       (errno == EAGAIN && poll(&manager, 1, PATIENCE_MS) == 1 && store_send(text, fd));
}

/* FDPOLL=0: the manager is not to wait for events, which are not its business. */
static bool
part_offer(const char *name, int fd, bool replace)
{
	char text[128];

	if (replace) {
		snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
		if (!store_send_patiently(text, -1))
			return false;
	}
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	return store_send_patiently(text, fd);
}

void
kept_offer(const struct kept *kept, uint32_t netns, uint32_t ring_bytes, bool replace)
{
	char tag[KEPT_TAG_LEN], name[KEPT_NAME_LEN];

	kept_tag(tag, netns, ring_bytes);
	for (int i = 0; i < KEPT_PARTS; i++) {
		if (kept->fds[i] < 0)
			continue;
		kept_name(name, tag, (enum kept_part)i);
		if (part_offer(name, kept->fds[i], replace))
			continue;
		log_warning("the service manager does not take descriptors to keep: %s; what dies "
			    "during a restart will be found, but not whose it was",
			strerror(errno));
		return;
	}
}
