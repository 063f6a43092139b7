/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_OPTIONS_H
#define LAUNCHER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
	const char *config;    /* -c; NULL: DEFAULT_CONFIG if it exists, else the built-in policy */
	const char *audit_log; /* --audit-log; NULL: what the configuration says */
	const char *control;
	const char *libexec;
	uint64_t destroy_ceiling; /* per second, 1 ... 10 000 000 */
	uint32_t ring_bytes;
	bool observe;
	bool check_config;
	bool time_wait;
	bool verbose;
};

/* Reads argv. --help and --version print and exit 0; bad usage prints one line and exits 2. */
void options_parse(struct options *opt, int argc, char **argv);

#endif
