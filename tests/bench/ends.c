/* SPDX-License-Identifier: Apache-2.0 */
#include "ends.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/log.h"

unsigned
ends_room(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		fatal("cannot read RLIMIT_NOFILE: %s", strerror(errno));
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		fatal("cannot set RLIMIT_NOFILE: %s", strerror(errno));
	return (unsigned)limit.rlim_cur;
}

int
ends_listen(struct sockaddr_in *at, bool small)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), least = 1;

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd < 0 || (small && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)) < 0) ||
		bind(fd, (struct sockaddr *)at, len) < 0 || listen(fd, 65535) < 0 ||
		getsockname(fd, (struct sockaddr *)at, &len) < 0)
		fatal("cannot listen: %s", strerror(errno));
	return fd;
}

int
ends_connect(const struct sockaddr_in *to, size_t bytes)
{
	static const char data[ENDS_BYTES];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		fatal("cannot connect: %s", strerror(errno));
	if (bytes != 0 && send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)bytes)
		fatal("cannot send %zu bytes: %s", bytes, strerror(errno));
	return fd;
}

void
ends_reset_at_close(int fd)
{
	const struct linger at_once = { 1, 0 };

	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) < 0)
		fatal("cannot set SO_LINGER: %s", strerror(errno));
}

struct target
ends_target(int fd)
{
	struct sockaddr_in from, to;
	socklen_t from_len = sizeof(from), to_len = sizeof(to), len = sizeof(uint64_t);
	struct target t = { .tuple.family = AF_INET };

	if (getsockname(fd, (struct sockaddr *)&from, &from_len) < 0 ||
		getpeername(fd, (struct sockaddr *)&to, &to_len) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_COOKIE, &t.cookie, &len) < 0)
		fatal("cannot tell the names of a socket: %s", strerror(errno));
	t.tuple.src_port = ntohs(from.sin_port);
	t.tuple.dst_port = ntohs(to.sin_port);
	memcpy(t.tuple.src, &from.sin_addr, sizeof(from.sin_addr));
	memcpy(t.tuple.dst, &to.sin_addr, sizeof(to.sin_addr));
	return t;
}
