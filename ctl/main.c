/* SPDX-License-Identifier: Apache-2.0 */
/* eghostctl: looks, never touches. Needs no privilege but for asking the running service. */
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "proto/build_id.h"
#include "proto/log.h"

static const struct verb {
	const char *name;
	const char *help;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{ "scan", "[--json] [--all] [-c FILE]   every orphan now, and what the policy would do",
		ctl_scan },
	{ "status", "[--json] [--control SOCKET]  what the running service does (root)",
		ctl_status },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void
help_print(FILE *out)
{
	fprintf(out, "usage: eghostctl VERB [options]\n");
	for (size_t i = 0; i < VERBS; i++)
		fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].help);
	fprintf(out, "  --help, --version\n"
		     "Exit status: 0 done, 1 failed, 2 usage.\n");
}

int
ctl_usage(const char *verb, const char *what)
{
	log_error("%s: unexpected argument '%s'; try --help", verb, what);
	return 2;
}

int
main(int argc, char **argv)
{
	log_open("eghostctl", false);
	if (argc < 2) {
		help_print(stderr);
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help_print(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("eghostctl %s\n", version_string);
		return 0;
	}
	for (size_t i = 0; i < VERBS; i++) {
		if (strcmp(verbs[i].name, argv[1]) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	}
	log_error("unknown verb '%s'; try --help", argv[1]);
	return 2;
}
