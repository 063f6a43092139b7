/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_DUMP_H
#define REAPER_DUMP_H

#include <stdbool.h>
#include <stddef.h>

#include "netlink.h"

/*
 * A whole table of the kernel's, on a netlink socket that does nothing else. The kernel writes each
 * datagram when the one before is read, so reading never has to wait.
 */

struct dump_end {
	int error;     /* 0, or the first errno. Rows behind it may still have come */
	bool complete; /* false: an error, or the table changed under the dump */
};

/* Asks for a dump (request: from diag_dump(), len bytes; its sequence number is overwritten) and
 * gives take() each row, from the kernel only. What an earlier dump left is thrown away first.
 * EBUSY when the kernel still has one in hand: the next one will be served. */
struct dump_end dump_run(struct netlink *nl, void *request, size_t len,
	void (*take)(void *arg, const struct diag_row *row), void *arg);

#endif
