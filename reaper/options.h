/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_OPTIONS_H
#define REAPER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
	uint64_t ceiling; /* destroys per second, 1 ... LIMIT_CEILING_MAX */
	bool time_wait;	  /* TIME-WAIT may be touched when a rule says so, too */
	bool verbose;
};

/* Reads `--ceiling N [--time-wait] [-v]`. Anything else is fatal(). */
struct options options_read(int argc, char **argv);

#endif
