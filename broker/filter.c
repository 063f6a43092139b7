/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/fds.h"

static const struct filter_rule loop_rules[] = {
	FILTER_ALLOW(epoll_wait), FILTER_ALLOW(epoll_pwait), FILTER_ALLOW(epoll_pwait2),
	FILTER_ALLOW(epoll_ctl), FILTER_ALLOW(read), /* signalfd(2) */
};

static const struct filter_rule socket_rules[] = {
	FILTER_ALLOW(sendmsg),
	FILTER_ALLOW(recvmsg),
	FILTER_ALLOW(sendto),
	FILTER_ALLOW(recvfrom),
	{ SCMP_SYS(shutdown), 1, { FILTER_EQ(0, BROKER_FD_TRACKER) } },
	{ SCMP_SYS(accept4), 1, { FILTER_EQ(0, BROKER_FD_CONTROL) } },
	{ SCMP_SYS(getsockopt), 1, { FILTER_EQ(1, 1 /* SOL_SOCKET: SO_PEERCRED */) } },
};

/* Appending and reading back the last byte. Never truncate, rename or unlink. */
static const struct filter_rule log_rules[] = {
	{ SCMP_SYS(write), 1, { FILTER_EQ(0, BROKER_FD_LOG) } },
	{ SCMP_SYS(dup3), 2, { FILTER_EQ(1, BROKER_FD_LOG), FILTER_EQ(2, O_CLOEXEC) } },
	{ SCMP_SYS(openat), 2,
		{ FILTER_EQ(0, BROKER_FD_LOG_DIR),
			FILTER_MASK(2, O_TRUNC | O_ACCMODE | O_APPEND, O_RDWR | O_APPEND) } },
	FILTER_ALLOW(newfstatat), /* fstat(2) of the C library */
	FILTER_ALLOW(fstat),
	FILTER_ALLOW(getuid),
};

static const struct filter_rule config_rules[] = {
	{ SCMP_SYS(openat), 2,
		{ FILTER_EQ(0, BROKER_FD_CONFIG_DIR),
			FILTER_MASK(2, O_TRUNC | O_CREAT | O_ACCMODE, O_RDONLY) } },
	FILTER_ALLOW(pread64),
};

/* How a role ended, for the message. */
static const struct filter_rule child_rules[] = {
	FILTER_ALLOW(wait4),
	FILTER_ALLOW(waitid),
	FILTER_ALLOW(rt_sigtimedwait),
};

const struct filter_group broker_filter[BROKER_FILTER_GROUPS] = {
	FILTER_GROUP("the event loop", loop_rules),
	FILTER_GROUP("talking to the roles, the service manager and eghostctl", socket_rules),
	FILTER_GROUP("the audit log", log_rules),
	FILTER_GROUP("reading the configuration again", config_rules),
	FILTER_GROUP("seeing how a role ended", child_rules),
};

static const struct filter_rule check_rules[] = {
	FILTER_ALLOW(pread64),
	{ SCMP_SYS(write), 1, { FILTER_EQ(0, STDOUT_FILENO) } },
	FILTER_ALLOW(newfstatat),
	FILTER_ALLOW(fstat),
};

const struct filter_group check_filter[CHECK_FILTER_GROUPS] = {
	FILTER_GROUP("reading a file that is open, printing", check_rules),
};
