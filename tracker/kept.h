/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_KEPT_H
#define TRACKER_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/kept.h"

/* Both sides of a descriptor store (proto/kept.h). Everything here happens before privileges are
 * dropped and the filter is on. */

/* What a run before this one has loaded, at the descriptors from TRACKER_FD_KEPT on. */
struct kept {
	int fds[KEPT_PARTS]; /* KEPT_STATE -1: this kernel cannot run it */
	void *counters;	     /* the programs' .bss, mapped */
};

/* Whether these are what their names say: a ring buffer of ring_bytes, a .bss of bss_size bytes and
 * links of tracing programs. state: this kernel can run that program, too. False with a warning
 * that says what is wrong; then nothing stays mapped and the programs have to be loaded anew. */
bool kept_take(struct kept *kept, uint32_t ring_bytes, size_t bss_size, bool state);

/* Gives them to the service manager behind TRACKER_FD_NOTIFY; replace: in place of what it has
 * under these names. A manager without a store ignores it. */
void kept_offer(const struct kept *kept, uint32_t netns, uint32_t ring_bytes, bool replace);

#endif
