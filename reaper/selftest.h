/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_SELFTEST_H
#define REAPER_SELFTEST_H

#include "proto/wire.h"
#include "netlink.h"

/*
 * The kernel is proved, not assumed (I6). On a loopback connection of its own the reaper shows that
 * a look-up by cookie finds a living socket and a wrong cookie finds nothing, makes an orphan that
 * waits at a closed window, destroys it and looks again.
 *
 * Returns what the kernel can do. fatal() where no look-up can be trusted, where CAP_NET_ADMIN is
 * missing, or where loopback does not work. Takes at most SELFTEST_MS and leaves no socket behind.
 * Needs socket(2): before the filter. Says in one line what keeps this kernel from more than
 * observing.
 */
enum wire_selftest selftest_run(struct netlink *nl, uint32_t netns);

#define SELFTEST_MS 2000

#endif
