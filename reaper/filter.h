/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_FILTER_H
#define REAPER_FILTER_H

#include "proto/filter.h"

/* The reaper's steady state: three sockets that are already open, and waiting. No socket(2): a
 * compromised reaper cannot use CAP_NET_ADMIN for anything but sock_diag. */
#define REAPER_FILTER_GROUPS 3
extern const struct filter_group reaper_filter[REAPER_FILTER_GROUPS];

#endif
