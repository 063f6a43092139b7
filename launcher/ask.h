/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_ASK_H
#define LAUNCHER_ASK_H

#include "files.h"
#include "ids.h"
#include "options.h"
#include "proto/answers.h"

/* What root has to know of the configuration, which it does not parse. */
struct answers {
	const char *of[ANSWERS];
	char text[ANSWERS * (ANSWER_MAX + 32)]; /* what they point to */
};

/* Has the broker's program read the configuration, in a child that has no privileges and has heard
 * nobody but that file, and takes its answers. A bad file ends here with the child's exit status,
 * before anything is started. program: the broker's. */
void ask_configuration(struct answers *answers, const struct options *opt, const struct handles *h,
	const struct role_ids *broker, int program);

/* The arguments of the broker's program. Returns how many; argv has room for some more, and ends
 * with NULL. */
#define ASK_ARGV_MAX 16
unsigned ask_argv(const char *argv[ASK_ARGV_MAX], const struct options *opt,
	const struct handles *h, const char *verb);

#endif
