/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: no capability. Believes neither the tracker nor the reaper, decides by policy, and
 * writes down every decision before it asks for an act.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "args.h"
#include "config.h"
#include "filter.h"
#include "load.h"
#include "proto/answers.h"
#include "proto/channel.h"
#include "proto/fds.h"
#include "proto/landlock.h"
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

static void
answers_print(const struct policy *policy)
{
	static const char *const names[ANSWERS] = ANSWER_NAMES;
	const char *const values[ANSWERS] = {
		[ANSWER_AUDIT_LOG] = policy->audit_log,
		[ANSWER_CONTROL_GROUP] = policy->control_group,
		[ANSWER_LINUX_AUDIT] = policy->linux_audit ? "yes" : "no",
		[ANSWER_JOURNALD] = policy->journald ? "yes" : "no",
	};

	for (unsigned i = 0; i < ANSWERS; i++) {
		print_all(names[i], strlen(names[i]));
		print_all("=", 1);
		print_all(values[i], strlen(values[i]) + 1);
	}
}

/* --check-config and the launcher's questions. */
static int
answer(const struct args *args)
{
	static struct policy policy;
	static char text[CONFIG_TEXT_MAX];
	char error[CONFIG_ERROR_MAX];
	size_t len;

	if (prctl(PR_SET_NAME, "eghost-check", 0, 0, 0) < 0)
		fatal("cannot set the process's name: %s", strerror(errno));
	landlock_restrict(NULL, 0);
	filter_install(check_filter, CHECK_FILTER_GROUPS);
	if (!load_policy(args, BROKER_FD_CONFIG, &policy, error))
		fatal("%s", error);
	if (args->verb == VERB_ANSWERS) {
		answers_print(&policy);
		return 0;
	}
	len = config_print(&policy, text, sizeof(text));
	if (len == 0)
		fatal("the configuration is too large to print");
	print_all(text, len);
	return 0;
}

/* The folder in which the configuration really is, where the name given is a symbolic link: after
 * an edit it is opened through that again. -1 when there is nothing to open. */
static int
config_folder_open(void)
{
	char path[PATH_MAX], link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", BROKER_FD_CONFIG);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0 || path[0] != '/')
		return -1;
	path[n] = '\0';
	*(strrchr(path, '/') + 1) = '\0';
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Files: the audit log's folder and the configuration's, as long as the service runs. */
static void
files_confine(const struct args *args)
{
	int real = args->config != NULL ? config_folder_open() : -1;
	struct landlock_grant grants[3] = { { BROKER_FD_LOG_DIR, LANDLOCK_APPEND } };
	size_t n = 1;

	if (args->config != NULL)
		grants[n++] = (struct landlock_grant){ BROKER_FD_CONFIG_DIR, LANDLOCK_READ };
	if (real >= 0)
		grants[n++] = (struct landlock_grant){ real, LANDLOCK_READ };
	landlock_restrict(grants, n);
	if (real >= 0)
		close(real);
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
	privs_harden("eghost-broker", BROKER_NOFILE, BROKER_FD_END);
	privs_prove(&none);
	if (!load_policy(&args, BROKER_FD_CONFIG, &policy, error))
		fatal("%s", error);
	service_open(&args, &policy);
	files_confine(&args);
	filter_install(broker_filter, BROKER_FILTER_GROUPS);
	return service_run();
}
