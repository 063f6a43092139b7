/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_ORPHANS_H
#define CTL_ORPHANS_H

#include <stddef.h>

#include "proto/diag.h"

struct orphans {
	struct diag_row *rows; /* malloc'ed */
	size_t count;
};

/*
 * All TCP sockets of this network namespace, IPv4 and IPv6, that no process can reach: inode 0 and
 * one of `states` (TCP_STATE_BIT()). A dump the kernel says was interrupted (NLM_F_DUMP_INTR) is
 * made again. Returns 0, or -1 after a line on standard error. The caller frees rows.
 */
int orphans_list(struct orphans *list, uint32_t states);

/* The same with all sockets that are in one of `states`, whoever holds them. */
int sockets_list(struct orphans *list, uint32_t states);

#endif
