/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: no capability. Believes neither the tracker nor the reaper, decides by policy, and
 * writes down every decision before it asks for an act.
 */
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "config.h"
#include "filter.h"
#include "load.h"
#include "proto/channel.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "proto/privs.h"
#include "service.h"

static void
print_all(const char *text, size_t len)
{
	while (len != 0) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n <= 0)
			fatal("cannot write to standard output");
		text += n;
		len -= (size_t)n;
	}
}

/* --check-config and the launcher's question where the log goes. */
static int
answer(const struct args *args)
{
	static struct policy policy;
	static char text[CONFIG_TEXT_MAX];
	char error[CONFIG_ERROR_MAX];
	size_t len;

	filter_install(check_filter, CHECK_FILTER_GROUPS);
	if (!load_policy(args, BROKER_FD_CONFIG, &policy, error))
		fatal("%s", error);
	if (args->verb == VERB_LOG_PATH) {
		print_all(policy.audit_log, strlen(policy.audit_log));
		print_all("\n", 1);
		return 0;
	}
	len = config_print(&policy, text, sizeof(text));
	if (len == 0)
		fatal("the configuration is too large to print");
	print_all(text, len);
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct privs none = { 0, 0, 0 };
	static struct policy policy;
	char error[CONFIG_ERROR_MAX];
	struct args args;

	(void)argc;
	log_open("eghostbuster", false);
	args_parse(&args, argv);
	if (args.verb != VERB_RUN)
		return answer(&args);
	log_open("eghostbuster", args.verbose);
	privs_harden("eghost-broker", 64, BROKER_FD_END);
	privs_prove(&none);
	if (!load_policy(&args, BROKER_FD_CONFIG, &policy, error))
		fatal("%s", error);
	service_open(&args, &policy);
	filter_install(broker_filter, BROKER_FILTER_GROUPS);
	return service_run();
}
