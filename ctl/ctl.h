/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <stdbool.h>

/* eghostctl's verbs. Each takes its own argc and argv (argv[0] is the verb) and returns the exit
 * status: 0 done, 1 failed, 2 usage. */
int ctl_scan(int argc, char **argv);
int ctl_status(int argc, char **argv);

/* Prints "eghostctl VERB: unexpected argument ..." and returns 2. */
int ctl_usage(const char *verb, const char *what);

#endif
