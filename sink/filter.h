/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SINK_FILTER_H
#define SINK_FILTER_H

#include "proto/filter.h"

/* What the sink needs beyond filter_common once its socket is open. */
#define SINK_FILTER_GROUPS 2
extern const struct filter_group sink_filter[SINK_FILTER_GROUPS];

#endif
