/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_KEPT_H
#define LAUNCHER_KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/kept.h"

/* What the service manager gives back of an earlier run (proto/kept.h, sd_listen_fds(3)). */
struct kept_here {
	bool here;	     /* all that the next tracker needs */
	int fds[KEPT_PARTS]; /* -1: not there */
};

/* Reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. Of what is named as ours it keeps what goes
 * together with this version, ring and network namespace; the rest is closed, and the manager
 * behind `notify` (-1: none) told to let go of it. Names of others are left alone, with a warning.
 * Before anything else is opened: the descriptors are the first ones above standard error. */
void kept_receive(struct kept_here *kept, uint32_t ring_bytes);
void kept_discard(const struct kept_here *kept, int notify);

#endif
