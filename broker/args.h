/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_ARGS_H
#define BROKER_ARGS_H

#include <stdbool.h>
#include <sys/types.h>

enum broker_verb {
	VERB_RUN,     /* the service */
	VERB_CHECK,   /* print the effective configuration */
	VERB_ANSWERS, /* print what the launcher has to know of it (proto/answers.h) */
};

/* What the launcher says on the command line; everything else comes as descriptors (proto/fds.h).
 */
struct args {
	const char *program; /* its own path, for messages */
	enum broker_verb verb;
	const char *config;    /* path for messages, NULL: built-in policy */
	const char *audit_log; /* overrides the configuration, NULL: does not */
	const char *log_path;  /* of the log the launcher has opened; VERB_RUN only */
	pid_t sink;	       /* the sink's process, 0: there is none */
	gid_t control_group;   /* whose members may ask at the control socket, -1: root only */
	bool observe;
	bool verbose;
};

/* Ends with "not to be started by hand" and status 2 when argv is not what the launcher makes. */
void args_parse(struct args *args, char **argv);

#endif
