/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_ARGS_H
#define BROKER_ARGS_H

#include <stdbool.h>

enum broker_verb {
	VERB_RUN,      /* the service */
	VERB_CHECK,    /* print the effective configuration */
	VERB_LOG_PATH, /* print where the audit log goes */
};

/* What the launcher says on the command line; everything else comes as descriptors (proto/fds.h).
 */
struct args {
	enum broker_verb verb;
	const char *config;    /* path for messages, NULL: built-in policy */
	const char *audit_log; /* overrides the configuration, NULL: does not */
	const char *log_path;  /* of the log the launcher has opened; VERB_RUN only */
	bool observe;
	bool verbose;
};

/* Ends with "not to be started by hand" and status 2 when argv is not what the launcher makes. */
void args_parse(struct args *args, char **argv);

#endif
