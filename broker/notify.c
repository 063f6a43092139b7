/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/log.h"

static int notify_fd = -1;

void
notify_open(int fd)
{
	notify_fd = fd;
}

static bool
message_send(const char *state)
{
	return send(notify_fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

void
notify_send(const char *state)
{
	static const char *owed; /* without READY a service manager ends what it has started */
	static bool said;

	if (notify_fd < 0)
		return;
	if (owed != NULL && message_send(owed))
		owed = NULL;
	if (owed == NULL && message_send(state))
		return;
	if (strcmp(state, "WATCHDOG=1") != 0)
		owed = state;
	if (!said) {
		said = true;
		log_warning("the service manager does not take notifications: %s", strerror(errno));
	}
}
