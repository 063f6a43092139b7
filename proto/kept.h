/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_KEPT_H
#define PROTO_KEPT_H

#include <stdint.h>

/*
 * Tracking that outlives a run: a service manager with a descriptor store (FileDescriptorStoreMax=,
 * sd_pid_notify_with_fds(3)) keeps the ring buffer, the loss counters and the programs' links while
 * the service is restarted or upgraded. Deaths go on being recorded, and the next run reads them.
 * The tracker hands over what it has loaded; the launcher gives it back to the next tracker.
 */

enum kept_part {
	KEPT_RING,     /* the ring buffer's map */
	KEPT_COUNTERS, /* the map that is the programs' .bss */
	KEPT_EXIT,     /* links: a program runs as long as somebody has one */
	KEPT_STATE,    /* only where the kernel can run that program (WIRE_TRACKER_ORPHAN) */
	KEPT_PARTS,
};

#define KEPT_TAG_LEN  17u /* 16 hex digits and a zero */
#define KEPT_NAME_LEN 40u

/* Of what belongs together, and to nobody else: the same BPF object, network namespace (its inode's
 * number) and size of the ring. What an older version left has another, and is let go. */
void kept_tag(char tag[KEPT_TAG_LEN], uint32_t netns, uint32_t ring_bytes);

/* The name it has in the store. */
void kept_name(char name[KEPT_NAME_LEN], const char *tag, enum kept_part part);

/* All names of all versions begin so. */
#define KEPT_PREFIX "egb-"

#endif
