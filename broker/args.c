/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/log.h"

static _Noreturn void
by_hand(void)
{
	log_error("not to be started by hand: this is a part of eghostbuster(8), which starts it");
	_exit(2);
}

static enum broker_verb
verb_parse(const char *verb)
{
	static const char *const verbs[] = { "run", "check", "answers" };

	for (unsigned i = 0; verb != NULL && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i], verb) == 0)
			return (enum broker_verb)i;
	}
	by_hand();
}

static uint32_t
number_parse(const char *text, uint32_t max)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (end == text || *end != '\0' || number > max)
		by_hand();
	return (uint32_t)number;
}

void
args_parse(struct args *args, char **argv)
{
	*args = (struct args){ .program = argv[0],
		.verb = verb_parse(argv[0] != NULL ? argv[1] : NULL),
		.control_group = (gid_t)-1 };
	for (argv += 2; *argv != NULL; argv++) {
		if (strcmp(*argv, "--observe") == 0)
			args->observe = true;
		else if (strcmp(*argv, "--verbose") == 0)
			args->verbose = true;
		else if (strcmp(*argv, "--config") == 0 && argv[1] != NULL)
			args->config = *++argv;
		else if (strcmp(*argv, "--audit-log") == 0 && argv[1] != NULL)
			args->audit_log = *++argv;
		else if (strcmp(*argv, "--log-path") == 0 && argv[1] != NULL)
			args->log_path = *++argv;
		else if (strcmp(*argv, "--control-gid") == 0 && argv[1] != NULL)
			args->control_group = number_parse(*++argv, UINT32_MAX - 1);
		else if (strcmp(*argv, "--sink-pid") == 0 && argv[1] != NULL)
			args->sink = (pid_t)number_parse(*++argv, INT32_MAX);
		else
			by_hand();
	}
	if (args->verb == VERB_RUN && args->log_path == NULL)
		by_hand();
}
