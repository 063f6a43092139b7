/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service's way costs when nothing is done on it: the same tracepoint, ring buffer, three
 * processes and two SOCK_SEQPACKET channels, woken as the roles are, and at the end one
 *SOCK_DESTROY of the cookie that came along. No look, no policy, no record. Ends when standard
 *input does.
 *
 *	relay
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "proto/diag.h"
#include "proto/log.h"
#include "relay.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "relay.skel.h"
#pragma GCC diagnostic pop

/* False at the end of the channel. */
static bool
event_receive(int fd, struct relay_event *event)
{
	ssize_t n = recv(fd, event, sizeof(*event), 0);

	if (n < 0)
		fatal("relay: %s", strerror(errno));
	return n == sizeof(*event);
}

static int
event_send(int fd, const struct relay_event *event)
{
	if (send(fd, event, sizeof(*event), MSG_NOSIGNAL) != sizeof(*event))
		fatal("relay: %s", strerror(errno));
	return 0;
}

/* ---- the last: where the reaper is ---- */

static void
socket_destroy(int diag, const struct relay_event *event)
{
	_Alignas(4) unsigned char request[DIAG_REQUEST_LEN];
	struct wire_tuple tuple = {
		.family = AF_INET, .src_port = event->src_port, .dst_port = event->dst_port
	};
	char answer[256];
	size_t len;

	memcpy(tuple.src, &event->src, sizeof(event->src));
	memcpy(tuple.dst, &event->dst, sizeof(event->dst));
	len = diag_exact(request, SOCK_DESTROY, 1, event->cookie, &tuple);
	if (write(diag, request, len) < 0 || read(diag, answer, sizeof(answer)) < 0)
		fatal("SOCK_DESTROY: %s", strerror(errno));
}

static _Noreturn void
last_main(int in)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct pollfd fd = { .fd = in, .events = POLLIN };
	struct relay_event event;

	if (diag < 0 || connect(diag, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		fatal("cannot open a netlink socket: %s", strerror(errno));
	for (;;) {
		if (ppoll(&fd, 1, NULL, NULL) < 0)
			fatal("ppoll: %s", strerror(errno));
		if (!event_receive(in, &event))
			_exit(0);
		socket_destroy(diag, &event);
	}
}

/* ---- the middle: where the broker is ---- */

static _Noreturn void
middle_main(int in, int out)
{
	struct epoll_event watch = { .events = EPOLLIN }, ready;
	int set = epoll_create1(EPOLL_CLOEXEC);
	struct relay_event event;

	if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, in, &watch) < 0)
		fatal("epoll: %s", strerror(errno));
	for (;;) {
		if (epoll_wait(set, &ready, 1, -1) < 0)
			fatal("epoll_wait: %s", strerror(errno));
		if (!event_receive(in, &event))
			_exit(0);
		event_send(out, &event);
	}
}

/* ---- the first: where the tracker is ---- */

static int
event_forward(void *context, void *data, size_t size)
{
	(void)size;
	return event_send(*(const int *)context, data);
}

static void
first_main(int out)
{
	struct relay_bpf *skel = relay_bpf__open();
	struct ring_buffer *ring;
	struct pollfd fds[2];
	struct stat st;

	if (skel == NULL || stat("/proc/self/ns/net", &st) < 0)
		fatal("cannot open the relay's program: %s", strerror(errno));
	skel->rodata->only_netns = (uint32_t)st.st_ino;
	if (relay_bpf__load(skel) < 0 || relay_bpf__attach(skel) < 0)
		fatal("cannot load the relay's program: %s", strerror(errno));
	ring = ring_buffer__new(bpf_map__fd(skel->maps.events), event_forward, &out, NULL);
	if (ring == NULL)
		fatal("cannot map the ring buffer: %s", strerror(errno));
	puts("ready");
	fflush(stdout);
	fds[0] = (struct pollfd){ .fd = bpf_map__fd(skel->maps.events), .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
	while (fds[1].revents == 0) {
		if (ppoll(fds, 2, NULL, NULL) < 0 || ring_buffer__consume(ring) < 0)
			fatal("reading the ring buffer: %s", strerror(errno));
	}
}

static void
pair_make(int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		fatal("socketpair: %s", strerror(errno));
}

static pid_t
child_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fatal("fork: %s", strerror(errno));
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

int
main(void)
{
	int first[2], second[2];

	log_open("relay", false);
	log_plain();
	pair_make(first);
	pair_make(second);
	if (child_fork() == 0)
		last_main(second[1]);
	if (child_fork() == 0)
		middle_main(first[1], second[0]);
	first_main(first[0]);
	return 0;
}
