/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/log.h"

static int notify_fd = -1;

void
notify_open(int fd)
{
	if (fcntl(fd, F_GETFD) >= 0)
		notify_fd = fd;
}

void
notify_send(const char *state)
{
	static bool said;

	if (notify_fd < 0)
		return;
	if (send(notify_fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && !said) {
		said = true;
		log_warning("the service manager does not take notifications: %s", strerror(errno));
	}
}
