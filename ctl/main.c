/* SPDX-License-Identifier: Apache-2.0 */
/* eghostctl: looks, and touches nothing but for making a key. Needs no privilege but for that, and
 * for asking the running service. */
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "proto/build_id.h"
#include "proto/log.h"

const struct ctl_verb *const ctl_verbs[] = { &ctl_scan_verb, &ctl_status_verb, &ctl_metrics_verb,
	&ctl_log_verb, &ctl_report_verb, &ctl_explain_verb, &ctl_verify_verb, &ctl_seal_key_verb,
	&ctl_completion_verb };
const size_t ctl_verb_count = sizeof(ctl_verbs) / sizeof(ctl_verbs[0]);

static void
help_print(FILE *out)
{
	fprintf(out, "usage: eghostctl VERB [options]\n");
	for (size_t i = 0; i < ctl_verb_count; i++)
		fprintf(out, "  %-11s %s\n", ctl_verbs[i]->name, ctl_verbs[i]->summary);
	fprintf(out, "`eghostctl VERB --help` tells the options.\n"
		     "  --help, --version\n"
		     "Exit status: 0 done, 1 failed, 2 usage.\n");
}

int
main(int argc, char **argv)
{
	log_open("eghostctl", false);
	log_plain();
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
	for (size_t i = 0; i < ctl_verb_count; i++) {
		if (strcmp(ctl_verbs[i]->name, argv[1]) == 0)
			return ctl_verbs[i]->run(argc - 1, argv + 1);
	}
	log_error("unknown verb '%s'; try --help", argv[1]);
	return 2;
}
