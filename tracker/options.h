/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_OPTIONS_H
#define TRACKER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
	uint32_t heartbeat_ms;
	uint32_t ring_bytes;
	bool notify; /* TRACKER_FD_NOTIFY is there */
	bool kept;   /* the descriptors from TRACKER_FD_KEPT on are */
	bool verbose;
};

/* Reads the launcher's words: --heartbeat-ms N [--ring-bytes N] [-v]. Returns false, having said on
 * standard error what is wrong, when they are not exactly that. Needs no log. */
bool options_read(int argc, char **argv, struct options *options);

#endif
