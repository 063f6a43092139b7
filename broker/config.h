/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "policy.h"

/* The configuration file (DESIGN 7), read with libinih. Pure: text in, policy or error out. */

#define CONFIG_TEXT_MAX	 (256u << 10) /* bytes of a file */
#define CONFIG_ERROR_MAX 512u

/*
 * Reads len bytes of text into *policy. path is for messages only. On failure returns false, leaves
 * *policy undefined and writes one line to error: "PATH:LINE: what was found; what was expected".
 * Unknown keys and sections, duplicates, bad values, lines longer than the library takes, NUL bytes
 * and a file without rules are errors.
 */
bool config_parse(const char *path, const char *text, size_t len, struct policy *policy,
	char error[CONFIG_ERROR_MAX]);

/* Writes the whole effective configuration as text that config_parse() reads back to the same
 * policy. Returns the length, 0 when size is too small. */
size_t config_print(const struct policy *policy, char *out, size_t size);

#endif
