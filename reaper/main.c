/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "proto/channel.h"
#include "proto/landlock.h"
#include "proto/log.h"
#include "proto/privs.h"
#include "proto/clock.h"
#include "filter.h"
#include "loop.h"
#include "netlink.h"
#include "options.h"
#include "selftest.h"

/*
 * The reaper: the only process of the service with CAP_NET_ADMIN. It ends sockets that nobody can
 * reach any more, and takes nobody's word for it: what it has not seen itself, just before, it does
 * not touch.
 */

#define NOFILE 9 /* 0-2, the channel, two netlink sockets, and three for the self-test */

static const struct privs net_admin_only = {
	.permitted = CAP_BIT(CAP_NET_ADMIN),
	.bounding = CAP_BIT(CAP_NET_ADMIN),
	.ambient = CAP_BIT(CAP_NET_ADMIN),
};

static uint32_t
own_netns(void)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		fatal("cannot tell its own network namespace: %s", strerror(errno));
	return (uint32_t)st.st_ino;
}

/* A retry is due in 50 us: the default slack alone is as much. */
static void
timers_sharpen(void)
{
	if (prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0) < 0)
		fatal("cannot set the timer slack: %s", strerror(errno));
}

int
main(int argc, char **argv)
{
	static struct channel channel;
	static struct netlink netlink, dumps;
	static struct work work;
	struct options options;

	log_open("reaper", false);
	channel_open(&channel, ROLE_CHANNEL_FD, "broker", WIRE_B2R);
	options = options_read(argc, argv);
	log_open("reaper", options.verbose);
	privs_harden("eghost-reaper", NOFILE, ROLE_CHANNEL_FD + 1);
	timers_sharpen();

	netlink_open(&netlink, NETLINK_FD);
	netlink_open(&dumps, NETLINK_DUMP_FD);
	work.kind = &kind_tcp;
	work.netlink = &netlink;
	work.dumps = &dumps;
	work.scope.netns = own_netns();
	work.scope.time_wait = options.time_wait;
	work.scope.selftest = (uint8_t)selftest_run(&netlink, work.scope.netns);
	limit_init(&work.limit, options.ceiling, clock_now());
	limit_init(&work.rounds, WORK_ROUNDS_PER_S, clock_now());
	queue_init(&work.queue);

	privs_prove(&net_admin_only);
	landlock_restrict(NULL, 0);
	filter_install(reaper_filter, REAPER_FILTER_GROUPS);
	loop_hello(&channel, &work);
	loop_run(&channel, &work);
	return 0;
}
