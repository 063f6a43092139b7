/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_LOAD_H
#define BROKER_LOAD_H

#include <stdbool.h>

#include "args.h"
#include "config.h"

/* Reads the configuration from the launcher's descriptor, or takes the built-in policy, and applies
 * what the command line overrides. False with one line in error: bad text, or the file cannot be
 * read. */
bool load_policy(
	const struct args *args, int fd, struct policy *policy, char error[CONFIG_ERROR_MAX]);

/* How load_policy_again() opens: the role's filter lets nothing else pass. */
#define LOAD_CONFIG_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* Opens the file anew through the folder (an edited file is a new inode) and reads that. */
bool load_policy_again(
	const struct args *args, int dir_fd, struct policy *policy, char error[CONFIG_ERROR_MAX]);

#endif
