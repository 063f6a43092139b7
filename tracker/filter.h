/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_FILTER_H
#define TRACKER_FILTER_H

#include "proto/filter.h"

/* What the tracker needs beyond filter_common once its programs are attached. bpf() is not in it:
 * ring buffer and counters are mapped memory. */
extern const struct filter_group tracker_filter[];
extern const size_t tracker_filter_count;

#endif
