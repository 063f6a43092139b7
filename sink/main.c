/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink: the only process of the service with CAP_AUDIT_WRITE, there when the configuration says
 * linux_audit = yes. It makes of each record of the audit log a message to the kernel's audit. The
 * kernel may make it wait for minutes; nobody waits for it.
 */
#include <linux/capability.h>
#include <string.h>

#include "audit.h"
#include "filter.h"
#include "loop.h"
#include "proto/channel.h"
#include "proto/landlock.h"
#include "proto/log.h"
#include "proto/privs.h"

#define NOFILE 6 /* 0-2, the channel, the audit socket, and one for Landlock's rules */

static const struct privs audit_write_only = {
	.permitted = CAP_BIT(CAP_AUDIT_WRITE),
	.bounding = CAP_BIT(CAP_AUDIT_WRITE),
	.ambient = CAP_BIT(CAP_AUDIT_WRITE),
};

static bool
options_read(int argc, char **argv)
{
	bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;

	if (argc > (verbose ? 2 : 1))
		fatal("unexpected argument: %s", argv[argc - 1]);
	return verbose;
}

int
main(int argc, char **argv)
{
	static struct channel channel;
	struct audit audit;

	log_open("sink", false);
	channel_open(&channel, ROLE_CHANNEL_FD, "broker", WIRE_B2S);
	log_open("sink", options_read(argc, argv));
	privs_harden("eghost-sink", NOFILE, ROLE_CHANNEL_FD + 1);
	audit_open(&audit);
	privs_prove(&audit_write_only);
	landlock_restrict(NULL, 0);
	filter_install(sink_filter, SINK_FILTER_GROUPS);
	loop_hello(&channel);
	loop_run(&channel, &audit);
	return 0;
}
