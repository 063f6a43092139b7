/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auditlog.h"
#include "load.h"
#include "proto/channel.h"
#include "proto/fds.h"

/* A descriptor that was opened after the start: never one of those with a fixed number. */
#define ARG_OPENED(arg) FILTER_MASK(arg, BROKER_FD_OPENED_MASK, BROKER_FD_OPENED)

static const struct filter_rule loop_rules[] = {
#ifdef __NR_epoll_wait
	{ SCMP_SYS(epoll_wait), 1, { ARG_OPENED(0) } },
#else /* the C library makes one of the other */
	{ SCMP_SYS(epoll_pwait), 2, { ARG_OPENED(0), FILTER_EQ(4, 0) } },
#endif
	/* libevent 2.2 */
	{ SCMP_SYS(epoll_pwait2), 2, { ARG_OPENED(0), FILTER_EQ(4, 0) } },
	{ SCMP_SYS(epoll_ctl), 1, { ARG_OPENED(0) } },
	{ SCMP_SYS(read), 1, { ARG_OPENED(0) } }, /* signalfd(2) */
};

static const struct filter_rule role_rules[] = {
	{ SCMP_SYS(recvmsg), 2, { FILTER_EQ(0, BROKER_FD_TRACKER), FILTER_EQ(2, 0) } },
	{ SCMP_SYS(recvmsg), 2, { FILTER_EQ(0, BROKER_FD_REAPER), FILTER_EQ(2, 0) } },
	FILTER_SEND(FILTER_EQ(0, BROKER_FD_REAPER), CHANNEL_SEND_FLAGS),
	{ SCMP_SYS(recvmsg), 2, { FILTER_EQ(0, BROKER_FD_SINK), FILTER_EQ(2, 0) } },
	FILTER_SEND(FILTER_EQ(0, BROKER_FD_SINK), CHANNEL_SEND_FLAGS),
	/* The order to stop. */
	{ SCMP_SYS(shutdown), 2, { FILTER_EQ(0, BROKER_FD_TRACKER), FILTER_EQ(1, SHUT_WR) } },
	{ SCMP_SYS(close), 1, { FILTER_EQ(0, BROKER_FD_TRACKER) } },
	{ SCMP_SYS(close), 1, { FILTER_EQ(0, BROKER_FD_REAPER) } },
	{ SCMP_SYS(close), 1, { FILTER_EQ(0, BROKER_FD_SINK) } },
	/* To a sink that is not what it should be. */
	{ SCMP_SYS(shutdown), 2, { FILTER_EQ(0, BROKER_FD_SINK), FILTER_EQ(1, SHUT_RDWR) } },
	/* How a role ended, for the message. */
	{ SCMP_SYS(wait4), 3, { FILTER_INT(0, -1), FILTER_EQ(2, WNOHANG), FILTER_EQ(3, 0) } },
	{ SCMP_SYS(rt_sigtimedwait), 1, { FILTER_EQ(1, 0) } },
};

static const struct filter_rule outside_rules[] = {
	FILTER_SEND(FILTER_EQ(0, BROKER_FD_NOTIFY), MSG_NOSIGNAL | MSG_DONTWAIT),
	FILTER_SEND(FILTER_EQ(0, BROKER_FD_JOURNAL), MSG_NOSIGNAL | MSG_DONTWAIT),
	{ SCMP_SYS(accept4), 3,
		{ FILTER_EQ(0, BROKER_FD_CONTROL), FILTER_EQ(1, 0),
			FILTER_EQ(3, SOCK_CLOEXEC | SOCK_NONBLOCK) } },
	{ SCMP_SYS(getsockopt), 3,
		{ ARG_OPENED(0), FILTER_EQ(1, SOL_SOCKET), FILTER_EQ(2, SO_PEERCRED) } },
	{ SCMP_SYS(getsockopt), 3,
		{ ARG_OPENED(0), FILTER_EQ(1, SOL_SOCKET), FILTER_EQ(2, SO_PEERGROUPS) } },
	FILTER_RECV(ARG_OPENED(0), MSG_DONTWAIT),
	FILTER_SEND(ARG_OPENED(0), MSG_NOSIGNAL | MSG_DONTWAIT),
	{ SCMP_SYS(close), 1, { ARG_OPENED(0) } },
};

/* Appending and reading back the last byte. Never truncate, rename or unlink. */
static const struct filter_rule log_rules[] = {
	{ SCMP_SYS(write), 1, { FILTER_EQ(0, BROKER_FD_LOG) } },
	{ SCMP_SYS(pread64), 1, { FILTER_EQ(0, BROKER_FD_LOG) } },
	{ SCMP_SYS(fdatasync), 1, { FILTER_EQ(0, BROKER_FD_LOG) } },
	/* One key in place of the last. */
	{ SCMP_SYS(pwrite64), 3,
		{ FILTER_EQ(0, BROKER_FD_SEAL), FILTER_EQ(2, SEAL_STATE_LEN), FILTER_EQ(3, 0) } },
	{ SCMP_SYS(fdatasync), 1, { FILTER_EQ(0, BROKER_FD_SEAL) } },
	{ SCMP_SYS(openat), 3,
		{ FILTER_EQ(0, BROKER_FD_LOG_DIR), FILTER_EQ(2, AUDITLOG_SUCCESSOR_FLAGS),
			FILTER_EQ(3, AUDITLOG_SUCCESSOR_MODE) } },
	{ SCMP_SYS(dup3), 3,
		{ ARG_OPENED(0), FILTER_EQ(1, BROKER_FD_LOG), FILTER_EQ(2, O_CLOEXEC) } },
	FILTER_ALLOW(fstat), /* takes no path, as newfstatat(2) would */
	FILTER_ALLOW(getuid),
};

static const struct filter_rule config_rules[] = {
	{ SCMP_SYS(openat), 2,
		{ FILTER_EQ(0, BROKER_FD_CONFIG_DIR), FILTER_EQ(2, LOAD_CONFIG_FLAGS) } },
	{ SCMP_SYS(pread64), 1, { ARG_OPENED(0) } },
};

const struct filter_group broker_filter[BROKER_FILTER_GROUPS] = {
	FILTER_GROUP("memory", filter_memory_rules),
	FILTER_GROUP("the event loop", loop_rules),
	FILTER_GROUP("talking to the roles, seeing how they end", role_rules),
	FILTER_GROUP("talking to the service manager and eghostctl", outside_rules),
	FILTER_GROUP("the audit log", log_rules),
	FILTER_GROUP("reading the configuration again", config_rules),
};

static const struct filter_rule check_rules[] = {
	{ SCMP_SYS(pread64), 1, { FILTER_EQ(0, BROKER_FD_CONFIG) } },
	{ SCMP_SYS(write), 1, { FILTER_EQ(0, STDOUT_FILENO) } },
};

const struct filter_group check_filter[CHECK_FILTER_GROUPS] = {
	FILTER_GROUP("memory", filter_memory_rules),
	FILTER_GROUP("reading a file that is open, printing", check_rules),
};
