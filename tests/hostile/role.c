/* SPDX-License-Identifier: Apache-2.0 */
#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/channel.h"

uint32_t role_seq;

void
role_say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(98);
}

static _Noreturn void
give_up(const char *what)
{
	role_say("hostile peer: %s: %s", what, strerror(errno));
	_exit(99);
}

size_t
role_file_read(const char *program, const char *name, void *buf, size_t size)
{
	const char *slash = strrchr(program, '/');
	char path[4096];
	size_t used = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%.*s/%s", slash == NULL ? 1 : (int)(slash - program),
		slash == NULL ? "." : program, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (used < size && (n = read(fd, (char *)buf + used, size - used)) > 0)
		used += (size_t)n;
	close(fd);
	return used;
}

struct scenario
scenario_read(const char *program)
{
	const char *slash = strrchr(program, '/');
	struct scenario scenario = { .count = 0 };
	unsigned long long count = 0;
	char name[64], text[128] = "";

	snprintf(name, sizeof(name), "%s.scenario", slash == NULL ? program : slash + 1);
	role_file_read(program, name, text, sizeof(text) - 1);
	if (sscanf(text, "%63s %llu", scenario.name, &count) < 1)
		give_up("no scenario");
	scenario.count = count;
	return scenario;
}

void
role_send_raw(const void *packet, size_t len, int fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec iov = { (void *)(uintptr_t)packet, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
	}
	if (sendmsg(ROLE_CHANNEL_FD, &msg, MSG_NOSIGNAL) >= 0)
		return;
	if (errno == EPIPE || errno == ECONNRESET)
		_exit(0);
	give_up("send");
}

size_t
role_packet(void *packet, enum wire_type type, const void *records, size_t count)
{
	size_t len = wire_header_fill(packet, type, count, role_seq++);

	if (len == 0) {
		errno = EINVAL;
		give_up("no such packet");
	}
	memcpy((char *)packet + sizeof(struct wire_header), records,
		len - sizeof(struct wire_header));
	return len;
}

void
role_send(enum wire_type type, const void *records, size_t count)
{
	_Alignas(8) unsigned char packet[ROLE_PACKET_ROOM];

	role_send_raw(packet, role_packet(packet, type, records, count), -1);
}

long
role_receive(void *packet, size_t size, int timeout_ms)
{
	struct pollfd pfd = { .fd = ROLE_CHANNEL_FD, .events = POLLIN };
	ssize_t n;

	if (poll(&pfd, 1, timeout_ms) == 0)
		return -1;
	n = recv(ROLE_CHANNEL_FD, packet, size, 0);
	return n < 0 ? 0 : n;
}
